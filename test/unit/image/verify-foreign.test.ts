/** `verify` of images of others: the real ones, and made ones with everything that can be wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { convertToTmig } from '../../../src/image/convert/to-tmig.ts';
import { verifyImage, type Verification, type VerifyOptions } from '../../../src/image/verify.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { spool } from '../../../src/io/spool.ts';
import { CODEC } from '../../../src/codec/codec.ts';
import { BODY, PAGE_TYPE } from '../../../src/foreign/xen-libxc/constants.ts';
import { EXPECTED, imageBytes, missing } from '../../support/xen/corpus.ts';
import { guestPages, guestSteps, guestVcpu, PTE } from '../../support/xen/pv-guest.ts';
import { checkpointed, empty, libxcStream, vcpu, xlFile, type Step } from '../../support/xen/streams.ts';

const piped = (bytes: Uint8Array) => ({ ...memorySource(bytes, 'a pipe', 65_521), size: null, random: null });

function verify(bytes: Uint8Array, options: VerifyOptions = {}): Promise<Verification> {
  return verifyImage([memorySource(bytes)], options);
}

const codes = ({ errors, warnings }: Verification): string[] => [...errors, ...warnings].map(({ code }) => code);

/** What is wrong with real images, by the letter of the specification too. */
const FINDINGS: Readonly<Record<string, readonly [verdict: string, codes: string[], strict: string[]]>> = {
  'xen-4.17-pv-tiny32-4m-lostpage.xl': ['findings', ['PAGE_TABLE_LOST'], ['PAGE_TABLE_LOST']],
  'xen-4.17-pv-tiny64-4m.remus': ['findings', ['TRUNCATED'], ['TRUNCATED']],
  'xen-4.17-hvm-seabios-16m.xl': ['sound', [], ['PARAMS_AFTER_CONTEXT']],
  'xen-4.17-hvm-seabios-16m-corepair.xl': ['sound', [], ['PARAMS_AFTER_CONTEXT']],
  'xen-4.17-hvm-seabios-8m-physmap.xl': ['sound', [], ['PARAMS_AFTER_CONTEXT']],
};

for (const [name, expected] of Object.entries(EXPECTED)) {
  test(`${name}: verdict, and digest of its memory`, { skip: missing(name) }, async () => {
    const bytes = imageBytes(name);
    const [verdict, found, strict] = FINDINGS[name] ?? ['sound', [], []];
    const whole = await verify(bytes, { digest: true });
    assert.deepEqual([whole.verdict, codes(whole)], [verdict, found], JSON.stringify(whole.warnings));
    assert.equal(whole.lettersIgnored, strict.length - found.length);
    if (expected.memory !== undefined) {
      assert.equal(whole.memory!.sha256, expected.memory.final_memory_sha256);
      assert.equal(whole.memory!.pages, expected.memory.final_pages);
    }
    if (verdict === 'sound') assert.equal(whole.bytes, bytes.byteLength);
    assert.equal(whole.head?.domainType ?? null, name.endsWith('back') ? null : name.includes('hvm') ? 'hvm' : 'pv');
    const letter = await verifyImage([piped(bytes)], { strict: true });
    assert.deepEqual([letter.verdict, codes(letter)], [strict.length > 0 ? 'findings' : 'sound', strict]);
    assert.equal(letter.lettersIgnored, 0);
  });
}

test('the lost page table is named', async () => {
  const { warnings } = await verify(imageBytes('xen-4.17-pv-tiny32-4m-lostpage.xl'));
  assert.deepEqual(warnings[0].data, { count: 1, entries: [{ table: 14, level: 2, entry: 0, pfn: 15 }] });
});

test('an image and its conversion to ours: the same digest, and the same page table is missed', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny32-4m-lostpage.xl');
  const sink = new MemorySink();
  const ids = { streamId: new Uint8Array(16).fill(7), codec: CODEC.raw, about: {} };
  await convertToTmig('xl', memorySource(bytes), sink, { origin: true, ...ids });
  const ours = await verify(sink.bytes(), { digest: true });
  const foreign = await verify(bytes, { digest: true });
  assert.deepEqual([ours.format, ours.verdict, codes(ours)], ['tmig', 'findings', ['PAGE_TABLE_LOST']]);
  assert.deepEqual(ours.memory, foreign.memory);
  assert.deepEqual(ours.warnings[0].data, foreign.warnings[0].data);
});

