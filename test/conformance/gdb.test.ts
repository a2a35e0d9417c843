/**
 * Debian's gdb looks into images through `transmigrate gdb`, and sees what is known to be in them: machines that are
 * made here, real ones of Xen, and those of which gdb's own words on QEMU's stub are recorded. Needs gdb and nasm.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GENERAL, type RegisterName } from '../../src/stream/records/vcpu.ts';
import { corpus, corpusFile, fixture } from '../support/corpus.ts';
import { FakeMemory, fakeVcpu, PAGE } from '../support/image/fake-image.ts';
import { written } from '../support/streams.ts';
import { EXPECTED } from '../support/xen/corpus.ts';

const BIN = fileURLToPath(new URL('../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-gdb-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function missing(program: string): string | false {
  return spawnSync(program, ['--version']).error === undefined ? false : `SKIPPED: ${program} is not installed`;
}

const noGdb = missing('gdb');

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function transmigrate(...args: string[]): Ran {
  return spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
}

/** Runs commands in gdb on an image. @returns all that it says */
function gdb(image: string, commands: readonly string[]): string {
  const target = `target remote | '${process.execPath}' '${BIN}' gdb '${image}'`;
  const words = ['set confirm off', 'set width 0', 'set height 0', target, ...commands].flatMap((one) => ['-ex', one]);
  const { status, stdout, stderr, error } = spawnSync('gdb', ['-nx', '-batch', ...words], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(error, undefined);
  const said = stdout + stderr;
  assert.equal(status, 0, said);
  assert.doesNotMatch(said, /warning: (?:while parsing|Could not load|.*checksum)|[Pp]acket.*too long|Ignoring packet/);
  return said;
}

/** What `info registers` says, by name: the number in hex. */
function registersIn(text: string): Map<string, string> {
  return new Map(
    Array.from(text.matchAll(/^([a-z]\w*) +(0x[0-9a-f]+|<unavailable>)/gm), ([, name = '', value = '']) => [
      name,
      value,
    ]),
  );
}

interface Machine {
  readonly memory: FakeMemory;
  readonly registers: Partial<Record<RegisterName, bigint>>;
  readonly csAttributes?: number;
  readonly fxsave?: Uint8Array;
}

/** Writes an image of ours, with a second vCPU that is off. */
async function imageOf(name: string, { memory, registers, csAttributes = 0xc9b, fxsave }: Machine): Promise<string> {
  const path = join(directory, `${name}.tmig`);
  const all = Object.fromEntries([...GENERAL, 'cr0', 'cr2', 'cr3', 'cr4', 'efer'].map((register) => [register, 0n]));
  const bytes = await written(
    async (writer) => {
      for (const [pfn, page] of [...memory.content].sort(([a], [b]) => a - b)) await writer.ram(pfn, 1, page);
      await writer.vcpu(fakeVcpu({ ...all, ...registers }, { csAttributes, halted: true }));
      await writer.vcpu(fakeVcpu({}, { vcpu: 1, online: false, segments: null }));
      if (fxsave !== undefined) await writer.vcpuState(0, 1, fxsave);
    },
    { domainType: 'hvm' },
  );
  writeFileSync(path, bytes);
  return path;
}

const KERNEL = 0xffff_ffff_8100_0000n;
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/**
 * A machine in long mode. Three functions call each other, the innermost has halted:
 * `push rbp; mov rbp, rsp; call NEXT; pop rbp; ret`, twice, and `push rbp; mov rbp, rsp; hlt; pop rbp; ret`.
 */
const CODE = ['554889e5e8020000005dc3', '554889e5e8020000005dc3', '554889e5f45dc3'].map((one) =>
  Buffer.from(one, 'hex'),
);
const [OUTER, MIDDLE, INNER] = [0n, 11n, 22n];
const STACK = 0x1f00n;

function longMachine(): Machine {
  const memory = new FakeMemory();
  memory.put64(0x1000 + 8 * 511, 0x2063n);
  memory.put64(0x2000 + 8 * 510, 0x3063n);
  memory.put64(0x3000 + 8 * 8, 0x20_00e3n);
  memory.put(0x20_0000, Buffer.concat(CODE));
  const words = [
    [KERNEL + STACK + 0x10n, KERNEL + MIDDLE + 9n],
    [KERNEL + STACK + 0x20n, KERNEL + OUTER + 9n],
    [0n, 0n],
  ];
  for (const [i, word] of words.flat().entries()) memory.put64(0x20_0000 + Number(STACK) + 8 * i, word);
  memory.put(0x20_0800, Buffer.from('a text of the kernel\0'));
  const fxsave = new Uint8Array(512);
  const view = new DataView(fxsave.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  // 1.5 in ST(0), in which only register 0 is in use; 2.5 in the lower half of xmm1.
  view.setUint8(4, 1);
  view.setBigUint64(32, 3n << 62n, true);
  view.setUint16(40, 0x3fff, true);
  view.setFloat64(160 + 16, 2.5, true);
  const general = Object.fromEntries(GENERAL.map((register, i) => [register, 0x1111n * BigInt(i + 1)]));
  return {
    memory,
    csAttributes: 0xa9b,
    fxsave,
    registers: {
      ...general,
      rip: KERNEL + INNER + 4n,
      rsp: KERNEL + STACK,
      rbp: KERNEL + STACK,
      rflags: 0x246n,
      cr0: 0x8005_0033n,
      cr3: 0x1000n,
      cr4: 0x6f0n,
      efer: 0xd01n,
    },
  };
}

describe('a machine in long mode', { skip: noGdb }, () => {
  it('shows registers, threads and memory', async () => {
    const said = gdb(await imageOf('long', longMachine()), [
      'info registers',
      `x/s ${hex(KERNEL + 0x800n)}`,
      'x/2i $pc',
      'p $st0',
      'p $xmm1.v2_double[0]',
      'p/x $ftag',
      'info threads',
      `x/x ${hex(KERNEL + 0x20_0000n)}`,
      `x/2xg ${hex(KERNEL + STACK)}`,
    ]);
    const registers = registersIn(said);
    for (const [i, name] of GENERAL.entries()) {
      if (['rip', 'rsp', 'rbp', 'rflags'].includes(name)) continue;
      assert.equal(registers.get(name), hex(0x1111 * (i + 1)), name);
    }
    assert.equal(registers.get('rip'), hex(KERNEL + INNER + 4n));
    assert.match(said, /^eflags +0x246 +\[ PF ZF IF IOPL=0 \]$/m);
    assert.match(said, /^cr0 +0x80050033 +\[ PE MP ET NE WP AM PG \]$/m);
    assert.match(said, /^cr3 +0x1000 +\[ PCID=0 PDBR=1 \]$/m);
    assert.match(said, /^efer +0xd01 +\[ SCE LME LMA NXE \]$/m);
    assert.match(said, /^cr8 +<unavailable>$/m);
    assert.match(said, /^cs +0x10 +16$/m);
    assert.match(said, /^0xffffffff81000800:\t"a text of the kernel"$/m);
    assert.match(said, /^=> 0xffffffff8100001a:\thlt *\n {3}0xffffffff8100001b:\tpop +%rbp$/m);
    assert.match(said, /^\$1 = 1\.5$/m);
    assert.match(said, /^\$2 = 2\.5$/m);
    assert.match(said, /^\$3 = 0xfffc$/m);
    assert.match(said, /^\* 1 +Thread 1 \(vCPU 0 \[halted\]\)/m);
    assert.match(said, /^ {2}2 +Thread 2 \(vCPU 1 \[offline\]\) <unavailable>/m);
    assert.match(said, /Cannot access memory at address 0xffffffff81200000/);
  });

  it('shows a backtrace with the symbols of its kernel', { skip: missing('nasm') }, async () => {
    const source = ['outer', 'middle', 'inner'].flatMap((name, i) => [
      `global ${name}:function (${name}.end - ${name})`,
      `${name}: db ${[...CODE[i]].join(',')}`,
      '.end:',
    ]);
    writeFileSync(join(directory, 'kernel.asm'), ['bits 64', 'section .text', ...source, ''].join('\n'));
    const { status, stderr } = spawnSync('nasm', ['-f', 'elf64', '-o', 'kernel.o', 'kernel.asm'], {
      cwd: directory,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    const said = gdb(await imageOf('trace', longMachine()), [
      `add-symbol-file ${join(directory, 'kernel.o')} ${hex(KERNEL)}`,
      'bt',
      'x/i middle',
    ]);
    assert.deepEqual(said.match(/^#\d.*$/gm)?.slice(0, 3), [
      '#0  0xffffffff8100001a in inner ()',
      '#1  0xffffffff81000014 in middle ()',
      '#2  0xffffffff81000009 in outer ()',
    ]);
    assert.match(said, /^ +0xffffffff8100000b <middle>:\tpush +%rbp$/m);
  });

  it('neither changes nor runs, and answers monitor', async () => {
    const said = gdb(await imageOf('still', longMachine()), [
      'set var $rax=5',
      `set var *(char*)${hex(KERNEL)}=1`,
      'stepi',
      'continue',
      'p/x $rax',
      `monitor translate ${hex(KERNEL + 0x1234n)}`,
      'monitor phys 0x200800 21',
      'monitor vcpu',
      'detach',
    ]);
    assert.match(said, /Could not write register "rax"/);
    assert.match(said, /Cannot access memory at address 0xffffffff81000000/);
    assert.equal(said.match(/This is a saved image: it does not run\./g)?.length, 2);
    assert.match(said, /^\$1 = 0x1111$/m);
    assert.match(said, /^vCPU 0: 0xffffffff81001234 is physical 0x201234 \(page of 2097152 bytes, entry 0x2000e3\)$/m);
    assert.match(said, /\|a text of the ke\|\n.*\|rnel\.\|$/m);
    assert.match(said, /^vCPU 0: halted; paging 4-level, tables at 0x1000$/m);
    assert.match(said, /detached/);
  });
});

describe('other modes', { skip: noGdb }, () => {
  const COMMANDS = ['info registers', 'x/2i $pc', 'x/4xb $pc', 'show architecture'];

  it('PAE', async () => {
    const memory = new FakeMemory();
    memory.put64(0x1000 + 8 * 3, 0x2001n);
    memory.put64(0x2000, 0x3063n);
    memory.put64(0x3000 + 8, 0x9063n);
    memory.put(0x9010, Buffer.from('b844332211f4', 'hex'));
    const registers = { rip: 0xc000_1010n, rax: 7n, cr0: 0x8000_0011n, cr3: 0x1000n, cr4: 0x20n };
    const said = gdb(await imageOf('pae', { memory, registers }), COMMANDS);
    assert.match(said, /^=> 0xc0001010:\tmov +\$0x11223344,%eax\n {3}0xc0001015:\thlt/m);
    assert.match(said, /^eax +0x7 +7$/m);
    assert.match(said, /currently "i386"/);
  });

  it('32-bit with pages of 4 MiB', async () => {
    const memory = new FakeMemory();
    memory.put32(0x1000 + 4 * 0x300, 0x0040_00e3);
    memory.put(0x40_1010, Buffer.from('b844332211f4', 'hex'));
    const registers = { rip: 0xc000_1010n, rsp: 0xc000_2000n, cr0: 0x8000_0011n, cr3: 0x1000n, cr4: 0x10n };
    const said = gdb(await imageOf('two-level', { memory, registers }), COMMANDS);
    assert.match(said, /^=> 0xc0001010:\tmov +\$0x11223344,%eax/m);
    assert.match(said, /^esp +0xc0002000/m);
    assert.match(said, /currently "i386"/);
  });

  it('real mode', async () => {
    const memory = new FakeMemory();
    memory.put(0x7c00, Buffer.from('b83412f4', 'hex'));
    const machine = { memory, csAttributes: 0x9b, registers: { rip: 0x7c00n, cr0: 0x10n } };
    const said = gdb(await imageOf('real', machine), COMMANDS);
    assert.match(said, /^=> 0x7c00:\tmov +\$0x1234,%ax\n {3}0x7c03:\thlt/m);
    assert.match(said, /currently "i8086"/);
  });
});

describe('real images of Xen', () => {
  /** An image as a file. */
  function file(name: string, bytes: Uint8Array): string {
    const path = join(directory, name);
    if (!existsSync(path)) writeFileSync(path, bytes);
    return path;
  }

  const tiny = (): string => file('tiny64.xl', fixture('xen/xen-4.17-pv-tiny64-4m.xl'));

  it('gdb sees a 64-bit PV guest in its hypercall', { skip: noGdb }, () => {
    const said = gdb(tiny(), ['x/3i $pc', 'x/2xb $pc-2', 'info threads']);
    // It suspended itself: rip is behind the syscall in a stub of the hypercall page that Xen filled.
    assert.match(said, /^=> 0x[0-9a-f]+:\tpop +%r11\n.*pop +%rcx\n.*ret/m);
    assert.match(said, /^0x[0-9a-f]+:\t0x0f\t0x05$/m);
  });

  it('every page with a pattern is found, and memory is exported as it is', () => {
    // Each begins with this text, and the index of the page.
    const found = transmigrate('memory', tiny(), 'find', '--hex', '544d4c4142504700', '--json');
    const { matches } = JSON.parse(found.stdout) as { matches: string[] };
    assert.equal(matches.filter((address) => address.endsWith('000')).length, 400);
    for (const name of ['xen-4.17-pv-tiny64-4m.xl', 'xen-4.17-hvm-seabios-16m.xl']) {
      const image = file(name, fixture(`xen/${name}`));
      const [raw, map] = [join(directory, 'raw'), join(directory, 'map')];
      const { status, stderr } = transmigrate('memory', image, 'export', raw, '--map', map, '--force');
      assert.equal(status, 0, stderr);
      // It may be larger than a buffer, and is mostly holes.
      const handle = openSync(raw, 'r');
      const page = Buffer.alloc(PAGE);
      const { absent, presentPages } = JSON.parse(readFileSync(map, 'utf8')) as {
        absent: { firstPfn: number; pages: number }[];
        presentPages: number;
      };
      const hash = createHash('sha256');
      const number = Buffer.alloc(8);
      let pfn = 0;
      for (const { firstPfn, pages } of [...absent, { firstPfn: fstatSync(handle).size / PAGE, pages: 0 }]) {
        for (; pfn < firstPfn; pfn++) {
          number.writeBigUInt64LE(BigInt(pfn));
          readSync(handle, page, 0, PAGE, pfn * PAGE);
          hash.update(number).update(page);
        }
        pfn += pages;
      }
      closeSync(handle);
      const { final_pages, final_memory_sha256 } = EXPECTED[name].memory!;
      assert.equal(presentPages, final_pages, name);
      assert.equal(hash.digest('hex'), final_memory_sha256, name);
    }
  });

  it('a page table that Xen lost is named', () => {
    const image = file('lost.xl', fixture('xen/xen-4.17-pv-tiny32-4m-lostpage.xl'));
    const { status, stdout } = transmigrate('memory', image, 'read', '0xc0000000', '16', '--virtual', '--json');
    assert.equal(status, 1);
    const { stop, paging } = JSON.parse(stdout) as { stop: Record<string, unknown>; paging: string };
    assert.deepEqual([paging, stop['why'], stop['level'], stop['pfn']], ['pae', 'table-absent', 'PTE', 15]);
  });

  const linux = corpusFile('xen/xen-4.17-pv-linux-128m.xl');

  it("Linux's banner is at its address", { skip: linux.skip || noGdb }, () => {
    const image = file('linux.xl', corpus('xen/xen-4.17-pv-linux-128m.xl'));
    const found = transmigrate('memory', image, 'find', '--text', 'Linux version ', '--max', '1');
    // The kernel lies at physical 16 MiB and is linked to ffffffff81000000, so the text is 0xffffffff80000000 above.
    const address = BigInt(found.stdout.trim()) + 0xffff_ffff_8000_0000n;
    const read = transmigrate('memory', image, 'read', hex(address), '31', '--virtual', '--raw');
    assert.equal(read.stdout, 'Linux version 6.1.0-56-amd64 (d', read.stderr);
    // The kernel maps all of its memory, one after the other, from ffff888000000000 on.
    const length = 16 * 2 ** 20;
    const bytesOf = (...args: string[]): string =>
      createHash('sha256')
        .update(spawnSync(process.execPath, [BIN, 'memory', image, ...args], { maxBuffer: 2 * length }).stdout)
        .digest('hex');
    assert.equal(
      bytesOf('read', '0xffff888001234567', String(length), '--virtual', '--raw'),
      bytesOf('export', '-', '--range', `0x1234567+${length}`),
    );
    const said = gdb(image, ['x/xb 0x10', 'echo \\n', `x/s ${hex(address)}`, 'info registers rip cs cr3', 'x/3i $pc']);
    assert.match(said, /:\t"Linux version 6\.1\.0-56-amd64 \(debian-kernel@lists\.debian\.org\)/);
    assert.match(said, /^rip +0xffffffff81[0-9a-f]{6} /m);
    assert.match(said, /^=> 0x[0-9a-f]+:\tpop +%r11/m);
    assert.match(said, /Cannot access memory at address 0x10$/m);
  });
});

/** Why an image can't be looked into yet, or undefined. */
function notOpened(image: string): string | undefined {
  const { stdout } = transmigrate('memory', image, 'find', '--hex', '00', '--max', '1', '--json');
  const { error } = JSON.parse(stdout) as { error?: { code: string } };
  return error?.code === 'UNSUPPORTED_FEATURE' ? 'SKIPPED: this format is not opened yet' : undefined;
}

describe("Xen's own dump of the same memory", { skip: noGdb }, () => {
  for (const name of ['xen-4.17-pv-tiny64-4m', 'xen-4.17-hvm-seabios-16m']) {
    const core = corpusFile(`xen-core/${name}.core`);
    it(`shows the same as the save: ${name}`, { skip: core.skip }, (t) => {
      const reason = notOpened(core.path);
      if (reason !== undefined) return t.skip(reason);
      // Page tables of the PV core name frames of the machine, those of the save its own pages.
      const commands = ['info registers', 'x/8i $pc', 'x/64xg $sp', 'x/4096xb (unsigned long)$pc & ~0xfff'];
      const shown = [core.path, corpusFile(`xen-core/${name}-corepair.xl`).path].map((image) => {
        const said = gdb(image, commands);
        return { registers: registersIn(said), memory: said.match(/^(?:=>)? *0x[0-9a-f]+:\t.*$/gm) ?? [] };
      });
      const [dumped, saved] = shown;
      assert.ok(saved.memory.length > 512 + 32, String(saved.memory.length));
      assert.deepEqual(dumped.memory, saved.memory);
      for (const [register, value] of saved.registers) {
        // The domain was resumed after the save: its suspension returned 1, for cancelled. The save names a page in rdx
        // where the guest has a frame of the machine (foreign/xen-libxc 7.1).
        if (name.includes('pv') && ['rax', 'rdx'].includes(register)) continue;
        if (![value, dumped.registers.get(register)].includes('<unavailable>')) {
          assert.equal(dumped.registers.get(register), value, register);
        }
      }
      return undefined;
    });
  }
});

interface GoldenEntry {
  readonly name: string;
  readonly core?: { readonly file: string };
  readonly golden: { readonly gdb?: { readonly stdout: string } };
}

describe('what gdb saw on QEMU itself', { skip: noGdb }, () => {
  const manifest = fileURLToPath(new URL('../../../shared/corpus/qemu/MANIFEST.json', import.meta.url));
  const entries = existsSync(manifest)
    ? (JSON.parse(readFileSync(manifest, 'utf8')) as { entries: GoldenEntry[] }).entries
    : [];
  it('is recorded', { skip: entries.length === 0 && 'SKIPPED: no ../shared/corpus/qemu beside the checkout' }, () => {
    assert.ok(entries.some(({ core, golden }) => core !== undefined && golden.gdb !== undefined));
  });

  for (const { core, golden } of entries) {
    const recorded = golden.gdb?.stdout;
    if (core === undefined || recorded === undefined) continue;
    it(`is seen in ${core.file}`, (t) => {
      const image = corpusFile(`qemu/${core.file.replace(/\.zst$/, '')}`).path;
      const reason = notOpened(image);
      if (reason !== undefined) return t.skip(reason);
      const said = gdb(image, ['info registers', 'x/4xw 0x100000', 'x/4xw 0x101000', 'x/8xb $pc', 'info threads']);
      const there = registersIn(recorded);
      const seen = registersIn(said);
      assert.ok(seen.size > 16, said);
      for (const [register, value] of seen) {
        // A guest in 32-bit mode is shown as one, where QEMU showed what its processor can.
        const expected = there.get(register) ?? there.get(register.replace(/^e/, 'r'));
        if (value !== '<unavailable>') assert.equal(value, expected, register);
      }
      for (const register of ['eax', 'esp', 'eip', 'eflags', 'cs', 'cr0']) {
        assert.match(seen.get(register) ?? '', /^0x/, register);
      }
      const memory = (text: string): string[] => text.match(/^0x[0-9a-f]+:\t.*$/gm) ?? [];
      assert.deepEqual(memory(said), memory(recorded));
      assert.equal(memory(said).length, 3);
      return undefined;
    });
  }
});
