/**
 * Tests the tests of `src/stream`: changes one thing at a time, and sees whether a test notices.
 *
 *   npm run test:mutation [-- --sample 60] [--seed S] [--files order] [--lines 20-90] [--workers 2] [--at-least 0.9]
 *                          [--from FILE]
 *
 * Without --sample all mutants are tried; with --from, the survivors that an earlier run has
 * printed, without those that are known to change nothing.
 *
 * The tests are measured once on the unchanged tree: how long each takes, and which mutants it runs through. Then a
 * process for each worker loads the mutated sources, and runs the tests that reach the mutant until one fails: first
 * those that noticed its neighbours, then the fast ones.
 *
 * Prints the survivors by place, and the score: of the mutants that are not known to change nothing
 * (equivalents.ts), how many a test notices. Ends with 1 when the score is below --at-least.
 */
import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { random } from '../support/random.ts';
import { candidates, changeOf, ROOT, type Candidate } from './candidates.ts';
import { EQUIVALENTS } from './equivalents.ts';
import { endAll, Trier, type Verdict } from './pool.ts';
import type { Measured } from './worker.ts';

const TESTS = [
  'test/unit/stream/**/*.test.ts',
  'test/vectors/*.test.ts',
  'test/property/*.test.ts',
  'test/unit/image/*.test.ts',
];
/** The first compares times: what it says depends on what else runs. The others try every place of whole streams. */
const NOT_TRIED = [/less than twice the time/, /every flipped bit/, /every cut of small ones/];
/** Tests that noticed the nearest mutants and are tried first. */
const NEIGHBOURS = 6;

