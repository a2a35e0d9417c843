import type { RandomAccess } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';
import { kept } from './kept.ts';
import { LIMITS } from './limits.ts';
import { decodePreamble, isIndexed, PREAMBLE_BYTES, readRawPreamble, refusalOf, type Preamble } from './preamble.ts';
import { RamPages, type PageState } from './ram-pages.ts';
import { expectType, RecordStore, type FetchedRecord } from './record-store.ts';
import { isTmem, TYPE } from './record-types.ts';
import { decodeFooter, decodeIndex, decodeIndexRoot, FOOTER_BYTES, SEGMENT } from './records/index-records.ts';
import type { IndexEntry, Segment } from './records/index-records.ts';
import { bodyReader } from './records/record.ts';
import { decodeTmemPool, TmemInvalidate, TmemPages, type TmemHandle, type TmemPool } from './records/tmem.ts';

/** INDEX segments that stay in memory. */
const KEPT_SEGMENTS = 16;

/**
 * Random access to an image through its index (stream 13.5). Everything read is checked by checksums on the way:
 * header, head and unit of a page, the whole record otherwise. Memory is bounded, whatever the image's size; the
 * index itself is read in segments as they are needed.
 */
export class IndexedImage {
  readonly preamble: Preamble;
  readonly #store: RecordStore;
  readonly #segments: readonly Segment[];
  readonly #indexes = new Map<number, readonly IndexEntry[]>();
  readonly #pages: RamPages;
  readonly #pools = new Map<bigint, TmemPool>();

  private constructor(preamble: Preamble, store: RecordStore, segments: readonly Segment[]) {
    this.preamble = preamble;
    this.#store = store;
    this.#segments = segments;
    this.#pages = new RamPages(store, preamble.pageSize);
  }

  /**
   * @throws NOT_INDEXED when the image has no index; FOOTER, TRUNCATED, UNSUPPORTED_VERSION and other errors of a
   * damaged or foreign image; what `access` throws.
   */
  static async open(access: RandomAccess): Promise<IndexedImage> {
    const first = new Uint8Array(PREAMBLE_BYTES);
    const length = await access.readAt(0, first);
    const raw = readRawPreamble(first.subarray(0, length));
    const refusal = refusalOf(raw);
    if (refusal !== undefined) throw refusal;
    const preamble = decodePreamble(raw);
    if (!isIndexed(preamble)) {
      throw new TransmigrateError('NOT_INDEXED', `${access.name} was written without an index`, { section: '13' });
    }
    const store = new RecordStore(access, preamble.checksum, 4);
    const at = Math.max(access.size - FOOTER_BYTES, PREAMBLE_BYTES);
    const footer = decodeFooter(await store.read(at, FOOTER_BYTES), at);
    if (footer.tag !== preamble.checksum || footer.length !== access.size) {
      const what = 'The footer is of another image, or the image was cut or appended to';
      throw new TransmigrateError('FOOTER', what, { offset: at, path: 'footer', section: '13.3' });
    }
    const root = await store.fetch(footer.rootOffset);
    expectType(root.header, TYPE.indexRoot);
    return new IndexedImage(preamble, store, decodeIndexRoot(bodyReader(root.header, root.body)).segments);
  }

  /** Bytes that were read from the image so far. */
  get bytesRead(): number {
    return this.#store.bytesRead;
  }

  /**
   * Reads a page of guest memory.
   * @param into takes it: at least a page. Of a page that is absent it is cleared.
   * @throws the errors of damage, where the page or its index is damaged.
   */
  async readPage(pfn: number, into: Uint8Array): Promise<PageState> {
    for (const segment of this.#newestFirst(SEGMENT.ram)) {
      if (pfn < segment.low || pfn > segment.high) continue;
      const entries = await this.#entries(segment);
      for (let i = entries.length - 1; i >= 0; i--) {
        const entry = entries[i];
        if (entry.type !== TYPE.ram || pfn < Number(entry.low) || pfn > Number(entry.high)) continue;
        const found = await this.#pages.read(entry.offset, pfn, into);
        if (found !== undefined) return found;
      }
    }
    into.fill(0, 0, this.preamble.pageSize);
    return 'absent';
  }

