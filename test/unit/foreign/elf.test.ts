import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import {
  encodeCpuStatus,
  encodeQemuCpu,
  parseCpuStatus,
  parseQemuCpu,
  parseVmcoreInfo,
} from '../../../src/foreign/elf/cpu-notes.ts';
import { ELF_MACHINE, readElfFile, type ElfFile } from '../../../src/foreign/elf/elf-file.ts';
import { encodeNotes, parseNotes } from '../../../src/foreign/elf/note.ts';
import { layoutProgramCore, ProgramCore, type MemoryRange } from '../../../src/foreign/elf/program-core.ts';
import { ElfWriter } from '../../../src/foreign/elf/writer.ts';
import { XenCoreWriter } from '../../../src/foreign/elf/xen-core-writer.ts';
import { XenCore } from '../../../src/foreign/elf/xen-core.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import type { RandomAccess } from '../../../src/bytes/endpoints.ts';
import { fixture } from '../../support/corpus.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const PV = 'elf/xen-4.17-pv-tiny64-4m.core';
const HVM = 'elf/xen-4.17-hvm-seabios-16m.core';
const QEMU = 'elf/tiny-x86_64-pc.core.elf';

/** Expected contents, as the hypervisors' own tools and gdb said. */
const XEN_CORES = {
  [PV]: {
    domain: 'pv',
    table: 'p2m',
    summary: { valid: 1024, invalid: 0, ascending: true, highestPfn: 1023 },
    memory: 'e87c03d338d314673de34d2d3f76b700ea1313b31766c3475a3027352d249369',
    vcpu: 'e05ca0d7f7382eff3a7e9a4212f66f1ea5c5510825654436fa56fb8eead9bafe',
  },
  [HVM]: {
    domain: 'hvm',
    table: 'pfn',
    summary: { valid: 4064, invalid: 28, ascending: true, highestPfn: 4095 },
    memory: '87e490a9a707cee50b598d24105f03fc5a4b5af0945ab2f4c9e6289d884a7041',
    vcpu: '10e2c22c08cdc16da8b00d199011631f4eff0b2febdbb6375995fa99a95213ec',
  },
} as const;

