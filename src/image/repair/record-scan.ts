import type { RandomAccess } from '../../bytes/endpoints.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError, type ErrorCode } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import { isIndexed, PREAMBLE_BYTES, type Preamble } from '../../stream/preamble.ts';
import {
  HEADER_BYTES,
  headerChecksumHolds,
  paddingOf,
  recordBytes,
  type RecordHeader,
} from '../../stream/record-header.ts';
import { isLocal, LOCAL_LAST, numberOf, RECORDS, TYPE, typeName } from '../../stream/record-types.ts';

/** Bytes that are looked through at once for the next header. */
const WINDOW_BYTES = 1024 * 1024;
/** Records stand at multiples of this (stream 3). */
const ALIGNMENT = 8;
const TAG_AT = 12;
/** Ranges of numbers of lost records that are remembered, to tell a record that was moved from one that is doubled. */
const LOST_RANGES = 4096;

/** A record whose header and body checksums hold. */
export interface ScannedRecord {
  readonly kind: 'record';
  readonly header: RecordHeader;
  readonly headerBytes: Uint8Array;
  readonly padded: Uint8Array;
  /** Without padding. The reader's own. */
  readonly body: Uint8Array;
}

/** Something that is not as it should be. */
export interface ScannedGap {
  readonly kind: 'gap';
  readonly offset: number;
  /** Bytes that are skipped; 0 where only something is missing. */
  readonly bytes: number;
  readonly error: TransmigrateError;
  /** Of a record whose header holds, or null. */
  readonly header: RecordHeader | null;
  /** What follows the header of a damaged record, as far as it is there: padding and all. */
  readonly content: Uint8Array | null;
  /** Numbers of records that are missing. */
  readonly lost: number;
  /** Nothing is lost by it: a record that came before already. */
  readonly harmless: boolean;
}

export type Scanned = ScannedRecord | ScannedGap;

/**
 * Goes through all records of an image of ours, whatever is wrong with it: after a damaged header the next one is
 * looked for, at each multiple of 8 bytes, that has the tag of this stream, a checksum that holds, and a number that is
 * not behind (stream 3). It ends after END, or INDEX_ROOT where there is one, or with the input.
 * @throws READ_FAILED
 */
export async function* scanRecords(random: RandomAccess, preamble: Preamble): AsyncGenerator<Scanned> {
  const scan = new Scan(random, preamble);
  yield* scan.run();
}

class Scan {
  readonly #random: RandomAccess;
  readonly #tag: number;
  readonly #last: number;
  #sequence = 0;
  readonly #lost: { from: number; to: number }[] = [];

  constructor(random: RandomAccess, preamble: Preamble) {
    this.#random = random;
    this.#tag = preamble.checksum;
    this.#last = isIndexed(preamble) ? TYPE.indexRoot : TYPE.end;
  }

  async *run(): AsyncGenerator<Scanned> {
    let at = PREAMBLE_BYTES;
    let ended = false;
    while (!ended) {
      const bytes = new Uint8Array(HEADER_BYTES);
      const found = await this.#random.readAt(at, bytes);
      if (found < HEADER_BYTES) {
        yield gap('TRUNCATED', 'The image ends before its end', at, found, {});
        return;
      }
      const wrong = this.#wrongWith(bytes);
      if (wrong !== null) {
        const next = await this.#resync(at + ALIGNMENT);
        const content = await this.#read(at + HEADER_BYTES, Math.min(next, at + recordBytes(LIMITS.recordBody)));
        const lost = await this.#lostBefore(next);
        // Where no number is missing, what stands here was put in between.
        const harmless = lost === 0 && next < this.#random.size;
        yield gap(wrong, 'No header of this stream stands here', at, next - at, { content, lost, harmless });
        at = next;
        continue;
      }
      const header = headerOf(bytes, at);
      const missing = this.#place(header);
      if (missing === 'again' || missing === 'moved') {
        const what = missing === 'again' ? 'This record came before' : 'This record stands behind its place';
        const skipped = Math.min(recordBytes(header.length), this.#random.size - at);
        yield gap('RECORD_SEQUENCE', what, at, skipped, { header, harmless: missing === 'again' });
        at += skipped;
        continue;
      }
      if (missing > 0) {
        const what = missing === 1 ? 'A record is missing' : `${missing} records are missing`;
        yield gap('RECORD_SEQUENCE', `${what} before this one`, at, 0, { lost: missing });
      }
      yield* this.#body(header, bytes);
      at += recordBytes(header.length);
      ended = header.type === this.#last || at > this.#random.size;
    }
  }

  async *#body(header: RecordHeader, headerBytes: Uint8Array): AsyncGenerator<Scanned> {
    const start = header.offset + HEADER_BYTES;
    const length = header.length + paddingOf(header.length);
    const padded = await this.#read(start, start + length);
    const bytes = HEADER_BYTES + padded.byteLength;
    if (padded.byteLength < length) {
      yield gap('TRUNCATED', 'The image ends in this record', header.offset, bytes, { header, content: padded });
    } else if (crc32(padded) !== header.bodyChecksum) {
      const what = 'The checksum of the body does not match';
      yield gap('BODY_CHECKSUM', what, header.offset, bytes, { header, content: padded });
    } else {
      yield { kind: 'record', header, headerBytes, padded, body: padded.subarray(0, header.length) };
    }
  }

