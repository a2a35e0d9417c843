/** Page tables of every mode, sound and hostile (spec/debug.md 2). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AddressSpace, type Translation } from '../../../../src/image/memory/address-space.ts';
import { PageCache } from '../../../../src/image/memory/page-cache.ts';
import { longModeOf, pagingOf } from '../../../../src/image/memory/paging.ts';
import { readPhysical, readVirtual } from '../../../../src/image/memory/read.ts';
import { stopJson, stopText, type Stop } from '../../../../src/image/memory/stop.ts';
import { FakeMemory, fakeVcpu, HEAD_64, PAGE } from '../../../support/image/fake-image.ts';
import { random } from '../../../support/random.ts';

const PG = 1n << 31n;
const PE = 1n;
const PSE = 1n << 4n;
const PAE = 1n << 5n;
const LA57 = 1n << 12n;
const LMA = 1n << 10n;

/** The registers of each mode, with the top table in page 1. */
const MODES = {
  none: { cr0: PE, cr3: 0x1000n, cr4: 0n, efer: 0n },
  '32-bit': { cr0: PE | PG, cr3: 0x1018n, cr4: PSE, efer: 0n },
  pae: { cr0: PE | PG, cr3: 0x1020n, cr4: PAE, efer: 0n },
  '4-level': { cr0: PE | PG, cr3: 0x1fffn, cr4: PAE, efer: LMA },
  '5-level': { cr0: PE | PG, cr3: 0x1000n, cr4: PAE | LA57, efer: LMA },
} as const;

type Mode = keyof typeof MODES;

function spaceOf(memory: FakeMemory, mode: Mode, changes: Record<string, bigint> = {}): AddressSpace {
  return new AddressSpace(new PageCache(memory), pagingOf(HEAD_64, fakeVcpu({ ...MODES[mode], ...changes })));
}

function physicalOf(found: Translation): bigint {
  assert.ok(found.mapped, found.mapped ? '' : stopText(found.stop));
  return found.physical;
}

function stopOf(found: Translation): Stop {
  assert.ok(!found.mapped);
  return found.stop;
}

describe('the mode', () => {
  for (const mode of Object.keys(MODES) as Mode[]) {
    it(`${mode} is seen in the control registers`, () => {
      assert.equal(pagingOf(HEAD_64, fakeVcpu(MODES[mode])).mode, mode);
    });
  }

  it('has the top table where cr3 says, without its flags', () => {
    const roots = (Object.keys(MODES) as Mode[]).map((mode) => pagingOf(HEAD_64, fakeVcpu(MODES[mode])));
    assert.deepEqual(
      roots.map((paging) => (paging.mode === null ? null : paging.root)),
      [0n, 0x1000n, 0x1020n, 0x1000n, 0x1000n],
    );
  });

  it('of a PV domain comes from the size of its words, and cr3 has all of its bits', () => {
    const vcpu = fakeVcpu({ cr3: 0x12_3456_7000n });
    assert.deepEqual(pagingOf({ domainType: 'pv', wordBits: 64 }, vcpu), {
      mode: '4-level',
      root: 0x12_3456_7000n,
      largePages: true,
    });
    assert.deepEqual(pagingOf({ domainType: 'pv', wordBits: 32 }, vcpu), {
      mode: 'pae',
      root: 0x12_3456_7000n,
      largePages: true,
    });
  });

  it('says which registers are missing', () => {
    const missing = (registers: Record<string, bigint>): readonly string[] | null => {
      const paging = pagingOf(HEAD_64, fakeVcpu(registers));
      return paging.mode === null ? paging.registers : null;
    };
    assert.deepEqual(missing({}), ['cr0', 'cr3', 'cr4']);
    assert.deepEqual(missing({ cr0: PG, cr3: 0n }), ['cr4']);
    assert.deepEqual(missing({ cr0: PG, cr4: 0n }), ['cr3']);
    const unknown = pagingOf(HEAD_64, undefined);
    assert.equal(unknown.mode, null);
  });

  it('can be chosen', () => {
    assert.deepEqual(pagingOf(HEAD_64, undefined, { cr3: 0x5000n, mode: 'pae' }), {
      mode: 'pae',
      root: 0x5000n,
      largePages: true,
    });
    const { mode } = pagingOf(HEAD_64, fakeVcpu(MODES['4-level']), { mode: '32-bit' });
    assert.equal(mode, '32-bit');
  });

  it('is long without efer when code or addresses say so', () => {
    const { cr0, cr3, cr4 } = MODES['4-level'];
    const known = { cr0, cr3, cr4 };
    const plain = fakeVcpu(known);
    assert.equal(longModeOf(plain), false);
    assert.equal(longModeOf(fakeVcpu(known, { csAttributes: 0xa9b })), true);
    assert.equal(longModeOf(fakeVcpu({ ...known, rip: 0xffff_ffff_8100_0000n })), true);
    assert.equal(longModeOf({ ...plain, gdtr: { base: 2n ** 63n, limit: 0 } }), true);
    assert.equal(longModeOf({ ...plain, gdtr: { base: 2n ** 31n, limit: 0 } }), false);
    assert.equal(longModeOf(fakeVcpu({ cr0: PG, cr4: 0n, rip: 2n ** 63n })), false);
  });
});

