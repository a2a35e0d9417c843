import assert from 'node:assert/strict';
import { test } from 'node:test';

import { enterPlan } from '../../../../src/machine/v86/boot/enter.ts';
import { isMultiboot, planMultiboot } from '../../../../src/machine/v86/boot/multiboot.ts';
import type { BootPlan } from '../../../../src/machine/v86/boot/plan.ts';
import { smallGuestImage } from '../../../../src/machine/v86/boot/small-guest.ts';
import { makeEmulator, serialOf } from '../../../support/v86/emulator.ts';
import { elfFile, multibootFile } from './files.ts';

const memoryBytes = 8 * 1024 * 1024;

/** The bytes of guest memory that a plan writes. */
function memoryOf(plan: BootPlan): Uint8Array {
  const memory = new Uint8Array(memoryBytes);
  for (const { address, bytes } of plan.writes) memory.set(bytes, address);
  return memory;
}

function textAt(memory: Uint8Array, at: number): string {
  return new TextDecoder().decode(memory.subarray(at, memory.indexOf(0, at)));
}

test('an image is loaded by its addresses, from its beginning or from within', () => {
  for (const at of [0, 64, 2048]) {
    const image = multibootFile({ at });
    const plan = planMultiboot({ image, memoryBytes });
    assert.equal(plan.entry, 0x100000 + at + 32);
    assert.deepEqual(memoryOf(plan).subarray(0x100000, 0x101000), image);
    assert.deepEqual(plan.spaces, [{ address: 0x101000, byteLength: 0x1000, what: 'multiboot image' }]);
  }
  const cut = planMultiboot({ image: multibootFile({ loadEnd: 0x100800, bssEnd: 0 }), memoryBytes });
  assert.equal(cut.writes[0].bytes.length, 0x800, 'what is behind load_end is not loaded');
  const whole = planMultiboot({ image: multibootFile({ loadEnd: 0, bssEnd: 0 }), memoryBytes });
  assert.equal(whole.writes[0].bytes.length, 4096, 'no load_end is all of the file');
});

test('an ELF file is loaded by its segments, and entered by its physical address', () => {
  const content = multibootFile({ flags: 0, byteLength: 256 });
  const image = elfFile(0xc0100020, [
    { virtual: 0xc0100000, physical: 0x100000, content, memoryBytes: 0x4000 },
    { virtual: 0, physical: 0, content: new Uint8Array(16), type: 4 },
  ]);
  assert.ok(isMultiboot(image));
  const plan = planMultiboot({ image, memoryBytes });
  assert.equal(plan.entry, 0x100020);
  assert.deepEqual(memoryOf(plan).subarray(0x100000, 0x100100), content);
  assert.deepEqual(plan.spaces, [{ address: 0x100100, byteLength: 0x3f00, what: 'multiboot image' }]);
});

test('the information has memory, map, command line and modules', () => {
  const [first, second] = [new Uint8Array(5000).fill(1), new Uint8Array(3).fill(2)];
  const plan = planMultiboot({
    image: multibootFile(),
    commandLine: 'quiet ä',
    modules: [{ bytes: first, commandLine: 'first one' }, { bytes: second }],
    memoryBytes,
  });
  const memory = memoryOf(plan);
  const view = new DataView(memory.buffer);
  const at = plan.registers.ebx;
  assert.equal(plan.registers.eax, 0x2badb002);
  const field = (offset: number): number => view.getUint32(at + offset, true);
  assert.equal(field(0), 1 | 4 | 8 | 64 | 512);
  assert.deepEqual([field(4), field(8)], [639, 7 * 1024]);
  assert.equal(textAt(memory, field(16)), 'quiet ä');
  assert.equal(textAt(memory, field(64)), 'transmigrate');
  assert.equal(field(20), 2);
  const module = (i: number): number[] => [0, 4, 8].map((offset) => view.getUint32(field(24) + i * 16 + offset, true));
  const [start, end, name] = module(0);
  assert.deepEqual([start, end], [0x102000, 0x102000 + 5000], 'behind the memory that the image wants');
  assert.deepEqual(memory.subarray(start, end), first);
  assert.equal(textAt(memory, name), 'first one');
  assert.deepEqual(module(1).slice(0, 2), [0x104000, 0x104003]);
  assert.equal(textAt(memory, module(1)[2]), '');
  const map: number[][] = [];
  for (let entry = field(48); entry < field(48) + field(44); entry += view.getUint32(entry, true) + 4) {
    map.push([4, 12, 20].map((offset) => view.getUint32(entry + offset, true)));
  }
  assert.deepEqual(map, [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x60400, 2],
    [0x100000, 0x700000, 1],
  ]);
});

