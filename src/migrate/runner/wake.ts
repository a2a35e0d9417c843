/** Timers of a session: one `wake` at a time, the newest, and what is done after a while. */
export class Wake {
  readonly #nowMs: () => number;
  readonly #tick: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(nowMs: () => number, tick: () => void) {
    this.#nowMs = nowMs;
    this.#tick = tick;
  }

  /** Ticks at this time, or a little later; takes the place of what was asked for before. */
  at(atMs: number): void {
    clearTimeout(this.#timer);
    // A timer may come a little early, as the clock of the session sees it.
    this.#timer = setTimeout(this.#tick, Math.max(0, Math.ceil(atMs - this.#nowMs()) + 1));
  }

  /** @returns what calls it off. */
  after(delayMs: number, what: () => void): () => void {
    const timer = setTimeout(what, delayMs);
    return () => clearTimeout(timer);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
