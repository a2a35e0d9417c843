import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { IndexedImage } from '../../../src/stream/indexed-image.ts';
import { memorySource } from '../../../src/io/memory.ts';
import {
  checkMagic,
  decodePreamble,
  encodePreamble,
  featureNames,
  isIndexed,
  MAGIC,
  MUST_KNOW,
  readRawPreamble,
  refusalOf,
  type PreambleChoice,
} from '../../../src/stream/preamble.ts';
import { random } from '../../support/random.ts';
import { viewOf } from '../../support/raw-stream.ts';
import { choice } from '../../support/streams.ts';

/** A preamble with other bytes at a place, and a checksum that is right. */
function changed(at: number, bytes: readonly number[], changes: Partial<PreambleChoice> = {}): Uint8Array {
  const preamble = encodePreamble(choice(changes));
  preamble.set(bytes, at);
  viewOf(preamble).setUint32(124, crc32(preamble.subarray(0, 124)), true);
  return preamble;
}

test('S1: every field of a preamble stands where stream 2 says, and is read again', () => {
  const streamId = random('stream id').scramble(new Uint8Array(16));
  const chosen = {
    kind: 'migration',
    byteOrder: 'big',
    wordBits: 32,
    domainType: 'pvh',
    machine: 0x1234,
    pageSize: 16_384,
    streamId,
    direction: 'back',
    channels: 9,
    channel: 7,
    indexed: false,
  } as const;
  const bytes = encodePreamble(chosen);
  const view = viewOf(bytes);
  assert.deepEqual([...bytes.subarray(0, 12)], [0x89, 0x54, 0x4d, 0x49, 0x47, 0x52, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0xff]);
  assert.deepEqual([view.getUint16(12, true), view.getUint16(14, true)], [1, 0]);
  assert.deepEqual([...bytes.subarray(16, 24)], [2, 2, 32, 3, 0x34, 0x12, 14, 1]);
  assert.deepEqual([...bytes.subarray(24, 40)], Array(16).fill(0));
  assert.deepEqual(bytes.subarray(40, 56), streamId);
  assert.deepEqual([view.getUint16(56, true), view.getUint16(58, true)], [9, 7]);
  assert.deepEqual([...bytes.subarray(60, 124)], Array(64).fill(0));
  assert.equal(view.getUint32(124, true), crc32(bytes.subarray(0, 124)));
  const hex = Buffer.from(streamId).toString('hex');
  const { streamId: uuid, checksum, ...read } = decodePreamble(readRawPreamble(bytes));
  assert.equal(uuid.replaceAll('-', ''), hex);
  assert.equal(checksum, view.getUint32(124, true));
  const { kind, byteOrder, wordBits, domainType, machine, pageSize, direction, channels, channel } = chosen;
  const said = { kind, byteOrder, wordBits, domainType, machine, pageSize, direction, channels, channel };
  assert.deepEqual(read, { ...said, major: 1, minor: 0, mustKnow: 0n, mayIgnore: 0n });
});

test('S1: feature sets are 64 bits, low byte first; INDEXED is bit 0 of those that may be ignored', () => {
  const raw = readRawPreamble(changed(24, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]));
  const preamble = decodePreamble(raw, true);
  assert.equal(preamble.mustKnow, 0x0807060504030201n);
  assert.equal(preamble.mayIgnore, 0x100f0e0d0c0b0a09n);
  assert.equal(isIndexed(preamble), true);
  assert.equal(isIndexed({ ...preamble, mayIgnore: 0xfffen }), false);
  const later = readRawPreamble(changed(12, [0x02, 0x01, 0x04, 0x03]));
  assert.deepEqual([later.major, later.minor], [0x0102, 0x0304]);
  assert.deepEqual(refusalOf(later)!.data, { major: 0x0102, minor: 0x0304, supported: '1.x' });
});

test('S12: what is foreseen is refused by its name, and what is not by its bit', () => {
  assert.deepEqual(MUST_KNOW, ['ENCRYPTED', 'PAGE_REFERENCES', 'DELTAS', 'INCREMENTAL']);
  assert.deepEqual(featureNames(0n, MUST_KNOW), []);
  assert.deepEqual(featureNames(0b1010n, MUST_KNOW), ['PAGE_REFERENCES', 'INCREMENTAL']);
  assert.deepEqual(featureNames(0b0101n, MUST_KNOW), ['ENCRYPTED', 'DELTAS']);
  assert.deepEqual(featureNames((1n << 63n) | (1n << 4n), MUST_KNOW), ['bit 4', 'bit 63']);
  const refusal = refusalOf(readRawPreamble(changed(24, [0x05])))!;
  assert.equal(refusal.code, 'UNSUPPORTED_FEATURE');
  assert.deepEqual(refusal.data, { features: ['ENCRYPTED', 'DELTAS'] });
  const high = refusalOf(readRawPreamble(changed(31, [0x80])))!;
  assert.deepEqual(high.data, { features: ['bit 63'] });
  assert.equal(refusalOf(readRawPreamble(encodePreamble(choice()))), undefined);
});

