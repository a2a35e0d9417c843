/** Guest memory in batches: stream 7. */
import { ByteReader } from '../../bytes/byte-reader.ts';
import { CODEC, type CodecId } from '../../codec/codec.ts';
import { crc32Combine } from '../../codec/crc32-combine.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError, type ErrorDetails } from '../../errors.ts';
import { LIMITS } from '../limits.ts';
import { checkStored, decodeAt } from './stored.ts';
import { hasData, PAGE_CLASS } from '../page-class.ts';

export { hasData, PAGE_CLASS };

const CLASSES: ReadonlySet<number> = new Set(Object.values(PAGE_CLASS));

export const EXTENT_BYTES = 16;
export const UNIT_BYTES = 16;
/** Bytes before the extents. */
export const RAM_FIXED_BYTES = 24;
/** Where the head checksum stands: before what it covers, so that the body's CRC depends on the head (stream 7.6). */
const HEAD_CHECKSUM_AT = 16;
const FIELD_AS_ZERO = new Uint8Array(4);

/** Bytes of the zero bitmap of so many data pages. */
export function bitmapBytes(dataPages: number): number {
  return Math.ceil(dataPages / 64) * 8;
}

/** The CRC of a head with the checksum field taken as zero (stream 7). */
export function ramHeadChecksum(head: Uint8Array): number {
  const before = crc32(FIELD_AS_ZERO, crc32(head.subarray(0, HEAD_CHECKSUM_AT)));
  return crc32(head.subarray(HEAD_CHECKSUM_AT + 4), before);
}

/** Bytes of a head. */
export function ramHeadBytes(extents: number, dataPages: number, units: number): number {
  return RAM_FIXED_BYTES + extents * EXTENT_BYTES + bitmapBytes(dataPages) + units * UNIT_BYTES;
}

/** Receives the pages of a batch as runs. Nothing is made for a page: a run is a few numbers. */
export interface PageRuns {
  /**
   * Pages with content: `pages` pages from `firstPfn` on, whose bytes stand one after the other in `source` from `at`.
   * The bytes are borrowed: copy what is to be kept before returning.
   */
  data(firstPfn: number, pages: number, pageClass: number, source: Uint8Array, at: number): void;
  /** Pages that are all zero. */
  zero(firstPfn: number, pages: number, pageClass: number): void;
  /** Pages that carry no data: from now on they are not present. */
  absent(firstPfn: number, pages: number, pageClass: number): void;
}

/** A run of pages: what {@link PageRuns} is told, as an object that its maker uses again for the next run. */
export interface PageRun {
  firstPfn: number;
  pages: number;
  pageClass: number;
  /** The bytes of the pages, one after the other from `at`. Null: all zero, or, by their class, without content. */
  source: Uint8Array | null;
  at: number;
}

/**
 * A batch of pages (stream 7): a view on a record, valid as long as that is. The constructor checks the head and all of
 * its fields, but neither the units' checksums ({@link checkUnits}) nor their content ({@link visit}).
 */
export class RamBatch {
  readonly kind = 'RAM';
  readonly extents: number;
  readonly units: number;
  /** Pages of all extents. */
  readonly pages: number;
  /** Pages of extents whose class has data, zero pages among them. */
  readonly dataPages: number;
  readonly zeroPages: number;
  /** Length of the head: a random reader needs no more to find a page. */
  readonly headLength: number;
  readonly pageSize: number;
  readonly #body: Uint8Array;
  readonly #view: DataView;
  readonly #bitmap: number;
  readonly #units: number;
  readonly #where: { offset: number; path: string; section: string };

