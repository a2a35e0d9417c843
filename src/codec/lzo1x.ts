/**
 * LZO1X streams, written from the description in the Linux documentation (Documentation/staging/lzo.rst), version 0
 * of the bit stream: what liblzo2 reads and writes, and what Xen stores for tmem pages. The later LZO-RLE variant of
 * Linux (version 1) is another format and is not read.
 *
 * A stream is a row of instructions. Each copies a match from the content so far, and then 0 to 3 literals whose
 * number sits in two spare bits of the instruction; or it copies a longer run of literals. What the values 0 to 15
 * mean depends on how many literals the instruction before has copied. The stream ends with 0x11 0x00 0x00.
 */

import { copyLiterals, copyMatch, matchLength, viewOf } from './lz-match.ts';

/** The compressor looks for matches of four bytes and more; shorter ones exist in the format but save little. */
const MIN_MATCH = 4;
/** Farthest match of the two-byte instruction (0x40..0xff), which also ends at a length of 8. */
const NEAR_DISTANCE = 0x800;
const NEAR_LENGTH = 8;
/** Farthest match of the instruction 0x20..0x3f. */
const MIDDLE_DISTANCE = 0x4000;
/** Farthest match of the instruction 0x10..0x1f, and so of the format. */
const MAX_DISTANCE = 0xbfff;
/** Beyond this the numbers of the hash table would not fit; nothing here stores so much at once. */
const MAX_ORIGINAL = 0x7e000000;

const HASH_BITS = 12;
/** After so many misses, shifted, the search begins to step over bytes, so that random data costs little. */
const SKIP_SHIFT = 5;

/*
 * Where four bytes with a given hash were seen last, as `base + position`; made once, never cleared between calls.
 * lz4.ts explains it. The tables are separate so that neither module depends on the order of calls to the other.
 */
const table = new Int32Array(1 << HASH_BITS);
let base = 1;

/** Starts a call: answers the base for an original of `length` bytes and reserves its range of table values. */
function reserve(length: number): number {
  if (base + length > 0x7fffffff) {
    table.fill(0);
    base = 1;
  }
  const mine = base;
  base += length;
  return mine;
}

/** Writes a length that exceeded its field by `rest` >= 1: zero bytes of 255 each, then the non-zero remainder. */
function writeExtra(out: Uint8Array, at: number, rest: number): number {
  let cursor = at;
  let left = rest;
  for (; left > 255; left -= 255) out[cursor++] = 0;
  out[cursor++] = left;
  return cursor;
}

/*
 * The two checks for room below ask for up to three bytes more than they may use. That refuses nothing that would
 * fit, because the end mark still needs three bytes.
 */

/**
 * Writes a run of literals with whatever announces it, and answers where the next byte goes, or -1 when there is not
 * room for it. Up to three literals after a match are announced in that match's last-but-one byte, whose two low bits
 * were left zero: in all four forms of a match that is where the bits are.
 */
function writeLiterals(
  original: Uint8Array,
  view: DataView,
  from: number,
  count: number,
  out: Uint8Array,
  outView: DataView,
  at: number,
): number {
  if (count === 0) return at;
  if (at + count + 2 + Math.floor(count / 255) > out.length) return -1;
  let cursor = at;
  if (at === 0 && count <= 238) out[cursor++] = 17 + count;
  else if (at !== 0 && count <= 3) out[cursor - 2] = out[cursor - 2] | count;
  else if (count <= 18) out[cursor++] = count - 3;
  else {
    out[cursor++] = 0;
    cursor = writeExtra(out, cursor, count - 18);
  }
  const origin = original.byteOffset;
  const outOrigin = out.byteOffset;
  const outEnd = outOrigin + out.length;
  copyLiterals(view, origin + from, origin + original.length, outView, outOrigin + cursor, outEnd, count);
  return cursor + count;
}

