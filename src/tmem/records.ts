/**
 * Records of a few 32-bit words, numbered from 1, in segments that are never moved: what there would otherwise be an
 * object for each page for. Number 0 is no record. A segment without records is given back, but for one that is kept.
 */

const SEGMENT_SHIFT = 12;
const SEGMENT = 1 << SEGMENT_SHIFT;
const SEGMENT_MASK = SEGMENT - 1;
const NOT_LISTED = -1;
/** Where a free record names the next one. All else of it is zero, so that its first word says that it is free. */
const LINK = 1;

export class Records {
  readonly #width: number;
  readonly #limit: number;
  readonly #segments: (Int32Array | undefined)[] = [];
  /** Of each segment: records in use, how many were ever given out, the first of those that came back. */
  readonly #used: number[] = [];
  readonly #given: number[] = [];
  readonly #firstFree: number[] = [];
  /** Segments with room, and where each stands among them. */
  readonly #withRoom: number[] = [];
  readonly #listedAt: number[] = [];
  /** Numbers of segments that were given back. */
  readonly #gone: number[] = [];
  #empty = NOT_LISTED;
  #count = 0;
  /** Records that are in use. */
  used = 0;

  /**
   * @param width words of a record.
   * @param limit records there may be.
   */
  constructor(width: number, limit: number) {
    this.#width = width;
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#count * SEGMENT * this.#width * 4;
  }

  /** Bytes of records that are not in use. */
  get idleBytes(): number {
    return (this.#count * SEGMENT - this.used) * this.#width * 4;
  }

  /** All numbers are below this one. */
  get end(): number {
    return this.#segments.length << SEGMENT_SHIFT;
  }

  /** Whether no further record can be made. */
  get full(): boolean {
    return this.used >= this.#limit;
  }

  /** Whether there is a segment where a record of this number would lie. */
  has(id: number): boolean {
    return this.#segments[id >>> SEGMENT_SHIFT] !== undefined;
  }

  /**
   * Where a record lies, for whoever needs several of its words: word w of it is `segmentOf(id)[offsetOf(id) + w]`.
   * Valid until the record is freed.
   */
  segmentOf(id: number): Int32Array {
    return this.#segments[id >>> SEGMENT_SHIFT]!;
  }

  /** The second half of `segmentOf`. */
  offsetOf(id: number): number {
    return (id & SEGMENT_MASK) * this.#width;
  }

  get(id: number, word: number): number {
    return this.#segments[id >>> SEGMENT_SHIFT]![(id & SEGMENT_MASK) * this.#width + word];
  }

  set(id: number, word: number, value: number): void {
    this.#segments[id >>> SEGMENT_SHIFT]![(id & SEGMENT_MASK) * this.#width + word] = value;
  }

  /** A record with all words zero; 0 when there are too many. */
  allocate(): number {
    if (this.used >= this.#limit) return 0;
    const { length } = this.#withRoom;
    const segment = length > 0 ? this.#withRoom[length - 1] : this.#newSegment();
    this.used++;
    this.#used[segment]++;
    const free = this.#firstFree[segment];
    if (free !== 0) {
      this.#firstFree[segment] = this.get(free, LINK);
      this.set(free, LINK, 0);
      this.#unlistIfFull(segment);
      return free;
    }
    const id = (segment << SEGMENT_SHIFT) + this.#given[segment]++;
    this.#unlistIfFull(segment);
    return id;
  }

  free(id: number): void {
    const number = id >>> SEGMENT_SHIFT;
    const segment = this.#segments[number]!;
    const at = (id & SEGMENT_MASK) * this.#width;
    for (let word = 0; word < this.#width; word++) segment[at + word] = 0;
    segment[at + LINK] = this.#firstFree[number];
    this.#firstFree[number] = id;
    this.used--;
    if (this.#listedAt[number] === NOT_LISTED) {
      this.#listedAt[number] = this.#withRoom.length;
      this.#withRoom.push(number);
    }
    if (--this.#used[number] > 0) return;
    const kept = this.#empty;
    this.#empty = number;
    if (kept !== NOT_LISTED && kept !== number && this.#used[kept] === 0) this.#giveBack(kept);
  }

  #newSegment(): number {
    const number = this.#gone.pop() ?? this.#segments.length;
    this.#segments[number] = new Int32Array(SEGMENT * this.#width);
    this.#used[number] = 0;
    // Number 0 is no record.
    this.#given[number] = number === 0 ? 1 : 0;
    this.#firstFree[number] = 0;
    this.#listedAt[number] = this.#withRoom.length;
    this.#withRoom.push(number);
    this.#count++;
    return number;
  }

  #unlistIfFull(number: number): void {
    if (this.#firstFree[number] === 0 && this.#given[number] === SEGMENT) this.#unlist(number);
  }

  #unlist(number: number): void {
    const last = this.#withRoom.pop()!;
    if (last !== number) {
      this.#withRoom[this.#listedAt[number]] = last;
      this.#listedAt[last] = this.#listedAt[number];
    }
    this.#listedAt[number] = NOT_LISTED;
  }

  #giveBack(number: number): void {
    this.#unlist(number);
    this.#segments[number] = undefined;
    this.#gone.push(number);
    this.#count--;
  }
}
