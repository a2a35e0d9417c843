/**
 * The snapshot reader (T2): the pages of a client as they are at one moment, read while the guest goes on.
 *
 * Each page's version is pinned. A put over it gives it a record of its own, so that the page stays as easy to find as
 * it was; a flush or a get only takes it from the guest; what was pinned goes when it has been read. Guests notice
 * nothing, and versions that are kept for the reader count against the host's limit: when that is reached, the save is
 * given up. The list of the pages, four bytes for each, is beside the limit, and four more for each record when pages
 * near it are put over: else a host that is full could not be saved at all.
 */
import type { CodecId } from '../codec/codec.ts';
import { toUuid } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import type { Client, Pool } from './clients.ts';
import { PAGE_BYTES, TMEM_LIMITS } from './constants.ts';
import type { TmemEngine } from './engine.ts';
import { PageBatch } from './page-batch.ts';
import { FORM, OBJECT, PAGE } from './page-table.ts';
import type { Yielding } from './reclaimer.ts';
import { chargeOf } from './slab-store.ts';
import { RadixSorter } from './sort.ts';
import { SparseNumbers } from './sparse-numbers.ts';

/** What a client has that travels beside its pages (stream 10.1): requests to the destination. */
export interface ClientImage {
  compress: boolean;
  /** By an operator. */
  frozen: boolean;
  weight: number;
  cap: number;
  allowance: number;
  /** Uuids of shared pools that it may use. */
  authorised: string[];
}

/** A pool that travels (stream 10.2). */
export interface PoolImage {
  incarnation: number;
  slot: number;
  flags: number;
  persistent: boolean;
  shared: boolean;
  precompressed: boolean;
  pageBytes: number;
  /** Of a shared pool, else zeros. */
  uuid: string;
  /** Pages that come; 0 for a shared ephemeral pool, which travels empty (T7). */
  pages: number;
}

/** What travels, and how. */
export interface ReadOptions {
  /** Whether ephemeral pools travel too. */
  readonly ephemeral?: boolean;
  /** Codecs that the receiver knows; undefined: all. */
  readonly codecs?: readonly CodecId[] | undefined;
}

/** Pages of one pool. The body is the reader's and valid until its next batch. */
export interface PagesStep {
  readonly incarnation: number;
  readonly count: number;
  /** The body of a TMEM_PAGES record (stream 10.3). */
  readonly body: Uint8Array;
}

export function imageOfClient(client: Client): ClientImage {
  const { compress, frozen, weight, cap, allowance, authorised } = client;
  return { compress, frozen, weight, cap, allowance, authorised: authorised.map(uuidText) };
}

function uuidText(name: string): string {
  return toUuid(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(name.slice(2 * i, 2 * i + 2), 16)));
}

export function imageOfPool(pool: Pool, slot: number): PoolImage {
  const { incarnation, flags, persistent, shared, precompressed } = pool;
  return {
    incarnation,
    slot,
    flags,
    persistent,
    shared,
    precompressed,
    pageBytes: PAGE_BYTES,
    uuid: toUuid(shared ? pool.uuid : new Uint8Array(16)),
    pages: shared && !persistent ? 0 : pool.counts.pages,
  };
}

/** The pools of a client that travel. @throws TMEM_SHARED_POOL for a persistent one that others share. */
export function travellingPools(client: Client, ephemeral: boolean): [slot: number, pool: Pool][] {
  const found: [number, Pool][] = [];
  for (const [slot, pool] of client.pools.entries()) {
    if (pool === undefined || (!pool.persistent && !ephemeral)) continue;
    if (pool.persistent && pool.sharers.some((sharer) => sharer !== client)) throw sharedPool(client, slot, pool);
    found.push([slot, pool]);
  }
  return found;
}

export function sharedPool(client: Client, slot: number, pool: Pool): TransmigrateError {
  const clients = pool.sharers.map(({ id }) => id);
  const what = `Pool ${slot} of tmem client ${client.id} is persistent and shared by clients ${clients.join(', ')}.`;
  return new TransmigrateError('TMEM_SHARED_POOL', what, { data: { client: client.id, pool: slot, clients } });
}

