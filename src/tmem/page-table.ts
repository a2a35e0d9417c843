/** Pages and objects: their records, how they are found, and the lists that they stand in. */
import { HANDLE_HALVES, TMEM_LIMITS } from './constants.ts';
import { candidate, finish, IdTable, mix } from './id-table.ts';
import { Records } from './records.ts';

/** Words of a page's record. What a get needs comes first, so that it lies in one line of the cache. */
export const PAGE = {
  object: 0,
  index: 1,
  /** Where the stored bytes are; with FORM_SHARED the number of a content. */
  place: 2,
  /** Lengths, codec and flags: FORM_*. */
  form: 3,
  objectPrevious: 4,
  objectNext: 5,
  /** Among all ephemeral pages by recency. Of a persistent page, a number by order of putting: low and high half. */
  globalPrevious: 6,
  globalNext: 7,
  /** Among the ephemeral pages of the owner of the pool. */
  ownPrevious: 8,
  ownNext: 9,
} as const;
const PAGE_WORDS = 10;

/** Bits of a page's form: stored length, original length, codec, and flags. */
export const FORM = {
  storedMask: 0x1fff,
  originalShift: 13,
  originalMask: 0x1fff,
  codecShift: 26,
  codecMask: 7,
  /** The place is the number of a content that other pages may share. */
  shared: 1 << 29,
  /** A snapshot has yet to read it. */
  pinned: 1 << 30,
  /** It was spared from eviction once already, because its content is shared. */
  spared: 1 << 31,
} as const;

/** Words of an object's record. */
export const OBJECT = {
  /** Six halves of the object id. */
  id: 0,
  pool: 6,
  pages: 7,
  first: 8,
  previous: 9,
  next: 10,
  lastClient: 11,
  /** Pages that are gone but that a snapshot has yet to read. */
  ghosts: 12,
  /** The number less the index of the page that it was made for. Pages of which this holds are *regular*. */
  base: 13,
  /** How many pages are regular. */
  regular: 14,
} as const;
const OBJECT_WORDS = 15;

/** A page that is gone but pinned has this in place of its neighbour in the object. */
export const GHOST = -1;

const NO_PLACE = -1;

class PageIndex extends IdTable {
  readonly #pages: Records;
  readonly #seed: number;

  constructor(pages: Records, seed: number) {
    super();
    this.#pages = pages;
    this.#seed = seed;
  }

