/**
 * What the slab store knows of its spans, in typed arrays: four words for each, and the owners of its chunks. To free a
 * chunk looks at the four words alone as long as a span has no more than 32 chunks, so that it costs one line of cache.
 */

export const SPANS_OF_SLAB = 16;

/** Words of a span. */
const SPAN = {
  /** Size class in the lower bits, chunks in the upper ones; 0 for a span that is not in use. */
  shape: 0,
  used: 1,
  /** Where it stands among the spans of its class that have free chunks. */
  listed: 2,
  /** A bit for each free chunk; with more than 32 chunks the first word of bits, behind the owners, that has one. */
  free: 3,
} as const;
const WORDS = 4;
const CHUNKS_SHIFT = 8;
const CLASS_MASK = (1 << CHUNKS_SHIFT) - 1;
const WORD_BITS = 32;
const SMALLEST = 256;
const NO_OWNERS = new Int32Array(0);

/** The first `count` bits, 1 to 32. */
function lowBits(count: number): number {
  return count >= WORD_BITS ? -1 : (1 << count) - 1;
}

/** The number of the lowest bit that is set. */
function lowestBit(bits: number): number {
  return WORD_BITS - 1 - Math.clz32(bits & -bits);
}

export class SpanTable {
  #words = new Int32Array(SMALLEST * WORDS);
  /** Of each span its chunks' owners; behind them, with more than 32 chunks, a bit for each that is free. */
  readonly #owners: Int32Array[] = [];
  #ownerBytes = 0;

  get bytes(): number {
    return this.#words.byteLength + this.#ownerBytes;
  }

  /** Takes a span into use, all its chunks free. */
  open(span: number, sizeClass: number, chunks: number): void {
    while ((span + 1) * WORDS > this.#words.length) {
      const larger = new Int32Array(this.#words.length * 2);
      larger.set(this.#words);
      this.#words = larger;
    }
    // Filled in order, so that the array stays a dense one.
    while (this.#owners.length < span) this.#owners.push(NO_OWNERS);
    const small = chunks <= WORD_BITS;
    const bitWords = small ? 0 : Math.ceil(chunks / WORD_BITS);
    const owners = new Int32Array(chunks + bitWords);
    for (let word = 0; word < bitWords; word++) owners[chunks + word] = lowBits(chunks - word * WORD_BITS);
    this.#owners[span] = owners;
    this.#ownerBytes += owners.byteLength;
    const at = span * WORDS;
    this.#words[at + SPAN.shape] = (chunks << CHUNKS_SHIFT) | sizeClass;
    this.#words[at + SPAN.used] = 0;
    this.#words[at + SPAN.free] = small ? lowBits(chunks) : 0;
  }

  close(span: number): void {
    this.#ownerBytes -= this.#owners[span].byteLength;
    this.#owners[span] = NO_OWNERS;
    this.#words[span * WORDS + SPAN.shape] = 0;
  }

  classOf(span: number): number {
    return this.#words[span * WORDS + SPAN.shape] & CLASS_MASK;
  }

  used(span: number): number {
    return this.#words[span * WORDS + SPAN.used];
  }

  isFull(span: number): boolean {
    const at = span * WORDS;
    return this.#words[at + SPAN.used] === this.#words[at + SPAN.shape] >> CHUNKS_SHIFT;
  }

  listedAt(span: number): number {
    return this.#words[span * WORDS + SPAN.listed];
  }

  setListed(span: number, at: number): void {
    this.#words[span * WORDS + SPAN.listed] = at;
  }

  /** Takes a free chunk of a span that has one. */
  take(span: number, owner: number): number {
    const words = this.#words;
    const at = span * WORDS;
    const owners = this.#owners[span];
    const chunks = words[at + SPAN.shape] >> CHUNKS_SHIFT;
    words[at + SPAN.used]++;
    let chunk: number;
    if (chunks <= WORD_BITS) {
      const bits = words[at + SPAN.free];
      chunk = lowestBit(bits);
      words[at + SPAN.free] = bits & (bits - 1);
    } else {
      let word = words[at + SPAN.free];
      while (owners[chunks + word] === 0) word++;
      words[at + SPAN.free] = word;
      chunk = word * WORD_BITS + lowestBit(owners[chunks + word]);
      owners[chunks + word] &= owners[chunks + word] - 1;
    }
    owners[chunk] = owner;
    return chunk;
  }

  /** Makes a chunk free. @returns how many of its span are still in use. */
  give(span: number, chunk: number): number {
    const words = this.#words;
    const at = span * WORDS;
    const chunks = words[at + SPAN.shape] >> CHUNKS_SHIFT;
    if (chunks <= WORD_BITS) {
      words[at + SPAN.free] |= 1 << chunk;
    } else {
      const word = chunk >> 5;
      this.#owners[span][chunks + word] |= 1 << (chunk & 31);
      if (word < words[at + SPAN.free]) words[at + SPAN.free] = word;
    }
    return --words[at + SPAN.used];
  }

  isFree(span: number, chunk: number): boolean {
    const at = span * WORDS;
    const chunks = this.#words[at + SPAN.shape] >> CHUNKS_SHIFT;
    const bits = chunks <= WORD_BITS ? this.#words[at + SPAN.free] : this.#owners[span][chunks + (chunk >> 5)];
    return ((bits >>> (chunk & 31)) & 1) === 1;
  }

  owner(span: number, chunk: number): number {
    return this.#owners[span][chunk];
  }

  setOwner(span: number, chunk: number, owner: number): void {
    this.#owners[span][chunk] = owner;
  }
}
