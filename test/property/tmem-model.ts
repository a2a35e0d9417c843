/**
 * The rules of tmem a second time, with maps and strings, from spec/tmem.md: what the engine is compared with where
 * memory does not decide. It has no eviction and no limit.
 */

export interface ModelPage {
  content: string;
}

export interface ModelPool {
  readonly persistent: boolean;
  readonly shared: boolean;
  readonly precompressed: boolean;
  readonly uuid: string;
  owner: number;
  readonly sharers: number[];
  /** By object, then by index. */
  readonly objects: Map<string, { pages: Map<number, string>; lastClient: number }>;
}

interface ModelClient {
  readonly pools: (ModelPool | undefined)[];
  frozen: boolean;
}

/** Content of a page as text: equal texts, equal pages. */
export type Content = string;

export class TmemModel {
  readonly clients = new Map<number, ModelClient>();
  /** Whether a client became the owner of a pool that another had made. */
  inherited = false;

  client(id: number): ModelClient {
    let client = this.clients.get(id);
    if (client === undefined) {
      client = { pools: Array.from({ length: 16 }, () => undefined), frozen: false };
      this.clients.set(id, client);
    }
    return client;
  }

  #shared(): ModelPool[] {
    const pools = [...this.clients.values()].flatMap(({ pools: all }) => all);
    return [...new Set(pools)].filter((pool): pool is ModelPool => pool?.shared === true);
  }

  newPool(id: number, flags: number, uuid: string): number {
    const client = this.client(id);
    const slot = client.pools.indexOf(undefined);
    if (flags >>> 24 !== 1 || (flags & 0x00ff_fff0) !== 0 || slot === -1) return -1;
    const precompressed = (flags & 4) !== 0;
    const shared = (flags & 2) !== 0 && uuid !== 'f'.repeat(32);
    if (shared) {
      const known = this.#shared().find((pool) => pool.uuid === uuid);
      if (known !== undefined) {
        if (known.precompressed !== precompressed || known.sharers.includes(id)) return -1;
        known.sharers.push(id);
        client.pools[slot] = known;
        return slot;
      }
      if (this.#shared().length >= 16) return -1;
    }
    const persistent = (flags & 1) !== 0;
    client.pools[slot] = { persistent, shared, precompressed, uuid, owner: id, sharers: [id], objects: new Map() };
    return slot;
  }

  destroyPool(id: number, slot: number): number {
    const client = this.client(id);
    const pool = client.pools[slot];
    if (pool === undefined) return 0;
    client.pools[slot] = undefined;
    pool.sharers.splice(pool.sharers.indexOf(id), 1);
    for (const [name, object] of pool.objects) if (object.lastClient === id) pool.objects.delete(name);
    if (pool.owner === id && !pool.sharers.includes(id) && pool.sharers.length > 0) {
      [pool.owner] = pool.sharers;
      this.inherited = true;
    }
    return 1;
  }

  destroyClient(id: number): void {
    for (let slot = 0; slot < 16; slot++) this.destroyPool(id, slot);
    this.clients.delete(id);
  }

  put(id: number, slot: number, object: string, index: number, content: Content): number {
    const pool = this.client(id).pools[slot];
    if (pool === undefined) return -19;
    const there = pool.objects.get(object)?.pages.has(index) === true;
    if (!there && this.client(pool.owner).frozen) return -1000;
    const entry = pool.objects.get(object) ?? { pages: new Map<number, string>(), lastClient: -1 };
    pool.objects.set(object, entry);
    entry.pages.set(index, content);
    if (pool.shared) entry.lastClient = id;
    return 1;
  }

  get(id: number, slot: number, object: string, index: number): number | Content {
    const pool = this.client(id).pools[slot];
    if (pool === undefined) return -19;
    if (pool.objects.size === 0) return -1001;
    const entry = pool.objects.get(object);
    const content = entry?.pages.get(index);
    if (entry === undefined || content === undefined) return 0;
    if (!pool.persistent) {
      if (pool.shared) entry.lastClient = id;
      else this.#remove(pool, object, index);
    }
    return content;
  }

  #remove(pool: ModelPool, object: string, index: number): void {
    const entry = pool.objects.get(object);
    entry?.pages.delete(index);
    if (entry?.pages.size === 0) pool.objects.delete(object);
  }

  flushPage(id: number, slot: number, object: string, index: number): number {
    const pool = this.client(id).pools[slot];
    if (pool === undefined) return -19;
    this.#remove(pool, object, index);
    return this.client(pool.owner).frozen ? -1000 : 1;
  }

  flushObject(id: number, slot: number, object: string): number {
    const pool = this.client(id).pools[slot];
    if (pool === undefined) return -19;
    pool.objects.delete(object);
    return this.client(pool.owner).frozen ? -1000 : 1;
  }
}
