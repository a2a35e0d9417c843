/**
 * The bytes of a host's journal (protocol 8, H4): entries that only ever are appended, each with a checksum over itself
 * and its place. Nothing here touches a file: a runner writes, syncs, and says how it went.
 */
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { equalBytes } from '../../bytes/hex.ts';
import { parseJsonObject } from '../../bytes/bounded-json.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { checkRecord, type JournalRecord } from './records.ts';

/** The named limits of a journal (protocol 8.1). */
export const JOURNAL_LIMITS = {
  /** Bytes of the file. A journal that comes near is written anew (protocol 8.4). */
  bytes: 16 * 1024 * 1024,
  /** Bytes of an entry's body. */
  entryBytes: 16 * 1024,
  depth: 8,
} as const;

/** The file begins with these, a version and their checksum (protocol 8.1). */
const MAGIC = Uint8Array.of(0x89, 0x54, 0x4d, 0x49, 0x47, 0x4a, 0x0d, 0x0a);
const VERSION = 1;
export const JOURNAL_HEAD_BYTES = 16;
/** `TJE1`: what an entry begins with (protocol 8.1). */
const ENTRY = 0x3145_4a54;
const ENTRY_HEAD_BYTES = 24;

/** Where a journal's next entry goes. */
export interface JournalEnd {
  /** Bytes that were written. */
  readonly length: number;
  /** Bytes that are known to be on the disk. */
  readonly durable: number;
}

/** The first bytes of a new journal. */
export function journalHead(): { readonly bytes: Uint8Array; readonly end: JournalEnd } {
  const head = new ByteWriter(JOURNAL_HEAD_BYTES).bytes(MAGIC).u32(VERSION);
  const checksum = crc32(head.done());
  return { bytes: head.u32(checksum).done(), end: { length: JOURNAL_HEAD_BYTES, durable: 0 } };
}

/** @throws RangeError for an entry or a journal beyond the limits: the journal must be written anew first. */
export function encodeEntry(record: JournalRecord, end: JournalEnd): { bytes: Uint8Array; end: JournalEnd } {
  const body = new TextEncoder().encode(JSON.stringify(record));
  if (body.byteLength > JOURNAL_LIMITS.entryBytes) throw new RangeError(`an entry of ${body.byteLength} bytes`);
  const padding = -body.byteLength & 7;
  const size = ENTRY_HEAD_BYTES + body.byteLength + padding;
  if (end.length + size > JOURNAL_LIMITS.bytes) throw new RangeError('the journal is full');
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(body, ENTRY_HEAD_BYTES);
  view.setUint32(0, ENTRY, true);
  view.setUint32(4, body.byteLength, true);
  view.setBigUint64(8, BigInt(end.durable), true);
  view.setUint32(16, crc32(bytes.subarray(ENTRY_HEAD_BYTES)), true);
  view.setUint32(20, placed(bytes.subarray(0, 20), end.length), true);
  return { bytes, end: { length: end.length + size, durable: end.durable } };
}

/** What a journal holds. */
export interface JournalContent {
  readonly records: readonly JournalRecord[];
  /** Where the next entry goes: the file is cut there, and synced, before anything is appended. */
  readonly end: JournalEnd;
  /** Bytes behind it that are no whole entry: what was written last and never synced. */
  readonly torn: number;
}

/**
 * Reads a journal after whatever happened to it. Entries that were not synced may be missing, cut, zero or in part on
 * the disk, in any order; from the first that is not whole all is left out, since nothing was done because of it.
 * @throws JOURNAL_DAMAGED when an entry is not whole that was once on the disk: a later one says so. Then nothing may
 * be concluded from the journal. UNSUPPORTED_VERSION for one of a later version; FIELD_VALUE, JSON_INVALID for an entry
 * that is whole and makes no sense.
 */
export function readJournal(bytes: Uint8Array): JournalContent {
  if (bytes.byteLength > JOURNAL_LIMITS.bytes) throw damaged('it is longer than a journal can be', 0);
  if (!hasHead(bytes)) {
    // Its head is synced before anything else is written: without one nothing was ever done because of it.
    if (laterKnows(bytes, 0)) throw damaged('its head is not whole', 0);
    return { records: [], end: { length: 0, durable: 0 }, torn: bytes.byteLength };
  }
  const records: JournalRecord[] = [];
  let at = JOURNAL_HEAD_BYTES;
  while (at < bytes.byteLength) {
    const entry = entryAt(bytes, at);
    if (entry === undefined) {
      if (laterKnows(bytes, at)) throw damaged(`the entry at ${at} is not whole, and was once`, at);
      break;
    }
    records.push(checkRecord(parseJsonObject(entry.body, JOURNAL_LIMITS.depth, where(at)), at));
    at += entry.size;
  }
  return { records, end: { length: at, durable: at }, torn: bytes.byteLength - at };
}

function hasHead(bytes: Uint8Array): boolean {
  if (bytes.byteLength < JOURNAL_HEAD_BYTES) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!equalBytes(bytes.subarray(0, 8), MAGIC) || view.getUint32(12, true) !== crc32(bytes.subarray(0, 12)))
    return false;
  const version = view.getUint32(8, true);
  if (version === VERSION) return true;
  throw new TransmigrateError('UNSUPPORTED_VERSION', `The journal has version ${version}`, {
    ...where(0),
    data: { version, supported: VERSION },
    next: 'Use the transmigrate that wrote it, or a newer one.',
  });
}

function entryAt(bytes: Uint8Array, at: number): { body: Uint8Array; durable: number; size: number } | undefined {
  if (at + ENTRY_HEAD_BYTES > bytes.byteLength) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.byteLength - at);
  if (view.getUint32(0, true) !== ENTRY) return undefined;
  if (view.getUint32(20, true) !== placed(bytes.subarray(at, at + 20), at)) return undefined;
  const length = view.getUint32(4, true);
  const size = ENTRY_HEAD_BYTES + length + (-length & 7);
  if (length > JOURNAL_LIMITS.entryBytes || at + size > bytes.byteLength) return undefined;
  const body = bytes.subarray(at + ENTRY_HEAD_BYTES, at + size);
  if (view.getUint32(16, true) !== crc32(body)) return undefined;
  return { body: body.subarray(0, length), durable: Number(view.getBigUint64(8, true)), size };
}

/** Whether a whole entry behind this place was written when everything up to beyond it was on the disk. */
function laterKnows(bytes: Uint8Array, at: number): boolean {
  for (let later = (at + 8) & ~7; later + ENTRY_HEAD_BYTES <= bytes.byteLength; later += 8) {
    const entry = entryAt(bytes, later);
    if (entry !== undefined && entry.durable > at) return true;
  }
  return false;
}

/** The checksum of an entry's head, over its place too: an entry is none anywhere else. */
function placed(head: Uint8Array, at: number): number {
  const both = new Uint8Array(28);
  both.set(head);
  new DataView(both.buffer).setBigUint64(20, BigInt(at), true);
  return crc32(both);
}

function where(offset: number): { offset: number; path: string; section: string } {
  return { offset, path: 'journal', section: 'protocol 8.1' };
}

function damaged(what: string, offset: number): TransmigrateError {
  return new TransmigrateError('JOURNAL_DAMAGED', `The journal can't be trusted: ${what}`, where(offset));
}
