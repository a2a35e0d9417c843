/** Contents that several pages share: equal stored bytes kept once (spec/tmem.md 5.3). */
import { crc32 } from '../codec/platform.ts';
import { TMEM_LIMITS } from './constants.ts';
import type { Former } from './former.ts';
import { candidate, finish, IdTable, mix } from './id-table.ts';
import { sameBytes } from './platform.ts';
import { Records } from './records.ts';
import type { SlabStore } from './slab-store.ts';

const CONTENT = { place: 0, form: 1, references: 2, hash: 3 } as const;
const CONTENT_WORDS = 4;

/** So many contents have the hash that no further one is to be added: to pass over them all would cost ever more. */
export const CROWDED = -1;

class ContentIndex extends IdTable {
  readonly #records: Records;

  constructor(records: Records) {
    super();
    this.#records = records;
  }

  hashOf(content: number): number {
    return this.#records.get(content, CONTENT.hash);
  }

  slots(hash: number): Int32Array {
    return this.tableOf(hash);
  }
}

export class Contents {
  readonly #records = new Records(CONTENT_WORDS, TMEM_LIMITS.pages);
  readonly #index = new ContentIndex(this.#records);
  readonly #store: SlabStore;
  readonly #seed: number;

  constructor(store: SlabStore, seed: number) {
    this.#store = store;
    this.#seed = seed;
  }

  get bytes(): number {
    return this.#records.bytes + this.#index.bytes;
  }

  get idleBytes(): number {
    return this.#records.idleBytes;
  }

  /** Contents there are. */
  get count(): number {
    return this.#records.used;
  }

  hash(former: Former): number {
    return finish(mix(mix(this.#seed, crc32(former.storedBytes())), former.codec));
  }

  /** The content with exactly these bytes and this form; 0 when there is none, CROWDED when it is not found soon. */
  find(hash: number, former: Former, form: number): number {
    const table = this.#index.slots(hash);
    const mask = table.length - 1;
    let tried = 0;
    for (let slot = hash & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const content = candidate(table[slot], hash);
      if (content === 0 || this.#records.get(content, CONTENT.hash) !== hash) continue;
      if (this.#isSame(content, former, form)) return content;
      // Guests can make pages whose checksums are equal: few of them are compared, and no more are listed.
      if (++tried >= TMEM_LIMITS.shareCandidates) return CROWDED;
    }
    return 0;
  }

  #isSame(content: number, former: Former, form: number): boolean {
    if (this.#records.get(content, CONTENT.form) !== form) return false;
    if (former.stored === 0) return true;
    const place = this.place(content);
    const slab = this.#store.slabOf(place);
    return sameBytes(former.bytes, former.at, slab, this.#store.offsetOf(place, former.stored), former.stored);
  }

  /** A number for a new content, which is to be added or given back. 0 when there are too many. */
  reserve(): number {
    return this.#records.allocate();
  }

  giveBack(content: number): void {
    this.#records.free(content);
  }

  /** Adds a content whose number was reserved, with one reference. */
  add(content: number, hash: number, form: number, place: number): void {
    const record = this.#records.segmentOf(content);
    const at = this.#records.offsetOf(content);
    record[at + CONTENT.place] = place;
    record[at + CONTENT.form] = form;
    record[at + CONTENT.references] = 1;
    record[at + CONTENT.hash] = hash;
    this.#index.add(hash, content);
  }

  place(content: number): number {
    return this.#records.get(content, CONTENT.place);
  }

  setPlace(content: number, place: number): void {
    this.#records.set(content, CONTENT.place, place);
  }

  references(content: number): number {
    return this.#records.get(content, CONTENT.references);
  }

  share(content: number): void {
    this.#records.set(content, CONTENT.references, this.references(content) + 1);
  }

  /** Takes a reference away. @returns whether it was the last one: then the content is gone, and its place is free. */
  drop(content: number): boolean {
    const left = this.references(content) - 1;
    this.#records.set(content, CONTENT.references, left);
    if (left > 0) return false;
    this.#index.remove(this.#index.hashOf(content), content);
    this.#records.free(content);
    return true;
  }
}
