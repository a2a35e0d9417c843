import type { RandomAccess } from '../bytes/endpoints.ts';
import { crc32 } from '../codec/platform.ts';
import { TransmigrateError } from '../errors.ts';
import { LIMITS } from './limits.ts';
import { HEADER_BYTES, headerChecksumHolds, paddingOf, recordPath, type RecordHeader } from './record-header.ts';
import { RECORDS, TYPE, typeName } from './record-types.ts';
import { RAM_FIXED_BYTES, RamBatch } from './records/ram.ts';

/** Bytes of a RAM record that are read at first: the header, and most heads. */
const FIRST_READ = 512;

/** A record fetched by its place: header and body were checked by their CRCs, and no more than that. */
export interface FetchedRecord {
  readonly header: RecordHeader;
  readonly body: Uint8Array;
}

/**
 * Fetches records of an image at any place (stream 13): every read is checked by the record's own checksums, so an
 * index that lies is found out.
 */
export class RecordStore {
  readonly #access: RandomAccess;
  readonly #tag: number;
  readonly #kept = new Map<number, FetchedRecord>();
  readonly #keep: number;
  #bytesRead = 0;

  /** @param tag the preamble's CRC. @param keep how many records stay in memory: at most 16 MiB each, mostly 1. */
  constructor(access: RandomAccess, tag: number, keep = 16) {
    this.#access = access;
    this.#tag = tag;
    this.#keep = keep;
  }

  /** Bytes that were read from the image. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  get size(): number {
    return this.#access.size;
  }

  /** @throws TRUNCATED when they are not all there. The bytes are the caller's. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const found = offset < this.#access.size ? await this.#access.readAt(offset, bytes) : 0;
    this.#bytesRead += found;
    if (found < length) {
      throw new TransmigrateError('TRUNCATED', `The image ends before byte ${offset + length}`, {
        offset: this.#access.size,
        path: 'image',
        section: '13',
      });
    }
    return bytes;
  }

  /** The header of the record that starts at `offset`. @throws HEADER_CHECKSUM, RECORD_FOREIGN, LIMIT_EXCEEDED */
  async header(offset: number): Promise<RecordHeader> {
    return this.parseHeader(await this.read(offset, HEADER_BYTES), offset);
  }

  /** Checks the bytes of a header that was read at `offset`. */
  parseHeader(bytes: Uint8Array, offset: number): RecordHeader {
    const where = { offset, path: `record at ${offset}`, section: '3.1' };
    if (!headerChecksumHolds(bytes)) {
      throw new TransmigrateError('HEADER_CHECKSUM', 'The checksum of a record header does not match', where);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
    if (view.getUint32(12, true) !== this.#tag) {
      throw new TransmigrateError('RECORD_FOREIGN', 'A record of another stream stands here', where);
    }
    const type = view.getUint32(0, true);
    const length = view.getUint32(4, true);
    if (length > (RECORDS.get(type)?.limit ?? LIMITS.recordBody)) {
      throw new TransmigrateError('LIMIT_EXCEEDED', `A body of ${length} bytes`, where);
    }
    return { type, length, sequence: view.getUint32(8, true), offset, bodyChecksum: view.getUint32(16, true) };
  }

  /**
   * The head of a RAM batch, proven by its own checksum (stream 7.6): the bytes of its pages are not read.
   * @throws INDEX_MISMATCH when another record stands there; what the head's own checks throw.
   */
  async ramHead(offset: number, pageSize: number): Promise<RamBatch> {
    const first = await this.read(offset, Math.max(HEADER_BYTES, Math.min(FIRST_READ, this.#access.size - offset)));
    const header = this.parseHeader(first.subarray(0, HEADER_BYTES), offset);
    expectType(header, TYPE.ram);
    let head = first.subarray(HEADER_BYTES, HEADER_BYTES + header.length);
    if (head.byteLength >= RAM_FIXED_BYTES) {
      const headLength = new DataView(head.buffer, head.byteOffset, RAM_FIXED_BYTES).getUint32(12, true);
      if (headLength > head.byteLength && headLength <= header.length) {
        const longer = new Uint8Array(headLength);
        longer.set(head);
        const rest = await this.read(offset + HEADER_BYTES + head.byteLength, headLength - head.byteLength);
        longer.set(rest, head.byteLength);
        head = longer;
      }
    }
    return new RamBatch(head, header.length, pageSize, { offset, path: recordPath(header), section: '7' });
  }

  /**
   * A whole record. Kept for a while: the body must not be changed. @throws BODY_CHECKSUM beside those of {@link
   * header}
   */
  async fetch(offset: number): Promise<FetchedRecord> {
    const kept = this.#kept.get(offset);
    if (kept !== undefined) {
      this.#kept.delete(offset);
      this.#kept.set(offset, kept);
      return kept;
    }
    const header = await this.header(offset);
    const padded = await this.read(offset + HEADER_BYTES, header.length + paddingOf(header.length));
    if (crc32(padded) !== header.bodyChecksum) {
      const record = { sequence: header.sequence, name: typeName(header.type) };
      const where = { offset, path: `record ${header.sequence}`, section: '3.2', record };
      throw new TransmigrateError('BODY_CHECKSUM', 'The checksum of a record body does not match', where);
    }
    const record = { header, body: padded.subarray(0, header.length) };
    this.#kept.set(offset, record);
    if (this.#kept.size > this.#keep) this.#kept.delete(this.#kept.keys().next().value!);
    return record;
  }
}

/** @throws INDEX_MISMATCH when a record is not of the type that an index says (stream 13.5). */
export function expectType(header: RecordHeader, type: number): void {
  if (header.type === type) return;
  throw new TransmigrateError('INDEX_MISMATCH', `The index speaks of another record than stands at ${header.offset}`, {
    offset: header.offset,
    path: recordPath(header),
    section: '13.5',
  });
}
