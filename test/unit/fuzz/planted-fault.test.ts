/** The fuzzer can find something: faults that are planted into the library, each within a bounded number of runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzOnce, seeds, shrunk, withSeeds, type Finding } from '../../fuzz/fuzz.ts';
import { planted, PLANTS, type PlantName } from '../../fuzz/plants.ts';
import { decoderOf, ownSubject, type Tried } from '../../fuzz/subject.ts';

/** Runs in which a planted fault must be found. */
const RUNS = 2500;

const inputs = await seeds();
const own = withSeeds(await ownSubject(), inputs);

async function firstFinding(tried: Tried, seed: string, runs: number): Promise<Finding | undefined> {
  for (let run = 0; run < runs; run++) {
    const finding = await fuzzOnce(inputs, seed, run, tried);
    if (finding !== undefined) return finding;
  }
  return undefined;
}

/** How each fault shows itself. */
const KINDS: Record<PlantName, RegExp> = {
  'unchecked-length': /^RangeError bytes\//,
  'skipped-checksum': /^(a wrong record|unnoticed damage)$/,
  'forgotten-piece': /in pieces$/,
  'trusted-length': /^allocation$/,
};

for (const name of Object.keys(PLANTS) as PlantName[]) {
  test(`a planted fault is found: ${name}`, async () => {
    const library = await planted(name);
    const tried = { ...own, library, subject: decoderOf(library) };
    const finding = await firstFinding(tried, 'planted', RUNS);
    assert.ok(finding !== undefined, `nothing in ${RUNS} runs`);
    assert.match(finding.kind, KINDS[name], finding.what);
  });
}

test('a finding is shrunk to a smaller input with the same fault', async () => {
  const library = await planted('unchecked-length');
  const tried = { ...own, library, subject: decoderOf(library) };
  const finding = await firstFinding(tried, 'planted', RUNS);
  const small = await shrunk(finding!, 'planted', tried);
  assert.ok(small.byteLength <= finding!.input.bytes.byteLength);
  assert.ok(small.byteLength < 1000, `${small.byteLength} bytes`);
});

test('without a planted fault a hundred runs find nothing', async () => {
  const finding = await firstFinding(own, 'unit', 150);
  if (finding !== undefined) assert.fail(`npm run fuzz -- --seed unit --run ${finding.run}: ${finding.what}`);
});
