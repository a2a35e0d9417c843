import { TransmigrateError } from '../../errors.ts';
import {
  BODY,
  HEADERS_BYTES,
  LIBXC_LIMITS,
  LIBXC_SECTION,
  LIBXC_TYPE,
  libxcTypeName,
  RECORD_ALIGN,
  RECORD_HEADER_BYTES,
  XEN_PAGE_BYTES,
} from './constants.ts';
import { checkLibxcHeader, decodeLibxcHeader, type LibxcHeader } from './headers.ts';
import { EntryWords, PageBatch, pageDataLength, seeEntries } from './pages.ts';
import { PieceReader, withRecord, type Checkpoints, type Shared } from './piece-reader.ts';
import { decodeLibxcBody, libxcPath, type LibxcRecord, type RecordFrame } from './records.ts';
import { lengthForWidth, LibxcRules } from './rules.ts';

/** What a reader of a libxc stream hands out. */
export type LibxcEvent = LibxcHeader | LibxcRecord | PageBatch;

type Phase = 'header' | 'record' | 'body' | 'page-head' | 'page-entries' | 'pages' | 'paused' | 'done';

const NOTHING = new Uint8Array(0);

/** Bytes of the body of a record and its padding. */
export function paddedLength(length: number): number {
  return Math.ceil(length / RECORD_ALIGN) * RECORD_ALIGN;
}

/** Padding that is not zero, as a copy; null for zeros. */
export function oddPadding(padded: Uint8Array, length: number): Uint8Array | null {
  for (let at = length; at < padded.byteLength; at++) if (padded[at] !== 0) return padded.slice(length);
  return null;
}

/**
 * Reads a libxc migration stream, version 2 or 3 (spec/foreign/xen-libxc.md), alone or inside another.
 *
 * A stream with checkpoints goes on after each; `checkpoints` says how far it is consistent.
 */
export class LibxcReader extends PieceReader<LibxcEvent> {
  #phase: Phase = 'header';
  readonly #pausesAtCheckpoints: boolean;
  #header: LibxcHeader | undefined;
  #rules: LibxcRules | undefined;
  #sequence = 0;
  #frame: RecordFrame | undefined;
  readonly #batch = new PageBatch();
  readonly #entries = new EntryWords();
  /** Of the record's pages: those with data that were not handed out yet, and the next entry. */
  #pagesLeft = 0;
  #checkpoints: Checkpoints = { complete: 0, end: 0 };

  /** @param shared of the reader around this one: then it stops after each CHECKPOINT until {@link resume}. */
  constructor(shared?: Shared) {
    super(shared);
    this.#pausesAtCheckpoints = shared !== undefined;
  }

  /** The headers, once they were read. */
  get header(): LibxcHeader | undefined {
    return this.#header;
  }

  get complete(): boolean {
    return this.#phase === 'done';
  }

  /** Whether a CHECKPOINT was handed out, and the layer around has to go on. */
  get paused(): boolean {
    return this.#phase === 'paused';
  }

  get checkpoints(): Checkpoints {
    return this.#checkpoints;
  }

