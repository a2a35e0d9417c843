import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { convertToTmig } from '../../../src/image/convert/to-tmig.ts';
import { diffImages, type DiffOptions } from '../../../src/image/diff/diff-images.ts';
import type { Part } from '../../../src/image/diff/parts.ts';
import type { ImageDiff } from '../../../src/image/diff/result.ts';
import { identifyImage } from '../../../src/image/identify/identify.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import { openPipeSource } from '../../../src/io/pipe.ts';
import { Readable } from 'node:stream';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { spool } from '../../../src/io/spool.ts';
import { random } from '../../support/random.ts';
import { sampleImage, sampleModel, type SampleModel } from '../../support/sample-image.ts';
import { PAGE } from '../../support/streams.ts';
import { imageBytes, missing } from '../../support/xen/corpus.ts';
import { testSeed } from '../../support/seed.ts';

async function diff(a: Uint8Array, b: Uint8Array, options: DiffOptions = {}): Promise<ImageDiff> {
  const [one, other] = [await openImage(memorySource(a, 'a')), await openImage(memorySource(b, 'b'))];
  try {
    return await diffImages(one, other, options);
  } finally {
    await Promise.all([one.close(), other.close()]);
  }
}

async function converted(bytes: Uint8Array, codec: number = CODEC.zstd): Promise<Uint8Array> {
  const { format, image } = await identifyImage(memorySource(bytes, 'image'));
  const sink = new MemorySink();
  await convertToTmig(format, image, sink, {
    streamId: new Uint8Array(16).fill(9),
    codec: codec as (typeof CODEC)['zstd'],
    about: { tool: { name: 'test', version: '1' } },
    origin: true,
  });
  return sink.bytes();
}

for (const name of [
  'xen-4.17-pv-tiny64-4m.xl',
  'xen-4.17-pv-tiny32-4m-lostpage.xl',
  'xen-4.17-hvm-seabios-16m.xl',
  'xen-4.17-hvm-seabios-8m-physmap.xl',
]) {
  test(`${name} is the same as itself, and as what it is converted into`, { skip: missing(name) }, async () => {
    const bytes = imageBytes(name);
    const own = await diff(bytes, bytes);
    assert.deepEqual([own.same, own.differing], [true, []]);
    assert.ok(own.memory!.same > 1000 && own.vcpus!.both[0].compared > 20);
    const ours = await diff(bytes, await converted(bytes));
    assert.deepEqual([ours.same, ours.differing], [true, []]);
    assert.deepEqual(
      ours.notCompared.map(({ part, in: side }) => [part, side]),
      [
        ['disks', 'a'],
        ['tmem', 'a'],
      ],
    );
    assert.equal(ours.memory!.same, own.memory!.same);
  });
}

test('an image of ours is the same as its conversion in another codec, with tmem and disks', async () => {
  const bytes = await sampleImage();
  const result = await diff(bytes, await converted(bytes, CODEC.lz4));
  assert.deepEqual([result.same, result.differing, result.notCompared], [true, [], []]);
  assert.equal(result.memory!.same, 374);
  assert.equal(result.tmem!.same, 4);
  assert.deepEqual(
    result.vcpus!.both.map(({ compared, onlyA, onlyB }) => [compared, onlyA, onlyB]),
    [
      [18 + 4 + 1 + 32 + 4, [], []],
      [18 + 4 + 1 + 32 + 4, [], []],
    ],
  );
});

/** One change of the model, the part that it is in, and what must be said of it. */
const PLANTED: Readonly<
  Record<string, readonly [part: Part, change: (model: SampleModel) => void, said: (diff: ImageDiff) => void]>
