import type { RangeList } from './result.ts';

/** Counts pages, and joins those that follow each other to ranges. Only the first ranges are kept. */
export class RangeCounter {
  readonly #most: number;
  #pages = 0;
  #ranges = 0;
  #end = -1;
  readonly #first: { firstPfn: number; pages: number }[] = [];

  /** @param most ranges that are kept. */
  constructor(most: number) {
    this.#most = most;
  }

  get pages(): number {
    return this.#pages;
  }

  /** Pages in ascending order. */
  add(firstPfn: number, pages: number): void {
    this.#pages += pages;
    if (firstPfn === this.#end) {
      if (this.#ranges <= this.#most) this.#first[this.#ranges - 1].pages += pages;
    } else {
      this.#ranges++;
      if (this.#ranges <= this.#most) this.#first.push({ firstPfn, pages });
    }
    this.#end = firstPfn + pages;
  }

  list(): RangeList {
    return { pages: this.#pages, ranges: this.#ranges, first: this.#first };
  }
}
