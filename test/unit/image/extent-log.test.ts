import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExtentLog } from '../../../src/image/extent-log.ts';
import { random } from '../../support/random.ts';

test('the last word on every page, against a plain map', () => {
  for (let seed = 0; seed < 200; seed++) {
    const generator = random(`extents ${seed}`);
    const log = new ExtentLog();
    const model = new Map<number, number>();
    const steps = 1 + generator.below(60);
    for (let tag = 0; tag < steps; tag++) {
      const first = generator.below(200);
      const pages = 1 + generator.below(generator.below(4) === 0 ? 100 : 8);
      const present = generator.below(4) !== 0;
      log.add(first, pages, present, tag);
      for (let page = first; page < first + pages; page++) {
        if (present) model.set(page, tag);
        else model.delete(page);
      }
    }
    const found: [number, number][] = [];
    for (const run of log.runs()) {
      for (let page = run.first; page < run.first + run.pages; page++) found.push([page, run.tag]);
    }
    const expected = [...model].toSorted(([a], [b]) => a - b);
    assert.deepEqual(found, expected, `seed ${seed}`);
    assert.equal(log.countPresent(), model.size);
  }
});

test('an image in ascending order costs one entry', () => {
  const log = new ExtentLog();
  for (let i = 0; i < 10_000; i++) log.add(i * 256, 256, true, 0);
  assert.equal(log.length, 1);
  assert.equal(log.countPresent(), 2_560_000);
});

test('a million scattered extents take no more than a sort', () => {
  const log = new ExtentLog();
  const generator = random('scattered');
  for (let i = 0; i < 300_000; i++) log.add(generator.below(2 ** 31) * 16, 1 + generator.below(30), i % 3 !== 0, i);
  assert.ok(log.countPresent() > 0);
});
