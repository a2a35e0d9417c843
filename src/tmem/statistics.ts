/** What an operator can see of an engine, as plain data (spec/tmem.md 9). */
import { toUuid } from '../bytes/hex.ts';
import type { Client, Pool, PoolCounts } from './clients.ts';
import type { ClientSettings, TmemEngine } from './engine.ts';

/** A pool in a client's slot. */
export interface PoolStatistics extends PoolCounts {
  slot: number;
  incarnation: number;
  flags: number;
  persistent: boolean;
  shared: boolean;
  precompressed: boolean;
  /** Of a shared pool its name; undefined for a private one. */
  uuid: string | undefined;
  /** Ids of the clients that use it, the owner first. */
  clients: number[];
  objects: number;
  /** Bytes that its stored content is charged for; shared content counts for each page. */
  storedBytes: number;
}

export interface ClientStatistics extends ClientSettings {
  client: number;
  authorised: string[];
  ephemeralPages: number;
  mostEphemeralPages: number;
  persistentPages: number;
  ephemeralGets: number;
  persistentPuts: number;
  persistentGets: number;
  /** Puts that were stored compressed, and that were not although it was tried. */
  compressedPuts: number;
  poorlyCompressedPuts: number;
  pools: PoolStatistics[];
}

export interface TmemStatistics {
  enabled: boolean;
  limitBytes: number;
  /** Bytes that everything is charged for: never above the limit but by what a lowered limit left. */
  chargedBytes: number;
  /** Bytes of slabs, and of the tables, as they are now. */
  slabBytes: number;
  tableBytes: number;
  /** Bytes that flushing all ephemeral pages would free at most. */
  freeableBytes: number;
  pages: number;
  /** Pages that are gone but that a save has yet to read. */
  pinnedPages: number;
  ephemeralPages: number;
  mostEphemeralPages: number;
  objects: number;
  /** Contents that are stored once for several pages, or could be. */
  sharedContents: number;
  evictions: number;
  /** Pages that a codec was tried on, and pages that were decoded, whatever for. */
  codecCalls: { encodes: number; decodes: number };
  /** Sum of the weights. */
  weights: number;
  readers: number;
  clients: ClientStatistics[];
}

function poolStatistics(engine: TmemEngine, pool: Pool, slot: number): PoolStatistics {
  return {
    slot,
    incarnation: pool.incarnation,
    flags: pool.flags,
    persistent: pool.persistent,
    shared: pool.shared,
    precompressed: pool.precompressed,
    uuid: pool.shared ? toUuid(pool.uuid) : undefined,
    clients: [pool.owner.id, ...pool.sharers.filter((client) => client !== pool.owner).map(({ id }) => id)],
    objects: engine.holdings.table.objectsOf(pool.number),
    storedBytes: pool.storedCharge,
    ...pool.counts,
  };
}

function clientStatistics(engine: TmemEngine, client: Client): ClientStatistics {
  const { weight, cap, allowance, compress, sharing, frozen, counts } = client;
  return {
    client: client.id,
    weight,
    cap,
    allowance,
    compress,
    sharing,
    frozen,
    authorised: [...client.authorised],
    ephemeralPages: client.ephemeral,
    mostEphemeralPages: client.mostEphemeral,
    persistentPages: client.persistent,
    ephemeralGets: counts.ephemeralGets,
    persistentPuts: counts.persistentPuts,
    persistentGets: counts.persistentGets,
    compressedPuts: counts.compressed,
    poorlyCompressedPuts: counts.poorlyCompressed,
    pools: client.pools.flatMap((pool, slot) => (pool === undefined ? [] : [poolStatistics(engine, pool, slot)])),
  };
}

/** Everything about an engine, its clients in ascending order. The data is the caller's. */
export function tmemStatistics(engine: TmemEngine): TmemStatistics {
  const { holdings } = engine;
  return {
    enabled: engine.enabled,
    limitBytes: engine.limitBytes,
    chargedBytes: holdings.charged,
    slabBytes: holdings.store.slabBytes,
    tableBytes: holdings.tableBytes,
    freeableBytes: engine.freeableBytes(),
    pages: holdings.live,
    pinnedPages: holdings.ghosts,
    ephemeralPages: holdings.ephemeral,
    mostEphemeralPages: holdings.mostEphemeral,
    objects: holdings.table.objects.used,
    sharedContents: holdings.contents.count,
    evictions: engine.reclaimer.evictions,
    codecCalls: { ...holdings.former.codecCalls },
    weights: engine.reclaimer.weights,
    readers: engine.readers,
    clients: [...engine.clients.values()].sort((a, b) => a.id - b.id).map((client) => clientStatistics(engine, client)),
  };
}
