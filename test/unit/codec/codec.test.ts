import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  CODEC,
  CODEC_LEVELS,
  codecName,
  decodeInto,
  encodeInto,
  isCodec,
  type CodecId,
} from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { guarded, randomBytes, repeats, same, seeded, shapes, text } from './shapes.ts';

const COMPRESSORS = [CODEC.zstd, CODEC.deflate, CODEC.lz4, CODEC.lzo1x] as const;
const SIZES = [0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 18, 19, 20, 63, 238, 239, 255, 256, 274, 4095, 4096, 65_536, 262_144];

function encoded(codec: CodecId, original: Uint8Array, level?: number): Uint8Array {
  const { bytes, intact } = guarded(original.length + (original.length >> 3) + 64);
  const length = encodeInto(codec, original, bytes, level);
  assert.ok(length >= 0, `${codecName(codec)} makes at most an eighth and 64 bytes more of ${original.length}`);
  assert.ok(intact(), 'nothing is written outside out');
  return bytes.slice(0, length);
}

/** Decodes, and answers whether the bytes were accepted. Any error but the documented one fails the test. */
function accepts(codec: CodecId, stored: Uint8Array, original: Uint8Array | undefined, length: number): boolean {
  const { bytes, intact } = guarded(length);
  try {
    decodeInto(codec, stored, bytes);
  } catch (error) {
    assert.ok(error instanceof TransmigrateError && error.code === 'CODEC_DATA', String(error));
    assert.deepEqual(
      { ...error.data, reason: '' },
      { codec: codecName(codec), storedLength: stored.length, expectedLength: length, reason: '' },
    );
    assert.ok(typeof error.data['reason'] === 'string' && error.data['reason'] !== '');
    assert.ok(intact(), 'nothing is written outside out, whatever the bytes are');
    return false;
  }
  assert.ok(intact(), 'nothing is written outside out');
  if (original !== undefined) assert.ok(same(bytes, original), `${codecName(codec)} gives back other bytes`);
  return true;
}

test('every codec has its number and its name', () => {
  assert.deepEqual(CODEC, { zero: 0, raw: 1, zstd: 2, deflate: 3, lz4: 4, lzo1x: 5, opaque: 6 });
  for (const [name, id] of Object.entries(CODEC)) {
    assert.equal(codecName(id), name);
    assert.ok(isCodec(id));
  }
  for (const id of [-1, 7, 255, 1.5, NaN, 2 ** 32]) {
    assert.equal(isCodec(id), false);
    assert.throws(() => codecName(id), { code: 'UNSUPPORTED_CODEC' });
    assert.throws(() => decodeInto(id as CodecId, new Uint8Array(1), new Uint8Array(1)), { code: 'UNSUPPORTED_CODEC' });
    assert.throws(() => encodeInto(id as CodecId, new Uint8Array(1), new Uint8Array(1)), { code: 'UNSUPPORTED_CODEC' });
  }
});

test('zero, raw and opaque', () => {
  const out = new Uint8Array(8).fill(9);
  decodeInto(CODEC.zero, new Uint8Array(0), out);
  assert.deepEqual(out, new Uint8Array(8));
  assert.ok(!accepts(CODEC.zero, new Uint8Array(1), undefined, 8));
  for (let at = 0; at < 50; at++) {
    const page = new Uint8Array(50);
    assert.equal(encodeInto(CODEC.zero, page, new Uint8Array(0)), 0);
    page[at] = 128;
    assert.equal(encodeInto(CODEC.zero, page, new Uint8Array(0)), -1);
  }
  for (const length of [65_535, 65_536, 65_537, 200_000]) {
    const shared = new Uint8Array(new SharedArrayBuffer(length + 2)).fill(1);
    const content = shared.subarray(1, length + 1).fill(0);
    assert.equal(encodeInto(CODEC.zero, content, new Uint8Array(0)), 0);
    for (const at of [0, length >> 1, length - 1]) {
      content[at] = 1;
      assert.equal(encodeInto(CODEC.zero, content, new Uint8Array(0)), -1);
      content[at] = 0;
    }
  }
  const page = randomBytes(50, 1);
  assert.equal(encodeInto(CODEC.raw, page, new Uint8Array(49)), -1);
  assert.ok(accepts(CODEC.raw, encoded(CODEC.raw, page), page, 50));
  assert.ok(!accepts(CODEC.raw, page, undefined, 49));
  assert.ok(!accepts(CODEC.raw, page, undefined, 51));
  assert.ok(!accepts(CODEC.opaque, page, undefined, 50));
  assert.throws(() => encodeInto(CODEC.opaque, page, new Uint8Array(50)), { code: 'CODEC_DATA' });
});

