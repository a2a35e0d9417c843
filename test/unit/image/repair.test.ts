import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { repairFile } from '../../../src/host/repair-file.ts';
import { diffImages } from '../../../src/image/diff/diff-images.ts';
import type { RangeList } from '../../../src/image/diff/result.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import { repairImage, type RepairMode, type RepairReport } from '../../../src/image/repair/repair-image.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { openFileSource } from '../../../src/io/file.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { spool } from '../../../src/io/spool.ts';
import { random } from '../../support/random.ts';
import { offsetsOf, takeApart } from '../../support/raw-stream.ts';
import { sampleImage, sampleModel, writeSample } from '../../support/sample-image.ts';
import { decoded, PAGE, somePages, written } from '../../support/streams.ts';
import { EXPECTED, imageBytes, missing } from '../../support/xen/corpus.ts';
import { testSeed } from '../../support/seed.ts';

async function repaired(
  bytes: Uint8Array,
  mode: RepairMode,
): Promise<{ readonly report: RepairReport; readonly output: Uint8Array }> {
  const sink = new MemorySink();
  const report = await repairImage(memorySource(bytes, 'image'), sink, {
    mode,
    spool,
    streamId: new Uint8Array(16).fill(3),
    codec: CODEC.zstd,
    about: { tool: { name: 'test', version: '1' } },
  });
  return { report, output: sink.bytes() };
}

/** All pages of an image, by pfn. */
async function pagesOf(bytes: Uint8Array): Promise<Map<number, Uint8Array>> {
  const image = await openImage(memorySource(bytes, 'image'));
  const pages = new Map<number, Uint8Array>();
  for await (const batch of image.memory.batches()) {
    for (let page = 0; page < batch.pages; page++) {
      pages.set(batch.firstPfn + page, batch.bytes.slice(page * PAGE, (page + 1) * PAGE));
    }
  }
  return pages;
}

function pfnsOf({ first }: RangeList): Set<number> {
  return new Set(first.flatMap(({ firstPfn, pages }) => Array.from({ length: pages }, (_, i) => firstPfn + i)));
}

/** What a salvage promises, whatever the damage: the output is sound, and what is not as it was is in the map. */
async function checkSalvage(
  bytes: Uint8Array,
  original: ReadonlyMap<number, Uint8Array>,
  what: string,
): Promise<RepairReport> {
  const { report, output } = await repaired(bytes, 'salvage');
  const { verdict, errors } = await verifyImage([memorySource(output, 'output')]);
  assert.deepEqual([verdict, errors], ['sound', []], what);
  assert.equal(decoded(output, () => undefined, { knows: 'all' }).preamble!.kind, 'core', what);
  const { memory, unknownLost, cutAt } = report.map!;
  const found = await pagesOf(output);
  assert.equal(memory.pages, found.size, what);
  const gone = pfnsOf(memory.missing);
  const perhaps = pfnsOf(memory.perhapsMissing);
  const doubtful = pfnsOf(memory.doubtful);
  for (const [pfn, page] of original) {
    const salvaged = found.get(pfn);
    if (salvaged === undefined)
      assert.ok(gone.has(pfn) || perhaps.has(pfn) || unknownLost || cutAt !== null, `${what}: ${pfn}`);
    else if (!doubtful.has(pfn)) assert.deepEqual(salvaged, page, `${what}: ${pfn}`);
  }
  for (const pfn of [...gone, ...perhaps]) assert.ok(!found.has(pfn), what);
  for (const pfn of found.keys()) assert.ok(original.has(pfn), what);
  return report;
}

