import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readBzImage } from '../../../../src/machine/v86/boot/bzimage.ts';
import { readElf } from '../../../../src/machine/v86/boot/elf32.ts';
import { planLinux } from '../../../../src/machine/v86/boot/linux.ts';
import { planMultiboot } from '../../../../src/machine/v86/boot/multiboot.ts';
import { NO_REGISTERS, type BootPlan } from '../../../../src/machine/v86/boot/plan.ts';
import { TransmigrateError } from '../../../../src/errors.ts';
import { random } from '../../../support/random.ts';
import { bzImageFile, elfFile, multibootFile } from './files.ts';
import { testSeed } from '../../../support/seed.ts';

const MIB = 1024 * 1024;
const memoryBytes = 32 * MIB;
const commandLine = 'console=ttyS0 quiet';

function vmlinux(memory = 0x300000): Uint8Array {
  const content = new Uint8Array(0x2000).fill(0x90);
  return elfFile(0x1000000, [{ virtual: 0xc1000000, physical: 0x1000000, content, memoryBytes: memory }]);
}

function parametersOf(plan: BootPlan): DataView {
  const { bytes } = plan.writes.find(({ address }) => address === plan.registers.esi)!;
  assert.equal(bytes.length, 4096);
  return new DataView(bytes.buffer, bytes.byteOffset);
}

function checkCommon(plan: BootPlan): void {
  const parameters = parametersOf(plan);
  assert.deepEqual([plan.codeSelector, plan.dataSelector], [0x10, 0x18]);
  assert.deepEqual({ ...plan.registers, esi: 0, esp: 0 }, NO_REGISTERS);
  assert.equal(parameters.getUint32(0x202, true), 0x53726448);
  assert.equal(parameters.getUint8(0x210), 0xff);
  assert.equal(parameters.getUint8(0x211) & 1, 1);
  const commands = plan.writes.find(({ address }) => address === parameters.getUint32(0x228, true))!;
  assert.equal(new TextDecoder().decode(commands.bytes), `${commandLine}\0`);
  const map = Array.from({ length: parameters.getUint8(0x1e8) }, (_entry, i) =>
    [0, 8, 16].map((offset) => parameters.getUint32(0x2d0 + i * 20 + offset, true)),
  );
  assert.deepEqual(map, [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x60400, 2],
    [0x100000, memoryBytes - MIB, 1],
  ]);
}

test('a bzImage goes to 1 MiB with its own header, and the initrd to the top', () => {
  for (const setupSectors of [0, 3, 30]) {
    const kernel = bzImageFile({ setupSectors });
    const initrd = new Uint8Array(100_000).fill(7);
    const plan = planLinux({ kernel, initrd, commandLine, memoryBytes });
    checkCommon(plan);
    assert.equal(plan.entry, MIB);
    const loaded = plan.writes.find(({ address }) => address === MIB)!;
    assert.equal(loaded.bytes.length, 5000);
    assert.deepEqual(loaded.bytes.subarray(4), new Uint8Array(4996).fill(0x90));
    const parameters = parametersOf(plan);
    assert.equal(parameters.getUint16(0x206, true), 0x020f);
    assert.equal(parameters.getUint32(0x260, true), 0x200000);
    const [at, length] = [parameters.getUint32(0x218, true), parameters.getUint32(0x21c, true)];
    assert.equal(length, initrd.length);
    assert.equal(at % 4096, 0);
    assert.ok(at + length <= memoryBytes && at + length > memoryBytes - 3 * 65_536);
    assert.equal(plan.writes.find(({ address }) => address === at)!.bytes, initrd);
  }
});

test('an initrd stays below the address that the kernel names', () => {
  const kernel = bzImageFile({ initrdAddressMax: 16 * MIB - 1 });
  const initrd = new Uint8Array(5000);
  const at = parametersOf(planLinux({ kernel, initrd, commandLine, memoryBytes })).getUint32(0x218, true);
  assert.equal(at, 16 * MIB - 8192);
});

test('a vmlinux goes to its physical addresses, with a header made for it', () => {
  const plan = planLinux({ kernel: vmlinux(), commandLine, memoryBytes });
  checkCommon(plan);
  assert.equal(plan.entry, 0x1000000);
  assert.equal(plan.writes.find(({ what }) => what === 'kernel')!.address, 0x1000000);
  assert.equal(parametersOf(plan).getUint32(0x218, true), 0);
  assert.equal(parametersOf(plan).getUint16(0x206, true), 0x020f);
});