  #wrongWith(bytes: Uint8Array): ErrorCode | null {
    if (!headerChecksumHolds(bytes)) return 'HEADER_CHECKSUM';
    const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
    if (view.getUint32(TAG_AT, true) !== this.#tag) return 'RECORD_FOREIGN';
    const type = view.getUint32(0, true);
    const limit = RECORDS.get(type)?.limit ?? LIMITS.recordBody;
    if (view.getUint32(4, true) > limit) return 'LIMIT_EXCEEDED';
    return numberOf(type) === 0 || numberOf(type) > LOCAL_LAST ? 'FIELD_VALUE' : null;
  }

  /** How many records are missing before this one; or that it is out of its place. */
  #place({ sequence }: RecordHeader): number | 'again' | 'moved' {
    const missing = sequence - this.#sequence;
    if (missing >= 0) {
      if (missing > 0 && this.#lost.length < LOST_RANGES) this.#lost.push({ from: this.#sequence, to: sequence });
      this.#sequence = sequence + 1;
      return missing;
    }
    return this.#lost.some(({ from, to }) => sequence >= from && sequence < to) ? 'moved' : 'again';
  }

  /** How many records are missing before the one at `next`; they lie in what was skipped. */
  async #lostBefore(next: number): Promise<number> {
    const bytes = new Uint8Array(HEADER_BYTES);
    if ((await this.#random.readAt(next, bytes)) < HEADER_BYTES) return 0;
    const { sequence } = headerOf(bytes, next);
    const lost = sequence - this.#sequence;
    if (lost > 0 && this.#lost.length < LOST_RANGES) this.#lost.push({ from: this.#sequence, to: sequence });
    this.#sequence = sequence;
    return lost;
  }

  /** Where the next header stands, from `from` on, or the end of the input. */
  async #resync(from: number): Promise<number> {
    const window = new Uint8Array(WINDOW_BYTES + HEADER_BYTES);
    const view = new DataView(window.buffer);
    for (let at = from; ; at += WINDOW_BYTES) {
      const found = await this.#random.readAt(at, window);
      for (let offset = 0; offset < WINDOW_BYTES && offset + HEADER_BYTES <= found; offset += ALIGNMENT) {
        if (view.getUint32(offset + TAG_AT, true) !== this.#tag) continue;
        const bytes = window.subarray(offset, offset + HEADER_BYTES);
        if (this.#wrongWith(bytes) === null && view.getUint32(offset + 8, true) >= this.#sequence) return at + offset;
      }
      if (found < window.byteLength) return this.#random.size;
    }
  }

  async #read(from: number, to: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(to, this.#random.size) - from));
    const found = bytes.byteLength === 0 ? 0 : await this.#random.readAt(from, bytes);
    return bytes.subarray(0, found);
  }
}

function headerOf(bytes: Uint8Array, offset: number): RecordHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return {
    type: view.getUint32(0, true),
    length: view.getUint32(4, true),
    sequence: view.getUint32(8, true),
    offset,
    bodyChecksum: view.getUint32(16, true),
  };
}

function gap(
  code: ErrorCode,
  what: string,
  offset: number,
  bytes: number,
  facts: Partial<Pick<ScannedGap, 'header' | 'content' | 'lost' | 'harmless'>>,
): ScannedGap {
  const { header = null, content = null, lost = 0, harmless = false } = facts;
  const record = header === null ? undefined : { sequence: header.sequence, name: nameOf(header.type) };
  const error = new TransmigrateError(code, what, { offset, section: '3.1', ...(record !== undefined && { record }) });
  return { kind: 'gap', offset, bytes, error, header, content, lost, harmless };
}

function nameOf(type: number): string {
  return isLocal(type) ? 'stream-local' : typeName(type);
}
