/**
 * What the engine holds: pages with their contents, in recency order, and what they are charged for. It knows what
 * removing a page entails, and nothing of what guests may do; engine.ts does.
 */
import { CODEC, type CodecId } from '../codec/codec.ts';
import type { Client, Pool } from './clients.ts';
import { Contents, CROWDED } from './contents.ts';
import { PAGE_BYTES } from './constants.ts';
import { Former } from './former.ts';
import { FORM, GHOST, OBJECT, PAGE, PageTable } from './page-table.ts';
import { chargeOf, sameSize, SLAB_BYTES, SlabStore, SPAN_BYTES } from './slab-store.ts';

/** What a page, an object and a shared content are charged for beside stored bytes: their records and table slots. */
export const CHARGE = { page: 60, object: 72, content: 32 } as const;

/**
 * Slabs that there may be beyond the limit: each size class can have one span that is hardly used, because chunks of
 * different sizes can't share one.
 */
const SPARE_SLABS = Math.ceil((64 * SPAN_BYTES) / SLAB_BYTES) + 1;

/** Idle records that are nobody's fault. */
const IDLE_BYTES = 2 ** 20;

const NO_ROOM = -2;

/** The lower 31 bits of a page's number by order of putting. A remainder would be one of floating point, and slow. */
const LOW_HALF = 2 ** 31 - 1;

/** Whoever pins versions of pages. */
export interface Pinning {
  holds(page: number): boolean;
  /** The version that a page had has a number of its own now, because another one was put over it. */
  versionMoved(from: number, to: number): void;
}

export class Holdings {
  readonly table: PageTable;
  readonly store: SlabStore;
  readonly contents: Contents;
  readonly former = new Former();
  /** Head of the list of all ephemeral pages, oldest first. */
  readonly global: number;
  readonly pools: (Pool | undefined)[] = [undefined];
  /** Those who may hold a page that is pinned. */
  readonly snapshots: Pinning[] = [];
  ephemeral = 0;
  mostEphemeral = 0;
  live = 0;
  /** Pages that are gone but pinned. */
  ghosts = 0;
  /** Bytes of what is charged, all together. */
  charged = 0;
  #order = 0;
  #form = 0;
  #slabLimit: number;

  constructor(limitBytes: number, seed: number) {
    this.table = new PageTable(seed);
    this.store = new SlabStore((owner, place) => {
      if (owner > 0) this.table.pages.set(owner, PAGE.place, place);
      else this.contents.setPlace(-owner, place);
    });
    this.contents = new Contents(this.store, seed);
    this.global = this.newList();
    this.#slabLimit = slabsFor(limitBytes);
  }

  /** Bytes of all tables: what there is beside the slabs. */
  get tableBytes(): number {
    return this.table.bytes + this.contents.bytes + this.store.tableBytes;
  }

  /**
   * Bytes of records that guests have left idle, beyond what any use leaves: a guest that had many pages and kept one
   * here and there must not have taken memory that nobody is charged for.
   */
  get idleBytes(): number {
    const idle = this.table.pages.idleBytes + this.table.objects.idleBytes + this.contents.idleBytes;
    return Math.max(0, idle - IDLE_BYTES);
  }

  setLimit(bytes: number): void {
    this.#slabLimit = slabsFor(bytes);
  }

  /** A record that heads a list of pages. */
  newList(): number {
    const head = this.table.pages.allocate();
    for (const word of [PAGE.globalPrevious, PAGE.ownPrevious]) this.#emptyList(head, word);
    return head;
  }

  freeList(head: number): void {
    this.table.pages.free(head);
  }

  /** What storing the former's form would be charged for, at most. */
  chargeFor(): number {
    return CHARGE.page + CHARGE.object + CHARGE.content + chargeOf(this.former.stored);
  }

  /** Makes a page that is not there, with the former's form. @returns 0 when there is no room for it. */
  insert(pool: Pool, handle: Uint32Array): number {
    const { table } = this;
    const objectsBefore = table.objects.used;
    const page = table.insert(pool.number, handle);
    if (page === 0) return 0;
    this.charged += CHARGE.page + (table.objects.used - objectsBefore) * CHARGE.object;
    this.live++;
    const place = this.#makeContent(page, pool);
    if (place === NO_ROOM) {
      this.#unlink(page);
      this.#release(page);
      return 0;
    }
    const record = table.pages.segmentOf(page);
    const at = table.pages.offsetOf(page);
    record[at + PAGE.place] = place;
    record[at + PAGE.form] = this.#form;
    const { counts } = pool;
    counts.pages++;
    pool.storedCharge += chargeOf(this.former.stored);
    if (counts.pages > counts.mostPages) counts.mostPages = counts.pages;
    if (table.objectsOf(pool.number) > counts.mostObjects) counts.mostObjects = table.objectsOf(pool.number);
    this.#enter(page, pool);
    return page;
  }

