/** Page tables of cores, which name frames of the machine, against those of saves, which name pfns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XenCore } from '../../../src/foreign/elf/xen-core.ts';
import { diffImages } from '../../../src/image/diff/diff-images.ts';
import { TablePages } from '../../../src/image/diff/table-pages.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import type { ImageMemory, OpenedImage } from '../../../src/image/open/opened-image.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { corpus, corpusFile } from '../../support/corpus.ts';

const PAGE = 4096;

/** The memory of a core, read by its tables: what the image model makes of it. */
async function openCore(bytes: Uint8Array, save: OpenedImage): Promise<OpenedImage> {
  const core = await XenCore.open(memorySource(bytes, 'core').random!);
  const pfns = new Float64Array(core.pageCount);
  const frames = new Float64Array(core.pageCount);
  await core.readTable(0, pfns, frames);
  const isPv = core.tableKind === 'p2m';
  const pfnOf = new Map(Array.from(frames, (frame, i) => [frame, pfns[i]]));
  const memory: ImageMemory = {
    pageSize: PAGE,
    pages: pfns.filter((pfn) => pfn >= 0).length,
    pfnEnd: Math.max(...pfns) + 1,
    readPage: () => Promise.reject(new Error('nobody reads a page')),
    pageClass: () => 0,
    async *batches() {
      const page = new Uint8Array(PAGE);
      for (let i = 0; i < pfns.length; i++) {
        if (pfns[i] < 0) continue;
        await core.readPages(i, page);
        yield { firstPfn: pfns[i], pages: 1, pageClass: 0, bytes: page };
      }
    },
    absent: () => [],
    ...(isPv && { pfnOfFrame: (frame: number) => pfnOf.get(frame) ?? -1 }),
  };
  return {
    ...save,
    format: 'xen-core',
    nesting: ['xen-core'],
    memory,
    vcpus: save.vcpus.map((vcpu) => {
      const { cr3 } = vcpu.registers;
      const index = pfns.indexOf(Number(cr3! >> 12n));
      const registers = isPv ? { ...vcpu.registers, cr3: BigInt(frames[index]) << 12n } : vcpu.registers;
      return { ...vcpu, registers };
    }),
    vcpuStates: [],
    cpuid: null,
    msrs: null,
    devices: [],
  };
}

const PV = corpusFile('xen-core/xen-4.17-pv-tiny64-4m.core');

test('a core of a PV guest holds what its twin save holds', { skip: PV.skip }, async () => {
  const save = await openImage(memorySource(corpus('xen-core/xen-4.17-pv-tiny64-4m-corepair.xl'), 'save'));
  const core = await openCore(corpus('xen-core/xen-4.17-pv-tiny64-4m.core'), save);
  for (const [one, other, side] of [
    [core, save, 'a'],
    [save, core, 'b'],
  ] as const) {
    const result = await diffImages(one, other);
    assert.deepEqual(result.memory!.different, { pages: 0, ranges: 0, first: [] });
    assert.deepEqual([result.same, result.differing], [true, []]);
    const { framesIn, pages, mapped, hypervisor } = result.memory!.pageTables!;
    assert.equal(framesIn, side);
    assert.equal(pages, 5);
    assert.ok(mapped > 500, String(mapped));
    // Slots 256 to 262 of level 4 (../shared/corpus/xen-core/README.md).
    assert.ok(hypervisor > 0 && hypervisor <= 7, String(hypervisor));
    assert.deepEqual(
      result.notCompared.map(({ part }) => part),
      ['classes', 'vcpuStates', 'cpuid', 'msrs', 'devices', 'disks', 'tmem'],
    );
  }
  // Without the mapping they would differ.
  const { pfnOfFrame, ...memory } = core.memory;
  assert.ok(pfnOfFrame !== undefined);
  const unmapped = await diffImages({ ...core, memory: { ...memory, batches: () => core.memory.batches() } }, save);
  assert.deepEqual(unmapped.differing, ['memory', 'vcpus']);
  assert.equal(unmapped.memory!.different.pages, 5);
});

const HVM = corpusFile('xen-core/xen-4.17-hvm-seabios-16m.core');

test('a core of an HVM guest is compared page by page', { skip: HVM.skip }, async () => {
  const save = await openImage(memorySource(corpus('xen-core/xen-4.17-hvm-seabios-16m-corepair.xl'), 'save'));
  const core = await openCore(corpus('xen-core/xen-4.17-hvm-seabios-16m.core'), save);
  const { memory } = await diffImages(core, save);
  assert.equal(memory!.pageTables, null);
  assert.equal(memory!.different.pages, 0);
  assert.ok(memory!.same > 4000);
  assert.ok(memory!.onlyB.pages > 0);
});

/** A page table with some entries. */
function table(entries: readonly (readonly [slot: number, low: number, high: number])[]): Uint8Array {
  const page = new Uint8Array(PAGE);
  const view = new DataView(page.buffer);
  for (const [slot, low, high] of entries) {
    view.setUint32(8 * slot, low, true);
    view.setUint32(8 * slot + 4, high, true);
  }
  return page;
}

const pfnOfFrame = (frame: number): number => (frame >= 0x40_0000_0000 ? frame - 0x3f_ffff_0000 : frame === 5 ? 9 : -1);

function compared(
  core: Uint8Array,
  save: Uint8Array,
  pageClass: number,
  wordBits: 32 | 64 = 64,
): readonly [same: boolean, offsets: readonly number[], mapped: number, hypervisor: number] {
  const tables = new TablePages(pfnOfFrame, wordBits);
  const same = tables.same(core, 0, save, 0, PAGE, pageClass);
  return [same, [...tables.offsets], tables.mapped, tables.hypervisor];
}

test('entries are compared by the pfn of their frame, with their flags', () => {
  assert.deepEqual(compared(table([[0, 0x5067, 0]]), table([[0, 0x9067, 0]]), 1), [true, [], 1, 0]);
  assert.deepEqual(compared(table([[0, 0x5067, 0]]), table([[0, 0x9027, 0]]), 1), [false, [0], 1, 0]);
  // The same bytes are another page.
  assert.deepEqual(compared(table([[7, 0x5067, 0]]), table([[7, 0x5067, 0]]), 9), [false, [56], 1, 0]);
  // No execute, and a frame above 32 bits.
  assert.deepEqual(compared(table([[511, 0x0000_3025, 0x8004_0000]]), table([[511, 0x1000_3025, 0x8000_0000]]), 1), [
    true,
    [],
    1,
    0,
  ]);
  // An entry that is not present is not an address.
  assert.deepEqual(compared(table([[3, 0x5066, 0]]), table([[3, 0x5066, 0]]), 2), [true, [], 0, 0]);
  // A frame that is no page of the guest, in a slot of the guest.
  assert.deepEqual(compared(table([[3, 0x7067, 0]]), table([]), 4), [false, [24], 0, 0]);
});

test('slots of the hypervisor are left out where the save has nothing in them', () => {
  const core = table([[256, 0x7067, 0]]);
  assert.deepEqual(compared(core, table([]), 12), [true, [], 0, 1]);
  assert.deepEqual(compared(core, table([[256, 0x8067, 0]]), 12), [false, [2048], 0, 0]);
  assert.deepEqual(compared(core, table([]), 3), [false, [2048], 0, 0]);
  const pae = table([[428, 0x7067, 0]]);
  assert.deepEqual(compared(pae, table([]), 10, 32), [true, [], 0, 1]);
  assert.deepEqual(compared(pae, table([]), 10, 64), [false, [428 * 8], 0, 0]);
});
