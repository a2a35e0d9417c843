import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { ByteWriter } from '../../../src/bytes/byte-writer.ts';

test('fields come back as they were written, also where the buffer grows between and inside them', () => {
  for (let initial = 1; initial < 40; initial++) {
    const writer = new ByteWriter(10_000, initial);
    for (let i = 0; i < 20; i++)
      writer
        .u8(i)
        .u16(i + 256)
        .u32(i + 70_000)
        .u64(2n ** 60n + BigInt(i))
        .string(`s${i}`)
        .zeros(3);
    const bytes = writer.done();
    const reader = new ByteReader(bytes, 0, 'test', '1');
    for (let i = 0; i < 20; i++) {
      const found = [reader.u8('a'), reader.u16('b'), reader.u32('c'), reader.u64('d'), reader.string('e')];
      assert.deepEqual(found, [i, i + 256, i + 70_000, 2n ** 60n + BigInt(i), `s${i}`]);
      reader.reserved(3);
    }
    reader.end();
  }
});

test('what does not fit is a RangeError, and a reader beyond its bytes a LENGTH_MISMATCH with its place', () => {
  assert.throws(() => new ByteWriter(3).u32(1), RangeError);
  assert.throws(() => new ByteWriter(3).u8(256), RangeError);
  assert.throws(() => new ByteWriter(300).string('x'.repeat(256), 255), RangeError);
  const reader = new ByteReader(Uint8Array.of(1, 2, 3), 640, 'record 5 (DISK)', '9.3');
  assert.equal(reader.u16('disk'), 0x201);
  assert.throws(() => reader.u32('policy'), {
    code: 'LENGTH_MISMATCH',
    offset: 640,
    path: 'record 5 (DISK)/policy',
    section: '9.3',
  });
  assert.throws(() => reader.end(), { code: 'LENGTH_MISMATCH' });
});
