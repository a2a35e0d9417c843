import { CODEC, type CodecId } from '../codec/codec.ts';
import { TMEM_ENTRY_BYTES } from './records/tmem.ts';

/** Stored bytes that a writer puts into one batch. */
const BATCH_BYTES = 1024 * 1024;
const MAX_ENTRIES = 4096;
const HEAD_BYTES = 16;

/**
 * Gathers tmem pages of one pool for a TMEM_PAGES record (stream 10.3): entries in one buffer, stored bytes in another,
 * so that a page costs a few stores and a copy.
 */
export class TmemPacker {
  readonly #entries = new Uint8Array(MAX_ENTRIES * TMEM_ENTRY_BYTES);
  readonly #view = new DataView(this.#entries.buffer);
  readonly #stored = new Uint8Array(BATCH_BYTES);
  #count = 0;
  #used = 0;
  incarnation = 0n;

  get empty(): boolean {
    return this.#count === 0;
  }

  /**
   * Takes a page, copying its bytes.
   * @param object the six 32-bit halves of the object id, lowest first.
   * @returns false when the batch must go out first.
   */
  add(object: Uint32Array, index: number, codec: CodecId, originalLength: number, stored: Uint8Array): boolean {
    const length = codec === CODEC.zero ? 0 : stored.byteLength;
    if (this.#count === MAX_ENTRIES || this.#used + length > BATCH_BYTES) return false;
    const at = this.#count * TMEM_ENTRY_BYTES;
    for (let half = 0; half < 6; half++) this.#view.setUint32(at + 4 * half, object[half], true);
    this.#view.setUint32(at + 24, index, true);
    this.#view.setUint32(at + 28, originalLength, true);
    this.#view.setUint32(at + 32, length, true);
    this.#view.setUint32(at + 36, codec, true); // The codec and three reserved bytes.
    if (length > 0) this.#stored.set(stored, this.#used);
    this.#used += length;
    this.#count++;
    return true;
  }

  /** The body of the record, and an empty packer. */
  take(): Uint8Array {
    const entryBytes = this.#count * TMEM_ENTRY_BYTES;
    const body = new Uint8Array(HEAD_BYTES + entryBytes + this.#used);
    const view = new DataView(body.buffer);
    view.setBigUint64(0, this.incarnation, true);
    view.setUint32(8, this.#count, true);
    body.set(this.#entries.subarray(0, entryBytes), HEAD_BYTES);
    body.set(this.#stored.subarray(0, this.#used), HEAD_BYTES + entryBytes);
    this.#count = 0;
    this.#used = 0;
    return body;
  }
}