describe('a walk', () => {
  it('without paging: linear is physical, below 4 GiB', async () => {
    const space = spaceOf(new FakeMemory(), 'none');
    assert.equal(physicalOf(await space.translate(0x1234n)), 0x1234n);
    assert.equal(stopOf(await space.translate(2n ** 32n)).why, 'address-width');
  });

  it('32-bit: two levels, pages of 4 MiB, PSE-36', async () => {
    const memory = new FakeMemory();
    memory.put32(0x1000 + 4 * 0x301, 0x2003);
    memory.put32(0x2000 + 4 * 0x045, 0xdead_b063);
    memory.put32(0x1000 + 4 * 0x302, 0x0040_20e3);
    const space = spaceOf(memory, '32-bit');
    assert.equal(physicalOf(await space.translate(0xc044_5678n)), 0xdead_b678n);
    const large = await space.translate(0xc0a5_4321n);
    assert.equal(physicalOf(large), (1n << 32n) | 0x65_4321n);
    assert.ok(large.mapped && large.pageBytes === 2 ** 22 && large.bytesLeft === 2 ** 22 - 0x25_4321);
    // Without PSE, bit 7 means nothing.
    memory.put32(0x402_000 + 4 * 0x254, 0x7001);
    const small = spaceOf(memory, '32-bit', { cr4: 0n });
    assert.equal(physicalOf(await small.translate(0xc0a5_4321n)), 0x7321n);
  });

  it('PAE: three levels, the top one where cr3 says to 32 bytes, pages of 2 MiB', async () => {
    const memory = new FakeMemory();
    memory.put64(0x1020 + 8 * 3, 0x2001n);
    memory.put64(0x2000 + 8 * 0x002, 0x3067n);
    memory.put64(0x3000 + 8 * 0x045, (1n << 63n) | 0x9_8765_4067n);
    memory.put64(0x2000 + 8 * 0x003, 0x12_3460_00e7n);
    const space = spaceOf(memory, 'pae');
    assert.equal(physicalOf(await space.translate(0xc044_5678n)), 0x9_8765_4678n);
    assert.equal(physicalOf(await space.translate(0xc07f_ffffn)), 0x12_347f_ffffn);
    assert.equal(stopOf(await space.translate(0x1_0000_0000n)).why, 'address-width');
  });

  for (const mode of ['4-level', '5-level'] as const) {
    it(`${mode}: pages of 4 KiB, 2 MiB and 1 GiB`, async () => {
      const memory = new FakeMemory();
      // ffffffff81234567: indexes 511, 510, 9, 0x34.
      let top = 0x1000;
      if (mode === '5-level') {
        memory.put64(0x1000 + 8 * 511, 0x6003n);
        top = 0x6000;
      }
      memory.put64(top + 8 * 511, 0x2067n);
      memory.put64(0x2000 + 8 * 510, 0x3067n);
      memory.put64(0x3000 + 8 * 9, 0x4067n);
      memory.put64(0x4000 + 8 * 0x34, 0x8000_0000_0007_7163n);
      memory.put64(0x3000 + 8 * 10, 0x4060_01e3n);
      memory.put64(0x2000 + 8 * 511, 0xf_c000_01e3n);
      const space = spaceOf(memory, mode);
      assert.equal(physicalOf(await space.translate(0xffff_ffff_8123_4567n)), 0x7_7567n);
      assert.equal(physicalOf(await space.translate(0xffff_ffff_8141_2345n)), 0x4061_2345n);
      const huge = await space.translate(0xffff_ffff_c123_4567n);
      assert.equal(physicalOf(huge), 0xf_c123_4567n);
      assert.ok(huge.mapped && huge.pageBytes === 2 ** 30);
      assert.equal(stopOf(await space.translate(0xf0ff_ffff_8123_4567n)).why, 'not-canonical');
      assert.equal(
        stopOf(await space.translate(0x0000_8000_0000_0000n)).why,
        mode === '4-level' ? 'not-canonical' : 'not-present',
      );
    });
  }

  it('through machine frames looks each of them up', async () => {
    const memory = new FakeMemory();
    // Frame 0x900 + n is page n, but for what is not known.
    memory.pfnOfFrame = (frame) => (frame >= 0x901 && frame <= 0x908 ? frame - 0x900 : -1);
    memory.put64(0x1000, 0x90_2003n);
    memory.put64(0x2000, 0x90_3003n);
    memory.put64(0x3000, 0x90_4003n);
    memory.put64(0x3000 + 8, 0xa0_0083n);
    memory.put64(0x4000 + 8 * 5, 0x90_7003n);
    memory.put64(0x4000 + 8 * 6, 0x1_2345_6003n);
    const paging = pagingOf({ domainType: 'pv', wordBits: 64 }, fakeVcpu({ cr3: 0x1000n }));
    const space = new AddressSpace(new PageCache(memory), paging);
    assert.equal(physicalOf(await space.translate(0x5123n)), 0x7123n);
    const { why, pfn } = stopOf(await space.translate(0x6123n));
    assert.deepEqual([why, pfn], ['frame-unknown', 0x12_3456]);
    assert.equal(stopOf(await space.translate(0x20_0000n)).why, 'frame-unknown');
  });

  it('says at which entry it ended', async () => {
    const memory = new FakeMemory();
    memory.put64(0x1000, 0x2067n);
    memory.put64(0x1000 + 8, 0x6n);
    memory.put64(0x1000 + 16, 0x2083n);
    memory.put64(0x1000 + 24, 0xbbb_b003n);
    memory.damaged.add(0x99);
    memory.put64(0x1000 + 32, 0x9_9003n);
    const space = spaceOf(memory, '4-level');
    const at = async (index: bigint): Promise<unknown> => {
      const { error, ...rest } = stopJson(stopOf(await space.translate(index << 39n)));
      return { ...rest, error: error?.code ?? null };
    };
    const none = { table: null, entry: null, pfn: null, error: null };
    const entry = (value: string): unknown => ({ ...none, entry: value.padStart(16, '0') });
    assert.deepEqual(await at(1n), {
      ...(entry('6') as object),
      address: '0000008000000000',
      why: 'not-present',
      level: 'PML4E',
      table: '0000000000001008',
    });
    assert.deepEqual(await at(2n), {
      ...(entry('2083') as object),
      address: '0000010000000000',
      why: 'not-valid',
      level: 'PML4E',
      table: '0000000000001010',
    });
    assert.deepEqual(await at(3n), {
      ...none,
      address: '0000018000000000',
      why: 'table-absent',
      level: 'PDPTE',
      table: '000000000bbbb000',
      pfn: 0xbbbb,
    });
    assert.deepEqual(await at(4n), {
      ...none,
      address: '0000020000000000',
      why: 'table-damaged',
      level: 'PDPTE',
      table: '0000000000099000',
      pfn: 0x99,
      error: 'UNIT_CHECKSUM',
    });
    assert.deepEqual(await at(0n), {
      ...none,
      address: '0000000000000000',
      why: 'table-absent',
      level: 'PDPTE',
      table: '0000000000002000',
      pfn: 2,
    });
  });

  it('of tables that point at themselves ends like any other', async () => {
    const memory = new FakeMemory();
    for (let i = 0; i < 512; i++) memory.put64(0x1000 + 8 * i, 0x1003n);
    for (const mode of ['4-level', '5-level'] as const) {
      assert.equal(physicalOf(await spaceOf(memory, mode).translate(0x1234_5678n)), 0x1678n);
    }
  });

  it('of random tables ends, and never with anything but a reason', async () => {
    const generator = random('random page tables');
    for (let run = 0; run < 40; run++) {
      const memory = new FakeMemory();
      for (let pfn = 0; pfn < 8; pfn++) {
        generator.scramble(memory.page(pfn));
        // Half of the entries lead into the image.
        for (let i = 0; i < 256; i++) memory.put64(pfn * PAGE + 16 * i, BigInt(generator.below(9) * PAGE + 0x63));
      }
      const spaces = (Object.keys(MODES) as Mode[]).map((mode) => spaceOf(memory, mode));
      for (let i = 0; i < 40; i++) {
        const address = BigInt.asUintN(64, BigInt.asIntN(48, BigInt(generator.below(2 ** 48))));
        for (const space of spaces) {
          for (const one of [address, address & 0xffff_ffffn]) {
            const found = await space.translate(one);
            if (found.mapped) assert.ok(found.bytesLeft > 0 && found.physical >= 0n);
            else assert.match(stopText(found.stop), /^0x[0-9a-f]+: [a-zA-Z]/);
          }
        }
      }
    }
  });
});