test('through compressions and pipes: the same, with the layers that were taken off', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
  const packed = new Uint8Array(zstdCompressSync(zstdCompressSync(bytes)));
  const result = await verifyImage([piped(packed)], { digest: true, spool });
  assert.deepEqual(result.nesting, ['zstd', 'zstd', 'xl', 'libxl', 'xen-libxc']);
  assert.equal(result.format, 'xl');
  assert.deepEqual({ ...result, nesting: [] }, { ...(await verify(bytes, { digest: true })), nesting: [] });
});

test('pieces that are Buffers, whose slices are no copies', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny32-4m-lostpage.xl');
  const source = {
    ...piped(bytes),
    async *pieces() {
      const pool = Buffer.alloc(8192);
      for (let at = 0; at < bytes.byteLength; at += 4000) {
        const length = Math.min(4000, bytes.byteLength - at);
        pool.set(bytes.subarray(at, at + length), 100);
        yield pool.subarray(100, 100 + length);
        pool.fill(0xee);
      }
    },
  };
  assert.deepEqual(codes(await verifyImage([source])), ['PAGE_TABLE_LOST']);
});

const GUEST = libxcStream({}, guestSteps());

test('a made guest is sound, 64-bit and 32-bit', async () => {
  assert.deepEqual(codes(await verify(GUEST)), []);
  assert.deepEqual(codes(await verify(libxcStream({}, guestSteps({ width: 4 })))), []);
});

interface Case {
  readonly steps: readonly Step[];
  readonly codes: readonly string[];
  readonly verdict?: string;
  readonly data?: unknown;
}

const LOST = (table: number, level: number, entry: number, pfn: number) => ({
  count: 1,
  entries: [{ table, level, entry, pfn }],
});

const TABLES: Readonly<Record<string, Case>> = {
  'an L1 that is not there': {
    steps: guestSteps({
      pages: guestPages().map((page) => (page.pfn === 5 ? { pfn: 5, type: PAGE_TYPE.invalid } : page)),
    }),
    codes: ['PAGE_TABLE_LOST'],
    data: LOST(4, 2, 0, 5),
  },
  'an L1 that no record names': {
    steps: guestSteps({ pages: guestPages().filter(({ pfn }) => pfn !== 5) }),
    codes: ['PAGE_TABLE_LOST'],
    data: LOST(4, 2, 0, 5),
  },
  'an L3 that was there, and is not any more': {
    steps: guestSteps({ later: [{ pfn: 3, type: PAGE_TYPE.invalid }] }),
    codes: ['PAGE_TABLE_LOST'],
    data: LOST(2, 4, 0, 3),
  },
  'an L3 that is there again': {
    steps: guestSteps({
      later: [{ pfn: 3, type: PAGE_TYPE.invalid }],
      last: [{ pfn: 3, type: PAGE_TYPE.l3, entries: { 0: [4, PTE] } }],
    }),
    codes: [],
  },
  'an entry without the present bit': {
    steps: guestSteps({ later: [{ pfn: 4, type: PAGE_TYPE.l2, entries: { 0: [5, PTE], 7: [999, 0] } }] }),
    codes: [],
  },
  'a large page leads to no table': {
    steps: guestSteps({ later: [{ pfn: 4, type: PAGE_TYPE.l2, entries: { 0: [5, PTE], 7: [512, PTE | 0x80] } }] }),
    codes: [],
  },
  'a table that leads to itself': {
    steps: guestSteps({
      later: [{ pfn: 2, type: PAGE_TYPE.l4Pinned, entries: { 0: [3, PTE], 500: [2, PTE] } }],
    }),
    codes: [],
  },
  'an entry that leads to an ordinary page': {
    steps: guestSteps({ later: [{ pfn: 4, type: PAGE_TYPE.l2, entries: { 0: [5, PTE], 9: [1, PTE] } }] }),
    codes: ['PAGE_TABLE_CLASS'],
    data: LOST(4, 2, 9, 1),
  },
  'many of them are counted, and some named': {
    steps: guestSteps({
      later: [
        {
          pfn: 4,
          type: PAGE_TYPE.l2,
          entries: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [i, [900 + i, PTE] as const])),
        },
      ],
    }),
    codes: ['PAGE_TABLE_LOST'],
    data: {
      count: 100,
      entries: Array.from({ length: 8 }, (_, i) => ({ table: 4, level: 2, entry: i, pfn: 900 + i })),
    },
  },
  'a pinned table that no vCPU runs on': {
    steps: guestSteps({ later: [{ pfn: 8, type: PAGE_TYPE.l2Pinned, entries: { 3: [900, PTE] } }] }),
    codes: ['PAGE_TABLE_LOST'],
    data: LOST(8, 2, 3, 900),
  },
  'a table that nothing leads to': {
    steps: guestSteps({ later: [{ pfn: 8, type: PAGE_TYPE.l2, entries: { 3: [900, PTE] } }] }),
    codes: [],
  },
  'the table of the user': {
    steps: guestSteps({ vcpu: guestVcpu({ userCr3: 3 }) }),
    codes: ['VCPU_PAGE_TABLE'],
    verdict: 'broken',
    data: { vcpu: 0, register: 'cr1', pfn: 3 },
  },
  'a cr3 beyond memory': {
    steps: guestSteps({ vcpu: guestVcpu({ cr3: 0x12345 }) }),
    codes: ['VCPU_PAGE_TABLE'],
    verdict: 'broken',
    data: { vcpu: 0, register: 'cr3', pfn: 0x12345 },
  },
  'a start info that is a page table': {
    steps: guestSteps({ vcpu: guestVcpu({ startInfo: 2 }) }),
    codes: ['START_INFO'],
    verdict: 'broken',
    data: { pfn: 2 },
  },
  'a GDT that is not there': {
    steps: guestSteps({ vcpu: guestVcpu({ gdt: [1, 999], gdtEntries: 513 }) }),
    codes: ['VCPU_GDT'],
    verdict: 'broken',
    data: { vcpu: 0, frame: 1, pfn: 999 },
  },
};