  /**
   * Gives a page that is there the former's form. Its number and its place in the lists stay. If a snapshot has yet to
   * read the old version, that goes on to exist by itself.
   * @returns whether there was room: else the old version is as it was.
   */
  replace(page: number, pool: Pool): boolean {
    const { pages } = this.table;
    const form = pages.get(page, PAGE.form);
    const pinned = (form & FORM.pinned) !== 0;
    if (!pinned && this.#overwrite(page, form, pool)) return true;
    const ghost = pinned ? pages.allocate() : 0;
    if (pinned && ghost === 0) return false;
    const place = this.#makeContent(page, pool);
    if (place === NO_ROOM) {
      if (pinned) pages.free(ghost);
      return false;
    }
    pool.storedCharge += chargeOf(this.former.stored) - chargeOf(form & FORM.storedMask);
    // Read only now: to make room, the old bytes may have been moved.
    const old = pages.get(page, PAGE.place);
    if (pinned) this.#keepVersion(page, ghost, old, form);
    else this.#dropContent(old, form);
    pages.set(page, PAGE.place, place);
    // What the reference has spared once it does not spare again, whatever is put over it.
    pages.set(page, PAGE.form, pinned ? this.#form : this.#form | (form & FORM.spared));
    return true;
  }

  /** Gives the present version of a page a record of its own, from which snapshots read it. */
  #keepVersion(page: number, ghost: number, place: number, form: number): void {
    const { pages, objects } = this.table;
    const object = pages.get(page, PAGE.object);
    pages.set(ghost, PAGE.object, object);
    pages.set(ghost, PAGE.index, pages.get(page, PAGE.index));
    pages.set(ghost, PAGE.place, place);
    pages.set(ghost, PAGE.form, form);
    pages.set(ghost, PAGE.objectPrevious, GHOST);
    if ((form & FORM.shared) === 0 && (form & FORM.storedMask) !== 0) this.store.setOwner(place, ghost);
    objects.set(object, OBJECT.ghosts, objects.get(object, OBJECT.ghosts) + 1);
    this.charged += CHARGE.page;
    this.ghosts++;
    for (const snapshot of this.snapshots) snapshot.versionMoved(page, ghost);
  }

  /** Where the new form takes a chunk of the same size, it goes into the one that is there. @returns whether it did. */
  #overwrite(page: number, form: number, pool: Pool): boolean {
    const { stored, bytes, at } = this.former;
    if (pool.sharing || stored === 0 || !sameSize(stored, form & FORM.storedMask)) return false;
    const { pages } = this.table;
    this.store.write(pages.get(page, PAGE.place), bytes, at, stored);
    pages.set(page, PAGE.form, this.#formWord());
    return true;
  }

  /** The former's form as a page's record has it. */
  #formWord(): number {
    const { stored, original, codec } = this.former;
    return stored | (original << FORM.originalShift) | (codec << FORM.codecShift);
  }

  /** Removes a page: from its object, the lists and the counts. Its content goes too, unless a snapshot needs it. */
  remove(page: number, pool: Pool): void {
    const { pages, objects } = this.table;
    const record = pages.segmentOf(page);
    const at = pages.offsetOf(page);
    const form = record[at + PAGE.form];
    for (const watcher of pool.owner.watchers) watcher.removed(page, pool);
    this.#leave(page, pool);
    pool.counts.pages--;
    pool.storedCharge -= chargeOf(form & FORM.storedMask);
    if ((form & FORM.pinned) === 0) {
      this.#dropContent(record[at + PAGE.place], form);
      this.#unlink(page);
      this.#release(page);
      return;
    }
    const object = record[at + PAGE.object];
    objects.set(object, OBJECT.ghosts, objects.get(object, OBJECT.ghosts) + 1);
    this.#unlink(page);
    pages.set(page, PAGE.objectPrevious, GHOST);
    this.ghosts++;
  }

  /** Keeps a page's present version until `unpin`. */
  pin(page: number): void {
    this.table.pages.set(page, PAGE.form, this.table.pages.get(page, PAGE.form) | FORM.pinned);
  }

  /** Whether a page is gone, and its record there only because a snapshot needs it. */
  isGhost(page: number): boolean {
    return this.table.pages.get(page, PAGE.objectPrevious) === GHOST;
  }