export function clientOf(engine: TmemEngine, id: number): Client {
  const client = engine.clients.get(id);
  if (client !== undefined) return client;
  throw new TransmigrateError('TMEM_NO_CLIENT', `There is no tmem client ${id}.`, { data: { client: id } });
}

/** Counts a reader in. @throws TMEM_READERS when there are as many as may be. */
export function countReader(engine: TmemEngine): void {
  if (engine.readers >= TMEM_LIMITS.readers) {
    const data = { limit: TMEM_LIMITS.readers };
    throw new TransmigrateError('TMEM_READERS', `${engine.readers} readers are at work already.`, { data });
  }
  engine.readers++;
}

/** A snapshot of one client. Read it with `next` until that is undefined, or `close` it. */
export class TmemSnapshot implements Yielding {
  readonly client: ClientImage;
  /** The pools that travel, by slot. */
  readonly pools: readonly PoolImage[];
  readonly #engine: TmemEngine;
  readonly #batch: PageBatch;
  /** The pages in the order in which they are read. */
  readonly #order: Int32Array;
  /** Which page records this snapshot has yet to read. */
  #mine: Int32Array;
  /** Of pages that were put over since, where the versions are that they had. */
  readonly #moved: SparseNumbers;
  /** Incarnation by number of pool, as it was when the snapshot was taken. */
  readonly #incarnations = new Map<number, number>();
  #at = 0;
  #state: 'open' | 'closed' | 'given up' = 'open';

  /**
   * Takes the snapshot: synchronously, so that the caller decides the moment.
   * @throws TMEM_NO_CLIENT, TMEM_READERS, TMEM_SHARED_POOL.
   */
  constructor(engine: TmemEngine, clientId: number, options: ReadOptions = {}) {
    const client = clientOf(engine, clientId);
    const pools = travellingPools(client, options.ephemeral === true);
    countReader(engine);
    this.#engine = engine;
    const { holdings } = engine;
    this.client = imageOfClient(client);
    this.pools = pools.map(([slot, pool]) => imageOfPool(pool, slot));
    for (const [, pool] of pools) this.#incarnations.set(pool.number, pool.incarnation);
    this.#batch = new PageBatch(options.codecs);
    this.#mine = new Int32Array((holdings.table.pages.end >> 5) + 1);
    this.#moved = new SparseNumbers(holdings.table.pages.end);
    const total = this.pools.reduce((sum, { pages }) => sum + pages, 0);
    this.#order = new Int32Array(total);
    let end = 0;
    for (const [, pool] of pools) if (pool.persistent) end = this.#ascending(pool, end);
    this.#byRecency(client, pools, end);
    for (const page of this.#order) {
      holdings.pin(page);
      this.#mine[page >> 5] |= 1 << (page & 31);
    }
    holdings.snapshots.push(this);
    engine.reclaimer.yielding.push(this);
  }

  /** Pages that are still to come. */
  get left(): number {
    return this.#state === 'open' ? this.#order.length - this.#at : 0;
  }

