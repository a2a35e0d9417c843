/** Writers of formats from open images: what is written holds what the image held. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { ByteSink } from '../../../../src/bytes/endpoints.ts';
import { TransmigrateError } from '../../../../src/errors.ts';
import { decodePvVcpu } from '../../../../src/foreign/xen-libxc/pv-vcpu.ts';
import { cr3OfPfn, exchangeFrames } from '../../../../src/foreign/xen-libxc/guest-context.ts';
import { readElfFile, SEGMENT_TYPE } from '../../../../src/foreign/elf/elf-file.ts';
import { parseNotes } from '../../../../src/foreign/elf/note.ts';
import { XenCore } from '../../../../src/foreign/elf/xen-core.ts';
import type { FormatName } from '../../../../src/image/identify/layers.ts';
import { VCPU_STATE } from '../../../../src/image/model/event.ts';
import type { ImageMemory, MemoryBatch, OpenedImage } from '../../../../src/image/open/opened-image.ts';
import { writeElfCore } from '../../../../src/image/writers/elf-core.ts';
import { PageRanges } from '../../../../src/image/writers/elf-ranges.ts';
import { writeLibvirt } from '../../../../src/image/writers/libvirt.ts';
import { RAW_LIMITS, writeRaw } from '../../../../src/image/writers/raw.ts';
import { writeV86 } from '../../../../src/image/writers/v86.ts';
import { writeXenCore } from '../../../../src/image/writers/xen-core.ts';
import { MemorySink, memorySource } from '../../../../src/io/memory.ts';
import type { Work } from '../../../../src/io/work.ts';
import { PAGE_CLASS } from '../../../../src/stream/records/ram.ts';
import { deviceOf, memoryDigest, opened, read, sha256, toOurs } from '../../../support/conversion.ts';
import { corpus, corpusFile, fixture } from '../../../support/corpus.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

const PV = 'elf/xen-4.17-pv-tiny64-4m.core';
const HVM = 'elf/xen-4.17-hvm-seabios-16m.core';
const QEMU = 'elf/tiny-x86_64-pc.core.elf';
const V86 = 'v86/v86-0.5.462-tiny16.v86state';
const PV_TWIN = 'xen-core/xen-4.17-pv-tiny64-4m-corepair.xl';
const HVM_TWIN = 'xen-core/xen-4.17-hvm-seabios-16m-corepair.xl';

type Writer = (image: OpenedImage, sink: ByteSink, work: Work) => Promise<void>;

async function written(writer: Writer, image: OpenedImage): Promise<Uint8Array> {
  const sink = new MemorySink();
  await writer(image, sink, {});
  return sink.bytes();
}

/** Both the image as it is and as one of ours without ORIGIN: what is written must not depend on it. */
async function both(format: FormatName, bytes: Uint8Array): Promise<OpenedImage[]> {
  return [await opened(bytes), await opened(await toOurs(format, bytes, false))];
}

function refused(code: string, what?: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code && (what?.test(error.message) ?? true);
}