test('a refused image is not opened by its index either', async () => {
  const bytes = changed(24, [0x01]);
  await assert.rejects(IndexedImage.open(memorySource(bytes).random!), { code: 'UNSUPPORTED_FEATURE' });
});

test('kind incremental needs its feature (stream 2.1)', () => {
  assert.throws(() => decodePreamble(readRawPreamble(changed(16, [3]))), { code: 'FIELD_VALUE' });
  const bytes = changed(16, [3]);
  bytes[24] = 1 << 3;
  viewOf(bytes).setUint32(124, crc32(bytes.subarray(0, 124)), true);
  assert.equal(decodePreamble(readRawPreamble(bytes)).kind, 'incremental');
  for (const bit of [0, 1, 2, 4]) {
    bytes[24] = 1 << bit;
    viewOf(bytes).setUint32(124, crc32(bytes.subarray(0, 124)), true);
    assert.throws(() => decodePreamble(readRawPreamble(bytes)), { code: 'FIELD_VALUE' }, `bit ${bit}`);
  }
});

test('a writer refuses what the format has no place for, and only that', () => {
  const wrong: readonly Partial<PreambleChoice>[] = [
    { pageSize: 2048 },
    { pageSize: 131_072 },
    { pageSize: 5000 },
    { channels: 0, channel: 0, indexed: false },
    { channels: 17, indexed: false },
    { channels: 2, channel: 2, indexed: false },
    { channels: 2, channel: 3, indexed: false },
    { channels: 2, channel: -1, indexed: false },
    { channels: 2, indexed: true },
    { direction: 'back', indexed: true },
    { streamId: new Uint8Array(15) },
    { streamId: new Uint8Array(17) },
    { kind: 'incremental' },
  ];
  for (const each of wrong) assert.throws(() => encodePreamble(choice(each)), RangeError, JSON.stringify(each));
  const right: readonly Partial<PreambleChoice>[] = [
    { pageSize: 4096 },
    { pageSize: 65_536 },
    { channels: 16, channel: 15, indexed: false },
    { channels: 16, channel: 0, indexed: false },
    { channels: 1, channel: 0 },
    { direction: 'back', indexed: false },
    { kind: 'core' },
  ];
  for (const each of right) {
    const preamble = decodePreamble(readRawPreamble(encodePreamble(choice(each))));
    assert.equal(preamble.pageSize, each.pageSize ?? 4096);
    assert.equal(preamble.channels, each.channels ?? 1);
  }
});

test('the magic is judged as soon as it is there, and not before (stream 2.2)', () => {
  const codeOf = (bytes: readonly number[], ended: boolean): string => {
    try {
      checkMagic(Uint8Array.from(bytes), ended);
      return '';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const magic = [...MAGIC];
  for (let length = 0; length < 128; length++) {
    const start = [...magic, ...Array<number>(116).fill(0)].slice(0, length);
    assert.equal(codeOf(start, false), '');
    assert.equal(codeOf(start, true), 'TRUNCATED');
  }
  assert.throws(() => readRawPreamble(encodePreamble(choice()).subarray(0, 127)), { code: 'TRUNCATED', offset: 127 });
  const other = Array<number>(128).fill(0x50);
  for (const length of [1, 11]) {
    assert.equal(codeOf(other.slice(0, length), false), '', 'more may come');
    assert.equal(codeOf(other.slice(0, length), true), 'NOT_AN_IMAGE');
  }
  assert.equal(codeOf(other.slice(0, 12), false), 'NOT_AN_IMAGE');
  assert.equal(codeOf([0x09, ...magic.slice(1, 11), 0x7f], true), 'SEVEN_BIT_DAMAGE');
  assert.equal(codeOf([0x09, 0, ...magic.slice(2)], true), 'NOT_AN_IMAGE');
  assert.equal(codeOf([...magic.slice(0, 6), 0x0a, 0x1a, 0x0a, 0, 0xff, 0], true), 'TEXT_MODE_DAMAGE');
  assert.equal(codeOf([0xc2, ...magic.slice(0, 11)], true), 'TEXT_MODE_DAMAGE');
  // Each byte of what names the damage counts.
  assert.equal(codeOf([0xc2, 0x88, ...magic.slice(1, 11)], true), 'NOT_AN_IMAGE');
  assert.equal(codeOf([0xc2, 0x89, 0x55, ...magic.slice(2, 11)], true), 'NOT_AN_IMAGE');
  assert.equal(codeOf([0xc3, 0x89, ...magic.slice(1, 11)], true), 'NOT_AN_IMAGE');
  assert.equal(codeOf([0x88, ...magic.slice(1, 6), 0, 0, 0, 0, 0, 0], true), 'NOT_AN_IMAGE');
});
