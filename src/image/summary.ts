import type { JsonObject } from '../bytes/bounded-json.ts';
import { codecName } from '../codec/codec.ts';
import type { TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import { LIMITS } from '../stream/limits.ts';
import type { Preamble } from '../stream/preamble.ts';
import type { RamBatch } from '../stream/records/ram.ts';
import type { CpuidLeaf, Msr } from '../stream/records/vcpu.ts';
import type { StreamRecord } from '../stream/records/record.ts';
import type { TmemClient, TmemPool } from '../stream/records/tmem.ts';
import { count, newCounts } from './counts.ts';
import { headJson } from './head-json.ts';
import { newInspection, type Inspection, type PoolSummary } from './inspection.ts';
import { PageClassCounts } from './page-class-counts.ts';
import { policiesJson } from './policies.ts';
import { dictionaryJson, fieldsOf, preambleJson, vcpuJson } from './record-json.ts';

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
  /** What stands behind the image. */
  trailing = { bytes: 0, zero: true };
  readonly #source: ByteSource;
  readonly #nesting: readonly string[];
  #cpuid: readonly CpuidLeaf[] | null = null;
  #msrs: readonly Msr[] | null = null;
  readonly #scratch = new Uint8Array(LIMITS.chunkBytes);
  readonly #extents = new PageClassCounts();
  readonly #counts = newCounts();
  readonly #codecs = new Map<string, number>();
  #about: JsonObject | null = null;
  #zeroPages = 0;
  #rawPages = 0;
  #compressedPages = 0;
  #storedBytes = 0;
  #client: TmemClient | undefined;
  readonly #pools = new Map<bigint, PoolSummary>();
  readonly #vcpus = new Map<number, JsonObject>();
  readonly #devices = new Map<number, JsonObject>();
  readonly #disks: JsonObject[] = [];
  readonly #dictionary: JsonObject[] = [];
  #origin: Inspection['origin'] = null;

  /** @param nesting all layers around it, and itself. */
  constructor(source: ByteSource, nesting: readonly string[]) {
    this.#source = source;
    this.#nesting = nesting;
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
    this.#zeroPages += batch.zeroPages;
    for (let extent = 0; extent < batch.extents; extent++) {
      this.#extents.add(batch.extentFirst(extent), batch.extentPages(extent), batch.extentClass(extent));
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
      case 'X86_CPUID':
        this.#cpuid = record.leaves;
        break;
      case 'X86_MSR':
        this.#msrs = record.msrs;
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
    const { preamble } = this;
    const { pages, distinctPages, resentPages, absentPages } = this.#extents;
    return {
      ...newInspection(this.#source),
      ok: this.error === undefined,
      format: this.error?.code === 'NOT_AN_IMAGE' ? 'unknown' : 'tmig',
      nesting: [...this.#nesting],
      preamble: preamble === undefined ? null : preambleJson(preamble),
      head: preamble === undefined ? null : headJson(preamble),
      about: this.#about,
      complete: this.complete,
      indexed,
      bytesRead: this.bytesRead,
      memory: {
        pageSize: preamble?.pageSize ?? 0,
        pages,
        distinctPages,
        resentPages,
        zeroPages: this.#zeroPages,
        rawPages: this.#rawPages,
        compressedPages: this.#compressedPages,
        absentPages,
        storedBytes: this.#storedBytes,
        codecs: Object.fromEntries(this.#codecs),
        classes: this.#extents.classes(),
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
      policies: policiesJson(this.#cpuid, this.#msrs),
      origin: this.#origin,
      dictionary: this.#dictionary,
      counts: this.#counts,
      trailing: this.trailing,
      error: this.error?.toJSON() ?? null,
    };
  }
}
