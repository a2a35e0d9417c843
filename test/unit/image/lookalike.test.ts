import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { TransmigrateError } from '../../../src/errors.ts';
import { lookalikeOf, withLookalike } from '../../../src/image/lookalike.ts';
import { inspectImage } from '../../../src/image/inspect.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { random } from '../../support/random.ts';

function latin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

const STARTS: readonly (readonly [start: Uint8Array, name: RegExp | undefined])[] = [
  [gzipSync('x'), /^a gzip file$/],
  [zstdCompressSync(Buffer.from('x')), /^a zstd file$/],
  [latin1('\xfd7zXZ\0\0\x04'), /^an xz file$/],
  [latin1('BZh91AY'), /^a bzip2 file$/],
  [latin1('\x04\x22\x4d\x18\x64'), /^an lz4 file$/],
  [latin1('PK\x03\x04\x14'), /^a zip archive$/],
  [latin1('Xen saved domain, xl format\n \0 \r'), /^a domain saved by Xen's xl$/],
  [latin1('LibxlFmt\0\0\0\x02'), /libxl/],
  [latin1(`${'\xff'.repeat(8)}XENF\0\0\0\x03`), /libxc/],
  [latin1('LibvirtQemudSave\x02'), /libvirt/],
  [latin1('QEVM\0\0\0\x03'), /QEMU/],
  [latin1('QFI\xfb\0\0\0\x03'), /qcow2/],
  [latin1('\x7fELF\x02\x01'), /^an ELF file/],
  [new Uint8Array(64), /^zeros$/],
  [latin1('{"name": "guest"}\r\n'), /^text$/],
  [deflateRawSync(random('lookalike').scramble(new Uint8Array(64))).subarray(0, 64), undefined],
  [new Uint8Array(0), undefined],
];

for (const [start, name] of STARTS) {
  test(`what starts like ${JSON.stringify(Buffer.from(start.subarray(0, 16)).toString('latin1'))}`, () => {
    const found = lookalikeOf(start.subarray(0, 64))?.name;
    if (name === undefined) assert.equal(found, undefined);
    else assert.match(found ?? '', name);
  });
}

test('only an input that is no image, or has not a byte, is told what it looks like', () => {
  const text = latin1('text');
  const damage = new TransmigrateError('BODY_CHECKSUM', 'x', { offset: 7 });
  assert.equal(withLookalike(damage, text), damage);
  const cut = new TransmigrateError('TRUNCATED', 'x', { offset: 7 });
  assert.equal(withLookalike(cut, text), cut);
  assert.match(withLookalike(cut, new Uint8Array(0)).next, /empty/);
  const none = new TransmigrateError('NOT_AN_IMAGE', 'x', { offset: 0, path: 'preamble/magic', section: '2.2' });
  const told = withLookalike(none, text);
  assert.deepEqual(
    { ...told.toJSON(), next: '', data: undefined },
    { ...none.toJSON(), next: '', data: undefined },
    'nothing else of the error changes',
  );
  assert.equal(told.data.looksLike, 'text');
});

test('an inspection says it, whatever the pieces are', async () => {
  const bytes = latin1(`PK\x03\x04${'x'.repeat(1000)}`);
  for (const piece of [1, 7, 5000]) {
    const { error, format } = await inspectImage({ ...memorySource(bytes, 'x', piece), random: null, size: null });
    assert.deepEqual([format, error?.code, error?.data?.looksLike], ['unknown', 'NOT_AN_IMAGE', 'a zip archive']);
  }
});
