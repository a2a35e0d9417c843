/** Copies of guest memory: nothing that leaves the guest's thread is a view of it (M2). */
import type { PageBatch, ScanSlice } from '../machine.ts';

export const PAGE_BYTES = 4096;
/** Pages that are compared as one before they are looked at one by one: two bytes of bits. */
const BLOCK_PAGES = 16;
const ZERO = Buffer.alloc(PAGE_BYTES * BLOCK_PAGES);

export const PAGE_LIMITS = {
  /** Pages that one batch carries: 16 MiB. */
  batch: 4096,
  /** Pages of one step of a scan when nobody says otherwise: 8 MiB, about a millisecond. */
  scan: 2048,
  /** Pages that one step takes when nobody says otherwise: 1 MiB. */
  dirty: 256,
} as const;

/** Calls back for each page of a range that is not zero. */
function visitData(memory: Buffer, first: number, end: number, visit: (pfn: number) => void): void {
  for (let pfn = first; pfn < end;) {
    const stop = Math.min(end, pfn + BLOCK_PAGES);
    const from = pfn * PAGE_BYTES;
    const to = stop * PAGE_BYTES;
    if (memory.compare(ZERO, 0, to - from, from, to) === 0) pfn = stop;
    for (; pfn < stop; pfn++) if (!isZero(memory, pfn)) visit(pfn);
  }
}

function isZero(memory: Buffer, pfn: number): boolean {
  const at = pfn * PAGE_BYTES;
  return memory.compare(ZERO, 0, PAGE_BYTES, at, at + PAGE_BYTES) === 0;
}

/** Copies of the pages of a range that are not zero. */
export function copyPages(memory: Buffer, first: number, count: number): PageBatch {
  return gather(memory, findPages(memory, first, count));
}

/** The numbers of the pages of a range that are not zero. */
export function findPages(memory: Buffer, first: number, count: number): Uint32Array {
  const found = new Uint32Array(count);
  let used = 0;
  visitData(memory, first, first + count, (pfn) => {
    found[used++] = pfn;
  });
  return found.slice(0, used);
}

/** The memory of each run of pages that follow each other: views, not copies. */
export function runsOf(memory: Buffer, pfns: Uint32Array): Uint8Array[] {
  const runs: Uint8Array[] = [];
  for (let i = 0; i < pfns.length;) {
    let end = i + 1;
    while (end < pfns.length && pfns[end] === pfns[end - 1] + 1) end++;
    runs.push(memory.subarray(pfns[i] * PAGE_BYTES, (pfns[i] + end - i) * PAGE_BYTES));
    i = end;
  }
  return runs;
}

/** The pages with these numbers. `pfns` goes into the batch. @param room for the pages, if there is enough of it. */
export function gather(memory: Buffer, pfns: Uint32Array, room?: Uint8Array): PageBatch {
  const length = pfns.length * PAGE_BYTES;
  const fits = room !== undefined && room.byteLength >= length;
  // All of it is written below, so it need not be zero before.
  const bytes = fits ? room.subarray(0, length) : new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
  for (let i = 0; i < pfns.length;) {
    let end = i + 1;
    while (end < pfns.length && pfns[end] === pfns[end - 1] + 1) end++;
    const from = pfns[i] * PAGE_BYTES;
    memory.copy(bytes, i * PAGE_BYTES, from, from + (end - i) * PAGE_BYTES);
    i = end;
  }
  return { pfns, bytes };
}

/** Puts pages in place. The numbers were checked. */
export function scatter(memory: Buffer, { pfns, bytes }: PageBatch): void {
  for (let i = 0; i < pfns.length;) {
    let end = i + 1;
    while (end < pfns.length && pfns[end] === pfns[end - 1] + 1) end++;
    memory.set(bytes.subarray(i * PAGE_BYTES, end * PAGE_BYTES), pfns[i] * PAGE_BYTES);
    i = end;
  }
}

/**
 * What the receiver of the rounds has, and which pages changed since. Comparing, copying to the shadow and handing over
 * happen in one go, so that the shadow is always what was handed over.
 */
export class DirtyScan {
  readonly #shadow: Buffer;
  readonly #pages: number;
  /** A bit for each page that is to be taken though it may not have changed. */
  readonly #forced: Uint8Array;
  #forcedCount = 0;
  /** Room for the numbers of one step: pages with content, and zero ones. */
  #found = new Uint32Array(0);
  #zeros = new Uint32Array(0);
  #foundCount = 0;
  #zeroCount = 0;

