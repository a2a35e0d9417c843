import { isZeroRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { ELF_LIMITS } from '../../foreign/elf/elf-file.ts';
import type { MemoryBatch } from '../open/opened-image.ts';

/** So many zero pages are worth a segment of their own: their bytes need not be in the file (foreign/elf 5.1.2). */
const ZERO_PAGES_LEAST = 16;

/** Pages that follow each other; after the first `data` of them all are zero. */
export interface PageRange {
  readonly first: number;
  data: number;
  zero: number;
}

/** Divides pages, which come in ascending order, into as few ranges as is worth it. */
export class PageRanges {
  readonly #pageSize: number;
  readonly #most: number;
  #ranges: PageRange[] = [];
  #splitsAtZeros = true;

  /** @param most ranges: by the number of program headers. */
  constructor(pageSize: number, most: number = ELF_LIMITS.segments - 1) {
    this.#pageSize = pageSize;
    this.#most = most;
  }

  get ranges(): readonly PageRange[] {
    return this.#ranges;
  }

  /** Takes pages in. @throws IMAGE_UNFIT when they are in more pieces than a core can have */
  add({ firstPfn, pages, bytes }: MemoryBatch): void {
    for (let i = 0; i < pages; i++) this.#page(firstPfn + i, isZeroRange(bytes, i * this.#pageSize, this.#pageSize));
  }

  #page(pfn: number, isZero: boolean): void {
    const last = this.#ranges.at(-1);
    if (last === undefined || last.first + last.data + last.zero !== pfn) this.#begin(pfn, isZero);
    else if (isZero) last.zero++;
    else if (this.#splitsAtZeros && last.zero >= ZERO_PAGES_LEAST) this.#begin(pfn, false);
    else {
      last.data += last.zero + 1;
      last.zero = 0;
    }
  }

  #begin(pfn: number, isZero: boolean): void {
    if (this.#ranges.length === this.#most && this.#splitsAtZeros) {
      // Zeros in the file are better than no file.
      this.#splitsAtZeros = false;
      this.#ranges = joined(this.#ranges);
      this.#page(pfn, isZero);
      return;
    }
    if (this.#ranges.length === this.#most) {
      throw new TransmigrateError('IMAGE_UNFIT', `Memory is in more than ${this.#most} pieces`, {
        path: `page ${pfn}`,
        section: 'foreign/elf 1.1',
        data: { limit: this.#most },
      });
    }
    this.#ranges.push({ first: pfn, data: isZero ? 0 : 1, zero: isZero ? 1 : 0 });
  }
}

/** Ranges that touch as one. */
function joined(ranges: readonly PageRange[]): PageRange[] {
  const result: PageRange[] = [];
  for (const range of ranges) {
    const last = result.at(-1);
    if (last === undefined || last.first + last.data + last.zero !== range.first) result.push({ ...range });
    else if (range.data === 0) last.zero += range.zero;
    else {
      last.data += last.zero + range.data;
      last.zero = range.zero;
    }
  }
  return result;
}
