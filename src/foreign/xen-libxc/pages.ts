/** PAGE_DATA: pages in parts, without an object for a page (foreign/xen-libxc 4). */
import { PAGE_TYPE, XEN_PAGE_BYTES } from './constants.ts';
import type { RecordFrame } from './records.ts';

/** Whether this machine's own order of bytes is little-endian, as typed arrays show it. */
const HOST_LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** Types with data, by bit: 0 to 4 and 9 to 12 (foreign/xen-libxc 4). */
const HAS_DATA = 0b0001_1110_0001_1111;
/** Types that there are: those, and 13 to 15. */
const KNOWN = HAS_DATA | 0b1110_0000_0000_0000;

/** Whether the page of an entry of this type is in the stream. */
export function pageTypeHasData(type: number): boolean {
  return ((HAS_DATA >> type) & 1) !== 0;
}

export function pageTypeIsKnown(type: number): boolean {
  return ((KNOWN >> type) & 1) !== 0;
}

/** Level of a page table, 1 to 4; 0 for what is none. */
export function pageTableLevel(type: number): number {
  const level = type & 7;
  return level >= 1 && level <= 4 && type !== PAGE_TYPE.broken ? level : 0;
}

/**
 * A part of a PAGE_DATA record: the entries from `first` to before `end` of its list, and the pages of those of them
 * that have data, one after the other. A reader hands out the same object again and again: everything in it is lent
 * until the next call of `read`.
 */
export class PageBatch {
  readonly layer = 'libxc' as const;
  readonly kind = 'PAGE_DATA' as const;
  /** Of the record. */
  frame: RecordFrame = { sequence: 0, offset: 0, type: 1, length: 0, padding: null };
  /** Entries of the record. */
  count = 0;
  /** The reserved field after the count. */
  reserved = 0;
  /** Entries of the record as two halves each, the low one first: pfn in bits 0 to 51, type in bits 60 to 63. */
  words: Uint32Array = new Uint32Array(0);
  first = 0;
  end = 0;
  /** The pages. */
  bytes: Uint8Array = new Uint8Array(0);
  /** Bytes of pages that were passed over: where readers do that, `bytes` is empty. */
  passed = 0;

  /** The pfn of an entry of the record. */
  pfn(entry: number): number {
    return (this.words[2 * entry + 1] & 0xf_ffff) * 2 ** 32 + this.words[2 * entry];
  }

  /** The type of an entry of the record, one of {@link PAGE_TYPE}. */
  type(entry: number): number {
    return this.words[2 * entry + 1] >>> 28;
  }

  /** Whether the page of an entry stands in the record. */
  hasData(entry: number): boolean {
    return ((HAS_DATA >> (this.words[2 * entry + 1] >>> 28)) & 1) !== 0;
  }

  /** Whether this is the last part of the record. */
  get last(): boolean {
    return this.end === this.count;
  }
}

/** What one look at all entries of a record tells. */
export interface EntriesSeen {
  readonly withData: number;
  readonly highestPfn: number;
  /** Whether each pfn is above the one before it. */
  readonly ascending: boolean;
  /** Entries with reserved bits, and the first of them. */
  readonly reserved: number;
  readonly firstReserved: number;
  /** The first entry of a type that there is not, or -1. */
  readonly firstUnknown: number;
}

/** Looks at the entries of a record. */
export function seeEntries(words: Uint32Array, count: number): EntriesSeen {
  let [withData, reserved, firstReserved, firstUnknown] = [0, 0, -1, -1];
  let ascending = true;
  let highest = 0;
  let before = -1;
  for (let entry = 0, at = 0; entry < count; entry++, at += 2) {
    const high = words[at + 1];
    const type = high >>> 28;
    withData += (HAS_DATA >> type) & 1;
    if (((KNOWN >> type) & 1) === 0 && firstUnknown < 0) firstUnknown = entry;
    if ((high & 0x0ff0_0000) !== 0 && reserved++ === 0) firstReserved = entry;
    const pfn = (high & 0xf_ffff) * 4_294_967_296 + words[at];
    if (pfn <= before) ascending = false;
    if (pfn > highest) highest = pfn;
    before = pfn;
  }
  return { withData, highestPfn: highest, ascending, reserved, firstReserved, firstUnknown };
}

/** A pfn that stands twice among the entries, or -1. For entries that do not ascend: it sorts a copy. */
export function repeatedPfn(words: Uint32Array, count: number): number {
  const pfns = new Float64Array(count);
  for (let entry = 0; entry < count; entry++) {
    pfns[entry] = (words[2 * entry + 1] & 0xf_ffff) * 4_294_967_296 + words[2 * entry];
  }
  pfns.sort();
  for (let i = 1; i < count; i++) if (pfns[i] === pfns[i - 1]) return pfns[i];
  return -1;
}

/** Collects the entries of a record from pieces, in memory that grows with what came. */
export class EntryWords {
  #words = new Uint32Array(2048);
  #used = 0;
  #count = 0;

  /** Begins a record of so many entries. */
  start(count: number): void {
    this.#count = count;
    this.#used = 0;
  }

  /** Bytes that are missing. */
  get missing(): number {
    return this.#count * 8 - this.#used;
  }

  /** The entries, once nothing is missing. */
  get words(): Uint32Array {
    return this.#words;
  }

  /** Takes more bytes, at most what is missing. */
  add(bytes: Uint8Array): void {
    const used = this.#used + bytes.byteLength;
    if (used > this.#words.byteLength) {
      const most = Math.max(this.#count * 2, 2048);
      const larger = new Uint32Array(Math.min(most, Math.max(Math.ceil(used / 4), this.#words.length * 2)));
      larger.set(this.#words.subarray(0, Math.ceil(this.#used / 4)));
      this.#words = larger;
    }
    new Uint8Array(this.#words.buffer).set(bytes, this.#used);
    this.#used = used;
  }

  /** Brings the halves into the order that {@link PageBatch.words} has. */
  finish(little: boolean): void {
    if (little && HOST_LITTLE) return;
    turn(this.#words, this.#count, little);
  }
}

/** Between the bytes of a stream and words of this machine, in place: the same in both directions. */
function turn(words: Uint32Array, count: number, little: boolean): void {
  for (let at = 0; at < 2 * count; at += 2) {
    const [one, two] = [words[at], words[at + 1]];
    const swap = little !== HOST_LITTLE;
    const [first, second] = swap ? [swapped(one), swapped(two)] : [one, two];
    words[at] = little ? first : second;
    words[at + 1] = little ? second : first;
  }
}

function swapped(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/** Entries as the bytes of a stream. A view of `words` where that is the same. */
export function entryBytes(words: Uint32Array, count: number, little: boolean): Uint8Array {
  if (little && HOST_LITTLE) return new Uint8Array(words.buffer, words.byteOffset, count * 8);
  const copy = words.slice(0, 2 * count);
  turn(copy, count, little);
  return new Uint8Array(copy.buffer);
}

/** Sets an entry. */
export function setEntry(words: Uint32Array, entry: number, pfn: number, type: number): void {
  words[2 * entry] = pfn >>> 0;
  words[2 * entry + 1] = ((type << 28) | (Math.floor(pfn / 2 ** 32) & 0xf_ffff)) >>> 0;
}

/** Bytes of the body of a record with so many entries, of which so many have data. */
export function pageDataLength(count: number, withData: number): number {
  return 8 + 8 * count + XEN_PAGE_BYTES * withData;
}
