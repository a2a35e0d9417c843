import { CODEC } from '../codec/codec.ts';
import { crc32 } from '../codec/platform.ts';
import { kept } from './kept.ts';
import { HEADER_BYTES } from './record-header.ts';
import type { RecordStore } from './record-store.ts';
import { hasData, type RamBatch } from './records/ram.ts';
import { decodeAt } from './records/stored.ts';

/** Batch heads and decoded units that stay in memory: about 6 MiB in all. */
const KEPT_HEADS = 256;
const KEPT_UNITS = 16;

/** What is known of a page of guest memory. */
export type PageState = 'data' | 'zero' | 'absent';

/**
 * Pages of RAM records at any place of an image. A page costs the head of its record and the unit that it is in, each
 * proven by its own checksum (stream 7.6), and kept for a while.
 */
export class RamPages {
  readonly #store: RecordStore;
  readonly #pageSize: number;
  readonly #heads = new Map<number, RamBatch>();
  readonly #units = new Map<string, Uint8Array>();

  constructor(store: RecordStore, pageSize: number) {
    this.#store = store;
    this.#pageSize = pageSize;
  }

  /**
   * Reads a page from the record at `offset`.
   * @param into takes it; cleared where it has no content. @returns undefined when the record does not name the page
   * @throws the errors of damage, where the head or the unit is damaged
   */
  async read(offset: number, pfn: number, into: Uint8Array): Promise<PageState | undefined> {
    const batch = await kept(this.#heads, offset, KEPT_HEADS, () => this.#store.ramHead(offset, this.#pageSize));
    const found = batch.find(pfn);
    if (found === undefined) return undefined;
    if (!hasData(found.pageClass) || found.unit < 0) {
      into.fill(0, 0, this.#pageSize);
      return hasData(found.pageClass) ? 'zero' : 'absent';
    }
    const content = await this.#unit(offset, batch, found.unit, found.storedAt);
    into.set(content.subarray(found.page * this.#pageSize, (found.page + 1) * this.#pageSize));
    return 'data';
  }

  #unit(offset: number, batch: RamBatch, unit: number, storedAt: number): Promise<Uint8Array> {
    return kept(this.#units, `${offset}/${unit}`, KEPT_UNITS, async () => {
      const stored = await this.#store.read(offset + HEADER_BYTES + storedAt, batch.unitStored(unit));
      if (crc32(stored) !== batch.unitChecksum(unit)) throw batch.unitError(unit);
      if (batch.unitCodec(unit) === CODEC.raw) return stored;
      const content = new Uint8Array(batch.unitPages(unit) * batch.pageSize);
      decodeAt(batch.unitCodec(unit), stored, content, batch.where);
      return content;
    });
  }
}