  /** Begins with a receiver whose memory is zero. */
  constructor(pages: number) {
    this.#pages = pages;
    // Untouched, this takes no memory yet: pages that stay zero are compared with the system's one page of zeros.
    this.#shadow = Buffer.alloc(pages * PAGE_BYTES);
    this.#forced = new Uint8Array(2 * Math.ceil(pages / BLOCK_PAGES));
  }

  /** The next round takes these pages. */
  force(pfns: Uint32Array): void {
    for (const pfn of pfns) {
      const bit = 1 << (pfn & 7);
      if ((this.#forced[pfn >> 3] & bit) !== 0) continue;
      this.#forced[pfn >> 3] |= bit;
      this.#forcedCount++;
    }
  }

  /** Looks at up to `pages` pages from `first` and takes up to `dirty` of them. @param into room for their bytes. */
  step(memory: Buffer, first: number, pages: number, dirty: number, into?: Uint8Array): Omit<ScanSlice, 'stoppedMs'> {
    const end = Math.min(this.#pages, first + pages);
    if (this.#found.length < dirty) {
      this.#found = new Uint32Array(dirty);
      this.#zeros = new Uint32Array(dirty);
    }
    this.#foundCount = 0;
    this.#zeroCount = 0;
    const next = this.#look(memory, first, end, dirty);
    return {
      dirty: gather(this.#shadow, this.#found.slice(0, this.#foundCount), into),
      zero: this.#zeros.slice(0, this.#zeroCount),
      next,
    };
  }

  /** @returns where to go on */
  #look(memory: Buffer, first: number, end: number, most: number): number {
    const shadow = this.#shadow;
    for (let pfn = first; pfn < end;) {
      // Blocks are aligned, so that the bits of one are whole bytes.
      const stop = Math.min(end, (pfn & -BLOCK_PAGES) + BLOCK_PAGES);
      const from = pfn * PAGE_BYTES;
      const to = stop * PAGE_BYTES;
      if (!this.#anyForced(pfn) && memory.compare(shadow, from, to, from, to) === 0) {
        pfn = stop;
        continue;
      }
      for (; pfn < stop; pfn++) {
        const at = pfn * PAGE_BYTES;
        const forced = (this.#forced[pfn >> 3] & (1 << (pfn & 7))) !== 0;
        if (!forced && memory.compare(shadow, at, at + PAGE_BYTES, at, at + PAGE_BYTES) === 0) continue;
        memory.copy(shadow, at, at, at + PAGE_BYTES);
        if (forced) this.#unforce(pfn);
        // The copy is asked, not the guest's memory: what is told of it must be what is compared with.
        if (isZero(shadow, pfn)) this.#zeros[this.#zeroCount++] = pfn;
        else this.#found[this.#foundCount++] = pfn;
        if (this.#foundCount + this.#zeroCount === most) return pfn + 1;
      }
    }
    return end;
  }

  /** Whether a page of the block with this one is forced. */
  #anyForced(pfn: number): boolean {
    if (this.#forcedCount === 0) return false;
    const byte = (pfn & -BLOCK_PAGES) >> 3;
    return this.#forced[byte] !== 0 || this.#forced[byte + 1] !== 0;
  }

  #unforce(pfn: number): void {
    this.#forced[pfn >> 3] &= ~(1 << (pfn & 7));
    this.#forcedCount--;
  }
}

/** A copy of all of memory at one moment, in memory that is there before the moment comes. */
export class MemoryCopy {
  readonly bytes: Buffer;
  /** How far the memory was touched: the system gives a page out only then, which takes longer than copying it. */
  #touched = 0;
  /** Whether it holds a copy. */
  taken = false;

  constructor(bytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(bytes);
  }

  /** Touches the next `bytes`. False when all is touched. */
  touch(bytes: number): boolean {
    const end = Math.min(this.bytes.byteLength, this.#touched + bytes);
    this.bytes.fill(0, this.#touched, end);
    this.#touched = end;
    return end < this.bytes.byteLength;
  }

  take(memory: Buffer): void {
    memory.copy(this.bytes);
    this.#touched = this.bytes.byteLength;
    this.taken = true;
  }
}
