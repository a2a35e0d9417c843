/** Batches of pages and of invalidations in the shape of stream 10.3 and 10.4: what the readers hand out. */
import { CODEC, type CodecId } from '../codec/codec.ts';
import { PAGE_BYTES } from './constants.ts';
import type { Holdings } from './holdings.ts';
import { FORM, OBJECT, PAGE } from './page-table.ts';

/** Bytes of an entry, and of what stands before the entries (stream 10.3, 10.4). */
export const PAGE_ENTRY_BYTES = 40;
export const INVALIDATE_ENTRY_BYTES = 32;
export const BATCH_HEAD_BYTES = 16;

/** Entries that a record may have (stream 15): what a batch from a peer is held to. */
export const ENTRY_LIMITS = { pages: 16_384, invalidates: 65_536 } as const;

/** Pages of a batch at most, and stored bytes after which it is full. */
const BATCH_PAGES = 2048;
const BATCH_BYTES = 1024 * 1024;

/** Entries of a batch of invalidations at most. */
export const INVALIDATE_BATCH = 4096;

/** Scopes of an invalidation (stream 10.4). */
export const INVALIDATE_SCOPE = { pages: 1, objects: 2, pool: 3 } as const;

/** Writes the head of a batch: the incarnation as u64, and two numbers. */
export function writeHead(view: DataView, at: number, incarnation: number, second: number, third: number): void {
  view.setUint32(at, incarnation % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(incarnation / 2 ** 32), true);
  view.setUint32(at + 8, second, true);
  view.setUint32(at + 12, third, true);
}

/**
 * Gathers pages into the body of a TMEM_PAGES record. Stored bytes are copied out of the slabs once, right to where
 * they stay; the entries, which must lie before them and whose number is known only at the end, are moved there then.
 */
export class PageBatch {
  readonly #buffer = new Uint8Array(BATCH_HEAD_BYTES + BATCH_PAGES * PAGE_ENTRY_BYTES + BATCH_BYTES + PAGE_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #storedAt = BATCH_HEAD_BYTES + BATCH_PAGES * PAGE_ENTRY_BYTES;
  readonly #content = new Uint8Array(PAGE_BYTES);
  readonly #known: number;
  count = 0;
  #used = 0;

  /** @param codecs that the receiver knows: other pages are sent raw (T5). Undefined: all. */
  constructor(codecs: readonly CodecId[] | undefined) {
    let known = (1 << CODEC.zero) | (1 << CODEC.raw) | (1 << CODEC.opaque);
    for (const codec of codecs ?? Object.values(CODEC)) known |= 1 << codec;
    this.#known = known;
  }

  clear(): void {
    this.count = 0;
    this.#used = 0;
  }

  /** Whether another page may be added. */
  get full(): boolean {
    return this.count >= BATCH_PAGES || this.#used >= BATCH_BYTES;
  }

  add(holdings: Holdings, page: number): void {
    const { pages, objects } = holdings.table;
    const view = this.#view;
    const record = pages.segmentOf(page);
    const recordAt = pages.offsetOf(page);
    const form = record[recordAt + PAGE.form];
    let codec = (form >> FORM.codecShift) & FORM.codecMask;
    let stored = form & FORM.storedMask;
    const original = (form >> FORM.originalShift) & FORM.originalMask;
    const target = this.#storedAt + this.#used;
    if (((this.#known >> codec) & 1) === 0) {
      holdings.read(page, this.#content);
      this.#buffer.set(this.#content, target);
      codec = CODEC.raw;
      stored = original;
    } else if (stored > 0) {
      const chunk = holdings.chunkOf(record[recordAt + PAGE.place], form);
      holdings.store.read(chunk, this.#buffer, target, stored);
    }
    this.#used += stored;
    let at = this.count++ * PAGE_ENTRY_BYTES;
    const object = record[recordAt + PAGE.object];
    const ofObject = objects.segmentOf(object);
    const objectAt = objects.offsetOf(object) + OBJECT.id;
    for (let half = 0; half < 6; half++, at += 4) view.setInt32(at, ofObject[objectAt + half], true);
    view.setInt32(at, record[recordAt + PAGE.index], true);
    view.setInt32(at + 4, original, true);
    view.setInt32(at + 8, stored, true);
    view.setInt32(at + 12, codec, true);
  }

  /** The body of the record: valid until the batch is used again. */
  finish(incarnation: number): Uint8Array {
    const entries = this.count * PAGE_ENTRY_BYTES;
    const start = this.#storedAt - entries - BATCH_HEAD_BYTES;
    this.#buffer.copyWithin(start + BATCH_HEAD_BYTES, 0, entries);
    writeHead(this.#view, start, incarnation, this.count, 0);
    return this.#buffer.subarray(start, this.#storedAt + this.#used);
  }
}
