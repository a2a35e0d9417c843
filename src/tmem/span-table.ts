/**
 * What the slab store knows of its spans, in typed arrays: four words for each, and the owners of its chunks. To free a
 * chunk looks at the four words alone as long as a span has no more than 32 chunks, so that it costs one line of cache.
 *
 * The owners of such spans are in one array for each sixteen slabs. An array for each span would be an object for every
 * sixteen pages; and while the collector runs, which new slabs make it do, each array makes it go on at once.
 */

const SLAB_SHIFT = 4;
export const SPANS_OF_SLAB = 1 << SLAB_SHIFT;

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
/** Spans of an array of owners. */
const FEW_SHIFT = 8;
const NO_OWNERS = new Int32Array(0);

/** The first `count` bits, 1 to 32. */
function lowBits(count: number): number {
  return count >= WORD_BITS ? -1 : (1 << count) - 1;
}

/** Where the owner of a chunk stands in its array. */
function placeOfFew(span: number, chunk: number): number {
  return (span & ((1 << FEW_SHIFT) - 1)) * WORD_BITS + chunk;
}

/** The number of the lowest bit that is set. */
function lowestBit(bits: number): number {
  return WORD_BITS - 1 - Math.clz32(bits & -bits);
}

export class SpanTable {
  #words = new Int32Array(SMALLEST * WORDS);
  /** By span, 256 to an array: 32 owners for each that has no more chunks; and of each array, the slabs there are. */
  readonly #few: Int32Array[] = [];
  readonly #slabsOfFew: number[] = [];
  /** By span, of the others: the owners of its chunks, and behind them a bit for each chunk that is free. */
  readonly #many: Int32Array[] = [];
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
    const small = chunks <= WORD_BITS;
    if (!small) this.#makeMany(span, chunks);
    const at = span * WORDS;
    this.#words[at + SPAN.shape] = (chunks << CHUNKS_SHIFT) | sizeClass;
    this.#words[at + SPAN.used] = 0;
    this.#words[at + SPAN.free] = small ? lowBits(chunks) : 0;
  }

  close(span: number): void {
    const at = span * WORDS;
    if (this.#words[at + SPAN.shape] >> CHUNKS_SHIFT > WORD_BITS) {
      this.#ownerBytes -= this.#many[span].byteLength;
      this.#many[span] = NO_OWNERS;
    }
    this.#words[at + SPAN.shape] = 0;
  }

  /** A slab is there: its spans can be taken into use. */
  openSlab(slab: number): void {
    const number = slab >> (FEW_SHIFT - SLAB_SHIFT);
    // Filled in order, so that the arrays stay dense ones.
    while (this.#few.length <= number) {
      this.#few.push(NO_OWNERS);
      this.#slabsOfFew.push(0);
    }
    if (this.#slabsOfFew[number]++ > 0) return;
    this.#few[number] = new Int32Array(WORD_BITS << FEW_SHIFT);
    this.#ownerBytes += this.#few[number].byteLength;
  }

  /** A slab is gone, and none of its spans was in use. */
  closeSlab(slab: number): void {
    const number = slab >> (FEW_SHIFT - SLAB_SHIFT);
    if (--this.#slabsOfFew[number] > 0) return;
    this.#ownerBytes -= this.#few[number].byteLength;
    this.#few[number] = NO_OWNERS;
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
    const chunks = words[at + SPAN.shape] >> CHUNKS_SHIFT;
    words[at + SPAN.used]++;
    if (chunks <= WORD_BITS) {
      const bits = words[at + SPAN.free];
      words[at + SPAN.free] = bits & (bits - 1);
      const chunk = lowestBit(bits);
      this.#few[span >> FEW_SHIFT][placeOfFew(span, chunk)] = owner;
      return chunk;
    }
    const many = this.#many[span];
    let word = words[at + SPAN.free];
    while (many[chunks + word] === 0) word++;
    words[at + SPAN.free] = word;
    const chunk = word * WORD_BITS + lowestBit(many[chunks + word]);
    many[chunks + word] &= many[chunks + word] - 1;
    many[chunk] = owner;
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
      this.#many[span][chunks + word] |= 1 << (chunk & 31);
      if (word < words[at + SPAN.free]) words[at + SPAN.free] = word;
    }
    return --words[at + SPAN.used];
  }

  isFree(span: number, chunk: number): boolean {
    const at = span * WORDS;
    const chunks = this.#words[at + SPAN.shape] >> CHUNKS_SHIFT;
    const bits = chunks <= WORD_BITS ? this.#words[at + SPAN.free] : this.#many[span][chunks + (chunk >> 5)];
    return ((bits >>> (chunk & 31)) & 1) === 1;
  }

  owner(span: number, chunk: number): number {
    return this.#hasFew(span) ? this.#few[span >> FEW_SHIFT][placeOfFew(span, chunk)] : this.#many[span][chunk];
  }

  setOwner(span: number, chunk: number, owner: number): void {
    if (this.#hasFew(span)) this.#few[span >> FEW_SHIFT][placeOfFew(span, chunk)] = owner;
    else this.#many[span][chunk] = owner;
  }

  #hasFew(span: number): boolean {
    return this.#words[span * WORDS + SPAN.shape] >> CHUNKS_SHIFT <= WORD_BITS;
  }

  #makeMany(span: number, chunks: number): void {
    // Filled in order, as above.
    while (this.#many.length <= span) this.#many.push(NO_OWNERS);
    const bitWords = Math.ceil(chunks / WORD_BITS);
    const many = new Int32Array(chunks + bitWords);
    for (let word = 0; word < bitWords; word++) many[chunks + word] = lowBits(chunks - word * WORD_BITS);
    this.#many[span] = many;
    this.#ownerBytes += many.byteLength;
  }
}