for (const codec of COMPRESSORS) {
  const name = codecName(codec);

  test(`${name}: every shape in every size comes back`, () => {
    for (const size of SIZES) {
      for (const [shape, content] of shapes(size, size + 7)) {
        const stored = encoded(codec, content);
        assert.ok(accepts(codec, stored, content, size), `${shape} of ${size}`);
        // Integers whose one fixed byte is a fourth of them are for codecs with an entropy coder.
        const hard = shape === 'random' || (shape === 'integers' && (codec === CODEC.lz4 || codec === CODEC.lzo1x));
        if (size >= 4096 && !hard) assert.ok(stored.length < size, `${shape} of ${size} gets smaller`);
      }
    }
  });

  test(`${name}: fits exactly where it fits, and answers -1 in one byte less`, () => {
    for (const size of [0, 1, 3, 4, 17, 22, 238, 239, 300, 1000, 4096]) {
      for (const [shape, content] of shapes(size, size + 3)) {
        const stored = encoded(codec, content);
        const exact = guarded(stored.length);
        assert.equal(encodeInto(codec, content, exact.bytes), stored.length, `${shape} of ${size}`);
        assert.ok(same(exact.bytes, stored) && exact.intact());
        for (const room of [stored.length - 1, stored.length >> 1, 0]) {
          const short = guarded(room);
          assert.equal(encodeInto(codec, content, short.bytes), -1, `${shape} of ${size} in ${room}`);
          assert.ok(short.intact());
        }
      }
    }
  });

  test(`${name}: a wrong length, a truncation and appended bytes are refused`, () => {
    for (const content of [new Uint8Array(0), text(200, 5), repeats(200, 6), randomBytes(70, 7), new Uint8Array(300)]) {
      const stored = encoded(codec, content);
      for (const length of [0, 1, content.length - 1, content.length + 1, 2 * content.length, 100_000]) {
        if (length >= 0 && length !== content.length) {
          assert.ok(!accepts(codec, stored, undefined, length), `${content.length} read as ${length}`);
        }
      }
      for (let cut = 0; cut < stored.length; cut++) {
        assert.ok(!accepts(codec, stored.subarray(0, cut), undefined, content.length), `cut at ${cut}`);
      }
      for (const tail of [[0], [0x11, 0, 0], [...stored], [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]]) {
        assert.ok(!accepts(codec, Uint8Array.of(...stored, ...tail), undefined, content.length), `tail of ${tail[0]}`);
      }
    }
  });

  test(`${name}: flipped bits give an exact length or CODEC_DATA`, () => {
    for (const content of [text(300, 8), repeats(400, 9)]) {
      const stored = encoded(codec, content);
      for (let bit = 0; bit < stored.length * 8; bit++) {
        const flipped = stored.slice();
        flipped[bit >> 3] ^= 1 << (bit & 7);
        accepts(codec, flipped, undefined, content.length);
      }
    }
  });

  test(`${name}: random bytes give an exact length or CODEC_DATA`, () => {
    const next = seeded(codec);
    const start = encoded(codec, repeats(500, 10));
    for (let turn = 0; turn < 6000; turn++) {
      const bytes = randomBytes(next(100), turn * 2 + 1);
      // Half of them start like something real, so that they get past the first check.
      const stored = turn % 2 === 0 ? bytes : Uint8Array.of(...start.subarray(0, next(60)), ...bytes);
      accepts(codec, stored, undefined, next(600));
    }
  });

  test(`${name}: works in the middle of buffers, and on one that is shared`, () => {
    const content = text(5000, 11);
    const shared = new Uint8Array(new SharedArrayBuffer(20_000));
    const page = shared.subarray(3, 5003);
    page.set(content);
    const stored = shared.subarray(6001, 6001 + 5000);
    const length = encodeInto(codec, page, stored);
    assert.ok(length > 0);
    const back = shared.subarray(12_001, 17_001);
    decodeInto(codec, stored.subarray(0, length), back);
    assert.ok(same(back, content));
  });
}

