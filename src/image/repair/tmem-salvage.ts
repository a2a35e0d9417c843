import type { StreamRecord } from '../../stream/records/record.ts';
import type { TmemPool } from '../../stream/records/tmem.ts';
import type { StreamWriter } from '../../stream/writer.ts';

/** What became of the tmem of a damaged image. */
export interface TmemFate {
  readonly pools: number;
  /** Pages that were exported, as often as they came. */
  readonly pages: number;
  /** Records of tmem that were lost, or whose pool was. */
  readonly lostRecords: number;
  /** Pages may be missing, older than they should be, or there although they were taken away. */
  readonly doubtful: boolean;
  /** The settings of the client were lost, and are the usual ones. */
  readonly clientLost: boolean;
}

const USUAL = { compress: false, frozen: false, weight: 0, cap: 0, allowancePages: 0n, authorised: [] } as const;

/** Copies what records of tmem there are, with the pools that they are of. */
export class TmemSalvage {
  readonly #writer: StreamWriter;
  /** Pools that live, by incarnation. */
  readonly pools = new Map<bigint, TmemPool>();
  readonly #slots = new Map<number, bigint>();
  #lastIncarnation = 0n;
  #client: 'none' | 'kept' | 'lost' = 'none';
  #pages = 0;
  #poolCount = 0;
  lostRecords = 0;
  doubtful = false;

  constructor(writer: StreamWriter) {
    this.#writer = writer;
  }

  /** Takes a record in, when it is one of tmem. @returns whether it is */
  async add(record: StreamRecord, type: number, body: Uint8Array): Promise<boolean> {
    switch (record.kind) {
      case 'TMEM_CLIENT':
        if (this.#client !== 'none') return true;
        this.#client = 'kept';
        await this.#writer.copy(type, body);
        return true;
      case 'TMEM_POOL':
        await this.#pool(record, type, body);
        return true;
      case 'TMEM_PAGES':
        if (!record.pool.ephemeral) this.#pages += record.count;
        await this.#writer.copy(type, body);
        return true;
      case 'TMEM_INVALIDATE':
        if (record.scope === 'pool') this.#gone(record.pool);
        await this.#writer.copy(type, body);
        return true;
      default:
        return false;
    }
  }

  async #pool(pool: TmemPool, type: number, body: Uint8Array): Promise<void> {
    if (pool.incarnation <= this.#lastIncarnation) {
      this.lostRecords++;
      return;
    }
    if (this.#client === 'none') {
      this.#client = 'lost';
      await this.#writer.tmemClient(USUAL);
    }
    const before = this.#slots.get(pool.pool);
    // What ended the pool before it in its slot was lost.
    if (before !== undefined) {
      await this.#writer.tmemInvalidate(before, 'pool');
      this.#gone(this.pools.get(before)!);
    }
    this.#lastIncarnation = pool.incarnation;
    this.pools.set(pool.incarnation, pool);
    this.#slots.set(pool.pool, pool.incarnation);
    this.#poolCount++;
    await this.#writer.copy(type, body);
  }

  #gone(pool: TmemPool): void {
    this.pools.delete(pool.incarnation);
    this.#slots.delete(pool.pool);
  }

  /** null when there is none, and none was lost. */
  done(): TmemFate | null {
    const { lostRecords, doubtful } = this;
    if (this.#client === 'none' && lostRecords === 0) return null;
    return {
      pools: this.#poolCount,
      pages: this.#pages,
      lostRecords,
      doubtful,
      clientLost: this.#client === 'lost',
    };
  }
}
