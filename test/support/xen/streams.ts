/** Small streams of Xen, made with the writers, for tests that need what no real image has. */
import { BODY, PAGE_TYPE, XEN_PAGE_BYTES } from '../../../src/foreign/xen-libxc/constants.ts';
import { U64List, u64Bytes } from '../../../src/foreign/xen-libxc/fields.ts';
import { libxcHeader } from '../../../src/foreign/xen-libxc/headers.ts';
import { encodeHvmContext } from '../../../src/foreign/xen-libxc/hvm-context.ts';
import { setEntry } from '../../../src/foreign/xen-libxc/pages.ts';
import type { LibxcBody } from '../../../src/foreign/xen-libxc/records.ts';
import { LibxcWriter } from '../../../src/foreign/xen-libxc/writer.ts';
import { LibxlWriter } from '../../../src/foreign/xen-libxl/writer.ts';
import { xenstoreContent } from '../../../src/foreign/xen-libxl/records.ts';
import { xlHeader } from '../../../src/foreign/xl/header.ts';
import { XlWriter } from '../../../src/foreign/xl/writer.ts';
import { XenopsdWriter } from '../../../src/foreign/xenopsd/writer.ts';
import { Collected } from './pieces.ts';

export const NOTHING = new Uint8Array(0);

type Known = Exclude<LibxcBody, { kind: 'UNKNOWN' }>;

/** A page of memory: its pfn, its type, and the byte that fills it, or all of its bytes. */
export type TestPage = readonly [pfn: number, type: number, fill?: number | Uint8Array | undefined];

/** Writes a PAGE_DATA record. */
export function writePages(writer: LibxcWriter, pages: readonly TestPage[], reserved = 0): void {
  const words = new Uint32Array(2 * pages.length);
  pages.forEach(([pfn, type], i) => {
    setEntry(words, i, pfn, type);
  });
  writer.pageEntries(words, pages.length, reserved);
  for (const [, , fill] of pages) {
    if (typeof fill === 'number') writer.pages(new Uint8Array(XEN_PAGE_BYTES).fill(fill));
    else if (fill !== undefined) writer.pages(fill);
  }
}

export interface TestStream {
  readonly version?: 2 | 3;
  readonly domainType?: number;
  readonly bigEndian?: boolean;
}

/** What a step of a stream is: a record, or pages. */
export type Step = Known | readonly TestPage[] | { readonly optional: number };

export const empty = (kind: 'END' | 'VERIFY' | 'CHECKPOINT' | 'STATIC_DATA_END'): Known => ({ kind, rest: NOTHING });
export const pvInfo = (guestWidth = 8, ptLevels = 4): Known => ({
  kind: 'X86_PV_INFO',
  guestWidth,
  ptLevels,
  reserved: [0, 0],
  rest: NOTHING,
});
export const p2mFrames = (endPfn: number, frames: readonly number[], little = true, startPfn = 0): Known => ({
  kind: 'X86_PV_P2M_FRAMES',
  startPfn,
  endPfn,
  frames: new U64List(u64Bytes(frames, little), little),
});
export const vcpu = (
  kind: 'X86_PV_VCPU_BASIC' | 'X86_PV_VCPU_EXTENDED' | 'X86_PV_VCPU_XSAVE' | 'X86_PV_VCPU_MSRS',
  bytes: number,
  number = 0,
): Known => ({ kind, vcpu: number, reserved: 0, context: new Uint8Array(bytes).fill(3) });
export const tsc: Extract<Known, { kind: 'X86_TSC_INFO' }> = {
  kind: 'X86_TSC_INFO',
  mode: 1,
  khz: 2,
  nsec: 3n,
  incarnation: 4,
  reserved: 0,
};
export const blob = (
  kind: 'SHARED_INFO' | 'HVM_CONTEXT' | 'TOOLSTACK' | 'X86_CPUID_POLICY' | 'X86_MSR_POLICY',
  bytes: number,
): Known => ({ kind, content: new Uint8Array(bytes).fill(9) });
export const hvmParams = (pairs: readonly number[], little = true): Known => ({
  kind: 'HVM_PARAMS',
  count: pairs.length / 2,
  reserved: 0,
  params: new U64List(u64Bytes(pairs, little), little),
});

/** Writes header and steps. */
export function writeLibxc(writer: LibxcWriter, stream: TestStream, steps: readonly Step[]): void {
  const { version = 3, domainType = 1, bigEndian = false } = stream;
  const header = libxcHeader({ version, domainType, xenMajor: 4, xenMinor: 17 });
  writer.header(bigEndian ? { ...header, options: 1, littleEndian: false } : header);
  for (const step of steps) writeStep(writer, step);
}

export function writeStep(writer: LibxcWriter, step: Step): void {
  if ('optional' in step) writer.optional(step.optional, new Uint8Array(3).fill(1));
  else if ('kind' in step) writer.record(step);
  else writePages(writer, step);
}

/** A libxc stream. */
export function libxcStream(stream: TestStream, steps: readonly Step[]): Uint8Array {
  const out = new Collected();
  writeLibxc(new LibxcWriter(out.emit), stream, steps);
  return out.bytes;
}

