import type { ExtentLog } from '../extent-log.ts';
import type { AbsentRun } from './opened-image.ts';

/** The runs of {@link ExtentLog} in arrays, to find any page by halving. 20 bytes a run. */
export class LastRuns {
  readonly #firsts: Float64Array;
  readonly #ends: Float64Array;
  readonly #tags: Int32Array;
  readonly #present: Uint8Array;
  readonly length: number;
  /** Pages that are present. */
  readonly pages: number;
  /** One above the highest pfn that is present. */
  readonly pfnEnd: number;

  constructor(log: ExtentLog) {
    let capacity = Math.max(16, log.length);
    let firsts = new Float64Array(capacity);
    let ends = new Float64Array(capacity);
    let tags = new Int32Array(capacity);
    let present = new Uint8Array(capacity);
    let [length, pages, pfnEnd] = [0, 0, 0];
    for (const run of log.runs(true)) {
      if (length === capacity) {
        capacity *= 2;
        [firsts, ends, tags, present] = [
          grown(firsts, new Float64Array(capacity)),
          grown(ends, new Float64Array(capacity)),
          grown(tags, new Int32Array(capacity)),
          grown(present, new Uint8Array(capacity)),
        ];
      }
      firsts[length] = run.first;
      ends[length] = run.first + run.pages;
      tags[length] = run.tag;
      present[length] = run.present ? 1 : 0;
      length++;
      if (run.present) {
        pages += run.pages;
        pfnEnd = run.first + run.pages;
      }
    }
    this.#firsts = firsts;
    this.#ends = ends;
    this.#tags = tags;
    this.#present = present;
    this.length = length;
    this.pages = pages;
    this.pfnEnd = pfnEnd;
  }

  first(run: number): number {
    return this.#firsts[run];
  }

  /** One above the last page of a run. */
  end(run: number): number {
    return this.#ends[run];
  }

  tag(run: number): number {
    return this.#tags[run];
  }

  present(run: number): boolean {
    return this.#present[run] === 1;
  }

  /** The runs that are not present. @param classes by tag. */
  *absent(classes: readonly number[]): Generator<AbsentRun> {
    for (let run = 0; run < this.length; run++) {
      if (this.present(run)) continue;
      const firstPfn = this.first(run);
      yield { firstPfn, pages: this.end(run) - firstPfn, pageClass: classes[this.tag(run)] };
    }
  }

  /** The run that names a page, or -1. */
  find(pfn: number): number {
    const run = this.after(pfn);
    return run < this.length && this.#firsts[run] <= pfn ? run : -1;
  }

  /** The first run that ends above a page. */
  after(pfn: number): number {
    let [low, high] = [0, this.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle] <= pfn) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function grown<T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