describe('a core of Xen', () => {
  test('is the same bytes again from its own core of a PV guest, from what it holds alone', async () => {
    const bytes = fixture(PV);
    for (const image of await both('xen-core', bytes)) {
      assert.equal(sha256(await written(writeXenCore, image)), sha256(bytes));
    }
  });

  test('of an HVM guest: all but the entries that stand for no page', async () => {
    const bytes = fixture(HVM);
    for (const image of await both('xen-core', bytes)) {
      const result = await written(writeXenCore, image);
      const core = await XenCore.open(memorySource(result).random!);
      assert.deepEqual([core.pageCount, core.tableKind, core.vcpuCount], [4064, 'pfn', 1]);
      const its = await XenCore.open(memorySource(bytes).random!);
      assert.deepEqual(await core.readVcpu(0), await its.readVcpu(0));
      assert.deepEqual(await core.readSharedInfo(), await its.readSharedInfo());
      assert.deepEqual(core.notes.xenVersion, its.notes.xenVersion);
      assert.equal(await memoryDigest((await opened(result)).memory), await memoryDigest(image.memory));
      const { findings, error } = await read('xen-core', result);
      assert.deepEqual([findings, error], [[], undefined]);
    }
  });

  test("made from a save holds what the hypervisor's own dump of the PV guest holds", async (context) => {
    const { skip } = corpusFile(PV_TWIN);
    if (skip !== false) return context.skip(skip);
    const save = corpus(PV_TWIN);
    const core = await opened(fixture(PV));
    for (const image of await both('xl', save)) {
      const result = await opened(await written(writeXenCore, image));
      assert.deepEqual(
        result.vcpus,
        image.vcpus.map(({ ...vcpu }) => withoutKind(vcpu)),
      );
      assert.deepEqual(
        await deviceOf(result, 'shared-info'),
        await deviceOf(image, 'shared-info'),
        'the save of a suspended guest has its shared info',
      );
      const [a, b] = [new Uint8Array(4096), new Uint8Array(4096)];
      let [ordinary, tables] = [0, 0];
      for (let pfn = 0; pfn < 1024; pfn++) {
        assert.equal(await result.memory.readPage(pfn, a), 'data');
        await core.memory.readPage(pfn, b);
        if (image.memory.pageClass(pfn) === PAGE_CLASS.ordinary) {
          ordinary++;
          assert.ok(Buffer.from(a).equals(b), `page ${pfn}`);
          continue;
        }
        tables++;
        // Each says by its own table which pfn a frame is; the hypervisor's entries are only in its own dump.
        const isTop = (image.memory.pageClass(pfn)! & 7) === 4;
        for (let slot = 0; slot < 512; slot++) {
          if (isTop && slot >= 256 && slot <= 262) continue;
          assert.equal(entryOf(result.memory, a, slot), entryOf(core.memory, b, slot), `page ${pfn}, entry ${slot}`);
        }
      }
      assert.deepEqual([ordinary, tables], [1019, 5]);
      // The context too, but for what its toolstack changed in between: rax and rdx.
      const [mine, its] = [result, core].map(({ vcpuStates }) =>
        vcpuStates.find(({ stateKind }) => stateKind === VCPU_STATE.xenPvBasic)!.content.slice(),
      );
      for (const at of [600, 616]) mine.set(its.subarray(at, at + 8), at);
      assert.deepEqual(mine, its);
    }
  });

  test("made from a save holds what the hypervisor's own dump of the HVM guest holds", async (context) => {
    const { skip } = corpusFile(HVM_TWIN);
    if (skip !== false) return context.skip(skip);
    const its = await XenCore.open(memorySource(fixture(HVM)).random!);
    const core = await opened(fixture(HVM));
    for (const image of await both('xl', corpus(HVM_TWIN))) {
      const result = await written(writeXenCore, image);
      // The whole context is as Xen itself fills it in.
      const mine = await XenCore.open(memorySource(result).random!);
      assert.deepEqual(await mine.readVcpu(0), await its.readVcpu(0));
      assert.deepEqual([mine.notes.xenVersion!.major, mine.notes.xenVersion!.minor], [4, 17]);
      const { memory } = await opened(result);
      assert.equal(memory.pages, 4092);
      const isInCore = (pfn: number): boolean => core.memory.pageClass(pfn) !== undefined;
      assert.equal(await memoryDigest(memory, isInCore), await memoryDigest(core.memory));
    }
  });

  test('is not made of what has no processors, or no context', async () => {
    const raw = await opened(new Uint8Array(8192), 'raw');
    await assert.rejects(written(writeXenCore, raw), refused('IMAGE_UNFIT', /no processors/));
    const pv = await opened(fixture(PV));
    const noFrames = { ...pv, devices: pv.devices.map((each) => (each.name === 'xen-p2m' ? empty(each) : each)) };
    await assert.rejects(written(writeXenCore, noFrames), refused('IMAGE_UNFIT', /has no frame/));
    const narrow = { ...pv, head: { ...pv.head, wordBits: 32 as const }, vcpuStates: [] };
    await assert.rejects(written(writeXenCore, narrow), refused('IMAGE_UNFIT', /32-bit/));
  });

  test('of a PV guest from registers alone has the registers again', async () => {
    const pv = await opened(fixture(PV));
    const alone = { ...pv, vcpuStates: pv.vcpuStates.filter(({ stateKind }) => stateKind === VCPU_STATE.fxsave) };
    const result = await opened(await written(writeXenCore, alone));
    assert.deepEqual(result.vcpus, pv.vcpus);
    assert.deepEqual(result.vcpuStates[0], pv.vcpuStates[0]);
  });

  test('of a machine of v86 has its registers and memory', async () => {
    const state = await opened(fixture(V86));
    const result = await opened(await written(writeXenCore, state));
    assert.equal(await memoryDigest(result.memory), await memoryDigest(state.memory));
    for (const name of ['rax', 'rip', 'rsp', 'cr0', 'cr3'] as const) {
      assert.equal(result.vcpus[0].registers[name], state.vcpus[0].registers[name], name);
    }
  });
});