test('the compression of a bzImage is known by its first bytes', () => {
  const names: Record<string, number[]> = {
    gzip: [0x1f, 0x8b],
    xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a],
    zstd: [0x28, 0xb5, 0x2f, 0xfd],
    none: [0x7f, 0x45, 0x4c, 0x46],
    unknown: [1, 2, 3],
  };
  for (const [name, magic] of Object.entries(names)) {
    const image = readBzImage(bzImageFile({ payload: Uint8Array.from([...magic, 9, 9]) }), 'kernel');
    assert.equal(image.compression, name);
    assert.deepEqual([...image.payload], [...magic, 9, 9]);
  }
});

const elf = vmlinux();
function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
}

const REFUSED: Record<string, [Uint8Array, string]> = {
  nothing: [new Uint8Array(), 'BOOT_FILE'],
  'a text': [new TextEncoder().encode('#!/bin/sh\n'.repeat(100)), 'BOOT_FILE'],
  'a bzImage of an older protocol': [bzImageFile({ protocol: 0x0207 }), 'BOOT_FILE'],
  'a zImage': [bzImageFile({ loadFlags: 0 }), 'BOOT_FILE'],
  'a bzImage without its boot flag': [changed(bzImageFile(), 0x1ff, 0), 'BOOT_FILE'],
  'a bzImage that ends in its setup': [bzImageFile({ setupSectors: 8 }).subarray(0, 2000), 'BOOT_FILE'],
  'a bzImage whose payload is cut': [changed(bzImageFile(), 0x24f, 1), 'BOOT_FILE'],
  'a kernel that needs more memory': [bzImageFile({ initBytes: 64 * MIB }), 'GUEST_MEMORY'],
  'an ELF file of 64 bits': [changed(elf, 4, 2), 'BOOT_FILE'],
  'a big-endian one': [changed(elf, 5, 2), 'BOOT_FILE'],
  'an object file': [changed(elf, 16, 1), 'BOOT_FILE'],
  'one for another processor': [changed(elf, 18, 40), 'BOOT_FILE'],
  'one with headers of another size': [changed(elf, 42, 56), 'BOOT_FILE'],
  'one without segments': [changed(elf, 44, 0), 'BOOT_FILE'],
  'one with too many': [changed(elf, 45, 1), 'BOOT_FILE'],
  'one with nothing to load': [changed(elf, 52, 2), 'BOOT_FILE'],
  'one that is cut': [elf.subarray(0, elf.length - 1), 'BOOT_FILE'],
  'one with an entry outside': [changed(elf, 27, 2), 'BOOT_FILE'],
  'one with a segment above memory': [vmlinux(64 * MIB), 'GUEST_MEMORY'],
};

for (const [name, [kernel, code]] of Object.entries(REFUSED)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => planLinux({ kernel, commandLine, memoryBytes }), { code });
  });
}

test('an initrd that does not fit is refused, however large', () => {
  const kernel = vmlinux();
  for (const size of [13 * MIB, 31 * MIB, 32 * MIB, 40 * MIB]) {
    assert.throws(() => planLinux({ kernel, initrd: new Uint8Array(size), commandLine, memoryBytes }), {
      code: 'GUEST_MEMORY',
    });
  }
});

test('files changed at random are taken or refused by name, and never lead outside of memory', () => {
  const seed = testSeed();
  const replay = `SEED=${seed} node --test test/unit/machine/boot/linux.test.ts`;
  const draw = random(seed);
  const files = [bzImageFile(), vmlinux(), multibootFile({ at: 64 })];
  let taken = 0;
  for (let i = 0; i < 6000; i++) {
    const original = draw.pick(files);
    const file = original.slice(0, draw.below(20) === 0 ? draw.below(original.length) : original.length);
    for (let n = draw.below(4); n >= 0; n--) {
      const at = draw.below(3) === 0 ? draw.below(128) : 0x1f0 + draw.below(0x80);
      if (at < file.length) file[at] = draw.pick([0, 1, 0x7f, 0x80, 0xff, draw.below(256)]);
    }
    for (const plan of [
      () => planLinux({ kernel: file, initrd: new Uint8Array(4096), commandLine, memoryBytes }),
      () => planMultiboot({ image: file, memoryBytes }),
    ]) {
      try {
        for (const { address, bytes } of plan().writes) {
          assert.ok(address >= 0 && address + bytes.length <= memoryBytes, replay);
        }
        taken++;
      } catch (error) {
        assert.ok(error instanceof TransmigrateError, `${String(error)}; ${replay}`);
        assert.ok(['BOOT_FILE', 'GUEST_MEMORY'].includes(error.code), `${error.code}; ${replay}`);
      }
    }
  }
  assert.ok(taken > 100, `only ${taken} were taken: the changes are too coarse; ${replay}`);
});

test('a segment that is larger in the file than in memory is refused', () => {
  const file = elfFile(0x100000, [
    { virtual: 0x100000, physical: 0x100000, content: new Uint8Array(64), memoryBytes: 63 },
  ]);
  assert.throws(() => readElf(file, 'kernel'), { code: 'BOOT_FILE' });
});