function access(bytes: Uint8Array): RandomAccess {
  return memorySource(bytes).random!;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

for (const [name, expected] of Object.entries(XEN_CORES)) {
  test(`${name}: what is in it, and the same bytes from its meaning alone`, async () => {
    const bytes = fixture(name);
    const core = await XenCore.open(access(bytes));
    assert.deepEqual([core.notes.header.domain, core.tableKind], [expected.domain, expected.table]);
    assert.equal(core.notes.header.vcpus, core.vcpuCount);
    assert.deepEqual([core.notes.xenVersion!.major, core.notes.xenVersion!.minor], [4, 17]);
    assert.match(core.notes.xenVersion!.capabilities, /hvm-3\.0-x86_64/);
    const summary = await core.summarizeTable();
    assert.deepEqual(summary, expected.summary);

    const pfns = new Float64Array(core.pageCount);
    const frames = new Float64Array(core.pageCount);
    assert.equal(await core.readTable(0, pfns, frames), core.pageCount);
    const pages = new Uint8Array(core.pageCount * core.pageBytes);
    assert.equal(await core.readPages(0, pages), core.pageCount);
    const hash = createHash('sha256');
    for (const [i, pfn] of pfns.entries()) {
      if (pfn < 0) continue;
      hash.update(new Uint8Array(BigUint64Array.of(BigInt(pfn)).buffer));
      hash.update(pages.subarray(i * 4096, (i + 1) * 4096));
      if (i % 97 === 0) {
        assert.equal(await core.findPage(pfn, true), i);
        assert.equal(await core.findPage(pfn, false), i);
      }
    }
    assert.equal(await core.findPage(5_000_000, summary.ascending), -1);
    assert.equal(hash.digest('hex'), expected.memory);
    const vcpus = [await core.readVcpu(0)];
    assert.equal(sha256(vcpus[0]), expected.vcpu);

    const sink = new MemorySink();
    const writer = new XenCoreWriter(sink, {
      machine: core.file.header.machine,
      domain: core.notes.header.domain,
      xenVersion: core.notes.xenVersion,
      vcpus,
      sharedInfo: await core.readSharedInfo(),
      table: core.tableKind,
      pages: core.pageCount,
      pageBytes: core.pageBytes,
    });
    for (let at = 0; at < pages.length; at += 300 * 4096) await writer.pages(pages.subarray(at, at + 300 * 4096));
    for (let at = 0; at < pfns.length; at += 500) {
      await writer.table(
        pfns.subarray(at, at + 500),
        core.tableKind === 'p2m' ? frames.subarray(at, at + 500) : undefined,
      );
    }
    await writer.end();
    assert.equal(sha256(sink.bytes()), sha256(bytes));
  });
}

test("QEMU's core: registers and memory, and its notes the same when they are written again", async () => {
  const bytes = fixture(QEMU);
  const core = await ProgramCore.open(access(bytes));
  assert.deepEqual(
    core.ranges.map(({ physical, memoryBytes }) => [physical, memoryBytes]),
    [
      [0, 16 * 1024 * 1024],
      [0xfffc0000, 256 * 1024],
    ],
  );
  const ram = new Uint8Array(16 * 1024 * 1024 + 1);
  assert.equal(await core.readPhysical(0, ram), ram.length - 1, 'it stops where there is no memory');
  assert.equal(sha256(ram.subarray(0, -1)), 'ce674624adcbc802ba9eb2bd4e68126e382936c8703be0f8148969ebb1d5288a');
  assert.equal(await core.readPhysical(0xffff_0000, new Uint8Array(100_000)), 0x10000);

  const [status, qemu] = core.notes;
  const registers = parseCpuStatus(status, core.file.header)!;
  assert.deepEqual([registers.registerBytes, registers.process], [4, 1]);
  assert.deepEqual([registers.registers['eip'], registers.registers['esp']], [0x100179n, 0x10193cn]);
  assert.deepEqual(encodeCpuStatus(registers), status.content.slice());
  const cpu = parseQemuCpu(qemu)!;
  assert.deepEqual(
    [cpu.registers['rip'], cpu.registers['rsi'], cpu.registers['rflags']],
    [0x100179n, 0x1002b5n, 0x202n],
  );
  assert.deepEqual(cpu.segments.cs, { selector: 8, limit: 0xffff_ffff, flags: 0xcf9a00, base: 0n });
  assert.deepEqual([cpu.segments.gdt.base, cpu.segments.idt.limit], [0x100273n, 0x107]);
  assert.deepEqual(cpu.control, [0x11n, 0n, 0n, 0n, 0n]);
  assert.deepEqual(encodeQemuCpu(cpu), qemu.content.slice());
  const { offset } = core.file.segments[0];
  const all = bytes.slice(offset, offset + core.file.segments[0].fileBytes);
  assert.deepEqual(encodeNotes(core.notes, core.file.header), all);
});

/** A core of our own: `ranges` filled with what their place says. */
async function ownCore(
  shape: { wordBytes: 4 | 8; littleEndian: boolean },
  ranges: readonly Omit<MemoryRange, 'offset'>[],
  align: number,
): Promise<{ file: ElfFile; bytes: Uint8Array }> {
  const registers = { eip: 0x1234n, rip: 0x1234n, esp: 0x7000n, rsp: 0x7000n };
  const status = encodeCpuStatus({ registerBytes: shape.wordBytes, process: 1, registers });
  const notes = [
    { name: 'CORE', type: 1, content: status },
    { name: 'VMCOREINFO', type: 0, content: new TextEncoder().encode('OSRELEASE=6.1\nPAGESIZE=4096\n') },
  ];
  const machine = shape.wordBytes === 8 ? ELF_MACHINE.x8664 : ELF_MACHINE.i386;
  const layout = layoutProgramCore({ ...shape, machine, notes, ranges, align });
  const sink = new MemorySink();
  const writer = new ElfWriter(sink, layout.file);
  await writer.put(layout.notes.offset, layout.notes.bytes);
  for (const [i, { fileBytes, physical }] of ranges.entries()) {
    const bytes = Uint8Array.from({ length: fileBytes }, (_, at) => (physical / 4096 + at) & 0xff);
    await writer.put(layout.offsets[i], bytes);
  }
  await writer.end(layout.bytes);
  return { file: layout.file, bytes: sink.bytes() };
}

const RANGES = [
  { physical: 0, virtual: 0n, fileBytes: 0xa0000 % 40_000, memoryBytes: 0xa0000 },
  { physical: 0x10_0000, virtual: 0xc010_0000n, fileBytes: 70_000, memoryBytes: 70_000 },
];

for (const wordBytes of [4, 8] as const) {
  for (const littleEndian of [true, false]) {
    test(`a core of ${wordBytes * 8} bits, ${littleEndian ? 'little' : 'big'}-endian`, async () => {
      for (const align of [1, 4096]) {
        const { file, bytes } = await ownCore({ wordBytes, littleEndian }, RANGES, align);
        const core = await ProgramCore.open(access(bytes));
        assert.deepEqual(core.file, file);
        assert.deepEqual(parseVmcoreInfo(core.notes), { OSRELEASE: '6.1', PAGESIZE: '4096' });
        const memory = new Uint8Array(0xb0000).fill(0xee);
        assert.equal(await core.readPhysical(0, memory), 0xa0000);
        assert.equal(memory[RANGES[0].fileBytes - 1], (RANGES[0].fileBytes - 1) & 0xff);
        assert.ok(memory.subarray(RANGES[0].fileBytes, 0xa0000).every((byte) => byte === 0));
        assert.equal(await core.readPhysical(0x10_0001, memory.subarray(0, 2)), 2);
        assert.deepEqual([...memory.subarray(0, 2)], [1, 2]);
      }
    });
  }
}

test('more program headers than the field for their number can say', async () => {
  const ranges = Array.from({ length: 66_000 }, (_, i) => ({
    physical: i * 8192,
    virtual: 0n,
    fileBytes: 16,
    memoryBytes: 16,
  }));
  const { file, bytes } = await ownCore({ wordBytes: 8, littleEndian: true }, ranges, 1);
  assert.deepEqual([file.header.segmentCount, file.sections[0].info], [0xffff, 66_001]);
  const core = await ProgramCore.open(access(bytes));
  assert.equal(core.ranges.length, 66_000);
  const one = new Uint8Array(1);
  assert.equal(await core.readPhysical(65_999 * 8192 + 1, one), 1);
  assert.equal(one[0], (65_999 * 2 + 1) & 0xff);
});

test('a place that two ranges have counts as the first', async () => {
  const ranges = [
    { physical: 0, virtual: 0n, fileBytes: 100, memoryBytes: 100 },
    { physical: 10, virtual: 1000n, fileBytes: 20, memoryBytes: 20 },
    { physical: 90, virtual: 5000n, fileBytes: 20, memoryBytes: 20 },
  ];
  const core = await ProgramCore.open(access((await ownCore({ wordBytes: 8, littleEndian: true }, ranges, 1)).bytes));
  const memory = new Uint8Array(120);
  assert.equal(await core.readPhysical(0, memory), 110);
  assert.deepEqual(
    memory.subarray(0, 100),
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  assert.equal(memory[105], (Math.floor(90 / 4096) + 15) & 0xff);
});

function codeOf(error: unknown): string {
  assert.ok(error instanceof TransmigrateError, error instanceof Error ? error.stack : String(error));
  assert.ok(error.code !== 'INTERNAL' && error.offset !== undefined, `${error.code} ${error.message}`);
  assert.match(error.section ?? '', /^foreign\/elf \d/);
  return error.code;
}

test('lies in the header and the tables are named', async () => {
  const xen = fixture(PV);
  const lie = async (
    at: number,
    values: readonly number[],
    open: (input: RandomAccess) => Promise<unknown>,
    of = xen,
  ) => {
    const bytes = of.slice();
    bytes.set(values, at);
    return open(access(bytes)).then(() => 'fine', codeOf);
  };
  const xenCore = (input: RandomAccess): Promise<XenCore> => XenCore.open(input);
  assert.equal(await lie(0, [0], xenCore), 'NOT_AN_IMAGE');
  assert.equal(await lie(4, [3], xenCore), 'FIELD_VALUE', 'class');
  assert.equal(await lie(5, [0], xenCore), 'FIELD_VALUE', 'byte order');
  assert.equal(await lie(6, [2], xenCore), 'UNSUPPORTED_VERSION');
  assert.equal(
    await lie(0x28, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], xenCore),
    'FIELD_VALUE',
    'place of sections',
  );
  assert.equal(await lie(0x28, [0, 0, 0, 0, 1], xenCore), 'TRUNCATED', 'place of sections');
  assert.equal(await lie(0x3a, [63], xenCore), 'FIELD_VALUE', 'size of a section header');
  // Section 5, the pages, and 6, the table: place and size.
  const section = (index: number, field: number): number => 64 + index * 64 + field;
  assert.equal(await lie(section(5, 32), [1], xenCore), 'LENGTH_MISMATCH', 'pages');
  assert.equal(await lie(section(5, 24), [0, 0, 0, 0, 9], xenCore), 'TRUNCATED', 'place of pages');
  assert.equal(await lie(section(6, 32), [0, 0, 1], xenCore), 'TRUNCATED', 'table');
  assert.equal(await lie(section(3, 56), [7], xenCore), 'LENGTH_MISMATCH', 'contexts');
  assert.equal(await lie(section(2, 32), [0, 0, 0, 0, 1], xenCore), 'LIMIT_EXCEEDED', 'notes');
  assert.equal(await lie(section(1, 32), [0, 0, 0, 0, 1], xenCore), 'LIMIT_EXCEEDED', 'names');
  assert.equal(await lie(544, [1], xenCore), 'FIELD_VALUE', 'magic');
  assert.equal(await lie(568, [1], xenCore), 'FIELD_VALUE', 'page size');
  assert.equal(await lie(516, [0xff, 0xff, 0xff, 0x7f], xenCore), 'LENGTH_MISMATCH', 'note');
  assert.equal(await lie(1888, [2], xenCore), 'UNSUPPORTED_VERSION');
  const qemu = fixture(QEMU);
  const programCore = (input: RandomAccess): Promise<ProgramCore> => ProgramCore.open(input);
  assert.equal(await lie(0x38, [0, 0], programCore, qemu), 'NOT_AN_IMAGE', 'no program headers');
  assert.equal(await lie(192 + 32, [0, 0, 0, 0, 1], programCore, qemu), 'LIMIT_EXCEEDED', 'notes');
  assert.equal(await lie(192 + 56 + 40, [1, 0, 0, 0], programCore, qemu), 'FIELD_VALUE', 'smaller in memory');
  assert.equal(await lie(192 + 56 + 24, [0, 0, 0, 0, 0, 0, 0, 1], programCore, qemu), 'FIELD_VALUE', 'address');
  const frame = xen.slice();
  frame.set([0, 0, 0, 0, 0, 0, 0, 0x7f], 4206592 + 5 * 16);
  const core = await XenCore.open(access(frame));
  assert.equal(await core.summarizeTable().then(() => 'fine', codeOf), 'FIELD_VALUE');
});

test('a cut anywhere is TRUNCATED', async () => {
  const { bytes } = await ownCore(
    { wordBytes: 8, littleEndian: true },
    [{ ...RANGES[1], fileBytes: 300, memoryBytes: 300 }],
    1,
  );
  for (let end = 0; end < bytes.length; end++) {
    const core = await ProgramCore.open(access(bytes.subarray(0, end))).catch(codeOf);
    if (typeof core === 'string') assert.equal(core, 'TRUNCATED');
    else assert.equal(await core.readPhysical(0x10_0000, new Uint8Array(300)).then(() => 'fine', codeOf), 'TRUNCATED');
  }
});

test('random damage gives typed errors, and no memory that the input only claims', async () => {
  const seed = testSeed();
  const replay = `SEED=${seed} node_modules/.bin/node --test test/unit/foreign/elf.test.ts`;
  const rng = random(seed);
  const subjects = [
    fixture(PV),
    fixture(QEMU),
    (await ownCore({ wordBytes: 4, littleEndian: false }, RANGES, 1)).bytes,
  ];
  try {
    for (let run = 0; run < 400; run++) {
      const subject = rng.pick(subjects);
      const bytes = subject.slice();
      const places = subject === subjects[0] ? 2000 : 984;
      for (let n = 1 + rng.below(4); n > 0; n--)
        bytes[rng.below(places)] = rng.pick([0, 1, 0x7f, 0xff, rng.below(256)]);
      const before = process.memoryUsage().arrayBuffers;
      await XenCore.open(access(bytes))
        .then((core) => core.summarizeTable())
        .catch(codeOf);
      await ProgramCore.open(access(bytes))
        .then((core) => core.readPhysical(0, new Uint8Array(65_536)))
        .catch(codeOf);
      await readElfFile(access(bytes)).catch(codeOf);
      assert.ok(process.memoryUsage().arrayBuffers - before < 256 * 1024 * 1024);
    }
  } catch (error) {
    throw new Error(`seed ${seed}; replay: ${replay}`, { cause: error });
  }
});

test('memory does not grow with the guest, written in one pass', async () => {
  const page = new Uint8Array(4 * 1024 * 1024);
  const cost = async (mebibytes: number): Promise<number> => {
    const pages = mebibytes * 256;
    // The sink hands what is written to a reader at once, and keeps nothing.
    const through = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 }, { highWaterMark: 1 });
    const out = through.writable.getWriter();
    const writer = new XenCoreWriter(
      { write: (bytes) => out.write(bytes) },
      {
        machine: ELF_MACHINE.x8664,
        domain: 'pv',
        xenVersion: undefined,
        vcpus: [new Uint8Array(5168)],
        sharedInfo: undefined,
        table: 'p2m',
        pages,
        pageBytes: 4096,
      },
    );
    const writing = (async () => {
      for (let at = 0; at < pages; at += 1024) await writer.pages(page);
      const pfns = new Float64Array(1024);
      for (let at = 0; at < pages; at += 1024) await writer.table(pfns, pfns);
      await writer.end();
      await out.close();
    })();
    let [most, bytes] = [0, 0];
    const before = process.memoryUsage().arrayBuffers;
    for await (const part of through.readable) {
      bytes += part.length;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    await writing;
    assert.ok(bytes > pages * 4112);
    return most;
  };
  await cost(16);
  const [small, large] = [await cost(64), await cost(2048)];
  assert.ok(large < small + 32 * 1024 * 1024, `${small} bytes for 64 MiB, ${large} for 2 GiB`);
});

