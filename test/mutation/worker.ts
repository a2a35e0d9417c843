/** A process that tries mutants, one after another, as the run tells it. It says which test it is at: it may hang. */
import { join } from 'node:path';
import { ROOT, type Candidate } from './candidates.ts';
import { CoverageMeter, ran } from './coverage.ts';
import { beginGraph, testsOf } from './graph.ts';

/** A test, or the import of its file when the name is empty. */
export interface Step {
  readonly file: string;
  readonly name: string;
}

/** A step of the unchanged tree: how long it takes, and the mutants it runs through, by their places in the list. */
export interface Measured extends Step {
  readonly ms: number;
  readonly covers: readonly number[];
}

export type Order =
  | { readonly kind: 'measure'; readonly files: readonly string[]; readonly mutants: readonly Candidate[] }
  | { readonly kind: 'try'; readonly mutant: Candidate; readonly steps: readonly Step[] };

export type Answer =
  | { readonly kind: 'measured'; readonly steps: readonly Measured[] }
  | { readonly kind: 'at'; readonly step: number }
  | { readonly kind: 'survived' }
  /** @property step the place in the order's steps; -1 when the process as a whole failed. */
  | { readonly kind: 'killed'; readonly step: number; readonly why: string };

function answer(given: Answer): void {
  process.send!(given);
}

async function measure(files: readonly string[], mutants: readonly Candidate[]): Promise<Measured[]> {
  const meter = new CoverageMeter();
  await meter.start();
  const measured: Measured[] = [];
  const step = async (file: string, name: string, work: () => Promise<void> | void): Promise<void> => {
    const before = performance.now();
    await work();
    const ms = performance.now() - before;
    const coverage = await meter.take();
    const covers = mutants.flatMap(({ file: path, at }, i) => (ran(coverage, join(ROOT, path), at) ? [i] : []));
    measured.push({ file, name, ms, covers });
  };
  for (const file of files) {
    // Each file has a graph of its own, so that what runs when a module is loaded counts for each of them.
    beginGraph();
    let tests = new Map<string, () => Promise<void> | void>();
    await step(file, '', async () => {
      tests = await testsOf(file);
    });
    for (const [name, run] of tests) await step(file, name, run);
  }
  meter.stop();
  return measured;
}

async function attempt(mutant: Candidate, steps: readonly Step[]): Promise<Answer> {
  beginGraph(mutant);
  const files = new Map<string, Map<string, () => Promise<void> | void>>();
  for (const [step, { file, name }] of steps.entries()) {
    answer({ kind: 'at', step });
    try {
      if (!files.has(file)) files.set(file, await testsOf(file));
      if (name === '') continue;
      const run = files.get(file)!.get(name);
      if (run === undefined) return { kind: 'killed', step, why: 'the test is gone' };
      await run();
    } catch (error) {
      return { kind: 'killed', step, why: String(error).slice(0, 200) };
    }
  }
  return { kind: 'survived' };
}

async function obey(order: Order): Promise<Answer> {
  if (order.kind === 'try') return attempt(order.mutant, order.steps);
  return { kind: 'measured', steps: await measure(order.files, order.mutants) };
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    answer({ kind: 'killed', step: -1, why: String(error).slice(0, 200) });
    process.disconnect();
    process.exitCode = 1;
  });
}
process.on('message', (order: Order) => {
  obey(order).then(answer, (error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
process.on('disconnect', () => process.exit());
