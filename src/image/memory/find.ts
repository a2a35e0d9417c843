/** Searching physical memory for bytes (debug 3.2). */
import { indexOfBytes } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { ImageMemory } from '../open/opened-image.ts';

/** Longest pattern: it then lies in at most two batches. */
export const PATTERN_BYTES = 4096;

/** Pages that are searched at a time. */
const BATCH_PAGES = 512;

export interface FindOptions extends Work {
  /** Physical address of the first place that counts. */
  readonly from?: bigint;
}

/** Places at which the bytes stand, in ascending order. */
export interface Found {
  readonly firstPfn: number;
  /** Bytes from the start of that page. Belongs to the caller. */
  readonly offsets: readonly number[];
}

/** The physical address of a place. */
export function foundAddress({ pageSize }: ImageMemory, firstPfn: number, offset: number): bigint {
  return BigInt(firstPfn) * BigInt(pageSize) + BigInt(offset);
}

/**
 * Every place where the pattern stands, also where it goes on in the next page, when that has the next pfn; also places
 * that overlap. The progress that is told counts bytes of pages that are present.
 * @throws USAGE for a pattern that is empty or too long; CANCELLED; the errors of damage; READ_FAILED
 */
export async function* findBytes(
  memory: ImageMemory,
  pattern: Uint8Array,
  options: FindOptions = {},
): AsyncGenerator<Found> {
  const { pageSize } = memory;
  if (pattern.byteLength === 0 || pattern.byteLength > Math.min(PATTERN_BYTES, pageSize)) {
    const what = `${pattern.byteLength} bytes to be found: it must be 1 to ${PATTERN_BYTES}`;
    throw new TransmigrateError('USAGE', what, { data: { bytes: pattern.byteLength, limit: PATTERN_BYTES } });
  }
  const search = searchFor(pattern);
  const overlap = pattern.byteLength - 1;
  /** The end of the last batch, then the beginning of this: where a place may lie in both. */
  const seam = new Uint8Array(2 * overlap);
  let seamPfn = -1;
  let pages = 0;
  const from = options.from ?? 0n;
  // A place may begin in a page and the search in its middle.
  const start = Number(from / BigInt(pageSize));
  const skip = Number(from % BigInt(pageSize));
  for await (const { firstPfn, pages: count, bytes } of memory.batches({ firstPfn: start, batchPages: BATCH_PAGES })) {
    if (options.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'the search was cancelled');
    const least = firstPfn === start ? skip : 0;
    if (seamPfn === firstPfn && overlap > 0) {
      const head = bytes.subarray(0, overlap);
      seam.set(head, overlap);
      // What is found there begins in the page before.
      const before = firstPfn - 1 === start ? skip : 0;
      const offsets = search(seam.subarray(0, overlap + head.byteLength), 0, pageSize - overlap);
      const wanted = offsets.filter((offset) => offset >= before);
      if (wanted.length > 0) yield { firstPfn: firstPfn - 1, offsets: wanted };
    }
    const offsets = search(bytes, least, 0);
    if (offsets.length > 0) yield { firstPfn, offsets };
    seam.set(bytes.subarray(bytes.byteLength - overlap), 0);
    seamPfn = firstPfn + count;
    pages += count;
    options.onProgress?.(pages * pageSize, memory.pages * pageSize);
  }
}

/** Searches bytes from a place on. @returns where, each with `add` added */
type Search = (bytes: Uint8Array, from: number, add: number) => number[];

/** Longest part that is looked for: one more, and the native search prepares for texts that hardly ever begin. */
const PART_BYTES = 7;

/** How often a byte stops a search: memory is full of zeros, then of addresses, code and text. Others count 1. */
const COMMON: ReadonlyMap<number, number> = new Map([
  [0x00, 100],
  [0xff, 12],
  ...[0x01, 0x02, 0x08, 0x10, 0x20, 0x40, 0x80, 0x81, 0x24, 0x48, 0x89, 0x8b].map((byte) => [byte, 4] as const),
  ...Array.from('etaoinsr', (letter) => [letter.charCodeAt(0), 3] as const),
]);
/** What it costs that many places are looked at one by one, where the part has one or two bytes only. */
const SHORT: readonly number[] = [Infinity, 20, 4];

/**
 * The native search goes from one place of its first byte to the next. So a part of the pattern is looked for that
 * begins with a byte that is rare, and then whether the rest of it stands around.
 */
function searchFor(pattern: Uint8Array): Search {
  const { length } = pattern;
  let lead = 0;
  let least = Infinity;
  for (const [at, byte] of pattern.entries()) {
    const cost = (COMMON.get(byte) ?? 1) + (SHORT[length - at] ?? 0);
    if (cost < least) {
      lead = at;
      least = cost;
    }
  }
  const part = pattern.subarray(lead, lead + PART_BYTES);
  return (bytes, from, add) => {
    const found: number[] = [];
    const last = bytes.byteLength - length;
    for (let at = indexOfBytes(bytes, part, from + lead); at >= 0; at = indexOfBytes(bytes, part, at + 1)) {
      const start = at - lead;
      if (start > last) break;
      let same = 0;
      while (same < length && bytes[start + same] === pattern[same]) same += 1;
      if (same === length) found.push(start + add);
    }
    return found;
  };
}
