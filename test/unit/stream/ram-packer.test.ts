import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { UnitPool } from '../../../src/codec/unit-pool.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { assertClass, BATCH_BYTES, RamPacker } from '../../../src/stream/ram-packer.ts';
import { HEADER_BYTES } from '../../../src/stream/record-header.ts';
import { PAGE_CLASS, RamBatch } from '../../../src/stream/records/ram.ts';
import { random } from '../../support/random.ts';
import { PAGE } from '../../support/streams.ts';

const WHERE = { offset: 0, path: 'batch', section: '7' };

/** Pages from letters: `n` is noise, `t` text that gets smaller, `0` nothing. */
function pagesOf(letters: string): Uint8Array {
  const bytes = new Uint8Array(letters.length * PAGE);
  for (const [page, letter] of letters.split('').entries()) {
    const at = bytes.subarray(page * PAGE, (page + 1) * PAGE);
    if (letter === 'n') random(`noise ${page}`).scramble(at);
    else if (letter === 't') at.fill(1 + (page % 200));
  }
  return bytes;
}

function packed(compress: boolean, letters: string): RamPacker {
  const packer = new RamPacker(PAGE, compress, false);
  assert.equal(packer.add(100, letters.length, 0, pagesOf(letters), 0), letters.length);
  return packer;
}

/** The units of a plan, as pages and whether they are compressed. */
function unitsOf(packer: RamPacker): string[] {
  const { plan } = packer.plan(CODEC.zstd, undefined);
  const units: string[] = [];
  for (let i = 0; i < plan.length; i += 2) units.push(`${plan[i] / PAGE}${plan[i + 1] === CODEC.zstd ? 't' : 'n'}`);
  return units;
}

async function finished(packer: RamPacker, codec: typeof CODEC.raw | typeof CODEC.zstd): Promise<RamBatch> {
  const job = packer.plan(codec, undefined);
  const result = await UnitPool.shared(0).run(job);
  const { record, length, checksum } = packer.finish(job.plan, result);
  const body = record.subarray(HEADER_BYTES, HEADER_BYTES + length);
  const batch = new RamBatch(body, length, PAGE, WHERE);
  assert.deepEqual(batch.checksums(record.subarray(HEADER_BYTES)), { body: checksum, wrongUnit: -1 });
  // Reserved fields are zero on write: of the head, of each extent, of each unit.
  const units = batch.headLength - 16 * batch.units;
  const reserved = [
    [20, 4],
    ...Array.from({ length: batch.extents }, (_, i) => [24 + 16 * i + 13, 3]),
    ...Array.from({ length: batch.units }, (_, i) => [units + 16 * i + 11, 5]),
  ];
  for (const [at, bytes] of reserved) {
    assert.ok(
      body.subarray(at, at + bytes).every((byte) => byte === 0),
      `reserved bytes at ${at}`,
    );
  }
  assert.ok(
    record.subarray(HEADER_BYTES + length).every((byte) => byte === 0),
    'padding is zero',
  );
  return batch;
}

test('S8: what compresses and what does not stand in units of their own, but for short runs', () => {
  const cases: readonly [string, string[]][] = [
    ['tttt', ['4t']],
    ['nnnn', ['4n']],
    ['n', ['1n']],
    ['nnn', ['3n']],
    ['ttttnnnn', ['4t', '4n']],
    ['nnnntttt', ['4n', '4t']],
    ['tnnnnt', ['1t', '4n', '1t']],
    // Three or fewer that do not compress go with their neighbours, wherever these are.
    ['ttnnntt', ['7t']],
    ['nnntt', ['5t']],
    ['ttnnn', ['5t']],
    ['nt', ['2t']],
    ['tn', ['2t']],
    ['nnnntnnnn', ['4n', '1t', '4n']],
    ['0tt00nnn0t', ['6t']],
  ];
  for (const [letters, expected] of cases) assert.deepEqual(unitsOf(packed(true, letters)), expected, letters);
  // At most 256 KiB of one kind.
  assert.deepEqual(unitsOf(packed(true, 't'.repeat(130))), ['64t', '64t', '2t']);
  assert.deepEqual(unitsOf(packed(true, `${'t'.repeat(66)}${'n'.repeat(65)}`)), ['64t', '2t', '64n', '1n']);
  assert.deepEqual(
    unitsOf(packed(false, 't'.repeat(65))),
    ['64n', '1n'],
    'nothing is compressed when it is not asked for',
  );
});

