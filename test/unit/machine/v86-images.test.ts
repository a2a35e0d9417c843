/** Images of every carried version restore in this build (M4), and what is no image of theirs is refused (M5). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import type { Json } from '../../../src/bytes/bounded-json.ts';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import { extensionOf } from '../../../src/foreign/v86/extension.ts';
import { joinSaveState, splitSaveState } from '../../../src/foreign/v86/memory.ts';
import { registersOf } from '../../../src/foreign/v86/registers.ts';
import { parseSaveState, writeSaveState } from '../../../src/foreign/v86/save-state.ts';
import type { DeviceState } from '../../../src/machine/machine.ts';
import { createEmulator } from '../../../src/machine/v86/create.ts';
import { fillPciBars } from '../../../src/machine/v86/mends/pci-bars.ts';
import { copyPages, PAGE_BYTES } from '../../../src/machine/v86/pages.ts';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import { emulator, look, rounds, transplant, until } from '../../support/guest/machines.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

interface Fixture {
  readonly file: string;
  readonly made_by: string;
  readonly uncompressed_sha256: string;
  readonly ram_sha256: string;
  readonly registers: Readonly<Record<string, string | boolean | number | { base: string; limit: number }>>;
}
const folder = new URL('../../fixtures/v86/', import.meta.url);
const fixtures = JSON.parse(readFileSync(new URL('states.json', folder), 'utf8')) as Fixture[];

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

/** The places of all numbers and truth values of a tree. */
function scalarsOf(nodes: readonly Json[], path: readonly number[] = []): number[][] {
  return nodes.flatMap((node, i) => {
    if (Array.isArray(node)) return scalarsOf(node, [...path, i]);
    return typeof node === 'number' || typeof node === 'boolean' ? [[...path, i]] : [];
  });
}

for (const fixture of fixtures) {
  describe(`a state that v86 ${fixture.made_by} made alone`, () => {
    const bytes = new Uint8Array(zstdDecompressSync(readFileSync(new URL(fixture.file, folder))));
    const config = {
      version: fixture.made_by,
      memoryBytes: 16 * 1024 * 1024,
      network: 'ne2k',
    } as const;

    it('splits into memory and devices, and joins again', () => {
      assert.equal(sha256(bytes), fixture.uncompressed_sha256);
      const { memory, devices } = splitSaveState(bytes);
      const { before, packedBytes, after } = joinSaveState(devices, memory.bitmap);
      const packed = bytes.subarray(memory.packedOffset, memory.packedOffset + packedBytes);
      assert.ok(Buffer.concat([before, packed, after]).equals(bytes));
    });

    it('shows the registers that the emulator showed', () => {
      const { registers, segments, gdtr, idtr, halted, fxsave, flagsAreLost } = registersOf(parseSaveState(bytes));
      const golden = fixture.registers;
      const hex = (value: bigint, digits = 8): string => `0x${value.toString(16).padStart(digits, '0')}`;
      for (const name of ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip']) {
        assert.equal(hex(registers[`r${name.slice(1)}`]), golden[name], name);
      }
      for (const name of ['cr0', 'cr2', 'cr3', 'cr4']) assert.equal(hex(registers[name]), golden[name], name);
      for (const name of ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const) {
        assert.equal(hex(BigInt(segments[name].selector), 4), golden[name], name);
      }
      assert.deepEqual({ base: hex(gdtr.base), limit: gdtr.limit }, golden['gdtr']);
      assert.deepEqual({ base: hex(idtr.base), limit: idtr.limit }, golden['idtr']);
      assert.equal(halted, golden['in_hlt']);
      assert.equal(flagsAreLost, fixture.made_by.startsWith('0.5.278'));
      if (!flagsAreLost) assert.equal(hex(registers['rflags']), golden['eflags']);
      assert.equal(fxsave.byteLength, 512);
      // Flat 32-bit code and data: type, S, P; D/B and G.
      assert.equal(segments.cs.attributes, 0xc9a);
      assert.equal(segments.ds.attributes, 0xc93);
    });

    it('goes on in a machine of ours', async () => {
      const { machine } = await createEmulator({ config });
      const { memory, devices } = splitSaveState(bytes);
      const pfns = new Uint32Array(memory.packedPages);
      for (let page = 0, i = 0; i < pfns.length; page++) {
        if ((memory.bitmap[page >> 3] & (1 << (page & 7))) !== 0) pfns[i++] = page;
      }
      const end = memory.packedOffset + memory.packedPages * PAGE_BYTES;
      machine.loadPages({ pfns, bytes: bytes.subarray(memory.packedOffset, end) });
      assert.equal(sha256(machine.memory()), fixture.ram_sha256);
      const { deviceFormat: format, version } = machine.capabilities;
      machine.loadDeviceState({ format, version, fingerprint: new Uint8Array(32), bytes: devices }, Date.now());
      let output = '';
      machine.emulator.add_listener('serial0-output-byte', (byte) => {
        output += String.fromCharCode(byte as number);
      });
      machine.resume();
      await until('the guest reports', () => /r=.*\n/.test(output));
      machine.stop();
      assert.match(output, /^r=[0-9a-f]+ t=[0-9a-f]+ bad=00000000\n/);
    });
  });
}

