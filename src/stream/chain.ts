import { Sha256 } from '../codec/platform.ts';
import { HEADER_BYTES } from './record-header.ts';

/**
 * The hash chain of one channel (stream 5). Headers are gathered in a block before they are hashed, so that a record
 * costs a copy of 24 bytes.
 */
export class Chain {
  #value: Uint8Array;
  readonly #block = new Uint8Array(HEADER_BYTES * 512);
  #used = 0;
  #hash: Sha256 | undefined;

  /** @param preamble the 128 bytes that the channel starts with. */
  constructor(preamble: Uint8Array) {
    const hash = new Sha256();
    hash.update(preamble);
    this.#value = hash.digest();
  }

  /** The chain as of the last seal. 32 bytes, not to be changed. */
  get value(): Uint8Array {
    return this.#value;
  }

  /** Takes in the 24 bytes of a record's header. A SEAL's own header goes in after {@link seal}. */
  add(header: Uint8Array): void {
    if (this.#used === this.#block.byteLength) this.#flush();
    this.#block.set(header, this.#used);
    this.#used += HEADER_BYTES;
  }

  /** Ends an interval: returns the new chain (stream 5.2). */
  seal(): Uint8Array {
    this.#flush();
    this.#value = this.#hash!.digest();
    this.#hash = undefined;
    return this.#value;
  }

  #flush(): void {
    if (this.#hash === undefined) {
      this.#hash = new Sha256();
      this.#hash.update(this.#value);
    }
    this.#hash.update(this.#block.subarray(0, this.#used));
    this.#used = 0;
  }
}