> = {
  'a byte of a page': [
    'memory',
    ({ memory }) => (memory[2].bytes[7 * PAGE + 4000] ^= 1),
    ({ memory }) => {
      assert.deepEqual(memory!.different.first, [{ firstPfn: 0x107, pages: 1 }]);
      assert.deepEqual(memory!.bytes, [{ pfn: 0x107, bytes: 1, spans: [{ offset: 4000, bytes: 1 }] }]);
      assert.equal(memory!.same, 373);
    },
  ],
  'the last byte of memory': [
    'memory',
    ({ memory }) => (memory[2].bytes[300 * PAGE - 1] ^= 0x80),
    ({ memory }) => assert.deepEqual(memory!.different.first, [{ firstPfn: 0x100 + 299, pages: 1 }]),
  ],
  'a page more': [
    'memory',
    ({ memory }) => memory.push({ firstPfn: 0x900, pageClass: 0, bytes: new Uint8Array(PAGE) }),
    ({ memory }) => {
      assert.deepEqual(memory!.onlyB, { pages: 1, ranges: 1, first: [{ firstPfn: 0x900, pages: 1 }], zeroPages: 1 });
      assert.deepEqual(memory!.onlyA.pages, 0);
    },
  ],
  'pages fewer': [
    'memory',
    ({ memory }) => memory.shift(),
    ({ memory }) => assert.deepEqual(memory!.onlyA.first, [{ firstPfn: 0, pages: 70 }]),
  ],
  'a class': [
    'classes',
    ({ memory }) => (memory[1].pageClass = 2),
    ({ memory }) => assert.deepEqual(memory!.classes!.first, [{ firstPfn: 70, pages: 4, a: 1, b: 2 }]),
  ],
  'the class of pages that are not there': [
    'classes',
    ({ absent }) => (absent[0].pageClass = 0x83),
    ({ memory }) => assert.deepEqual(memory!.classes!.first, [{ firstPfn: 80, pages: 5, a: 0x80, b: 0x83 }]),
  ],
  'a register': [
    'vcpus',
    ({ vcpus }) => (vcpus[1].registers.rsp = 0xdead_beef_0000_0001n),
    ({ vcpus }) =>
      assert.deepEqual(vcpus!.both[1].registers, [{ name: 'rsp', a: '0000000000008888', b: 'deadbeef00000001' }]),
  ],
  'a field of a segment': [
    'vcpus',
    ({ vcpus }) => (vcpus[0].segments!.ss.limit = 1),
    ({ vcpus }) => assert.deepEqual(vcpus!.both[0].registers, [{ name: 'ss.limit', a: '000fffff', b: '00000001' }]),
  ],
  'the limit of a table': [
    'vcpus',
    ({ vcpus }) => (vcpus[0].idtr!.limit = 0x7ff),
    ({ vcpus }) => assert.deepEqual(vcpus!.both[0].registers, [{ name: 'idtr.limit', a: '00000fff', b: '000007ff' }]),
  ],
  'a halted processor': [
    'vcpus',
    ({ vcpus }) => (vcpus[0].halted = true),
    ({ vcpus }) => assert.deepEqual(vcpus!.both[0].registers, [{ name: 'halted', a: false, b: true }]),
  ],
  'a processor less': ['vcpus', ({ vcpus }) => vcpus.pop(), ({ vcpus }) => assert.deepEqual(vcpus!.onlyA, [1])],
  'a byte of an FXSAVE image': [
    'vcpuStates',
    ({ states }) => (states[0].content[100] = 0),
    ({ vcpuStates }) => assert.equal(vcpuStates!.both[0].offset, 100),
  ],
  'a state less': [
    'vcpuStates',
    ({ states }) => states.pop(),
    ({ vcpuStates }) => assert.deepEqual(vcpuStates!.onlyA, [{ vcpu: 0, kind: 1 }]),
  ],
  'a feature of leaf 1': [
    'cpuid',
    ({ cpuid }) => (cpuid[0].ecx |= 1 << 28),
    ({ cpuid }) => assert.deepEqual(cpuid!.different[0].bits, [{ bit: 28, name: 'avx', in: 'b' }]),
  ],
  'a feature of leaf 7': [
    'cpuid',
    ({ cpuid }) => (cpuid[1].ebx = 0),
    ({ cpuid }) => assert.deepEqual(cpuid!.different[0].bits, [{ bit: 5, name: 'avx2', in: 'a' }]),
  ],
  'a leaf less': ['cpuid', ({ cpuid }) => cpuid.pop(), ({ cpuid }) => assert.deepEqual(cpuid!.onlyA, ['7:0'])],
  'no policy': [
    'msrs',
    ({ msrs }) => msrs.pop(),
    ({ msrs }) => assert.deepEqual([msrs!.msrs, msrs!.onlyA], [{ a: 1, b: 0 }, ['0000010a']]),
  ],
  'an MSR': [
    'msrs',
    ({ msrs }) => (msrs[0].value = 3n),
    ({ msrs }) =>
      assert.deepEqual(msrs!.different, [
        { index: '0000010a', name: 'ARCH_CAPABILITIES', a: '0000000000000001', b: '0000000000000003' },
      ]),
  ],
  'a byte of a device, beyond its first chunk': [
    'devices',
    ({ devices }) => (devices[0].content[0x10_0003] ^= 1),
    ({ devices }) => assert.equal(devices!.both[0].offset, 0x10_0003),
  ],
  'a longer device': [
    'devices',
    ({ devices }) => (devices[1].content = new Uint8Array([1, 2, 3, 4])),
    ({ devices }) => assert.deepEqual([devices!.both[1].offset, devices!.both[1].bytes], [3, { a: 3, b: 4 }]),
  ],
  'the version of a device': [
    'devices',
    ({ devices }) => (devices[0].version = '1.1'),
    ({ devices }) => assert.deepEqual(devices!.both[0].facts, [{ path: 'version', a: '1.0', b: '1.1' }]),
  ],
  'a device less': [
    'devices',
    ({ devices }) => devices.pop(),
    ({ devices }) => assert.deepEqual(devices!.onlyA, [{ name: 'small', format: 'xen-toolstack', bytes: 3 }]),
  ],
  'the place of a disk': [
    'disks',
    ({ disks }) => (disks[0].locator = '/srv/b'),
    ({ disks }) => assert.deepEqual(disks!.both[0].facts, [{ path: 'locator', a: '/srv/a', b: '/srv/b' }]),
  ],
  'a disk less': ['disks', ({ disks }) => disks.pop(), ({ disks }) => assert.deepEqual(disks!.onlyA, ['hda'])],
  'a byte of a page of tmem': [
    'tmem',
    ({ tmem }) => (tmem[2].content[9] ^= 1),
    ({ tmem }) =>
      assert.deepEqual(tmem!.different, {
        pages: 1,
        first: [{ pool: 3, object: ['2', '7', '0'], index: 10 }],
      }),
  ],
  'another handle': [
    'tmem',
    ({ tmem }) => (tmem[1].index = 99),
    ({ tmem }) => {
      assert.deepEqual(tmem!.onlyA.first, [{ pool: 0, object: ['1', '7', '0'], index: 5 }]);
      assert.deepEqual(tmem!.onlyB.first, [{ pool: 0, object: ['1', '7', '0'], index: 99 }]);
    },
  ],
  'the kind of a pool': [
    'tmem',
    ({ pools }) => (pools[1].objectIdBits = 64),
    ({ tmem }) => assert.deepEqual(tmem!.pools[0], { pool: 3, facts: [{ path: 'objectIdBits', a: 192, b: 64 }] }),
  ],
  'the weight of the client': [
    'tmem',
    ({ client }) => (client.weight = 7),
    ({ tmem }) => assert.deepEqual(tmem!.client, [{ path: 'weight', a: 100, b: 7 }]),
  ],
  'the type of the domain': [
    'head',
    (model) => (model.preamble = { domainType: 'emulated-tmem' }),
    ({ head }) => assert.deepEqual(head, [{ path: 'domainType', a: 'pv', b: 'emulated-tmem' }]),
  ],
};

