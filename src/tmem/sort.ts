/** Sorting numbers of records by keys of many bits, where a comparison of two would cost more than all else. */

const DIGIT_BITS = 8;
const DIGITS = 1 << DIGIT_BITS;

/** The `digit`th byte of a record's key, the lowest first. */
export type DigitOf = (id: number, digit: number) => number;

/** Two buffers that are used again and again, and the counts of a pass. */
export class RadixSorter {
  #spare: Int32Array = new Int32Array(0);
  readonly #counts = new Int32Array(DIGITS);

  /** Sorts `ids` in place by a key of `digits` bytes. Bytes that are the same in all keys cost one look each. */
  sort(ids: Int32Array, digits: number, digitOf: DigitOf): void {
    if (ids.length < 2) return;
    if (this.#spare.length < ids.length) this.#spare = new Int32Array(ids.length);
    let from: Int32Array = ids;
    let to: Int32Array = this.#spare.subarray(0, ids.length);
    for (let digit = 0; digit < digits; digit++) {
      const counts = this.#counts.fill(0);
      for (const id of from) counts[digitOf(id, digit)]++;
      if (counts[digitOf(from[0], digit)] === from.length) continue;
      let start = 0;
      for (let value = 0; value < DIGITS; value++) {
        const count = counts[value];
        counts[value] = start;
        start += count;
      }
      for (const id of from) to[counts[digitOf(id, digit)]++] = id;
      [from, to] = [to, from];
    }
    if (from !== ids) ids.set(from);
  }
}
