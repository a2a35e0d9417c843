/** INDEX, INDEX_ROOT and the footer: stream 13. */
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { equalBytes } from '../../bytes/hex.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../limits.ts';

export const INDEX_ENTRY_BYTES = 48;
export const ROOT_ENTRY_BYTES = 32;
export const FOOTER_BYTES = 64;
/** Bits of the kinds field of a segment (stream 13.2). */
export const SEGMENT = { ram: 1, tmem: 2, other: 4 } as const;

const FOOTER_MAGIC = Uint8Array.of(0x89, 0x54, 0x4d, 0x49, 0x47, 0x45, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0xff);

/** An entry of INDEX: one a record, never one a page. */
export interface IndexEntry {
  readonly offset: number;
  readonly type: number;
  readonly pages: number;
  readonly incarnation: bigint;
  readonly low: bigint;
  readonly high: bigint;
  readonly indexLow: number;
  readonly indexHigh: number;
}

/** INDEX (stream 13.1). */
export interface Index {
  readonly kind: 'INDEX';
  readonly entries: readonly IndexEntry[];
}

/** A segment as INDEX_ROOT lists it. */
export interface Segment {
  readonly offset: number;
  readonly entries: number;
  readonly kinds: number;
  /** Smallest and largest pfn of its RAM entries; 0 without any. */
  readonly low: number;
  readonly high: number;
}

/** INDEX_ROOT (stream 13.2). */
export interface IndexRoot {
  readonly kind: 'INDEX_ROOT';
  readonly segments: readonly Segment[];
}

export function encodeIndex(entries: readonly IndexEntry[]): Uint8Array {
  const writer = new ByteWriter(8 + INDEX_ENTRY_BYTES * LIMITS.indexEntries, 8 + INDEX_ENTRY_BYTES * entries.length);
  writer.u32(entries.length).zeros(4);
  for (const entry of entries) {
    writer.u64(entry.offset).u32(entry.type).u32(entry.pages).u64(entry.incarnation);
    writer.u64(entry.low).u64(entry.high).u32(entry.indexLow).u32(entry.indexHigh);
  }
  return writer.done();
}

export function decodeIndex(body: ByteReader): Index {
  const count = body.u32('entries');
  body.reserved(4);
  if (count > LIMITS.indexEntries) {
    throw body.error('LIMIT_EXCEEDED', `${count} entries, the limit is ${LIMITS.indexEntries}`, 'entries');
  }
  if (count === 0) throw body.error('FIELD_VALUE', 'An index without entries', 'entries');
  if (body.left !== count * INDEX_ENTRY_BYTES) {
    throw body.error('LENGTH_MISMATCH', `${body.left} bytes are not ${count} entries`, 'entries');
  }
  const entries: IndexEntry[] = [];
  for (let i = 0; i < count; i++) {
    const path = `entries[${i}]`;
    entries.push({
      offset: body.count(path),
      type: body.u32(path),
      pages: body.u32(path),
      incarnation: body.u64(path),
      low: body.u64(path),
      high: body.u64(path),
      indexLow: body.u32(path),
      indexHigh: body.u32(path),
    });
  }
  return { kind: 'INDEX', entries };
}

export function encodeIndexRoot(segments: readonly Segment[]): Uint8Array {
  const writer = new ByteWriter(LIMITS.recordBody, 8 + ROOT_ENTRY_BYTES * segments.length);
  writer.u32(segments.length).zeros(4);
  for (const { offset, entries, kinds, low, high } of segments) {
    writer.u64(offset).u32(entries).u32(kinds).u64(low).u64(high);
  }
  return writer.done();
}

export function decodeIndexRoot(body: ByteReader): IndexRoot {
  const count = body.u32('segments');
  body.reserved(4);
  if (body.left !== count * ROOT_ENTRY_BYTES) {
    throw body.error('LENGTH_MISMATCH', `${body.left} bytes are not ${count} segments`, 'segments');
  }
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const path = `segments[${i}]`;
    segments.push({
      offset: body.count(path),
      entries: body.u32(path),
      kinds: body.u32(path),
      low: body.count(path),
      high: body.count(path),
    });
  }
  return { kind: 'INDEX_ROOT', segments };
}

/** Footer (stream 13.3). */
export interface Footer {
  readonly tag: number;
  readonly endOffset: number;
  readonly rootOffset: number;
  readonly length: number;
  /** First 16 bytes of the chain in END. */
  readonly chainStart: Uint8Array;
}

export function encodeFooter(footer: Footer): Uint8Array {
  const bytes = new ByteWriter(FOOTER_BYTES)
    .bytes(FOOTER_MAGIC)
    .u32(footer.tag)
    .u64(footer.endOffset)
    .u64(footer.rootOffset)
    .u64(footer.length)
    .bytes(footer.chainStart.subarray(0, 16))
    .zeros(4)
    .done();
  const checksum = crc32(bytes);
  return new ByteWriter(FOOTER_BYTES).bytes(bytes).u32(checksum).done();
}

/**
 * Decodes a footer, from 64 bytes.
 * @throws FOOTER when its magic or checksum is wrong.
 */
export function decodeFooter(bytes: Uint8Array, offset: number): Footer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, FOOTER_BYTES);
  const checksumHolds = crc32(bytes.subarray(0, 60)) === view.getUint32(60, true);
  if (!checksumHolds || !equalBytes(bytes.subarray(0, 12), FOOTER_MAGIC)) {
    throw new TransmigrateError('FOOTER', 'The footer is damaged', { offset, path: 'footer', section: '13.3' });
  }
  return {
    tag: view.getUint32(12, true),
    endOffset: Number(view.getBigUint64(16, true)),
    rootOffset: Number(view.getBigUint64(24, true)),
    length: Number(view.getBigUint64(32, true)),
    chainStart: bytes.slice(40, 56),
  };
}

/** Compares a footer with what was read before it. @throws FOOTER naming the first field that differs. */
export function checkFooter(found: Footer, expected: Footer, offset: number): void {
  for (const field of ['tag', 'endOffset', 'rootOffset', 'length'] as const) {
    if (found[field] !== expected[field]) {
      throw new TransmigrateError(
        'FOOTER',
        `The footer's ${field} is ${found[field]}, it should be ${expected[field]}`,
        {
          offset,
          path: `footer/${field}`,
          section: '13.3',
          data: { expected: expected[field], found: found[field] },
        },
      );
    }
  }
  if (!equalBytes(found.chainStart, expected.chainStart.subarray(0, 16))) {
    const what = "The footer's chain is not the one of END";
    throw new TransmigrateError('FOOTER', what, { offset, path: 'footer/chain', section: '13.3' });
  }
}