for (const [name, [part, change, said]] of Object.entries(PLANTED)) {
  test(`one change is found, and nothing else: ${name}`, async () => {
    const model = sampleModel();
    change(model);
    // Object ids of 64 bits have no second word.
    for (const page of model.tmem) {
      if (model.pools.find(({ incarnation }) => incarnation === page.incarnation)?.objectIdBits === 64) {
        page.object = [page.object[0], 0, 0, 0, 0, 0];
      }
    }
    const result = await diff(await sampleImage(), await sampleImage(model, { codec: CODEC.lz4 }), { bytes: true });
    assert.deepEqual(result.differing, [part]);
    assert.equal(result.same, false);
    said(result);
  });
}

test('registers that only one image knows are said, and do not count', async () => {
  const model = sampleModel();
  delete model.vcpus[0].registers.efer;
  model.vcpus[1].gdtr = null;
  const result = await diff(await sampleImage(), await sampleImage(model));
  assert.equal(result.same, true);
  assert.deepEqual(
    result.vcpus!.both.map(({ onlyA }) => onlyA),
    [['efer'], ['tables']],
  );
});

test('lists are as long as is asked for, and counts are whole', async () => {
  const model = sampleModel();
  for (let page = 0; page < 100; page += 2) model.memory[2].bytes[page * PAGE] ^= 1;
  const { memory } = await diff(await sampleImage(), await sampleImage(model), { max: 3, bytes: true });
  assert.deepEqual([memory!.different.pages, memory!.different.ranges, memory!.different.first.length], [50, 50, 3]);
  assert.equal(memory!.bytes!.length, 3);
});

