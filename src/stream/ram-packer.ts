import { CODEC, type CodecId } from '../codec/codec.ts';
import { looksCompressible } from '../codec/compressible.ts';
import { crc32Combine } from '../codec/crc32-combine.ts';
import { crc32, isZeroRange } from '../codec/platform.ts';
import { PLAN_STRIDE, RESULT_STRIDE, type UnitJob } from '../codec/units.ts';
import { LIMITS } from './limits.ts';
import { HEADER_BYTES, paddingOf } from './record-header.ts';
import {
  bitmapBytes,
  EXTENT_BYTES,
  hasData,
  RAM_FIXED_BYTES,
  ramHeadBytes,
  ramHeadChecksum,
  UNIT_BYTES,
} from './records/ram.ts';

/** Original bytes that a writer puts into one batch: large enough for the codecs, small enough to be read whole. */
export const BATCH_BYTES = 1024 * 1024;
/** Extents that a writer puts into one batch, below the limit of the format. */
const MAX_EXTENTS = 2048;
/** A shorter run of pages that do not compress is stored with its neighbours: units of a page or two cost more. */
const SHORTEST_RAW_RUN = 4;

const MAX_UNITS = BATCH_BYTES / 4096;
/** Room before the stored bytes for a record header and the largest head. */
const FRONT = HEADER_BYTES + ramHeadBytes(MAX_EXTENTS, LIMITS.ramPages, MAX_UNITS);

/** A batch as it stands in its buffer, ready to get its record header. */
export interface PackedBatch {
  /** Room for the header, then body and padding. */
  readonly record: Uint8Array;
  /** Length of the body. */
  readonly length: number;
  readonly checksum: number;
}

/**
 * Gathers pages for one RAM record in a buffer of its own: pages are copied in, so the guest may change them at once.
 * Used over and over: {@link reset} begins the next batch.
 */
export class RamPacker {
  readonly pageSize: number;
  readonly #compress: boolean;
  /** Original bytes; when nothing is compressed they stand where they go out from. */
  readonly #original: Uint8Array;
  /** The record: room in front, stored bytes, padding. */
  readonly #record: Uint8Array;
  readonly #firsts = new Float64Array(MAX_EXTENTS);
  readonly #counts = new Uint32Array(MAX_EXTENTS);
  readonly #classes = new Uint8Array(MAX_EXTENTS);
  readonly #bitmap = new Uint8Array(bitmapBytes(LIMITS.ramPages));
  /** For each stored page: whether it is worth compressing. */
  readonly #worth: Uint8Array;
  #extents = 0;
  #end = 0;
  #pages = 0;
  #dataPages = 0;
  #storedPages = 0;
  #zeroPages = 0;

