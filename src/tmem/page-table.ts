/** Pages and objects: their records, how they are found, and the lists that they stand in. */
import { HANDLE_HALVES, TMEM_LIMITS } from './constants.ts';
import { candidate, finish, IdTable, mix } from './id-table.ts';
import { Records } from './records.ts';

/** Words of a page's record. */
export const PAGE = {
  object: 0,
  index: 1,
  objectPrevious: 2,
  objectNext: 3,
  /** Among all ephemeral pages by recency. Of a persistent page, a number by order of putting: low and high half. */
  globalPrevious: 4,
  globalNext: 5,
  /** Among the ephemeral pages of the owner of the pool. */
  ownPrevious: 6,
  ownNext: 7,
  /** Where the stored bytes are; with FORM_SHARED the number of a content. */
  place: 8,
  /** Lengths, codec and flags: FORM_*. */
  form: 9,
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
} as const;
const OBJECT_WORDS = 13;

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
      if (pages.get(page, PAGE.index) === index && pages.get(page, PAGE.object) === object) return page;
    }
    return 0;
  }
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
    let h = mix(this.#seed, this.#objects.get(object, OBJECT.pool));
    for (let half = 0; half < 6; half++) h = mix(h, this.#objects.get(object, half));
    return finish(h);
  }

  find(pool: number, handle: Uint32Array): number {
    const hash = this.hash(pool, handle);
    const table = this.tableOf(hash);
    const mask = table.length - 1;
    const objects = this.#objects;
    for (let slot = hash & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const object = candidate(table[slot], hash);
      if (object === 0 || objects.get(object, OBJECT.pool) !== pool) continue;
      let half = 0;
      while (half < 6 && objects.get(object, half) === (handle[half] | 0)) half++;
      if (half === 6) return object;
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
    if (last !== 0 && this.#isObject(last, pool, handle)) return last;
    const found = this.#objectIndex.find(pool, handle);
    if (found !== 0) this.#lastObject = found;
    return found;
  }

  /** The page with this handle in a pool; 0 when there is none. */
  find(pool: number, handle: Uint32Array): number {
    const object = this.findObject(pool, handle);
    return object === 0 ? 0 : this.#pageIndex.find(object, handle[6] | 0);
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
    if (object === 0) object = this.#newObject(pool, handle);
    this.pages.set(page, PAGE.object, object);
    this.pages.set(page, PAGE.index, handle[6] | 0);
    this.pages.set(page, PAGE.place, NO_PLACE);
    this.#link(object, page);
    return page;
  }

  /**
   * Takes a page out of the table. Its record stays, and its object's as long as that has ghosts: whoever keeps one
   * counts it there, and calls `release`.
   */
  unlink(page: number): void {
    const { pages, objects } = this;
    const object = pages.get(page, PAGE.object);
    this.#pageIndex.remove(this.#pageIndex.hash(object, pages.get(page, PAGE.index)), page);
    const previous = pages.get(page, PAGE.objectPrevious);
    const next = pages.get(page, PAGE.objectNext);
    if (previous === 0) objects.set(object, OBJECT.first, next);
    else pages.set(previous, PAGE.objectNext, next);
    if (next !== 0) pages.set(next, PAGE.objectPrevious, previous);
    const left = objects.get(object, OBJECT.pages) - 1;
    objects.set(object, OBJECT.pages, left);
    if (left === 0) this.#unlinkObject(object);
  }

  /** Puts `page`, which was made for a handle that is there already, in the place of `old`. */
  supersede(old: number, page: number): void {
    const { pages } = this;
    const object = pages.get(old, PAGE.object);
    pages.set(page, PAGE.object, object);
    pages.set(page, PAGE.index, pages.get(old, PAGE.index));
    this.#link(object, page);
    this.unlink(old);
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
    const object = this.pages.get(page, PAGE.object);
    for (let half = 0; half < HANDLE_HALVES - 1; half++) handle[half] = this.objects.get(object, half);
    handle[6] = this.pages.get(page, PAGE.index);
  }

  poolOf(page: number): number {
    return this.objects.get(this.pages.get(page, PAGE.object), OBJECT.pool);
  }

  #isObject(object: number, pool: number, handle: Uint32Array): boolean {
    const { objects } = this;
    if (objects.get(object, OBJECT.pool) !== pool) return false;
    for (let half = 0; half < 6; half++) if (objects.get(object, half) !== (handle[half] | 0)) return false;
    return true;
  }

  #link(object: number, page: number): void {
    const { pages, objects } = this;
    const first = objects.get(object, OBJECT.first);
    pages.set(page, PAGE.objectPrevious, 0);
    pages.set(page, PAGE.objectNext, first);
    if (first !== 0) pages.set(first, PAGE.objectPrevious, page);
    objects.set(object, OBJECT.first, page);
    objects.set(object, OBJECT.pages, objects.get(object, OBJECT.pages) + 1);
    this.#pageIndex.add(this.#pageIndex.hash(object, pages.get(page, PAGE.index)), page);
  }

  #newObject(pool: number, handle: Uint32Array): number {
    // There are never more objects than pages, so this can't fail after the page was made.
    const { objects } = this;
    const object = objects.allocate();
    for (let half = 0; half < 6; half++) objects.set(object, half, handle[half]);
    objects.set(object, OBJECT.pool, pool);
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