  /** Neighbours in an object lie next to each other in the table, eight at a time, to share a line of the cache. */
  hash(object: number, index: number): number {
    const h = finish(mix(mix(this.#seed, object), index >>> 3));
    return ((h & ~7) | (index & 7)) ^ ((index & 7) << 20);
  }

  protected hashOf(page: number): number {
    return this.hash(this.#pages.get(page, PAGE.object), this.#pages.get(page, PAGE.index));
  }

  find(object: number, index: number): number {
    const hash = this.hash(object, index);
    const table = this.tableOf(hash);
    const mask = table.length - 1;
    const pages = this.#pages;
    for (let slot = hash & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const page = candidate(table[slot], hash);
      if (page === 0) continue;
      const record = pages.segmentOf(page);
      const at = pages.offsetOf(page);
      if (record[at + PAGE.index] === index && record[at + PAGE.object] === object) return page;
    }
    return 0;
  }
}

/** Whether a record is the object that a handle names in a pool. */
function isObject(objects: Records, object: number, pool: number, handle: Uint32Array): boolean {
  const record = objects.segmentOf(object);
  const at = objects.offsetOf(object);
  if (record[at + OBJECT.pool] !== pool) return false;
  for (let half = 0; half < 6; half++) if (record[at + half] !== (handle[half] | 0)) return false;
  return true;
}

class ObjectIndex extends IdTable {
  readonly #objects: Records;
  readonly #seed: number;

  constructor(objects: Records, seed: number) {
    super();
    this.#objects = objects;
    this.#seed = seed;
  }

  hash(pool: number, handle: Uint32Array): number {
    let h = mix(this.#seed, pool);
    for (let half = 0; half < 6; half++) h = mix(h, handle[half]);
    return finish(h);
  }

  hashOf(object: number): number {
    const record = this.#objects.segmentOf(object);
    const at = this.#objects.offsetOf(object);
    let h = mix(this.#seed, record[at + OBJECT.pool]);
    for (let half = 0; half < 6; half++) h = mix(h, record[at + half]);
    return finish(h);
  }

  find(pool: number, handle: Uint32Array): number {
    const hash = this.hash(pool, handle);
    const table = this.tableOf(hash);
    const mask = table.length - 1;
    const objects = this.#objects;
    for (let slot = hash & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const object = candidate(table[slot], hash);
      if (object !== 0 && isObject(objects, object, pool, handle)) return object;
    }
    return 0;
  }
}

/**
 * Finds pages by handle and keeps what each object holds. It knows nothing of content, recency or clients.
 * Pools are numbers here: the engine's own, which are used again.
 */
export class PageTable {
  readonly pages: Records;
  readonly objects: Records;
  readonly #pageIndex: PageIndex;
  readonly #objectIndex: ObjectIndex;
  /** Objects of each pool, by the pool's number: the first, and how many. */
  readonly #firstObject: number[] = [];
  readonly #objectCount: number[] = [];
  /** The object that was found last; 0 for none. */
  #lastObject = 0;

  /** @param seed for the hashes, so that a guest can't choose handles that collide. */
  constructor(seed: number) {
    this.pages = new Records(PAGE_WORDS, TMEM_LIMITS.pages);
    this.objects = new Records(OBJECT_WORDS, TMEM_LIMITS.pages);
    this.#pageIndex = new PageIndex(this.pages, seed);
    this.#objectIndex = new ObjectIndex(this.objects, seed ^ 0x5bd1e995);
  }

  /** Bytes of all tables. */
  get bytes(): number {
    return this.pages.bytes + this.objects.bytes + this.#pageIndex.bytes + this.#objectIndex.bytes;
  }

  /** The object that a handle names in a pool; 0 when there is none. */
  findObject(pool: number, handle: Uint32Array): number {
    // Guests go through an object page by page: most of the time it is the one of the last time.
    const last = this.#lastObject;
    if (last !== 0 && isObject(this.objects, last, pool, handle)) return last;
    const found = this.#objectIndex.find(pool, handle);
    if (found !== 0) this.#lastObject = found;
    return found;
  }

  /**
   * The page with this handle in a pool; 0 when there is none.
   *
   * Guests put an object's pages one after the other, and then their records have numbers one after the other. Such a
   * page is regular: its number follows from its index. It is not in the index of pages, which would cost a line of the
   * cache for each page that is put, sought or removed. Only the others are.
   */
  find(pool: number, handle: Uint32Array): number {
    const object = this.findObject(pool, handle);
    if (object === 0) return 0;
    const index = handle[6] | 0;
    const ofObject = this.objects.segmentOf(object);
    const objectAt = this.objects.offsetOf(object);
    const regular = ofObject[objectAt + OBJECT.regular];
    if (regular > 0) {
      const guess = (ofObject[objectAt + OBJECT.base] + index) | 0;
      if (guess > 0 && this.pages.has(guess)) {
        const record = this.pages.segmentOf(guess);
        const at = this.pages.offsetOf(guess);
        const same = record[at + PAGE.index] === index && record[at + PAGE.object] === object;
        if (same && record[at + PAGE.objectPrevious] !== GHOST) return guess;
      }
      if (regular === ofObject[objectAt + OBJECT.pages]) return 0;
    }
    return this.#pageIndex.find(object, index);
  }

  firstObject(pool: number): number {
    return this.#firstObject[pool] ?? 0;
  }

  objectsOf(pool: number): number {
    return this.#objectCount[pool] ?? 0;
  }

  /** Adds a page that is not there. @returns its number, or 0 when there are too many. */
  insert(pool: number, handle: Uint32Array): number {
    const page = this.pages.allocate();
    if (page === 0) return 0;
    let object = this.findObject(pool, handle);
    if (object === 0) object = this.#newObject(pool, handle, (page - handle[6]) | 0);
    const record = this.pages.segmentOf(page);
    const at = this.pages.offsetOf(page);
    record[at + PAGE.object] = object;
    record[at + PAGE.index] = handle[6];
    record[at + PAGE.place] = NO_PLACE;
    this.#link(object, page);
    return page;
  }

  /**
   * Takes a page out of the table. Its record stays, and its object's as long as that has ghosts: whoever keeps one
   * counts it there, and calls `release`.
   */
  unlink(page: number): void {
    const { pages, objects } = this;
    const record = pages.segmentOf(page);
    const at = pages.offsetOf(page);
    const object = record[at + PAGE.object];
    const index = record[at + PAGE.index];
    const previous = record[at + PAGE.objectPrevious];
    const next = record[at + PAGE.objectNext];
    const ofObject = objects.segmentOf(object);
    const objectAt = objects.offsetOf(object);
    if (previous === 0) ofObject[objectAt + OBJECT.first] = next;
    else pages.set(previous, PAGE.objectNext, next);
    if (next !== 0) pages.set(next, PAGE.objectPrevious, previous);
    if (((page - index) | 0) === ofObject[objectAt + OBJECT.base]) ofObject[objectAt + OBJECT.regular]--;
    else this.#pageIndex.remove(this.#pageIndex.hash(object, index), page);
    if (--ofObject[objectAt + OBJECT.pages] === 0) this.#unlinkObject(object);
  }

  /** Frees the record of a page that was unlinked, and its object's when nothing needs that any more. */
  release(page: number): void {
    const object = this.pages.get(page, PAGE.object);
    this.pages.free(page);
    this.releaseObject(object);
  }

  releaseObject(object: number): void {
    if (this.objects.get(object, OBJECT.pages) !== 0 || this.objects.get(object, OBJECT.ghosts) !== 0) return;
    this.objects.free(object);
  }

  /** Reads the handle of a page. */
  handleOf(page: number, handle: Uint32Array): void {
    const record = this.pages.segmentOf(page);
    const at = this.pages.offsetOf(page);
    const object = record[at + PAGE.object];
    const ofObject = this.objects.segmentOf(object);
    const objectAt = this.objects.offsetOf(object) + OBJECT.id;
    for (let half = 0; half < HANDLE_HALVES - 1; half++) handle[half] = ofObject[objectAt + half];
    handle[6] = record[at + PAGE.index];
  }

  poolOf(page: number): number {
    return this.objects.get(this.pages.get(page, PAGE.object), OBJECT.pool);
  }

  #link(object: number, page: number): void {
    const { pages, objects } = this;
    const ofObject = objects.segmentOf(object);
    const objectAt = objects.offsetOf(object);
    const record = pages.segmentOf(page);
    const at = pages.offsetOf(page);
    const first = ofObject[objectAt + OBJECT.first];
    record[at + PAGE.objectPrevious] = 0;
    record[at + PAGE.objectNext] = first;
    if (first !== 0) pages.set(first, PAGE.objectPrevious, page);
    ofObject[objectAt + OBJECT.first] = page;
    ofObject[objectAt + OBJECT.pages]++;
    const index = record[at + PAGE.index];
    if (((page - index) | 0) === ofObject[objectAt + OBJECT.base]) ofObject[objectAt + OBJECT.regular]++;
    else this.#pageIndex.add(this.#pageIndex.hash(object, index), page);
  }

  #newObject(pool: number, handle: Uint32Array, base: number): number {
    // There are never more objects than pages, so this can't fail after the page was made.
    const { objects } = this;
    const object = objects.allocate();
    for (let half = 0; half < 6; half++) objects.set(object, half, handle[half]);
    objects.set(object, OBJECT.pool, pool);
    objects.set(object, OBJECT.base, base);
    const first = this.#firstObject[pool] ?? 0;
    objects.set(object, OBJECT.next, first);
    if (first !== 0) objects.set(first, OBJECT.previous, object);
    this.#firstObject[pool] = object;
    this.#objectCount[pool] = (this.#objectCount[pool] ?? 0) + 1;
    this.#objectIndex.add(this.#objectIndex.hash(pool, handle), object);
    this.#lastObject = object;
    return object;
  }

  #unlinkObject(object: number): void {
    const { objects } = this;
    const pool = objects.get(object, OBJECT.pool);
    if (this.#lastObject === object) this.#lastObject = 0;
    const previous = objects.get(object, OBJECT.previous);
    const next = objects.get(object, OBJECT.next);
    if (previous === 0) this.#firstObject[pool] = next;
    else objects.set(previous, OBJECT.next, next);
    if (next !== 0) objects.set(next, OBJECT.previous, previous);
    this.#objectCount[pool]--;
    this.#objectIndex.remove(this.#objectIndex.hashOf(object), object);
  }
}
