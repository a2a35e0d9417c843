/** Cores as images: what the model says of them, and the same bytes back. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeCpuStatus, encodeQemuCpu } from '../../../../src/foreign/elf/cpu-notes.ts';
import { ELF_MACHINE } from '../../../../src/foreign/elf/elf-file.ts';
import { layoutProgramCore, type MemoryRange } from '../../../../src/foreign/elf/program-core.ts';
import { ElfWriter } from '../../../../src/foreign/elf/writer.ts';
import { XenCoreWriter } from '../../../../src/foreign/elf/xen-core-writer.ts';
import { cr3OfPfn } from '../../../../src/foreign/xen-libxc/guest-context.ts';
import { writeElfCore } from '../../../../src/image/writers/elf-core.ts';
import { writeXenCore } from '../../../../src/image/writers/xen-core.ts';
import { PAGE_CLASS } from '../../../../src/stream/records/ram.ts';
import { VCPU_STATE } from '../../../../src/image/model/event.ts';
import { MemorySink, memorySource } from '../../../../src/io/memory.ts';
import { memoryDigest, opened, read, sha256, thereAndBack, toOurs } from '../../../support/conversion.ts';
import { corpus, corpusFile, fixture } from '../../../support/corpus.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

const PV = 'elf/xen-4.17-pv-tiny64-4m.core';
const HVM = 'elf/xen-4.17-hvm-seabios-16m.core';
const QEMU = 'elf/tiny-x86_64-pc.core.elf';
/** The saves of the same paused guests. */
const PV_TWIN = 'xen-core/xen-4.17-pv-tiny64-4m-corepair.xl';
const HVM_TWIN = 'xen-core/xen-4.17-hvm-seabios-16m-corepair.xl';

/** The frame in an entry of a page table. */
const FRAME_BITS = 0xf_ffff_ffff_f000n;

/** Digests of the corpus's manifest. */
const MEMORY = {
  [PV]: 'e87c03d338d314673de34d2d3f76b700ea1313b31766c3475a3027352d249369',
  [HVM]: '87e490a9a707cee50b598d24105f03fc5a4b5af0945ab2f4c9e6289d884a7041',
} as const;

for (const [name, digest] of Object.entries(MEMORY)) {
  test(`${name}: memory as the corpus says, opened as it is and as an image of ours, and back`, async () => {
    const bytes = fixture(name);
    const ours = await thereAndBack('xen-core', bytes, name);
    for (const image of [await opened(bytes), await opened(ours)]) {
      assert.equal(await memoryDigest(image.memory), digest);
      assert.equal(image.vcpus.length, 1);
      assert.deepEqual(image.head.about['source'], { hypervisor: 'xen', versions: { xen: '4.17' } });
    }
    const { findings, natives, error } = await read('xen-core', bytes);
    assert.deepEqual([findings, error], [[], undefined]);
    assert.ok(natives.some((native) => native.name === '.xen_pages'));
    assert.ok(ours.byteLength < bytes.byteLength / 4);
  });
}

