import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { chartOf } from './chart.ts';
import { runSeed, runSeeds, SimFailure } from './run.ts';
import { SIM_FAULTS } from './scenario.ts';

describe('migrations in virtual time (H1 to H7, T3, T4, S14)', () => {
  test('some hundreds of seeds end with one owner, and equal content', (context) => {
    const { seeds, digest, ends, crashed, resumed } = runSeeds(1, 250);
    context.diagnostic(`${seeds} seeds, digest ${digest}: ${JSON.stringify([...ends])}`);
    // What never happens proves nothing.
    assert.ok(ends.get('destination')! > seeds / 3, 'many arrive');
    assert.ok(ends.get('source')! > 10 && crashed > 10 && resumed > 10);
  });

  test('a seed is the same run each time, and another seed another', () => {
    const one = runSeed('7').digest;
    assert.equal(runSeed('7').digest, one);
    assert.notEqual(runSeed('8').digest, one);
  });

  for (const fault of SIM_FAULTS) {
    test(`a fault is found: ${fault}`, () => {
      assert.throws(() => {
        for (let seed = 1; seed <= 100; seed++) runSeed(String(seed), fault);
      }, SimFailure);
    });
  }

  test('a run can be drawn, and what is in it is escaped', () => {
    const { trace } = runSeed('2');
    const chart = chartOf('<b>', 'what & why', trace.entries);
    assert.match(chart, /<svg [^>]*>/);
    for (const message of ['HELLO', 'OFFER', 'CONFIRM', 'GIVEN', 'RUNNING']) assert.match(chart, new RegExp(message));
    assert.ok(!chart.includes('<b>') && chart.includes('what &amp; why'));
    assert.ok(!/https?:/.test(chart), 'it needs nothing else');
  });
});
