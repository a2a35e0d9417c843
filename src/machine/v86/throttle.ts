/** Slowing a guest down: after each slice its processor rests for as long as its part of the time demands. */
import type { V86Loop } from './emulator.ts';

/**
 * How much rest is made good that was too long, in milliseconds: timers come late, and a guest that waits for something
 * has rested by itself. More would let it run on at full speed for a while afterwards.
 */
const CREDIT_MS = 20;

export class Throttle {
  readonly #loop: Pick<V86Loop, 'running' | 'tick_counter' | 'do_tick'>;
  readonly #slice: () => void;
  #share = 1;
  /** From when on the guest has rested enough for all that it did. */
  #due = 0;
  /** The slice that was put off. */
  #timer: NodeJS.Timeout | undefined;

  /** @param slice one slice of the loop, which asks for the next by itself. */
  constructor(loop: Pick<V86Loop, 'running' | 'tick_counter' | 'do_tick'>, slice: () => void) {
    this.#loop = loop;
    this.#slice = slice;
  }

  /** From now on. What was owed under another share is forgotten: full speed is full speed at once. */
  set(share: number): void {
    this.#share = share;
    this.#due = 0;
    if (this.#timer !== undefined) this.#putOff(0);
  }

  /** A slice, or its being put off. */
  tick(): void {
    if (this.#share === 1) {
      this.#slice();
      return;
    }
    const start = performance.now();
    if (this.#due > start) {
      this.#putOff(this.#due - start);
      return;
    }
    this.#slice();
    this.#due = Math.max(this.#due, start - CREDIT_MS) + (performance.now() - start) / this.#share;
  }

  #putOff(ms: number): void {
    clearTimeout(this.#timer);
    // As the loop's own: whoever stops or starts the guest meanwhile makes it stale.
    const tick = ++this.#loop.tick_counter;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#loop.running && this.#loop.tick_counter === tick) this.#loop.do_tick();
    }, ms);
  }
}
