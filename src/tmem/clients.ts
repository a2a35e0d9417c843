/** Clients and pools as the engine holds them. An object for each; none for a page. */
import { toHex } from '../bytes/hex.ts';
import { POOL_FLAG, POOL_VERSION, RESULT, TMEM_LIMITS } from './constants.ts';

/** Counts of a pool's operations, over its life; by the names that `tmem list` gives them (spec/tmem.md 9). */
export interface PoolCounts {
  /** Pages, and the most there were. */
  pages: number;
  mostPages: number;
  mostObjects: number;
  puts: number;
  goodPuts: number;
  replacedPuts: number;
  /** Puts over a page that failed, and so removed it. */
  removedByPuts: number;
  refusedPuts: number;
  gets: number;
  goodGets: number;
  flushes: number;
  goodFlushes: number;
  objectFlushes: number;
  goodObjectFlushes: number;
  evictions: number;
}

function noCounts(): PoolCounts {
  return {
    pages: 0,
    mostPages: 0,
    mostObjects: 0,
    puts: 0,
    goodPuts: 0,
    replacedPuts: 0,
    removedByPuts: 0,
    refusedPuts: 0,
    gets: 0,
    goodGets: 0,
    flushes: 0,
    goodFlushes: 0,
    objectFlushes: 0,
    goodObjectFlushes: 0,
    evictions: 0,
  };
}

/** What a reader is told about a client's pages and pools, whatever the cause. */
export interface Watcher {
  /** A page was put: a new one, or a new version. */
  stored(page: number, pool: Pool): void;
  /** A page is about to go. */
  removed(page: number, pool: Pool): void;
  /** All pages of an object are about to go; each is reported too, after this. */
  objectRemoved(object: number, pool: Pool): void;
  /** An ephemeral page of a shared pool is about to go to another place in the lists, or to another owner. */
  moved(page: number): void;
  opened(pool: Pool, slot: number): void;
  /** The client has this pool no longer. What is reported of its pages after this is of no interest. */
  closed(pool: Pool): void;
  /** The sharers of a pool are not those they were. */
  sharersChanged(pool: Pool): void;
}

/** A pool of pages, private or shared. */
export class Pool {
  /** Number in the engine, used again; below 2^31. */
  readonly number: number;
  /** Never used again. */
  readonly incarnation: number;
  readonly persistent: boolean;
  readonly shared: boolean;
  readonly precompressed: boolean;
  /** 16 bytes: of a shared pool its name, of a private one what its guest gave. */
  readonly uuid: Uint8Array;
  /** Whether equal pages are stored once. */
  readonly sharing: boolean;
  /** Who made it, or the first of those who share it still. */
  owner: Client;
  readonly sharers: Client[];
  readonly counts: PoolCounts = noCounts();
  /** What the stored bytes of its pages are charged for, a shared content once for each page. */
  storedCharge = 0;

  constructor(
    number: number,
    incarnation: number,
    flags: { persistent: boolean; shared: boolean; precompressed: boolean },
    uuid: Uint8Array,
    sharing: boolean,
    owner: Client,
  ) {
    this.number = number;
    this.incarnation = incarnation;
    this.persistent = flags.persistent;
    this.shared = flags.shared;
    this.precompressed = flags.precompressed;
    this.uuid = uuid;
    this.sharing = sharing;
    this.owner = owner;
    this.sharers = [owner];
  }

  /** The flags word, as in stream 10.2. */
  get flags(): number {
    return (
      (this.persistent ? POOL_FLAG.persistent : 0) |
      (this.shared ? POOL_FLAG.shared : 0) |
      (this.precompressed ? POOL_FLAG.precompressed : 0) |
      (POOL_VERSION << 24)
    );
  }

  get name(): string {
    return toHex(this.uuid);
  }
}

/** A guest that uses tmem. */
export class Client {
  readonly id: number;
  readonly pools: (Pool | undefined)[] = Array.from({ length: TMEM_LIMITS.poolsOfClient }, () => undefined);
  weight: number;
  /** Most pages of any kind; 0 for no cap. */
  cap = 0;
  /** Most persistent pages; 0 for no limit of its own. */
  allowance: number;
  compress: boolean;
  /** By an operator. */
  frozen = false;
  sharing: boolean;
  /** Uuids of shared pools that it may use, in hex; an empty place is ''. */
  readonly authorised: string[] = [];
  /** Record that heads the list of its ephemeral pages, oldest first. */
  readonly own: number;
  ephemeral = 0;
  mostEphemeral = 0;
  persistent = 0;
  /** Being restored: its pages can't be evicted and nobody sees it. */
  incoming: boolean;
  /** Readers of its pages. */
  readonly watchers: Watcher[] = [];
  readonly counts = { ephemeralGets: 0, persistentPuts: 0, persistentGets: 0, compressed: 0, poorlyCompressed: 0 };
  /** While the reference's live save of this client is imitated (spec/tmem.md 10). */
  liveSave = false;

  constructor(
    id: number,
    own: number,
    choice: { weight: number; allowance: number; compress: boolean; sharing: boolean; incoming: boolean },
  ) {
    this.id = id;
    this.own = own;
    this.weight = choice.weight;
    this.allowance = choice.allowance;
    this.compress = choice.compress;
    this.sharing = choice.sharing;
    this.incoming = choice.incoming;
  }

  /** The slot of a pool; -1 when it is not this client's. */
  slotOf(pool: Pool): number {
    return this.pools.indexOf(pool);
  }
}

/** Adds a uuid to a client's, or takes it away: results as of `authorise`. */
export function authoriseUuid(client: Client, name: string, authorised: boolean): number {
  const at = client.authorised.indexOf(name);
  if (at !== -1) {
    if (!authorised) client.authorised.splice(at, 1);
    return RESULT.done;
  }
  if (!authorised) return RESULT.none;
  if (client.authorised.length >= TMEM_LIMITS.authorised) return RESULT.noMemory;
  client.authorised.push(name);
  return RESULT.done;
}
