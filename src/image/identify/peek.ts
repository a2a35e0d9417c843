import type { ByteSource } from '../../io/source.ts';

/** Most bytes from the start that identification looks at. */
export const PEEK_BYTES = 1024 * 1024;

/**
 * The start of a source, looked at before anything is done with it. Nothing is lost: {@link source} gives all bytes
 * from the first on, and no byte of the input is read twice.
 */
export class Peek {
  readonly #input: ByteSource;
  readonly #pieces: AsyncIterator<Uint8Array>;
  #buffer: Uint8Array = new Uint8Array(0);
  /** The buffer is the input's own piece, valid until the next is asked for. */
  #isLent = false;
  #used = 0;
  #over = false;
  #taken = false;

  constructor(input: ByteSource) {
    this.#input = input;
    this.#pieces = input.pieces()[Symbol.asyncIterator]();
  }

  /**
   * The first `length` bytes, at most {@link PEEK_BYTES}, or fewer when the input has not so many. May be more. Valid
   * until the next call.
   */
  async head(length: number): Promise<Uint8Array> {
    while (this.#used < Math.min(length, PEEK_BYTES) && !this.#over) {
      if (this.#isLent) this.#buffer = new Uint8Array(this.#buffer);
      this.#isLent = false;
      const step = await this.#pieces.next();
      if (step.done === true) this.#over = true;
      else this.#add(step.value);
    }
    return this.#buffer.subarray(0, this.#used);
  }

  /** The whole input as it was, to be read once. Closing it closes the input. */
  source(): ByteSource {
    const { name, size, container, random } = this.#input;
    return {
      name,
      size,
      container,
      random,
      pieces: () => this.#all(),
      close: async () => {
        // First the input: what waits for its next piece ends only then.
        await this.#input.close();
        await this.#pieces.return?.();
      },
    };
  }

  async *#all(): AsyncGenerator<Uint8Array> {
    if (this.#taken) throw new TypeError('the pieces of a source can be read once');
    this.#taken = true;
    try {
      if (this.#used > 0) yield this.#buffer.subarray(0, this.#used);
      this.#buffer = new Uint8Array(0);
      while (!this.#over) {
        const step = await this.#pieces.next();
        if (step.done === true) return;
        yield step.value;
      }
    } finally {
      await this.#pieces.return?.();
    }
  }

  #add(piece: Uint8Array): void {
    // Mostly the first piece is enough, and need not be copied.
    if (this.#used === 0) {
      this.#isLent = true;
      this.#buffer = piece;
      this.#used = piece.byteLength;
      return;
    }
    const need = this.#used + piece.byteLength;
    if (need > this.#buffer.byteLength) {
      const larger = new Uint8Array(Math.max(need, 2 * this.#buffer.byteLength));
      larger.set(this.#buffer.subarray(0, this.#used));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#used);
    this.#used = need;
  }
}

/** Bytes in the part that may be looked at; undefined when they are not all there. */
export async function viewAt(peek: Peek, at: number, length: number): Promise<DataView | undefined> {
  if (at + length > PEEK_BYTES) return undefined;
  const head = await peek.head(at + length);
  return head.byteLength < at + length ? undefined : new DataView(head.buffer, head.byteOffset + at, length);
}