  /** Goes on after a checkpoint. @param header of the next record, when the layer around has read it already. */
  resume(header?: Uint8Array): void {
    if (this.#phase !== 'paused') throw new RangeError('the stream is not at a checkpoint');
    this.#phase = 'record';
    if (header !== undefined) this.#takeRecordHeader(header, this.intake.offset - RECORD_HEADER_BYTES);
  }

  where(): { path: string; section: string } {
    if (this.#phase === 'header') return { path: 'libxc header', section: 'foreign/xen-libxc 1' };
    const frame = this.#frame;
    if (frame === undefined) return { path: `libxc record ${this.#sequence}`, section: 'foreign/xen-libxc 3' };
    return { path: libxcPath(frame), section: LIBXC_SECTION[libxcTypeName(frame.type) ?? 'UNKNOWN'] };
  }

  step(): LibxcEvent | undefined {
    try {
      return this.#step();
    } catch (error) {
      if (this.#phase === 'header') throw error;
      throw withRecord(error, this.#sequence, libxcTypeName(this.#frame?.type ?? -1) ?? 'unknown');
    }
  }

  #step(): LibxcEvent | undefined {
    for (;;) {
      const { offset } = this.intake;
      switch (this.#phase) {
        case 'header': {
          const bytes = this.intake.gather(HEADERS_BYTES);
          if (bytes === undefined) return undefined;
          const header = decodeLibxcHeader(bytes, offset);
          checkLibxcHeader(header, this.findings);
          this.#header = header;
          this.#rules = new LibxcRules(header, this.findings);
          this.#phase = 'record';
          return header;
        }
        case 'record': {
          const bytes = this.intake.gather(RECORD_HEADER_BYTES);
          if (bytes === undefined) return undefined;
          this.#takeRecordHeader(bytes, offset);
          break;
        }
        case 'body': {
          const padded = this.intake.gather(paddedLength(this.#frame!.length));
          return padded === undefined ? undefined : this.#takeBody(padded);
        }
        case 'page-head': {
          const bytes = this.intake.gather(8);
          if (bytes === undefined) return undefined;
          this.#takePageHead(bytes);
          break;
        }
        case 'page-entries': {
          const bytes = this.intake.some(this.#entries.missing);
          if (bytes.byteLength === 0) return undefined;
          this.#entries.add(bytes);
          if (this.#entries.missing === 0) this.#takeEntries();
          break;
        }
        case 'pages':
          return this.#takePages();
        case 'paused':
        case 'done':
          return undefined;
      }
    }
  }

  #takeRecordHeader(bytes: Uint8Array, offset: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES);
    const little = this.#header!.littleEndian;
    const type = view.getUint32(0, little);
    const length = view.getUint32(4, little);
    const frame: RecordFrame = { sequence: this.#sequence, offset, type, length, padding: null };
    this.#frame = frame;
    if (length > LIBXC_LIMITS.recordBytes) {
      const what = `A body of ${length} bytes, the limit is ${LIBXC_LIMITS.recordBytes}`;
      throw this.#error('LIMIT_EXCEEDED', what);
    }
    this.#phase = type === LIBXC_TYPE.PAGE_DATA ? 'page-head' : 'body';
    if (this.#phase === 'page-head' && length < 16) {
      throw this.#error('LENGTH_MISMATCH', `${length} bytes are too few for one entry`);
    }
    // A record that can't be read is refused before its body is waited for.
    if (libxcTypeName(type) === undefined) decodeLibxcBody(frame, new Uint8Array(0), little);
  }

  #takeBody(padded: Uint8Array): LibxcRecord {
    const { length } = this.#frame!;
    const frame: RecordFrame = { ...this.#frame!, padding: oddPadding(padded, length) };
    const body = decodeLibxcBody(frame, padded.subarray(0, length), this.#header!.littleEndian);
    const rules = this.#rules!;
    const expected = lengthForWidth(frame, body, rules.guestWidth);
    if (expected !== undefined && expected !== length) {
      const what = `A body of ${length} bytes, and a guest of ${rules.guestWidth * 8} bits has ${expected}`;
      throw this.#error('LENGTH_MISMATCH', what);
    }
    rules.record(frame, body);
    this.#next(body.kind === 'END' ? 'done' : 'record');
    if (body.kind === 'CHECKPOINT') {
      if (this.#pausesAtCheckpoints) this.#phase = 'paused';
      else this.#checkpoints = { complete: this.#checkpoints.complete + 1, end: this.intake.offset };
    }
    return { layer: 'libxc', frame, ...body };
  }

  #takePageHead(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, BODY.hvmParamsHead);
    const little = this.#header!.littleEndian;
    const count = view.getUint32(0, little);
    const { length } = this.#frame!;
    if (count === 0) throw this.#error('FIELD_VALUE', 'A record without entries', 'count');
    if (length < pageDataLength(count, 0)) {
      throw this.#error('LENGTH_MISMATCH', `${length} bytes are too few for ${count} entries`, 'count');
    }
    this.#batch.frame = this.#frame!;
    this.#batch.count = count;
    this.#batch.reserved = view.getUint32(4, little);
    this.#batch.end = 0;
    this.#entries.start(count);
    this.#phase = 'page-entries';
  }

  #takeEntries(): void {
    this.#entries.finish(this.#header!.littleEndian);
    const { words } = this.#entries;
    const { count, reserved } = this.#batch;
    const seen = seeEntries(words, count);
    if (seen.firstUnknown >= 0) {
      const type = words[2 * seen.firstUnknown + 1] >>> 28;
      throw this.#error('FIELD_VALUE', `A page of type ${type}, which there is not`, `pfn[${seen.firstUnknown}]`);
    }
    const { length } = this.#frame!;
    const expected = pageDataLength(count, seen.withData);
    if (length !== expected) {
      const what = `A body of ${length} bytes, and its ${count} entries, ${seen.withData} with data, need ${expected}`;
      throw this.#error('LENGTH_MISMATCH', what);
    }
    this.#rules!.pages(this.#frame!, reserved, words, count, seen);
    this.#batch.words = words;
    this.#pagesLeft = seen.withData;
    this.#phase = 'pages';
  }

  /** As many pages as are there, with the entries that they belong to; a page that is split alone. */
  #takePages(): PageBatch | undefined {
    const batch = this.#batch;
    if (this.intake.skipsPages) return this.#passPages();
    let pages = Math.min(this.#pagesLeft, Math.floor(this.intake.whole / XEN_PAGE_BYTES));
    if (this.#pagesLeft > 0 && pages === 0) pages = 1;
    const bytes = this.intake.gather(pages * XEN_PAGE_BYTES);
    if (bytes === undefined) return undefined;
    this.#pagesLeft -= pages;
    batch.bytes = bytes;
    batch.first = batch.end;
    let entry = batch.first;
    if (this.#pagesLeft === 0) entry = batch.count;
    else for (let open = pages; open > 0; entry++) if (batch.hasData(entry)) open--;
    batch.end = entry;
    if (entry === batch.count) this.#next('record');
    return batch;
  }

  #passPages(): PageBatch {
    const batch = this.#batch;
    batch.passed = this.#pagesLeft * XEN_PAGE_BYTES;
    batch.bytes = NOTHING;
    batch.first = batch.end;
    batch.end = batch.count;
    this.intake.skip(batch.passed);
    this.#pagesLeft = 0;
    this.#next('record');
    return batch;
  }

  #next(phase: Phase): void {
    this.#sequence++;
    this.#frame = undefined;
    this.#phase = phase;
  }

  #error(code: 'LIMIT_EXCEEDED' | 'LENGTH_MISMATCH' | 'FIELD_VALUE', what: string, field = ''): TransmigrateError {
    const { path, section } = this.where();
    const { offset } = this.#frame!;
    return new TransmigrateError(code, what, { offset, path: field === '' ? path : `${path}/${field}`, section });
  }
}
