import type { RandomAccess } from '../bytes/endpoints.ts';
import { equalBytes } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import { decodePreamble, isIndexed, PREAMBLE_BYTES, readRawPreamble, refusalOf } from '../stream/preamble.ts';
import { recordBytes, recordPath, type RecordHeader } from '../stream/record-header.ts';
import { expectType, RecordStore } from '../stream/record-store.ts';
import { isLocal, isOptional, RECORDS, TYPE } from '../stream/record-types.ts';
import type { End } from '../stream/records/control.ts';
import { decodeFooter, FOOTER_BYTES, type Footer, type IndexEntry } from '../stream/records/index-records.ts';
import { decodeBody, type BodyContext, type StreamRecord } from '../stream/records/record.ts';
import { TMEM_ENTRY_BYTES, type TmemPool } from '../stream/records/tmem.ts';
import type { Work } from '../io/work.ts';
import type { Summary } from './summary.ts';

const SEAL_BODY = 48;

/**
 * Fills a summary from an image's index, reading heads and small records only (stream 13).
 * @returns false when the image has no index that holds: then it must be read in order, which also says what is wrong.
 * @throws READ_FAILED, CANCELLED
 */
export async function scanIndexed(access: RandomAccess, summary: Summary, work: Work): Promise<boolean> {
  if (access.size < PREAMBLE_BYTES + FOOTER_BYTES) return false;
  try {
    const scan = await IndexedScan.open(access, summary);
    return scan === undefined ? false : await scan.run(work);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED' || error.code === 'CANCELLED')
      throw error;
    return false;
  }
}

class IndexedScan {
  readonly #store: RecordStore;
  readonly #summary: Summary;
  readonly #footer: Footer;
  readonly #context: BodyContext;
  readonly #pools = new Map<bigint, TmemPool>();

  private constructor(store: RecordStore, summary: Summary, footer: Footer) {
    this.#store = store;
    this.#summary = summary;
    this.#footer = footer;
    this.#context = {
      preamble: summary.preamble!,
      poolOf: (incarnation, header) => {
        const pool = this.#pools.get(incarnation);
        if (pool === undefined) throw new TransmigrateError('TMEM_UNKNOWN_POOL', recordPath(header));
        return pool;
      },
      dictionaryOf: () => undefined,
    };
  }

  static async open(access: RandomAccess, summary: Summary): Promise<IndexedScan | undefined> {
    const first = new Uint8Array(PREAMBLE_BYTES);
    await access.readAt(0, first);
    const raw = readRawPreamble(first);
    if (refusalOf(raw) !== undefined) return undefined;
    const preamble = decodePreamble(raw);
    if (!isIndexed(preamble)) return undefined;
    const store = new RecordStore(access, preamble.checksum);
    const footerOffset = access.size - FOOTER_BYTES;
    const footer = decodeFooter(await store.read(footerOffset, FOOTER_BYTES), footerOffset);
    if (footer.tag !== preamble.checksum || footer.length !== access.size) return undefined;
    summary.preamble = preamble;
    return new IndexedScan(store, summary, footer);
  }

  async run(work: Work): Promise<boolean> {
    const about = await this.#record(PREAMBLE_BYTES);
    const end = await this.#record(this.#footer.endOffset);
    const root = await this.#record(this.#footer.rootOffset);
    if (about.kind !== 'ABOUT' || end.kind !== 'END' || root.kind !== 'INDEX_ROOT') return false;
    if (!equalBytes(end.chains[0].subarray(0, 16), this.#footer.chainStart)) return false;
    this.#summary.add({ record: about });
    for (const segment of root.segments) {
      if (work.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Reading was cancelled');
      const index = await this.#record(segment.offset);
      if (index.kind !== 'INDEX') return false;
      for (const entry of index.entries) await this.#entry(entry);
      work.onProgress?.(segment.offset, this.#footer.length);
    }
    await this.#totals(end);
    this.#summary.complete = true;
    this.#summary.bytesRead = this.#store.bytesRead + PREAMBLE_BYTES;
    return true;
  }

  /** What the index does not list: how many records there are, and, from the SEAL before END, how many seals. */
  async #totals(end: End): Promise<void> {
    const seal = await this.#record(this.#footer.endOffset - recordBytes(SEAL_BODY));
    const seals = seal.kind === 'SEAL' ? seal.number : 0;
    this.#summary.setTotals(end.counts.records + 2, seals);
  }

  async #entry(entry: IndexEntry): Promise<void> {
    switch (entry.type) {
      case TYPE.ram:
        this.#summary.addRam(await this.#store.ramHead(entry.offset, this.#context.preamble.pageSize));
        return;
      case TYPE.deviceData:
        return;
      case TYPE.tmemPages:
      case TYPE.ephemeralPages: {
        const { length } = await this.#header(entry);
        const storedBytes = length - 16 - TMEM_ENTRY_BYTES * entry.pages;
        this.#summary.addTmemBatch({
          incarnation: entry.incarnation,
          pages: entry.pages,
          zeroPages: null,
          storedBytes,
        });
        return;
      }
      case TYPE.tmemInvalidate:
      case TYPE.ephemeralInvalidate:
        this.#summary.addInvalidate(entry.incarnation, entry.pages, entry.pages === 0);
        return;
      default:
        break;
    }
    if (!RECORDS.has(entry.type)) {
      this.#summary.addUnread(isOptional(entry.type) && !isLocal(entry.type));
      return;
    }
    const record = await this.#record(entry.offset, entry.type);
    if (record.kind === 'TMEM_POOL') this.#pools.set(record.incarnation, record);
    this.#summary.add({ record });
  }

  /** A header, which must be of the type that the index says. */
  async #header(entry: IndexEntry): Promise<RecordHeader> {
    const header = await this.#store.header(entry.offset);
    expectType(header, entry.type);
    return header;
  }

  async #record(offset: number, type?: number): Promise<StreamRecord> {
    const { header, body } = await this.#store.fetch(offset);
    if (type !== undefined) expectType(header, type);
    return decodeBody(header, body, this.#context);
  }
}
