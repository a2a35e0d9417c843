import { LIMITS } from '../stream/limits.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import type { PageRuns } from '../stream/records/ram.ts';
import { inRecord } from './record-json.ts';

/** Takes the decoded pages of a batch and wants none of them. */
const NOWHERE: PageRuns = { data: () => undefined, zero: () => undefined, absent: () => undefined };

/**
 * Decodes what a record holds in some codec and forgets it: checksums say that the bytes are those that were written,
 * not that they decode to what they stand for (stream 7.4), and an image that does not decode does not restore.
 */
export class ContentCheck {
  readonly #unit = new Uint8Array(LIMITS.unitBytes);
  readonly #page = new Uint8Array(2 ** LIMITS.pageShiftMax);

  /** @throws CODEC_DATA, with the record it is about. Device and origin data were decoded with their record. */
  check(decoded: DecodedRecord): void {
    const { record } = decoded;
    try {
      if (record.kind === 'RAM') record.visit(NOWHERE, this.#unit);
      if (record.kind === 'TMEM_PAGES') {
        for (let page = 0; page < record.count; page++) record.contentInto(page, this.#page);
      }
    } catch (error) {
      throw inRecord(error, decoded);
    }
  }
}
