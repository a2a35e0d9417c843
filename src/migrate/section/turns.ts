/** Several kinds of state share what is written (L1). */

/** One that takes turns. */
export interface Taker {
  readonly name: string;
  /** Its work in steps; each says how many bytes of state it did. */
  readonly steps: AsyncGenerator<number, void>;
  /** Bytes that it has on the wire. When absent, what its steps said. */
  readonly sent?: (() => number) | undefined;
}

/** One that has something left, and the bytes that it sent since the turns began. */
export interface Waiting {
  readonly name: string;
  readonly sent: number;
}

/**
 * Who has sent least. So each of two has half of the bytes while both have any, whatever compression makes of them, and
 * of up to four each has a quarter (L1).
 */
export function leastSent(waiting: readonly Waiting[]): number {
  let least = 0;
  for (const [i, { sent }] of waiting.entries()) if (sent < waiting[least].sent) least = i;
  return least;
}

/**
 * Steps of all takers in turn, until all are done or it is left; then all let go of what they hold.
 * @param choose whose turn it is: an index into those that have something left.
 * @returns the bytes of state that each step did.
 */
export async function* takeTurns(
  takers: readonly Taker[],
  choose: (waiting: readonly Waiting[]) => number = leastSent,
): AsyncGenerator<number, void> {
  const left = takers.map(({ name, steps, sent }) => ({ name, steps, wire: sent, from: sent?.() ?? 0, said: 0 }));
  try {
    while (left.length > 0) {
      const turn = choose(left.map(({ name, wire, from, said }) => ({ name, sent: wire ? wire() - from : said })));
      const step = await left[turn].steps.next();
      if (step.done === true) {
        left.splice(turn, 1);
        continue;
      }
      left[turn].said += step.value;
      yield step.value;
    }
  } finally {
    for (const { steps } of takers) await steps.return();
  }
}