  /** @param shared put the buffers into shared memory, for a pool with threads. */
  constructor(pageSize: number, compress: boolean, shared: boolean) {
    this.pageSize = pageSize;
    this.#compress = compress;
    const allocate = (bytes: number): Uint8Array =>
      new Uint8Array(shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes));
    this.#record = allocate(FRONT + BATCH_BYTES + 8);
    this.#original = compress ? allocate(BATCH_BYTES) : this.#record.subarray(FRONT, FRONT + BATCH_BYTES);
    this.#worth = new Uint8Array(BATCH_BYTES / pageSize);
  }

  get empty(): boolean {
    return this.#extents === 0;
  }

  get pages(): number {
    return this.#pages;
  }

  get dataPages(): number {
    return this.#dataPages;
  }

  get zeroPages(): number {
    return this.#zeroPages;
  }

  /** Smallest pfn of the batch. */
  get low(): number {
    return this.#firsts[0];
  }

  /** Largest pfn of the batch. */
  get high(): number {
    return this.#end - 1;
  }

  reset(): void {
    this.#bitmap.fill(0, 0, bitmapBytes(this.#dataPages));
    this.#extents = 0;
    this.#end = 0;
    this.#pages = 0;
    this.#dataPages = 0;
    this.#storedPages = 0;
    this.#zeroPages = 0;
  }

  /**
   * Takes pages with data from `source`, from byte `at` on.
   * @returns how many it took: fewer than `pages` when the batch is full or its order asks for a new one.
   */
  add(firstPfn: number, pages: number, pageClass: number, source: Uint8Array, at: number): number {
    const room = this.#extend(firstPfn, pages, pageClass);
    const { pageSize } = this;
    const capacity = BATCH_BYTES / pageSize;
    let page = 0;
    while (page < room) {
      if (isZeroRange(source, at + page * pageSize, pageSize)) {
        this.#bitmap[this.#dataPages >> 3] |= 1 << (this.#dataPages & 7);
        this.#dataPages++;
        this.#zeroPages++;
        page++;
        continue;
      }
      const start = page;
      const most = Math.min(room, start + capacity - this.#storedPages);
      if (most === start) break;
      do page++;
      while (page < most && !isZeroRange(source, at + page * pageSize, pageSize));
      this.#store(source, at + start * pageSize, page - start);
    }
    this.#commit(page);
    return page;
  }

  /** Takes pages that are known to be zero. @returns how many it took. */
  addZero(firstPfn: number, pages: number, pageClass: number): number {
    const room = this.#extend(firstPfn, pages, pageClass);
    for (let position = this.#dataPages; position < this.#dataPages + room; position++) {
      this.#bitmap[position >> 3] |= 1 << (position & 7);
    }
    this.#dataPages += room;
    this.#zeroPages += room;
    this.#commit(room);
    return room;
  }

  /** Takes pages without data. @returns how many it took. */
  addAbsent(firstPfn: number, pages: number, pageClass: number): number {
    const room = this.#extend(firstPfn, pages, pageClass);
    this.#commit(room);
    return room;
  }

  /** Prepares an extent for up to `pages` pages; returns for how many there is room. {@link #commit} makes it final. */
  #extend(firstPfn: number, pages: number, pageClass: number): number {
    if (firstPfn < this.#end || this.#pages === LIMITS.ramPages) return 0;
    const last = this.#extents - 1;
    const continues =
      last >= 0 && firstPfn === this.#end && this.#classes[last] === pageClass && this.#counts[last] > 0;
    if (!continues) {
      if (this.#extents === MAX_EXTENTS) return 0;
      this.#firsts[this.#extents] = firstPfn;
      this.#counts[this.#extents] = 0;
      this.#classes[this.#extents] = pageClass;
      this.#extents++;
    }
    return Math.min(pages, LIMITS.ramPages - this.#pages);
  }

  #commit(pages: number): void {
    const last = this.#extents - 1;
    if (pages === 0) {
      if (last >= 0 && this.#counts[last] === 0) this.#extents--;
      return;
    }
    this.#counts[last] += pages;
    this.#end = this.#firsts[last] + this.#counts[last];
    this.#pages += pages;
  }

  #store(source: Uint8Array, at: number, pages: number): void {
    const { pageSize } = this;
    const to = this.#storedPages * pageSize;
    this.#original.set(source.subarray(at, at + pages * pageSize), to);
    if (this.#compress) {
      for (let page = 0; page < pages; page++) {
        const worth = looksCompressible(this.#original, to + page * pageSize, pageSize);
        this.#worth[this.#storedPages + page] = worth ? 1 : 0;
      }
    }
    this.#storedPages += pages;
    this.#dataPages += pages;
  }

  /** Divides the stored pages into units, for {@link UnitPool.run}. @param codec for what is worth it. */
  plan(codec: CodecId, level: number | undefined): UnitJob {
    const plan: number[] = [];
    const most = LIMITS.unitBytes / this.pageSize;
    if (this.#compress) this.#absorbShortRuns();
    for (let page = 0; page < this.#storedPages;) {
      const start = page;
      const worth = this.#compress && this.#worth[page] === 1;
      do page++;
      while (page < this.#storedPages && page - start < most && (this.#compress && this.#worth[page] === 1) === worth);
      plan.push((page - start) * this.pageSize, worth ? codec : CODEC.raw);
    }
    return {
      original: this.#original.subarray(0, this.#storedPages * this.pageSize),
      stored: this.#record.subarray(FRONT, FRONT + BATCH_BYTES),
      plan: Uint32Array.from(plan),
      level,
      inPlace: !this.#compress,
    };
  }

  #absorbShortRuns(): void {
    for (let page = 0; page < this.#storedPages;) {
      if (this.#worth[page] === 1) {
        page++;
        continue;
      }
      const start = page;
      while (page < this.#storedPages && this.#worth[page] === 0) page++;
      const hasNeighbour = start > 0 || page < this.#storedPages;
      if (hasNeighbour && page - start < SHORTEST_RAW_RUN) this.#worth.fill(1, start, page);
    }
  }

  /**
   * Writes the head before the stored bytes.
   * @param plan the units' original lengths. @param result what was stored.
   * @returns the record: a view into this packer's buffer, until {@link reset}.
   */
  finish(plan: Uint32Array, result: Uint32Array): PackedBatch {
    const units = result.length / RESULT_STRIDE;
    const headLength = ramHeadBytes(this.#extents, this.#dataPages, units);
    const start = FRONT - headLength;
    const head = this.#record.subarray(start, FRONT);
    const view = new DataView(head.buffer, head.byteOffset, headLength);
    head.fill(0);
    view.setUint32(0, this.#extents, true);
    view.setUint32(4, units, true);
    view.setUint32(8, this.#pages, true);
    view.setUint32(12, headLength, true);
    let at = RAM_FIXED_BYTES;
    for (let extent = 0; extent < this.#extents; extent++, at += EXTENT_BYTES) {
      const first = this.#firsts[extent];
      view.setUint32(at, first % 2 ** 32, true);
      view.setUint32(at + 4, Math.floor(first / 2 ** 32), true);
      view.setUint32(at + 8, this.#counts[extent], true);
      view.setUint8(at + 12, this.#classes[extent]);
    }
    head.set(this.#bitmap.subarray(0, bitmapBytes(this.#dataPages)), at);
    at += bitmapBytes(this.#dataPages);
    let stored = 0;
    for (let unit = 0; unit < units; unit++, at += UNIT_BYTES) {
      view.setUint32(at, result[unit * RESULT_STRIDE], true);
      view.setUint32(at + 4, result[unit * RESULT_STRIDE + 2], true);
      view.setUint16(at + 8, plan[unit * PLAN_STRIDE] / this.pageSize, true);
      view.setUint8(at + 10, result[unit * RESULT_STRIDE + 1]);
      stored += result[unit * RESULT_STRIDE];
    }
    view.setUint32(16, ramHeadChecksum(head), true);
    const length = headLength + stored;
    const padding = paddingOf(length);
    this.#record.fill(0, FRONT + stored, FRONT + stored + padding);
    return {
      record: this.#record.subarray(start - HEADER_BYTES, FRONT + stored + padding),
      length,
      checksum: this.#bodyChecksum(head, result, FRONT + stored, padding),
    };
  }

  /** The CRC of body and padding from the parts' CRCs: the units' bytes were read once already. */
  #bodyChecksum(head: Uint8Array, result: Uint32Array, end: number, padding: number): number {
    let checksum = crc32(head);
    for (let at = 0; at < result.length; at += RESULT_STRIDE) {
      checksum = crc32Combine(checksum, result[at + 2], result[at]);
    }
    return padding === 0 ? checksum : crc32(this.#record.subarray(end, end + padding), checksum);
  }
}

/** @throws RangeError for a class that has, or has no, data, against what the caller means. */
export function assertClass(pageClass: number, withData: boolean): void {
  if (hasData(pageClass) !== withData) throw new RangeError(`page class ${pageClass} for ${withData ? '' : 'no '}data`);
}
