import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as check, property, string } from 'fast-check';
import { escapeJson, escapeText } from '../../../src/cli/escape.ts';

const CASES: readonly (readonly [text: string, escaped: string, why: string])[] = [
  ['guest-1 ü 漢字 🚀', 'guest-1 ü 漢字 🚀', 'letters of any script stay'],
  ['\u001b[2J\u0007', String.raw`\x1b[2J\x07`, 'terminal sequences'],
  ['\u009b31m', String.raw`\x9b31m`, 'the one-byte sequences of C1'],
  ['a\nb\r\tc\u007f', String.raw`a\nb\r\tc\x7f`, 'line ends and delete'],
  ['\u202eexe.txt\u2066', String.raw`\u{202e}exe.txt\u{2066}`, 'bidi controls'],
  ['a\u200bb\ufeff', String.raw`a\u{200b}b\u{feff}`, 'what is invisible'],
  ['\u{e0041}', String.raw`\u{e0041}`, 'tag characters'],
  ['a\u00a0b\u2028', String.raw`a\xa0b\u{2028}`, 'spaces that are none, and line separators'],
  ['\ud800x', String.raw`\u{d800}x`, 'a lone surrogate'],
  ['C:\\x1b', String.raw`C:\\x1b`, 'a backslash, so that nothing looks escaped that was not'],
  ['\u0301a', String.raw`\u{301}a`, 'a mark without a letter would join what stands before'],
  [`e${'\u0301'.repeat(5)}`, `e${'\u0301'.repeat(3)}${String.raw`\u{301}`.repeat(2)}`, 'a pile of marks'],
];

for (const [text, escaped, why] of CASES) {
  test(`escapeText: ${why}`, () => assert.equal(escapeText(text), escaped));
}

test('nothing that escapeText gives can act on a terminal', () => {
  check(
    property(string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(escapeText(text), /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
  );
});

test('JSON that was made safe has the same meaning, and cannot act on a terminal', () => {
  check(
    property(string({ unit: 'binary' }), (text) => {
      const safe = escapeJson(JSON.stringify({ text }));
      assert.deepEqual(JSON.parse(safe), { text });
      assert.doesNotMatch(safe, /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
  );
});
