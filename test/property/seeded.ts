/** How every property test draws its cases: from a seed that a failure prints, with the command that replays it. */
import { relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { testSeed } from '../support/seed.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

function fromEnvironment(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value)) throw new Error(`${name} is not an integer: ${text}`);
  return value;
}

/**
 * A test that `predicate` throws for no value of `arbitrary`.
 *
 * The seed is PROPERTY_SEED, or that of all tests. PROPERTY_PATH goes straight to the case that a failure named,
 * PROPERTY_RUNS sets how many cases are tried. PROPERTY_SHRINK=0 ends at the first case that fails, without making it
 * smaller.
 * @param runs how many cases are tried when PROPERTY_RUNS does not say.
 */
export function property<T>(
  title: string,
  runs: number,
  arbitrary: fc.Arbitrary<T>,
  predicate: (value: T) => Promise<void> | void,
): void {
  void test(title, async () => {
    const seed = fromEnvironment('PROPERTY_SEED') ?? Number(testSeed());
    const path = process.env['PROPERTY_PATH'];
    const details = await fc.check(
      fc.asyncProperty(arbitrary, async (value) => {
        await predicate(value);
      }),
      {
        seed,
        numRuns: fromEnvironment('PROPERTY_RUNS') ?? runs,
        ...(path !== undefined && path !== '' && { path }),
        // A case that takes long to shrink must not take the test past its own time.
        interruptAfterTimeLimit: 60_000,
        markInterruptAsFailure: false,
        endOnFailure: process.env['PROPERTY_SHRINK'] === '0',
      },
    );
    if (!details.failed) return;
    const file = relative(root, process.argv[1] ?? '');
    const pattern = title.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`);
    const command = [
      `PROPERTY_SEED=${details.seed}`,
      ...(details.counterexamplePath === null ? [] : [`PROPERTY_PATH=${details.counterexamplePath}`]),
      `node_modules/.bin/node --test --test-name-pattern='${pattern}' ${file}`,
    ].join(' ');
    throw new Error(
      [
        `seed ${details.seed}, path ${details.counterexamplePath}, after ${details.numRuns} runs`,
        `replay: ${command}`,
        `case: ${fc.stringify(details.counterexample?.[0]).slice(0, 4000)}`,
      ].join('\n'),
      { cause: details.errorInstance },
    );
  });
}