  /**
   * @param body the body, or, for a random reader, at least its head.
   * @param length length of the whole body.
   * @throws HEAD_CHECKSUM, LENGTH_MISMATCH, LIMIT_EXCEEDED, FIELD_VALUE, UNSUPPORTED_CODEC
   */
  constructor(
    body: Uint8Array,
    length: number,
    pageSize: number,
    where: { offset: number; path: string; section: string },
  ) {
    this.pageSize = pageSize;
    this.#body = body;
    this.#where = where;
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const fixed = new ByteReader(body, where.offset, where.path, where.section);
    this.extents = fixed.u32('extents');
    this.units = fixed.u32('units');
    this.pages = fixed.u32('pages');
    this.headLength = fixed.u32('headLength');
    if (this.headLength < RAM_FIXED_BYTES || this.headLength > length || this.headLength % 8 !== 0) {
      throw this.#error('LENGTH_MISMATCH', 'headLength', `a head of ${this.headLength} bytes in a body of ${length}`);
    }
    if (this.headLength > body.byteLength) throw new RangeError('the head is not there yet');
    const checksum = this.#view.getUint32(HEAD_CHECKSUM_AT, true);
    if (ramHeadChecksum(body.subarray(0, this.headLength)) !== checksum) {
      throw this.#error('HEAD_CHECKSUM', 'headChecksum', 'the checksum of the head does not match');
    }
    this.#limit('extents', this.extents, LIMITS.ramExtents);
    this.#limit('units', this.units, LIMITS.ramUnits);
    this.#limit('pages', this.pages, LIMITS.ramPages);
    if (this.extents === 0) throw this.#error('FIELD_VALUE', 'extents', 'a batch without extents');
    this.#bitmap = RAM_FIXED_BYTES + this.extents * EXTENT_BYTES;
    if (this.#bitmap > this.headLength) {
      throw this.#error('LENGTH_MISMATCH', 'extents', `${this.extents} extents do not fit into the head`);
    }
    this.dataPages = this.#checkExtents();
    this.#units = this.#bitmap + bitmapBytes(this.dataPages);
    if (ramHeadBytes(this.extents, this.dataPages, this.units) !== this.headLength) {
      const what = `a head of ${this.headLength} bytes for ${this.extents} extents, ${this.units} units`;
      throw this.#error('LENGTH_MISMATCH', 'headLength', what);
    }
    this.zeroPages = this.#countZeroPages();
    this.#checkUnitTable(length);
  }

