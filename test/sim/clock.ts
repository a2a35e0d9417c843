interface Item {
  readonly atMs: number;
  readonly order: number;
  readonly what: () => void;
}

/** Virtual time: things happen in the order of their time, and of equal ones in the order in which they were asked. */
export class VirtualClock {
  nowMs = 0;
  #order = 0;
  /** A heap by time and order. */
  readonly #heap: Item[] = [];

  after(delayMs: number, what: () => void): void {
    this.#push({ atMs: this.nowMs + Math.max(delayMs, 0), order: this.#order++, what });
  }

  /** Does the next thing. @returns false when there is none before `untilMs`. */
  step(untilMs: number): boolean {
    const [next] = this.#heap;
    if (next === undefined || next.atMs > untilMs) {
      this.nowMs = Math.max(this.nowMs, untilMs);
      return false;
    }
    this.#pop();
    this.nowMs = next.atMs;
    next.what();
    return true;
  }

  #before(one: number, other: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  #swap(one: number, other: number): void {
    [this.#heap[one], this.#heap[other]] = [this.#heap[other], this.#heap[one]];
  }

  #push(item: Item): void {
    this.#heap.push(item);
    for (let at = this.#heap.length - 1; at > 0;) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #pop(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let at = 0; ;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#heap.length && this.#before(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }
}
