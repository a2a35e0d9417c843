/** Who has to go when there is no room: eviction by recency and quota, caps, saves given up (spec/tmem.md 6). */
import type { Client, Pool } from './clients.ts';
import { TMEM_LIMITS } from './constants.ts';
import { CHARGE, type Holdings } from './holdings.ts';
import { FORM, PAGE } from './page-table.ts';
import { chargeOf } from './slab-store.ts';

/** A reader that can be given up so that guests' puts find room. */
export interface Yielding {
  /** Bytes that would be free if it were given up: what it alone holds. */
  readonly heldBytes: number;
  giveUp(): void;
}

export class Reclaimer {
  /** Most bytes that everything may be charged for. */
  limitBytes: number;
  /** Sum of the clients' weights. */
  weights = 0;
  /** Pages evicted since the engine was made. */
  evictions = 0;
  /** Saves, which a put may end. */
  readonly yielding: Yielding[] = [];
  /** Told of each eviction, before the page goes. */
  onEviction: ((page: number, pool: Pool) => void) | undefined;
  readonly #holdings: Holdings;
  readonly #clients: ReadonlyMap<number, Client>;
  readonly #reference: boolean;

  constructor(holdings: Holdings, clients: ReadonlyMap<number, Client>, limitBytes: number, reference: boolean) {
    this.#holdings = holdings;
    this.#clients = clients;
    this.limitBytes = limitBytes;
    this.#reference = reference;
  }

  /** Whether the former's form can be stored, once pages were evicted. `old` is what it would replace, or 0. */
  makeRoom(client: Client, pool: Pool, old: number): boolean {
    const holdings = this.#holdings;
    if (old === 0 && !this.withinCaps(pool)) return false;
    const { pages } = holdings.table;
    let need = holdings.chargeFor();
    // An old version that a save needs stays, and is charged for beside the new one.
    if (old !== 0 && (pages.get(old, PAGE.form) & FORM.pinned) === 0) {
      need -= CHARGE.page + CHARGE.object + CHARGE.content + chargeOf(pages.get(old, PAGE.form) & FORM.storedMask);
    }
    let fruitless = 0;
    while (holdings.charged + holdings.idleBytes + need > this.limitBytes || pages.full) {
      const before = holdings.charged;
      if (!this.evictOne(client) || fruitless > TMEM_LIMITS.fruitlessEvictions) {
        if (!this.#giveUpSave()) return false;
        fruitless = 0;
      } else if (holdings.charged >= before) {
        fruitless++;
      }
    }
    return true;
  }

  /** Whether a new page is within its owner's allowance and cap, once the owner's oldest page is evicted if need be. */
  withinCaps(pool: Pool): boolean {
    const { owner } = pool;
    if (pool.persistent && owner.allowance > 0 && owner.persistent >= owner.allowance) return false;
    while (owner.cap > 0 && owner.ephemeral + owner.persistent >= owner.cap) {
      // What is being restored is not given up to make room for more of it.
      if (owner.incoming || !this.#evictFrom(owner.own, PAGE.ownNext)) return false;
    }
    return true;
  }

  /**
   * Evicts what is too much after something was stored. A restore asks so, and not before: what is needed at most is
   * more than what is, and a client that filled another host exactly must fit into this one. @returns whether it does.
   */
  settle(): boolean {
    const holdings = this.#holdings;
    while (holdings.charged + holdings.idleBytes > this.limitBytes) if (!this.evictOne(undefined)) return false;
    return true;
  }

  /** Ends the save that holds most. */
  #giveUpSave(): boolean {
    let most: Yielding | undefined;
    for (const each of this.yielding) if (most === undefined || each.heldBytes > most.heldBytes) most = each;
    most?.giveUp();
    return most !== undefined;
  }

  /** Evicts the page whose turn it is when `client` needs room; undefined: the host. */
  evictOne(client: Client | undefined): boolean {
    const holdings = this.#holdings;
    const { pages } = holdings.table;
    if (client !== undefined && pages.get(client.own, PAGE.ownNext) !== client.own && this.#overQuota(client)) {
      return this.#evictFrom(client.own, PAGE.ownNext);
    }
    if (!this.#reference) {
      const greedy = this.#greediest();
      if (greedy !== undefined) return this.#evictFrom(greedy.own, PAGE.ownNext);
    }
    return this.#evictFrom(holdings.global, PAGE.globalNext);
  }

  #overQuota(client: Client): boolean {
    if (this.weights === 0 || client.weight === 0 || client.ephemeral === 0) return false;
    const { ephemeral } = this.#holdings;
    if (!this.#reference) return client.ephemeral * this.weights > client.weight * ephemeral;
    return Math.floor((ephemeral * 100) / client.ephemeral) > Math.floor((this.weights * 100) / client.weight);
  }

  /** The client that is most above its share, so that a quiet one gets its own from those who took it. */
  #greediest(): Client | undefined {
    if (this.#clients.size < 2) return undefined;
    let greediest: Client | undefined;
    let most = 0;
    for (const client of this.#clients.values()) {
      if (client.weight === 0) continue;
      const above = client.ephemeral * this.weights - client.weight * this.#holdings.ephemeral;
      if (above > most) [greediest, most] = [client, above];
    }
    return greediest;
  }

  /**
   * Evicts the oldest page of a list. The reference spares a page once whose content is shared; here it is not, because
   * that is known to nobody who restores the client (spec/tmem.md 10).
   */
  #evictFrom(head: number, next: number): boolean {
    const holdings = this.#holdings;
    const { pages } = holdings.table;
    for (;;) {
      const page = pages.get(head, next);
      if (page === head) return false;
      const pool = holdings.pools[holdings.table.poolOf(page)]!;
      const form = pages.get(page, PAGE.form);
      if (this.#reference && (form & FORM.shared) !== 0 && (form & FORM.spared) === 0 && holdings.isShared(page)) {
        pages.set(page, PAGE.form, form | FORM.spared);
        holdings.refresh(page, pool);
        continue;
      }
      this.onEviction?.(page, pool);
      pool.counts.evictions++;
      this.evictions++;
      holdings.remove(page, pool);
      return true;
    }
  }
}
