import type { ByteSink } from '../bytes/endpoints.ts';

const BLOCK_BYTES = 1024 * 1024;
/** Blocks that may be under way at once: while one is filled, others are written. */
const BLOCKS = 4;

/**
 * Gathers small writes into blocks of a mebibyte, and has several of them under way: for a maker of bytes that would
 * else wait for each write. {@link end} must be called; it does not end the sink below.
 */
export class GatheredSink implements ByteSink {
  readonly #sink: ByteSink;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #made = 1;
  #failure: { readonly error: unknown } | undefined;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** Copies the bytes. @throws what the sink threw, also for bytes of an earlier call */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) {
      const part = bytes.subarray(at, at + BLOCK_BYTES - this.#used);
      this.#block.set(part, this.#used);
      this.#used += part.byteLength;
      at += part.byteLength;
      if (this.#used === BLOCK_BYTES) await this.#send();
    }
  }

  /** Resolves when the sink has taken everything. @throws what the sink threw */
  async end(): Promise<void> {
    if (this.#used > 0) await this.#send();
    await Promise.all(this.#underWay);
    this.#check();
  }

  async #send(): Promise<void> {
    this.#check();
    const block = this.#block;
    const written = this.#sink.write(block.subarray(0, this.#used)).then(
      () => void this.#free.push(block),
      (error: unknown) => void (this.#failure ??= { error }),
    );
    this.#underWay.add(written);
    void written.then(() => this.#underWay.delete(written));
    this.#used = 0;
    while (this.#free.length === 0 && this.#made === BLOCKS && this.#failure === undefined) {
      await Promise.race(this.#underWay);
    }
    this.#check();
    const next = this.#free.pop();
    if (next === undefined) this.#made++;
    this.#block = next ?? new Uint8Array(BLOCK_BYTES);
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
