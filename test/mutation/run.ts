/**
 * Tests the tests of `src/stream`: changes one thing at a time in a copy of the tree, and sees whether a fast test
 * notices.
 *
 *   npm run test:mutation [-- --sample 60] [--seed S] [--files order] [--workers 2]
 *
 * Without --sample all mutants are tried: that takes hours. Prints the score, and the survivors by place. Many
 * survivors change nothing that can be seen; each of the others is a test that is missing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { random } from '../support/random.ts';
import { mutantsOf, mutated, type Mutant } from './mutants.ts';

interface Candidate extends Mutant {
  readonly file: string;
}

type Verdict = 'killed' | 'timeout' | 'survived';

const ROOT = join(import.meta.dirname, '../..');
const NEEDED = ['src', 'test/support', 'test/vectors', 'test/unit/stream', 'vectors/v1', 'package.json'];
/** Vectors first: they notice most, and soon. */
const TESTS = ['test/vectors/**/*.test.ts', 'test/unit/stream/**/*.test.ts'];
/** How much slower than the unchanged tree a run may be before it counts as hanging. */
const PATIENCE = 3;

const { values } = parseArgs({
  options: {
    sample: { type: 'string' },
    seed: { type: 'string', default: String(Date.now()) },
    files: { type: 'string', default: '' },
    workers: { type: 'string', default: String(Math.min(availableParallelism(), 8)) },
  },
});

/** A copy of what the tests need, to be changed. */
function copyTree(parent: string, name: string): string {
  const tree = join(parent, name);
  mkdirSync(tree);
  for (const path of NEEDED) cpSync(join(ROOT, path), join(tree, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
  return tree;
}

/** A mutant that hangs must not outlive the run. */
const running = new Set<ChildProcess>();

/** Runs the tests of a copy until one fails. */
function judge(tree: string, limitMs: number): Promise<Verdict> {
  const flags = ['--test', '--test-isolation=none', '--test-reporter=tap', '--max-old-space-size=1024'];
  const child = spawn(process.execPath, [...flags, ...TESTS], { cwd: tree, stdio: ['ignore', 'pipe', 'ignore'] });
  running.add(child);
  return new Promise((resolve, reject) => {
    let verdict: Verdict | undefined;
    let last = '';
    const end = (reached: Verdict): void => {
      verdict ??= reached;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => end('timeout'), limitMs);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (last + text).split('\n');
      last = lines.pop()!;
      if (lines.some((line) => /^\s*not ok /.test(line))) end('killed');
    });
    child.on('error', reject).on('close', (code) => {
      clearTimeout(timer);
      running.delete(child);
      resolve(verdict ?? (code === 0 ? 'survived' : 'killed'));
    });
  });
}

function isProgram(source: string): boolean {
  try {
    stripTypeScriptTypes(source);
    return true;
  } catch {
    return false;
  }
}

function candidates(): Candidate[] {
  const files = globSync('src/stream/**/*.ts', { cwd: ROOT }).filter((file) => file.includes(values.files));
  const all = files.toSorted().flatMap((file) => {
    const source = readFileSync(join(ROOT, file), 'utf8');
    return mutantsOf(source)
      .filter((mutant) => isProgram(mutated(source, mutant)))
      .map((mutant) => ({ ...mutant, file }));
  });
  if (values.sample === undefined) return all;
  const generator = random(`mutation ${values.seed}`);
  const chosen: Candidate[] = [];
  while (chosen.length < Number(values.sample) && all.length > 0) {
    chosen.push(...all.splice(generator.below(all.length), 1));
  }
  return chosen;
}

function describe(candidate: Candidate): string {
  const source = readFileSync(join(ROOT, candidate.file), 'utf8');
  const before = source
    .slice(candidate.at, candidate.at + candidate.length)
    .replaceAll(/\s+/g, ' ')
    .trim();
  const after = candidate.replacement.replaceAll(/\s+/g, ' ').trim();
  const start = source.lastIndexOf('\n', candidate.at) + 1;
  const text = source.slice(start, source.indexOf('\n', candidate.at)).trim();
  return `${candidate.file}:${candidate.line} ${candidate.kind}: ${before} -> ${after || 'nothing'} in: ${text}`;
}

function report(mutants: number, verdicts: readonly Verdict[], began: number): void {
  const count = (verdict: Verdict): number => verdicts.filter((each) => each === verdict).length;
  const score = (100 * (verdicts.length - count('survived'))) / Math.max(verdicts.length, 1);
  const parts = `${count('killed')} killed, ${count('timeout')} by time, ${count('survived')} survived`;
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(`score ${score.toFixed(1)} %: ${parts}; ${verdicts.length} of ${mutants} tried in ${seconds} s`);
}

async function main(): Promise<void> {
  process.removeAllListeners('warning');
  const mutants = candidates();
  const parent = mkdtempSync(join(tmpdir(), 'mutation-'));
  process.once('exit', () => {
    for (const child of running) child.kill('SIGKILL');
    rmSync(parent, { recursive: true, force: true });
  });
  const verdicts: Verdict[] = [];
  let began = performance.now();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      // What is known so far is worth having.
      report(mutants.length, verdicts, began);
      process.exit(1);
    });
  }
  const trees = Array.from({ length: Number(values.workers) }, (_, i) => copyTree(parent, `${i}`));
  const unchanged = await Promise.all(trees.map((tree) => judge(tree, 300_000)));
  if (unchanged.some((verdict) => verdict !== 'survived')) throw new Error('the tests fail without any mutant');
  const limitMs = PATIENCE * (performance.now() - began);
  console.log(`${mutants.length} mutants, seed ${values.seed}, at most ${Math.round(limitMs / 1000)} s each`);
  began = performance.now();
  const waiting = mutants.values();
  await Promise.all(
    trees.map(async (tree) => {
      for (const mutant of waiting) {
        const path = join(tree, mutant.file);
        const source = readFileSync(path, 'utf8');
        writeFileSync(path, mutated(source, mutant));
        const verdict = await judge(tree, limitMs);
        writeFileSync(path, source);
        verdicts.push(verdict);
        if (verdict === 'survived') console.log(`survived ${describe(mutant)}`);
      }
    }),
  );
  report(mutants.length, verdicts, began);
}

await main();
