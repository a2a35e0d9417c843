import { hasData } from '../stream/page-class.ts';
import { ExtentLog } from './extent-log.ts';

/** Names of classes of pages (stream 7.1). */
const NAMES: Readonly<Record<number, string>> = {
  0: 'ordinary',
  1: 'table1',
  2: 'table2',
  3: 'table3',
  4: 'table4',
  9: 'pinned1',
  10: 'pinned2',
  11: 'pinned3',
  12: 'pinned4',
  0x80: 'notPresent',
  0x81: 'allocated',
  0x82: 'broken',
  0x83: 'ballooned',
};

/** Counts pages as they are named: by class, and which are there at the end. A few numbers for a run of pages. */
export class PageClassCounts {
  readonly #counts = new Map<number, number>();
  readonly #final = new ExtentLog();
  readonly #ever = new ExtentLog();
  pages = 0;
  absentPages = 0;

  add(firstPfn: number, pages: number, pageClass: number): void {
    const present = hasData(pageClass);
    this.#counts.set(pageClass, (this.#counts.get(pageClass) ?? 0) + pages);
    this.#final.add(firstPfn, pages, present, 0);
    if (present) {
      this.pages += pages;
      this.#ever.add(firstPfn, pages, true, 0);
    } else this.absentPages += pages;
  }

  /** pfns that are present at the end. */
  get distinctPages(): number {
    return this.#final.countPresent();
  }

  /** Pages with data beyond the first of each pfn. */
  get resentPages(): number {
    return this.pages - this.#ever.countPresent();
  }

  /** Pages of each class, by name, each time they come. */
  classes(): Record<string, number> {
    const sorted = [...this.#counts].toSorted(([a], [b]) => a - b);
    return Object.fromEntries(sorted.map(([pageClass, pages]) => [NAMES[pageClass] ?? String(pageClass), pages]));
  }
}