function withoutKind(vcpu: OpenedImage['vcpus'][number]): OpenedImage['vcpus'][number] {
  const { vcpu: number, online, halted, registers, segments, gdtr, idtr } = vcpu;
  return { vcpu: number, online, halted, registers, segments, gdtr, idtr };
}

function empty(device: OpenedImage['devices'][number]): OpenedImage['devices'][number] {
  return { ...device, bytes: 0, chunks: () => none() };
}

async function* none(): AsyncGenerator<Uint8Array> {}

/** An entry of a page table with the pfn in the place of the frame. */
function entryOf(memory: ImageMemory, page: Uint8Array, slot: number): bigint {
  const entry = new DataView(page.buffer).getBigUint64(8 * slot, true);
  if ((entry & 1n) === 0n) return entry;
  const pfn = memory.pfnOfFrame!(Number((entry >> 12n) & 0xff_ffff_ffffn));
  return (entry & ~0xf_ffff_ffff_f000n) | (BigInt(pfn) << 12n);
}

test('frames in a context are exchanged there and back, also of a 32-bit guest', () => {
  const seed = testSeed();
  const rng = random(seed);
  for (const width of [4, 8] as const) {
    for (let run = 0; run < 50; run++) {
      const context = Uint8Array.from({ length: width === 8 ? 5168 : 2800 }, () => rng.below(256));
      const view = new DataView(context.buffer);
      // Numbers that are frames, and a GDT of some entries.
      const [frames, entries, controls] = width === 8 ? [4832, 4960, 4984] : [2640, 2704, 2716];
      for (let i = 0; i < 16; i++) {
        if (width === 8) view.setBigUint64(frames + 8 * i, BigInt(rng.below(2 ** 30)), true);
        else view.setUint32(frames + 4 * i, rng.below(2 ** 30), true);
      }
      const gdt = rng.below(8193);
      if (width === 8) view.setBigUint64(entries, BigInt(gdt), true);
      else view.setUint32(entries, gdt, true);
      for (const control of [1, 3]) {
        if (width === 8) view.setBigUint64(controls + 8 * control, BigInt(rng.below(2 ** 30)) << 12n, true);
        else view.setUint32(controls + 4 * control, Number(cr3OfPfn(rng.below(2 ** 30), 4)), true);
      }
      const there = exchangeFrames(context, width, (frame) => frame ^ 0x5555);
      const again = exchangeFrames(there.context!, width, (frame) => frame ^ 0x5555);
      assert.deepEqual(again.context, context, `SEED=${seed}`);
      const place = { offset: 0, path: '', section: '' };
      const [before, after] = [decodePvVcpu(context, place), decodePvVcpu(there.context!, place)];
      assert.equal(after.cr3Pfn, before.cr3Pfn ^ 0x5555, `SEED=${seed}`);
      const used = Math.ceil(gdt / 512);
      for (let i = 0; i < 16; i++) {
        const frame = Number(before.gdt.frames[i]);
        assert.equal(Number(after.gdt.frames[i]), i < used ? frame ^ 0x5555 : frame, `SEED=${seed}`);
      }
      const lost = exchangeFrames(context, width, () => -1);
      assert.ok(lost.context === undefined && (used > 0 ? lost.what === 'gdt_frames[0]' : lost.what === 'cr3'));
    }
  }
});

