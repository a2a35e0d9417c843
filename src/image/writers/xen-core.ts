import type { Json } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { ELF_LIMITS, ELF_MACHINE } from '../../foreign/elf/elf-file.ts';
import { parseNotes } from '../../foreign/elf/note.ts';
import { XenCoreWriter } from '../../foreign/elf/xen-core-writer.ts';
import { XEN_CORE_LIMITS } from '../../foreign/elf/xen-core.ts';
import { parseXenNotes, type XenVersion } from '../../foreign/elf/xen-notes.ts';
import type { Work } from '../../io/work.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import { frameMapOf } from '../open/frame-map.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { checkCancelled, contentOfDevice, findDevice } from './work.ts';
import { contextsOf } from './xen-contexts.ts';

/** Entries of the table that are written at once. */
const TABLE_STEP = 8192;
/** What the note says where nothing is known (foreign/elf 4.5): where Xen's own addresses begin on x86-64. */
const VIRTUAL_START = 0xffff_8000_0000_0000n;

/**
 * Writes a core as `xl dump-core` does, of any image that has processors (foreign/elf 4.5). The sink is not ended.
 * @throws IMAGE_UNFIT for an image that it can't be made of; CANCELLED; the image's errors, and what the sink throws
 */
export async function writeXenCore(image: OpenedImage, sink: ByteSink, work: Work): Promise<void> {
  const { memory, head } = image;
  const isPv = head.domainType === 'pv';
  const map = isPv ? await frameMapOf(image.devices, 'pfn') : undefined;
  // Without a table page tables hold pfns, and frames are numbered as they are.
  const frameOf = map?.of ?? ((pfn: number): number => pfn);
  const writer = new XenCoreWriter(sink, {
    machine: isPv && head.wordBits === 32 ? ELF_MACHINE.i386 : ELF_MACHINE.x8664,
    domain: isPv ? 'pv' : 'hvm',
    xenVersion: await versionOf(image),
    vcpus: await contextsOf(image, frameOf),
    sharedInfo: await sharedInfoOf(image),
    table: isPv ? 'p2m' : 'pfn',
    pages: memory.pages,
    pageBytes: memory.pageSize,
  });
  const runs: { first: number; pages: number }[] = [];
  let done = 0;
  for await (const { firstPfn, pages, bytes } of memory.batches()) {
    checkCancelled(work);
    await writer.pages(bytes);
    const last = runs.at(-1);
    if (last !== undefined && last.first + last.pages === firstPfn) last.pages += pages;
    else runs.push({ first: firstPfn, pages });
    done += pages;
    work.onProgress?.(done * memory.pageSize, memory.pages * memory.pageSize);
  }
  for (const { first, pages } of runs) {
    for (let at = 0; at < pages; at += TABLE_STEP) {
      const pfns = Float64Array.from({ length: Math.min(TABLE_STEP, pages - at) }, (_, i) => first + at + i);
      await writer.table(pfns, isPv ? pfns.map((pfn) => frameOf(pfn)) : undefined);
    }
  }
  await writer.end();
}

/** The shared info page; undefined where the image has none, or what is none. */
async function sharedInfoOf(image: OpenedImage): Promise<Uint8Array | undefined> {
  const device = findDevice(image, 'shared-info', DEVICE_FORMAT.xenSharedInfo);
  return device === undefined || device.bytes > XEN_CORE_LIMITS.sharedInfoBytes ? undefined : contentOfDevice(device);
}

/** What a core said of the hypervisor, or what ABOUT does. */
async function versionOf(image: OpenedImage): Promise<XenVersion> {
  const device = findDevice(image, 'xen-core-notes', DEVICE_FORMAT.xenCoreNotes);
  if (device !== undefined && device.bytes <= ELF_LIMITS.noteBytes) {
    try {
      const shape = { wordBytes: 8, littleEndian: true } as const;
      const { xenVersion } = parseXenNotes(parseNotes(await contentOfDevice(device), shape, 0), shape);
      if (xenVersion !== undefined) return xenVersion;
    } catch (error) {
      // Notes that can't be read say nothing of Xen.
      if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED') throw error;
    }
  }
  const text = member(member(image.about['source'], 'versions'), 'xen');
  const [, major = '0', minor = '0'] = /^(\d{1,5})\.(\d{1,5})/.exec(typeof text === 'string' ? text : '') ?? [];
  return {
    major: Number(major),
    minor: Number(minor),
    extraVersion: '',
    compiler: '',
    compileBy: '',
    compileDomain: '',
    compileDate: '',
    capabilities: '',
    changeset: '',
    virtualStart: VIRTUAL_START,
    pageBytes: BigInt(image.memory.pageSize),
  };
}

function member(value: Json | undefined, key: string): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value[key] : undefined;
}
