/** Records that are views: batches of tmem pages and of guest memory, field by field. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { CODEC, encodeInto, type CodecId } from '../../../src/codec/codec.ts';
import { RamBatch } from '../../../src/stream/records/ram.ts';
import { TmemPages, type TmemPool } from '../../../src/stream/records/tmem.ts';
import { decodeVcpuX86, encodeVcpuX86, GENERAL, knownGroups, SEGMENTS } from '../../../src/stream/records/vcpu.ts';
import { decodeVcpuState, encodeVcpuState } from '../../../src/stream/records/vcpu.ts';
import { TmemPacker } from '../../../src/stream/tmem-packer.ts';
import { random } from '../../support/random.ts';
import { takeApart, viewOf } from '../../support/raw-stream.ts';
import { PAGE, somePages, written } from '../../support/streams.ts';

const POOL: TmemPool = {
  kind: 'TMEM_POOL',
  ephemeral: false,
  incarnation: 6n,
  pool: 1,
  shared: false,
  precompressed: false,
  pageSize: 4096,
  objectIdBits: 192,
  uuid: '00000000-0000-0000-0000-000000000000',
  pages: 0n,
};

interface Page {
  readonly object: readonly number[];
  readonly index: number;
  readonly codec: CodecId;
  readonly length: number;
  readonly stored: Uint8Array;
}

function batchOf(pages: readonly Page[]): Uint8Array {
  const packer = new TmemPacker();
  packer.incarnation = 6n;
  for (const { object, index, codec, length, stored } of pages) {
    assert.equal(packer.add(Uint32Array.from(object), index, codec, length, stored), true);
  }
  assert.equal(packer.empty, pages.length === 0);
  const body = packer.take();
  assert.equal(packer.empty, true);
  return body;
}

function read(body: Uint8Array, changes: Partial<TmemPool> = {}): TmemPages {
  return new TmemPages(new ByteReader(body, 88, 'record 4 (TMEM_PAGES)', '10.3'), { ...POOL, ...changes });
}

function compressed(content: Uint8Array, codec: CodecId): Uint8Array {
  const out = new Uint8Array(content.byteLength);
  return out.subarray(0, encodeInto(codec, content, out, undefined));
}

const TEXT = new Uint8Array(PAGE).fill(7);
const PAGES: readonly Page[] = [
  {
    object: [1, 2, 3, 4, 5, 6],
    index: 2 ** 32 - 1,
    codec: CODEC.raw,
    length: PAGE,
    stored: somePages(3, 'v').subarray(0, PAGE).fill(9, 0, 1),
  },
  { object: [0xffff_fffe, 0, 0, 0, 0, 0x8000_0000], index: 0, codec: CODEC.zero, length: 0, stored: new Uint8Array(9) },
  { object: [7, 0, 0, 0, 0, 0], index: 5, codec: CODEC.lz4, length: PAGE, stored: compressed(TEXT, CODEC.lz4) },
  { object: [8, 0, 0, 0, 0, 0], index: 6, codec: CODEC.raw, length: 3, stored: Uint8Array.of(1, 2, 3) },
  { object: [8, 0, 0, 0, 0, 0], index: 7, codec: CODEC.raw, length: 1, stored: Uint8Array.of(4) },
];

test('S9: a batch of tmem pages, field by field (stream 10.3)', () => {
  const body = batchOf(PAGES);
  const stored = PAGES.map(({ codec, stored: each }) => (codec === CODEC.zero ? 0 : each.byteLength));
  assert.equal(body.byteLength, 16 + 40 * 5 + stored.reduce((a, b) => a + b));
  assert.deepEqual([viewOf(body).getBigUint64(0, true), viewOf(body).getUint32(8, true)], [6n, 5]);
  const batch = read(body);
  assert.equal(batch.count, 5);
  const out = new Uint8Array(PAGE + 8);
  const contents = [PAGES[0].stored, new Uint8Array(PAGE), TEXT, Uint8Array.of(1, 2, 3), Uint8Array.of(4)];
  for (const [page, { object, index, codec, length }] of PAGES.entries()) {
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((half) => batch.objectHalf(page, half)),
      object,
    );
    assert.deepEqual(
      [0, 1, 2].map((word) => batch.objectWord(page, word)),
      [0, 2, 4].map((half) => BigInt(object[half]) | (BigInt(object[half + 1]) << 32n)),
    );
    assert.deepEqual(batch.objectBytes(page), new Uint8Array(Uint32Array.from(object).buffer));
    assert.deepEqual([batch.index(page), batch.codec(page), batch.originalLength(page)], [index, codec, length]);
    assert.equal(batch.storedLength(page), stored[page]);
    assert.deepEqual(batch.stored(page), PAGES[page].stored.subarray(0, stored[page]));
    out.fill(0xee);
    assert.equal(batch.contentInto(page, out), PAGE);
    const expected = new Uint8Array(PAGE);
    expected.set(contents[page]);
    assert.deepEqual(out.subarray(0, PAGE), expected, `page ${page}`);
    assert.deepEqual([...out.subarray(PAGE)], Array(8).fill(0xee), 'what is behind the page is left alone');
  }
});

test('S9: what a batch of tmem pages may not say', () => {
  const wrong = (code: string, path: string, change: (view: DataView) => void, pool: Partial<TmemPool> = {}): void => {
    const body = batchOf(PAGES);
    change(viewOf(body));
    assert.throws(
      () => read(body, pool),
      { code, path: `record 4 (TMEM_PAGES)${path}`, offset: 88 },
      `${code} ${path}`,
    );
  };
  const entry = (page: number, field: number): number => 16 + 40 * page + field;
  wrong('FIELD_VALUE', '/count', (view) => view.setUint32(8, 0, true));
  wrong('LIMIT_EXCEEDED', '/count', (view) => view.setUint32(8, 16_385, true));
  wrong('LENGTH_MISMATCH', '/entries', (view) => view.setUint32(8, 16_384, true));
  wrong('UNSUPPORTED_CODEC', '/pages[2]', (view) => view.setUint8(entry(2, 36), 99));
  wrong('FIELD_VALUE', '/pages[0]', (view) => view.setUint8(entry(0, 36), CODEC.opaque));
  wrong('FIELD_VALUE', '/pages[0]', () => undefined, { precompressed: true });
  for (const half of [2, 3, 4, 5]) {
    wrong(
      'FIELD_VALUE',
      '/pages[0]',
      (view) => {
        for (let each = 2; each < 6; each++) view.setUint32(entry(0, 4 * each), each === half ? 1 : 0, true);
      },
      { objectIdBits: 64 },
    );
  }
  // Lengths: zero has none, raw has as many as stored, others have fewer stored; none has more than a page.
  wrong('LENGTH_MISMATCH', '/pages[1]', (view) => view.setUint32(entry(1, 28), 1, true));
  wrong('LENGTH_MISMATCH', '/pages[1]', (view) => view.setUint32(entry(1, 32), 1, true));
  wrong('LENGTH_MISMATCH', '/pages[3]', (view) => view.setUint32(entry(3, 28), 4, true));
  wrong('LENGTH_MISMATCH', '/pages[3]', (view) => [28, 32].forEach((at) => view.setUint32(entry(3, at), 0, true)));
  wrong('LENGTH_MISMATCH', '/pages[2]', (view) => view.setUint32(entry(2, 28), PAGE + 1, true));
  wrong('LENGTH_MISMATCH', '/pages[2]', (view) => view.setUint32(entry(2, 32), 0, true));
  wrong('LENGTH_MISMATCH', '/pages[2]', (view) => view.setUint32(entry(2, 32), PAGE, true));
  wrong('LENGTH_MISMATCH', '/pages[0]', () => undefined, { pageSize: 2048 });
  wrong('LENGTH_MISMATCH', '/pages[4]', (view) => [28, 32].forEach((at) => view.setUint32(entry(4, at), 2, true)));
  const body = batchOf(PAGES);
  const longer = new Uint8Array([...body, 0, 0, 0]);
  assert.throws(() => read(longer), { code: 'LENGTH_MISMATCH', message: '3 bytes stand after the last page' });
  // A single stored byte is enough for a codec, as far as lengths tell.
  const one = { object: [1, 0, 0, 0, 0, 0], index: 0, codec: CODEC.lz4, length: 2, stored: Uint8Array.of(0) };
  assert.equal(read(batchOf([one])).count, 1);
});

test('S9, T5: what the guest compressed comes as it is', () => {
  const stored = Uint8Array.of(5, 6, 7);
  const opaque = { object: [1, 0, 0, 0, 0, 0], index: 0, codec: CODEC.opaque, length: 3, stored };
  const batch = read(batchOf([opaque]), { precompressed: true });
  const out = new Uint8Array(8).fill(0xee);
  assert.equal(batch.contentInto(0, out), 3);
  assert.deepEqual([...out], [5, 6, 7, 0xee, 0xee, 0xee, 0xee, 0xee]);
  assert.throws(() => read(batchOf([opaque])), { code: 'FIELD_VALUE' });
});

test('S9: a packer takes 1 MiB and not a byte more, 4096 pages and not one more', () => {
  const packer = new TmemPacker();
  assert.equal(packer.incarnation, 0n);
  const half = new Uint8Array(512 * 1024);
  const object = new Uint32Array(6);
  assert.equal(packer.add(object, 0, CODEC.raw, half.byteLength, half), true);
  assert.equal(packer.add(object, 0, CODEC.raw, half.byteLength, half), true);
  assert.equal(packer.add(object, 0, CODEC.raw, 1, Uint8Array.of(1)), false);
  assert.equal(packer.add(object, 0, CODEC.zero, 0, new Uint8Array(0)), true);
  packer.take();
  for (let i = 0; i < 4096; i++) assert.equal(packer.add(object, i, CODEC.zero, 0, half), true);
  assert.equal(packer.add(object, 0, CODEC.zero, 0, half), false);
});

const BATCH = await written(
  async (writer) => {
    await writer.ram(10, 130, somePages(130, 'units').fill(3, 0, PAGE));
    await writer.absent(200, 3, 0x83);
  },
  { indexed: false },
);

test('S6: units have checksums of their own; the first that is wrong is named', () => {
  const { body } = takeApart(BATCH).records[1];
  const where = { offset: 0, path: 'batch', section: '7' };
  const padded = new Uint8Array(body.byteLength + (-body.byteLength & 7));
  padded.set(body);
  const batch = new RamBatch(padded.subarray(0, body.byteLength), body.byteLength, PAGE, where);
  assert.ok(batch.units >= 2, `${batch.units} units`);
  assert.deepEqual(batch.checksums(padded), { body: crc32(padded), wrongUnit: -1 });
  let at = batch.headLength;
  for (let unit = 0; unit < batch.units; unit++) {
    padded[at] ^= 1;
    assert.deepEqual(batch.checksums(padded), { body: crc32(padded), wrongUnit: unit });
    // One after it does not change which is named.
    padded[body.byteLength - 1] ^= 2;
    assert.equal(batch.checksums(padded).wrongUnit, unit);
    padded[body.byteLength - 1] ^= 2;
    padded[at] ^= 1;
    at += batch.unitStored(unit);
  }
  assert.equal(batch.unitError(1).path, 'batch/units[1]');
});

test('S7: a page is found in a batch, or is said not to be there', () => {
  const { body } = takeApart(BATCH).records[1];
  const batch = new RamBatch(body, body.byteLength, PAGE, { offset: 0, path: 'batch', section: '7' });
  const pages = somePages(130, 'units').fill(3, 0, PAGE);
  for (const pfn of [0, 9, 140, 199, 203, 2 ** 40]) assert.equal(batch.find(pfn), undefined, `pfn ${pfn}`);
  for (const pfn of [200, 202]) assert.deepEqual(batch.find(pfn), { pageClass: 0x83, unit: -1, page: 0, storedAt: 0 });
  for (let pfn = 10; pfn < 140; pfn++) {
    const content = pages.subarray((pfn - 10) * PAGE, (pfn - 9) * PAGE);
    const found = batch.find(pfn)!;
    if (content.every((byte) => byte === 0)) {
      assert.deepEqual(found, { pageClass: 0, unit: -1, page: 0, storedAt: 0 });
    } else {
      const at = found.storedAt + found.page * PAGE;
      assert.ok(Buffer.from(body.subarray(at, at + PAGE)).equals(content), `pfn ${pfn}`);
    }
  }
  const head = body.subarray(0, batch.headLength - 8);
  assert.throws(() => new RamBatch(head, body.byteLength, PAGE, { offset: 0, path: 'b', section: '7' }), RangeError);
});

test('S10: groups of registers are known as a whole or not at all', () => {
  const all = Object.fromEntries(GENERAL.map((name, i) => [name, BigInt(i) + 2n ** 63n]));
  const segment = { selector: 1, attributes: 2, limit: 3, base: 4n };
  const segments = Object.fromEntries(SEGMENTS.map((name, i) => [name, { ...segment, selector: i }])) as Parameters<
    typeof encodeVcpuX86
  >[0]['segments'];
  const table = { base: 5n, limit: 6 };
  const empty = { vcpu: 9, online: true, halted: false, registers: {}, segments: null, gdtr: null, idtr: null };
  const readBack = (vcpu: Parameters<typeof encodeVcpuX86>[0]): unknown =>
    decodeVcpuX86(new ByteReader(encodeVcpuX86(vcpu), 0, 'v', '8.1'));
  assert.deepEqual(readBack(empty), { kind: 'VCPU_X86', ...empty });
  const full = {
    ...empty,
    online: false,
    halted: true,
    registers: all,
    segments,
    gdtr: table,
    idtr: { base: 7n, limit: 8 },
  };
  assert.deepEqual(readBack(full), { kind: 'VCPU_X86', ...full });
  assert.deepEqual(knownGroups(full), ['general', 'segments', 'tables']);
  // One register is missing, one of the two tables: then the group is not there, and its place is zero.
  const most = Object.fromEntries(Object.entries(all).slice(1));
  assert.deepEqual(readBack({ ...empty, registers: most }), { kind: 'VCPU_X86', ...empty });
  assert.deepEqual(encodeVcpuX86({ ...empty, registers: most }), encodeVcpuX86(empty));
  for (const one of [{ gdtr: table }, { idtr: table }]) {
    assert.deepEqual(knownGroups({ ...empty, ...one }), []);
    assert.deepEqual(encodeVcpuX86({ ...empty, ...one }), encodeVcpuX86(empty));
  }
  const body = encodeVcpuX86(full);
  for (const length of [511, 513]) {
    const bytes = new Uint8Array(length);
    bytes.set(body.subarray(0, length));
    assert.throws(() => decodeVcpuX86(new ByteReader(bytes, 0, 'v', '8.1')), { code: 'LENGTH_MISMATCH' });
  }
});

test('S10: states of a processor by their kinds and lengths', () => {
  const codeOf = (state: number, length: number): string => {
    const body = encodeVcpuState(4095, state, random('state').scramble(new Uint8Array(length)));
    assert.equal(body.byteLength, 8 + length);
    try {
      const found = decodeVcpuState(new ByteReader(body, 0, 's', '8.2'));
      assert.deepEqual([found.vcpu, found.state, found.bytes.byteLength], [4095, state, length]);
      return '';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  assert.deepEqual([codeOf(1, 512), codeOf(1, 511), codeOf(1, 513)], ['', 'LENGTH_MISMATCH', 'LENGTH_MISMATCH']);
  assert.deepEqual([codeOf(2, 576), codeOf(2, 575), codeOf(2, 5000)], ['', 'LENGTH_MISMATCH', '']);
  assert.deepEqual([codeOf(3, 0), codeOf(3, 16), codeOf(3, 17)], ['', '', 'LENGTH_MISMATCH']);
  assert.deepEqual([codeOf(4, 17), codeOf(65_535, 0), codeOf(0, 16)], ['', '', 'FIELD_VALUE']);
});
