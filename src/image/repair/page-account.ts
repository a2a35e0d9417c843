import { LIMITS } from '../../stream/limits.ts';
import { RangeCounter } from '../diff/ranges.ts';
import type { RangeList } from '../diff/result.ts';
import { ExtentLog, type LastRun } from '../extent-log.ts';

/** Gaps that are accounted for one by one; of what comes after so many everything is doubtful. */
const GAPS_MOST = 4096;
/** Ranges that are named in each list. */
export const RANGES_MOST = 65_536;

/** What a page last came from. */
const FROM = { record: 0, exact: 1, span: 2, anything: 3 } as const;

/** Pages that a lost record named: exactly these, or at most these; null: nobody knows. */
export interface LostPages {
  readonly exact: boolean;
  readonly ranges: readonly { readonly firstPfn: number; readonly pages: number }[];
}

/** What became of the pages of a damaged image. */
export interface PageFate {
  /** Pages that were exported. */
  readonly pages: number;
  /** Named by lost bytes, and not there. */
  readonly missing: RangeList;
  /** In the range of a lost record, and not there: perhaps it named them. */
  readonly perhapsMissing: RangeList;
  /** There, but a newer copy may have been lost. */
  readonly doubtful: RangeList;
}

/**
 * Keeps account of which pages of a damaged image are there, and which of them a lost record may have named after
 * them. 24 bytes for each extent that does not go on where the last one ended.
 */
export class PageAccount {
  /** The tag of an extent is the number of gaps before it. */
  readonly #log = new ExtentLog();
  readonly #gaps: (LostPages | null)[] = [];
  #tooMany = false;

  /** Pages that were exported, or that were said not to be present. */
  named(firstPfn: number, pages: number, present: boolean): void {
    this.#log.add(firstPfn, pages, present, this.#gaps.length);
  }

  /** Something was lost here. @returns its number, for {@link resolve}. */
  gap(lost: LostPages | null): number {
    if (this.#gaps.length === GAPS_MOST) {
      this.#tooMany = true;
      return GAPS_MOST;
    }
    return this.#gaps.push(lost) - 1;
  }

  /** It has become known what was lost in a gap. */
  resolve(gap: number, lost: LostPages): void {
    if (gap < GAPS_MOST) this.#gaps[gap] = lost;
  }

  done(): PageFate {
    const survivors = [...this.#log.runs(true)];
    const later = this.#inOrder(survivors);
    const missing = new RangeCounter(RANGES_MOST);
    const perhapsMissing = new RangeCounter(RANGES_MOST);
    const doubtful = new RangeCounter(RANGES_MOST);
    const present = survivors.filter((run) => run.present);
    let next = 0;
    for (const run of later.runs(true)) {
      if (run.tag === FROM.record) continue;
      const end = run.first + run.pages;
      let at = run.first;
      const gone = run.tag === FROM.exact ? missing : run.tag === FROM.span ? perhapsMissing : undefined;
      while (next < present.length && present[next].first + present[next].pages <= at) next++;
      for (let i = next; i < present.length && present[i].first < end; i++) {
        const first = Math.max(at, present[i].first);
        const last = Math.min(end, present[i].first + present[i].pages);
        if (first > at) gone?.add(at, first - at);
        doubtful.add(first, last - first);
        at = last;
      }
      if (end > at) gone?.add(at, end - at);
    }
    return {
      pages: present.reduce((sum, { pages }) => sum + pages, 0),
      missing: missing.list(),
      perhapsMissing: perhapsMissing.list(),
      doubtful: doubtful.list(),
    };
  }

  /** What survived, and what was lost, in the order in which they came. */
  #inOrder(survivors: readonly LastRun[]): ExtentLog {
    const later = new ExtentLog();
    const byTime = survivors.toSorted((a, b) => a.tag - b.tag);
    let next = 0;
    for (let gap = 0; gap <= this.#gaps.length; gap++) {
      for (; next < byTime.length && byTime[next].tag <= gap; next++) {
        later.add(byTime[next].first, byTime[next].pages, true, FROM.record);
      }
      const lost = this.#gaps[gap];
      if (lost === undefined) continue;
      if (lost === null) later.add(0, LIMITS.pfnEnd, true, FROM.anything);
      for (const { firstPfn, pages } of lost?.ranges ?? []) {
        later.add(firstPfn, pages, true, lost!.exact ? FROM.exact : FROM.span);
      }
    }
    if (this.#tooMany) later.add(0, LIMITS.pfnEnd, true, FROM.anything);
    return later;
  }
}