test('notes that do not fit, and what pads them', () => {
  const shape = { wordBytes: 8, littleEndian: true } as const;
  const notes = [
    { name: 'A', type: 1, content: Uint8Array.of(1, 2, 3) },
    { name: 'LONGER', type: 2, content: new Uint8Array(0) },
  ];
  const bytes = encodeNotes(notes, shape);
  assert.deepEqual(
    parseNotes(bytes, shape, 100).map(({ name, type, offset }) => [name, type, offset]),
    [
      ['A', 1, 100],
      ['LONGER', 2, 120],
    ],
  );
  assert.throws(() => parseNotes(bytes.subarray(0, 17), shape, 0), { code: 'LENGTH_MISMATCH' });
});

/** The peers that read what we write: binutils and gdb, where they are installed. */
const has = (program: string): string | false =>
  spawnSync(program, ['--version']).status === 0 ? false : `SKIPPED: ${program} is not installed`;

test('readelf reads the core that we write', { skip: has('readelf') }, async () => {
  const { bytes } = await ownCore({ wordBytes: 8, littleEndian: true }, RANGES, 4096);
  const directory = mkdtempSync(join(tmpdir(), 'transmigrate-elf-'));
  try {
    const path = join(directory, 'core');
    writeFileSync(path, bytes);
    const out = execFileSync('readelf', ['-hln', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    assert.match(out, /CORE \(Core file\)/);
    assert.match(out, /LOAD .* 0x00000000c0100000 0x0000000000100000/);
    assert.match(out, /NT_PRSTATUS/);
    assert.match(out, /VMCOREINFO/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('gdb reads registers and memory of the core that we write', { skip: has('gdb') }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'transmigrate-elf-'));
  try {
    for (const wordBytes of [4, 8] as const) {
      const { bytes } = await ownCore({ wordBytes, littleEndian: true }, RANGES, 4096);
      const path = join(directory, `core${wordBytes}`);
      writeFileSync(path, bytes);
      const [pc, sp] = wordBytes === 8 ? ['$rip', '$rsp'] : ['$eip', '$esp'];
      const show = `printf "pc=%lx sp=%lx word=%x\\n", (long)${pc}, (long)${sp}, *(unsigned*)0xc0100010`;
      const out = spawnSync('gdb', ['-nx', '-batch', '-ex', `core-file ${path}`, '-ex', show], { encoding: 'utf8' });
      assert.match(out.stdout, /pc=1234 sp=7000 word=13121110/, out.stdout + out.stderr);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
