/** The fuzzer can find something: two planted faults, each within a bounded number of runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzOnce, seeds } from '../../fuzz/fuzz.ts';
import { decode, type Subject } from '../../fuzz/subject.ts';
import { takeApart } from '../../support/raw-stream.ts';

const RUNS = 3000;

async function runsUntilFound(subject: Subject): Promise<number | undefined> {
  const inputs = seeds();
  for (let run = 0; run < RUNS; run++) {
    if ((await fuzzOnce(inputs, 'planted', run, subject)) !== undefined) return run;
  }
  return undefined;
}

/** A reader that believes the count of extents, and reads beyond the body. */
const believesCounts: Subject = (bytes, next) => {
  const outcome = decode(bytes, next);
  for (const { type, body } of takeApart(bytes).records) {
    if (type !== 0x10 || body.byteLength < 24) continue;
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const extents = view.getUint32(0, true);
    if (extents > 0) view.getUint8(24 + 16 * Math.min(extents, 2 ** 20) - 1);
  }
  return outcome;
};

/** A reader that forgets what it had when a piece ends inside the last bytes of a record. */
const losesPieces: Subject = (bytes, next) => {
  const outcome = decode(bytes, next);
  return next() < 3 && outcome.records.length > 3 ? { ...outcome, records: outcome.records.slice(1) } : outcome;
};

test('an unchecked count is found', async () => {
  assert.notEqual(await runsUntilFound(believesCounts), undefined);
});

test('a result that depends on how the input is cut is found', async () => {
  assert.notEqual(await runsUntilFound(losesPieces), undefined);
});

test('without a planted fault a few hundred runs find nothing', async () => {
  const inputs = seeds();
  for (let run = 0; run < 300; run++) {
    const finding = await fuzzOnce(inputs, 'unit', run, decode);
    assert.equal(finding, undefined, `npm run fuzz -- --seed unit --run ${run}: ${finding?.what ?? ''}`);
  }
});