test('names and uuids do not count', async () => {
  const name = 'xen-4.17-hvm-seabios-16m.xl';
  const bytes = imageBytes(name);
  const ours = await converted(bytes);
  const at = Buffer.from(bytes).indexOf('"hvmbios"');
  const other = bytes.slice();
  other[at + 1] = 0x48;
  const result = await diff(other, ours);
  assert.deepEqual(result.about, [{ path: 'name', a: 'Hvmbios', b: 'hvmbios' }]);
  // The configuration, which holds the name too, is compared key by key.
  assert.deepEqual(result.differing, ['devices']);
  const config = result.devices!.both.find((device) => device.name === 'xl-config.json')!;
  assert.deepEqual(config.keys, { count: 1, first: [{ path: '/c_info/name', a: 'Hvmbios', b: 'hvmbios' }] });
});

test('either of them may come through a pipe', async () => {
  const bytes = await sampleImage();
  const source = openPipeSource(Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]), 'a pipe');
  const [one, other] = [await openImage(source, { spool }), await openImage(memorySource(bytes, 'b'))];
  assert.equal((await diffImages(one, other)).same, true);
  await Promise.all([one.close(), other.close()]);
});

test('damage met on the way is an error, and comparing can be cancelled', async () => {
  const bytes = await sampleImage();
  const damaged = bytes.slice();
  damaged[Math.floor(bytes.byteLength / 3)] ^= 1;
  await assert.rejects(diff(bytes, damaged), (error) => error instanceof TransmigrateError && error.exitCode === 10);
  const cancel = new AbortController();
  cancel.abort();
  await assert.rejects(diff(bytes, bytes, { signal: cancel.signal }), { code: 'CANCELLED' });
});

test('random changes of memory are found exactly', async () => {
  const seed = testSeed();
  const generator = random(seed);
  for (let turn = 0; turn < 5; turn++) {
    const model = sampleModel();
    const changed = new Set<number>();
    for (let i = generator.below(40); i > 0; i--) {
      const page = generator.below(300);
      model.memory[2].bytes[page * PAGE + generator.below(PAGE)] ^= 1 + generator.below(255);
      changed.add(0x100 + page);
    }
    const { memory } = await diff(await sampleImage(), await sampleImage(model), { max: 1000 });
    const found = memory!.different.first.flatMap(({ firstPfn, pages }) =>
      Array.from({ length: pages }, (_, i) => firstPfn + i),
    );
    const expected = [...changed]
      .toSorted((a, b) => a - b)
      .filter((pfn) => {
        const at = (pfn - 0x100) * PAGE;
        return !Buffer.from(model.memory[2].bytes.subarray(at, at + PAGE)).equals(
          sampleModel().memory[2].bytes.subarray(at, at + PAGE),
        );
      });
    assert.deepEqual(found, expected, `SEED=${seed} node --test test/unit/image/diff.test.ts`);
  }
});
