import assert from 'node:assert/strict';
import { test } from 'node:test';

import { copyMatch, viewOf } from '../../../src/codec/lz-match.ts';
import { lz4Compress, lz4Decompress } from '../../../src/codec/lz4.ts';
import { lzo1xCompress, lzo1xDecompress } from '../../../src/codec/lzo1x.ts';
import { guarded, randomBytes, repeats, same } from './shapes.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function decoded(decompress: typeof lz4Decompress, hex: string, length: number): string {
  const { bytes, intact } = guarded(length);
  const fault = decompress(bytesOf(hex), bytes);
  assert.ok(intact());
  return fault === '' ? Buffer.from(bytes).toString('latin1') : fault;
}

test('copyMatch repeats the last bytes for every distance and length', () => {
  for (let distance = 1; distance < 40; distance++) {
    for (const length of [1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 127, 128, 129, 200]) {
      for (const slack of [0, 1, 7, 8, 50]) {
        const { bytes, intact } = guarded(40 + length + slack);
        bytes.set(randomBytes(40, distance));
        copyMatch(bytes, viewOf(bytes), 40, distance, length);
        for (let at = 40; at < 40 + length; at++) assert.equal(bytes[at], bytes[at - distance]);
        assert.ok(intact());
      }
    }
  }
});

test('lz4: blocks written by hand from the format description', () => {
  assert.equal(decoded(lz4Decompress, '00', 0), '');
  assert.equal(decoded(lz4Decompress, '30 616263', 3), 'abc');
  assert.equal(decoded(lz4Decompress, '32 616263 0300 10 64', 10), 'abcabcabcd');
  assert.equal(decoded(lz4Decompress, `1f 78 0100 00 00`, 20), 'x'.repeat(20));
  assert.equal(decoded(lz4Decompress, `1f 78 0100 ff0a 00`, 285), 'x'.repeat(285));
  assert.equal(decoded(lz4Decompress, `f0 01 ${'61'.repeat(16)}`, 16), 'a'.repeat(16));
});

test('lz4: what the format does not allow is refused for its reason', () => {
  const cases: [hex: string, length: number, reason: RegExp][] = [
    ['', 0, /token is due/],
    ['32 616263 0000 10 64', 10, /before the start/],
    ['32 616263 0400 10 64', 10, /before the start/],
    ['32 616263 0300 10 64', 9, /longer/],
    ['32 616263 0300 10 64', 11, /shorter/],
    ['32 616263 0300', 9, /token is due/],
    ['32 616263 03', 9, /distance/],
    ['31 616263', 3, /no match follows/],
    ['f0', 15, /literal length/],
    ['f0 ff', 15, /literal length/],
    ['1f 78 0100', 20, /match length/],
    ['40 616263', 4, /inside literals/],
  ];
  for (const [hex, length, reason] of cases) assert.match(decoded(lz4Decompress, hex, length), reason, hex);
});

test('lzo1x: streams written by hand from the description', () => {
  const end = '11 0000';
  assert.equal(decoded(lzo1xDecompress, end, 0), '');
  // The first byte: 18 is one literal and then the instruction for one to three, 22 five and then that for four.
  assert.equal(decoded(lzo1xDecompress, `12 61 ${end}`, 1), 'a');
  assert.equal(decoded(lzo1xDecompress, `16 6162636465 ${end}`, 5), 'abcde');
  // 0000DDSS H after three literals: two bytes from distance D + 4H + 1, then S literals.
  assert.equal(decoded(lzo1xDecompress, `14 616263 0900 78 ${end}`, 6), 'abcabx');
  // 0000LLLL at the start and after a match without literals: a run of L + 3.
  assert.equal(decoded(lzo1xDecompress, `01 61626364 ${end}`, 4), 'abcd');
  const run = `00 01 ${'7a'.repeat(19)}`;
  assert.equal(decoded(lzo1xDecompress, `01 61626364 4c00 ${run} ${end}`, 26), `abcdabc${'z'.repeat(19)}`);
  // 01LDDDSS H, 1LLDDDSS H.
  assert.equal(decoded(lzo1xDecompress, `01 61626364 6d00 78 ${end}`, 9), 'abcdabcdx');
  assert.equal(decoded(lzo1xDecompress, `01 61626364 ec00 ${end}`, 12), 'abcdabcdabcd');
  // 001LLLLL with its distance in 14 bits, and the same with a length that needs more bytes.
  assert.equal(decoded(lzo1xDecompress, `01 61626364 22 0c00 ${end}`, 8), 'abcdabcd');
  assert.equal(decoded(lzo1xDecompress, `15 61626364 20 01 0000 ${end}`, 38), `abc${'d'.repeat(35)}`);
  // A length field of zero followed by zeros: 255 each.
  assert.equal(decoded(lzo1xDecompress, `15 61626364 20 00 01 0000 ${end}`, 293), `abc${'d'.repeat(290)}`);
});

