/** The invalidations of one channel of a log reader: a queue that keeps what was sent until it is acknowledged. */
import { BATCH_HEAD_BYTES, INVALIDATE_BATCH, INVALIDATE_ENTRY_BYTES, writeHead } from './page-batch.ts';

/** Words of an entry: scope, incarnation (low, high), six halves of the object id, index, the step it was sent in. */
const WORDS = 11;
const AT = { scope: 0, incarnation: 1, handle: 3, step: 10 } as const;
const SMALLEST = 64;

export class InvalidationQueue {
  #entries = new Uint32Array(SMALLEST * WORDS);
  /** Entries from here on are not acknowledged, from `#next` on not sent; `#end` is behind the last one. */
  #first = 0;
  #next = 0;
  #end = 0;
  readonly #body = new Uint8Array(BATCH_HEAD_BYTES + INVALIDATE_BATCH * INVALIDATE_ENTRY_BYTES);
  readonly #view = new DataView(this.#body.buffer);
  /** Of the batch that was made last. */
  count = 0;
  incarnation = 0;

  /** Entries that are to be sent. */
  get waiting(): number {
    return this.#end - this.#next;
  }

  get bytes(): number {
    return this.#entries.byteLength;
  }

  /** Adds an entry. @param handle seven halves; of an object the last is not read. */
  push(scope: number, incarnation: number, handle: Uint32Array): void {
    if ((this.#end + 1) * WORDS > this.#entries.length) this.#makeRoom();
    const at = this.#end++ * WORDS;
    const entries = this.#entries;
    entries[at + AT.scope] = scope;
    entries[at + AT.incarnation] = incarnation >>> 0;
    entries[at + AT.incarnation + 1] = Math.floor(incarnation / 2 ** 32);
    for (let half = 0; half < 6; half++) entries[at + AT.handle + half] = handle[half];
    entries[at + AT.handle + 6] = scope === 1 ? handle[6] : 0;
    entries[at + AT.step] = 0;
  }

  /**
   * The body of a TMEM_INVALIDATE record with the oldest entries that can go into one: of one scope and incarnation.
   * Entries of pools that are gone are passed over. Valid until the next one. @returns undefined when none waits.
   */
  take(step: number, lives: (incarnation: number) => boolean): Uint8Array | undefined {
    const entries = this.#entries;
    this.count = 0;
    let scope = 0;
    for (; this.#next < this.#end && this.count < INVALIDATE_BATCH; this.#next++) {
      const at = this.#next * WORDS;
      const incarnation = entries[at + AT.incarnation] + entries[at + AT.incarnation + 1] * 2 ** 32;
      if (this.count > 0 && (incarnation !== this.incarnation || entries[at + AT.scope] !== scope)) break;
      entries[at + AT.step] = step;
      if (this.count === 0) {
        if (!lives(incarnation)) continue;
        this.incarnation = incarnation;
        scope = entries[at + AT.scope];
      }
      let target = BATCH_HEAD_BYTES + this.count++ * INVALIDATE_ENTRY_BYTES;
      for (let half = 0; half < 7; half++, target += 4) {
        this.#view.setUint32(target, entries[at + AT.handle + half], true);
      }
    }
    if (this.count === 0) return undefined;
    writeHead(this.#view, 0, this.incarnation, scope, this.count);
    return this.#body.subarray(0, BATCH_HEAD_BYTES + this.count * INVALIDATE_ENTRY_BYTES);
  }

  /** Forgets what was sent in this step or an earlier one. */
  acknowledge(step: number): void {
    while (this.#first < this.#next && this.#entries[this.#first * WORDS + AT.step] <= step) this.#first++;
    if (this.#first < this.#end) return;
    this.#first = 0;
    this.#next = 0;
    this.#end = 0;
    if (this.#entries.length > SMALLEST * WORDS) this.#entries = new Uint32Array(SMALLEST * WORDS);
  }

  /** What was sent and not acknowledged is to be sent again. */
  resume(): void {
    this.#next = this.#first;
  }

  #makeRoom(): void {
    const kept = this.#entries.subarray(this.#first * WORDS, this.#end * WORDS);
    const room = 2 * kept.length > this.#entries.length ? 2 * this.#entries.length : this.#entries.length;
    const entries = room === this.#entries.length ? this.#entries : new Uint32Array(room);
    entries.set(kept);
    this.#entries = entries;
    this.#next -= this.#first;
    this.#end -= this.#first;
    this.#first = 0;
  }
}
