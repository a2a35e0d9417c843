import type { RandomAccess } from '../bytes/endpoints.ts';
import type { ByteSource } from '../io/source.ts';

/** Bytes from the start of a source that are remembered: enough to tell what else it may be. */
export const HEAD_BYTES = 64;

/** A source as it is, which remembers how it starts, and tells of every byte that was read. */
export class WatchedSource implements ByteSource {
  readonly name: string;
  readonly size: number | null;
  readonly container: boolean;
  readonly random: RandomAccess | null;
  readonly #source: ByteSource;
  readonly #onRead: (bytes: number) => void;
  readonly #head = new Uint8Array(HEAD_BYTES);
  #headUsed = 0;

  /** @param onRead is called with the length of every piece that was read, and worked on. */
  constructor(source: ByteSource, onRead: (bytes: number) => void = () => undefined) {
    this.name = source.name;
    this.size = source.size;
    this.container = source.container;
    this.#source = source;
    this.#onRead = onRead;
    const { random } = source;
    this.random =
      random === null
        ? null
        : {
            name: random.name,
            // What is put aside of a pipe still grows.
            get size() {
              return random.size;
            },
            readAt: async (position, into) => {
              const found = await random.readAt(position, into);
              onRead(found);
              return found;
            },
          };
  }

  /** The first bytes that were read in order, at most 64. */
  get head(): Uint8Array {
    return this.#head.subarray(0, this.#headUsed);
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    for await (const piece of this.#source.pieces()) {
      const taken = piece.subarray(0, HEAD_BYTES - this.#headUsed);
      this.#head.set(taken, this.#headUsed);
      this.#headUsed += taken.byteLength;
      // Taken before the piece is handed out: it may be changed then.
      const { byteLength } = piece;
      yield piece;
      this.#onRead(byteLength);
    }
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}
