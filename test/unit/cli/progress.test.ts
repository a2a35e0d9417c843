import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Progress, progressMode, progressText, type ProgressMode } from '../../../src/cli/progress.ts';

const MIB = 1024 * 1024;

function started(mode: ProgressMode, columns = 80) {
  const written: string[] = [];
  const clock = { ms: 1000 };
  const progress = new Progress({
    mode,
    label: 'verify',
    write: (text) => written.push(text),
    now: () => clock.ms,
    columns: () => columns,
  });
  /** A MiB every 10 ms, up to `ms` after the start. */
  const work = (ms: number, total: number | null) => {
    while (clock.ms < 1000 + ms) {
      clock.ms += 10;
      progress.update(((clock.ms - 1000) / 10) * MIB, total);
    }
  };
  return { progress, written, clock, work };
}

test('where and how progress is shown', () => {
  assert.equal(progressMode(true, {}), 'line');
  assert.equal(progressMode(false, {}), 'none');
  assert.equal(progressMode(false, { progress: true }), 'lines');
  assert.equal(progressMode(true, { quiet: true, progress: true }), 'none');
});

test('work under half a second shows nothing', () => {
  const { progress, written, work } = started('line');
  work(490, 1000 * MIB);
  progress.finish();
  assert.deepEqual(written, []);
});

test('on a terminal one line is rewritten ten times a second, and taken away at the end', () => {
  const { progress, written, work } = started('line');
  work(1500, 1000 * MIB);
  assert.equal(written.length, 11);
  assert.equal(written[0], '\rverify: 5%, 50 MiB of 1000 MiB, 100 MiB/s, 10 s left\u001b[K');
  progress.finish();
  assert.equal(written.at(-1), '\r\u001b[K');
  work(2000, 1000 * MIB);
  progress.finish();
  assert.equal(written.length, 12, 'after the end nothing is shown');
});

test('the line is cut at the width of the terminal', () => {
  const { written, work } = started('line', 30);
  work(500, 1000 * MIB);
  assert.equal(written[0], '\rverify: 5%, 50 MiB of 1000...\u001b[K');
});

test('elsewhere there is a plain line a second', () => {
  const { progress, written, work } = started('lines');
  work(3500, null);
  progress.finish();
  assert.deepEqual(
    written,
    ['100', '200', '300'].map((mib) => `verify: ${mib} MiB, 100 MiB/s\n`),
  );
});

test('nothing is written where nothing is wanted', () => {
  const { progress, written, work } = started('none');
  work(5000, 1000 * MIB);
  progress.finish();
  assert.deepEqual(written, []);
});

test('the rate is that of the last seconds, not of all', () => {
  const { progress, written, clock, work } = started('lines');
  work(10_000, null);
  // From now on a tenth as fast.
  for (let i = 1; i <= 100; i++) {
    clock.ms += 100;
    progress.update((1000 + i) * MIB, null);
  }
  assert.match(written.at(-1) ?? '', /, 10(\.\d)? MiB\/s/);
});

test('what cannot be known is left out', () => {
  assert.equal(progressText(5 * MIB, null, 0), '5 MiB, 0 B/s');
  assert.equal(progressText(5 * MIB, 10 * MIB, 0), '50%, 5 MiB of 10 MiB, 0 B/s');
  assert.equal(progressText(11 * MIB, 10 * MIB, MIB), '100%, 11 MiB of 10 MiB, 1 MiB/s, 0 s left');
});
