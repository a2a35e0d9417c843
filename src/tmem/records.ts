/**
 * Records of a few 32-bit words, numbered from 1, in segments that are never moved: what there would otherwise be an
 * object for each page for. Number 0 is no record.
 */

const SEGMENT_SHIFT = 12;
const SEGMENT = 1 << SEGMENT_SHIFT;
const SEGMENT_MASK = SEGMENT - 1;

export class Records {
  readonly #width: number;
  readonly #limit: number;
  readonly #segments: Int32Array[] = [];
  /** Records that are in use. */
  used = 0;
  /** All numbers below this one have been given out once. */
  end = 1;
  #firstFree = 0;

  /**
   * @param width words of a record.
   * @param limit records there may be.
   */
  constructor(width: number, limit: number) {
    this.#width = width;
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#segments.length * SEGMENT * this.#width * 4;
  }

  /** Whether no further record can be made. */
  get full(): boolean {
    return this.used >= this.#limit;
  }

  get(id: number, word: number): number {
    return this.#segments[id >>> SEGMENT_SHIFT][(id & SEGMENT_MASK) * this.#width + word];
  }

  set(id: number, word: number, value: number): void {
    this.#segments[id >>> SEGMENT_SHIFT][(id & SEGMENT_MASK) * this.#width + word] = value;
  }

  /** A record with all words zero; 0 when there are too many. */
  allocate(): number {
    if (this.used >= this.#limit) return 0;
    this.used++;
    const free = this.#firstFree;
    if (free !== 0) {
      this.#firstFree = this.get(free, 0);
      this.set(free, 0, 0);
      return free;
    }
    const id = this.end++;
    if (id >>> SEGMENT_SHIFT >= this.#segments.length) this.#segments.push(new Int32Array(SEGMENT * this.#width));
    return id;
  }

  free(id: number): void {
    const segment = this.#segments[id >>> SEGMENT_SHIFT];
    const at = (id & SEGMENT_MASK) * this.#width;
    for (let word = 1; word < this.#width; word++) segment[at + word] = 0;
    segment[at] = this.#firstFree;
    this.#firstFree = id;
    this.used--;
    if (this.used > 0) return;
    // The last one: whatever there was can be given back.
    this.#segments.length = 0;
    this.#firstFree = 0;
    this.end = 1;
  }
}