for (const [name, { steps, codes: expected, verdict, data }] of Object.entries(TABLES)) {
  test(`page tables: ${name}`, async () => {
    const result = await verify(libxcStream({}, steps));
    assert.deepEqual(codes(result), expected);
    assert.equal(result.verdict, verdict ?? (expected.length > 0 ? 'findings' : 'sound'));
    if (data !== undefined) assert.deepEqual([...result.errors, ...result.warnings][0].data, data);
  });
}

test('page tables: an upper L2 of a 32-bit guest', async () => {
  const pages = guestPages(4).map((page) => (page.pfn === 5 ? { pfn: 5, type: PAGE_TYPE.invalid } : page));
  const result = await verify(libxcStream({}, guestSteps({ width: 4, pages })));
  assert.deepEqual(result.warnings[0].data, LOST(4, 2, 0, 5));
});

const withoutEnd = (steps: readonly Step[]): Step[] => steps.slice(0, -1);

test('pages that come again after VERIFY are compared with what came before', async () => {
  const again = (fill: number): Step[] => [
    ...withoutEnd(guestSteps()),
    empty('VERIFY'),
    [
      [1, PAGE_TYPE.normal, fill],
      [7, PAGE_TYPE.normal, 7],
    ],
    empty('END'),
  ];
  assert.deepEqual(codes(await verify(libxcStream({}, again(1)))), []);
  const different = libxcStream({}, again(0x55));
  const result = await verify(different);
  assert.deepEqual([result.verdict, codes(result)], ['findings', ['VERIFY_DIFFERS']]);
  assert.deepEqual(result.warnings[0].data, { different: 1, compared: 2, first: 1 });
  // What can't be read twice is said only to who asks for the letter.
  assert.deepEqual(codes(await verifyImage([piped(different)])), []);
  assert.deepEqual(codes(await verifyImage([piped(different)], { strict: true })), ['VERIFY_NOT_COMPARED']);
});

test('state that does not decode', async () => {
  const steps = (extra: Step): Step[] => [...withoutEnd(guestSteps()), extra, empty('END')];
  assert.deepEqual(codes(await verify(libxcStream({}, steps(vcpu('X86_PV_VCPU_EXTENDED', 8))))), ['VCPU_EXTENDED']);
  assert.deepEqual(codes(await verify(libxcStream({}, steps(vcpu('X86_PV_VCPU_EXTENDED', 64))))), []);
});

test('what stands behind an image: zeros and other bytes are told apart, also in a container', async () => {
  const file = xlFile();
  const longer = (fill: number): Uint8Array => new Uint8Array(Buffer.concat([file, Buffer.alloc(5000, fill)]));
  for (const container of [false, true]) {
    for (const fill of [0, 9]) {
      const result = await verifyImage([{ ...memorySource(longer(fill)), container }]);
      assert.deepEqual([result.verdict, codes(result)], ['findings', ['TRAILING_DATA']]);
      assert.deepEqual(result.warnings[0].data, { bytes: 5000, zero: fill === 0 });
      assert.deepEqual(result.trailing, { bytes: 5000, zero: fill === 0 });
      assert.equal(result.warnings[0].offset, file.byteLength);
      assert.match(result.warnings[0].message, fill === 0 ? /^5000 zero bytes/ : /^5000 bytes, not all/);
    }
  }
});

