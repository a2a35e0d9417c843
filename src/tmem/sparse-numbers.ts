/** A number for some of the page records, in segments that are made when the first of their records gets one. */

const SEGMENT_SHIFT = 12;
const SEGMENT = 1 << SEGMENT_SHIFT;
const SEGMENT_MASK = SEGMENT - 1;

export class SparseNumbers {
  readonly #segments: (Int32Array | undefined)[];

  /** @param end above all records that can have a number. */
  constructor(end: number) {
    // Filled, so that the array stays a dense one.
    this.#segments = Array.from({ length: (end >> SEGMENT_SHIFT) + 1 }, () => undefined);
  }

  /** The number of a record; 0 for none. */
  get(page: number): number {
    const segment = this.#segments[page >> SEGMENT_SHIFT];
    return segment === undefined ? 0 : segment[page & SEGMENT_MASK];
  }

  set(page: number, value: number): void {
    const segment = (this.#segments[page >> SEGMENT_SHIFT] ??= new Int32Array(SEGMENT));
    segment[page & SEGMENT_MASK] = value;
  }
}