const sample = await sampleImage(sampleModel(), { codec: CODEC.zstd });
const raw = takeApart(sample);
const offsets = offsetsOf(raw);
const original = await pagesOf(sample);
const TYPES: Readonly<Record<number, string>> = {
  0x01: 'ABOUT',
  0x03: 'SEAL',
  0x06: 'CHECKPOINT',
  0x07: 'END',
  0x8000_0008: 'INDEX',
  0x8000_0009: 'INDEX_ROOT',
  0x10: 'RAM',
  0x20: 'VCPU_X86',
  0x21: 'VCPU_STATE',
  0x22: 'X86_CPUID',
  0x23: 'X86_MSR',
  0x30: 'DEVICE',
  0x31: 'DEVICE_DATA',
  0x32: 'DISK',
  0x40: 'TMEM_CLIENT',
  0x41: 'TMEM_POOL',
  0x42: 'TMEM_PAGES',
};

function flipped(at: number, bytes = sample): Uint8Array {
  const copy = bytes.slice();
  copy[at] ^= 0x10;
  return copy;
}

test('the sample has every kind of record that these tests damage', () => {
  assert.deepEqual(
    new Set(raw.records.map(({ type }) => TYPES[type] ?? type.toString(16))),
    new Set(Object.values(TYPES)),
  );
});

test('a salvage of a whole image has all of it, and says that nothing was wrong', async () => {
  const report = await checkSalvage(sample, original, 'whole');
  assert.deepEqual([report.wasWhole, report.verdict, report.map!.skipped], [true, 'will-not-restore', []]);
  const { output } = await repaired(sample, 'salvage');
  const [a, b] = [await openImage(memorySource(sample, 'a')), await openImage(memorySource(output, 'b'))];
  assert.deepEqual((await diffImages(a, b)).differing, []);
});

for (const [i, { type, body }] of raw.records.entries()) {
  const name = `${TYPES[type]} (record ${i})`;
  test(`a damaged header: ${name}`, async () => {
    for (const at of [0, 5, 9, 13, 17, 22]) {
      const report = await checkSalvage(flipped(offsets[i] + at), original, `${name}+${at}`);
      const { map } = report;
      // Pages of a pool that is lost are lost too.
      assert.equal(map!.skippedCount, type === 0x41 ? 2 : 1);
      assert.equal(map!.skipped[0].offset, offsets[i]);
      // The index says which pages a lost record named, and a batch is found by its own head.
      if (type === 0x10) assert.deepEqual([map!.memory.pages, map!.unknownLost], [original.size, false]);
      // Of the seal, and of END, nothing is lost, and the index knows it.
      if (type === 0x03) assert.equal(map!.unknownLost, false);
      if (type === 0x8000_0009) assert.equal(report.wasWhole, true);
    }
  });

  test(`a damaged body: ${name}`, async () => {
    const places = [0, body.byteLength >> 1, body.byteLength - 1];
    for (const place of new Set(places)) {
      const { map } = await checkSalvage(flipped(offsets[i] + 24 + place), original, `${name} body ${place}`);
      assert.equal(map!.skippedCount, type === 0x41 ? 2 : 1);
      assert.equal(map!.skipped[0].record?.name, TYPES[type]);
      if (type === 0x31 || type === 0x30) assert.equal(map!.devices.lost.length, 1);
      if (type === 0x42) assert.deepEqual([map!.tmem!.lostRecords, map!.tmem!.doubtful], [1, true]);
      if (type === 0x20) assert.deepEqual([map!.vcpus, map!.statesDoubtful], [1, true]);
    }
  });

  test(`a lost record: ${name}`, async () => {
    const bytes = new Uint8Array(Buffer.concat([sample.subarray(0, offsets[i]), sample.subarray(offsets[i + 1])]));
    const { wasWhole } = await checkSalvage(bytes, original, name);
    assert.equal(wasWhole, type === 0x8000_0009);
  });

  test(`a doubled record, and one of another stream: ${name}`, async () => {
    const record = sample.subarray(offsets[i], offsets[i + 1]);
    const doubled = Buffer.concat([sample.subarray(0, offsets[i + 1]), record, sample.subarray(offsets[i + 1])]);
    const again = await checkSalvage(new Uint8Array(doubled), original, name);
    assert.equal(again.map!.memory.doubtful.pages, 0);
    assert.equal(again.map!.memory.pages, original.size);
    const stranger = (
      await sampleImage({ ...sampleModel(), preamble: { domainType: 'pv', streamId: new Uint8Array(16) } })
    ).subarray(128, 128 + 400);
    const joined = Buffer.concat([sample.subarray(0, offsets[i]), stranger, sample.subarray(offsets[i])]);
    const foreign = await checkSalvage(new Uint8Array(joined), original, name);
    assert.equal(foreign.map!.memory.pages, original.size);
    assert.equal(foreign.map!.skipped[0].code, 'RECORD_FOREIGN');
  });
}

