/**
 * The tmem engine of a host (T1): what guests ask for, and what the host decides. spec/tmem.md is its specification.
 *
 * It knows no guest memory, no clock and no stream: pages come and go as arrays of 4096 bytes, handles as seven 32-bit
 * halves in one array that the caller uses again and again.
 */
import { CODEC, type CodecId } from '../codec/codec.ts';
import { toHex } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import { authoriseUuid, Client, Pool } from './clients.ts';
import { PAGE_BYTES, POOL_FLAG, POOL_VERSION, RESULT, TMEM_LIMITS } from './constants.ts';
import { CHARGE, Holdings } from './holdings.ts';
import { OBJECT, PAGE } from './page-table.ts';
import { Reclaimer } from './reclaimer.ts';

/** What a host decides about its engine. */
export interface TmemOptions {
  /**
   * Most bytes that pages may be charged for, with their records (spec/tmem.md 6). Slabs take at most 5 MiB more.
   */
  readonly limitBytes: number;
  /** For hashes: 32 random bits, so that a guest can't choose handles that collide. */
  readonly seed?: number;
  /** What pages of clients that compress are stored in: CODEC.lz4 by default. */
  readonly codec?: CodecId;
  /** What new clients start with. */
  readonly client?: Partial<ClientSettings>;
  /** Shared pools need an authorisation for each client and uuid. */
  readonly sharedNeedsAuthorisation?: boolean;
  /** Answer as the reference does, where that is wrong too (spec/tmem.md 10). */
  readonly reference?: boolean;
}

/** What an operator sets for a client. */
export interface ClientSettings {
  /** Share of the ephemeral pages, among the weights of all clients; 0 for no claim and no quota. */
  weight: number;
  /** Most pages; 0 for none. */
  cap: number;
  /** Most persistent pages; 0 for no limit but the host's. */
  allowance: number;
  compress: boolean;
  /** Whether pools made from now on store equal pages once. */
  sharing: boolean;
  frozen: boolean;
}

const ALL_ONES = 'f'.repeat(32);

/** What happens during one put in a replay instead of what memory decides (spec/tmem.md 10). */
export interface Script {
  /** Pages that are evicted. */
  evictions: number;
  /** The result of a put that finds no memory: before it has looked (-12), or when it has (-28); otherwise 0. */
  failure: number;
}

/** One for a host. Nothing here is asynchronous, and nothing that a guest can ask for throws. */
export class TmemEngine {
  /** Length of the data that the last get of a PRECOMPRESSED page gave, 4096 for other pages. */
  gotBytes = 0;
  /** @internal */
  readonly holdings: Holdings;
  /** @internal */
  readonly clients = new Map<number, Client>();
  /** @internal Readers of all kinds. */
  readers = 0;
  /** @internal Set by a replay. */
  script: Script | undefined;
  /** @internal */
  readonly reclaimer: Reclaimer;
  readonly #codec: CodecId;
  readonly #defaults: ClientSettings;
  readonly #reference: boolean;
  readonly #shared = new Map<string, Pool>();
  #enabled = true;
  /** The client that was asked for last: most operations are followed by others of the same one. */
  #lastClient: Client | undefined;
  #incarnations = 0;
  /** Clients that are being restored: they have places among all that there may be. */
  #incoming = 0;
  #needsAuthorisation: boolean;

  /** @throws USAGE for a limit below 1 MiB, or a codec that pages can't be stored in. */
  constructor(options: TmemOptions) {
    const { codec = CODEC.lz4, limitBytes } = options;
    if (!(limitBytes >= 2 ** 20) || !Number.isSafeInteger(limitBytes)) {
      throw new TransmigrateError('USAGE', `A tmem engine can't work with ${limitBytes} bytes.`, {
        data: { limitBytes },
      });
    }
    if (codec === CODEC.zero || codec === CODEC.opaque) {
      throw new TransmigrateError('USAGE', `Pages can't be stored in codec ${codec}.`, { data: { codec } });
    }
    this.#codec = codec;
    this.#reference = options.reference === true;
    this.#needsAuthorisation = options.sharedNeedsAuthorisation === true;
    this.#defaults = {
      weight: this.#reference ? 0 : 100,
      cap: 0,
      allowance: 0,
      compress: false,
      sharing: false,
      frozen: false,
      ...options.client,
    };
    this.holdings = new Holdings(limitBytes, options.seed ?? 0);
    this.reclaimer = new Reclaimer(this.holdings, this.clients, limitBytes, this.#reference);
  }

