/** The fuzzer can find something: faults that are planted into the library, each within a bounded number of runs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fuzzOnce, seeds, shrunk, withSeeds, type Finding } from './fuzz.ts';
import { planted, PLANTS, type PlantName } from './plants.ts';
import { decoderOf, ownSubject, type Tried } from './subject.ts';

/** Runs in which a planted fault must be found. */
const RUNS = 5000;

const inputs = await seeds();
const own = withSeeds(await ownSubject(), inputs);

async function firstFinding(tried: Tried, seed: string, runs: number): Promise<Finding | undefined> {
  for (let run = 0; run < runs; run++) {
    const finding = await fuzzOnce(inputs, seed, run, tried);
    if (finding !== undefined) return finding;
  }
  return undefined;
}

/** The plant that is not found in this process, because it would not come back. */
const ENDLESS = 'endless-loop';

/** How each fault shows itself. */
const KINDS: Record<Exclude<PlantName, typeof ENDLESS>, RegExp> = {
  'unchecked-length': /^RangeError bytes\//,
  'skipped-checksum': /^(a wrong record|unnoticed damage)$/,
  'forgotten-piece': /in pieces$/,
  'trusted-length': /^memory$/,
  'trusted-count': /^memory$/,
  'slow-length': /^slow$/,
  'lost-order-rule': /^order$/,
  'lost-duplicate': /^order$/,
};

for (const name of Object.keys(KINDS) as (keyof typeof KINDS)[]) {
  test(`a planted fault is found: ${name}`, async () => {
    const library = await planted(name);
    const tried = { ...own, library, subject: decoderOf(library) };
    const finding = await firstFinding(tried, 'planted', RUNS);
    assert.ok(finding !== undefined, `nothing in ${RUNS} runs`);
    assert.match(finding.kind, KINDS[name], finding.what);
  });
}

test('every plant has a test', () => {
  assert.deepEqual([...Object.keys(KINDS), ENDLESS].toSorted(), Object.keys(PLANTS).toSorted());
});

test('a planted fault is found: endless-loop, by who watches, with the command that shows it again', () => {
  const program = fileURLToPath(new URL('./run.ts', import.meta.url));
  const fuzz = (...args: string[]): { status: number | null; stderr: string } =>
    spawnSync(process.execPath, [program, '--plant', ENDLESS, '--hang-seconds', '1', ...args], { encoding: 'utf8' });
  const found = fuzz('--seed', 'hang17', '--runs', `${RUNS}`);
  assert.equal(found.status, 1, found.stderr);
  const [, run] = /run (\d+): does not end within/.exec(found.stderr) ?? assert.fail(found.stderr);
  assert.ok(found.stderr.includes(`again: npm run fuzz -- --seed hang17 --run ${run} --plant ${ENDLESS}`));
  const again = fuzz('--seed', 'hang17', '--run', run);
  assert.match(again.stderr, new RegExp(`run ${run}: does not end`));
  assert.equal(again.status, 1);
});

test('a finding is shrunk to a smaller input with the same fault', async () => {
  const library = await planted('unchecked-length');
  const tried = { ...own, library, subject: decoderOf(library) };
  const finding = await firstFinding(tried, 'planted', RUNS);
  const small = await shrunk(finding!, 'planted', tried);
  assert.ok(small.byteLength <= finding!.input.bytes.byteLength);
  assert.ok(small.byteLength < 1000, `${small.byteLength} bytes`);
});

test('without a planted fault some runs find nothing', async () => {
  const finding = await firstFinding(own, 'unit', 150);
  if (finding !== undefined) assert.fail(`npm run fuzz -- --seed unit --run ${finding.run}: ${finding.what}`);
});
