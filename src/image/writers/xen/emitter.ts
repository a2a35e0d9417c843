import type { ByteSink } from '../../../bytes/endpoints.ts';
import type { Emit } from '../../../foreign/xen-libxc/writer.ts';

/** Bytes that are gathered at first: a PAGE_DATA record of 1,024 pages and what stands around it. */
const START_BYTES = 4 * 1024 * 1024 + 64 * 1024;

/**
 * Between the writers of Xen's formats, which hand bytes out at once, and a sink, which is waited for. What was emitted
 * is held until {@link flush}: to be called after each record, so that it is never more than one.
 */
export class SinkEmitter {
  readonly #sink: ByteSink;
  #buffer = new Uint8Array(START_BYTES);
  #used = 0;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  readonly emit: Emit = (bytes) => {
    const used = this.#used + bytes.byteLength;
    if (used > this.#buffer.byteLength) {
      const larger = new Uint8Array(Math.max(used, 2 * this.#buffer.byteLength));
      larger.set(this.#buffer.subarray(0, this.#used));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#used);
    this.#used = used;
  };

  /** Hands on what was emitted. @throws what the sink throws */
  async flush(): Promise<void> {
    if (this.#used === 0) return;
    await this.#sink.write(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }
}
