import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  displayWidth,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  plural,
  shorten,
} from '../../../src/cli/text/format.ts';
import { PLAIN } from '../../../src/cli/text/style.ts';
import { tableLines } from '../../../src/cli/text/table.ts';

test('counts keep all digits, also beyond what a number can hold', () => {
  assert.equal(formatCount(0), '0');
  assert.equal(formatCount(999), '999');
  assert.equal(formatCount(1_234_567), '1,234,567');
  assert.equal(formatCount('18446744073709551615'), '18,446,744,073,709,551,615');
  assert.equal(plural(1, 'page'), '1 page');
  assert.equal(plural('0', 'page'), '0 pages');
});

test('sizes', () => {
  const cases: [number | string, string][] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1024 * 1024 - 1, '1.0 MiB'],
    [268_435_456, '256 MiB'],
    ['9223372036854775808', '8 EiB'],
  ];
  for (const [value, text] of cases) assert.equal(formatBytes(value), text);
});

test('a share is never rounded to nothing or to all', () => {
  assert.equal(formatPercent(1, 3), '33.3%');
  assert.equal(formatPercent(0, 3), '0.0%');
  assert.equal(formatPercent(1, 1e9), '<0.1%');
  assert.equal(formatPercent(1e9 - 1, 1e9), '>99.9%');
  assert.equal(formatPercent(3, 3), '100.0%');
  assert.equal(formatPercent(0, 0), '-');
});

test('durations', () => {
  assert.equal(formatDuration(59.4), '59 s');
  assert.equal(formatDuration(125), '2 min 05 s');
  assert.equal(formatDuration(11_400), '3 h 10 min');
});

test('width counts columns, and text is cut by it', () => {
  assert.equal(displayWidth('漢字'), 4);
  assert.equal(displayWidth('e\u0301'), 1);
  assert.equal(shorten('漢字漢字', 8), '漢字漢字');
  assert.equal(shorten('漢字漢字', 7), '漢字...');
  assert.equal(shorten('abcdefgh', 6), 'abc...');
});

test('a table leaves out columns by rank, then cuts, and drops what is empty', () => {
  const columns = [
    { title: 'n', align: 'right' as const },
    { title: 'second', rank: 2 },
    { title: 'first', rank: 1 },
    { title: 'empty' },
    { title: 'name', shrinks: true },
  ];
  const rows = [['10', 'aaaaaa', 'bbbbb', '', 'a rather long name']];
  const at = (width: number) => tableLines(columns, rows, { style: PLAIN, width });
  assert.deepEqual(at(80), ['   n  second  first  name', '  10  aaaaaa  bbbbb  a rather long name']);
  assert.deepEqual(at(36), ['   n  first  name', '  10  bbbbb  a rather long name']);
  assert.deepEqual(at(20), ['   n  name', '  10  a rather lo...']);
});
