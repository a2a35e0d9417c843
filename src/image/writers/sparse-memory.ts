import { isZeroRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { MEMORY_MOST, V86_PAGE_BYTES } from '../../foreign/v86/memory.ts';

const MOST_PAGES = MEMORY_MOST / V86_PAGE_BYTES;
/** Pages of one piece of memory: 1 MiB. */
const PIECE_PAGES = 256;

/** Guest memory of v86, of which only what is not zero is held. */
export class SparseMemory {
  /** Pieces of PIECE_PAGES pages, where there is one that is not zero. */
  readonly #pieces = new Map<number, Uint8Array>();
  /** A bit for each page: it is named by the image; it is not zero. */
  readonly #present = new Uint8Array(MOST_PAGES / 8);
  readonly #filled = new Uint8Array(MOST_PAGES / 8);
  #count = 0;
  #end = 0;

  /** Pages with content: `source` is copied. @throws MEMORY_MISMATCH */
  data(first: number, pages: number, source: Uint8Array, at: number): void {
    checkRange(first, pages);
    for (let i = 0; i < pages; i++) {
      const page = first + i;
      const from = at + i * V86_PAGE_BYTES;
      const zero = isZeroRange(source, from, V86_PAGE_BYTES);
      this.#mark(page, true, !zero);
      if (!zero) this.#piece(page).set(source.subarray(from, from + V86_PAGE_BYTES), placeOf(page));
    }
  }

  /** Pages that are zero, or not there. @throws MEMORY_MISMATCH */
  empty(first: number, pages: number, present: boolean): void {
    checkRange(first, pages);
    for (let page = first; page < first + pages; page++) this.#mark(page, present, false);
  }

  /** Are these all of the machine's pages? @throws MEMORY_MISMATCH */
  check(pages: number): void {
    if (this.#count === pages && this.#end <= pages) return;
    const what = `The image has ${this.#count} pages of memory, and the machine ${pages}`;
    throw new TransmigrateError('MEMORY_MISMATCH', what, { data: { found: this.#count, needed: pages } });
  }

  /** A bit for each page that is not zero, lowest first. */
  bitmap(pages: number): Uint8Array {
    return this.#filled.slice(0, Math.ceil(pages / 8));
  }

  /** The pages that are not zero, in order, in runs: views. */
  *runs(): Generator<Uint8Array> {
    for (let piece = 0; piece * PIECE_PAGES < this.#end; piece++) {
      const bytes = this.#pieces.get(piece);
      if (bytes === undefined) continue;
      for (let i = 0; i < PIECE_PAGES;) {
        let length = 0;
        while (i + length < PIECE_PAGES && has(this.#filled, piece * PIECE_PAGES + i + length)) length++;
        if (length > 0) yield bytes.subarray(i * V86_PAGE_BYTES, (i + length) * V86_PAGE_BYTES);
        i += length + 1;
      }
    }
  }

  #mark(page: number, present: boolean, filled: boolean): void {
    if (has(this.#present, page) !== present) this.#count += present ? 1 : -1;
    set(this.#present, page, present);
    set(this.#filled, page, filled);
    if (present) this.#end = Math.max(this.#end, page + 1);
  }

  #piece(page: number): Uint8Array {
    const number = Math.floor(page / PIECE_PAGES);
    let piece = this.#pieces.get(number);
    if (piece === undefined) {
      piece = new Uint8Array(PIECE_PAGES * V86_PAGE_BYTES);
      this.#pieces.set(number, piece);
    }
    return piece;
  }
}

/** @throws MEMORY_MISMATCH for pages that no machine of v86 has */
function checkRange(first: number, pages: number): void {
  if (first + pages <= MOST_PAGES) return;
  throw new TransmigrateError('MEMORY_MISMATCH', 'The image has more memory than v86 has', {
    data: { pfn: first + pages - 1, most: MOST_PAGES },
  });
}

function placeOf(page: number): number {
  return (page % PIECE_PAGES) * V86_PAGE_BYTES;
}

function has(bits: Uint8Array, at: number): boolean {
  return (bits[at >> 3] & (1 << (at & 7))) !== 0;
}

function set(bits: Uint8Array, at: number, value: boolean): void {
  if (value) bits[at >> 3] |= 1 << (at & 7);
  else bits[at >> 3] &= ~(1 << (at & 7));
}