/** Writes a match instruction and answers where the next byte goes, or -1 when there is not room for it. */
function writeMatch(out: Uint8Array, at: number, distance: number, length: number): number {
  // Three bytes of instruction, and at most one for each started 255 of length.
  if (at + 4 + Math.floor(length / 255) > out.length) return -1;
  let cursor = at;
  if (distance <= NEAR_DISTANCE && length <= NEAR_LENGTH) {
    out[cursor++] = ((length - 1) << 5) | (((distance - 1) & 7) << 2);
    out[cursor++] = (distance - 1) >> 3;
    return cursor;
  }
  let low: number;
  let longest: number;
  let opcode: number;
  if (distance <= MIDDLE_DISTANCE) {
    low = distance - 1;
    opcode = 0x20;
    longest = 33;
  } else {
    low = (distance - 0x4000) & 0x3fff;
    opcode = 0x10 | (((distance - 0x4000) >> 11) & 8);
    longest = 9;
  }
  if (length <= longest) out[cursor++] = opcode | (length - 2);
  else {
    out[cursor++] = opcode;
    cursor = writeExtra(out, cursor, length - longest);
  }
  out[cursor++] = (low << 2) & 0xff;
  out[cursor++] = low >> 6;
  return cursor;
}

/**
 * Compresses `original` into one LZO1X stream at the start of `out`: what `lzo1x_1_compress` of liblzo2 is for, and
 * what every LZO1X decompressor reads, though not byte for byte what liblzo2 would write.
 *
 * Returns the length of the stream, or -1 when it does not fit into `out` (whose content is then unspecified).
 * Keeps no reference to either array; they must not overlap. Never throws.
 * Source: Linux Documentation/staging/lzo.rst.
 */
export function lzo1xCompress(original: Uint8Array, out: Uint8Array): number {
  const length = original.length;
  if (length > MAX_ORIGINAL) return -1;
  const mine = reserve(length);
  const view = viewOf(original);
  const origin = original.byteOffset;
  const outView = viewOf(out);
  const lastStart = length - MIN_MATCH;
  let written = 0;
  let anchor = 0;
  let at = 0;
  let misses = 1 << SKIP_SHIFT;
  // Every turn moves `at` forward by at least one byte.
  while (at <= lastStart) {
    const four = view.getInt32(origin + at, true);
    const slot = Math.imul(four, 0x9e3779b1) >>> (32 - HASH_BITS);
    let earlier = table[slot] - mine;
    table[slot] = mine + at;
    if (earlier < 0 || at - earlier > MAX_DISTANCE || view.getInt32(origin + earlier, true) !== four) {
      at += misses++ >> SKIP_SHIFT;
      continue;
    }
    misses = 1 << SKIP_SHIFT;
    const sure = origin + at + MIN_MATCH;
    const end = at + MIN_MATCH + matchLength(view, sure, at - earlier, origin + length);
    // What stepping over bytes has missed is caught up with backwards.
    while (at > anchor && earlier > 0 && original[at - 1] === original[earlier - 1]) {
      at--;
      earlier--;
    }
    written = writeLiterals(original, view, anchor, at - anchor, out, outView, written);
    if (written < 0) return -1;
    written = writeMatch(out, written, at - earlier, end - at);
    if (written < 0) return -1;
    anchor = end;
    at = end;
    // One more entry from inside the match finds repetitions that begin just before its end.
    if (at <= lastStart) {
      const inside = view.getInt32(origin + at - 2, true);
      table[Math.imul(inside, 0x9e3779b1) >>> (32 - HASH_BITS)] = mine + at - 2;
    }
  }
  written = writeLiterals(original, view, anchor, length - anchor, out, outView, written);
  if (written < 0 || written + 3 > out.length) return -1;
  out[written] = 0x11;
  out[written + 1] = 0;
  out[written + 2] = 0;
  return written + 3;
}

/*
 * Reading a length that did not fit its field needs two answers, the length and the new position. The position is
 * left here, which is cheaper than an object; nothing awaits between writing and reading it.
 */
let afterLength = 0;

