/** The tmem hypercall on the emulator (spec/hypercall.md): what a hostile guest rings for does no harm. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import { emulator, look, MEMORY, rounds, simpleTmem } from '../../support/guest/machines.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const ADDRESS = 0x101400;
const PAGE_ADDRESS = 0x103000;

interface Fields {
  operation: number;
  pool?: number;
  index?: number;
  length?: number;
  page?: bigint;
  reserved?: bigint;
}

/** A machine whose doorbell a test rings itself. */
async function rung() {
  const tmem = simpleTmem();
  const { machine } = await emulator('echo', [], {}, tmem.service);
  const { cpu } = machine.emulator.v86;
  const ports = cpu.io as unknown as {
    port_write32(port: number, value: number): void;
    port_read32(port: number): number;
  };
  const ring = (
    { operation, pool = 0, index = 0, length = 0, page = 0n, reserved = 0n }: Fields,
    address = ADDRESS,
  ): number => {
    const memory = machine.memory();
    if (address + 64 <= memory.byteLength) {
      memory.fill(0, address, address + 64);
      memory.writeUInt32LE(operation, address);
      memory.writeInt32LE(-77, address + 8);
      memory.writeUInt32LE(pool, address + 12);
      memory.writeUInt32LE(index, address + 40);
      memory.writeUInt32LE(length, address + 44);
      memory.writeBigUInt64LE(page, address + 48);
      memory.writeBigUInt64LE(reserved, address + 56);
    }
    ports.port_write32(0x7e0, address);
    const after = machine.memory();
    if (address + 64 > after.byteLength) return NaN;
    return after.readUInt32LE(address + 4) === 1 ? after.readInt32LE(address + 8) : NaN;
  };
  return { machine, ports, ring, tmem };
}

describe('the tmem port', () => {
  for (const { version } of V86_VERSIONS) {
    it(`serves a guest of v86 ${version}`, async () => {
      const tmem = simpleTmem();
      const { machine } = await emulator('tmem', [1], { version }, tmem.service);
      await rounds(machine, 70);
      assert.equal(look(machine).bad, 0);
      assert.equal(look(machine).value1, 0x6d656d74);
      assert.equal(look(machine).value2, 1);
      assert.equal(tmem.pages.size, 64);
    });
  }

  it('is not there without a service', async () => {
    const { machine } = await emulator('tmem', [1]);
    machine.resume();
    await new Promise((resolve) => setTimeout(resolve, 200));
    machine.stop();
    assert.equal(look(machine).value1, 0xffff_ffff);
    assert.equal(machine.capabilities.tmem, false);
  });

  it('answers what it is asked for', async () => {
    const { machine, ring, tmem } = await rung();
    assert.equal(ring({ operation: 1 }), 0);
    machine.memory().fill(0xab, PAGE_ADDRESS, PAGE_ADDRESS + 4096);
    assert.equal(ring({ operation: 3, index: 5, page: BigInt(PAGE_ADDRESS) }), 1);
    machine.memory().fill(0, PAGE_ADDRESS, PAGE_ADDRESS + 4096);
    assert.equal(ring({ operation: 4, index: 6, page: BigInt(PAGE_ADDRESS) }), 0);
    assert.equal(machine.memory()[PAGE_ADDRESS], 0, 'a page that is not there changes nothing');
    assert.equal(ring({ operation: 4, index: 5, page: BigInt(PAGE_ADDRESS) }), 1);
    assert.ok(
      machine
        .memory()
        .subarray(PAGE_ADDRESS, PAGE_ADDRESS + 4096)
        .every((byte) => byte === 0xab),
    );
    assert.equal(ring({ operation: 5, index: 5 }), 1);
    assert.equal(tmem.pages.size, 0);
  });

  it('refuses what is not to be done, without asking the service', async () => {
    const { ring, tmem } = await rung();
    const refusals: [Fields, number][] = [
      [{ operation: 0 }, -22],
      [{ operation: 7 }, -22],
      [{ operation: 0xffff_ffff }, -22],
      [{ operation: 5, reserved: 1n }, -22],
      [{ operation: 4, length: 1, page: 0n }, -22],
      [{ operation: 3, page: 1n }, -14],
      [{ operation: 3, page: 0x800n }, -14],
      [{ operation: 4, page: BigInt(MEMORY) }, -14],
      [{ operation: 4, page: 0xffff_f000n }, -14],
      [{ operation: 3, page: 1n << 32n }, -14],
      [{ operation: 3, page: 0xffff_ffff_ffff_f000n }, -14],
    ];
    for (const [fields, result] of refusals)
      assert.equal(
        ring(fields),
        result,
        JSON.stringify(fields, (_, v) => String(v)),
      );
    assert.deepEqual(tmem.requests, []);
  });

  it('ignores a descriptor that is nowhere, or not aligned', async () => {
    const { machine, ports, ring, tmem } = await rung();
    const before = Buffer.from(machine.memory());
    for (const address of [
      1,
      32,
      63,
      MEMORY - 32,
      MEMORY,
      MEMORY + 64,
      0x7fff_ffc0,
      0x8000_0000,
      0xffff_ffc0,
      -64,
      -1,
    ]) {
      ports.port_write32(0x7e0, address | 0);
    }
    assert.ok(machine.memory().equals(before));
    assert.deepEqual(tmem.requests, []);
    // The last place where one fits.
    assert.equal(ring({ operation: 1 }, MEMORY - 64), 0);
  });

  it('survives any descriptor', async () => {
    const seed = testSeed();
    const source = random(seed);
    const { machine, ports } = await rung();
    for (let i = 0; i < 3000; i++) {
      const address = source.pick([ADDRESS, source.below(MEMORY) & ~63, source.below(2 ** 32)]);
      const memory = machine.memory();
      if (address + 64 <= memory.byteLength) {
        source.scramble(memory.subarray(address, address + 64));
        memory.writeUInt32LE(source.below(8), address);
        if (source.below(2) === 0) memory.writeBigUInt64LE(BigInt(source.below(MEMORY) & ~4095), address + 48);
        if (source.below(2) === 0) memory.writeBigUInt64LE(0n, address + 56);
      }
      assert.doesNotThrow(() => ports.port_write32(0x7e0, address | 0), `case ${i}; SEED=${seed}`);
    }
  });

  it('throws away what was compiled from a page that a get wrote', async () => {
    const { machine, ring, tmem } = await rung();
    await rounds(machine, 20);
    // The code page itself goes out and comes back changed: `inc dword [rounds]` becomes nothing.
    const code = 0x100000;
    assert.equal(ring({ operation: 1 }), 0);
    assert.equal(ring({ operation: 3, index: 1, page: BigInt(code) }), 1);
    const page = [...tmem.pages.values()][0];
    const at = Buffer.from(page).indexOf(Buffer.from([0xf4, 0xff, 0x05, 0x00, 0x10, 0x10, 0x00]));
    // The first halt that is followed by the count is that of the mode echo.
    assert.ok(at > 0);
    page.fill(0x90, at + 1, at + 7);
    assert.equal(ring({ operation: 4, index: 1, page: BigInt(code) }), 1);
    const { rounds: before, ticks } = look(machine);
    machine.resume();
    await new Promise((resolve) => setTimeout(resolve, 200));
    machine.stop();
    assert.ok(look(machine).ticks > ticks);
    assert.ok(look(machine).rounds <= before + 1, 'old code still runs');
  });
});
