/**
 * Streams taken apart and put together again from the specification alone: for tests that need streams which no writer
 * would write. It shares no code with the library, so that a mistake there is not repeated here.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

export const PREAMBLE = 128;
const HEADER = 24;

/** Record types that have checksums, numbers or places in their bodies. */
const SEAL = 0x03;
const BARRIER = 0x04;
const END = 0x07;
const INDEX_ROOT = 0x8000_0009;
const RAM = 0x10;
const DEVICE_DATA = 0x31;
const TMEM_PAGES = 0x42;
const TMEM_INVALIDATE = 0x43;

export interface RawRecord {
  type: number;
  body: Uint8Array;
}

export interface RawStream {
  preamble: Uint8Array;
  records: RawRecord[];
  /** What stands behind the last whole record: the footer, or what could not be taken apart. */
  tail: Uint8Array;
}

/** What {@link putTogether} works out anew. Headers are always right. */
export interface Repairs {
  readonly preamble: boolean;
  /** Number, offset and chain of seals; chains of BARRIER and END. */
  readonly seals: boolean;
  readonly counts: boolean;
  /** Head and unit checksums of RAM records. */
  readonly heads: boolean;
  readonly footer: boolean;
}

export const ALL_REPAIRS: Repairs = { preamble: true, seals: true, counts: true, heads: true, footer: true };

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The records of a stream, as far as their headers hold. */
export function takeApart(bytes: Uint8Array): RawStream {
  const view = viewOf(bytes);
  const records: RawRecord[] = [];
  let at = Math.min(PREAMBLE, bytes.byteLength);
  while (at + HEADER <= bytes.byteLength && crc32(bytes.subarray(at, at + 20)) === view.getUint32(at + 20, true)) {
    const length = view.getUint32(at + 4, true);
    const end = at + HEADER + length + (-length & 7);
    if (end > bytes.byteLength) break;
    records.push({ type: view.getUint32(at, true), body: bytes.slice(at + HEADER, at + HEADER + length) });
    at = end;
  }
  return { preamble: bytes.slice(0, PREAMBLE), records, tail: bytes.slice(at) };
}

/** The offset of each record and, last, of what follows them. */
export function offsetsOf(stream: RawStream): number[] {
  const offsets = [stream.preamble.byteLength];
  for (const { body } of stream.records) {
    offsets.push(offsets.at(-1)! + HEADER + body.byteLength + (-body.byteLength & 7));
  }
  return offsets;
}

/** The bytes of a stream whose headers are right, and whose other derived fields are as `repairs` says. */
export function putTogether(stream: RawStream, repairs: Repairs = ALL_REPAIRS): Uint8Array {
  const preamble = stream.preamble.slice();
  const whole = preamble.byteLength === PREAMBLE;
  if (whole && repairs.preamble) viewOf(preamble).setUint32(124, crc32(preamble.subarray(0, 124)), true);
  const tag = whole ? viewOf(preamble).getUint32(124, true) : 0;
  const channel = whole ? viewOf(preamble).getUint16(58, true) : 0;
  const offsets = offsetsOf(stream);
  const out = new Uint8Array(offsets.at(-1)! + stream.tail.byteLength);
  const view = viewOf(out);
  out.set(preamble);
  let chain: Uint8Array = createHash('sha256').update(preamble).digest();
  let hash = createHash('sha256').update(chain);
  let seals = 0;
  let endOffset = 0;
  let rootOffset = 0;
  for (const [sequence, { type, body }] of stream.records.entries()) {
    const at = offsets[sequence];
    const placed = out.subarray(at + HEADER, at + HEADER + body.byteLength);
    const fields = viewOf(placed);
    placed.set(body);
    if (type === RAM && repairs.heads) repairHeads(placed);
    if (type === SEAL) {
      chain = hash.digest();
      hash = createHash('sha256').update(chain);
      seals++;
      if (repairs.seals && body.byteLength >= 48) {
        fields.setBigUint64(0, BigInt(seals), true);
        fields.setBigUint64(8, BigInt(at), true);
        placed.set(chain, 16);
      }
    }
    if (type === BARRIER && repairs.seals && body.byteLength >= 48 + 32 * channel) placed.set(chain, 16 + 32 * channel);
    if (type === END) {
      endOffset = at;
      if (repairs.counts) repairCounts(placed, stream.records.slice(0, sequence));
      if (repairs.seals && body.byteLength >= 96 + 32 * channel) placed.set(chain, 64 + 32 * channel);
    }
    if (type === INDEX_ROOT) rootOffset = at;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, body.byteLength, true);
    view.setUint32(at + 8, sequence, true);
    view.setUint32(at + 12, tag, true);
    view.setUint32(at + 16, crc32(out.subarray(at + HEADER, offsets[sequence + 1])), true);
    view.setUint32(at + 20, crc32(out.subarray(at, at + 20)), true);
    hash.update(out.subarray(at, at + HEADER));
  }
  const tail = out.subarray(offsets.at(-1));
  tail.set(stream.tail);
  if (repairs.footer && tail.byteLength === 64) {
    const fields = viewOf(tail);
    fields.setUint32(12, tag, true);
    fields.setBigUint64(16, BigInt(endOffset), true);
    fields.setBigUint64(24, BigInt(rootOffset), true);
    fields.setBigUint64(32, BigInt(out.byteLength), true);
    tail.set(chain.subarray(0, 16), 40);
    fields.setUint32(60, crc32(tail.subarray(0, 60)), true);
  }
  return out;
}