describe('a core with program headers', () => {
  test("from QEMU's own: the same memory and registers, and the same notes", async () => {
    const bytes = fixture(QEMU);
    const notesOf = async (core: Uint8Array): Promise<object[]> => {
      const { segments, header } = await readElfFile(memorySource(core).random!);
      const { offset, fileBytes } = segments.find(({ type }) => type === SEGMENT_TYPE.note)!;
      const notes = parseNotes(core.subarray(offset, offset + fileBytes), header, 0);
      return notes.map(({ name, type, content }) => ({ name, type, content: content.slice() }));
    };
    for (const image of await both('elf-core', bytes)) {
      const result = await written(writeElfCore, image);
      const again = await opened(result);
      assert.deepEqual(
        again.vcpus,
        image.vcpus.map((vcpu) => withoutKind(vcpu)),
      );
      assert.equal(await memoryDigest(again.memory), await memoryDigest(image.memory));
      const [[status, qemu], [itsStatus, itsQemu]] = [await notesOf(result), await notesOf(bytes)];
      assert.deepEqual(status, itsStatus);
      assert.deepEqual(qemu, itsQemu);
      // Zeros, which QEMU has in the file, are not in ours.
      assert.ok(result.byteLength < bytes.byteLength / 3);
      const { findings, error } = await read('elf-core', result);
      assert.deepEqual([findings, error], [[], undefined]);
    }
  });

  test('of images of all kinds has their memory, zeros and all', async () => {
    for (const [format, name] of [
      ['v86', V86],
      ['xen-core', HVM],
      ['xen-core', PV],
    ] as const) {
      for (const image of await both(format, fixture(name))) {
        const again = await opened(await written(writeElfCore, image));
        assert.equal(await memoryDigest(again.memory), await memoryDigest(image.memory), name);
        for (const register of ['rax', 'rip', 'rsp', 'rflags', 'cr3'] as const) {
          assert.equal(again.vcpus[0].registers[register], image.vcpus[0].registers[register], `${name} ${register}`);
        }
      }
    }
  });

  test('notes of the core that the image was made from are carried over, but for those of processors', async () => {
    const image = await opened(fixture(QEMU));
    const text = new TextEncoder().encode('OSRELEASE=6.1\n');
    const note = Uint8Array.from([
      11,
      0,
      0,
      0,
      14,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      ...new TextEncoder().encode('VMCOREINFO\0\0'),
      ...text,
      0,
      0,
    ]);
    const content = new Uint8Array([...(await deviceOf(image, 'elf-notes')), ...note]);
    const device = { ...image.devices[0], bytes: content.byteLength, chunks: () => once(content) };
    const again = await opened(await written(writeElfCore, { ...image, devices: [device] }));
    const result = await deviceOf(again, 'elf-notes');
    assert.equal(result.byteLength, content.byteLength);
    assert.ok(Buffer.from(result).includes('OSRELEASE=6.1'));
    assert.equal(again.vcpus.length, 1);
  });

  test('ranges: as few as are worth it, and never more than there may be', async () => {
    const seed = testSeed();
    const rng = random(seed);
    for (let run = 0; run < 60; run++) {
      const pages = new Map<number, boolean>();
      for (let pfn = 0; pfn < 400; pfn += 1 + rng.below(40)) {
        for (let i = rng.below(60); i > 0; i--) pages.set(pfn++, rng.below(3) === 0);
        if (rng.below(2) === 0) for (let i = rng.below(60); i > 0; i--) pages.set(pfn++, true);
      }
      const found = new PageRanges(4096, rng.pick([6, 1000]));
      try {
        for (const [pfn, isZero] of pages) found.add(batchOf(pfn, isZero));
      } catch (error) {
        assert.ok(refused('IMAGE_UNFIT')(error), `SEED=${seed}`);
        continue;
      }
      const seen = new Map<number, boolean>();
      for (const { first, data, zero } of found.ranges) {
        for (let i = 0; i < data + zero; i++) {
          assert.ok(!seen.has(first + i), `SEED=${seed}`);
          seen.set(first + i, i >= data);
        }
      }
      assert.deepEqual([...seen.keys()], [...pages.keys()], `SEED=${seed}`);
      for (const [pfn, isZero] of seen) assert.ok(!isZero || pages.get(pfn) === true, `SEED=${seed}, page ${pfn}`);
    }
    const few = new PageRanges(4096, 2);
    for (const pfn of [0, 2]) few.add(batchOf(pfn, false));
    assert.throws(() => few.add(batchOf(4, false)), refused('IMAGE_UNFIT'));
    await Promise.resolve();
  });
});