test('a unit that is damaged costs its pages, and no others', async () => {
  const at = raw.records.findIndex(({ type }) => type === 0x10);
  const end = offsets[at] + 24 + raw.records[at].body.byteLength;
  const { map } = await checkSalvage(flipped(end - 5), original, 'unit');
  assert.ok(map!.memory.missing.pages > 0 && map!.memory.missing.pages <= 64);
  assert.equal(map!.memory.missing.pages + map!.memory.pages, original.size);
  assert.ok(map!.skipped[0].savedPages > 0);
});

test('a byte of the preamble is put right', async () => {
  for (const at of [0, 3, 14, 22, 45, 100, 124, 127]) {
    const { map } = await checkSalvage(flipped(at), original, `preamble ${at}`);
    assert.deepEqual([map!.mendedAt, map!.memory.pages], [at, original.size]);
  }
  const twice = flipped(50, flipped(20));
  await assert.rejects(repaired(twice, 'salvage'), { code: 'PREAMBLE_CHECKSUM' });
});

test('an image that was cut, anywhere', async () => {
  const seed = testSeed();
  const generator = random(seed);
  const cuts = [...offsets, ...Array.from({ length: 25 }, () => 129 + generator.below(sample.byteLength - 129))];
  for (const cut of cuts) {
    const bytes = sample.slice(0, cut);
    if (cut < offsets[1]) {
      await assert.rejects(repaired(bytes, 'salvage'), TransmigrateError);
      continue;
    }
    await checkSalvage(bytes, original, `cut at ${cut}, SEED=${seed}`);
  }
});

test('random damage of every kind: never a wrong page that the map does not name', async () => {
  const seed = testSeed();
  const generator = random(seed);
  for (let turn = 0; turn < 25; turn++) {
    const bytes = sample.slice();
    for (let i = 1 + generator.below(6); i > 0; i--) {
      const at = 128 + generator.below(bytes.byteLength - 128);
      generator.scramble(bytes.subarray(at, at + 1 + generator.below(generator.below(3) === 0 ? 5000 : 8)));
    }
    await checkSalvage(bytes, original, `SEED=${seed}, turn ${turn}`);
  }
});

test('a page that was sent again, in a record that is lost, is doubtful', async () => {
  const first = somePages(300, 'round-0');
  const second = somePages(300, 'round-1');
  const bytes = await written(
    async (writer) => {
      await writer.ram(0, 300, first);
      await writer.round();
      await writer.ram(100, 50, second);
      await writer.round();
    },
    { kind: 'migration', domainType: 'pv' },
  );
  const apart = takeApart(bytes);
  const places = offsetsOf(apart);
  const at = apart.records.findLastIndex(({ type }) => type === 0x10);
  const pages = await pagesOf(bytes);
  // The body, the head's checksum: nothing but the index knows which pages it named.
  const { map } = await checkSalvage(flipped(places[at] + 24 + 16, bytes), pages, 'the second round');
  assert.deepEqual(map!.memory.doubtful, { pages: 50, ranges: 1, first: [{ firstPfn: 100, pages: 50 }] });
  assert.equal(map!.unknownLost, false);
  // Without the record nobody knows, but that something is missing.
  const lost = new Uint8Array(Buffer.concat([bytes.subarray(0, places[at]), bytes.subarray(places[at + 1])]));
  assert.equal((await checkSalvage(lost, pages, 'lost')).map!.memory.doubtful.pages, 300);
  // Behind a cut there may be anything.
  assert.equal((await checkSalvage(bytes.slice(0, places[at]), pages, 'cut')).map!.memory.doubtful.pages, 300);
});