  /** Whether guests may use tmem. */
  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(enabled: boolean) {
    this.#enabled = enabled;
  }

  get limitBytes(): number {
    return this.reclaimer.limitBytes;
  }

  /** What new clients start with. */
  get standard(): Readonly<ClientSettings> {
    return this.#defaults;
  }

  // What guests ask for.

  /**
   * Makes a pool, or joins a shared one (spec/tmem.md 4.1). Makes the client if it has none yet.
   * @param uuid 16 bytes, which are copied.
   * @returns its slot, or notPermitted; noDevice when tmem is off.
   */
  newPool(clientId: number, flags: number, uuid: Uint8Array): number {
    const client = this.#clientOrNew(clientId);
    if (client === undefined) return RESULT.noDevice;
    const slot = client.pools.indexOf(undefined);
    return this.newPoolAt(client, slot, flags, uuid);
  }

  /** @internal Makes a pool in a slot that is free. */
  newPoolAt(client: Client, slot: number, flags: number, uuid: Uint8Array): number {
    // Bit 3 is ignored, as the reference does: guests exist that set it.
    if (flags >>> 24 !== POOL_VERSION || (flags & 0x00ff_ff00) !== 0 || (flags & 0xf0) !== 0)
      return RESULT.notPermitted;
    const precompressed = (flags & POOL_FLAG.precompressed) !== 0;
    if (precompressed && this.#reference) return RESULT.notPermitted;
    if (slot < 0 || slot >= client.pools.length || client.pools[slot] !== undefined) return RESULT.notPermitted;
    const persistent = (flags & POOL_FLAG.persistent) !== 0;
    const name = toHex(uuid);
    const shared = (flags & POOL_FLAG.shared) !== 0 && name !== ALL_ONES && this.#mayShare(client, name);
    if (shared) {
      const known = client.incoming ? undefined : this.#shared.get(name);
      if (known !== undefined) {
        // Data of one kind can't be given out as the other.
        if (known.precompressed !== precompressed) return RESULT.notPermitted;
        // The reference lets a client join a pool twice, which no stream could carry.
        if (known.sharers.includes(client) && !this.#reference) return RESULT.notPermitted;
        return this.#join(client, slot, known);
      }
      if (this.#shared.size >= TMEM_LIMITS.sharedPools) return RESULT.notPermitted;
    }
    const { pools } = this.holdings;
    let number = pools.indexOf(undefined, 1);
    if (number === -1) number = pools.length;
    const pool = new Pool(
      number,
      ++this.#incarnations,
      { persistent, shared, precompressed },
      uuid.slice(0, 16),
      client.sharing && !(this.#reference && persistent),
      client,
    );
    pools[number] = pool;
    client.pools[slot] = pool;
    if (shared && !client.incoming) this.#shared.set(name, pool);
    for (const watcher of client.watchers) watcher.opened(pool, slot);
    return slot;
  }

  /** Destroys a pool, or leaves it to the others who share it (spec/tmem.md 4.2). @returns done or none. */
  destroyPool(clientId: number, slot: number): number {
    const client = this.#clientOrNew(clientId);
    const pool = client?.pools[slot];
    if (client === undefined || pool === undefined) return RESULT.none;
    this.#leave(client, slot, pool);
    return RESULT.done;
  }

  /**
   * Keeps a page (spec/tmem.md 4.3).
   * @param handle seven halves, which are read.
   * @param page 4096 bytes, which are copied; they stay the caller's.
   * @param length of the guest's own data in `page`, for a PRECOMPRESSED pool: 1 to 4096.
   */
  put(clientId: number, slot: number, handle: Uint32Array, page: Uint8Array, length = PAGE_BYTES): number {
    const client = this.#clientOrNew(clientId);
    const pool = client?.pools[slot];
    if (client === undefined || pool === undefined) return RESULT.noDevice;
    const { holdings } = this;
    pool.counts.puts++;
    if (this.script !== undefined) {
      while (this.script.evictions > 0 && this.reclaimer.evictOne(client)) this.script.evictions--;
      // The reference gives up before it looks, and leaves the old data readable.
      if (this.script.failure === RESULT.noMemory) return this.#refuse(pool, RESULT.noMemory);
    }
    let old = holdings.table.find(pool.number, handle);
    if (old === 0 && pool.owner.frozen) return this.#refuse(pool, RESULT.frozen);
    if (old !== 0 && pool.owner.liveSave) return this.#removeByPut(old, pool, RESULT.noSpace);
    if (pool.precompressed) {
      if (!(length >= 1 && length <= PAGE_BYTES)) return this.#refuseOver(old, pool, RESULT.invalid);
      holdings.former.formOpaque(page, length);
    } else {
      const { former } = holdings;
      former.form(page, client.compress ? this.#codec : CODEC.raw);
      if (client.compress) {
        if (former.codec <= CODEC.raw) client.counts.poorlyCompressed++;
        else client.counts.compressed++;
      }
    }
    if (this.script === undefined) {
      const { evictions } = this.reclaimer;
      if (!this.reclaimer.makeRoom(client, pool, old)) return this.#noRoom(handle, pool);
      // To make room, the very page can have been evicted.
      if (old !== 0 && this.reclaimer.evictions !== evictions) {
        old = holdings.table.find(pool.number, handle);
        if (old === 0 && pool.owner.frozen) return this.#refuse(pool, RESULT.frozen);
      }
    } else if (this.script.failure !== 0) {
      return this.#refuseOver(old, pool, this.script.failure);
    }
    return old === 0 ? this.#putNew(client, pool, handle) : this.#putOver(client, pool, old);
  }

  /** Whether a client has a PRECOMPRESSED pool in this slot. */
  isPrecompressed(clientId: number, slot: number): boolean {
    return this.clients.get(clientId)?.pools[slot]?.precompressed === true;
  }

  /**
   * A put whose page can't be read: outside the guest's memory, or not aligned. What was there is gone all the same
   * (spec/tmem.md 4.3).
   * @param failure another reason, to be answered instead of badAddress.
   */
  putUnreadable(clientId: number, slot: number, handle: Uint32Array, failure: number = RESULT.badAddress): number {
    const pool = this.#clientOrNew(clientId)?.pools[slot];
    if (pool === undefined) return RESULT.noDevice;
    pool.counts.puts++;
    const old = this.holdings.table.find(pool.number, handle);
    if (old === 0 && pool.owner.frozen) return this.#refuse(pool, RESULT.frozen);
    return this.#refuseOver(old, pool, old !== 0 && pool.owner.liveSave ? RESULT.noSpace : failure);
  }

  /**
   * Gives a page back (spec/tmem.md 4.4).
   * @param page 4096 bytes, which are filled when the result is done; the length is in `gotBytes`.
   */
  get(clientId: number, slot: number, handle: Uint32Array, page: Uint8Array): number {
    const client = this.#clientOrNew(clientId);
    const pool = client?.pools[slot];
    if (client === undefined || pool === undefined) return RESULT.noDevice;
    const { holdings } = this;
    // As in the reference, a get from a pool without pages is not counted.
    if (pool.counts.pages === 0) return RESULT.empty;
    pool.counts.gets++;
    const found = holdings.table.find(pool.number, handle);
    if (found === 0) return RESULT.none;
    const stored = holdings.read(found, page);
    this.gotBytes = pool.precompressed ? stored : PAGE_BYTES;
    if (pool.persistent) {
      pool.owner.counts.persistentGets++;
    } else {
      pool.owner.counts.ephemeralGets++;
      if (pool.shared) {
        holdings.refresh(found, pool);
        this.#touch(found, client);
      } else {
        holdings.remove(found, pool);
      }
    }
    pool.counts.goodGets++;
    return RESULT.done;
  }

  /** Forgets a page (spec/tmem.md 4.5). */
  flushPage(clientId: number, slot: number, handle: Uint32Array): number {
    const pool = this.#clientOrNew(clientId)?.pools[slot];
    if (pool === undefined) return RESULT.noDevice;
    pool.counts.flushes++;
    const page = this.holdings.table.find(pool.number, handle);
    if (page !== 0) {
      this.holdings.remove(page, pool);
      pool.counts.goodFlushes++;
    }
    return pool.owner.frozen ? RESULT.frozen : RESULT.done;
  }

  /** Forgets all pages of an object (spec/tmem.md 4.5). */
  flushObject(clientId: number, slot: number, handle: Uint32Array): number {
    const pool = this.#clientOrNew(clientId)?.pools[slot];
    if (pool === undefined) return RESULT.noDevice;
    pool.counts.objectFlushes++;
    const object = this.holdings.table.findObject(pool.number, handle);
    if (object !== 0) {
      this.removeObject(object, pool);
      pool.counts.goodObjectFlushes++;
    }
    return pool.owner.frozen ? RESULT.frozen : RESULT.done;
  }

  // What the host decides.

  /** Takes a client and all it holds away, whatever it is doing. Nothing when there is none. */
  destroyClient(clientId: number): void {
    const client = this.clients.get(clientId);
    if (client === undefined) return;
    this.clients.delete(clientId);
    this.#lastClient = undefined;
    this.forget(client);
  }

  /** @internal Destroys what a client has; nobody finds it any more. */
  forget(client: Client): void {
    for (const [slot, pool] of client.pools.entries()) {
      if (pool !== undefined) this.#leave(client, slot, pool);
    }
    if (client.incoming) this.#incoming--;
    else this.reclaimer.weights -= client.weight;
    this.holdings.freeList(client.own);
  }

  /** Makes a client before its first operation. @returns whether there is one now: there may be too many. */
  addClient(clientId: number): boolean {
    return this.#clientOrNew(clientId) !== undefined;
  }

  /** @internal A client that is not there yet. */
  makeClient(clientId: number, incoming: boolean): Client | undefined {
    if (this.clients.size + this.#incoming >= TMEM_LIMITS.clients) return undefined;
    const own = this.holdings.newList();
    if (own === 0) return undefined;
    const client = new Client(clientId, own, { ...this.#defaults, incoming });
    client.cap = this.#defaults.cap;
    client.frozen = this.#defaults.frozen;
    if (incoming) this.#incoming++;
    return client;
  }

  /** @internal Lets a client be found; its shared pools too. */
  adopt(client: Client): void {
    this.clients.set(client.id, client);
    this.#lastClient = client;
    this.reclaimer.weights += client.weight;
    if (!client.incoming) return;
    this.holdings.release(client);
    client.incoming = false;
    this.#incoming--;
    for (const pool of client.pools) if (pool?.shared === true) this.#shared.set(pool.name, pool);
  }

  /** @internal The shared pool with this uuid. */
  sharedPool(name: string): Pool | undefined {
    return this.#shared.get(name);
  }

  /** @internal Whether so many shared pools more could be. */
  hasSharedSlots(count: number): boolean {
    return this.#shared.size + count <= TMEM_LIMITS.sharedPools;
  }

  /** The settings of a client; undefined when there is none. */
  settings(clientId: number): ClientSettings | undefined {
    const client = this.clients.get(clientId);
    if (client === undefined) return undefined;
    const { weight, cap, allowance, compress, sharing, frozen } = client;
    return { weight, cap, allowance, compress, sharing, frozen };
  }

  /**
   * Changes settings of a client. Numbers are 0 to 2^32 - 1.
   * @returns whether there is such a client.
   * @throws USAGE for a number outside its range.
   */
  set(clientId: number, settings: Partial<ClientSettings>): boolean {
    const client = this.clients.get(clientId);
    if (client === undefined) return false;
    this.apply(client, settings);
    return true;
  }

  /** @internal Changes settings of a client, which may be one that nobody sees yet. */
  apply(client: Client, settings: Partial<ClientSettings>): void {
    for (const name of ['weight', 'cap', 'allowance'] as const) {
      const value = settings[name];
      if (value !== undefined && !(Number.isInteger(value) && value >= 0 && value < 2 ** 32)) {
        throw new TransmigrateError('USAGE', `${name} can't be ${value}.`, { data: { [name]: value } });
      }
    }
    if (!client.incoming) this.reclaimer.weights += (settings.weight ?? client.weight) - client.weight;
    client.weight = settings.weight ?? client.weight;
    client.cap = settings.cap ?? client.cap;
    client.allowance = settings.allowance ?? client.allowance;
    client.compress = settings.compress ?? client.compress;
    client.sharing = settings.sharing ?? client.sharing;
    client.frozen = settings.frozen ?? client.frozen;
  }

  /** Whether shared pools need an authorisation. */
  requireAuthorisation(required: boolean): void {
    this.#needsAuthorisation = required;
  }

  /**
   * Authorises a client for a shared pool's uuid, or takes that back (spec/tmem.md 4.6).
   * @returns done; none when there was nothing to take back; noMemory for a 17th; invalid without such a client.
   */
  authorise(clientId: number, uuid: Uint8Array, authorised: boolean): number {
    const client = this.clients.get(clientId);
    if (client === undefined) return RESULT.invalid;
    return authoriseUuid(client, toHex(uuid), authorised);
  }

  /**
   * Evicts ephemeral pages, oldest first, until so many bytes less are charged.
   * @returns the bytes that were freed: fewer when there are no more ephemeral pages.
   */
  flushMemory(bytes: number): number {
    const before = this.holdings.charged;
    while (before - this.holdings.charged < bytes && this.reclaimer.evictOne(undefined));
    return before - this.holdings.charged;
  }

  /** Bytes that all ephemeral pages are charged for at most: what flushMemory could free. */
  freeableBytes(): number {
    const { holdings } = this;
    let bytes = 0;
    for (const pool of holdings.pools) {
      if (pool === undefined || pool.persistent) continue;
      const records = pool.counts.pages * CHARGE.page + holdings.table.objectsOf(pool.number) * CHARGE.object;
      bytes += records + pool.storedCharge;
    }
    return bytes;
  }

  /** Sets another limit, evicting ephemeral pages. Persistent ones stay, so that it may be reached only later. */
  setLimit(bytes: number): void {
    this.reclaimer.limitBytes = bytes;
    while (this.holdings.charged > bytes && this.reclaimer.evictOne(undefined));
    this.holdings.setLimit(Math.max(bytes, this.holdings.charged));
  }

  /** @internal Stores the form that the former has adopted. @returns done, or noMemory. */
  restorePage(pool: Pool, handle: Uint32Array): number {
    const { holdings } = this;
    const old = holdings.table.find(pool.number, handle);
    if (old === 0 && !this.reclaimer.withinCaps(pool)) return RESULT.noMemory;
    const stored = old === 0 ? holdings.insert(pool, handle) !== 0 : holdings.replace(old, pool);
    return stored && this.reclaimer.settle() ? RESULT.done : RESULT.noMemory;
  }

  /** @internal Destroys or leaves a pool of a client that may be one that nobody sees yet. */
  closePool(client: Client, slot: number): void {
    const pool = client.pools[slot];
    if (pool !== undefined) this.#leave(client, slot, pool);
  }

  /** @internal Removes an object's pages. The reference's order, by index, is kept where it can be seen. */
  removeObject(object: number, pool: Pool): void {
    const { table } = this.holdings;
    for (const watcher of pool.owner.watchers) watcher.objectRemoved(object, pool);
    if (pool.owner.liveSave) {
      const ids: number[] = [];
      for (
        let page = table.objects.get(object, OBJECT.first);
        page !== 0;
        page = table.pages.get(page, PAGE.objectNext)
      )
        ids.push(page);
      ids.sort((a, b) => (table.pages.get(a, PAGE.index) >>> 0) - (table.pages.get(b, PAGE.index) >>> 0));
      for (const page of ids) this.holdings.remove(page, pool);
      return;
    }
    // Counted beforehand: with its last page the object is gone.
    for (let left = table.objects.get(object, OBJECT.pages); left > 0; left--) {
      this.holdings.remove(table.objects.get(object, OBJECT.first), pool);
    }
  }

  #clientOrNew(clientId: number): Client | undefined {
    if (!this.#enabled) return undefined;
    const last = this.#lastClient;
    if (last !== undefined && last.id === clientId) return last;
    const known = this.clients.get(clientId);
    if (known !== undefined) {
      this.#lastClient = known;
      return known;
    }
    const client = this.makeClient(clientId, false);
    if (client !== undefined) this.adopt(client);
    return client;
  }

  #mayShare(client: Client, name: string): boolean {
    return !this.#needsAuthorisation || client.authorised.includes(name);
  }

  #join(client: Client, slot: number, pool: Pool): number {
    pool.sharers.push(client);
    client.pools[slot] = pool;
    for (const watcher of client.watchers) watcher.opened(pool, slot);
    for (const sharer of pool.sharers) for (const watcher of sharer.watchers) watcher.sharersChanged(pool);
    return slot;
  }

  #leave(client: Client, slot: number, pool: Pool): void {
    client.pools[slot] = undefined;
    pool.sharers.splice(pool.sharers.indexOf(client), 1);
    if (pool.sharers.length === 0) {
      this.#destroy(pool);
      return;
    }
    const { table } = this.holdings;
    for (let object = table.firstObject(pool.number); object !== 0;) {
      const next = table.objects.get(object, OBJECT.next);
      if (table.objects.get(object, OBJECT.lastClient) === (client.id | 0)) this.removeObject(object, pool);
      object = next;
    }
    if (pool.owner === client && !pool.sharers.includes(client)) {
      const [to] = pool.sharers;
      if (this.#reference && !pool.persistent) this.holdings.spliceOwn(client, to);
      this.holdings.moveOwner(pool, to);
    }
    for (const watcher of client.watchers) watcher.closed(pool);
    for (const sharer of pool.sharers) for (const watcher of sharer.watchers) watcher.sharersChanged(pool);
  }

  #destroy(pool: Pool): void {
    const { table, pools } = this.holdings;
    const { watchers } = pool.owner;
    for (const watcher of watchers) watcher.closed(pool);
    for (let object = table.firstObject(pool.number); object !== 0; object = table.firstObject(pool.number)) {
      this.removeObject(object, pool);
    }
    if (this.#shared.get(pool.name) === pool) this.#shared.delete(pool.name);
    pools[pool.number] = undefined;
  }

  #touch(page: number, client: Client): void {
    const { pages, objects } = this.holdings.table;
    objects.set(pages.get(page, PAGE.object), OBJECT.lastClient, client.id);
  }

  #putNew(client: Client, pool: Pool, handle: Uint32Array): number {
    const page = this.holdings.insert(pool, handle);
    if (page === 0) return this.#refuse(pool, RESULT.noMemory);
    return this.#stored(page, client, pool);
  }

  #putOver(client: Client, pool: Pool, old: number): number {
    if (!this.holdings.replace(old, pool)) return this.#removeByPut(old, pool, RESULT.noSpace);
    pool.counts.replacedPuts++;
    return this.#stored(old, client, pool);
  }

  #stored(page: number, client: Client, pool: Pool): number {
    // The reference takes the pool's owner for the one who put.
    if (pool.shared) this.#touch(page, this.#reference ? pool.owner : client);
    if (pool.persistent) pool.owner.counts.persistentPuts++;
    pool.counts.goodPuts++;
    for (const watcher of pool.owner.watchers) watcher.stored(page, pool);
    return RESULT.done;
  }

  #refuse(pool: Pool, result: number): number {
    pool.counts.refusedPuts++;
    return result;
  }

  /** A put that fails removes what was there: old data must never be read again. */
  #refuseOver(old: number, pool: Pool, result: number): number {
    return old === 0 ? this.#refuse(pool, result) : this.#removeByPut(old, pool, result);
  }

  #removeByPut(old: number, pool: Pool, result: number): number {
    this.holdings.remove(old, pool);
    pool.counts.removedByPuts++;
    return result;
  }

  #noRoom(handle: Uint32Array, pool: Pool): number {
    const old = this.holdings.table.find(pool.number, handle);
    return old === 0 ? this.#refuse(pool, RESULT.noMemory) : this.#removeByPut(old, pool, RESULT.noSpace);
  }
}