  /** What the index lists, in the order of the stream. */
  async *entries(): AsyncGenerator<IndexEntry> {
    for (const segment of this.#segments) yield* await this.#entries(segment);
  }

  /**
   * A record that the index lists, proven by its own checksums. It is kept for a while: its body must not be changed.
   * @throws INDEX_MISMATCH, BODY_CHECKSUM and other errors of damage
   */
  async fetch(entry: IndexEntry): Promise<FetchedRecord> {
    const record = await this.#store.fetch(entry.offset);
    expectType(record.header, entry.type);
    return record;
  }

  /** The tmem pools that live at the end, with ephemeral ones. */
  async tmemPools(): Promise<TmemPool[]> {
    const living = new Map<bigint, TmemPool>();
    for (const segment of this.#segments) {
      for (const entry of await this.#entries(segment)) {
        if (entry.type === TYPE.tmemPool || entry.type === TYPE.ephemeralPool) {
          const pool = await this.#pool(entry);
          living.set(pool.incarnation, pool);
        } else if (isInvalidate(entry.type) && entry.pages === 0) {
          living.delete(entry.incarnation);
        }
      }
    }
    return [...living.values()];
  }

  /**
   * Reads a page of a tmem pool.
   * @param pool one of {@link tmemPools}. @param into takes it: at least a page of the pool.
   * @returns its length in bytes, or -1 when the pool does not hold it.
   */
  async readTmemPage(pool: TmemPool, handle: TmemHandle, into: Uint8Array): Promise<number> {
    for (const segment of this.#newestFirst(SEGMENT.tmem)) {
      const entries = await this.#entries(segment);
      for (let i = entries.length - 1; i >= 0; i--) {
        const entry = entries[i];
        if (!isTmem(entry.type) || entry.incarnation !== pool.incarnation || !mayHold(entry, handle)) continue;
        if (isInvalidate(entry.type)) {
          if (await this.#invalidates(entry, pool, handle)) return -1;
        } else if (entry.type === TYPE.tmemPages || entry.type === TYPE.ephemeralPages) {
          const { header, body } = await this.#store.fetch(entry.offset);
          expectType(header, entry.type);
          const batch = new TmemPages(bodyReader(header, body), pool);
          for (let page = batch.count - 1; page >= 0; page--) {
            if (isHandle(batch, page, handle)) return batch.contentInto(page, into);
          }
        }
      }
    }
    return -1;
  }

  #entries(segment: Segment): Promise<readonly IndexEntry[]> {
    return kept(this.#indexes, segment.offset, KEPT_SEGMENTS, async () => {
      const { header, body } = await this.#store.fetch(segment.offset);
      expectType(header, TYPE.index);
      return decodeIndex(bodyReader(header, body)).entries;
    });
  }

  async #pool(entry: IndexEntry): Promise<TmemPool> {
    return kept(this.#pools, entry.incarnation, LIMITS.tmemPools * 4, async () => {
      const { header, body } = await this.#store.fetch(entry.offset);
      expectType(header, entry.type);
      return decodeTmemPool(bodyReader(header, body), header.type);
    });
  }

  async #invalidates(entry: IndexEntry, pool: TmemPool, handle: TmemHandle): Promise<boolean> {
    const { header, body } = await this.#store.fetch(entry.offset);
    expectType(header, entry.type);
    const record = new TmemInvalidate(bodyReader(header, body), pool);
    if (record.scope === 'pool') return true;
    for (let i = 0; i < record.count; i++) {
      if (sameObject(record, i, handle) && (record.scope === 'objects' || record.index(i) === handle.index))
        return true;
    }
    return false;
  }

  *#newestFirst(kind: number): Generator<Segment> {
    for (let i = this.#segments.length - 1; i >= 0; i--) {
      const segment = this.#segments[i];
      if ((segment.kinds & kind) !== 0) yield segment;
    }
  }
}

function isInvalidate(type: number): boolean {
  return type === TYPE.tmemInvalidate || type === TYPE.ephemeralInvalidate;
}

function mayHold(entry: IndexEntry, { object }: TmemHandle): boolean {
  return entry.low <= object[0] && object[0] <= entry.high;
}

function sameObject(record: TmemPages | TmemInvalidate, at: number, { object }: TmemHandle): boolean {
  return (
    record.objectWord(at, 0) === object[0] &&
    record.objectWord(at, 1) === object[1] &&
    record.objectWord(at, 2) === object[2]
  );
}

function isHandle(record: TmemPages, at: number, handle: TmemHandle): boolean {
  return record.index(at) === handle.index && sameObject(record, at, handle);
}
