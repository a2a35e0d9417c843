import { LIMITS } from './limits.ts';
import type { RecordHeader } from './record-header.ts';
import { isTmem, TYPE } from './record-types.ts';
import { encodeIndex, encodeIndexRoot, SEGMENT, type IndexEntry, type Segment } from './records/index-records.ts';
import type { StreamRecord } from './records/record.ts';
import type { TmemInvalidate, TmemPages } from './records/tmem.ts';

const ALL_WORDS = 2n ** 64n - 1n;
const ALL_INDEXES = 2 ** 32 - 1;

/** Types that an index does not list (stream 13.1). */
const UNLISTED: ReadonlySet<number> = new Set([
  TYPE.about,
  TYPE.seal,
  TYPE.barrier,
  TYPE.end,
  TYPE.index,
  TYPE.indexRoot,
]);

/** Whether an index lists records of this type. */
export function isListed(type: number): boolean {
  return !UNLISTED.has(type);
}

/** A RAM batch as an index sees it. */
export interface RamSpan {
  readonly kind: 'RAM';
  readonly pages: number;
  readonly low: number;
  readonly high: number;
}

/** The entry for a record (stream 13.1). */
export function indexEntryOf(
  header: RecordHeader,
  record: Exclude<StreamRecord, { kind: 'RAM' }> | RamSpan,
): IndexEntry {
  const entry = {
    offset: header.offset,
    type: header.type,
    pages: 0,
    incarnation: 0n,
    low: 0n,
    high: 0n,
    indexLow: 0,
    indexHigh: 0,
  };
  switch (record.kind) {
    case 'RAM':
      return { ...entry, pages: record.pages, low: BigInt(record.low), high: BigInt(record.high) };
    case 'TMEM_POOL':
      return { ...entry, incarnation: record.incarnation };
    case 'TMEM_PAGES':
      return { ...entry, pages: record.count, ...tmemSpan(record, true) };
    case 'TMEM_INVALIDATE':
      return { ...entry, pages: record.count, ...tmemSpan(record, record.scope === 'pages') };
    default:
      return entry;
  }
}

function tmemSpan(
  record: TmemPages | TmemInvalidate,
  indexed: boolean,
): Pick<IndexEntry, 'incarnation' | 'low' | 'high' | 'indexLow' | 'indexHigh'> {
  const { incarnation } = record.pool;
  if (record.count === 0) return { incarnation, low: 0n, high: ALL_WORDS, indexLow: 0, indexHigh: ALL_INDEXES };
  let lowest = 0;
  let highest = 0;
  let indexLow = ALL_INDEXES;
  let indexHigh = 0;
  // Words are compared by their halves: a BigInt is made for a record, not for a page.
  for (let i = 0; i < record.count; i++) {
    if (compareFirstWord(record, i, lowest) < 0) lowest = i;
    if (compareFirstWord(record, i, highest) > 0) highest = i;
    const index = record.index(i);
    if (index < indexLow) indexLow = index;
    if (index > indexHigh) indexHigh = index;
  }
  const span = { incarnation, low: record.objectWord(lowest, 0), high: record.objectWord(highest, 0) };
  return indexed ? { ...span, indexLow, indexHigh } : { ...span, indexLow: 0, indexHigh: 0 };
}

function compareFirstWord(record: TmemPages | TmemInvalidate, a: number, b: number): number {
  return record.objectHalf(a, 1) - record.objectHalf(b, 1) || record.objectHalf(a, 0) - record.objectHalf(b, 0);
}

/**
 * Gathers the index while a stream is written (stream 13). Its memory: one segment of entries, and 32 bytes for each of
 * the segments that went out, about 4 GiB of memory apart.
 */
export class IndexBuilder {
  #entries: IndexEntry[] = [];
  readonly #segments: Segment[] = [];

  add(entry: IndexEntry): void {
    this.#entries.push(entry);
  }

  /** Whether a segment is full and must go out. */
  get full(): boolean {
    return this.#entries.length === LIMITS.indexEntries;
  }

  get empty(): boolean {
    return this.#entries.length === 0;
  }

  /** Ends the segment. @param offset where its INDEX record will stand. @returns its body. */
  takeSegment(offset: number): Uint8Array {
    const entries = this.#entries;
    this.#segments.push(segmentOf(offset, entries));
    this.#entries = [];
    return encodeIndex(entries);
  }

  root(): Uint8Array {
    return encodeIndexRoot(this.#segments);
  }
}

/** How INDEX_ROOT describes a segment (stream 13.2). */
export function segmentOf(offset: number, entries: readonly IndexEntry[]): Segment {
  let kinds = 0;
  let low = Number.POSITIVE_INFINITY;
  let high = 0;
  for (const entry of entries) {
    if (entry.type === TYPE.ram) {
      kinds |= SEGMENT.ram;
      low = Math.min(low, Number(entry.low));
      high = Math.max(high, Number(entry.high));
    } else if (isTmem(entry.type) && entry.type !== TYPE.tmemClient && !isPool(entry.type)) {
      kinds |= SEGMENT.tmem;
    } else {
      kinds |= SEGMENT.other;
    }
  }
  return { offset, entries: entries.length, kinds, low: Number.isFinite(low) ? low : 0, high };
}

function isPool(type: number): boolean {
  return type === TYPE.tmemPool || type === TYPE.ephemeralPool;
}
