/**
 * Where stored bytes lie: slabs outside the JavaScript heap, divided into spans, each cut into chunks of one size.
 *
 * A slab is one buffer of 1 MiB; it is given back when none of its 16 spans is in use, but for one that is kept, so
 * that a guest that puts and flushes does not make a new one each time. A span holds chunks of one size class (every 64
 * bytes). A span that empties serves any class again. When no span is free although enough chunks
 * are, the chunks of the emptiest span of a class are moved to its other spans; so every chunk knows its owner.
 */
import { copyBytes, uninitialised } from './platform.ts';
import { SPANS_OF_SLAB, SpanTable } from './span-table.ts';

export const SPAN_BYTES = 64 * 1024;
export const SLAB_BYTES = SPAN_BYTES * SPANS_OF_SLAB;
const STEP_SHIFT = 6;
const STEP = 1 << STEP_SHIFT;
const LARGEST = 4096;
const CLASSES = LARGEST >> STEP_SHIFT;
/** The smallest class has 1024 chunks in a span: ten bits of a place are the chunk, the rest is the span. */
const CHUNK_BITS = 10;
const CHUNK_MASK = (1 << CHUNK_BITS) - 1;
const SLAB_SHIFT = CHUNK_BITS + 4;

/** What a chunk takes of a span, by class: the rest at the span's end is shared out among its chunks. */
const CHARGE = Int32Array.from({ length: CLASSES + 1 }, (_, sizeClass) =>
  sizeClass === 0 ? 0 : Math.ceil(SPAN_BYTES / chunksOf(sizeClass)),
);

function chunksOf(sizeClass: number): number {
  return Math.floor(SPAN_BYTES / (sizeClass << STEP_SHIFT));
}

function classOf(length: number): number {
  return (length + STEP - 1) >> STEP_SHIFT;
}

/** Bytes that storing `length` bytes is charged for: the same whatever else is stored. */
export function chargeOf(length: number): number {
  return CHARGE[classOf(length)];
}

/** Whether chunks for these two lengths are of one size. */
export function sameSize(one: number, other: number): boolean {
  return classOf(one) === classOf(other);
}

/** Told about a chunk that moved: whatever had its place must have the new one. */
export type Moved = (owner: number, place: number) => void;

export class SlabStore {
  readonly #moved: Moved;
  readonly #slabs: (Uint8Array | undefined)[] = [];
  /** Spans of each slab that are in use. */
  readonly #slabUse: number[] = [];
  readonly #spans = new SpanTable();
  readonly #freeSpans: number[] = [];
  /** Numbers of slabs that can be used again, and those whose spans may still be listed as free. */
  readonly #freeSlabs: number[] = [];
  readonly #goneSlabs: number[] = [];
  /** By class, the spans that have free chunks. */
  readonly #partial: number[][] = Array.from({ length: CLASSES + 1 }, () => []);
  #slabCount = 0;
  /** A slab that was empty when this was set last; -1 for none yet. */
  #emptySlab = -1;
  #chunks = 0;

  constructor(moved: Moved) {
    this.#moved = moved;
  }

  /** Bytes of all slabs there are. */
  get slabBytes(): number {
    return this.#slabCount * SLAB_BYTES;
  }

  /** Chunks in use. */
  get chunks(): number {
    return this.#chunks;
  }

  /** Bytes of the tables of spans and owners: 4 for a chunk that could be (8 for one of a page), and 16 for a span. */
  get tableBytes(): number {
    return this.#spans.bytes;
  }

