import type { JsonObject } from '../bytes/bounded-json.ts';
import { codecName } from '../codec/codec.ts';
import type { ErrorJson, TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import { LIMITS } from '../stream/limits.ts';
import type { Preamble } from '../stream/preamble.ts';
import { hasData, type RamBatch } from '../stream/records/ram.ts';
import type { StreamRecord } from '../stream/records/record.ts';
import type { TmemClient, TmemPool } from '../stream/records/tmem.ts';
import { count, newCounts, type StreamCounts } from './counts.ts';
import { ExtentLog } from './extent-log.ts';
import { dictionaryJson, fieldsOf, preambleJson, vcpuJson, type PreambleJson, type RecordJson } from './record-json.ts';

/** Guest memory by kind. Pages that come several times count each time, but for distinctPages. */
export interface MemorySummary {
  pageSize: number;
  pages: number;
  /** pfns that are present at the end. */
  distinctPages: number;
  zeroPages: number;
  rawPages: number;
  compressedPages: number;
  absentPages: number;
  storedBytes: number;
  codecs: Record<string, number>;
}

/** What a pool holds. */
export interface PoolSummary {
  incarnation: string;
  pool: number;
  flags: string;
  kind: string;
  shared: boolean;
  precompressed: boolean;
  pageSize: number;
  objectIdBits: number;
  uuid: string;
  pages: number;
  /** null when only the index was read. */
  zeroPages: number | null;
  storedBytes: number;
  invalidated: number;
  destroyed: boolean;
}

/** What `inspect` says: spec/cli-json.md 1. */
export interface Inspection {
  ok: boolean;
  format: string;
  file: { name: string; bytes: number | null };
  preamble: PreambleJson | null;
  about: JsonObject | null;
  complete: boolean;
  indexed: boolean;
  bytesRead: number;
  memory: MemorySummary;
  tmem: { client: JsonObject | null; pools: PoolSummary[] } | null;
  vcpus: JsonObject[];
  devices: JsonObject[];
  disks: JsonObject[];
  origin: { format: string; parts: number; bytes: number } | null;
  dictionary: JsonObject[];
  counts: StreamCounts;
  error: ErrorJson | null;
  records?: RecordJson[];
}

/** A batch of tmem pages as a summary needs it: the index knows as much without reading the batch. */
export interface TmemBatchFacts {
  readonly incarnation: bigint;
  readonly pages: number;
  readonly zeroPages: number | null;
  readonly storedBytes: number;
}

/** Adds up what `inspect` shows. */
export class Summary {
  preamble: Preamble | undefined;
  complete = false;
  bytesRead = 0;
  error: TransmigrateError | undefined;
  readonly #source: ByteSource;
  readonly #scratch = new Uint8Array(LIMITS.chunkBytes);
  readonly #extents = new ExtentLog();
  readonly #counts = newCounts();
  readonly #codecs = new Map<string, number>();
  #about: JsonObject | null = null;
  #pages = 0;
  #zeroPages = 0;
  #rawPages = 0;
  #compressedPages = 0;
  #absentPages = 0;
  #storedBytes = 0;
  #client: TmemClient | undefined;
  readonly #pools = new Map<bigint, PoolSummary>();
  readonly #vcpus = new Map<number, JsonObject>();
  readonly #devices = new Map<number, JsonObject>();
  readonly #disks: JsonObject[] = [];
  readonly #dictionary: JsonObject[] = [];
  #origin: Inspection['origin'] = null;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  add({ record }: Pick<DecodedRecord, 'record'>): void {
    count(this.#counts, record.kind);
    switch (record.kind) {
      case 'RAM':
        this.addRam(record);
        break;
      case 'TMEM_PAGES': {
        let zeroPages = 0;
        let storedBytes = 0;
        for (let page = 0; page < record.count; page++) {
          if (record.originalLength(page) === 0) zeroPages++;
          storedBytes += record.storedLength(page);
        }
        const { incarnation } = record.pool;
        this.addTmemBatch({ incarnation, pages: record.count, zeroPages, storedBytes });
        break;
      }
      case 'TMEM_INVALIDATE':
        this.addInvalidate(record.pool.incarnation, record.count, record.scope === 'pool');
        break;
      default:
        this.#addSmall(record);
    }
  }

  /** Counts of records, when they were not read one by one. */
  setTotals(records: number, seals: number): void {
    this.#counts.records = records;
    this.#counts.seals = seals;
  }

  /** A record that the index lists and that is not read. */
  addUnread(unknown: boolean): void {
    if (unknown) this.#counts.unknownOptional++;
  }

  addRam(batch: RamBatch): void {
    this.#pages += batch.dataPages;
    this.#zeroPages += batch.zeroPages;
    for (let extent = 0; extent < batch.extents; extent++) {
      const pages = batch.extentPages(extent);
      const present = hasData(batch.extentClass(extent));
      if (!present) this.#absentPages += pages;
      this.#extents.add(batch.extentFirst(extent), pages, present, 0);
    }
    for (let unit = 0; unit < batch.units; unit++) {
      const codec = codecName(batch.unitCodec(unit));
      const pages = batch.unitPages(unit);
      if (codec === 'raw') this.#rawPages += pages;
      else this.#compressedPages += pages;
      this.#codecs.set(codec, (this.#codecs.get(codec) ?? 0) + pages);
      this.#storedBytes += batch.unitStored(unit);
    }
  }

  addTmemBatch({ incarnation, pages, zeroPages, storedBytes }: TmemBatchFacts): void {
    const pool = this.#pools.get(incarnation);
    if (pool === undefined) return;
    pool.pages += pages;
    pool.zeroPages = zeroPages === null || pool.zeroPages === null ? null : pool.zeroPages + zeroPages;
    pool.storedBytes += storedBytes;
  }

  addInvalidate(incarnation: bigint, entries: number, whole: boolean): void {
    const pool = this.#pools.get(incarnation);
    if (pool === undefined) return;
    pool.invalidated += entries;
    pool.destroyed ||= whole;
  }

  #addSmall(record: StreamRecord): void {
    switch (record.kind) {
      case 'ABOUT':
        this.#about = record.about;
        break;
      case 'TMEM_CLIENT':
        this.#client = record;
        break;
      case 'TMEM_POOL':
        this.#addPool(record);
        break;
      case 'VCPU_X86':
        this.#vcpus.set(record.vcpu, vcpuJson(record));
        break;
      case 'DEVICE':
        this.#devices.set(record.device, fieldsOf(record, this.#scratch));
        break;
      case 'DISK':
        this.#disks.push(fieldsOf(record, this.#scratch));
        break;
      case 'ORIGIN': {
        const origin = (this.#origin ??= { format: record.format, parts: 0, bytes: 0 });
        origin.parts++;
        origin.bytes += record.bytes;
        break;
      }
      case 'DICTIONARY':
        this.#dictionary.push(dictionaryJson(record));
        break;
      default:
        break;
    }
  }

  #addPool(pool: TmemPool): void {
    const { incarnation, flags, kind } = fieldsOf(pool, this.#scratch) as Record<string, string>;
    this.#pools.set(pool.incarnation, {
      incarnation: incarnation,
      pool: pool.pool,
      flags: flags,
      kind: kind,
      shared: pool.shared,
      precompressed: pool.precompressed,
      pageSize: pool.pageSize,
      objectIdBits: pool.objectIdBits,
      uuid: pool.uuid,
      pages: 0,
      zeroPages: 0,
      storedBytes: 0,
      invalidated: 0,
      destroyed: false,
    });
  }

  done(indexed: boolean): Inspection {
    const hasTmem = this.#client !== undefined || this.#pools.size > 0;
    return {
      ok: this.error === undefined,
      format: this.error?.code === 'NOT_AN_IMAGE' ? 'unknown' : 'tmig',
      file: { name: this.#source.name, bytes: this.#source.size },
      preamble: this.preamble === undefined ? null : preambleJson(this.preamble),
      about: this.#about,
      complete: this.complete,
      indexed,
      bytesRead: this.bytesRead,
      memory: {
        pageSize: this.preamble?.pageSize ?? 0,
        pages: this.#pages,
        distinctPages: this.#extents.countPresent(),
        zeroPages: this.#zeroPages,
        rawPages: this.#rawPages,
        compressedPages: this.#compressedPages,
        absentPages: this.#absentPages,
        storedBytes: this.#storedBytes,
        codecs: Object.fromEntries(this.#codecs),
      },
      tmem: hasTmem
        ? {
            client: this.#client === undefined ? null : fieldsOf(this.#client, this.#scratch),
            pools: [...this.#pools.values()],
          }
        : null,
      vcpus: [...this.#vcpus.values()],
      devices: [...this.#devices.values()],
      disks: this.#disks,
      origin: this.#origin,
      dictionary: this.#dictionary,
      counts: this.#counts,
      error: this.error?.toJSON() ?? null,
    };
  }
}