test('an index that is damaged or missing is written anew', async () => {
  const indexAt = offsets[raw.records.findIndex(({ type }) => type === 0x8000_0008)];
  const rootAt = offsets[raw.records.findIndex(({ type }) => type === 0x8000_0009)];
  const without = await sampleImage({ ...sampleModel(), preamble: { domainType: 'pv', indexed: false } });
  const inputs: readonly (readonly [string, Uint8Array, boolean])[] = [
    ['whole', sample, true],
    ['the body of INDEX', flipped(indexAt + 40), false],
    ['the header of INDEX_ROOT', flipped(rootAt + 3), false],
    ['the body of INDEX_ROOT', flipped(rootAt + 30), false],
    ['the footer', flipped(sample.byteLength - 10), true],
    ['cut in the footer', sample.slice(0, -3), true],
    ['cut in INDEX_ROOT', sample.slice(0, rootAt + 10), false],
    ['cut before INDEX_ROOT', sample.slice(0, rootAt), false],
    ['no index', without, false],
  ];
  const expected = await openImage(memorySource(sample, 'sample'));
  for (const [name, bytes, wasWhole] of inputs) {
    const { report, output } = await repaired(bytes, 'index');
    assert.deepEqual([report.verdict, report.map], ['restores', null], name);
    if (!name.includes('footer')) assert.equal(report.wasWhole, wasWhole, name);
    const verification = await verifyImage([memorySource(output, 'output')]);
    assert.deepEqual([verification.verdict, verification.warnings], ['sound', []], name);
    const opened = await openImage(memorySource(output, 'output'));
    assert.deepEqual((await diffImages(expected, opened)).differing, [], name);
    // Its records are those of the input.
    const kinds = (stream: Uint8Array): number[] =>
      takeApart(stream).records.flatMap(({ type }) => (type === 0x03 || type >= 0x8000_0008 ? [] : [type]));
    assert.deepEqual(kinds(output), kinds(sample), name);
  }
});

test('an index is not written anew where records are damaged', async () => {
  for (const [i, { type }] of raw.records.entries()) {
    if (type >= 0x8000_0000) continue;
    const body = flipped(offsets[i] + 24);
    await assert.rejects(repaired(body, 'index'), (error) => {
      assert.ok(error instanceof TransmigrateError);
      assert.match(error.next, /--salvage/);
      return true;
    });
    const lost = Buffer.concat([sample.subarray(0, offsets[i]), sample.subarray(offsets[i + 1])]);
    await assert.rejects(repaired(new Uint8Array(lost), 'index'), TransmigrateError);
    if (type !== 0x07) await assert.rejects(repaired(sample.slice(0, offsets[i]), 'index'), TransmigrateError);
  }
  const xl = imageBytes('xen-4.17-pv-tiny64-4m.xl');
  await assert.rejects(repaired(xl, 'index'), { code: 'UNSUPPORTED_FEATURE' });
});

test('an image of ours that is cut behind a checkpoint is that machine again', async () => {
  const model = sampleModel();
  let checkpointEnd = 0;
  const bytes = await written(
    async (writer) => {
      await writeSample(writer, model);
      await writer.checkpoint();
      checkpointEnd = writer.offset;
      await writer.ram(0, 70, somePages(70, 'later'));
    },
    { domainType: 'pv' },
  );
  const whole = await openImage(memorySource(sample, 'sample'));
  for (const cut of [checkpointEnd + 1, checkpointEnd + 5000, checkpointEnd + 50_000]) {
    const { report, output } = await repaired(bytes.slice(0, cut), 'to-checkpoint');
    assert.deepEqual([report.verdict, report.wasWhole, report.checkpointAt], ['restores', false, checkpointEnd]);
    assert.equal((await verifyImage([memorySource(output, 'output')])).verdict, 'sound');
    const opened = await openImage(memorySource(output, 'output'));
    assert.deepEqual((await diffImages(whole, opened)).differing, []);
  }
  await assert.rejects(repaired(bytes.slice(0, checkpointEnd - 1), 'to-checkpoint'), { code: 'NO_CHECKPOINT' });
});