test('a core of a PV guest has the registers of its twin save, and its page tables name frames', async (context) => {
  const { skip } = corpusFile(PV_TWIN);
  if (skip !== false) return context.skip(skip);
  const [core, save] = [await opened(fixture(PV)), await opened(corpus(PV_TWIN))];
  const ours = await opened(await toOurs('xen-core', fixture(PV)));
  const pfnOfFrame = core.memory.pfnOfFrame!;
  // What xl did with the guest between the two: it went on paused, with 1 as the result of its suspend call. And a save
  // has a pfn in rdx, where the frame of the start info is.
  const [mine, its] = [core.vcpus[0], save.vcpus[0]];
  assert.deepEqual([mine.registers.rax, its.registers.rax], [1n, 0n]);
  assert.equal(pfnOfFrame(Number(mine.registers.rdx)), Number(its.registers.rdx));
  const changed = { rax: its.registers.rax, rdx: its.registers.rdx };
  assert.deepEqual({ ...mine, registers: { ...mine.registers, ...changed } }, its);
  assert.deepEqual(ours.vcpus[0], { kind: 'VCPU_X86', ...mine });

  // The context too: frames have become pfns.
  const states = [core, ours, save].map(({ vcpuStates }) =>
    vcpuStates.find(({ stateKind }) => stateKind === VCPU_STATE.xenPvBasic)!.content.slice(),
  );
  const [context1, context2, saved] = states;
  assert.deepEqual(context1, context2);
  for (const at of [600, 616]) context1.set(saved.subarray(at, at + 8), at);
  assert.deepEqual(context1, saved);

  // Memory: equal, and page tables equal when frames are exchanged, but for the hypervisor's own entries.
  const [a, b] = [new Uint8Array(4096), new Uint8Array(4096)];
  let tables = 0;
  for (let pfn = 0; pfn < 1024; pfn++) {
    assert.equal(await core.memory.readPage(pfn, a), await save.memory.readPage(pfn, b));
    const pageClass = save.memory.pageClass(pfn)!;
    if (pageClass === PAGE_CLASS.ordinary) {
      assert.ok(Buffer.from(a).equals(b), `page ${pfn}`);
      continue;
    }
    tables++;
    const [mineWords, itsWords] = [new BigUint64Array(a.buffer), new BigUint64Array(b.buffer)];
    const isTop = (pageClass & 7) === 4;
    for (const [slot, entry] of mineWords.entries()) {
      if (isTop && slot >= 256 && slot <= 262) continue;
      const frame = Number((entry >> 12n) & 0xff_ffff_ffffn);
      const exchanged = (entry & 1n) === 0n ? entry : (entry & ~FRAME_BITS) | (BigInt(pfnOfFrame(frame)) << 12n);
      assert.equal(exchanged, itsWords[slot], `page table ${pfn}, entry ${slot}`);
    }
  }
  assert.equal(tables, 5);
  assert.equal(ours.memory.pfnOfFrame!(Number(mine.registers.rdx)), 11);
  assert.equal(pfnOfFrame(2 ** 40), -1);
  assert.equal(save.memory.pfnOfFrame, undefined);
});

test('a core of an HVM guest has the registers of its twin save', async (context) => {
  const { skip } = corpusFile(HVM_TWIN);
  if (skip !== false) return context.skip(skip);
  const [core, save] = [await opened(fixture(HVM)), await opened(corpus(HVM_TWIN))];
  const [mine, its] = [core.vcpus[0], save.vcpus[0]];
  for (const [name, value] of Object.entries(mine.registers)) {
    assert.equal(value, its.registers[name as 'rax'], name);
  }
  // Real mode: bases follow from selectors, and limits and attributes are those that real mode has.
  for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const) {
    assert.deepEqual(mine.segments![name], its.segments![name], name);
  }
  assert.deepEqual(core.vcpuStates[0].content, save.vcpuStates[0].content);
  assert.equal(core.memory.pfnOfFrame, undefined);
  let pages = 0;
  const [a, b] = [new Uint8Array(4096), new Uint8Array(4096)];
  for await (const { firstPfn, pages: count } of core.memory.batches()) {
    for (let pfn = firstPfn; pfn < firstPfn + count; pfn++, pages++) {
      await core.memory.readPage(pfn, a);
      await save.memory.readPage(pfn, b);
      assert.ok(Buffer.from(a).equals(b), `page ${pfn}`);
    }
  }
  assert.equal(pages, 4064);
});

interface XenCase {
  readonly table: 'p2m' | 'pfn';
  readonly pfns: readonly number[];
  readonly frames?: readonly number[];
  readonly machine?: number;
  readonly vcpu?: Uint8Array;
}

/** A core of Xen of our own. Page i is filled with i + 1, but for those in `zero`. */
async function xenCore(
  { table, pfns, frames, machine = ELF_MACHINE.x8664, vcpu }: XenCase,
  zero: (entry: number) => boolean = () => false,
): Promise<Uint8Array> {
  const sink = new MemorySink();
  const writer = new XenCoreWriter(sink, {
    machine,
    domain: table === 'p2m' ? 'pv' : 'hvm',
    xenVersion: undefined,
    vcpus: [vcpu ?? new Uint8Array(5168)],
    sharedInfo: undefined,
    table,
    pages: pfns.length,
    pageBytes: 4096,
  });
  for (const entry of pfns.keys()) await writer.pages(new Uint8Array(4096).fill(zero(entry) ? 0 : entry + 1));
  await writer.table(Float64Array.from(pfns), table === 'p2m' ? Float64Array.from(frames ?? pfns) : undefined);
  await writer.end();
  return sink.bytes();
}

/** A context of a 32-bit guest with an instruction pointer and the frame of a page table. */
function makeContext32(rip: bigint, frame: number): Uint8Array {
  const context = new Uint8Array(2800);
  const view = new DataView(context.buffer);
  view.setUint32(548, Number(rip), true);
  view.setUint32(2716 + 12, Number(cr3OfPfn(frame, 4)), true);
  return context;
}

