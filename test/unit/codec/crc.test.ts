import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { crc32 as zlibCrc32 } from 'node:zlib';

import { crc32Combine } from '../../../src/codec/crc32-combine.ts';
import { crc32, crc32IsNative, Sha256 } from '../../../src/codec/platform.ts';
import { randomBytes, seeded } from './shapes.ts';

test(`crc32 (${crc32IsNative() ? 'native' : 'zlib'}) is the CRC-32 of zlib for every length and seed`, () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  assert.equal(crc32(new Uint8Array(0)), 0);
  assert.equal(crc32(new Uint8Array(0), 0xdeadbeef), 0xdeadbeef);
  const bytes = randomBytes(5000, 1);
  for (let length = 0; length < 5000; length += 1 + (length >> 4)) {
    const part = bytes.subarray(length & 7, length);
    assert.equal(crc32(part, 0xffffffff - length), zlibCrc32(part, 0xffffffff - length));
  }
  const shared = new Uint8Array(new SharedArrayBuffer(100)).subarray(1, 90);
  shared.set(bytes.subarray(0, 89));
  assert.equal(crc32(shared), zlibCrc32(bytes.subarray(0, 89)));
});

test('crc32Combine is the CRC of the whole, for lengths that change and lengths that repeat', () => {
  const bytes = randomBytes(70_000, 2);
  const next = seeded(3);
  for (let turn = 0; turn < 500; turn++) {
    const split = next(bytes.length);
    const end = split + (turn % 3 === 0 ? next(bytes.length - split) : Math.min(4096, bytes.length - split));
    const a = zlibCrc32(bytes.subarray(0, split));
    const b = zlibCrc32(bytes.subarray(split, end));
    const whole = zlibCrc32(bytes.subarray(0, end));
    for (let again = 0; again < 3; again++) assert.equal(crc32Combine(a, b, end - split), whole);
  }
  assert.equal(crc32Combine(0x12345678, 0, 0), 0x12345678);
  assert.equal(crc32Combine(0, 0x9abcdef0, 77), 0x9abcdef0);
});

test('crc32Combine knows lengths beyond 2^32', () => {
  // Joining zeros in two steps is joining them in one.
  const one = crc32Combine(0xdeadbeef, 0, 2 ** 33 + 5);
  const two = crc32Combine(crc32Combine(0xdeadbeef, 0, 2 ** 32 + 5), 0, 2 ** 32);
  assert.equal(one, two);
  assert.ok(Number.isInteger(crc32Combine(1, 2, Number.MAX_SAFE_INTEGER)));
  for (const length of [-1, 1.5, NaN, 2 ** 53]) assert.throws(() => crc32Combine(1, 2, length), RangeError);
});

test('Sha256 is that of the pieces joined', () => {
  const bytes = randomBytes(1000, 4);
  const sum = new Sha256();
  for (let at = 0; at < 1000; at += 77) sum.update(bytes.subarray(at, at + 77));
  assert.deepEqual(Buffer.from(sum.digest()), createHash('sha256').update(bytes).digest());
});