const { values } = parseArgs({
  options: {
    sample: { type: 'string' },
    seed: { type: 'string', default: String(Date.now()) },
    files: { type: 'string', default: '' },
    lines: { type: 'string', default: '1-' },
    workers: { type: 'string', default: String(Math.min(availableParallelism(), 8)) },
    'at-least': { type: 'string', default: '0' },
    from: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});

interface Tried {
  readonly candidate: Candidate;
  readonly verdict: Verdict;
}

/** The mutants that the options name. */
function chosen(): Candidate[] {
  const [first, last = first] = values.lines.split('-');
  const end = last === '' ? Number.POSITIVE_INFINITY : Number(last);
  const all = candidates(values.files).filter(({ line }) => line >= Number(first) && line <= end);
  if (values.from !== undefined) {
    const lines = readFileSync(values.from, 'utf8').split('\n');
    return all.filter((candidate) => {
      const change = changeOf(candidate);
      if (equivalentOf(candidate) !== undefined) return false;
      return lines.some((line) => line.startsWith(`survived ${candidate.file}:`) && line.includes(change));
    });
  }
  if (values.sample === undefined) return all;
  const generator = random(`mutation ${values.seed}`);
  const some: Candidate[] = [];
  while (some.length < Number(values.sample) && all.length > 0) {
    some.push(...all.splice(generator.below(all.length), 1));
  }
  return some;
}

/** The steps that can notice a mutant, the likely and the fast ones first. */
class Plan {
  readonly #steps: readonly Measured[];
  readonly #covers: readonly ReadonlySet<number>[];
  readonly #noticed: { readonly file: string; readonly at: number; readonly by: Measured }[] = [];

  constructor(measured: readonly Measured[]) {
    const tried = measured.filter(({ name }) => !NOT_TRIED.some((pattern) => pattern.test(name)));
    this.#steps = tried.toSorted((a, b) => a.ms - b.ms);
    this.#covers = this.#steps.map(({ covers }) => new Set(covers));
  }

  learn({ file, at }: Candidate, by: Measured): void {
    this.#noticed.push({ file, at, by });
  }

  stepsFor(index: number, { file, at }: Candidate): Measured[] {
    // What runs while a file is imported may reach each of its tests.
    const whole = new Set(
      this.#steps.filter(({ name }, i) => name === '' && this.#covers[i].has(index)).map((step) => step.file),
    );
    const reaching = this.#steps.filter((step, i) => this.#covers[i].has(index) || whole.has(step.file));
    const near = this.#noticed
      .filter((each) => each.file === file)
      .toSorted((a, b) => Math.abs(a.at - at) - Math.abs(b.at - at))
      .map(({ by }) => by)
      .filter((by) => reaching.includes(by));
    return [...new Set([...new Set(near.slice(0, 4 * NEIGHBOURS))].slice(0, NEIGHBOURS).concat(reaching))];
  }
}

function equivalentOf(candidate: Candidate): string | undefined {
  const change = `${candidate.file} ${changeOf(candidate)}`;
  return EQUIVALENTS.find((each) => each.change.test(change))?.why;
}

function describe(candidate: Candidate): string {
  return `${candidate.file}:${candidate.line} ${candidate.kind}: ${changeOf(candidate)}`;
}

/** Prints what is known so far. @returns the score, from 0 to 1. */
function report(tried: readonly Tried[], mutants: number, began: number): number {
  const known = tried.filter(({ candidate }) => equivalentOf(candidate) !== undefined);
  const unseen = new Set(known.filter(({ verdict }) => verdict.kind === 'survived'));
  const counted = tried.filter((each) => !unseen.has(each));
  const survivors = counted.filter(({ verdict }) => verdict.kind === 'survived');
  const places = survivors.toSorted(
    ({ candidate: a }, { candidate: b }) => a.file.localeCompare(b.file) || a.line - b.line || a.at - b.at,
  );
  for (const { candidate, verdict } of places) console.log(`survived ${describe(candidate)} ${verdict.why}`);
  for (const { candidate, verdict } of known) {
    if (verdict.kind !== 'survived') console.log(`no equivalent: ${describe(candidate)}: ${verdict.why}`);
  }
  const byTime = counted.filter(({ verdict }) => verdict.kind === 'by time').length;
  const killed = counted.length - survivors.length - byTime;
  const score = counted.length === 0 ? 1 : 1 - survivors.length / counted.length;
  const parts = `${killed} killed, ${byTime} by time, ${survivors.length} survived, ${unseen.size} change nothing`;
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(`score ${score.toFixed(4)}: ${parts}; ${tried.length} of ${mutants} tried in ${seconds} s`);
  return score;
}

/** Entries of the table that name no mutant any more. */
function stale(): string[] {
  const all = candidates().map((candidate) => `${candidate.file} ${changeOf(candidate)}`);
  return EQUIVALENTS.filter(({ change }) => !all.some((each) => change.test(each))).map(({ change }) => change.source);
}

async function main(): Promise<void> {
  process.removeAllListeners('warning');
  const began = performance.now();
  const mutants = chosen();
  const tried: Tried[] = [];
  process.once('exit', endAll);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      // What is known so far is worth having.
      report(tried, mutants.length, began);
      process.exit(1);
    });
  }
  const files = TESTS.flatMap((pattern) => globSync(pattern, { cwd: ROOT }).toSorted());
  const measured = await new Trier().measure(files, mutants);
  const tests = measured.filter(({ name }) => name !== '').length;
  const testsMs = measured.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`${mutants.length} mutants, ${tests} tests of ${Math.round(testsMs / 1000)} s, seed ${values.seed}`);
  const plan = new Plan(measured);
  const waiting = mutants.entries();
  const work = async (): Promise<void> => {
    const trier = new Trier();
    for (const [index, candidate] of waiting) {
      const steps = plan.stepsFor(index, candidate);
      const before = performance.now();
      const verdict: Verdict =
        steps.length === 0 ? { kind: 'survived', why: '(no test runs through it)' } : await trier.try(candidate, steps);
      if (verdict.by !== undefined) plan.learn(candidate, verdict.by);
      tried.push({ candidate, verdict });
      if (values.verbose) {
        const ms = Math.round(performance.now() - before);
        const by = verdict.by === undefined ? '' : `${verdict.by.file} ${verdict.by.name}`;
        console.log(`${verdict.kind} ${ms} ms of ${steps.length}: ${describe(candidate)}; ${by} ${verdict.why}`);
      } else if (tried.length % 250 === 0) {
        console.log(`${tried.length} tried after ${Math.round((performance.now() - began) / 1000)} s`);
      }
    }
    trier.end();
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, work));
  const score = report(tried, mutants.length, began);
  const gone = stale();
  for (const each of gone) console.log(`names no mutant: ${each}`);
  if (score < Number(values['at-least']) || gone.length > 0) process.exitCode = 1;
}

await main();
