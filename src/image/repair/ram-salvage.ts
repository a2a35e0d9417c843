import { CODEC } from '../../codec/codec.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import { hasData, RamBatch } from '../../stream/records/ram.ts';
import { decodeAt } from '../../stream/records/stored.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { PageAccount } from './page-account.ts';

type LostRange = { firstPfn: number; pages: number };

/** Takes what is whole out of a RAM record whose body is not: its head is, and each unit has its own checksum. */
export class RamSalvage {
  readonly #writer: StreamWriter;
  readonly #account: PageAccount;
  readonly #scratch = new Uint8Array(LIMITS.unitBytes);

  constructor(writer: StreamWriter, account: PageAccount) {
    this.#writer = writer;
    this.#account = account;
  }

  /** Whether all of a batch can be decoded: its checksums hold already. */
  decodes(batch: RamBatch): boolean {
    try {
      for (const run of batch.runs(this.#scratch)) void run;
      return true;
    } catch (error) {
      if (error instanceof TransmigrateError) return false;
      throw error;
    }
  }

  /**
   * Exports what can be proven of a batch.
   * @param body all of it that is there. @returns the pages that are lost, in ascending order
   */
  async part(batch: RamBatch, body: Uint8Array): Promise<LostRange[]> {
    const { pageSize } = batch;
    const lost: LostRange[] = [];
    const units = new Units(batch, body, this.#scratch);
    let position = 0;
    for (let extent = 0; extent < batch.extents; extent++) {
      const [first, pages] = [batch.extentFirst(extent), batch.extentPages(extent)];
      const pageClass = batch.extentClass(extent);
      if (!hasData(pageClass)) {
        await this.#writer.absent(first, pages, pageClass);
        this.#account.named(first, pages, false);
        continue;
      }
      for (let page = 0; page < pages;) {
        const zero = batch.isZero(position);
        const start = page;
        do {
          page++;
          position++;
        } while (page < pages && batch.isZero(position) === zero);
        if (zero) {
          await this.#writer.zero(first + start, page - start, pageClass);
          this.#account.named(first + start, page - start, true);
          continue;
        }
        for (let from = start; from < page;) {
          const taken = units.take(page - from);
          if (taken.source === null) {
            lost.push({ firstPfn: first + from, pages: taken.pages });
          } else {
            await this.#writer.ram(first + from, taken.pages, taken.source, taken.page * pageSize, pageClass);
            this.#account.named(first + from, taken.pages, true);
          }
          from += taken.pages;
        }
      }
    }
    return lost;
  }
}

/** The units of a batch, one after the other; those that can't be proven have no content. */
class Units {
  readonly #batch: RamBatch;
  readonly #body: Uint8Array;
  readonly #scratch: Uint8Array;
  #next = 0;
  #stored: number;
  #source: Uint8Array | null = null;
  #page = 0;
  #left = 0;

  constructor(batch: RamBatch, body: Uint8Array, scratch: Uint8Array) {
    this.#batch = batch;
    this.#body = body;
    this.#scratch = scratch;
    this.#stored = batch.headLength;
  }

  /** At most so many of the next pages. */
  take(most: number): { readonly source: Uint8Array | null; readonly page: number; readonly pages: number } {
    if (this.#left === 0) this.#open();
    const pages = Math.min(most, this.#left);
    const taken = { source: this.#source, page: this.#page, pages };
    this.#page += pages;
    this.#left -= pages;
    return taken;
  }

  #open(): void {
    const batch = this.#batch;
    const unit = this.#next++;
    const length = batch.unitStored(unit);
    const stored = this.#body.subarray(this.#stored, this.#stored + length);
    this.#stored += length;
    this.#page = 0;
    this.#left = batch.unitPages(unit);
    this.#source = null;
    if (stored.byteLength < length || crc32(stored) !== batch.unitChecksum(unit)) return;
    if (batch.unitCodec(unit) === CODEC.raw) {
      this.#source = stored;
      return;
    }
    const content = this.#scratch.subarray(0, this.#left * batch.pageSize);
    try {
      decodeAt(batch.unitCodec(unit), stored, content, batch.where);
      this.#source = content;
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
    }
  }
}

/**
 * The head of a batch whose body is damaged; undefined when it is the head that is.
 * @param content what follows the record's header, as far as it is there. @param length of the whole body.
 */
export function batchOf(content: Uint8Array, length: number, pageSize: number, offset: number): RamBatch | undefined {
  try {
    return new RamBatch(content, length, pageSize, { offset, path: `record at ${offset}`, section: '7' });
  } catch (error) {
    // A RangeError: not all of the head is there.
    if (error instanceof TransmigrateError || error instanceof RangeError) return undefined;
    throw error;
  }
}

/**
 * A batch behind a header that is damaged, found by the checksum of its own head.
 * @param content what stands between that header and the next one: the body, and up to 7 bytes of padding.
 */
export function batchWithoutHeader(content: Uint8Array, pageSize: number, offset: number): RamBatch | undefined {
  for (let padding = 0; padding < 8; padding++) {
    const batch = batchOf(content, content.byteLength - padding, pageSize, offset);
    if (batch !== undefined) return batch;
  }
  return undefined;
}