for (const { version } of V86_VERSIONS) {
  describe(`an image of v86 ${version}`, () => {
    it('goes on where it was, with its memory', async () => {
      const { machine: source } = await emulator('work', [16, 128, 1000, 1], { version });
      await rounds(source, 20);
      const { machine: target } = await emulator(null, [], { version });
      assert.deepEqual(target.capabilities, source.capabilities);
      transplant(source, target);
      assert.equal(sha256(target.memory()), sha256(source.memory()));
      const at = look(target).rounds;
      await rounds(target, 20);
      assert.ok(look(target).rounds >= at + 20);
      assert.equal(look(target).bad, 0);
    });

    it('is taken by v86 alone once it is joined', async () => {
      const { machine: source } = await emulator('work', [16, 128, 1000, 1], { version });
      await rounds(source, 20);
      const batch = copyPages(source.memory(), 0, source.capabilities.pages);
      const bitmap = new Uint8Array(source.capabilities.pages / 8);
      for (const pfn of batch.pfns) bitmap[pfn >> 3] |= 1 << (pfn & 7);
      const { before, after } = joinSaveState(source.deviceState().bytes, bitmap);
      const { machine: target } = await emulator(null, [], { version });
      fillPciBars(target.emulator.v86.cpu);
      target.emulator.v86.restore_state(Uint8Array.from(Buffer.concat([before, batch.bytes, after])).buffer);
      assert.equal(sha256(target.memory()), sha256(source.memory()));
      await rounds(target, 3);
    });

    it('computes the flags that the emulator would', async () => {
      const { machine } = await emulator('echo', [], { version });
      const { cpu } = machine.emulator.v86;
      const seed = testSeed();
      const source = random(seed);
      const lazy = cpu as unknown as Record<'flags_changed' | 'last_op1' | 'last_op_size' | 'flags', Int32Array>;
      for (let i = 0; i < 50; i++) {
        const size = source.pick([7, 15, 31]);
        const mask = size === 31 ? -1 : (1 << (size + 1)) - 1;
        lazy.flags[0] = 0x202 | source.below(2 ** 12);
        lazy.flags_changed[0] = source.pick([0, 0x8d5, 0x8d4, 0xc0]) | source.pick([0, 1 << 31]);
        lazy.last_op1[0] = source.below(2 ** 32) & mask;
        lazy.last_op_size[0] = size;
        cpu.last_result[0] = source.pick([0, 1, -1, source.below(2 ** 32)]) & mask;
        const found = machine.vcpus()[0].registers['rflags'];
        assert.equal(found, BigInt(cpu.get_eflags() >>> 0), `case ${i}; SEED=${seed}`);
      }
    });
  });
}

