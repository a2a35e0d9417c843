import { isZeroRange, sameRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { AbsentRun, ImageMemory, MemoryBatch } from '../open/opened-image.ts';
import { RangeCounter } from './ranges.ts';
import type { ClassRange, MemoryDiff, OnlyPages, PageBytes, Side } from './result.ts';
import { tableLevel, TablePages } from './table-pages.ts';

/** Most places that are named of a page. */
const SPANS_MOST = 64;

export interface MemoryDiffOptions extends Work {
  /** Most ranges and pages that are named. */
  readonly most: number;
  /** Name the places in the first pages that differ. */
  readonly bytes: boolean;
  /** Both images know the classes of their pages. */
  readonly classes: boolean;
  /** Of the guest, for its page tables. */
  readonly wordBits: 32 | 64;
}

/**
 * Compares the memory of two images, page by page, in ascending pfn: a batch of each is held, and no more. The page
 * sizes must be the same.
 * @throws the errors of damage, READ_FAILED, CANCELLED
 */
export async function diffMemory(a: ImageMemory, b: ImageMemory, options: MemoryDiffOptions): Promise<MemoryDiff> {
  const diff = new MemoryWalk(a, b, options);
  await diff.walk();
  if (options.classes) diff.absent();
  return diff.done();
}

/** Where one of the images is. */
class Cursor {
  readonly #batches: AsyncGenerator<MemoryBatch>;
  readonly #pageSize: number;
  pfn = 0;
  pages = 0;
  pageClass = 0;
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;

  constructor(memory: ImageMemory) {
    this.#batches = memory.batches();
    this.#pageSize = memory.pageSize;
  }

  /** Makes sure that a page is there, unless there are no more. */
  async fill(): Promise<boolean> {
    while (this.pages === 0) {
      const next = await this.#batches.next();
      if (next.done === true) return false;
      const { firstPfn, pages, pageClass, bytes } = next.value;
      Object.assign(this, { pfn: firstPfn, pages, pageClass, bytes, at: 0 });
    }
    return true;
  }

  step(pages: number): void {
    this.pfn += pages;
    this.pages -= pages;
    this.at += pages * this.#pageSize;
  }

  async close(): Promise<void> {
    await this.#batches.return(undefined);
  }
}

class MemoryWalk {
  readonly #a: ImageMemory;
  readonly #b: ImageMemory;
  readonly #options: MemoryDiffOptions;
  readonly #pageSize: number;
  readonly #different: RangeCounter;
  readonly #only: Readonly<Record<Side, { readonly ranges: RangeCounter; zeroPages: number }>>;
  readonly #classes: ClassCounter;
  readonly #tables: TablePages | undefined;
  readonly #framesIn: Side;
  readonly #places: PageBytes[] = [];
  #same = 0;

  constructor(a: ImageMemory, b: ImageMemory, options: MemoryDiffOptions) {
    this.#a = a;
    this.#b = b;
    this.#options = options;
    this.#pageSize = a.pageSize;
    this.#different = new RangeCounter(options.most);
    this.#only = {
      a: { ranges: new RangeCounter(options.most), zeroPages: 0 },
      b: { ranges: new RangeCounter(options.most), zeroPages: 0 },
    };
    this.#classes = new ClassCounter(options.most);
    this.#framesIn = a.pfnOfFrame === undefined ? 'b' : 'a';
    // Where both hold frames nothing says which pages are tables, and they are compared as they are.
    const pfnOfFrame = a.pfnOfFrame ?? b.pfnOfFrame;
    if (pfnOfFrame !== undefined && (a.pfnOfFrame === undefined || b.pfnOfFrame === undefined)) {
      this.#tables = new TablePages(pfnOfFrame, options.wordBits);
    }
  }

  async walk(): Promise<void> {
    const { signal, onProgress } = this.#options;
    const [a, b] = [new Cursor(this.#a), new Cursor(this.#b)];
    const total = Math.max(this.#a.pages, this.#b.pages) * this.#pageSize;
    let done = 0;
    try {
      for (;;) {
        const [inA, inB] = [await a.fill(), await b.fill()];
        if (!inA && !inB) return;
        if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Comparing was cancelled');
        let pages: number;
        if (!inB || (inA && a.pfn < b.pfn)) {
          pages = this.#onlyIn('a', a, inB ? b.pfn : Infinity);
        } else if (!inA || b.pfn < a.pfn) {
          pages = this.#onlyIn('b', b, inA ? a.pfn : Infinity);
        } else {
          pages = Math.min(a.pages, b.pages);
          this.#both(a, b, pages);
          a.step(pages);
          b.step(pages);
        }
        done += pages * this.#pageSize;
        onProgress?.(Math.min(done, total), total);
      }
    } finally {
      await Promise.all([a.close(), b.close()]);
    }
  }

  #onlyIn(side: Side, cursor: Cursor, before: number): number {
    const pages = Math.min(cursor.pages, before - cursor.pfn);
    const only = this.#only[side];
    only.ranges.add(cursor.pfn, pages);
    for (let page = 0; page < pages; page++) {
      if (isZeroRange(cursor.bytes, cursor.at + page * this.#pageSize, this.#pageSize)) only.zeroPages++;
    }
    cursor.step(pages);
    return pages;
  }

  #both(a: Cursor, b: Cursor, pages: number): void {
    if (this.#options.classes && a.pageClass !== b.pageClass) {
      this.#classes.add(a.pfn, pages, a.pageClass, b.pageClass);
    }
    const saveClass = this.#framesIn === 'a' ? b.pageClass : a.pageClass;
    if (this.#tables !== undefined && tableLevel(saveClass) > 0) {
      this.#bothTables(this.#tables, a, b, pages, saveClass);
      return;
    }
    if (sameRange(a.bytes, a.at, b.bytes, b.at, pages * this.#pageSize)) {
      this.#same += pages;
      return;
    }
    for (let page = 0; page < pages; page++) {
      const offset = page * this.#pageSize;
      if (sameRange(a.bytes, a.at + offset, b.bytes, b.at + offset, this.#pageSize)) {
        this.#same++;
        continue;
      }
      this.#different.add(a.pfn + page, 1);
      if (this.#wantsPlaces) this.#places.push(this.#placesOf(a, b, page));
    }
  }

  #bothTables(tables: TablePages, a: Cursor, b: Cursor, pages: number, saveClass: number): void {
    const [core, save] = this.#framesIn === 'a' ? [a, b] : [b, a];
    for (let page = 0; page < pages; page++) {
      const offset = page * this.#pageSize;
      if (tables.same(core.bytes, core.at + offset, save.bytes, save.at + offset, this.#pageSize, saveClass)) {
        this.#same++;
        continue;
      }
      this.#different.add(a.pfn + page, 1);
      if (!this.#wantsPlaces) continue;
      // Of a page table an entry differs as a whole.
      const spans = tables.offsets.slice(0, SPANS_MOST).map((entry) => ({ offset: entry, bytes: 8 }));
      this.#places.push({ pfn: a.pfn + page, bytes: 8 * tables.offsets.length, spans });
    }
  }

  get #wantsPlaces(): boolean {
    return this.#options.bytes && this.#places.length < this.#options.most;
  }

  #placesOf(a: Cursor, b: Cursor, page: number): PageBytes {
    const offset = page * this.#pageSize;
    const spans: { offset: number; bytes: number }[] = [];
    let bytes = 0;
    let last = -2;
    for (let at = 0; at < this.#pageSize; at++) {
      if (a.bytes[a.at + offset + at] === b.bytes[b.at + offset + at]) continue;
      bytes++;
      if (at === last + 1) {
        if (spans.length <= SPANS_MOST) spans.at(-1)!.bytes++;
      } else if (spans.length <= SPANS_MOST) {
        // One more than is shown, so that the last that is shown does not grow beyond its end.
        spans.push({ offset: at, bytes: 1 });
      }
      last = at;
    }
    return { pfn: a.pfn + page, bytes, spans: spans.slice(0, SPANS_MOST) };
  }

  /** Pages that both name and neither has: of which class. */
  absent(): void {
    const [inA, inB] = [this.#a.absent()[Symbol.iterator](), this.#b.absent()[Symbol.iterator]()];
    let a = stepOf(inA);
    let b = stepOf(inB);
    while (a !== undefined && b !== undefined) {
      const first = Math.max(a.firstPfn, b.firstPfn);
      const end = Math.min(a.firstPfn + a.pages, b.firstPfn + b.pages);
      if (first < end && a.pageClass !== b.pageClass) this.#classes.add(first, end - first, a.pageClass, b.pageClass);
      if (a.firstPfn + a.pages === end) a = stepOf(inA);
      else b = stepOf(inB);
    }
  }

  done(): MemoryDiff {
    const tables = this.#tables;
    return {
      pages: { a: this.#a.pages, b: this.#b.pages },
      same: this.#same,
      different: this.#different.list(),
      onlyA: onlyPages(this.#only.a),
      onlyB: onlyPages(this.#only.b),
      classes: this.#options.classes ? this.#classes.list() : null,
      pageTables:
        tables === undefined
          ? null
          : {
              framesIn: this.#framesIn,
              pages: tables.pages,
              mapped: tables.mapped,
              hypervisor: tables.hypervisor,
            },
      ...(this.#options.bytes && { bytes: this.#places }),
    };
  }
}

function stepOf(runs: Iterator<AbsentRun>): AbsentRun | undefined {
  const step = runs.next();
  return step.done === true ? undefined : step.value;
}

function onlyPages({ ranges, zeroPages }: { ranges: RangeCounter; zeroPages: number }): OnlyPages {
  return { ...ranges.list(), zeroPages };
}

/** Ranges of pages with a class each in both images. */
class ClassCounter {
  readonly #most: number;
  #pages = 0;
  #ranges = 0;
  readonly #first: { firstPfn: number; pages: number; a: number; b: number }[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  add(firstPfn: number, pages: number, a: number, b: number): void {
    this.#pages += pages;
    const last = this.#first.at(-1);
    if (last !== undefined && last.firstPfn + last.pages === firstPfn && last.a === a && last.b === b) {
      last.pages += pages;
      return;
    }
    this.#ranges++;
    if (this.#first.length < this.#most) this.#first.push({ firstPfn, pages, a, b });
  }

  list(): { pages: number; ranges: number; first: ClassRange[] } {
    return { pages: this.#pages, ranges: this.#ranges, first: this.#first };
  }
}