/** Reads the rest of a length whose field was zero: `start` + 255 per zero byte + the first other one. -1: cut off. */
function readExtra(stored: Uint8Array, at: number, start: number): number {
  let cursor = at;
  const end = stored.length;
  while (cursor < end && stored[cursor] === 0) cursor++;
  if (cursor >= end) return -1;
  afterLength = cursor + 1;
  return start + (cursor - at) * 255 + stored[cursor];
}

/**
 * Decompresses the one LZO1X stream that `stored` is, which must fill `out` exactly.
 *
 * Returns an empty string, or a sentence that says why the stream is refused; then the content of `out` is
 * unspecified. Accepts what `lzo1x_decompress_safe` of liblzo2 accepts for this length. Never throws, never reads
 * outside `stored` or writes outside `out`, and takes time in proportion to the two lengths whatever the bytes are.
 * Keeps no reference to either array; they must not overlap. Source: Linux Documentation/staging/lzo.rst.
 */
export function lzo1xDecompress(stored: Uint8Array, out: Uint8Array): string {
  const storedEnd = stored.length;
  const outEnd = out.length;
  const view = viewOf(stored);
  const origin = stored.byteOffset;
  const outView = viewOf(out);
  const outOrigin = out.byteOffset;
  let at = 0;
  let to = 0;
  // Literals that the last instruction copied: 0 to 3, or 4 for a run of four and more.
  let state = 0;
  // Literals to copy at the start of the next turn.
  let literals = 0;
  if (storedEnd > 0 && stored[0] > 17) {
    literals = stored[0] - 17;
    at = 1;
  }
  // Every turn consumes at least one stored byte, or returns.
  for (;;) {
    if (literals > 0) {
      if (literals > storedEnd - at) return 'the stream ends inside literals';
      if (literals > outEnd - to) return 'the content is longer than expected';
      copyLiterals(view, origin + at, origin + storedEnd, outView, outOrigin + to, outOrigin + outEnd, literals);
      at += literals;
      to += literals;
    }
    state = literals < 4 ? literals : 4;
    if (at >= storedEnd) return 'the stream ends without its end mark';
    const opcode = stored[at++];
    if (opcode < 16 && state === 0) {
      literals = opcode + 3;
      if (opcode === 0) {
        literals = readExtra(stored, at, 18);
        if (literals < 0) return 'the stream ends inside a literal length';
        at = afterLength;
      }
      continue;
    }
    let distance: number;
    let length: number;
    if (opcode < 16 || opcode >= 64) {
      if (at >= storedEnd) return 'the stream ends inside a match';
      const high = stored[at++];
      literals = opcode & 3;
      if (opcode >= 64) {
        length = (opcode >> 5) + 1;
        distance = (high << 3) + ((opcode >> 2) & 7) + 1;
      } else if (state === 4) {
        length = 3;
        distance = (high << 2) + (opcode >> 2) + 2049;
      } else {
        length = 2;
        distance = (high << 2) + (opcode >> 2) + 1;
      }
    } else {
      const field = opcode >= 32 ? opcode & 31 : opcode & 7;
      length = field + 2;
      if (field === 0) {
        length = readExtra(stored, at, opcode >= 32 ? 33 : 9);
        if (length < 0) return 'the stream ends inside a match length';
        at = afterLength;
      }
      if (storedEnd - at < 2) return 'the stream ends inside a match distance';
      const low = stored[at] | (stored[at + 1] << 8);
      at += 2;
      literals = low & 3;
      distance = low >> 2;
      if (opcode >= 32) distance += 1;
      else {
        distance += (opcode & 8) << 11;
        if (distance === 0) break;
        distance += 0x4000;
      }
    }
    if (distance > to) return 'a match reaches before the start of the content';
    if (length > outEnd - to) return 'the content is longer than expected';
    copyMatch(out, outView, to, distance, length);
    to += length;
  }
  if (at !== storedEnd) return 'bytes follow the end of the stream';
  return to === outEnd ? '' : 'the content is shorter than expected';
}
