import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeHeader, headerChecksumHolds, paddingOf, recordBytes } from '../../../src/stream/record-header.ts';
import { headerFacts } from '../../../src/stream/record-header.ts';
import { isLocal, isOptional, isTmem, numberOf, RECORDS, TYPE, typeName } from '../../../src/stream/record-types.ts';

test('S3: what a type says of itself, at each end of each range (stream 3.3)', () => {
  const numbers = [0, 1, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44, 0x3fff, 0x4000, 0x7fff, 0x8000, 0x7fff_ffff];
  for (const number of numbers) {
    for (const type of [number, number + 0x8000_0000]) {
      const at = `0x${type.toString(16)}`;
      assert.equal(numberOf(type), number, at);
      assert.equal(isOptional(type), type !== number, at);
      assert.equal(isTmem(type), [0x40, 0x41, 0x42, 0x43].includes(number), at);
      assert.equal(isLocal(type), [0x4000, 0x7fff].includes(number), at);
    }
  }
});

test('a type is called by its name, or by eight digits', () => {
  assert.equal(typeName(TYPE.tmemPages), 'TMEM_PAGES');
  assert.equal(typeName(TYPE.ephemeralPages), 'TMEM_PAGES');
  assert.equal(typeName(0x1f), 'type 0x0000001f');
  assert.equal(typeName(0x8000_4001), 'type 0x80004001');
});

test('limits of bodies are those of the table (stream 3.5)', () => {
  const found = Object.fromEntries([...RECORDS].map(([type, { limit }]) => [type, limit]));
  const most = 16 * 1024 * 1024;
  assert.deepEqual(found, {
    [0x01]: 1024 * 1024,
    [0x02]: 65_536,
    [0x03]: 48,
    [0x04]: 528,
    [0x05]: 16,
    [0x06]: 16,
    [0x07]: 576,
    [0x8000_0008]: 196_616,
    [0x8000_0009]: most,
    [0x0a]: 48,
    [0x10]: most,
    [0x20]: 512,
    [0x21]: most,
    [0x22]: 98_312,
    [0x23]: 65_544,
    [0x30]: 851,
    [0x31]: 1_048_600,
    [0x32]: 4564,
    [0x40]: 280,
    [0x41]: 48,
    [0x8000_0041]: 48,
    [0x42]: most,
    [0x8000_0042]: most,
    [0x43]: most,
    [0x8000_0043]: most,
    [0x8000_0050]: most,
  });
});

test('a header: 24 bytes, padding to 8', () => {
  assert.deepEqual([0, 1, 7, 8, 9].map(paddingOf), [0, 7, 1, 0, 7]);
  assert.deepEqual([0, 1, 8].map(recordBytes), [24, 32, 32]);
  const bytes = new Uint8Array(30).fill(0xee);
  encodeHeader(bytes, 0x8000_0043, 0x01020304, 5, 0x0a0b0c0d, 0xfffe_fdfc);
  const words = [0, 4, 8, 12, 16].map((at) => new DataView(bytes.buffer).getUint32(at, true));
  assert.deepEqual(words, [0x8000_0043, 0x01020304, 5, 0x0a0b0c0d, 0xfffe_fdfc]);
  assert.deepEqual([...bytes.subarray(24)], Array(6).fill(0xee), 'what is behind it is left alone');
  for (let at = 0; at < 24; at++) {
    assert.equal(headerChecksumHolds(bytes), true);
    bytes[at] ^= 1;
    assert.equal(headerChecksumHolds(bytes), false, `byte ${at}`);
    bytes[at] ^= 1;
  }
  const header = { type: 0x8000_0043, length: 8, sequence: 5, offset: 128, bodyChecksum: 0 };
  assert.deepEqual(headerFacts(header), { sequence: 5, offset: 128, optional: true, number: 0x43 });
});
