import type { RandomAccess } from '../../bytes/endpoints.ts';
import type { CodecId } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Preamble } from '../../stream/preamble.ts';
import { recordPath, type RecordHeader } from '../../stream/record-header.ts';
import { RecordStore } from '../../stream/record-store.ts';
import { bodyReader, decodeBody, type BodyContext } from '../../stream/records/record.ts';
import { TmemPages, type TmemClient, type TmemPool } from '../../stream/records/tmem.ts';
import { TmemLog } from '../tmem-log.ts';
import type { OpenedTmem, OpenedTmemPage } from './opened-tmem.ts';

/** What the tmem records of an image come to. */
interface Loaded {
  readonly client: TmemClient | null;
  /** Pools that live at the end, by incarnation. */
  readonly pools: ReadonlyMap<bigint, TmemPool>;
  readonly log: TmemLog;
}

/** Tmem of an image of ours: which of its records have the last word is worked out when it is asked for. */
export class TmigTmem implements OpenedTmem {
  readonly #store: RecordStore;
  readonly #preamble: Preamble;
  readonly #offsets: readonly number[];
  #loaded: Promise<Loaded> | undefined;

  /** @param offsets of all records of stream 10, in their order. */
  constructor(random: RandomAccess, preamble: Preamble, offsets: readonly number[]) {
    this.#store = new RecordStore(random, preamble.checksum);
    this.#preamble = preamble;
    this.#offsets = offsets;
  }

  async client(): Promise<TmemClient | null> {
    return (await this.#load()).client;
  }

  async pools(): Promise<readonly TmemPool[]> {
    const { pools } = await this.#load();
    return [...pools.values()].toSorted((a, b) => a.pool - b.pool);
  }

  async *pages(): AsyncGenerator<OpenedTmemPage> {
    const { log, pools } = await this.#load();
    const page = new PageOfRecord();
    let last: { tag: number; record: TmemPages } | undefined;
    for (const { pool, tag, entry } of log.survivors(pools)) {
      if (last?.tag !== tag) {
        const { header, body } = await this.#store.fetch(this.#offsets[tag]);
        last = { tag, record: new TmemPages(bodyReader(header, body), pool) };
      }
      page.record = last.record;
      page.entry = entry;
      yield page;
    }
  }

  #load(): Promise<Loaded> {
    return (this.#loaded ??= this.#read());
  }

  async #read(): Promise<Loaded> {
    let client: TmemClient | null = null;
    const pools = new Map<bigint, TmemPool>();
    const log = new TmemLog();
    const context = this.#context(pools);
    for (const [tag, offset] of this.#offsets.entries()) {
      const { header, body } = await this.#store.fetch(offset);
      const record = decodeBody(header, body, context);
      switch (record.kind) {
        case 'TMEM_CLIENT':
          client = record;
          break;
        case 'TMEM_POOL':
          pools.set(record.incarnation, record);
          break;
        case 'TMEM_PAGES':
          if (!record.pool.ephemeral) log.addPages(record, tag);
          break;
        case 'TMEM_INVALIDATE':
          if (!record.pool.ephemeral) log.addInvalidate(record);
          if (record.scope === 'pool') pools.delete(record.pool.incarnation);
          break;
        default:
          break;
      }
    }
    return { client, pools, log };
  }

  #context(pools: ReadonlyMap<bigint, TmemPool>): BodyContext {
    return {
      preamble: this.#preamble,
      poolOf: (incarnation: bigint, header: RecordHeader): TmemPool => {
        const pool = pools.get(incarnation);
        if (pool !== undefined) return pool;
        throw new TransmigrateError('TMEM_UNKNOWN_POOL', `No pool of incarnation ${incarnation} lives here`, {
          offset: header.offset,
          path: recordPath(header),
          section: '4',
        });
      },
      dictionaryOf: () => undefined,
    };
  }
}

/** An entry of a record, as a page: a cursor that is moved on. */
class PageOfRecord implements OpenedTmemPage {
  record!: TmemPages;
  entry = 0;

  get pool(): TmemPool {
    return this.record.pool;
  }

  get object(): Uint8Array {
    return this.record.objectBytes(this.entry);
  }

  get index(): number {
    return this.record.index(this.entry);
  }

  get codec(): CodecId {
    return this.record.codec(this.entry);
  }

  get storedBytes(): number {
    return this.record.storedLength(this.entry);
  }

  contentInto(out: Uint8Array): number {
    return this.record.contentInto(this.entry, out);
  }
}
