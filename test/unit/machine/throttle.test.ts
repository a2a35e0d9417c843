/** How a guest is held to a part of its time, with a clock that is moved by hand. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Throttle } from '../../../src/machine/v86/throttle.ts';

/** A loop that asks for its next slice at once, and a clock. */
function bench(t: TestContext, sliceMs: () => number) {
  let now = 1000;
  let worked = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const loop = { running: true, tick_counter: 0, do_tick: () => throttle.tick() };
  /** The slice that is due: what the loop's own timer would call. */
  let due: number | null = null;
  const slice = (): void => {
    const ms = sliceMs();
    now += ms;
    worked += ms;
    due = ++loop.tick_counter;
  };
  const throttle = new Throttle(loop, slice);
  /** Lets time go by, a millisecond a step, timers a little late. */
  const run = (ms: number): number => {
    const before = worked;
    for (const end = now + ms; now < end;) {
      if (loop.running && due === loop.tick_counter) {
        due = null;
        loop.do_tick();
        continue;
      }
      now += 1;
      t.mock.timers.tick(1);
    }
    return worked - before;
  };
  const start = (): void => {
    loop.running = true;
    due = ++loop.tick_counter;
  };
  const stop = (): void => {
    loop.running = false;
    loop.tick_counter++;
  };
  return { throttle, run, start, stop };
}

describe('a guest that is slowed down', () => {
  for (const share of [0.5, 0.1, 0.01]) {
    it(`has ${share} of its time`, (t) => {
      let turn = 0;
      const { throttle, run, start } = bench(t, () => [1, 0.3, 2][turn++ % 3]);
      throttle.set(share);
      start();
      const worked = run(20_000);
      assert.ok(Math.abs(worked / (20_000 * share) - 1) < 0.05, `${worked} ms of 20000`);
    });
  }

  it('has all of its time at once when that is said', (t) => {
    const { throttle, run, start } = bench(t, () => 1);
    throttle.set(0.01);
    start();
    run(50);
    throttle.set(1);
    assert.ok(run(100) > 95);
  });

  it('does not run while it is stopped, whatever was put off, and owes afterwards what it owed', (t) => {
    const { throttle, run, start, stop } = bench(t, () => 1);
    throttle.set(0.01);
    start();
    run(10);
    stop();
    assert.equal(run(50), 0);
    throttle.set(1);
    assert.equal(run(50), 0);
    throttle.set(0.01);
    start();
    assert.ok(run(10) <= 1);
    stop();
    start();
    assert.equal(run(50), 0, 'it goes on resting');
    assert.ok(run(100) >= 1);
  });

  it('that rests by itself is not kept waiting, and saves up no more than a moment', (t) => {
    const { throttle, run, start, stop } = bench(t, () => 1);
    throttle.set(0.5);
    start();
    run(100);
    stop();
    run(10_000);
    start();
    // Half of the time, and at most what 20 ms of rest are worth.
    assert.ok(run(100) <= 50 + 20);
  });
});
