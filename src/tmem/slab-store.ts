/**
 * Where stored bytes lie: slabs outside the JavaScript heap, divided into spans, each cut into chunks of one size.
 *
 * A slab is one buffer of 1 MiB; it is given back when none of its 16 spans is in use, but for one that is kept, so
 * that a guest that puts and flushes does not make a new one each time. A span holds chunks of one size class (every 64
 * bytes). A span that empties serves any class again. When no span is free although enough chunks
 * are, the chunks of the emptiest span of a class are moved to its other spans; so every chunk knows its owner.
 */
import { copyBytes, uninitialised } from './platform.ts';

export const SPAN_BYTES = 64 * 1024;
const SPANS_OF_SLAB = 16;
export const SLAB_BYTES = SPAN_BYTES * SPANS_OF_SLAB;
const STEP_SHIFT = 6;
const STEP = 1 << STEP_SHIFT;
const LARGEST = 4096;
const CLASSES = LARGEST >> STEP_SHIFT;
/** The smallest class has 1024 chunks in a span: ten bits of a place are the chunk, the rest is the span. */
const CHUNK_BITS = 10;
const CHUNK_MASK = (1 << CHUNK_BITS) - 1;
const NO_CHUNK = -1;

/** What a chunk takes of a span, by class: the rest at the span's end is shared out among its chunks. */
const CHARGE = Int32Array.from({ length: CLASSES + 1 }, (_, sizeClass) =>
  sizeClass === 0 ? 0 : Math.ceil(SPAN_BYTES / Math.floor(SPAN_BYTES / (sizeClass << STEP_SHIFT))),
);

/** Bytes that storing `length` bytes is charged for: the same whatever else is stored. */
export function chargeOf(length: number): number {
  return CHARGE[(length + STEP - 1) >> STEP_SHIFT];
}

/** Told about a chunk that moved: whatever had its place must have the new one. */
export type Moved = (owner: number, place: number) => void;

/** A run of chunks of one class; one object for 64 KiB. */
interface Span {
  readonly number: number;
  sizeClass: number;
  /** Owner of each chunk in use; of a free chunk, the next free one. */
  owners: Int32Array;
  firstFree: number;
  used: number;
  /** Where it stands among the spans of its class that have free chunks; -1 when it is full. */
  partial: number;
}

export class SlabStore {
  readonly #moved: Moved;
  readonly #slabs: (Uint8Array | undefined)[] = [];
  /** Spans of each slab that are in use. */
  readonly #slabUse: number[] = [];
  readonly #spans: (Span | undefined)[] = [];
  /** Size class of each span: what finding a chunk needs, without the span itself. */
  readonly #classes: number[] = [];
  readonly #freeSpans: number[] = [];
  /** Numbers of slabs that can be used again, and those whose spans may still be listed as free. */
  readonly #freeSlabs: number[] = [];
  readonly #goneSlabs: number[] = [];
  readonly #partial: Span[][] = Array.from({ length: CLASSES + 1 }, () => []);
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

