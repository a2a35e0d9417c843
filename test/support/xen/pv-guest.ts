/** A small PV guest whose vCPU runs on page tables that lead somewhere, for what looks into them. */
import { BODY, PAGE_TYPE, XEN_PAGE_BYTES } from '../../../src/foreign/xen-libxc/constants.ts';
import type { TestPage } from './streams.ts';
import { blob, empty, p2mFrames, pvInfo, tsc, type Step } from './streams.ts';

/** Present, writable, user: what a page table's entry has. */
export const PTE = 7;

/** A page of the guest: of a table its entries, by position: which page, and the entry's flags. */
export interface GuestPage {
  readonly pfn: number;
  readonly type: number;
  readonly fill?: number;
  readonly entries?: Readonly<Record<number, readonly [pfn: number, flags: number]>>;
}

/** Pages 0, 1, 6, 7 are ordinary; 2 to 5 the tables, from the top down: of a 32-bit guest from 3 on. */
export function guestPages(width: 4 | 8 = 8): GuestPage[] {
  const l3 = { pfn: 3, type: width === 8 ? PAGE_TYPE.l3 : PAGE_TYPE.l3Pinned };
  return [
    { pfn: 0, type: PAGE_TYPE.normal, fill: 0 },
    { pfn: 1, type: PAGE_TYPE.normal, fill: 1 },
    width === 8
      ? { pfn: 2, type: PAGE_TYPE.l4Pinned, entries: { 0: [3, PTE] } }
      : { pfn: 2, type: PAGE_TYPE.normal, fill: 2 },
    // A 32-bit guest has four entries in its top table, and what stands behind them counts for nothing.
    width === 8
      ? { ...l3, entries: { 0: [4, PTE] } }
      : { ...l3, entries: { 3: [4, 1], 4: [900, PTE], 511: [901, PTE] } },
    { pfn: 4, type: PAGE_TYPE.l2, entries: { 0: [5, PTE] } },
    { pfn: 5, type: PAGE_TYPE.l1, entries: { 0: [6, PTE], 1: [999, PTE] } },
    { pfn: 6, type: PAGE_TYPE.normal, fill: 6 },
    { pfn: 7, type: PAGE_TYPE.normal, fill: 7 },
  ];
}

/** The page's bytes; nothing for one without data. */
function bytesOf({ type, fill, entries }: GuestPage): Uint8Array | undefined {
  if (type >= PAGE_TYPE.broken) return undefined;
  const bytes = new Uint8Array(XEN_PAGE_BYTES).fill(fill ?? 0);
  const view = new DataView(bytes.buffer);
  for (const [entry, [pfn, flags]] of Object.entries(entries ?? {})) {
    view.setBigUint64(8 * Number(entry), (BigInt(pfn) << 12n) | BigInt(flags), true);
  }
  return bytes;
}

export interface GuestVcpu {
  readonly width?: 4 | 8;
  readonly cr3?: number;
  readonly userCr3?: number;
  readonly startInfo?: number;
  readonly gdt?: readonly number[];
  readonly gdtEntries?: number;
}

/** The context of a vCPU (foreign/xen-libxc 7.1): all zero but for the pages that it names. */
export function guestVcpu(choice: GuestVcpu = {}): Uint8Array {
  const { width = 8, startInfo = 1, gdt = [6], gdtEntries = 512, userCr3 } = choice;
  const cr3 = choice.cr3 ?? (width === 8 ? 2 : 3);
  const bytes = new Uint8Array(width === 8 ? BODY.vcpuBasic64 : BODY.vcpuBasic32);
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: bigint): void => {
    if (width === 8) view.setBigUint64(at, value, true);
    else view.setUint32(at, Number(value), true);
  };
  const user = 512 + width;
  word(512, 1n << 5n);
  // rdx is the thirteenth of the 64-bit registers, edx the third of the others.
  word(user + (width === 8 ? 12 * 8 : 2 * 4), BigInt(startInfo));
  // Registers, of 200 or 68 bytes; traps; base and entries of the LDT.
  const gdtAt = user + (width === 8 ? 200 + 4096 : 68 + 2048) + 2 * width;
  for (const [i, pfn] of gdt.entries()) word(gdtAt + i * width, BigInt(pfn));
  word(gdtAt + 16 * width, BigInt(gdtEntries));
  const controls = gdtAt + 17 * width + 2 * width;
  if (userCr3 !== undefined) word(controls + width, (BigInt(userCr3) << 12n) | 1n);
  word(controls + 3 * width, BigInt(cr3) << 12n);
  return bytes;
}

export interface GuestChoice {
  readonly width?: 4 | 8;
  readonly pages?: readonly GuestPage[];
  /** Pages that come after the others, in records of their own. */
  readonly later?: readonly GuestPage[];
  readonly last?: readonly GuestPage[];
  readonly vcpu?: Uint8Array;
}

/** The steps of a sound guest, unless the choice says otherwise. */
export function guestSteps(choice: GuestChoice = {}): Step[] {
  const { width = 8, pages = guestPages(width), later = [], last = [] } = choice;
  const step = (list: readonly GuestPage[]): TestPage[] =>
    list.map((page) => [page.pfn, page.type, bytesOf(page)] as const);
  const records = [pages, later, last].filter((list) => list.length > 0).map(step);
  return [
    pvInfo(width, width === 8 ? 4 : 3),
    empty('STATIC_DATA_END'),
    p2mFrames(9, [7]),
    ...records,
    tsc,
    blob('SHARED_INFO', BODY.sharedInfo),
    { kind: 'X86_PV_VCPU_BASIC', vcpu: 0, reserved: 0, context: choice.vcpu ?? guestVcpu({ width }) },
    empty('END'),
  ];
}
