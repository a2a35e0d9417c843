import { LIMITS } from '../../stream/limits.ts';
import { isListed } from '../../stream/index-builder.ts';
import type { RecordHeader } from '../../stream/record-header.ts';
import { isTmem, TYPE } from '../../stream/record-types.ts';
import type { Index, IndexEntry, IndexRoot } from '../../stream/records/index-records.ts';

/** Bytes that could not be read as records. */
export interface HintedGap {
  readonly offset: number;
  readonly end: number;
  /** Its number in the account of pages. */
  readonly pages: number;
  /** It is known to be one RAM record. */
  readonly isRam: boolean;
}

/** What an index says of a gap. */
export interface Hint {
  readonly gap: HintedGap;
  readonly ranges: readonly { readonly firstPfn: number; readonly pages: number }[];
  readonly tmem: boolean;
  readonly states: boolean;
}

/** What the index says of lost records: it lists all that have content, since the index before it (stream 13.1). */
export class IndexHints {
  /** Offsets of the records since the last index that are there, or whose header is. */
  #seen = new Set<number>();
  #gaps: HintedGap[] = [];
  readonly #unresolved: HintedGap[] = [];
  /** Where the last index stands. */
  #lastIndex = -1;

  seen({ type, offset }: RecordHeader): void {
    // A segment has no more entries: what goes beyond belongs to one whose index was lost.
    if (isListed(type) && this.#seen.size <= LIMITS.indexEntries) this.#seen.add(offset);
  }

  gap(gap: HintedGap): void {
    if (this.#gaps.length < LIMITS.indexEntries) this.#gaps.push(gap);
    else this.#unresolved.push(gap);
  }

  /** An index is there. @param at offset of its record. @returns what it says of the gaps before it */
  index({ entries }: Index, at: number): Hint[] {
    this.#lastIndex = at;
    const [gaps, seen] = [this.#gaps, this.#seen];
    this.#gaps = [];
    this.#seen = new Set();
    const offsets = new Set(entries.map((entry) => entry.offset));
    // Where records were taken out of the file, the places in the index are no longer those of the records.
    const holds = [...seen].every((offset) => offsets.has(offset));
    const hints: Hint[] = [];
    for (const gap of gaps) {
      if (!holds || gap.end === gap.offset) this.#unresolved.push(gap);
      else hints.push(hintOf(gap, entries));
    }
    return hints;
  }

  /** The list of indexes is there. @returns gaps behind the last of them, which hold no content */
  root({ segments }: IndexRoot): Hint[] {
    if (segments.at(-1)?.offset !== this.#lastIndex || this.#seen.size > 0) return [];
    const gaps = this.#gaps.filter(({ offset, end }) => end > offset);
    this.#gaps = this.#gaps.filter(({ offset, end }) => end === offset);
    return gaps.map((gap) => hintOf(gap, []));
  }

  /** Gaps that no index says anything of. */
  unresolved(): readonly HintedGap[] {
    return [...this.#unresolved, ...this.#gaps];
  }
}

function hintOf(gap: HintedGap, entries: readonly IndexEntry[]): Hint {
  const inside = entries.filter(({ offset }) => offset >= gap.offset && offset < gap.end);
  const ranges = inside.flatMap(({ type, low, high }) => {
    const [first, last] = [Number(low), Number(high)];
    return type === TYPE.ram && last >= first ? [{ firstPfn: first, pages: last - first + 1 }] : [];
  });
  return {
    gap,
    ranges,
    tmem: inside.some(({ type }) => isTmem(type)),
    states: inside.some(({ type }) => type !== TYPE.ram && !isTmem(type)),
  };
}
