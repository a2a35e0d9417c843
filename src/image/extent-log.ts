/** A run of pages that one record has the last word on. */
export interface LastRun {
  readonly first: number;
  readonly pages: number;
  /** What {@link ExtentLog.add} was given: names the record. */
  readonly tag: number;
  /** False: the last word is that they are not present. */
  readonly present: boolean;
}

const START_CAPACITY = 1024;

/**
 * Remembers which pfns a stream named, in order, and says at the end which record has the last word on each (stream
 * 7.5). It costs 24 bytes an extent, and extents that go on where the last one ended cost nothing: an image written in
 * ascending order takes a handful, whatever its size.
 */
export class ExtentLog {
  #firsts = new Float64Array(START_CAPACITY);
  #ends = new Float64Array(START_CAPACITY);
  #tags = new Int32Array(START_CAPACITY);
  #present = new Uint8Array(START_CAPACITY);
  #length = 0;

  /** How many extents it holds. */
  get length(): number {
    return this.#length;
  }

  /** @param present false: these pages are not present from now on. */
  add(first: number, pages: number, present: boolean, tag: number): void {
    const last = this.#length - 1;
    const flag = present ? 1 : 0;
    if (last >= 0 && this.#ends[last] === first && this.#tags[last] === tag && this.#present[last] === flag) {
      this.#ends[last] = first + pages;
      return;
    }
    if (this.#length === this.#firsts.length) this.#grow();
    this.#firsts[this.#length] = first;
    this.#ends[this.#length] = first + pages;
    this.#tags[this.#length] = tag;
    this.#present[this.#length] = flag;
    this.#length++;
  }

  /** How many pfns are present at the end. */
  countPresent(): number {
    let pages = 0;
    for (const run of this.runs()) pages += run.pages;
    return pages;
  }

  /**
   * The runs of pages that are present at the end, in ascending pfn. Later extents hide earlier ones.
   * @param absent also those that were named and are not present.
   */
  *runs(absent = false): Generator<LastRun> {
    const order = Uint32Array.from({ length: this.#length }, (_, i) => i);
    order.sort((a, b) => this.#firsts[a] - this.#firsts[b]);
    // Extents that cover the sweep's place, the newest on top; those that ended are thrown away when they surface.
    const active = new NewestFirst();
    let next = 0;
    let at = 0;
    for (;;) {
      while (active.size > 0 && this.#ends[active.top] <= at) active.pop();
      if (active.size === 0) {
        if (next === order.length) return;
        at = Math.max(at, this.#firsts[order[next]]);
      }
      while (next < order.length && this.#firsts[order[next]] <= at) active.push(order[next++]);
      while (active.size > 0 && this.#ends[active.top] <= at) active.pop();
      if (active.size === 0) continue;
      const top = active.top;
      // It holds to its end, or to where a newer one begins; an older one that begins changes nothing.
      let end = this.#ends[top];
      while (next < order.length && this.#firsts[order[next]] < end) {
        const candidate = order[next];
        if (candidate > top) {
          end = this.#firsts[candidate]!;
          break;
        }
        active.push(candidate);
        next++;
      }
      const present = this.#present[top] === 1;
      if ((present || absent) && end > at) yield { first: at, pages: end - at, tag: this.#tags[top], present };
      at = end;
    }
  }

  #grow(): void {
    const capacity = this.#length * 2;
    const copy = <T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.#firsts = copy(this.#firsts, new Float64Array(capacity));
    this.#ends = copy(this.#ends, new Float64Array(capacity));
    this.#tags = copy(this.#tags, new Int32Array(capacity));
    this.#present = copy(this.#present, new Uint8Array(capacity));
  }
}

/** A binary heap of numbers with the largest on top. */
class NewestFirst {
  readonly #heap: number[] = [];

  get size(): number {
    return this.#heap.length;
  }

  get top(): number {
    return this.#heap[0];
  }

  push(value: number): void {
    const heap = this.#heap;
    let at = heap.push(value) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent] >= value) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = value;
  }

  pop(): void {
    const heap = this.#heap;
    const value = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1] > heap[child]) child++;
      if (heap[child] <= value) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = value;
  }
}