test('lzo1x: what the format does not allow is refused for its reason', () => {
  const cases: [hex: string, length: number, reason: RegExp][] = [
    ['', 0, /end mark/],
    ['11', 0, /distance/],
    ['11 00', 0, /distance/],
    ['11 0000 00', 0, /follow/],
    ['11 0000', 1, /shorter/],
    ['10 00', 0, /match length/],
    ['14 6162', 3, /literals/],
    ['14 616263', 3, /end mark/],
    ['14 616263 09', 6, /inside a match/],
    ['14 616263 0d00 78 11 0000', 6, /before the start/],
    ['14 616263 0900 78 11 0000', 5, /longer/],
    ['14 616263 0900 78 11 0000', 4, /longer/],
    ['00 0000', 50, /literal length/],
    ['15 61626364 00 00 11 0000', 7, /before the start/],
  ];
  for (const [hex, length, reason] of cases) assert.match(decoded(lzo1xDecompress, hex, length), reason, hex);
});

test('lzo1x: matches at the edges of the three distances, and lengths at those of their fields', () => {
  const edges = [2048, 16_384, 32_768, 49_151, 65_535];
  for (const distance of [4, ...edges.flatMap((edge) => [edge - 1, edge, edge + 1])]) {
    for (const length of [4, 8, 9, 10, 33, 34, 264, 265, 288, 289, 519, 600]) {
      // Unlike the four bytes that will be found, zeros in between are one long match and leave the table alone.
      const content = new Uint8Array(distance + length + 1);
      const mark = randomBytes(Math.min(distance, length), distance + length);
      content.set(mark, 0);
      for (let at = distance; at < distance + length; at++) content[at] = content[at - distance]!;
      content[distance + length] = content[length] ^ 0xff;
      for (const [compress, decompress] of [
        [lzo1xCompress, lzo1xDecompress],
        [lz4Compress, lz4Decompress],
      ] as const) {
        const stored = new Uint8Array(content.length + 2048);
        const size = compress(content, stored);
        const back = guarded(content.length);
        assert.equal(decompress(stored.subarray(0, size), back.bytes), '', `${distance}, ${length}`);
        assert.ok(same(back.bytes, content) && back.intact(), `${distance}, ${length}`);
      }
    }
  }
});

test('the hash tables outlive a call without letting its content into the next', () => {
  // The same bytes again, so that every stale entry of the table would match if it were believed.
  const content = repeats(4096, 3);
  for (const compress of [lz4Compress, lzo1xCompress]) {
    const first = new Uint8Array(5000);
    const size = compress(content, first);
    for (let turn = 0; turn < 50; turn++) {
      const again = new Uint8Array(5000);
      assert.equal(compress(content, again), size);
      assert.ok(same(again.subarray(0, size), first.subarray(0, size)));
    }
  }
});

test('the hash tables start over before their numbers run out', () => {
  // 2^31 positions are used up by 36 calls of 60 MiB; what comes after must be as good as before.
  const much = new Uint8Array(60 << 20);
  const content = repeats(4096, 4);
  for (const [compress, decompress] of [
    [lz4Compress, lz4Decompress],
    [lzo1xCompress, lzo1xDecompress],
  ] as const) {
    const stored = new Uint8Array(much.length / 250);
    const expected = compress(content, stored);
    for (let turn = 0; turn < 36; turn++) assert.ok(compress(much, stored) > 0);
    const size = compress(content, stored);
    assert.equal(size, expected);
    const back = new Uint8Array(4096);
    assert.equal(decompress(stored.subarray(0, size), back), '');
    assert.ok(same(back, content));
  }
});