  /** Bytes of the tables of owners: 4 for a chunk that could be. */
  get tableBytes(): number {
    let bytes = 0;
    for (const span of this.#spans) if (span !== undefined) bytes += span.owners.byteLength;
    return bytes;
  }

  /**
   * A place for `length` bytes, 1 to 4096. At most `slabLimit` slabs are made; before one more, chunks are moved
   * together.
   * @returns the place, which another call of allocate may change by telling the owner; -1 when there is no room.
   */
  allocate(length: number, owner: number, slabLimit: number): number {
    const sizeClass = (length + STEP - 1) >> STEP_SHIFT;
    const partial = this.#partial[sizeClass];
    let span = partial.length > 0 ? partial[partial.length - 1] : this.#newSpan(sizeClass, slabLimit);
    // Moving chunks together can have made room in this very class instead.
    if (span === undefined && partial.length > 0) span = partial[partial.length - 1];
    if (span === undefined) return -1;
    const chunk = span.firstFree;
    span.firstFree = span.owners[chunk];
    span.owners[chunk] = owner;
    this.#chunks++;
    if (++span.used === span.owners.length) this.#unlist(span);
    return (span.number << CHUNK_BITS) | chunk;
  }

  free(place: number): void {
    const span = this.#spans[place >>> CHUNK_BITS]!;
    const chunk = place & CHUNK_MASK;
    span.owners[chunk] = span.firstFree;
    span.firstFree = chunk;
    this.#chunks--;
    if (span.used-- === span.owners.length) this.#list(span);
    if (span.used === 0) this.#release(span);
  }

  /** Says who owns a chunk now. */
  setOwner(place: number, owner: number): void {
    this.#spans[place >>> CHUNK_BITS]!.owners[place & CHUNK_MASK] = owner;
  }

  /** Copies `length` bytes into a place. */
  write(place: number, source: Uint8Array, length: number): void {
    copyBytes(source, 0, this.slabOf(place), this.offsetOf(place), length);
  }

  /** Copies `length` bytes out of a place. */
  read(place: number, target: Uint8Array, at: number, length: number): void {
    copyBytes(this.slabOf(place), this.offsetOf(place), target, at, length);
  }

  /** The slab that a place lies in: valid until the next allocate or free. */
  slabOf(place: number): Uint8Array {
    return this.#slabs[place >>> (CHUNK_BITS + 4)]!;
  }

  /** Where in its slab a place starts. */
  offsetOf(place: number): number {
    const number = place >>> CHUNK_BITS;
    return (number & (SPANS_OF_SLAB - 1)) * SPAN_BYTES + (((place & CHUNK_MASK) * this.#classes[number]) << STEP_SHIFT);
  }

  #newSpan(sizeClass: number, slabLimit: number): Span | undefined {
    let number = this.#freeSpan();
    if (number === undefined && this.#slabCount >= slabLimit) {
      this.#moveTogether();
      if (this.#partial[sizeClass].length > 0) return undefined;
      number = this.#freeSpan();
    }
    number ??= this.#slabCount < slabLimit ? this.#newSlab() : undefined;
    if (number === undefined) return undefined;
    const owners = new Int32Array(Math.floor(SPAN_BYTES / (sizeClass << STEP_SHIFT)));
    for (let chunk = 0; chunk < owners.length; chunk++) owners[chunk] = chunk + 1;
    owners[owners.length - 1] = NO_CHUNK;
    const span: Span = { number, sizeClass, owners, firstFree: 0, used: 0, partial: -1 };
    this.#spans[number] = span;
    this.#classes[number] = sizeClass;
    this.#slabUse[number >> 4]++;
    this.#list(span);
    return span;
  }

  #freeSpan(): number | undefined {
    for (;;) {
      const number = this.#freeSpans.pop();
      if (number === undefined || this.#slabs[number >> 4] !== undefined) return number;
    }
  }

  #newSlab(): number {
    const slab = this.#freeSlabs.pop() ?? this.#slabs.length;
    this.#slabs[slab] = uninitialised(SLAB_BYTES);
    this.#slabUse[slab] = 0;
    this.#slabCount++;
    const first = slab * SPANS_OF_SLAB;
    for (let span = first + SPANS_OF_SLAB - 1; span > first; span--) this.#freeSpans.push(span);
    return first;
  }

  #release(span: Span): void {
    this.#unlist(span);
    this.#spans[span.number] = undefined;
    this.#freeSpans.push(span.number);
    let slab = span.number >> 4;
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
    this.#goneSlabs.push(slab);
    // Its spans are still listed as free: they are taken out when that is worth a walk through the list.
    if (this.#goneSlabs.length * SPANS_OF_SLAB * 2 < this.#freeSpans.length) return;
    let left = 0;
    for (const number of this.#freeSpans) if (this.#slabs[number >> 4] !== undefined) this.#freeSpans[left++] = number;
    this.#freeSpans.length = left;
    for (const gone of this.#goneSlabs) this.#freeSlabs.push(gone);
    this.#goneSlabs.length = 0;
  }

  #list(span: Span): void {
    const partial = this.#partial[span.sizeClass];
    span.partial = partial.length;
    partial.push(span);
  }

  #unlist(span: Span): void {
    const partial = this.#partial[span.sizeClass];
    const last = partial.pop()!;
    if (last !== span) {
      partial[span.partial] = last;
      last.partial = span.partial;
    }
    span.partial = -1;
  }

  /** Empties the emptiest span of the class that has most bytes free, if its other spans can take what it holds. */
  #moveTogether(): void {
    let best: Span | undefined;
    let bestBytes = 0;
    for (const partial of this.#partial) {
      let free = 0;
      let emptiest: Span | undefined;
      for (const span of partial) {
        free += span.owners.length - span.used;
        if (emptiest === undefined || span.used < emptiest.used) emptiest = span;
      }
      if (emptiest === undefined || free < emptiest.owners.length) continue;
      const bytes = free * emptiest.sizeClass;
      if (bytes > bestBytes) [best, bestBytes] = [emptiest, bytes];
    }
    if (best === undefined) return;
    this.#unlist(best);
    const taken = new Uint8Array(best.owners.length);
    for (let free = best.firstFree; free !== NO_CHUNK; free = best.owners[free]) taken[free] = 1;
    for (let chunk = 0; chunk < taken.length; chunk++) {
      if (taken[chunk] === 1) continue;
      const from = (best.number << CHUNK_BITS) | chunk;
      const owner = best.owners[chunk];
      // Some span of the class has room: that was counted before.
      const place = this.allocate(best.sizeClass << STEP_SHIFT, owner, 0);
      copyBytes(
        this.slabOf(from),
        this.offsetOf(from),
        this.slabOf(place),
        this.offsetOf(place),
        best.sizeClass << STEP_SHIFT,
      );
      this.#moved(owner, place);
      this.#chunks--;
    }
    best.used = 0;
    this.#list(best);
    this.#release(best);
  }
}
