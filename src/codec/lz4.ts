/**
 * LZ4 blocks, written from the "LZ4 Block Format Description" (lz4_Block_format.md of the lz4 project, 2022).
 * Only blocks: frames, their checksums and dictionaries are not part of what is stored here.
 *
 * A block is a row of sequences: a token (high four bits: number of literals, low four bits: match length - 4, 15
 * meaning that bytes of 255 and a last smaller one follow), the literals, and a little-endian 16-bit distance. The
 * last sequence ends after its literals.
 */

import { copyLiterals, copyMatch, matchLength, viewOf } from './lz-match.ts';

const MIN_MATCH = 4;
const MAX_DISTANCE = 0xffff;
/** The last match starts at least this far before the end of the original (format description, end conditions). */
const LAST_MATCH_START = 12;
/** The last bytes of the original are always literals (same place). */
const LAST_LITERALS = 5;
/** The longest original that the reference implementation takes in one block. */
const MAX_ORIGINAL = 0x7e000000;

const HASH_BITS = 12;
/** After so many misses, shifted, the search begins to step over bytes, so that random data costs little. */
const SKIP_SHIFT = 5;

/*
 * Where four bytes with a given hash were seen last, as `base + position`. The table is made once and never cleared
 * between calls: each call moves `base` past every value that earlier calls have stored, which makes those negative
 * positions. Sixteen KiB stay in the first-level cache. Calls never interleave, because nothing here awaits.
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

/** Bytes that a length with the given first-nibble excess takes after the token: none below 15. */
function extraBytes(length: number): number {
  return length < 15 ? 0 : Math.floor((length - 15) / 255) + 1;
}

/** Writes the bytes after a nibble of 15 and answers where the next byte goes. The caller has checked the room. */
function writeExtra(out: Uint8Array, at: number, length: number): number {
  let rest = length - 15;
  let cursor = at;
  for (; rest >= 255; rest -= 255) out[cursor++] = 255;
  out[cursor++] = rest;
  return cursor;
}

/**
 * Compresses `original` into one LZ4 block at the start of `out`.
 *
 * Returns the length of the block, or -1 when it does not fit into `out` (whose content is then unspecified) or when
 * the original is longer than a block may be. Keeps no reference to either array; they must not overlap. Never throws.
 * Source: LZ4 Block Format Description.
 */
export function lz4Compress(original: Uint8Array, out: Uint8Array): number {
  const length = original.length;
  if (length > MAX_ORIGINAL) return -1;
  const mine = reserve(length);
  const view = viewOf(original);
  const origin = original.byteOffset;
  const originEnd = origin + length;
  const outView = viewOf(out);
  const outOrigin = out.byteOffset;
  const outEnd = outOrigin + out.length;
  const lastStart = length - LAST_MATCH_START;
  const matchEnd = length - LAST_LITERALS;
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
    const end = at + MIN_MATCH + matchLength(view, sure, at - earlier, origin + matchEnd);
    // What stepping over bytes has missed is caught up with backwards.
    while (at > anchor && earlier > 0 && original[at - 1] === original[earlier - 1]) {
      at--;
      earlier--;
    }
    const literals = at - anchor;
    const excess = end - at - MIN_MATCH;
    if (written + 3 + literals + extraBytes(literals) + extraBytes(excess) > out.length) return -1;
    out[written++] = (Math.min(literals, 15) << 4) | Math.min(excess, 15);
    if (literals >= 15) written = writeExtra(out, written, literals);
    copyLiterals(view, origin + anchor, originEnd, outView, outOrigin + written, outEnd, literals);
    written += literals;
    const distance = at - earlier;
    out[written++] = distance & 0xff;
    out[written++] = distance >> 8;
    if (excess >= 15) written = writeExtra(out, written, excess);
    anchor = end;
    at = end;
    // One more entry from inside the match finds repetitions that begin just before its end.
    if (at <= lastStart) {
      const inside = view.getInt32(origin + at - 2, true);
      table[Math.imul(inside, 0x9e3779b1) >>> (32 - HASH_BITS)] = mine + at - 2;
    }
  }
  const literals = length - anchor;
  if (written + 1 + literals + extraBytes(literals) > out.length) return -1;
  out[written++] = Math.min(literals, 15) << 4;
  if (literals >= 15) written = writeExtra(out, written, literals);
  copyLiterals(view, origin + anchor, originEnd, outView, outOrigin + written, outEnd, literals);
  return written + literals;
}

/**
 * Decompresses the one LZ4 block that `stored` is, which must fill `out` exactly.
 *
 * Returns an empty string, or a sentence that says why the block is refused; then the content of `out` is
 * unspecified. Never throws, never reads outside `stored` or writes outside `out`, and takes time in proportion to
 * the two lengths whatever the bytes are. Keeps no reference to either array; they must not overlap.
 *
 * It is more lenient than the reference decoder in one respect: the end conditions that exist for the sake of wide
 * copies (five last literals, last match twelve bytes before the end) are not demanded.
 * Source: LZ4 Block Format Description.
 */
export function lz4Decompress(stored: Uint8Array, out: Uint8Array): string {
  const storedEnd = stored.length;
  const outEnd = out.length;
  const view = viewOf(stored);
  const origin = stored.byteOffset;
  const outView = viewOf(out);
  const outOrigin = out.byteOffset;
  let at = 0;
  let to = 0;
  // Every turn consumes a token, so there are at most as many turns as stored bytes.
  while (at < storedEnd) {
    const token = stored[at++];
    let literals = token >> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (at >= storedEnd) return 'the block ends inside a literal length';
        more = stored[at++];
        literals += more;
      }
    }
    if (literals > storedEnd - at) return 'the block ends inside literals';
    if (literals > outEnd - to) return 'the content is longer than expected';
    copyLiterals(view, origin + at, origin + storedEnd, outView, outOrigin + to, outOrigin + outEnd, literals);
    at += literals;
    to += literals;
    if (at === storedEnd) {
      if (to !== outEnd) return 'the content is shorter than expected';
      return (token & 15) === 0 ? '' : 'the last token has a match length but no match follows';
    }
    if (storedEnd - at < 2) return 'the block ends inside a match distance';
    const distance = stored[at] | (stored[at + 1] << 8);
    at += 2;
    if (distance === 0 || distance > to) return 'a match reaches before the start of the content';
    let length = token & 15;
    if (length === 15) {
      let more = 255;
      while (more === 255) {
        if (at >= storedEnd) return 'the block ends inside a match length';
        more = stored[at++];
        length += more;
      }
    }
    length += MIN_MATCH;
    if (length > outEnd - to) return 'the content is longer than expected';
    copyMatch(out, outView, to, distance, length);
    to += length;
  }
  return 'the block ends where a token is due';
}