test('a configuration that xl could not read', async () => {
  const file = xlFile();
  file[file.indexOf(0x7b)] = 0x5b;
  const result = await verify(file);
  assert.deepEqual([result.verdict, codes(result)], ['broken', ['XL_CONFIG_INVALID']]);
});

test('a checkpointed stream that is cut is the machine of its last whole checkpoint', async () => {
  const name = 'xen-4.17-pv-tiny64-4m.remus';
  if (missing(name) !== false) return;
  const bytes = imageBytes(name);
  const points = EXPECTED[name].checkpoints!;
  for (const [i, { end, memory }] of points.entries()) {
    // Also where it ends exactly there: a stream that is whole says so.
    for (const more of [0, 1, 3000]) {
      const cut = bytes.subarray(0, end + more);
      const result = await verify(cut, { toCheckpoint: true, digest: true });
      assert.deepEqual([result.verdict, codes(result)], ['findings', ['TRUNCATED']]);
      assert.deepEqual(result.checkpoint, { number: i + 1, offset: end });
      assert.equal(result.toCheckpoint, true);
      assert.equal(result.memory!.sha256, memory);
    }
  }
  const before = await verify(bytes.subarray(0, points[0].end - 1), { toCheckpoint: true });
  assert.deepEqual([before.verdict, codes(before), before.toCheckpoint], ['broken', ['TRUNCATED'], false]);
});

test('a made one too; damage behind a checkpoint is broken unless that checkpoint is asked for', async () => {
  const bytes = checkpointed();
  const { checkpoint } = await verify(bytes);
  assert.equal(checkpoint!.number, 2);
  const damaged = bytes.slice();
  damaged.fill(0x77, checkpoint!.offset, checkpoint!.offset + 8);
  const judged = await verify(damaged);
  assert.equal(judged.verdict, 'broken');
  const to = await verify(damaged, { toCheckpoint: true });
  assert.equal(to.toCheckpoint, true);
  assert.ok(to.warnings.some(({ code }) => code === judged.errors[0].code));
  // The state itself is judged as any other: this one's vCPU names no page table.
  assert.ok(to.errors.every(({ code }) => code === 'VCPU_PAGE_TABLE' || code === 'START_INFO' || code === 'VCPU_GDT'));
});

test('one of ours that is cut is broken, and to its checkpoint it restores with a finding', async () => {
  const sink = new MemorySink();
  const ids = { streamId: new Uint8Array(16).fill(7), codec: CODEC.raw, about: {} };
  await convertToTmig('xen-libxc', memorySource(GUEST), sink, { origin: false, ...ids });
  const bytes = sink.bytes();
  const { checkpoint, verdict } = await verify(bytes, { toCheckpoint: true });
  assert.equal(verdict, 'sound');
  const cut = bytes.subarray(0, checkpoint!.offset + 48);
  assert.equal((await verify(cut)).verdict, 'broken');
  const to = await verify(cut, { toCheckpoint: true, digest: true });
  assert.deepEqual([to.verdict, codes(to), to.toCheckpoint], ['findings', ['TRUNCATED'], true]);
  assert.deepEqual(to.memory, (await verify(bytes, { digest: true })).memory);
});

test('what holds no machine is read all the same, and what is cut in it found', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny64-4m-live.back');
  const result = await verify(bytes, { digest: true });
  assert.deepEqual([result.format, result.verdict, result.head, result.memory], ['xl-back', 'sound', null, null]);
  assert.equal((await verify(bytes.subarray(0, 60))).verdict, 'broken');
});

test('a legacy stream is refused by name', async () => {
  const xl = xlFile();
  new DataView(xl.buffer).setUint32(36, 1, true);
  const result = await verify(xl);
  assert.deepEqual([result.format, codes(result)], ['xl', ['UNSUPPORTED_VERSION']]);
  for (const magic of ['LinuxGuestRecord', 'XenSavedDomain\n']) {
    const [error] = (await verify(new Uint8Array(Buffer.from(magic.padEnd(99, '\0'), 'latin1')))).errors;
    assert.equal(error.code, 'NOT_AN_IMAGE');
    assert.match(String(error.data?.['looksLike']), /saved by xen(d|opsd)/);
  }
});

test('the length of a context decides which guest it is of', () => {
  assert.deepEqual([guestVcpu().byteLength, guestVcpu({ width: 4 }).byteLength], [BODY.vcpuBasic64, BODY.vcpuBasic32]);
});