describe('cores of Xen that are made here', () => {
  test('entries without a page, in between too, with content and without', async () => {
    for (const table of ['p2m', 'pfn'] as const) {
      const pfns = [3, -1, 4, 5, -1, -1, 9];
      const clean = await xenCore({ table, pfns }, (entry) => pfns[entry] < 0);
      await thereAndBack('xen-core', clean);
      assert.equal((await read('xen-core', clean)).findings.filter(({ code }) => code === 'ENTRY_CONTENT').length, 0);
      const bytes = await xenCore({ table, pfns });
      const image = await opened(await thereAndBack('xen-core', bytes));
      assert.deepEqual([image.memory.pages, image.memory.pfnEnd], [4, 10]);
      const codes = (await read('xen-core', bytes)).findings.map(({ code }) => code);
      assert.deepEqual(codes.filter((code) => code === 'ENTRY_CONTENT').length, 2);
    }
  });

  test('pages that are not in order, and twice: the last counts', async () => {
    const bytes = await xenCore({ table: 'p2m', pfns: [7, 2, 7, 3], frames: [70, 20, 71, 30] });
    const ours = await thereAndBack('xen-core', bytes);
    for (const image of [await opened(bytes), await opened(ours)]) {
      const page = new Uint8Array(4096);
      assert.equal(await image.memory.readPage(7, page), 'data');
      assert.equal(page[0], 3);
      assert.deepEqual([70, 71, 20, 21].map(image.memory.pfnOfFrame!), [7, 7, 2, -1]);
    }
    const codes = (await read('xen-core', bytes)).findings.map(({ code }) => code);
    assert.deepEqual(codes.slice(0, 2), ['TABLE_ORDER', 'PFN_TWICE']);
  });

  test('a context that names a frame which is no page has no cr3', async () => {
    const bytes = await xenCore({ table: 'p2m', pfns: [1, 2], frames: [5, 6] });
    const image = await opened(bytes);
    assert.equal(image.vcpus[0].registers.cr3, undefined);
    assert.equal(
      image.vcpuStates.find(({ stateKind }) => stateKind === VCPU_STATE.xenPvBasic),
      undefined,
    );
    const [finding] = (await read('xen-core', bytes)).findings;
    assert.deepEqual([finding.code, finding.data], ['FRAME_UNKNOWN', { frame: 0, register: 'cr3' }]);
  });

  test('a context of a 32-bit guest, in an entry of a 64-bit toolstack and in one of a 32-bit one', async () => {
    const context = makeContext32(0x1234n, 6);
    for (const bytes of [5168, 2800]) {
      const vcpu = new Uint8Array(bytes);
      vcpu.set(context);
      const pfns = { table: 'p2m', pfns: [1, 2], frames: [5, 6] } as const;
      const core = await xenCore({ ...pfns, machine: ELF_MACHINE.i386, vcpu });
      const image = await opened(await thereAndBack('xen-core', core));
      assert.deepEqual([image.head.machine, image.head.wordBits], [3, 32]);
      assert.deepEqual([image.vcpus[0].registers.rip, image.vcpus[0].registers.cr3], [0x1234n, 2n << 12n]);
      const state = image.vcpuStates.find(({ stateKind }) => stateKind === VCPU_STATE.xenPvBasic)!;
      assert.equal(state.content.byteLength, 2800);
      // Written again it is as it was.
      const sink = new MemorySink();
      await writeXenCore(image, sink, {});
      const again = await opened(sink.bytes());
      assert.deepEqual(again.vcpus, (await opened(core)).vcpus);
    }
  });

  test('a context that is too short for its guest is told, and memory can be read', async () => {
    for (const [table, bytes] of [
      ['p2m', 2800],
      ['pfn', 2801],
      ['pfn', 8],
    ] as const) {
      const core = await xenCore({ table, pfns: [1, 2], vcpu: new Uint8Array(bytes) });
      await thereAndBack('xen-core', core);
      const { findings, events } = await read('xen-core', core);
      assert.deepEqual(
        findings.map(({ code }) => code),
        ['CONTEXT_INVALID'],
      );
      assert.ok(events.includes('pages') && !events.includes('vcpu'));
    }
  });

  test('bytes behind it, and bytes that no table names', async () => {
    const bytes = fixture(PV);
    const longer = new Uint8Array(bytes.byteLength + 5000);
    longer.set(bytes);
    longer[bytes.byteLength + 4500] = 1;
    longer[12_000] = 7;
    await thereAndBack('xen-core', longer);
    const codes = (await read('xen-core', longer)).findings.map(({ code, level }) => [code, level]);
    assert.deepEqual(codes, [
      ['GAP_CONTENT', 'strict'],
      ['TRAILING_DATA', 'warning'],
    ]);
    const container = { ...memorySource(longer), container: true };
    assert.equal((await read('xen-core', container)).error, undefined);
  });

  test('lies are typed errors', async () => {
    const bytes = fixture(PV);
    const section = (index: number, field: number): number => 64 + index * 64 + field;
    const lies: readonly [at: number, values: readonly number[], code: string][] = [
      [section(6, 24), [0, 0x30, 0, 0], 'FIELD_VALUE'],
      [5, [2], 'FIELD_VALUE'],
      [4206592 + 16, [0, 0, 0, 0, 0, 0, 0x10, 0], 'FIELD_VALUE'],
      [section(5, 24), [0, 0, 0, 0, 9], 'TRUNCATED'],
    ];
    for (const [at, values, code] of lies) {
      const lie = bytes.slice();
      lie.set(values, at);
      assert.equal((await read('xen-core', lie)).error?.code, code, `at ${at}`);
    }
    const pipe = { ...memorySource(bytes), random: null };
    assert.equal((await read('xen-core', pipe)).error?.code, 'READ_FAILED');
    for (const end of [0, 63, 64, 500, 2000, 13_000, bytes.byteLength - 1]) {
      assert.equal((await read('xen-core', bytes.subarray(0, end))).error?.code, 'TRUNCATED', `cut at ${end}`);
    }
  });
});

