/** What a connection received and its reader has not taken yet: bounded, and waited for with a limit. */
import type { TransmigrateError } from '../errors.ts';

interface Piece {
  readonly bytes: Uint8Array;
  /** Its memory may be used again. */
  readonly release: () => void;
}

export class Inlet {
  readonly #pieces: Piece[] = [];
  #bytes = 0;
  #ended = false;
  #failure: TransmigrateError | undefined;
  #wake: (() => void) | undefined;
  #asked = false;

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What stands directly behind the last piece that waits becomes one with it. */
  push(bytes: Uint8Array, release: () => void): void {
    const last = this.#pieces.at(-1);
    if (last !== undefined && follows(last.bytes, bytes)) {
      const both = new Uint8Array(bytes.buffer, last.bytes.byteOffset, last.bytes.byteLength + bytes.byteLength);
      const releaseLast = last.release;
      const releaseBoth = (): void => {
        releaseLast();
        release();
      };
      this.#pieces[this.#pieces.length - 1] = { bytes: both, release: releaseBoth };
    } else this.#pieces.push({ bytes, release });
    this.#bytes += bytes.byteLength;
    this.#wake?.();
  }

  /** Nothing more comes, and all that came is right. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Nothing more comes. What came before is still given out. */
  fail(error: TransmigrateError): void {
    if (!this.#ended) this.#failure ??= error;
    this.#wake?.();
  }

  /**
   * The pieces in order; each is valid until the next is asked for.
   * @param waiting called when there is nothing to give; what it returns is called when there is.
   */
  async *pieces(waiting: () => () => void): AsyncGenerator<Uint8Array> {
    if (this.#asked) throw new TypeError('the bytes of a connection are read once');
    this.#asked = true;
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#bytes -= piece.bytes.byteLength;
        try {
          yield piece.bytes;
        } finally {
          piece.release();
        }
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      const over = waiting();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
      over();
    }
  }
}

function follows(first: Uint8Array, second: Uint8Array): boolean {
  return first.buffer === second.buffer && first.byteOffset + first.byteLength === second.byteOffset;
}