const MEMORY: readonly TestPage[] = [
  [0, PAGE_TYPE.normal, 1],
  [1, PAGE_TYPE.l4Pinned, 2],
  [2, PAGE_TYPE.invalid],
  [3, PAGE_TYPE.l1, 3],
];

/** The steps of a sound 64-bit PV domain of four pages, in the order that Xen writes. */
export function pvSteps(little = true): Step[] {
  return [
    pvInfo(),
    blob('X86_CPUID_POLICY', 2 * BODY.cpuidLeaf),
    blob('X86_MSR_POLICY', BODY.msrEntry),
    empty('STATIC_DATA_END'),
    p2mFrames(3, [1], little),
    MEMORY,
    [
      [0, PAGE_TYPE.normal, 4],
      [3, PAGE_TYPE.broken],
    ],
    tsc,
    blob('SHARED_INFO', BODY.sharedInfo),
    vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic64),
    vcpu('X86_PV_VCPU_EXTENDED', 64),
    vcpu('X86_PV_VCPU_XSAVE', 16),
    vcpu('X86_PV_VCPU_MSRS', 16),
    empty('END'),
  ];
}

/** A HEADER entry of HVM_CONTEXT. */
export function hvmHeaderEntry(): { type: number; instance: number; content: Uint8Array } {
  const content = new Uint8Array(24);
  const view = new DataView(content.buffer);
  view.setUint32(0, 0x54381286, true);
  view.setUint32(4, 1, true);
  view.setUint32(20, 1000, true);
  return { type: 1, instance: 0, content };
}

/** The steps of a sound HVM domain, in the order that the specification wants. */
export function hvmSteps(): Step[] {
  return [
    blob('X86_CPUID_POLICY', BODY.cpuidLeaf),
    empty('STATIC_DATA_END'),
    [
      [5, PAGE_TYPE.normal, 7],
      [6, PAGE_TYPE.allocateOnly],
      [2 ** 33 + 1, PAGE_TYPE.normal, 8],
    ],
    tsc,
    hvmParams([1, 2, 3, 4]),
    { kind: 'HVM_CONTEXT', content: encodeHvmContext([hvmHeaderEntry()]) },
    empty('END'),
  ];
}

/** An xl file of an HVM domain with state of an emulator. */
export function xlFile(): Uint8Array {
  const out = new Collected();
  const writer = new XlWriter(out.emit);
  writer.header(xlHeader('{"c_info": {"type": "hvm"}}'));
  writer.libxl.header();
  writer.libxl.record({ kind: 'LIBXC_CONTEXT', rest: NOTHING });
  writeLibxc(writer.libxl.libxc, { domainType: 2 }, hvmSteps());
  const content = xenstoreContent([{ key: 'physmap/1/name', value: '' }]);
  writer.libxl.record({ kind: 'EMULATOR_XENSTORE_DATA', emulator: 2, index: 0, content });
  writer.libxl.record({ kind: 'EMULATOR_CONTEXT', emulator: 2, index: 0, content: new Uint8Array(21).fill(5) });
  writer.libxl.record({ kind: 'END', rest: NOTHING });
  return out.bytes;
}

/** A libxl stream with two checkpoints; with `colo` a CHECKPOINT_STATE stands after each. */
export function checkpointed(colo = false): Uint8Array {
  const out = new Collected();
  const writer = new LibxlWriter(out.emit);
  writer.header();
  writer.record({ kind: 'LIBXC_CONTEXT', rest: NOTHING });
  writeLibxc(writer.libxc, {}, [...pvSteps().slice(0, -1), empty('CHECKPOINT')]);
  const between = (): void => {
    writer.record({ kind: 'CHECKPOINT_END', rest: NOTHING });
    if (colo) writer.record({ kind: 'CHECKPOINT_STATE', state: 0, rest: NOTHING });
  };
  between();
  // The next record begins with the number that CHECKPOINT_STATE has: only its length tells them apart.
  const second: Step[] = [
    vcpu('X86_PV_VCPU_EXTENDED', 64),
    [[1, PAGE_TYPE.normal, 9]],
    vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic64),
    empty('CHECKPOINT'),
  ];
  for (const step of second) writeStep(writer.libxc, step);
  between();
  writeStep(writer.libxc, empty('END'));
  writer.record({ kind: 'END', rest: NOTHING });
  return out.bytes;
}

export const METADATA = '((time 20260101T00:00:00Z)(word_size 64)(vm_str "a \\"b\\" \\\\ \\065\\n")(xs_subtree()))';

/** A suspend image of xenopsd. */
export function xenopsdImage(): Uint8Array {
  const out = new Collected();
  const writer = new XenopsdWriter(out.emit);
  writer.signature();
  writer.section('XENOPS', new TextEncoder().encode(METADATA));
  writeLibxc(writer.libxc(), { domainType: 2 }, hvmSteps());
  writer.section('VARSTORED', new Uint8Array(33).fill(1));
  writer.section('SWTPM', NOTHING);
  writer.section('QEMU_TRAD', new Uint8Array(5000).fill(2));
  writer.end();
  return out.bytes;
}
