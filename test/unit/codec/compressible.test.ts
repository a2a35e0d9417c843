import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';

import { looksCompressible } from '../../../src/codec/compressible.ts';
import { integers, pointers, randomBytes, repeats, sparse, text } from './shapes.ts';

const PAGE = 4096;

/** Share of the whole pages in `bytes` that look compressible. */
function share(bytes: Uint8Array): number {
  let pages = 0;
  let yes = 0;
  for (let at = 0; at + PAGE <= bytes.length; at += PAGE) {
    pages++;
    if (looksCompressible(bytes, at, PAGE)) yes++;
  }
  return yes / pages;
}

test('random and compressed pages do not look compressible', () => {
  assert.ok(share(randomBytes(4 << 20, 1)) < 0.001, 'random');
  const plain = text(8 << 20, 2);
  const mixed = Buffer.concat([text(4 << 20, 3), integers(2 << 20, 4), pointers(2 << 20, 5)]);
  for (const source of [plain, mixed]) {
    assert.ok(share(zstdCompressSync(source)) < 0.01, 'zstd');
    assert.ok(share(gzipSync(source)) < 0.01, 'gzip');
    assert.ok(share(deflateRawSync(source, { level: 1 })) < 0.01, 'deflate');
  }
});

test('text, integers, pointers and sparse pages do', () => {
  const megabytes = 2 << 20;
  assert.ok(share(text(megabytes, 6)) > 0.99, 'text');
  assert.ok(share(integers(megabytes, 7)) > 0.99, 'integers');
  assert.ok(share(pointers(megabytes, 8)) > 0.99, 'pointers');
  assert.ok(share(sparse(megabytes, 9)) > 0.99, 'sparse');
  assert.equal(share(new Uint8Array(megabytes)), 1, 'zeros');
  assert.equal(share(Uint8Array.from({ length: megabytes }, (_, at) => at)), 1, 'a table of all values in order');
  assert.ok(share(repeats(megabytes, 10)) < 1, 'long repetitions of random bytes are what a sample cannot see');
});

test('machine code does: of the pages of this very program that a compressor gains a tenth on, 99 of 100', () => {
  const program = readFileSync(process.execPath);
  let gains = 0;
  let found = 0;
  // Every 40th page of some hundred megabytes.
  for (let at = 0; at + PAGE <= program.length; at += 40 * PAGE) {
    if (deflateRawSync(program.subarray(at, at + PAGE), { level: 1 }).length > PAGE * 0.9) continue;
    gains++;
    if (looksCompressible(program, at, PAGE)) found++;
  }
  assert.ok(gains > 100 && found / gains > 0.99, `${found} of ${gains}`);
});

test('any length and any place', () => {
  const bytes = randomBytes(300_000, 11);
  for (let length = 0; length < 256; length++) assert.equal(looksCompressible(bytes, 5, length), true);
  for (const length of [256, 257, 1000, 4096, 65_536, 262_144]) {
    assert.equal(looksCompressible(bytes, 300_000 - length, length), false, `random ${length}`);
    assert.equal(looksCompressible(new Uint8Array(length + 3), 3, length), true, `zeros ${length}`);
  }
});