  /** No snapshot needs this version any more. If the page is gone, so is the version now. */
  unpin(page: number): void {
    const { pages, objects } = this.table;
    const form = pages.get(page, PAGE.form) & ~FORM.pinned;
    pages.set(page, PAGE.form, form);
    if (pages.get(page, PAGE.objectPrevious) !== GHOST) return;
    const object = pages.get(page, PAGE.object);
    objects.set(object, OBJECT.ghosts, objects.get(object, OBJECT.ghosts) - 1);
    this.#dropContent(pages.get(page, PAGE.place), form);
    this.ghosts--;
    this.#release(page);
  }

  /** Copies a page's content to a guest's page, zeros behind it. @returns how many bytes were stored of it. */
  read(page: number, into: Uint8Array): number {
    const { pages } = this.table;
    const record = pages.segmentOf(page);
    const at = pages.offsetOf(page);
    const form = record[at + PAGE.form];
    const stored = form & FORM.storedMask;
    const original = (form >> FORM.originalShift) & FORM.originalMask;
    const codec = ((form >> FORM.codecShift) & FORM.codecMask) as CodecId;
    if (stored === 0) {
      into.fill(0, 0, PAGE_BYTES);
    } else if (codec === CODEC.raw || codec === CODEC.opaque) {
      this.store.read(this.chunkOf(record[at + PAGE.place], form), into, 0, stored);
      if (stored < PAGE_BYTES) into.fill(0, stored, PAGE_BYTES);
    } else {
      this.store.read(this.chunkOf(record[at + PAGE.place], form), this.former.room(stored), 0, stored);
      this.former.decode(codec, original, stored, into);
    }
    return original;
  }

  /** Calls back with every page of a pool, in no order. The pages must stay as they are meanwhile. */
  eachPage(pool: Pool, visit: (page: number) => void): void {
    const { pages, objects } = this.table;
    for (let object = this.table.firstObject(pool.number); object !== 0; object = objects.get(object, OBJECT.next)) {
      for (let page = objects.get(object, OBJECT.first); page !== 0; page = pages.get(page, PAGE.objectNext))
        visit(page);
    }
  }

  /** Where the stored bytes of a page lie. */
  chunkOf(place: number, form: number): number {
    return (form & FORM.shared) === 0 ? place : this.contents.place(place);
  }

  /** Whether other pages have the same content. */
  isShared(page: number): boolean {
    const form = this.table.pages.get(page, PAGE.form);
    return (form & FORM.shared) !== 0 && this.contents.references(this.table.pages.get(page, PAGE.place)) > 1;
  }

  /** Puts an ephemeral page at the end of both lists. */
  refresh(page: number, pool: Pool): void {
    for (const watcher of pool.owner.watchers) watcher.moved(page);
    this.#take(page, PAGE.globalPrevious);
    this.#append(this.global, page, PAGE.globalPrevious);
    this.#take(page, PAGE.ownPrevious);
    this.#append(pool.owner.own, page, PAGE.ownPrevious);
  }

  /** Lets the pages of a client that was restored be evicted like others: they become the youngest, in their order. */
  release(client: Client): void {
    const { pages } = this.table;
    for (let page = pages.get(client.own, PAGE.ownNext); page !== client.own; page = pages.get(page, PAGE.ownNext)) {
      this.#append(this.global, page, PAGE.globalPrevious);
    }
    this.ephemeral += client.ephemeral;
    this.mostEphemeral = Math.max(this.mostEphemeral, this.ephemeral);
  }

  /** Moves the pages of a pool to its new owner's list, as the oldest there. */
  moveOwner(pool: Pool, to: Client): void {
    const { pages } = this.table;
    const from = pool.owner;
    if (!pool.persistent) {
      let after = to.own;
      for (let page = pages.get(from.own, PAGE.ownNext); page !== from.own;) {
        const next = pages.get(page, PAGE.ownNext);
        if (this.table.poolOf(page) === pool.number) {
          for (const watcher of from.watchers) watcher.moved(page);
          this.#take(page, PAGE.ownPrevious);
          this.#insertAfter(after, page, PAGE.ownPrevious);
          after = page;
        }
        page = next;
      }
      from.ephemeral -= pool.counts.pages;
      to.ephemeral += pool.counts.pages;
    } else {
      from.persistent -= pool.counts.pages;
      to.persistent += pool.counts.pages;
    }
    pool.owner = to;
  }

