import { crc32 } from '../codec/platform.ts';
import { isOptional, numberOf, typeName } from './record-types.ts';

/** Bytes of a record header (stream 3). */
export const HEADER_BYTES = 24;

/** Bytes of padding after a body. */
export function paddingOf(length: number): number {
  return -length & 7;
}

/** Bytes that a record with this body takes in the stream. */
export function recordBytes(length: number): number {
  return HEADER_BYTES + length + paddingOf(length);
}

/** Where a record is and what its header says. */
export interface RecordHeader {
  readonly type: number;
  /** Bytes of the body, without padding. */
  readonly length: number;
  /** Position in its channel, from 0. */
  readonly sequence: number;
  /** Stream offset of the header. */
  readonly offset: number;
  readonly bodyChecksum: number;
}

/** `record 12 (RAM)`: how paths in errors begin. */
export function recordPath(header: Pick<RecordHeader, 'sequence' | 'type'>): string {
  return `record ${header.sequence} (${typeName(header.type)})`;
}

/** Writes a header at the start of `into`. */
export function encodeHeader(
  into: Uint8Array,
  type: number,
  length: number,
  sequence: number,
  tag: number,
  bodyChecksum: number,
): void {
  const view = new DataView(into.buffer, into.byteOffset, HEADER_BYTES);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  view.setUint32(8, sequence, true);
  view.setUint32(12, tag, true);
  view.setUint32(16, bodyChecksum, true);
  view.setUint32(20, crc32(into.subarray(0, 20)), true);
}

/** Whether the CRC of the header in these 24 bytes is right. */
export function headerChecksumHolds(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return crc32(bytes.subarray(0, 20)) === view.getUint32(20, true);
}

/** The facts of {@link RecordHeader} for JSON: stream 3. */
export function headerFacts(header: RecordHeader): {
  sequence: number;
  offset: number;
  optional: boolean;
  number: number;
} {
  return {
    sequence: header.sequence,
    offset: header.offset,
    optional: isOptional(header.type),
    number: numberOf(header.type),
  };
}
