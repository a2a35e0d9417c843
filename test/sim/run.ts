import { createHash } from 'node:crypto';
import { scenarioOf, type SimFault } from './scenario.ts';
import { SimFaultFound, Simulation, type Outcome } from './simulation.ts';
import type { Trace } from './trace.ts';

/** Runs one seed. @throws SimFaultFound with the command that replays it. */
export function runSeed(seed: string, fault: SimFault | null = null): Outcome & { readonly trace: Trace } {
  const simulation = new Simulation(scenarioOf(seed, fault));
  try {
    return { ...simulation.run(), trace: simulation.trace };
  } catch (error) {
    const at = simulation.clock.nowMs.toFixed(1);
    const what = error instanceof SimFaultFound ? error.message : `seed ${seed}, ${at} ms: ${String(error)}`;
    const replay = `replay: npm run sim -- --seed ${seed} --chart chart.html`;
    throw new SimFailure(`${what}\n${replay}`, simulation.trace, error);
  }
}

export class SimFailure extends Error {
  override readonly name = 'SimFailure';
  readonly trace: Trace;

  constructor(what: string, trace: Trace, cause: unknown) {
    super(what, { cause });
    this.trace = trace;
  }
}

export interface Totals {
  readonly seeds: number;
  readonly digest: string;
  /** How many seeds ended how. */
  readonly ends: ReadonlyMap<string, number>;
  readonly crashed: number;
  readonly resumed: number;
  readonly steps: number;
}

/** Runs seeds from `first` on. @throws SimFailure for the first that fails. */
export function runSeeds(first: number, count: number, onSeed?: (done: number) => void): Totals {
  const hash = createHash('sha256');
  const ends = new Map<string, number>();
  let [crashed, resumed, steps] = [0, 0, 0];
  for (let seed = first; seed < first + count; seed++) {
    const outcome = runSeed(String(seed));
    hash.update(`${seed} ${outcome.end} ${outcome.digest}\n`);
    ends.set(outcome.end, (ends.get(outcome.end) ?? 0) + 1);
    if (outcome.crashed) crashed++;
    if (outcome.resumes > 0) resumed++;
    steps += outcome.steps;
    onSeed?.(seed - first + 1);
  }
  return { seeds: count, digest: hash.digest('hex'), ends, crashed, resumed, steps };
}