describe('device state from outside', () => {
  const other: [name: string, change: (state: DeviceState) => DeviceState, code: ErrorCode][] = [
    ['of another driver', (state) => ({ ...state, format: 'qemu-savevm' }), 'DEVICE_FINGERPRINT'],
    ['of another version', (state) => ({ ...state, version: '0.5.278' }), 'DRIVER_VERSION'],
    [
      'of another configuration',
      (state) => ({ ...state, fingerprint: new Uint8Array(32).fill(1) }),
      'DEVICE_FINGERPRINT',
    ],
    ['that is cut off', (state) => ({ ...state, bytes: state.bytes.subarray(0, -8) }), 'TRUNCATED'],
  ];
  for (const [name, change, code] of other) {
    it(`${name} is refused`, async () => {
      const { machine } = await emulator(null);
      const state = machine.deviceState();
      assert.throws(() => machine.loadDeviceState(change(state), 0), refused(code));
    });
  }

  it('with other memory, devices or disks is refused for its shape', async () => {
    const { machine } = await emulator(null);
    const blank = new Uint8Array(32);
    for (const config of [
      { memoryBytes: 8 * 1024 * 1024 },
      { videoMemoryBytes: 2 * 1024 * 1024 },
      { network: 'ne2k' as const },
      { serialPorts: 2 },
      { disks: { hda: { policy: 'in-blob' as const, bytes: 8192 } } },
    ]) {
      const { machine: unlike } = await emulator(null, [], config);
      assert.notDeepEqual(unlike.capabilities.fingerprint, machine.capabilities.fingerprint);
      const state = { ...unlike.deviceState(), fingerprint: blank };
      assert.throws(() => machine.loadDeviceState(state, 0), refused('DEVICE_SHAPE'));
    }
  });

  it('that was damaged is refused or harmless, and never ends in an exception of v86', async () => {
    const seed = testSeed();
    const source = random(seed);
    const { machine: donor } = await emulator('echo');
    await rounds(donor, 2);
    const state = donor.deviceState();
    const { machine } = await emulator(null);
    const head = new DataView(state.bytes.buffer).getInt32(12, true) + 16;
    let refusals = 0;
    for (let i = 0; i < 400; i++) {
      const bytes = state.bytes.slice();
      for (let n = source.below(3); n >= 0; n--) bytes[source.below(head)] = source.below(256);
      try {
        machine.loadDeviceState({ ...state, bytes }, 0);
      } catch (error) {
        const known = error instanceof TransmigrateError && error.code !== 'DRIVER_FAILED';
        assert.ok(known, `case ${i}: ${String(error)} ${String((error as Error).cause)}; SEED=${seed}`);
        refusals++;
      }
    }
    assert.ok(refusals > 200, `${refusals} of 400 were refused`);
    // The instance that saw them all still takes a good one.
    machine.memory().set(donor.memory());
    machine.loadDeviceState(state, Date.now());
    await rounds(machine, 3);
  });

  for (const { version } of V86_VERSIONS) {
    it(`with numbers that nobody expects is refused or taken, by v86 ${version}`, async () => {
      const seed = testSeed();
      const source = random(seed);
      const disks = { hda: { policy: 'in-blob', bytes: 65_536 } } as const;
      const { machine: donor } = await emulator('echo', [], { version, disks });
      await rounds(donor, 2);
      const state = donor.deviceState();
      const parsed = parseSaveState(state.bytes);
      const { machine } = await emulator(null, [], { version, disks });
      const places = scalarsOf(parsed.tree);
      for (let i = 0; i < 150; i++) {
        const info = structuredClone(parsed.info);
        const place = source.pick(places);
        const list = place.slice(0, -1).reduce<Json>((node, at) => (node as Json[])[at], info['state']) as Json[];
        list[place.at(-1)!] = source.pick([
          0,
          1,
          -1,
          true,
          false,
          0.5,
          255,
          65_536,
          2 ** 31 - 1,
          -(2 ** 31),
          2 ** 32,
          1e18,
        ]);
        const bytes = writeSaveState(info, parsed.contents);
        try {
          machine.loadDeviceState({ ...state, bytes }, 0);
        } catch (error) {
          const where = `${JSON.stringify(place)} = ${JSON.stringify(list[place.at(-1)!])}; SEED=${seed}`;
          assert.ok(refused('DEVICE_SHAPE')(error), `${String(error)} ${String((error as Error).cause)}: ${where}`);
        }
      }
      machine.memory().set(donor.memory());
      machine.loadDeviceState(state, Date.now());
      await rounds(machine, 3);
    });
  }

  it('has an extension that is checked', () => {
    const good = {
      version: 1,
      microtickMs: 1,
      wallClockMs: 1,
      lastResult: 0,
      fpuStatusWord: 0,
      mxcsr: 0,
      serialInput: [],
    };
    assert.notEqual(extensionOf({ transmigrate: good }), null);
    assert.equal(extensionOf({}), null);
    const wrong: [object, ErrorCode][] = [
      [{ version: 2 }, 'UNSUPPORTED_VERSION'],
      [{ microtickMs: 1e300 }, 'FIELD_VALUE'],
      [{ wallClockMs: 'now' }, 'FIELD_VALUE'],
      [{ lastResult: 2 ** 40 }, 'FIELD_VALUE'],
      [{ mxcsr: -1 }, 'FIELD_VALUE'],
      [{ serialInput: ['0'] }, 'FIELD_VALUE'],
      [{ serialInput: ['', '', '', '', ''] }, 'FIELD_VALUE'],
      [{ serialInput: ['00'.repeat(65_537)] }, 'LIMIT_EXCEEDED'],
    ];
    for (const [change, code] of wrong) {
      assert.throws(() => extensionOf({ transmigrate: { ...good, ...change } }), refused(code), JSON.stringify(change));
    }
  });
});