  /**
   * The next batch: persistent pools by slot, each in ascending order of object id and index; then ephemeral pools, all
   * together from the oldest page to the youngest, so that pages loaded in this order are evicted in the same one.
   * After the last one the snapshot is closed, and the answer undefined.
   * @throws TMEM_SAVE_GIVEN_UP when the memory it held was needed by a guest.
   */
  next(): PagesStep | undefined {
    if (this.#state === 'given up') {
      throw new TransmigrateError('TMEM_SAVE_GIVEN_UP', 'The save of a tmem client was given up: memory ran out.', {
        data: { read: this.#at, pages: this.#order.length },
      });
    }
    if (this.#state === 'closed' || this.#at === this.#order.length) {
      this.close();
      return undefined;
    }
    const { holdings } = this.#engine;
    const { table } = holdings;
    const batch = this.#batch;
    batch.clear();
    const pool = table.poolOf(this.#versionAt(this.#at));
    while (this.#at < this.#order.length && !batch.full) {
      const version = this.#versionAt(this.#at);
      if (table.poolOf(version) !== pool) break;
      batch.add(holdings, version);
      this.#at++;
      this.#let(version);
    }
    const incarnation = this.#incarnations.get(pool)!;
    return { incarnation, count: batch.count, body: batch.finish(incarnation) };
  }

  /** Lets go of everything that was not read. */
  close(): void {
    if (this.#state === 'open') this.#end('closed');
  }

  /** @internal */
  holds(page: number): boolean {
    // Most records that came later have no bit here.
    return page >> 5 < this.#mine.length && (this.#mine[page >> 5] & (1 << (page & 31))) !== 0;
  }

  /** @internal */
  versionMoved(from: number, to: number): void {
    if (!this.holds(from)) return;
    this.#moved.set(from, to);
    this.#mine[from >> 5] &= ~(1 << (from & 31));
    if (to >> 5 >= this.#mine.length) {
      const larger = new Int32Array(2 * (to >> 5));
      larger.set(this.#mine);
      this.#mine = larger;
    }
    this.#mine[to >> 5] |= 1 << (to & 31);
  }

  /** @internal */
  get heldBytes(): number {
    let bytes = 0;
    const { holdings } = this.#engine;
    for (let at = this.#at; at < this.#order.length; at++) {
      const version = this.#versionAt(at);
      if (holdings.isGhost(version)) bytes += chargeOf(holdings.table.pages.get(version, PAGE.form) & FORM.storedMask);
    }
    return bytes;
  }

  /** @internal */
  giveUp(): void {
    this.#end('given up');
  }

  #end(state: 'closed' | 'given up'): void {
    this.#state = state;
    for (let at = this.#at; at < this.#order.length; at++) this.#let(this.#versionAt(at));
    const { holdings, reclaimer } = this.#engine;
    holdings.snapshots.splice(holdings.snapshots.indexOf(this), 1);
    reclaimer.yielding.splice(reclaimer.yielding.indexOf(this), 1);
    this.#engine.readers--;
  }

  /** The record of the version that the snapshot is of. */
  #versionAt(at: number): number {
    const page = this.#order[at];
    return this.#moved.get(page) || page;
  }

  #let(version: number): void {
    this.#mine[version >> 5] &= ~(1 << (version & 31));
    const { holdings } = this.#engine;
    for (const other of holdings.snapshots) if (other.holds(version)) return;
    holdings.unpin(version);
  }

  #ascending(pool: Pool, start: number): number {
    const { table } = this.#engine.holdings;
    const { pages, objects } = table;
    const sorter = new RadixSorter();
    const ids = new Int32Array(table.objectsOf(pool.number));
    let count = 0;
    for (let object = table.firstObject(pool.number); object !== 0; object = objects.get(object, OBJECT.next)) {
      ids[count++] = object;
    }
    // The first word counts most, and each word is two halves, the lower one first.
    sorter.sort(ids, 24, (object, digit) => {
      const half = (2 - (digit >> 3)) * 2 + ((digit >> 2) & 1);
      return (objects.get(object, OBJECT.id + half) >>> (8 * (digit & 3))) & 0xff;
    });
    let end = start;
    for (const object of ids) {
      const first = end;
      for (let page = objects.get(object, OBJECT.first); page !== 0; page = pages.get(page, PAGE.objectNext)) {
        this.#order[end++] = page;
      }
      const ofObject = this.#order.subarray(first, end);
      sorter.sort(ofObject, 4, (page, digit) => (pages.get(page, PAGE.index) >>> (8 * digit)) & 0xff);
    }
    return end;
  }

  #byRecency(client: Client, pools: readonly (readonly [number, Pool])[], start: number): void {
    const { table } = this.#engine.holdings;
    const travelling = new Set(pools.filter(([, pool]) => !pool.persistent && !pool.shared).map(([, p]) => p.number));
    if (travelling.size === 0) return;
    let end = start;
    const { pages } = table;
    for (let page = pages.get(client.own, PAGE.ownNext); page !== client.own; page = pages.get(page, PAGE.ownNext)) {
      if (travelling.has(table.poolOf(page))) this.#order[end++] = page;
    }
  }
}
