/** What the documentation says of conversions is what the code does. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { TARGET_NAMES } from '../../../src/cli/targets.ts';
import { HOLDS, TARGETS } from '../../../src/image/writers/formats.ts';
import { conversionsPage, lostBetween } from '../../support/conversions.ts';

const page = new URL('../../../docs/conversions.md', import.meta.url);

test('docs/conversions.md is made from the tables of the code', () => {
  if (process.env['UPDATE'] === '1') writeFileSync(page, conversionsPage());
  assert.equal(
    readFileSync(page, 'utf8'),
    conversionsPage(),
    'run this test with UPDATE=1, and look at the difference',
  );
});

test('the command offers the formats that the library writes', () => {
  assert.deepEqual([...TARGET_NAMES], TARGETS);
});

test('nothing is lost to ours, and to itself', () => {
  for (const from of HOLDS) {
    assert.deepEqual(lostBetween(from, HOLDS[0]), [], from.format);
    assert.deepEqual(lostBetween(from, from), [], from.format);
  }
});