const REMUS = 'xen-4.17-pv-tiny64-4m.remus';

test(
  'a checkpointed stream of Xen that is cut is the machine of its last checkpoint',
  { skip: missing(REMUS) },
  async () => {
    const bytes = imageBytes(REMUS);
    const [checkpoint] = EXPECTED[REMUS].checkpoints!;
    const { report, output } = await repaired(bytes.slice(0, checkpoint.end + 1000), 'to-checkpoint');
    assert.deepEqual([report.checkpointAt, report.wasWhole], [checkpoint.end, false]);
    const verification = await verifyImage([memorySource(output, 'output')], { digest: true });
    assert.equal(verification.memory!.sha256, checkpoint.memory);
  },
);

test('an image of Xen that is damaged is exported up to the damage', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
  const pages = await pagesOf(bytes);
  for (const cut of [bytes.byteLength >> 1, bytes.byteLength - 3000]) {
    const report = await checkSalvage(bytes.slice(0, cut), pages, `cut at ${cut}`);
    assert.deepEqual([report.wasWhole, report.map!.cutAt], [false, cut]);
    assert.ok(report.map!.memory.pages > 100);
    assert.equal(report.map!.memory.doubtful.pages, report.map!.memory.pages);
  }
  const report = await checkSalvage(bytes, pages, 'whole');
  assert.deepEqual([report.wasWhole, report.map!.memory.doubtful.pages], [true, 0]);
  // Before the machine is known there is nothing to be saved.
  await assert.rejects(repaired(bytes.slice(0, 100), 'salvage'), TransmigrateError);
});

test('an image inside of a compression that is cut', async () => {
  const packed = zstdCompressSync(sample);
  const { report } = await repaired(new Uint8Array(packed.subarray(0, packed.byteLength >> 1)), 'salvage');
  assert.ok(report.map!.memory.pages > 50);
  assert.deepEqual(report.nesting, ['zstd', 'tmig']);
});

const directory = mkdtempSync(join(tmpdir(), 'tmig-repair-'));
after(() => rmSync(directory, { recursive: true, force: true }));

test('the output is whole or absent, the input is only read, and the map is a file', async () => {
  const input = join(directory, 'bad.tmig');
  const output = join(directory, 'core.tmig');
  const map = join(directory, 'map.json');
  const bytes = flipped(offsets[1] + 30);
  writeFileSync(input, bytes);
  const options = { mode: 'salvage', input, output, map, tool: { name: 'test', version: '1' } } as const;
  const report = await repairFile(await openFileSource(input), options);
  assert.deepEqual(JSON.parse(readFileSync(map, 'utf8')), JSON.parse(JSON.stringify(report.map)));
  assert.equal(readFileSync(output).byteLength, report.bytes);
  assert.deepEqual(new Uint8Array(readFileSync(input)), bytes);
  for (const own of [{ output: input }, { map: input }, { map: output }]) {
    const source = await openFileSource(input);
    await assert.rejects(repairFile(source, { ...options, ...own }), { code: 'USAGE' });
    await source.close();
  }
  assert.deepEqual(new Uint8Array(readFileSync(input)), bytes);
  const other = join(directory, 'other.tmig');
  await assert.rejects(
    repairFile(await openFileSource(input), { ...options, mode: 'index', map: null, output: other }),
    {
      code: 'BODY_CHECKSUM',
    },
  );
  assert.ok(!existsSync(other));
});

test('a restore refuses what a salvage writes', async () => {
  const { output } = await repaired(sample, 'salvage');
  const { readClaims } = await import('../../../src/migrate/restore/image-claims.ts');
  const { preamble } = decoded(output);
  assert.throws(() => readClaims(preamble!, {}), { code: 'IMAGE_UNFIT' });
});
