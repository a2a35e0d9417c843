import { TransmigrateError } from '../errors.ts';
import { indexEntryOf, isListed, segmentOf } from '../stream/index-builder.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import { recordPath, type RecordHeader } from '../stream/record-header.ts';
import type { IndexEntry, Segment } from '../stream/records/index-records.ts';
import { typeName } from '../stream/record-types.ts';
import type { StreamRecord } from '../stream/records/record.ts';

/** Most differences that are reported: an index that lies about everything would else fill the report. */
const MOST_REPORTED = 16;
/** Most entries that wait for their INDEX; a stream may say that it has one and never write it. */
const MOST_WAITING = 8192;

/** Compares an index with the records it speaks of (stream 13.5): it is a hint, so differences are warnings. */
export class IndexCheck {
  #waiting: IndexEntry[] = [];
  #overflowed = false;
  readonly #segments: Segment[] = [];
  readonly #found: TransmigrateError[] = [];
  #last: RecordHeader | undefined;

  add({ header, record }: DecodedRecord): void {
    if (record.kind === 'INDEX') this.#compare(header, record.entries);
    else if (record.kind === 'INDEX_ROOT') this.#compareRoot(header, record.segments);
    else if (isListed(header.type)) this.#expect(header, record);
    if (record.kind === 'END') this.#last = header;
  }

  /** The differences that were found. */
  warnings(): TransmigrateError[] {
    return this.#found;
  }

  #expect(header: RecordHeader, record: StreamRecord): void {
    if (this.#waiting.length === MOST_WAITING) {
      this.#overflowed = true;
      return;
    }
    const span =
      record.kind === 'RAM'
        ? {
            kind: 'RAM' as const,
            pages: record.pages,
            low: record.extentFirst(0),
            high: record.extentFirst(record.extents - 1) + record.extentPages(record.extents - 1) - 1,
          }
        : record;
    this.#waiting.push(indexEntryOf(header, span));
  }

  #compare(header: RecordHeader, entries: readonly IndexEntry[]): void {
    const expected = this.#waiting;
    this.#waiting = [];
    this.#segments.push(segmentOf(header.offset, entries));
    if (this.#overflowed || entries.length !== expected.length) {
      this.#report(header, 'entries', `the index lists ${entries.length} records, and ${expected.length} came`);
      this.#overflowed = false;
      return;
    }
    for (const [i, entry] of entries.entries()) {
      const fields = Object.keys(entry) as (keyof IndexEntry)[];
      const wrong = fields.find((field) => entry[field] !== expected[i][field]);
      if (wrong === undefined) continue;
      const what = `entry ${i} says ${wrong} ${entry[wrong]}, the record says ${expected[i][wrong]}`;
      this.#report(header, `entries[${i}]/${wrong}`, what);
    }
  }

  #compareRoot(header: RecordHeader, segments: readonly Segment[]): void {
    if (this.#waiting.length > 0 && this.#last !== undefined) {
      this.#report(this.#last, '', `${this.#waiting.length} records before END are in no index`);
    }
    if (segments.length !== this.#segments.length) {
      const what = `the root lists ${segments.length} segments, and ${this.#segments.length} came`;
      this.#report(header, 'segments', what);
      return;
    }
    for (const [i, segment] of segments.entries()) {
      const fields = Object.keys(segment) as (keyof Segment)[];
      const wrong = fields.find((field) => segment[field] !== this.#segments[i][field]);
      if (wrong !== undefined) this.#report(header, `segments[${i}]/${wrong}`, `segment ${i} has another ${wrong}`);
    }
  }

  #report(header: RecordHeader, field: string, what: string): void {
    if (this.#found.length === MOST_REPORTED) return;
    this.#found.push(
      new TransmigrateError('INDEX_MISMATCH', `The index does not agree with the records: ${what}`, {
        offset: header.offset,
        path: field === '' ? recordPath(header) : `${recordPath(header)}/${field}`,
        section: '13.5',
        record: { sequence: header.sequence, name: typeName(header.type) },
      }),
    );
  }
}