test('levels: every one gives back the original, and others are refused', () => {
  const content = text(20_000, 12);
  for (const codec of ['zstd', 'deflate'] as const) {
    const { lowest, highest, standard } = CODEC_LEVELS[codec];
    for (let level = lowest; level <= highest; level++) {
      const stored = encoded(CODEC[codec], content, level);
      assert.ok(accepts(CODEC[codec], stored, content, content.length), `level ${level}`);
    }
    assert.ok(same(encoded(CODEC[codec], content), encoded(CODEC[codec], content, standard)));
    for (const level of [lowest - 1, highest + 1, 1.5, NaN, Infinity]) {
      assert.throws(() => encoded(CODEC[codec], content, level), { code: 'USAGE' });
    }
  }
  const lowest = encoded(CODEC.zstd, content, -7).length;
  assert.ok(lowest > encoded(CODEC.zstd, content, 19).length, 'negative levels reach the compressor as such');
});

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
/** One raw block, the last, of the three bytes that follow. */
const BLOCK = [0x19, 0, 0, 1, 2, 3];

test('zstd: frames that should not be stored are refused before anything is decoded', () => {
  const cases: [name: string, frame: number[], length: number][] = [
    ['claims 1 TiB, single segment', [0xe0, 0, 0, 0, 0, 0, 1, 0, 0, ...BLOCK], 3],
    ['claims 2^64 - 1', [0xe0, 255, 255, 255, 255, 255, 255, 255, 255, ...BLOCK], 3],
    ['claims 1 TiB, small window', [0xc0, 0, 0, 0, 0, 0, 0, 1, 0, 0, ...BLOCK], 3],
    ['window of 3.75 TiB', [0x00, 0xff, ...BLOCK], 3],
    ['window of 9 MiB', [0x00, 0x69, ...BLOCK], 3],
    ['claims four bytes', [0x20, 4, ...BLOCK], 3],
    ['needs dictionary 1', [0x21, 1, 3, ...BLOCK], 3],
    ['reserved bit', [0x28, 3, ...BLOCK], 3],
    ['reserved block type', [0x20, 3, 0x1f, 0, 0, 1, 2, 3], 3],
    ['no last block', [0x20, 3, 0x18, 0, 0, 1, 2, 3], 3],
    ['checksum is cut off', [0x24, 3, ...BLOCK, 0], 3],
    ['checksum is wrong', [0x24, 3, ...BLOCK, 1, 2, 3, 4], 3],
    ['two million in a run', [0x00, 0x58, 0x03, 0, 0xff, 7], 3],
  ];
  for (const [name, frame, length] of cases) {
    assert.ok(!accepts(CODEC.zstd, Uint8Array.of(...MAGIC, ...frame), undefined, length), name);
  }
  const three = Uint8Array.of(1, 2, 3);
  const allowed: [name: string, frame: number[]][] = [
    ['claims its three bytes', [0x20, 3, ...BLOCK]],
    ['claims nothing, window of 8 MiB', [0x00, 0x68, ...BLOCK]],
    ['dictionary 0, which is none', [0x21, 0, 3, ...BLOCK]],
    ['with empty blocks', [0x20, 3, 0, 0, 0, 0, 0, 0, ...BLOCK]],
    ['size in eight bytes', [0xe0, 3, 0, 0, 0, 0, 0, 0, 0, ...BLOCK]],
  ];
  for (const [name, frame] of allowed) {
    assert.ok(accepts(CODEC.zstd, Uint8Array.of(...MAGIC, ...frame), three, 3), name);
  }
  const skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
  assert.ok(!accepts(CODEC.zstd, Uint8Array.of(...skippable), undefined, 0));
  assert.ok(!accepts(CODEC.zstd, Uint8Array.of(...skippable, ...encoded(CODEC.zstd, three)), undefined, 3));
});

test('bombs: a small input that unpacks to much is refused for a small page', () => {
  const much = new Uint8Array(4 * 1024 * 1024);
  for (const codec of COMPRESSORS) assert.ok(!accepts(codec, encoded(codec, much), undefined, 4096), codecName(codec));
});