function batchOf(firstPfn: number, isZero: boolean): MemoryBatch {
  return { firstPfn, pages: 1, pageClass: 0, bytes: new Uint8Array(4096).fill(isZero ? 0 : 1) };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

describe('raw memory', () => {
  test('has pages at their places, and zeros between', async () => {
    const state = await opened(fixture(V86));
    const raw = await written(writeRaw, state);
    assert.equal(raw.byteLength, 16 * 1024 * 1024);
    assert.equal(await memoryDigest((await opened(raw, 'raw')).memory), await memoryDigest(state.memory));
    const hvm = await opened(fixture(HVM));
    const sparse = await written(writeRaw, hvm);
    assert.equal(sparse.byteLength, hvm.memory.pfnEnd * 4096);
    assert.ok(sparse.subarray(0xa0 * 4096, 0xc0 * 4096).every((byte) => byte === 0));
    const page = new Uint8Array(4096);
    await hvm.memory.readPage(0xc0, page);
    assert.ok(Buffer.from(page).equals(sparse.subarray(0xc0 * 4096, 0xc1 * 4096)));
  });

  test('of a page far up is refused before anything is written', async () => {
    const image = await opened(new Uint8Array(4096), 'raw');
    const far = { ...image, memory: { ...image.memory, pageSize: 4096, pages: 1, pfnEnd: 2 ** 40 } };
    const sink = new MemorySink();
    await assert.rejects(writeRaw(far, sink, {}), (error) => {
      assert.ok(error instanceof TransmigrateError && error.code === 'IMAGE_UNFIT');
      return error.data['limit'] === RAW_LIMITS.absentBytes;
    });
    assert.equal(sink.bytes().byteLength, 0);
  });
});

describe('a state of v86', () => {
  test('is the same bytes again, from what the image holds alone', async () => {
    for (const name of [V86, 'v86/v86-0.5.278-tiny16.v86state']) {
      for (const image of await both('v86', fixture(name))) {
        assert.equal(sha256(await written(writeV86, image)), sha256(fixture(name)), name);
      }
    }
  });

  test('is made of no other machine', async () => {
    await assert.rejects(written(writeV86, await opened(fixture(QEMU))), refused('IMAGE_UNFIT', /elf-notes/));
    const raw = await opened(new Uint8Array(4096), 'raw');
    await assert.rejects(written(writeV86, raw), refused('DEVICE_MISSING'));
  });
});

describe('a save image of libvirt', () => {
  const zstd = (image: OpenedImage, sink: ByteSink): Promise<void> =>
    writeLibvirt(image, sink, { compression: 'zstd' });

  test('raw is the same bytes again, from what the image holds alone', async () => {
    const bytes = fixture('libvirt/tiny-raw.save');
    for (const image of await both('libvirt', bytes)) {
      assert.equal(sha256(await written(writeLibvirt, image)), sha256(bytes));
    }
  });

  test('raw and zstd from each other, and from one that is stored otherwise', async () => {
    const raw = fixture('libvirt/tiny-raw.save');
    for (const name of ['libvirt/tiny-raw.save', 'libvirt/tiny-xz.save']) {
      for (const image of await both('libvirt', fixture(name))) {
        const packed = await written(zstd, image);
        const again = await opened(packed);
        assert.equal(again.devices[2].format, 'qemu-savevm+zstd');
        const stream = zstdDecompressSync(await deviceOf(again, 'qemu-stream-0'));
        const whole = await written(writeLibvirt, image);
        assert.ok(Buffer.from(whole.subarray(67_106)).equals(stream));
        assert.deepEqual(whole.subarray(0, 67_106), raw.subarray(0, 67_106));
        assert.equal(sha256(await written(writeLibvirt, again)), sha256(whole));
        assert.deepEqual(await written(zstd, again), packed, 'what is stored so already is passed on');
        assert.equal((await read('libvirt', packed)).error, undefined);
      }
    }
  });

  test('needs the XML and a stream of QEMU', async () => {
    const image = await opened(fixture('libvirt/tiny-raw.save'));
    const without = (name: string): OpenedImage => ({
      ...image,
      devices: image.devices.filter((each) => each.name !== name),
    });
    await assert.rejects(written(writeLibvirt, without('libvirt-xml')), refused('IMAGE_UNFIT', /XML/));
    await assert.rejects(written(writeLibvirt, without('qemu-stream-0')), refused('IMAGE_UNFIT', /stream/));
    await assert.rejects(written(writeLibvirt, await opened(fixture(QEMU))), refused('IMAGE_UNFIT'));
    const strange = image.devices.map((each) =>
      each.name === 'qemu-stream-0' ? { ...each, format: 'qemu-savevm+lzop' } : each,
    );
    await assert.rejects(written(writeLibvirt, { ...image, devices: strange }), refused('IMAGE_UNFIT', /lzop/));
    const damaged = zstdCompressSync(new Uint8Array(1000)).subarray(0, 10);
    const cut = image.devices.map((each) =>
      each.name === 'qemu-stream-0'
        ? { ...each, format: 'qemu-savevm+zstd', bytes: damaged.byteLength, chunks: () => once(damaged) }
        : each,
    );
    await assert.rejects(written(writeLibvirt, { ...image, devices: cut }), refused('TRUNCATED'));
    assert.ok((await written(writeLibvirt, without('libvirt-cookie'))).byteLength > 4_000_000);
  });
});

test('writing can be cancelled, and says how far it is', async () => {
  const image = await opened(fixture(V86));
  for (const writer of [writeXenCore, writeElfCore, writeRaw, writeV86] as const) {
    let progress = 0;
    await writer(image, new MemorySink(), { onProgress: () => progress++ });
    assert.ok(progress > 1, writer.name);
    await assert.rejects(writer(image, new MemorySink(), { signal: AbortSignal.abort() }), refused('CANCELLED'));
  }
});
