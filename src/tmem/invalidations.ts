/** The invalidations of one channel of a log reader: a queue that keeps what was sent until it is acknowledged. */
import { BATCH_HEAD_BYTES, INVALIDATE_BATCH, INVALIDATE_ENTRY_BYTES, writeHead } from './page-batch.ts';

/** Words of an entry: scope, incarnation (low, high), six halves of the object id, index, the step it was sent in. */
const WORDS = 11;
const AT = { scope: 0, incarnation: 1, handle: 3, step: 10 } as const;
const BLOCK_SHIFT = 9;
const BLOCK = 1 << BLOCK_SHIFT;

export class InvalidationQueue {
  /**
   * Entries, in blocks, so that a queue that grows is never copied: in memory that comes from the system, that would
   * cost a guest's flush more than all else that a log makes it do.
   */
  readonly #blocks: Uint32Array[] = [];
  /** The next block: so that a queue whose entries are acknowledged soon needs no other. */
  #spare: Uint32Array | undefined = new Uint32Array(BLOCK * WORDS);
  /**
   * Entries from here on are not acknowledged, from `#next` on not sent; `#end` is behind the last one. Counted from
   * the start of the first block.
   */
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
    return (this.#blocks.length + (this.#spare === undefined ? 0 : 1)) * BLOCK * WORDS * 4;
  }

  /** Adds an entry. @param handle seven halves; of an object the last is not read. */
  push(scope: number, incarnation: number, handle: Uint32Array): void {
    const number = this.#end++;
    if ((number & (BLOCK - 1)) === 0) this.#makeRoom();
    const entries = this.#blocks[number >> BLOCK_SHIFT];
    const at = (number & (BLOCK - 1)) * WORDS;
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
    this.count = 0;
    let scope = 0;
    for (; this.#next < this.#end && this.count < INVALIDATE_BATCH; this.#next++) {
      const entries = this.#blocks[this.#next >> BLOCK_SHIFT];
      const at = (this.#next & (BLOCK - 1)) * WORDS;
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
    while (this.#first < this.#next && this.#stepOf(this.#first) <= step) this.#first++;
    const done = this.#first === this.#end ? this.#blocks.length : this.#first >> BLOCK_SHIFT;
    if (done === 0) return;
    [this.#spare] = this.#blocks.splice(0, done);
    // Without a block, the next entry is the first of one.
    const gone = this.#blocks.length === 0 ? this.#end : done << BLOCK_SHIFT;
    this.#first -= gone;
    this.#next -= gone;
    this.#end -= gone;
  }

  /** What was sent and not acknowledged is to be sent again. */
  resume(): void {
    this.#next = this.#first;
  }

  #stepOf(number: number): number {
    return this.#blocks[number >> BLOCK_SHIFT][(number & (BLOCK - 1)) * WORDS + AT.step];
  }

  #makeRoom(): void {
    this.#blocks.push(this.#spare ?? new Uint32Array(BLOCK * WORDS));
    this.#spare = undefined;
  }
}