  extentFirst(extent: number): number {
    const at = RAM_FIXED_BYTES + extent * EXTENT_BYTES;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  extentPages(extent: number): number {
    return this.#view.getUint32(RAM_FIXED_BYTES + extent * EXTENT_BYTES + 8, true);
  }

  extentClass(extent: number): number {
    return this.#view.getUint8(RAM_FIXED_BYTES + extent * EXTENT_BYTES + 12);
  }

  unitStored(unit: number): number {
    return this.#view.getUint32(this.#units + unit * UNIT_BYTES, true);
  }

  unitChecksum(unit: number): number {
    return this.#view.getUint32(this.#units + unit * UNIT_BYTES + 4, true);
  }

  unitPages(unit: number): number {
    return this.#view.getUint16(this.#units + unit * UNIT_BYTES + 8, true);
  }

  unitCodec(unit: number): CodecId {
    return this.#view.getUint8(this.#units + unit * UNIT_BYTES + 10) as CodecId;
  }

  /** Whether data page `position` (counted over the extents with data, stream 7.2) is all zero. */
  isZero(position: number): boolean {
    return ((this.#body[this.#bitmap + (position >> 3)] >> (position & 7)) & 1) === 1;
  }

  /** Where a problem with this batch is: for errors of what reads it. */
  get where(): ErrorDetails {
    return this.#where;
  }

  /**
   * The CRC of the body with its padding, from the parts' CRCs, in one pass; the units' own CRCs are checked by the
   * way.
   * @param padded body and padding.
   * @returns the CRC, and the first unit whose checksum does not match, or -1.
   */
  checksums(padded: Uint8Array): { body: number; wrongUnit: number } {
    let at = this.headLength;
    let body = crc32(padded.subarray(0, at));
    let wrongUnit = -1;
    for (let unit = 0; unit < this.units; unit++) {
      const stored = this.unitStored(unit);
      const checksum = crc32(padded.subarray(at, at + stored));
      if (checksum !== this.unitChecksum(unit) && wrongUnit < 0) wrongUnit = unit;
      body = crc32Combine(body, checksum, stored);
      at += stored;
    }
    if (at < padded.byteLength) body = crc32(padded.subarray(at), body);
    return { body, wrongUnit };
  }

  /** UNIT_CHECKSUM for a unit: for the caller to throw. */
  unitError(unit: number): TransmigrateError {
    return this.#error('UNIT_CHECKSUM', `units[${unit}]`, 'the checksum of a unit does not match its bytes');
  }

  /**
   * Decodes the batch and hands its pages to `runs`, in ascending pfn.
   * @param scratch room for one unit: LIMITS.unitBytes. What `runs` gets may lie in it.
   * @throws CODEC_DATA when a unit is not what it says; runs before it were handed on.
   */
  visit(runs: PageRuns, scratch: Uint8Array): void {
    for (const { firstPfn, pages, pageClass, source, at } of this.runs(scratch)) {
      if (source !== null) runs.data(firstPfn, pages, pageClass, source, at);
      else if (hasData(pageClass)) runs.zero(firstPfn, pages, pageClass);
      else runs.absent(firstPfn, pages, pageClass);
    }
  }

  /**
   * The same, run after run, for who has to wait between them. Each run is the same object, and its bytes are valid
   * until the next one.
   * @param scratch as for {@link visit}. @throws CODEC_DATA
   */
  *runs(scratch: Uint8Array): Generator<PageRun> {
    const run: PageRun = { firstPfn: 0, pages: 0, pageClass: 0, source: null, at: 0 };
    let stored = this.headLength;
    let unit = 0;
    let unitLeft = 0;
    let source = this.#body;
    let at = 0;
    let position = 0;
    for (let extent = 0; extent < this.extents; extent++) {
      const first = this.extentFirst(extent);
      const pages = this.extentPages(extent);
      const pageClass = this.extentClass(extent);
      run.pageClass = pageClass;
      if (!hasData(pageClass)) {
        run.firstPfn = first;
        run.pages = pages;
        run.source = null;
        yield run;
        continue;
      }
      for (let page = 0; page < pages;) {
        const zero = this.isZero(position);
        const start = page;
        do {
          page++;
          position++;
        } while (page < pages && this.isZero(position) === zero);
        if (zero) {
          run.firstPfn = first + start;
          run.pages = page - start;
          run.source = null;
          yield run;
          continue;
        }
        for (let from = start; from < page;) {
          if (unitLeft === 0) {
            const length = this.unitStored(unit);
            source = this.#unitContent(unit, this.#body.subarray(stored, stored + length), scratch);
            at = 0;
            unitLeft = this.unitPages(unit);
            stored += length;
            unit++;
          }
          const taken = Math.min(page - from, unitLeft);
          run.firstPfn = first + from;
          run.pages = taken;
          run.source = source;
          run.at = at;
          yield run;
          at += taken * this.pageSize;
          from += taken;
          unitLeft -= taken;
        }
      }
    }
  }

  /**
   * Finds a page in the batch.
   * @returns undefined when it is not named; else its class, and, for one with content, where that is: unit -1 means
   * zero.
   */
  find(pfn: number): { pageClass: number; unit: number; page: number; storedAt: number } | undefined {
    let position = 0;
    for (let extent = 0; extent < this.extents; extent++) {
      const first = this.extentFirst(extent);
      const pages = this.extentPages(extent);
      const pageClass = this.extentClass(extent);
      if (pfn < first) return undefined;
      if (pfn < first + pages) {
        if (!hasData(pageClass)) return { pageClass, unit: -1, page: 0, storedAt: 0 };
        return { pageClass, ...this.#locate(position + (pfn - first)) };
      }
      if (hasData(pageClass)) position += pages;
    }
    return undefined;
  }

  #locate(position: number): { unit: number; page: number; storedAt: number } {
    if (this.isZero(position)) return { unit: -1, page: 0, storedAt: 0 };
    let page = 0;
    for (let before = 0; before < position; before++) if (!this.isZero(before)) page++;
    let storedAt = this.headLength;
    for (let unit = 0; unit < this.units; unit++) {
      const inUnit = this.unitPages(unit);
      if (page < inUnit) return { unit, page, storedAt };
      page -= inUnit;
      storedAt += this.unitStored(unit);
    }
    throw new RangeError('a page beyond the units'); // The constructor has checked that there is none.
  }

  #unitContent(unit: number, stored: Uint8Array, scratch: Uint8Array): Uint8Array {
    const codec = this.unitCodec(unit);
    if (codec === CODEC.raw) return stored;
    const out = scratch.subarray(0, this.unitPages(unit) * this.pageSize);
    decodeAt(codec, stored, out, { ...this.#where, path: `${this.#where.path}/units[${unit}]` });
    return out;
  }

  #checkExtents(): number {
    let pages = 0;
    let dataPages = 0;
    let end = 0;
    for (let extent = 0; extent < this.extents; extent++) {
      const first = this.extentFirst(extent);
      const count = this.extentPages(extent);
      const pageClass = this.extentClass(extent);
      const path = `extents[${extent}]`;
      if (count === 0) throw this.#error('FIELD_VALUE', path, 'an extent without pages');
      if (first < end) throw this.#error('FIELD_VALUE', path, `pfn ${first} is not above the extent before it`);
      end = first + count;
      if (end > LIMITS.pfnEnd) throw this.#error('FIELD_VALUE', path, 'an extent that reaches pfn 2^52');
      if (!CLASSES.has(pageClass)) throw this.#error('FIELD_VALUE', path, `page class ${pageClass} does not exist`);
      pages += count;
      if (hasData(pageClass)) dataPages += count;
    }
    if (pages !== this.pages) {
      throw this.#error('LENGTH_MISMATCH', 'pages', `the extents have ${pages} pages, the batch says ${this.pages}`);
    }
    return dataPages;
  }

  #countZeroPages(): number {
    let zeros = 0;
    for (let position = 0; position < this.dataPages; position++) if (this.isZero(position)) zeros++;
    return zeros;
  }

  #checkUnitTable(length: number): void {
    let pages = 0;
    let end = this.headLength;
    for (let unit = 0; unit < this.units; unit++) {
      const unitPages = this.unitPages(unit);
      const path = `units[${unit}]`;
      if (unitPages === 0) throw this.#error('FIELD_VALUE', path, 'a unit without pages');
      this.#limit(path, unitPages * this.pageSize, LIMITS.unitBytes);
      const where = { ...this.#where, path: `${this.#where.path}/${path}` };
      checkStored(this.unitCodec(unit), unitPages * this.pageSize, this.unitStored(unit), where);
      pages += unitPages;
      end += this.unitStored(unit);
    }
    const expected = this.dataPages - this.zeroPages;
    if (pages !== expected) {
      throw this.#error('LENGTH_MISMATCH', 'units', `the units have ${pages} pages, the batch needs ${expected}`);
    }
    if (end !== length) {
      throw this.#error('LENGTH_MISMATCH', 'units', `the units end at byte ${end} of a body of ${length}`);
    }
  }

  #limit(field: string, value: number, limit: number): void {
    if (value > limit) throw this.#error('LIMIT_EXCEEDED', field, `${value}, the limit is ${limit}`);
  }

  #error(
    code: 'HEAD_CHECKSUM' | 'LENGTH_MISMATCH' | 'LIMIT_EXCEEDED' | 'FIELD_VALUE' | 'UNIT_CHECKSUM',
    field: string,
    what: string,
  ): TransmigrateError {
    return new TransmigrateError(code, `Guest memory: ${what}`, {
      ...this.#where,
      path: `${this.#where.path}/${field}`,
    });
  }
}