test("QEMU's core: memory and registers, and back", async () => {
  const bytes = fixture(QEMU);
  const ours = await thereAndBack('elf-core', bytes);
  for (const image of [await opened(bytes), await opened(ours)]) {
    assert.deepEqual([image.memory.pages, image.memory.pfnEnd], [4096 + 64, 0x10_0000]);
    const ram = new Uint8Array(16 * 1024 * 1024);
    for (let pfn = 0; pfn < 4096; pfn++) await image.memory.readPage(pfn, ram.subarray(pfn * 4096));
    assert.equal(sha256(ram), 'ce674624adcbc802ba9eb2bd4e68126e382936c8703be0f8148969ebb1d5288a');
    const [vcpu] = image.vcpus;
    assert.deepEqual([vcpu.registers.rip, vcpu.registers.rsp, vcpu.registers.rflags], [0x100179n, 0x10193cn, 0x202n]);
    assert.deepEqual(vcpu.segments!.cs, { selector: 8, attributes: 0xc9a, limit: 0xffff_ffff, base: 0n });
    assert.deepEqual([vcpu.gdtr, vcpu.idtr!.limit], [{ base: 0x100273n, limit: 23 }, 0x107]);
    assert.deepEqual([vcpu.registers.cr0, vcpu.registers.cr3], [0x11n, 0n]);
    assert.deepEqual([image.head.machine, image.head.wordBits], [3, 32]);
  }
  const { findings, error } = await read('elf-core', bytes);
  assert.deepEqual([findings, error], [[], undefined]);
});

/** A core with program headers whose bytes are random */
async function programCore(
  ranges: readonly Omit<MemoryRange, 'offset'>[],
  seed: string,
  notes: Parameters<typeof layoutProgramCore>[0]['notes'] = [],
): Promise<Uint8Array> {
  const machine = ELF_MACHINE.x8664;
  const layout = layoutProgramCore({ wordBytes: 8, littleEndian: true, machine, notes, ranges });
  const sink = new MemorySink();
  const writer = new ElfWriter(sink, layout.file);
  const rng = random(seed);
  await writer.put(layout.notes.offset, layout.notes.bytes);
  for (const [i, { fileBytes }] of ranges.entries()) {
    await writer.put(
      layout.offsets[i],
      Uint8Array.from({ length: fileBytes }, () => 1 + rng.below(255)),
    );
  }
  await writer.end(layout.bytes);
  return sink.bytes();
}

const range = (physical: number, fileBytes: number, memoryBytes = fileBytes): Omit<MemoryRange, 'offset'> => ({
  physical,
  virtual: 0n,
  fileBytes,
  memoryBytes,
});

