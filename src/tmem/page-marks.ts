/** What a log reader knows of each page record: whether it is to be sent, and in which step it was. */

const SEGMENT_SHIFT = 12;
const SEGMENT = 1 << SEGMENT_SHIFT;
const SEGMENT_MASK = SEGMENT - 1;
const WORDS = SEGMENT >> 5;

/** What was known of a page that is forgotten. */
export const FORGOTTEN = { sent: 1, marked: 2 } as const;

interface Segment {
  /** The step in which a version of the page was sent last; 0 for never. */
  readonly sent: Uint32Array;
  /** A bit for each page that is to be sent, a run of words for each channel. */
  readonly unsent: Int32Array;
}

export class PageMarks {
  readonly #segments: (Segment | undefined)[] = [];
  readonly #channels: number;
  /** Pages that are to be sent, by channel. */
  readonly counts: number[];

  constructor(channels: number) {
    this.#channels = channels;
    this.counts = Array.from({ length: channels }, () => 0);
  }

  get bytes(): number {
    let bytes = 0;
    for (const segment of this.#segments) bytes += segment === undefined ? 0 : 4 * (SEGMENT + WORDS * this.#channels);
    return bytes;
  }

  sent(page: number): number {
    return this.#segments[page >> SEGMENT_SHIFT]?.sent[page & SEGMENT_MASK] ?? 0;
  }

  setSent(page: number, step: number): void {
    this.#segment(page).sent[page & SEGMENT_MASK] = step;
  }

  /** Whether a page is to be sent on a channel. */
  isMarked(page: number, channel: number): boolean {
    const unsent = this.#segments[page >> SEGMENT_SHIFT]?.unsent;
    return unsent !== undefined && (unsent[channel * WORDS + ((page & SEGMENT_MASK) >> 5)] & (1 << (page & 31))) !== 0;
  }

  /** Says that a page is to be sent on a channel. @returns whether that is news. */
  mark(page: number, channel: number): boolean {
    const { unsent } = this.#segment(page);
    const word = channel * WORDS + ((page & SEGMENT_MASK) >> 5);
    const bit = 1 << (page & 31);
    if ((unsent[word] & bit) !== 0) return false;
    unsent[word] |= bit;
    this.counts[channel]++;
    return true;
  }

  /** Says that a page is not to be sent. @returns whether that is news. */
  clear(page: number, channel: number): boolean {
    const segment = this.#segments[page >> SEGMENT_SHIFT];
    return segment !== undefined && this.#clear(segment, page, channel);
  }

  /**
   * Says that a page is neither to be sent nor was.
   * @returns FORGOTTEN.sent if it was sent, FORGOTTEN.marked if it was to be sent; the sum of both; or 0.
   */
  forget(page: number, channel: number): number {
    const segment = this.#segments[page >> SEGMENT_SHIFT];
    if (segment === undefined) return 0;
    const marked = this.#clear(segment, page, channel) ? FORGOTTEN.marked : 0;
    const at = page & SEGMENT_MASK;
    if (segment.sent[at] === 0) return marked;
    segment.sent[at] = 0;
    return marked + FORGOTTEN.sent;
  }

  /** The first page from `from` on that is to be sent on a channel; 0 when there is none up to the end. */
  next(from: number, channel: number): number {
    let word = (from & SEGMENT_MASK) >> 5;
    let mask = -1 << (from & 31);
    for (let segment = from >> SEGMENT_SHIFT; segment < this.#segments.length; segment++) {
      const unsent = this.#segments[segment]?.unsent;
      for (; word < WORDS; word++) {
        const bits = (unsent?.[channel * WORDS + word] ?? 0) & mask;
        mask = -1;
        if (bits !== 0) return (segment << SEGMENT_SHIFT) + (word << 5) + 31 - Math.clz32(bits & -bits);
      }
      word = 0;
      mask = -1;
    }
    return 0;
  }

  /** Calls back with every page that was sent in some step. */
  eachSent(visit: (page: number, step: number) => void): void {
    for (const [number, segment] of this.#segments.entries()) {
      if (segment === undefined) continue;
      for (let at = 0; at < SEGMENT; at++) {
        if (segment.sent[at] !== 0) visit((number << SEGMENT_SHIFT) + at, segment.sent[at]);
      }
    }
  }

  #clear(segment: Segment, page: number, channel: number): boolean {
    const { unsent } = segment;
    const word = channel * WORDS + ((page & SEGMENT_MASK) >> 5);
    const bit = 1 << (page & 31);
    if ((unsent[word] & bit) === 0) return false;
    unsent[word] &= ~bit;
    this.counts[channel]--;
    return true;
  }

  #segment(page: number): Segment {
    const number = page >> SEGMENT_SHIFT;
    return (this.#segments[number] ??= {
      sent: new Uint32Array(SEGMENT),
      unsent: new Int32Array(WORDS * this.#channels),
    });
  }
}