describe('reading', () => {
  const memory = new FakeMemory();
  const generator = random('bytes of three pages');
  for (const pfn of [1, 2, 3, 5]) generator.scramble(memory.page(pfn));
  memory.damaged.add(6);
  const all = Uint8Array.from([1, 2, 3].flatMap((pfn) => [...memory.page(pfn)]));

  it('physical memory goes on over pages, and stops at one that is absent', async () => {
    const pages = new PageCache(memory);
    const into = new Uint8Array(3 * PAGE);
    assert.deepEqual(await readPhysical(pages, 0x1000n, into), { bytes: 3 * PAGE, stop: null });
    assert.deepEqual(into, all);
    const some = new Uint8Array(2 * PAGE + 100);
    assert.deepEqual(await readPhysical(pages, 0x1f80n, some), {
      bytes: 2 * PAGE + 100,
      stop: null,
    });
    assert.deepEqual(some, all.subarray(0xf80, 0xf80 + some.length));
    const { bytes, stop } = await readPhysical(pages, 0x3ff0n, new Uint8Array(64));
    assert.deepEqual([bytes, stop?.why, stop?.address, stop?.pfn], [16, 'page-absent', 0x4000n, 4]);
    const damaged = await readPhysical(pages, 0x5000n, new Uint8Array(2 * PAGE));
    assert.deepEqual([damaged.bytes, damaged.stop?.why, damaged.stop?.pfn], [PAGE, 'page-damaged', 6]);
    const far = await readPhysical(pages, 2n ** 64n - 8n, new Uint8Array(8));
    assert.deepEqual([far.bytes, far.stop?.why], [0, 'page-absent']);
  });

  it('virtual memory puts pages in their order, and says where it stops', async () => {
    const mapped = new FakeMemory();
    for (const [pfn, bytes] of memory.content) mapped.content.set(pfn + 16, bytes);
    mapped.put64(0x1000, 0x2003n);
    mapped.put64(0x2000, 0x3003n);
    mapped.put64(0x3000, 0x4003n);
    // Virtual pages 0 to 3: pages 3, 1 and 2 of the above, then one that is absent.
    for (const [i, pfn] of [19, 17, 18, 20].entries()) mapped.put64(0x4000 + 8 * i, BigInt(pfn * PAGE + 3));
    const pages = new PageCache(mapped);
    const space = new AddressSpace(pages, pagingOf(HEAD_64, fakeVcpu(MODES['4-level'])));
    const into = new Uint8Array(PAGE + 32);
    assert.deepEqual(await readVirtual(pages, space, 0xff0n, into), { bytes: PAGE + 32, stop: null });
    assert.deepEqual(into.subarray(0, 16), all.subarray(3 * PAGE - 16));
    assert.deepEqual(into.subarray(16), all.subarray(0, PAGE + 16));
    const { bytes, stop } = await readVirtual(pages, space, 0x2ff8n, new Uint8Array(16));
    assert.deepEqual([bytes, stop?.why, stop?.address, stop?.pfn], [8, 'page-absent', 0x3000n, 20]);
    const unmapped = await readVirtual(pages, space, 0x4000n, new Uint8Array(16));
    assert.deepEqual([unmapped.bytes, unmapped.stop?.why, unmapped.stop?.level], [0, 'not-present', 'PTE']);
    const end = await readVirtual(pages, space, 2n ** 64n - 4n, new Uint8Array(16));
    assert.deepEqual([end.bytes, end.stop?.why, end.stop?.level], [0, 'not-present', 'PML4E']);
  });

  it('keeps few pages, those that were used last', async () => {
    const many = new FakeMemory();
    for (let pfn = 0; pfn < 64; pfn++) many.page(pfn)[0] = pfn;
    const pages = new PageCache(many, 4);
    for (let round = 0; round < 3; round++) {
      for (let pfn = 1; pfn < 64; pfn++) {
        assert.equal((await pages.page(pfn)).bytes[0], pfn);
        assert.equal((await pages.page(0)).bytes[0], 0);
        assert.ok(pages.size <= 4);
      }
    }
    // Page 0 was read once.
    assert.equal(many.reads, 3 * 63 + 1);
  });
});
