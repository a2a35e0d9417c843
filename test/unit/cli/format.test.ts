import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  displayWidth,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatSize,
  plural,
  shorten,
} from '../../../src/cli/text/format.ts';
import { PLAIN } from '../../../src/cli/text/style.ts';
import { pairLines, tableLines } from '../../../src/cli/text/table.ts';
import { paragraph, wrapText } from '../../../src/cli/text/wrap.ts';
import { nearestOf } from '../../../src/cli/nearest.ts';

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

test('a table puts the columns that do not fit below each row, by rank, and drops what is empty', () => {
  const columns = [
    { title: 'n', align: 'right' as const },
    { title: 'second', rank: 2 },
    { title: 'first', rank: 1 },
    { title: 'empty' },
    { title: 'name' },
  ];
  const rows = [['10', 'aaaaaa', 'bbbbb', '', 'a rather long name']];
  const at = (width: number) => tableLines(columns, rows, { style: PLAIN, width });
  assert.deepEqual(at(80), ['   n  second  first  name', '  10  aaaaaa  bbbbb  a rather long name']);
  assert.deepEqual(at(36), ['   n  first  name', '  10  bbbbb  a rather long name', '      second aaaaaa']);
  const below = ['      second aaaaaa,', '      first bbbbb'];
  assert.deepEqual(at(24), ['   n  name', '  10  a rather long name', ...below]);
  assert.deepEqual(at(22), [
    '   n',
    '  10',
    ...below.slice(0, 1),
    '      first bbbbb,',
    '      name a rather',
    '      long name',
  ]);
});

test('pairs are wrapped under their values; a long name has a line of its own', () => {
  const pairs: [string, string][] = [
    ['short', 'one two three four five six'],
    ['x'.repeat(30), 'value'],
  ];
  assert.deepEqual(pairLines(pairs, { style: PLAIN, width: 25 }), [
    '  short  one two three',
    '         four five six',
    `  ${'x'.repeat(30)}`,
    '         value',
  ]);
});

test('text is broken at its spaces only', () => {
  assert.deepEqual(wrapText('aa bb cc dd ee ff gg hh', 16), ['aa bb cc dd ee', 'ff gg hh']);
  assert.deepEqual(wrapText('aa bb', Infinity), ['aa bb']);
  const digest = 'ab'.repeat(32);
  assert.deepEqual(wrapText(`sha256 ${digest} is it`, 20), ['sha256', digest, 'is it'], 'a digest can be copied');
  // Colours take no room.
  assert.deepEqual(wrapText('\u001b[31mred word\u001b[39m of it', 16), ['\u001b[31mred word\u001b[39m of it']);
  assert.deepEqual(paragraph('  error: ', 'one two three four five', 4, 25), [
    '  error: one two three',
    '    four five',
  ]);
  assert.deepEqual(wrapText('', 16), ['']);
});

test('a size is told exactly where that is not the same', () => {
  assert.equal(formatSize(0), '0 bytes');
  assert.equal(formatSize(1), '1 byte');
  assert.equal(formatSize(1023), '1,023 bytes');
  assert.equal(formatSize(1536), '1.5 KiB (1,536 bytes)');
});

test('the nearest word is one that may have been meant', () => {
  const shells = ['bash', 'zsh', 'fish'];
  const expected = {
    bsh: 'bash',
    hsb: undefined,
    zhs: 'zsh',
    fihs: 'fish',
    BASH: 'bash',
    tcsh: undefined,
    '': undefined,
  };
  for (const [word, nearest] of Object.entries(expected)) assert.equal(nearestOf(word, shells), nearest, word);
  assert.equal(nearestOf('x'.repeat(1e6), shells), undefined);
});
