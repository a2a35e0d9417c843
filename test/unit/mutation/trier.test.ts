/** A mutant is noticed, or not, or ends by the clock; and the process is as good as new for the next one. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { changeOf, ROOT, type Candidate } from '../../mutation/candidates.ts';
import { ran, type Coverage } from '../../mutation/coverage.ts';
import { Trier } from '../../mutation/pool.ts';

const FILE = 'src/stream/record-types.ts';
const TEST = 'test/unit/stream/record-types.test.ts';

function candidate(what: string, replacement: string): Candidate {
  const source = readFileSync(join(ROOT, FILE), 'utf8');
  const at = source.indexOf(what);
  assert.ok(at >= 0, `${what} is not in ${FILE} any more`);
  const line = source.slice(0, at).split('\n').length;
  return { file: FILE, at, length: what.length, replacement, line, kind: 'operator' };
}

const trier = new Trier(1500);
after(() => trier.end());

test('mutants are noticed by the tests that reach them', async () => {
  const steps = await trier.measure([TEST], [candidate('number <= 0x43', 'number <= 0x44')]);
  const [load, ...tests] = steps;
  assert.deepEqual([load.file, load.name, load.covers], [TEST, '', []]);
  const reaching = tests.filter(({ covers }) => covers.length > 0).map(({ name }) => name);
  assert.deepEqual(reaching, ['S3: what a type says of itself, at each end of each range (stream 3.3)']);
  const verdictOf = async (what: string, replacement: string): Promise<string> => {
    const { kind, by } = await trier.try(candidate(what, replacement), steps);
    return `${kind}${by === undefined ? '' : ` by ${by.name.slice(0, 6)}`}`;
  };
  assert.equal(await verdictOf('number <= 0x43', 'number <= 0x44'), 'killed by S3: wh');
  // The same, said in another way.
  assert.equal(await verdictOf('number <= 0x43', 'number < 0x44'), 'survived');
  assert.equal(await verdictOf('number <= 0x43', 'number <= 0x42'), 'killed by S3: wh');
  assert.equal(await verdictOf('return type >= OPTIONAL;', 'for (;;);'), 'by time by S3: wh');
  assert.equal(await verdictOf('const MAX = LIMITS.recordBody;', 'const MAX = nothing;'), 'killed by ');
  assert.equal(await verdictOf('number <= 0x43', '0x43 >= number'), 'survived');
});

test('a change is told by what the line becomes', () => {
  const change = changeOf(candidate('number <= 0x43', 'number <= 0x44'));
  assert.equal(change, 'number <= 0x43 -> number <= 0x44 as: return number >= 0x40 && number <= 0x44;');
});

test('of the ranges around a place the innermost says whether it ran', () => {
  const ranges = [
    { startOffset: 0, endOffset: 100, count: 1 },
    { startOffset: 10, endOffset: 50, count: 0 },
    { startOffset: 20, endOffset: 30, count: 2 },
  ];
  const coverage: Coverage = new Map([['a', ranges]]);
  const found = [0, 9, 10, 19, 20, 29, 30, 49, 50, 99, 100].map((at) => ran(coverage, 'a', at));
  assert.deepEqual(found, [true, true, false, false, true, true, false, false, true, true, false]);
  assert.equal(ran(coverage, 'b', 0), false);
});
