/** The digests that name an image's content, whatever its form: spec/stream.md 19. */
import { toHex } from '../bytes/hex.ts';
import { isZeroRange, Sha256 } from '../codec/platform.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import { LIMITS } from '../stream/limits.ts';
import type { Preamble } from '../stream/preamble.ts';
import { recordPath } from '../stream/record-header.ts';
import { bodyReader } from '../stream/records/record.ts';
import { hasData, RamBatch, type PageRuns } from '../stream/records/ram.ts';
import { TmemPages, type TmemPool } from '../stream/records/tmem.ts';
import { ExtentLog } from './extent-log.ts';
import type { RecordStore } from '../stream/record-store.ts';
import { TmemLog } from './tmem-log.ts';

/** Guest memory by content (stream 19.1). */
export interface MemoryDigest {
  pages: number;
  zeroPages: number;
  sha256: string;
}

/** Persistent tmem by content (stream 19.2). */
export interface TmemDigest {
  pools: number;
  pages: number;
  sha256: string;
}

/** Where a record is: which channel's store, and its offset. */
interface Place {
  readonly source: number;
  readonly offset: number;
}

/**
 * Gathers, in one pass over the records, where the last version of everything is; then reads those versions in the
 * order of the digest. It keeps a few numbers an extent and 48 bytes a tmem page, and no content.
 */
export class ContentDigest {
  readonly #memory = new ExtentLog();
  readonly #tmem = new TmemLog();
  readonly #places: Place[] = [];
  readonly #pools = new Map<bigint, TmemPool>();
  #hasTmem = false;

  /** Takes in a record of channel `source`. Meeting records are to be given once. */
  add({ header, record }: DecodedRecord, source: number): void {
    switch (record.kind) {
      case 'RAM': {
        const tag = this.#place(source, header.offset);
        for (let extent = 0; extent < record.extents; extent++) {
          const present = hasData(record.extentClass(extent));
          this.#memory.add(record.extentFirst(extent), record.extentPages(extent), present, tag);
        }
        break;
      }
      case 'TMEM_CLIENT':
        this.#hasTmem = true;
        break;
      case 'TMEM_POOL':
        this.#hasTmem = true;
        if (!record.ephemeral) this.#pools.set(record.incarnation, record);
        break;
      case 'TMEM_PAGES':
        if (!record.pool.ephemeral) this.#tmem.addPages(record, this.#place(source, header.offset));
        break;
      case 'TMEM_INVALIDATE':
        if (record.pool.ephemeral) break;
        this.#tmem.addInvalidate(record);
        if (record.scope === 'pool') this.#pools.delete(record.pool.incarnation);
        break;
      default:
        break;
    }
  }

  #place(source: number, offset: number): number {
    return this.#places.push({ source, offset }) - 1;
  }

  /** @param stores one for each channel. */
  async memory(stores: readonly RecordStore[], preamble: Preamble): Promise<MemoryDigest> {
    const hash = new Sha256();
    const reader = new RunReader(preamble.pageSize, hash);
    let pages = 0;
    for (const run of this.#memory.runs()) {
      const place = this.#places[run.tag];
      const { header, body } = await stores[place.source].fetch(place.offset);
      const where = { offset: header.offset, path: recordPath(header), section: '7' };
      reader.read(new RamBatch(body, body.byteLength, preamble.pageSize, where), run.first, run.pages);
      pages += run.pages;
    }
    return { pages, zeroPages: reader.zeroPages, sha256: toHex(hash.digest()) };
  }

  /** null when the stream has no tmem. */
  async tmem(stores: readonly RecordStore[]): Promise<TmemDigest | null> {
    if (!this.#hasTmem) return null;
    const hash = new Sha256();
    const content = new Uint8Array(2 ** LIMITS.pageShiftMax);
    const handle = new Uint8Array(32);
    const view = new DataView(handle.buffer);
    let pages = 0;
    let batch: { tag: number; record: TmemPages } | undefined;
    for (const { pool, tag, entry } of this.#tmem.survivors(this.#pools)) {
      if (batch?.tag !== tag) batch = { tag, record: await this.#batch(stores, tag, pool) };
      view.setUint32(0, pool.pool, true);
      handle.set(batch.record.objectBytes(entry), 4);
      view.setUint32(28, batch.record.index(entry), true);
      hash.update(handle);
      hash.update(content.subarray(0, batch.record.contentInto(entry, content)));
      pages++;
    }
    return { pools: this.#pools.size, pages, sha256: toHex(hash.digest()) };
  }

  async #batch(stores: readonly RecordStore[], tag: number, pool: TmemPool): Promise<TmemPages> {
    const place = this.#places[tag];
    const { header, body } = await stores[place.source].fetch(place.offset);
    return new TmemPages(bodyReader(header, body), pool);
  }
}

/** Hashes part of a batch: pfn and bytes of each page. */
class RunReader implements PageRuns {
  readonly #pageSize: number;
  readonly #hash: Sha256;
  readonly #pfn = new Uint8Array(8);
  readonly #view = new DataView(this.#pfn.buffer);
  readonly #zero: Uint8Array;
  readonly #scratch = new Uint8Array(LIMITS.unitBytes);
  #from = 0;
  #to = 0;
  zeroPages = 0;

  constructor(pageSize: number, hash: Sha256) {
    this.#pageSize = pageSize;
    this.#hash = hash;
    this.#zero = new Uint8Array(pageSize);
  }

  read(batch: RamBatch, first: number, pages: number): void {
    this.#from = first;
    this.#to = first + pages;
    batch.visit(this, this.#scratch);
  }

  data(firstPfn: number, pages: number, _pageClass: number, source: Uint8Array, at: number): void {
    for (let page = 0; page < pages; page++) {
      const start = at + page * this.#pageSize;
      const bytes = source.subarray(start, start + this.#pageSize);
      if (this.#page(firstPfn + page, bytes) && isZeroRange(bytes, 0, bytes.byteLength)) this.zeroPages++;
    }
  }

  zero(firstPfn: number, pages: number): void {
    for (let page = 0; page < pages; page++) if (this.#page(firstPfn + page, this.#zero)) this.zeroPages++;
  }

  absent(): void {
    // Not present: nothing to hash.
  }

  #page(pfn: number, bytes: Uint8Array): boolean {
    if (pfn < this.#from || pfn >= this.#to) return false;
    this.#view.setUint32(0, pfn % 2 ** 32, true);
    this.#view.setUint32(4, Math.floor(pfn / 2 ** 32), true);
    this.#hash.update(this.#pfn);
    this.#hash.update(bytes);
    return true;
  }
}