test('S8: classes, gaps and counts of a batch', async () => {
  const packer = new RamPacker(PAGE, true, false);
  assert.equal(packer.empty, true);
  const far = 2 ** 52 - 3;
  assert.equal(packer.add(3, 4, PAGE_CLASS.ordinary, pagesOf('t0tn'), 0), 4);
  assert.equal(packer.add(7, 1, PAGE_CLASS.ordinary, pagesOf('t'), 0), 1);
  assert.equal(packer.add(8, 1, PAGE_CLASS.table1, pagesOf('t'), 0), 1);
  assert.equal(packer.addAbsent(9, 5, PAGE_CLASS.ballooned), 5);
  assert.equal(packer.addAbsent(14, 2, PAGE_CLASS.broken), 2);
  assert.equal(packer.add(2 ** 33 + 5, 2, PAGE_CLASS.ordinary, pagesOf('00'), 0), 2);
  assert.equal(packer.add(far, 1, PAGE_CLASS.ordinary, pagesOf('xn'), PAGE), 1);
  // What lies below asks for a new batch.
  assert.equal(packer.add(far, 1, PAGE_CLASS.ordinary, pagesOf('t'), 0), 0);
  assert.equal(packer.add(10, 1, PAGE_CLASS.ordinary, pagesOf('t'), 0), 0);
  assert.equal(packer.addAbsent(10, 1, PAGE_CLASS.broken), 0);
  assert.deepEqual([packer.empty, packer.pages, packer.dataPages, packer.zeroPages], [false, 16, 9, 3]);
  assert.deepEqual([packer.low, packer.high], [3, far]);
  const batch = await finished(packer, CODEC.zstd);
  const extents = Array.from({ length: batch.extents }, (_, i) => [
    batch.extentFirst(i),
    batch.extentPages(i),
    batch.extentClass(i),
  ]);
  assert.deepEqual(extents, [
    [3, 5, 0],
    [8, 1, 1],
    [9, 5, 0x83],
    [14, 2, 0x82],
    [2 ** 33 + 5, 2, 0],
    [far, 1, 0],
  ]);
  assert.deepEqual([batch.pages, batch.dataPages, batch.zeroPages], [16, 9, 3]);
  const content = new Map<number, Uint8Array | null>();
  batch.visit(
    {
      data: (first, pages, _class, source, at) => {
        for (let i = 0; i < pages; i++) content.set(first + i, source.slice(at + i * PAGE, at + (i + 1) * PAGE));
      },
      zero: (first, pages) => {
        for (let i = 0; i < pages; i++) content.set(first + i, null);
      },
      absent: () => undefined,
    },
    new Uint8Array(LIMITS.unitBytes),
  );
  const start = pagesOf('t0tn');
  assert.deepEqual(content.get(3), start.subarray(0, PAGE));
  assert.equal(content.get(4), null);
  assert.deepEqual(content.get(6), start.subarray(3 * PAGE));
  assert.deepEqual(content.get(far), pagesOf('xn').subarray(PAGE));
  assert.equal(content.size, 9);
});

test('S8: a batch takes so much and no more: bytes, pages, extents', async () => {
  const full = new RamPacker(PAGE, false, false);
  const pages = BATCH_BYTES / PAGE;
  assert.equal(full.add(0, 2 * pages, 0, pagesOf('t'.repeat(2 * pages)), 0), pages);
  assert.equal(full.add(pages, 1, 0, pagesOf('t'), 0), 0, 'nothing that has bytes');
  assert.equal(full.add(pages, 3, 0, pagesOf('00t'), 0), 2, 'zero pages cost a bit');
  assert.equal(full.add(pages + 5, 1, 0, pagesOf('t'), 0), 0);
  assert.equal(full.pages, pages + 2);
  assert.equal((await finished(full, CODEC.raw)).extents, 1, 'the extent that took nothing is gone');

  const zeros = new RamPacker(PAGE, false, false);
  const many = new Uint8Array((LIMITS.ramPages + 1) * 16);
  const small = new RamPacker(16, false, false);
  assert.equal(small.add(0, LIMITS.ramPages + 1, 0, many, 0), LIMITS.ramPages);
  assert.equal(small.add(LIMITS.ramPages, 1, 0, many, 0), 0);
  assert.equal(zeros.addAbsent(0, 60_000, 0x80), 60_000);
  assert.equal(zeros.addAbsent(60_000, 60_000, 0x80), LIMITS.ramPages - 60_000);
  assert.equal(zeros.addAbsent(70_000, 1, 0x80), 0);

  const scattered = new RamPacker(PAGE, false, false);
  let taken = 0;
  while (scattered.addAbsent(2 * taken, 1, 0x80) === 1) taken++;
  assert.equal(taken, 2048);
  assert.equal(scattered.addAbsent(2 * taken - 1, 1, 0x80), 1, 'the last extent still grows');
  assert.equal((await finished(scattered, CODEC.raw)).extents, 2048);
});

test('a packer that is used again remembers nothing', async () => {
  const packer = packed(true, '0'.repeat(70) + 'tn0'.repeat(20));
  const first = await finished(packer, CODEC.zstd);
  assert.equal(first.zeroPages, 90);
  packer.reset();
  assert.deepEqual([packer.empty, packer.pages, packer.dataPages, packer.zeroPages], [true, 0, 0, 0]);
  assert.equal(packer.add(5, 2, 0, pagesOf('tt'), 0), 2);
  assert.deepEqual([packer.low, packer.high, packer.pages, packer.dataPages], [5, 6, 2, 2]);
  const again = await finished(packer, CODEC.zstd);
  assert.deepEqual([again.extents, again.pages, again.dataPages, again.zeroPages], [1, 2, 2, 0]);
  const fresh = new RamPacker(PAGE, true, false);
  fresh.add(5, 2, 0, pagesOf('tt'), 0);
  const [a, b] = [packer, fresh].map((each) => each.plan(CODEC.zstd, undefined));
  assert.deepEqual(a.plan, b.plan);
  const [one, two] = [
    packer.finish(a.plan, await UnitPool.shared(0).run(a)),
    fresh.finish(b.plan, await UnitPool.shared(0).run(b)),
  ];
  assert.deepEqual(
    one.record.slice(HEADER_BYTES),
    two.record.slice(HEADER_BYTES),
    'the same bytes, padding among them',
  );
});

test('a class says whether its pages have data', () => {
  for (const pageClass of Object.values(PAGE_CLASS)) {
    const withData = pageClass < 0x80;
    assertClass(pageClass, withData);
    assert.throws(() => assertClass(pageClass, !withData), RangeError);
  }
});