  /** Puts all of one client's list before another's: what the reference does when a pool gets a new owner. */
  spliceOwn(from: Client, to: Client): void {
    const { pages } = this.table;
    const first = pages.get(from.own, PAGE.ownNext);
    if (first === from.own) return;
    const last = pages.get(from.own, PAGE.ownPrevious);
    const after = pages.get(to.own, PAGE.ownNext);
    pages.set(to.own, PAGE.ownNext, first);
    pages.set(first, PAGE.ownPrevious, to.own);
    pages.set(last, PAGE.ownNext, after);
    pages.set(after, PAGE.ownPrevious, last);
    this.#emptyList(from.own, PAGE.ownPrevious);
  }

  #enter(page: number, pool: Pool): void {
    const { owner } = pool;
    if (pool.persistent) {
      owner.persistent++;
      const order = ++this.#order;
      this.table.pages.set(page, PAGE.globalPrevious, order & LOW_HALF);
      this.table.pages.set(page, PAGE.globalNext, Math.floor(order / 2 ** 31));
      return;
    }
    if (++owner.ephemeral > owner.mostEphemeral) owner.mostEphemeral = owner.ephemeral;
    this.#append(owner.own, page, PAGE.ownPrevious);
    if (owner.incoming) return;
    if (++this.ephemeral > this.mostEphemeral) this.mostEphemeral = this.ephemeral;
    this.#append(this.global, page, PAGE.globalPrevious);
  }

  #leave(page: number, pool: Pool): void {
    const { owner } = pool;
    if (pool.persistent) {
      owner.persistent--;
      return;
    }
    owner.ephemeral--;
    this.#take(page, PAGE.ownPrevious);
    if (owner.incoming) return;
    this.ephemeral--;
    this.#take(page, PAGE.globalPrevious);
  }

  #unlink(page: number): void {
    this.table.unlink(page);
    this.live--;
  }

  #release(page: number): void {
    const before = this.table.objects.used;
    this.table.release(page);
    this.charged -= CHARGE.page + (before - this.table.objects.used) * CHARGE.object;
  }

  /**
   * Stores the former's form for a page, whose record it leaves alone: `#form` is what the form has to become there.
   * @returns what the place has to become, or NO_ROOM.
   */
  #makeContent(page: number, pool: Pool): number {
    const { former, store } = this;
    const { stored } = former;
    this.#form = this.#formWord();
    if (pool.sharing) {
      const hash = this.contents.hash(former);
      const content = this.contents.find(hash, former, this.#form);
      if (content !== CROWDED) return this.#shareContent(content, hash);
    }
    if (stored === 0) return -1;
    const place = store.allocate(stored, page, this.#slabLimit);
    if (place === -1) return NO_ROOM;
    store.write(place, former.bytes, former.at, stored);
    this.charged += chargeOf(stored);
    return place;
  }

  /** @param found the content that is there already, or 0. */
  #shareContent(found: number, hash: number): number {
    const { former, store, contents } = this;
    const { stored } = former;
    const form = this.#form;
    this.#form |= FORM.shared;
    if (found !== 0) {
      contents.share(found);
      return found;
    }
    const content = contents.reserve();
    if (content === 0) return NO_ROOM;
    const place = stored === 0 ? -1 : store.allocate(stored, -content, this.#slabLimit);
    if (stored > 0) {
      if (place === -1) {
        contents.giveBack(content);
        return NO_ROOM;
      }
      store.write(place, former.bytes, former.at, stored);
    }
    contents.add(content, hash, form, place);
    this.charged += CHARGE.content + chargeOf(stored);
    return content;
  }

  #dropContent(place: number, form: number): void {
    const stored = form & FORM.storedMask;
    let chunk = place;
    if ((form & FORM.shared) !== 0) {
      chunk = this.contents.place(place);
      if (!this.contents.drop(place)) return;
      this.charged -= CHARGE.content;
    }
    if (stored === 0) return;
    this.store.free(chunk);
    this.charged -= chargeOf(stored);
  }

  #emptyList(head: number, previous: number): void {
    this.table.pages.set(head, previous, head);
    this.table.pages.set(head, previous + 1, head);
  }

  #append(head: number, page: number, previous: number): void {
    this.#insertAfter(this.table.pages.get(head, previous), page, previous);
  }

  #insertAfter(before: number, page: number, previous: number): void {
    const { pages } = this.table;
    const next = pages.get(before, previous + 1);
    pages.set(page, previous, before);
    pages.set(page, previous + 1, next);
    pages.set(before, previous + 1, page);
    pages.set(next, previous, page);
  }

  #take(page: number, previous: number): void {
    const { pages } = this.table;
    const before = pages.get(page, previous);
    const next = pages.get(page, previous + 1);
    pages.set(before, previous + 1, next);
    pages.set(next, previous, before);
  }
}

function slabsFor(bytes: number): number {
  return Math.ceil(bytes / SLAB_BYTES) + SPARE_SLABS;
}
