/**
 * The reference's save of a client, call by call, for replays (spec/tmem.md 10.3): it freezes, walks the pages in the
 * order of their first puts, and lists what is removed meanwhile. Our own readers are snapshot.ts and log-reader.ts.
 */
import type { Client, Pool, Watcher } from './clients.ts';
import { HANDLE_HALVES } from './constants.ts';
import type { TmemEngine } from './engine.ts';
import { PAGE } from './page-table.ts';

interface Cursor {
  readonly pages: Float64Array;
  readonly numbers: Map<number, number>;
  at: number;
  /** The number in the order of the page that was given last; 0 before the first. */
  last: number;
}

export class ReferenceSave implements Watcher {
  /** Handles of persistent pages that went while a live save ran: slot, then seven halves. */
  readonly #invalidated: number[] = [];
  readonly #cursors = new Map<Pool, Cursor>();
  /** Where earlier saves of the client have come to in each pool. */
  readonly #earlier: ReadonlyMap<Pool, number>;
  readonly #engine: TmemEngine;
  readonly #client: Client;
  /** Whether an operator had frozen it before. */
  readonly wasFrozen: boolean;
  #invalidation = 0;
  readonly #handle = new Uint32Array(HANDLE_HALVES);

  /** @param earlier the save of the same client before this one. */
  constructor(engine: TmemEngine, client: Client, live: boolean, earlier?: ReferenceSave) {
    this.#engine = engine;
    this.#earlier = earlier?.progress ?? new Map<Pool, number>();
    this.#client = client;
    this.wasFrozen = client.frozen;
    client.frozen = true;
    client.liveSave = live;
    client.watchers.push(this);
  }

  end(): void {
    this.#client.liveSave = false;
    this.#client.frozen = this.wasFrozen;
    this.#client.watchers.splice(this.#client.watchers.indexOf(this), 1);
  }

  /** Where this save and those before it have come to. */
  get progress(): Map<Pool, number> {
    const all = new Map(this.#earlier);
    for (const [pool, { last }] of this.#cursors) if (last !== 0) all.set(pool, last);
    return all;
  }

  /** Whether an earlier save has read pages of a pool that this one has yet to begin with. */
  isAgain(pool: Pool): boolean {
    return !this.#cursors.has(pool) && this.#earlier.has(pool);
  }

  /** Begins behind the page that an earlier save had read last, as releases do that forget to start again. */
  goOn(pool: Pool): void {
    const cursor = this.#cursorOf(pool);
    const last = this.#earlier.get(pool) ?? 0;
    while (cursor.at < cursor.pages.length && cursor.pages[cursor.at] <= last) cursor.at++;
  }

  /** The first two pages of a pool, as far as there are so many. */
  firstPages(pool: Pool): number[] {
    const { pages, numbers } = this.#open(pool);
    return [...pages.subarray(0, 2)].map((order) => numbers.get(order)!);
  }

  /** The next page of a persistent pool; 0 after the last one. */
  nextPage(pool: Pool): number {
    const cursor = this.#cursorOf(pool);
    while (cursor.at < cursor.pages.length) {
      const order = cursor.pages[cursor.at++];
      const page = cursor.numbers.get(order)!;
      // A record that is another page now has another number in the order.
      if (this.#orderOf(page) !== order) continue;
      cursor.last = order;
      return page;
    }
    return 0;
  }

  /** Whether the page that `nextPage` gave last was the pool's first one. */
  isFirst(pool: Pool): boolean {
    return this.#cursors.get(pool)?.at === 1;
  }

  /** The handle of the next invalidated page, and its slot; -1 after the last one, and then from the start again. */
  nextInvalidated(handle: Uint32Array): number {
    const at = this.#invalidation;
    if (at >= this.#invalidated.length) {
      this.#invalidation = 0;
      return -1;
    }
    this.#invalidation += HANDLE_HALVES + 1;
    for (let half = 0; half < HANDLE_HALVES; half++) handle[half] = this.#invalidated[at + 1 + half];
    return this.#invalidated[at];
  }

  removed(page: number, pool: Pool): void {
    if (!this.#client.liveSave || !pool.persistent) return;
    this.#engine.holdings.table.handleOf(page, this.#handle);
    this.#invalidated.push(this.#client.slotOf(pool), ...this.#handle);
  }

  stored(): void {}
  objectRemoved(): void {}
  moved(): void {}
  opened(): void {}
  closed(): void {}
  sharersChanged(): void {}

  #orderOf(page: number): number {
    const { pages } = this.#engine.holdings.table;
    return pages.get(page, PAGE.globalPrevious) + pages.get(page, PAGE.globalNext) * 2 ** 31;
  }

  #cursorOf(pool: Pool): Cursor {
    let cursor = this.#cursors.get(pool);
    if (cursor === undefined) {
      cursor = this.#open(pool);
      this.#cursors.set(pool, cursor);
    }
    return cursor;
  }

  #open(pool: Pool): Cursor {
    const numbers = new Map<number, number>();
    this.#engine.holdings.eachPage(pool, (page) => void numbers.set(this.#orderOf(page), page));
    return { pages: Float64Array.from(numbers.keys()).sort(), numbers, at: 0, last: 0 };
  }
}