/** Where the parts of a RAM head are, as far as the body has them. */
interface RamHead {
  readonly dataPages: number;
  readonly absentPages: number;
  readonly bitmap: number;
  readonly units: number;
  readonly unitCount: number;
  readonly headLength: number;
}

export function ramHead(body: Uint8Array): RamHead | undefined {
  if (body.byteLength < 24) return undefined;
  const view = viewOf(body);
  const extents = view.getUint32(0, true);
  const unitCount = view.getUint32(4, true);
  const headLength = view.getUint32(12, true);
  const bitmap = 24 + 16 * extents;
  if (headLength < 24 || headLength > body.byteLength || bitmap > headLength) return undefined;
  let dataPages = 0;
  let absentPages = 0;
  for (let at = 24; at < bitmap; at += 16) {
    const pages = view.getUint32(at + 8, true);
    if (body[at + 12] < 0x80) dataPages += pages;
    else absentPages += pages;
  }
  const units = bitmap + 8 * Math.ceil(dataPages / 64);
  return { dataPages, absentPages, bitmap, units, unitCount, headLength };
}

function repairHeads(body: Uint8Array): void {
  const view = viewOf(body);
  const head = ramHead(body);
  if (head !== undefined && head.units + 16 * head.unitCount <= head.headLength) {
    let at = head.headLength;
    for (let unit = 0; unit < head.unitCount; unit++) {
      const stored = view.getUint32(head.units + 16 * unit, true);
      if (at + stored > body.byteLength) break;
      view.setUint32(head.units + 16 * unit + 4, crc32(body.subarray(at, at + stored)), true);
      at += stored;
    }
  }
  // The head's own checksum is right even when nothing else in it is: so what it protects is looked at.
  if (body.byteLength < 24 || view.getUint32(12, true) > body.byteLength) return;
  view.setUint32(16, 0, true);
  view.setUint32(16, crc32(body.subarray(0, view.getUint32(12, true))), true);
}

function repairCounts(end: Uint8Array, before: readonly RawRecord[]): void {
  if (end.byteLength < 56 || viewOf(end).getBigUint64(0, true) > 2n ** 53n) return;
  let [ramPages, zeroPages, absentPages, tmemPages, invalidations, deviceBytes] = [0, 0, 0, 0, 0, 0];
  for (const { type, body } of before) {
    const view = viewOf(body);
    if (type === RAM) {
      const head = ramHead(body);
      if (head === undefined) continue;
      ramPages += head.dataPages;
      absentPages += head.absentPages;
      for (let page = 0; page < head.dataPages && head.bitmap + (page >> 3) < body.byteLength; page++) {
        zeroPages += (body[head.bitmap + (page >> 3)] >> (page & 7)) & 1;
      }
    } else if (type === TMEM_PAGES && body.byteLength >= 12) {
      tmemPages += view.getUint32(8, true);
    } else if (type === TMEM_INVALIDATE && body.byteLength >= 16) {
      invalidations += Math.max(1, view.getUint32(12, true));
    } else if (type === DEVICE_DATA && body.byteLength >= 20) {
      deviceBytes += view.getUint32(16, true);
    }
  }
  const counts = [before.length, ramPages, zeroPages, absentPages, tmemPages, invalidations, deviceBytes];
  for (const [i, count] of counts.entries()) viewOf(end).setBigUint64(8 * i, BigInt(count), true);
}