describe('cores with program headers that are made here', () => {
  test('a part of a page is not known, and parts that touch are one', async () => {
    const ranges = [range(0x1000, 0x800), range(0x1800, 0x1000), range(0x2800, 0x1000), range(0x8000, 100)];
    const bytes = await programCore(ranges, 'parts');
    const ours = await thereAndBack('elf-core', bytes);
    const at = Number(new DataView(bytes.buffer).getBigUint64(64 + 56 + 8, true));
    for (const image of [await opened(bytes), await opened(ours)]) {
      assert.deepEqual([image.memory.pages, image.memory.pfnEnd], [2, 3]);
      const page = new Uint8Array(4096);
      assert.equal(await image.memory.readPage(1, page), 'data');
      assert.deepEqual(page, bytes.slice(at, at + 4096));
      assert.equal(await image.memory.readPage(2, page), 'data');
      assert.deepEqual(page, bytes.slice(at + 4096, at + 8192));
      assert.equal(await image.memory.readPage(8, page), 'absent');
    }
    const { findings } = await read('elf-core', bytes);
    assert.deepEqual(
      findings.map(({ code, data }) => [code, data['pfn']]),
      [
        ['PARTIAL_PAGE', 3],
        ['PARTIAL_PAGE', 8],
      ],
    );
  });

  test('what is beyond the file is zero, also within a page', async () => {
    const bytes = await programCore([range(0x4000, 0x1100, 0x4000)], 'zeros');
    const ours = await thereAndBack('elf-core', bytes);
    const at = Number(new DataView(bytes.buffer).getBigUint64(64 + 56 + 8, true));
    for (const image of [await opened(bytes), await opened(ours)]) {
      const page = new Uint8Array(4096);
      assert.equal(image.memory.pages, 4);
      assert.equal(await image.memory.readPage(5, page), 'data');
      assert.deepEqual(page.slice(0, 0x100), bytes.slice(at + 0x1000, at + 0x1100));
      assert.ok(page.subarray(0x100).every((byte) => byte === 0));
      assert.equal(await image.memory.readPage(6, page), 'zero');
    }
  });

  test('random ranges that overlap in memory and in the file', async () => {
    const seed = testSeed();
    const rng = random(seed);
    for (let run = 0; run < 60; run++) {
      const ranges = Array.from({ length: 1 + rng.below(6) }, () => {
        const fileBytes = rng.pick([0, rng.below(20_000), 4096 * (1 + rng.below(4))]);
        const physical = rng.pick([4096 * rng.below(12), rng.below(50_000)]);
        return range(physical, fileBytes, fileBytes + rng.pick([0, 0, rng.below(20_000)]));
      });
      const bytes = await programCore(ranges, `${seed} ${run}`);
      // Some segments are made to have the bytes of others.
      const view = new DataView(bytes.buffer);
      if (rng.below(2) === 0 && ranges.length > 1) {
        const [from, to] = [rng.below(ranges.length), rng.below(ranges.length)];
        const offset = view.getBigUint64(64 + 56 * (1 + from) + 8, true);
        if (Number(offset) + ranges[to].fileBytes <= bytes.byteLength) {
          view.setBigUint64(64 + 56 * (1 + to) + 8, offset, true);
        }
      }
      try {
        const ours = await thereAndBack('elf-core', bytes);
        const [a, b] = [await opened(bytes), await opened(ours)];
        assert.equal(await memoryDigest(a.memory), await memoryDigest(b.memory));
        const page = new Uint8Array(4096);
        for (let pfn = 0; pfn < 20; pfn++) {
          const state = await a.memory.readPage(pfn, page);
          assert.equal(state === 'absent', (await b.memory.readPage(pfn, page)) === 'absent', `page ${pfn}`);
        }
      } catch (error) {
        throw new Error(`SEED=${seed}, run ${run}`, { cause: error });
      }
    }
  });

  test('processors from a status alone, and a note that cannot be read', async () => {
    const registers = { rip: 0xffff_ffff_8100_0000n, rsp: 0x7000n, eflags: 0x246n, cs: 0x10n, ss: 0x18n, gs_base: 5n };
    const status = { name: 'CORE', type: 1, content: encodeCpuStatus({ registerBytes: 8, process: 1, registers }) };
    const broken = { name: 'QEMU', type: 0, content: new Uint8Array(12) };
    const bytes = await programCore([range(0, 4096)], 'notes', [status, broken]);
    const [vcpu] = (await opened(await thereAndBack('elf-core', bytes))).vcpus;
    assert.deepEqual(
      [vcpu.registers.rip, vcpu.registers.rflags, vcpu.registers.cr3],
      [registers.rip, registers.eflags, undefined],
    );
    assert.deepEqual(vcpu.segments!.cs, { selector: 0x10, attributes: 0xa9b, limit: 0xffff_ffff, base: 0n });
    assert.deepEqual(vcpu.segments!.gs.base, 5n);
    const { findings } = await read('elf-core', bytes);
    assert.deepEqual(
      findings.map(({ code }) => code),
      ['NOTES_INVALID'],
    );
    // A length that runs beyond the notes: memory can still be read.
    const lie = bytes.slice();
    lie[64 + 56 * 2] = 0xff;
    const wasRead = await read('elf-core', lie);
    assert.deepEqual([wasRead.findings[0].code, wasRead.error], ['NOTES_INVALID', undefined]);
    assert.ok(wasRead.events.includes('pages') && !wasRead.events.includes('vcpu'));
  });

  test('of a big-endian machine of another kind: its memory', async () => {
    const ranges = [range(0x1000, 4096)];
    const layout = layoutProgramCore({ wordBytes: 4, littleEndian: false, machine: 20, notes: [], ranges });
    const sink = new MemorySink();
    const writer = new ElfWriter(sink, layout.file);
    await writer.put(layout.offsets[0], new Uint8Array(4096).fill(5));
    await writer.end(layout.bytes);
    const image = await opened(sink.bytes());
    assert.deepEqual([image.head.byteOrder, image.head.machine, image.head.wordBits], ['big', 20, 32]);
    assert.deepEqual([image.memory.pages, image.memory.pfnEnd, image.vcpus.length], [1, 2, 0]);
    await assert.rejects(toOurs('elf-core', sink.bytes()), { code: 'UNSUPPORTED_FEATURE' });
    const again = new MemorySink();
    await writeElfCore(image, again, {});
    const result = await opened(again.bytes());
    assert.deepEqual(
      [result.head.byteOrder, await memoryDigest(result.memory)],
      ['big', await memoryDigest(image.memory)],
    );
  });

  test('as many processors as there are notes', async () => {
    const segment = { selector: 0, limit: 0, flags: 0, base: 0n };
    const names = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'ldt', 'tr', 'gdt', 'idt'] as const;
    const segments = Object.fromEntries(names.map((name) => [name, segment])) as Record<
      (typeof names)[number],
      typeof segment
    >;
    const general = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ');
    const notes = [0, 1, 2].map((cpu) => {
      const registers = Object.fromEntries(general.map((name) => [name, BigInt(cpu)]));
      const content = encodeQemuCpu({ registers, segments, control: [1n, 0n, 2n, 3n, 4n], kernelGsBase: 0n });
      return { name: 'QEMU', type: 0, content };
    });
    const { vcpus, devices } = await opened(await programCore([range(0, 4096)], 'vcpus', notes));
    assert.deepEqual(
      vcpus.map(({ registers }) => registers.rip),
      [0n, 1n, 2n],
    );
    assert.deepEqual(
      devices.map(({ name }) => name),
      ['elf-notes'],
    );
  });

  test('lies are typed errors, and cost nothing', async () => {
    const bytes = await programCore([range(0, 4096), range(0x9000, 8192, 2 ** 40)], 'lies');
    assert.equal((await read('elf-core', bytes)).error, undefined);
    const lie = async (at: number, value: bigint): Promise<string | undefined> => {
      const copy = bytes.slice();
      new DataView(copy.buffer).setBigUint64(at, value, true);
      return (await read('elf-core', copy)).error?.code;
    };
    const second = 64 + 56 * 2;
    assert.equal(await lie(second + 40, 2n ** 50n), 'LIMIT_EXCEEDED', 'zeros without end');
    assert.equal(await lie(second + 24, 2n ** 53n - 5n), 'FIELD_VALUE', 'an end that is no number');
    assert.equal(await lie(second + 8, 2n ** 40n), 'TRUNCATED', 'a place behind the end');
    assert.equal(await lie(second + 32, 2n ** 40n), 'TRUNCATED', 'a length behind the end');
    for (let end = 0; end < bytes.byteLength; end += 211) {
      const { error } = await read('elf-core', bytes.subarray(0, end));
      assert.equal(error?.code, 'TRUNCATED', `cut at ${end}`);
    }
  });
});