const REFUSED: Record<string, [Uint8Array, string]> = {
  nothing: [new Uint8Array(), 'BOOT_FILE'],
  'another file': [new Uint8Array(8192).fill(1), 'BOOT_FILE'],
  'a header behind the first 8 KiB': [multibootFile({ at: 8184, byteLength: 16_384 }), 'BOOT_FILE'],
  'a header that is not on a multiple of four': [multibootFile({ at: 6 }), 'BOOT_FILE'],
  'a wish for a video mode': [multibootFile({ flags: 0x10004 }), 'BOOT_FILE'],
  'no addresses and no ELF file': [multibootFile({ flags: 0 }), 'BOOT_FILE'],
  'an entry outside': [multibootFile({ entry: 0x200000 }), 'BOOT_FILE'],
  'an end before the beginning': [multibootFile({ loadEnd: 0x1000 }), 'BOOT_FILE'],
  'more than the file has': [multibootFile({ loadEnd: 0x102000 }), 'BOOT_FILE'],
  'more memory than there is': [multibootFile({ bssEnd: 0x800001 }), 'GUEST_MEMORY'],
  'an address above memory': [multibootFile({ load: 0xfff00000 }), 'GUEST_MEMORY'],
  'the hole of a PC': [multibootFile({ load: 0x9f000, bssEnd: 0 }), 'GUEST_MEMORY'],
  'the place of the boot information': [multibootFile({ load: 0x10000, bssEnd: 0 }), 'GUEST_MEMORY'],
  'the place of the descriptors': [multibootFile({ load: 0x8800, bssEnd: 0 }), 'GUEST_MEMORY'],
};

for (const [name, [image, code]] of Object.entries(REFUSED)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => planMultiboot({ image, memoryBytes }), { code });
  });
}

test('modules that do not fit, and command lines that are none, are refused', () => {
  const image = multibootFile();
  assert.throws(() => planMultiboot({ image, memoryBytes, modules: [{ bytes: new Uint8Array(memoryBytes) }] }), {
    code: 'GUEST_MEMORY',
  });
  const many = Array.from({ length: 17 }, () => ({ bytes: new Uint8Array(1) }));
  assert.throws(() => planMultiboot({ image, memoryBytes, modules: many }), { code: 'BOOT_FILE' });
  for (const commandLine of ['a\0b', 'x'.repeat(2048)]) {
    assert.throws(() => planMultiboot({ image, memoryBytes, commandLine }), { code: 'USAGE' });
  }
  for (const bytes of [0, 1024, 2 ** 32, 1.5, Number.NaN]) {
    assert.throws(() => planMultiboot({ image, memoryBytes: bytes }), { code: 'GUEST_MEMORY' });
  }
});

test('a plan for more memory than the emulator has is refused', async () => {
  const emulator = await makeEmulator({ memoryBytes: 2 * 1024 * 1024 });
  try {
    const plan = planMultiboot({ image: multibootFile({ load: 0x300000 }), memoryBytes });
    assert.throws(() => enterPlan(emulator.v86.cpu, plan), { code: 'GUEST_MEMORY' });
  } finally {
    await emulator.destroy();
  }
});

test("v86's own loader takes the small guest too", async () => {
  const emulator = await makeEmulator({ memoryBytes, options: { multiboot: { buffer: smallGuestImage().buffer } } });
  try {
    const serial = serialOf(emulator);
    await emulator.run();
    await serial.line((line) => line.startsWith('round=2 '));
  } finally {
    await emulator.destroy();
  }
});
