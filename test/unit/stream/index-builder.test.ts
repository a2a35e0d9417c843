import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { CODEC } from '../../../src/codec/codec.ts';
import { IndexBuilder, indexEntryOf, isListed, segmentOf } from '../../../src/stream/index-builder.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import { decodeIndex, decodeIndexRoot, type IndexEntry } from '../../../src/stream/records/index-records.ts';
import { encodeTmemInvalidate, TmemInvalidate, TmemPages, type TmemPool } from '../../../src/stream/records/tmem.ts';
import { TmemPacker } from '../../../src/stream/tmem-packer.ts';
import { random } from '../../support/random.ts';

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
const EMPTY: IndexEntry = {
  offset: 640,
  type: 0,
  pages: 0,
  incarnation: 0n,
  low: 0n,
  high: 0n,
  indexLow: 0,
  indexHigh: 0,
};
const ALL = { low: 0n, high: 2n ** 64n - 1n, indexLow: 0, indexHigh: 2 ** 32 - 1 };

function headerOf(type: number): {
  type: number;
  length: number;
  sequence: number;
  offset: number;
  bodyChecksum: number;
} {
  return { type, length: 0, sequence: 3, offset: 640, bodyChecksum: 0 };
}

function bodyOf(bytes: Uint8Array): ByteReader {
  return new ByteReader(bytes, 0, 'record', '10');
}

/** Words that differ in the lower half, the upper half, or both, in any order. */
function words(seed: string): bigint[] {
  const generator = random(seed);
  const half = (): number => generator.pick([0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
  return Array.from({ length: 1 + generator.below(5) }, () => (BigInt(half()) << 32n) | BigInt(half()));
}

test('S7: an entry spans the first words and the page indexes of its record', () => {
  for (let seed = 0; seed < 300; seed++) {
    const generator = random(`spans ${seed}`);
    const objects = words(`words ${seed}`);
    const pages = objects.map(() => generator.pick([0, 1, 5, 2 ** 31, 2 ** 32 - 1]));
    const low = objects.reduce((a, b) => (a < b ? a : b));
    const high = objects.reduce((a, b) => (a > b ? a : b));
    const expected = { ...EMPTY, pages: objects.length, incarnation: 6n, low, high };
    const span = { indexLow: Math.min(...pages), indexHigh: Math.max(...pages) };

    const packer = new TmemPacker();
    packer.incarnation = 6n;
    for (const [i, word] of objects.entries()) {
      // Further words are no part of the span.
      const halves = [Number(word & 0xffff_ffffn), Number(word >> 32n), 9 - i, 8 * i, generator.below(99), 7];
      assert.ok(packer.add(Uint32Array.from(halves), pages[i], CODEC.zero, 0, new Uint8Array(0)));
    }
    const batch = new TmemPages(bodyOf(packer.take()), POOL);
    const found = indexEntryOf(headerOf(TYPE.tmemPages), batch);
    assert.deepEqual(found, { ...expected, ...span, type: TYPE.tmemPages }, `seed ${seed}`);

    const handles = objects.map((word, i) => ({ object: [word, BigInt(9 - i), 3n] as const, index: pages[i] }));
    for (const scope of ['pages', 'objects'] as const) {
      const record = new TmemInvalidate(bodyOf(encodeTmemInvalidate(6n, scope, handles)), POOL);
      const entry = indexEntryOf(headerOf(TYPE.tmemInvalidate), record);
      const indexes = scope === 'pages' ? span : { indexLow: 0, indexHigh: 0 };
      assert.deepEqual(entry, { ...expected, ...indexes, type: TYPE.tmemInvalidate }, `seed ${seed}`);
    }
  }
  const whole = new TmemInvalidate(bodyOf(encodeTmemInvalidate(6n, 'pool', [])), POOL);
  const entry = indexEntryOf(headerOf(TYPE.ephemeralInvalidate), whole);
  assert.deepEqual(entry, { ...EMPTY, ...ALL, type: TYPE.ephemeralInvalidate, incarnation: 6n });
});

test('S7: entries of other records', () => {
  const ram = { kind: 'RAM', pages: 9, low: 7, high: 2 ** 52 - 1 } as const;
  const found = indexEntryOf(headerOf(TYPE.ram), ram);
  assert.deepEqual(found, { ...EMPTY, type: TYPE.ram, pages: 9, low: 7n, high: 2n ** 52n - 1n });
  const pool = indexEntryOf(headerOf(TYPE.tmemPool), POOL);
  assert.deepEqual(pool, { ...EMPTY, type: TYPE.tmemPool, incarnation: 6n });
  const round = indexEntryOf(headerOf(TYPE.round), { kind: 'ROUND', round: 4 });
  assert.deepEqual(round, { ...EMPTY, type: TYPE.round });
});

test('S7: a segment says what is in it', () => {
  const entry = (type: number, low = 5n, high = 9n): IndexEntry => ({ ...EMPTY, type, low, high });
  const kindsOf = (...types: number[]): number =>
    segmentOf(
      0,
      types.map((type) => entry(type)),
    ).kinds;
  assert.equal(kindsOf(TYPE.ram), 1);
  for (const type of [TYPE.tmemPages, TYPE.ephemeralPages, TYPE.tmemInvalidate, TYPE.ephemeralInvalidate]) {
    assert.equal(kindsOf(type), 2);
  }
  for (const type of [TYPE.tmemClient, TYPE.tmemPool, TYPE.ephemeralPool, TYPE.disk, TYPE.round, 0x44, 0x8000_0044]) {
    assert.equal(kindsOf(type), 4, `0x${type.toString(16)}`);
  }
  assert.equal(kindsOf(TYPE.ram, TYPE.tmemPages, TYPE.disk, TYPE.ram), 7);
  const segment = segmentOf(77, [entry(TYPE.tmemPages, 1n, 99n), entry(TYPE.ram, 6n, 8n), entry(TYPE.ram, 4n, 7n)]);
  assert.deepEqual(segment, { offset: 77, entries: 3, kinds: 3, low: 4, high: 8 });
  assert.deepEqual(segmentOf(1, [entry(TYPE.disk)]), { offset: 1, entries: 1, kinds: 4, low: 0, high: 0 });
});

test('S7: segments of 4096 entries, and a root that lists them', () => {
  const builder = new IndexBuilder();
  assert.deepEqual([builder.empty, builder.full], [true, false]);
  for (let i = 0; i < LIMITS.indexEntries; i++) {
    assert.equal(builder.full, false, `${i} entries`);
    builder.add({ ...EMPTY, type: TYPE.ram, offset: i, low: BigInt(i), high: BigInt(i) });
    assert.equal(builder.empty, false);
  }
  assert.equal(builder.full, true);
  const { entries } = decodeIndex(bodyOf(builder.takeSegment(1000)));
  assert.deepEqual([entries.length, entries[4095].offset], [4096, 4095]);
  assert.deepEqual([builder.empty, builder.full], [true, false]);
  builder.add({ ...EMPTY, type: TYPE.disk });
  builder.takeSegment(2000);
  assert.deepEqual(decodeIndexRoot(bodyOf(builder.root())).segments, [
    { offset: 1000, entries: 4096, kinds: 1, low: 0, high: 4095 },
    { offset: 2000, entries: 1, kinds: 4, low: 0, high: 0 },
  ]);
  const unlisted = [TYPE.about, TYPE.seal, TYPE.barrier, TYPE.end, TYPE.index, TYPE.indexRoot] as readonly number[];
  for (const type of [...Object.values(TYPE), 0x4000]) assert.equal(isListed(type), !unlisted.includes(type));
});