  /**
   * A place for `length` bytes, 1 to 4096. At most `slabLimit` slabs are made; before one more, chunks are moved
   * together.
   * @returns the place, which another call of allocate may change by telling the owner; -1 when there is no room.
   */
  allocate(length: number, owner: number, slabLimit: number): number {
    const sizeClass = classOf(length);
    const partial = this.#partial[sizeClass];
    let span = partial.length > 0 ? partial[partial.length - 1] : this.#newSpan(sizeClass, slabLimit);
    // Moving chunks together can have made room in this very class instead.
    if (span === -1 && partial.length > 0) span = partial[partial.length - 1];
    if (span === -1) return -1;
    const chunk = this.#spans.take(span, owner);
    this.#chunks++;
    if (this.#spans.isFull(span)) this.#unlist(span);
    return (span << CHUNK_BITS) | chunk;
  }

  /** Says who has a place from now on. */
  setOwner(place: number, owner: number): void {
    this.#spans.setOwner(place >>> CHUNK_BITS, place & CHUNK_MASK, owner);
  }

  free(place: number): void {
    const span = place >>> CHUNK_BITS;
    if (this.#spans.isFull(span)) this.#list(span);
    this.#chunks--;
    if (this.#spans.give(span, place & CHUNK_MASK) === 0) this.#release(span);
  }

  /** Copies `length` bytes, as many as were asked for, from `at` of an array into a place. */
  write(place: number, source: Uint8Array, at: number, length: number): void {
    copyBytes(source, at, this.slabOf(place), this.offsetOf(place, length), length);
  }

  /** Copies `length` bytes, as many as were asked for, out of a place. */
  read(place: number, target: Uint8Array, at: number, length: number): void {
    copyBytes(this.slabOf(place), this.offsetOf(place, length), target, at, length);
  }

  /** The slab that a place lies in: valid until the next allocate or free. */
  slabOf(place: number): Uint8Array {
    return this.#slabs[place >>> SLAB_SHIFT]!;
  }

  /** Where in its slab a place for `length` bytes starts: known from these alone, so that no table is looked at. */
  offsetOf(place: number, length: number): number {
    const span = (place >>> CHUNK_BITS) & (SPANS_OF_SLAB - 1);
    return span * SPAN_BYTES + (((place & CHUNK_MASK) * classOf(length)) << STEP_SHIFT);
  }

  /** @returns -1 when there is none. */
  #newSpan(sizeClass: number, slabLimit: number): number {
    let span = this.#freeSpan();
    if (span === -1 && this.#slabCount >= slabLimit) {
      this.#moveTogether();
      if (this.#partial[sizeClass].length > 0) return -1;
      span = this.#freeSpan();
    }
    if (span === -1 && this.#slabCount < slabLimit) span = this.#newSlab();
    if (span === -1) return -1;
    this.#spans.open(span, sizeClass, chunksOf(sizeClass));
    this.#slabUse[span >> 4]++;
    this.#list(span);
    return span;
  }

  #freeSpan(): number {
    for (;;) {
      const span = this.#freeSpans.pop();
      if (span === undefined) return -1;
      if (this.#slabs[span >> 4] !== undefined) return span;
    }
  }

  #newSlab(): number {
    const slab = this.#freeSlabs.pop() ?? this.#slabs.length;
    this.#slabs[slab] = uninitialised(SLAB_BYTES);
    this.#slabUse[slab] = 0;
    this.#slabCount++;
    this.#spans.openSlab(slab);
    const first = slab * SPANS_OF_SLAB;
    for (let span = first + SPANS_OF_SLAB - 1; span > first; span--) this.#freeSpans.push(span);
    return first;
  }

  #release(span: number): void {
    this.#unlist(span);
    this.#spans.close(span);
    this.#freeSpans.push(span);
    let slab = span >> 4;
    if (--this.#slabUse[slab] > 0) return;
    const kept = this.#emptySlab;
    this.#emptySlab = slab;
    if (kept === -1 || kept === slab || this.#slabUse[kept] > 0) return;
    slab = kept;
    // The buffer's memory goes back now, not when the collector finds it.
    const { buffer } = this.#slabs[slab]!;
    this.#slabs[slab] = undefined;
    (buffer as ArrayBuffer).transfer(0);
    this.#slabCount--;
    this.#spans.closeSlab(slab);
    this.#goneSlabs.push(slab);
    // Its spans are still listed as free: they are taken out when that is worth a walk through the list.
    if (this.#goneSlabs.length * SPANS_OF_SLAB * 2 < this.#freeSpans.length) return;
    let left = 0;
    for (const number of this.#freeSpans) if (this.#slabs[number >> 4] !== undefined) this.#freeSpans[left++] = number;
    this.#freeSpans.length = left;
    for (const gone of this.#goneSlabs) this.#freeSlabs.push(gone);
    this.#goneSlabs.length = 0;
  }

  #list(span: number): void {
    const partial = this.#partial[this.#spans.classOf(span)];
    this.#spans.setListed(span, partial.length);
    partial.push(span);
  }

  #unlist(span: number): void {
    const partial = this.#partial[this.#spans.classOf(span)];
    const last = partial.pop()!;
    if (last === span) return;
    const at = this.#spans.listedAt(span);
    partial[at] = last;
    this.#spans.setListed(last, at);
  }

  /** Empties the emptiest span of the class that has most bytes free, if its other spans can take what it holds. */
  #moveTogether(): void {
    const spans = this.#spans;
    let best = -1;
    let bestBytes = 0;
    for (const [sizeClass, partial] of this.#partial.entries()) {
      let free = 0;
      let emptiest = -1;
      for (const span of partial) {
        free += chunksOf(sizeClass) - spans.used(span);
        if (emptiest === -1 || spans.used(span) < spans.used(emptiest)) emptiest = span;
      }
      if (emptiest === -1 || free < chunksOf(sizeClass)) continue;
      const bytes = free * sizeClass;
      if (bytes > bestBytes) [best, bestBytes] = [emptiest, bytes];
    }
    if (best === -1) return;
    this.#unlist(best);
    const sizeClass = spans.classOf(best);
    const length = sizeClass << STEP_SHIFT;
    for (let chunk = 0; chunk < chunksOf(sizeClass); chunk++) {
      if (spans.isFree(best, chunk)) continue;
      const from = (best << CHUNK_BITS) | chunk;
      const owner = spans.owner(best, chunk);
      // Some span of the class has room: that was counted before.
      const place = this.allocate(length, owner, 0);
      copyBytes(
        this.slabOf(from),
        this.offsetOf(from, length),
        this.slabOf(place),
        this.offsetOf(place, length),
        length,
      );
      this.#moved(owner, place);
      this.#chunks--;
    }
    this.#list(best);
    this.#release(best);
  }
}
