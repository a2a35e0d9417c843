import { TransmigrateError } from '../../errors.ts';
import type { DecodedRecord } from '../../stream/decoder.ts';
import { TYPE } from '../../stream/record-types.ts';
import { poolFlags, type TmemClient, type TmemInvalidate, type TmemPool } from '../../stream/records/tmem.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { IncomingTmem } from '../../tmem/incoming.ts';
import type { ClientImage, PoolImage, TmemSnapshot } from '../../tmem/snapshot.ts';
import type { StateLoader, StateWriter } from './section.ts';

/** What a page counts for in progress: its stored size is not known before it is read. */
const PAGE_BYTES = 4096;

/** The engine's object ids have three words (stream 10.2). */
const OBJECT_ID_BITS = 192;

/** Scope "the whole pool" of an invalidation (stream 10.4). */
const WHOLE_POOL = 3;

/** What tmem is written as. */
export const TMEM_RECORDS: readonly number[] = [TYPE.tmemClient, TYPE.tmemPool, TYPE.tmemPages, TYPE.tmemInvalidate];

/** TMEM_CLIENT of what the engine says of a client (stream 10.1). */
export function clientRecord({ allowance, ...client }: ClientImage): Omit<TmemClient, 'kind'> {
  return { ...client, allowancePages: BigInt(allowance) };
}

/** TMEM_POOL of what the engine says of a pool (stream 10.2). */
export function poolRecord(pool: PoolImage): Omit<TmemPool, 'kind'> {
  return {
    ephemeral: !pool.persistent,
    incarnation: BigInt(pool.incarnation),
    pool: pool.slot,
    shared: pool.shared,
    precompressed: pool.precompressed,
    pageSize: pool.pageBytes,
    objectIdBits: OBJECT_ID_BITS,
    uuid: pool.uuid,
    pages: BigInt(pool.pages),
  };
}

/** Writes a client's tmem as a snapshot pinned it: stored bytes as they are, nothing is decompressed (T5). */
export class TmemWriter implements StateWriter {
  readonly name = 'tmem';
  readonly records = TMEM_RECORDS;
  readonly bytes: number;
  readonly #snapshot: TmemSnapshot;

  constructor(snapshot: TmemSnapshot) {
    this.#snapshot = snapshot;
    this.bytes = snapshot.left * PAGE_BYTES;
  }

  async *write(writer: StreamWriter): AsyncGenerator<number, void> {
    const { client, pools } = this.#snapshot;
    await writer.tmemClient(clientRecord(client));
    // Incarnations ascend in a stream (stream 4), while pools are listed by slot.
    for (const pool of pools.toSorted((one, other) => one.incarnation - other.incarnation)) {
      await writer.tmemPool(poolRecord(pool));
    }
    for (let batch = this.#snapshot.next(); batch !== undefined; batch = this.#snapshot.next()) {
      await writer.tmemPages(BigInt(batch.incarnation), batch.body);
      yield batch.count * PAGE_BYTES;
    }
  }
}

/** What a destination's policy makes of a client's requests (T6). */
export type ClientPolicy = (client: Omit<TmemClient, 'kind'>) => IncomingTmem;

/** Puts tmem records into an engine, for a client that nobody sees before it runs. */
export class TmemLoader implements StateLoader {
  readonly name = 'tmem';
  readonly #policy: ClientPolicy;
  #incoming: IncomingTmem | undefined;
  /** Ephemeral pools that found no room and are left out as a whole (stream 10). */
  readonly #left = new Set<bigint>();
  /** Pools that are here. Incarnations are never used again: none up to the newest is made a second time. */
  readonly #opened = new Set<bigint>();
  #newest = 0n;
  readonly warnings: string[] = [];

  constructor(policy: ClientPolicy) {
    this.#policy = policy;
  }

  /** The client, when the stream had one. */
  get incoming(): IncomingTmem | undefined {
    return this.#incoming;
  }

  async load({ record, body, header }: DecodedRecord): Promise<void> {
    try {
      switch (record.kind) {
        case 'TMEM_CLIENT':
          // A connection that takes the place of one that was cut declares again what is here (protocol 6.5).
          this.#incoming ??= this.#policy(record);
          break;
        case 'TMEM_POOL':
          this.#open(record);
          break;
        case 'TMEM_PAGES':
          if (this.#takes(record.pool.incarnation)) this.#pages(record.pool, body);
          break;
        case 'TMEM_INVALIDATE':
          this.#invalidate(record, body);
          break;
        default:
          break;
      }
    } catch (error) {
      const place = { sequence: header.sequence, name: record.kind };
      const placed = error instanceof TransmigrateError ? error.with({ offset: header.offset, record: place }) : error;
      throw placed;
    }
  }

  complete(): Promise<void> {
    return Promise.resolve();
  }

  /** Whether what comes for a pool is for it: its pages may have found no room, or it may be closed by now. */
  #takes(incarnation: bigint): boolean {
    return this.#opened.has(incarnation) && !this.#left.has(incarnation);
  }

  #open(pool: TmemPool): void {
    const { incarnation } = pool;
    if (incarnation <= this.#newest) return;
    this.#newest = incarnation;
    this.#make(pool);
    this.#opened.add(incarnation);
  }

  #make(pool: TmemPool): void {
    const { incarnation, pool: slot, uuid } = pool;
    this.#incoming!.openPool({ incarnation: Number(incarnation), slot, flags: poolFlags(pool), uuid });
  }

  #invalidate({ pool, scope }: TmemInvalidate, body: Uint8Array): void {
    const { incarnation } = pool;
    const ends = scope === 'pool';
    // A pool that is left out is here, empty, as long as the source has it.
    if (ends ? this.#opened.has(incarnation) : this.#takes(incarnation)) this.#incoming!.invalidate(body);
    if (ends) this.#opened.delete(incarnation);
  }

  #pages(pool: TmemPool, body: Uint8Array): void {
    try {
      this.#incoming!.loadPages(body);
    } catch (error) {
      const noRoom = error instanceof TransmigrateError && error.code === 'TMEM_NO_MEMORY';
      if (!pool.ephemeral || !noRoom) throw error;
      this.#leaveOut(pool);
    }
  }

  /** An ephemeral pool is taken as a whole or not at all. The guest finds it empty, as it may at any time. */
  #leaveOut(pool: TmemPool): void {
    const whole = new Uint8Array(16);
    const view = new DataView(whole.buffer);
    view.setBigUint64(0, pool.incarnation, true);
    view.setUint32(8, WHOLE_POOL, true);
    this.#incoming!.invalidate(whole);
    this.#make(pool);
    this.#left.add(pool.incarnation);
    this.warnings.push(`ephemeral tmem pool ${pool.pool} is empty: its pages found no room on this host`);
  }
}
