/** The HVM_CONTEXT blob: what Xen saves of an HVM or PVH domain beside its memory (foreign/xen-libxc 9). */
import { Fields, FieldsOut, type Place } from './fields.ts';
import type { XenSegment, XenTable } from './pv-vcpu.ts';

/** The entry HEADER, and what ends the list (foreign/xen-libxc 9). */
export const HVM_CONTEXT = { magic: 0x54381286, version: 1, end: 0, descriptorBytes: 8, headerBytes: 24 } as const;

/** Most entries of a context: far more than the largest domain has. */
const ENTRIES_MOST = 1 << 20;

/** Types of entries, as Xen calls them (foreign/xen-libxc 9). */
export const HVM_ENTRY = {
  HEADER: 1,
  CPU: 2,
  PIC: 3,
  IOAPIC: 4,
  LAPIC: 5,
  LAPIC_REGS: 6,
  PCI_IRQ: 7,
  ISA_IRQ: 8,
  PCI_LINK: 9,
  PIT: 10,
  RTC: 11,
  HPET: 12,
  PMTIMER: 13,
  MTRR: 14,
  VIRIDIAN_DOMAIN: 15,
  CPU_XSAVE: 16,
  VIRIDIAN_VCPU: 17,
  VMCE_VCPU: 18,
  TSC_ADJUST: 19,
  CPU_MSR: 20,
} as const;

export type HvmEntryName = keyof typeof HVM_ENTRY;

const NAMES = new Map<number, HvmEntryName>(
  Object.entries(HVM_ENTRY).map(([name, type]) => [type, name as HvmEntryName]),
);

/** One entry of a context. */
export interface HvmEntry {
  readonly type: number;
  /** Undefined for a type that is not known. */
  readonly name: HvmEntryName | undefined;
  /** Of which vCPU or device it is. */
  readonly instance: number;
  /** In the blob, of its content. */
  readonly offset: number;
  /** A view into the blob. */
  readonly content: Uint8Array;
}

/** A blob taken apart. Its bytes are views into it. */
export interface HvmContext {
  readonly entries: readonly HvmEntry[];
  /** Of the HEADER entry. */
  readonly changeset: bigint;
  /** CPUID leaf 1, eax, of the machine that saved. */
  readonly cpuid: number;
  readonly tscKhz: number;
  /** What stands after the entry that ends the list. */
  readonly rest: Uint8Array;
}

/**
 * Takes a blob apart.
 * @param blob lent to the result. @param offset of the record, for errors.
 * @throws LENGTH_MISMATCH for an entry beyond the end or a list without one, FIELD_VALUE for another magic or version,
 * LIMIT_EXCEEDED.
 */
export function parseHvmContext(blob: Uint8Array, offset: number, little = true): HvmContext {
  const place = contextPlace(offset);
  const fields = new Fields(blob, little, place);
  const entries: HvmEntry[] = [];
  for (;;) {
    const [type, instance] = [fields.u16('typecode'), fields.u16('instance')];
    const length = fields.u32('length');
    if (type === HVM_CONTEXT.end) break;
    if (entries.length === ENTRIES_MOST) throw fields.error('LIMIT_EXCEEDED', `More than ${ENTRIES_MOST} entries`);
    const at = fields.position;
    const content = fields.take(length, `entry[${entries.length}]`);
    entries.push({ type, name: NAMES.get(type), instance, offset: at, content });
  }
  const [first] = entries;
  if (first?.name !== 'HEADER') throw fields.error('FIELD_VALUE', 'The first entry is not HEADER', 'entry[0]');
  const header = new Fields(first.content, little, place);
  if (header.u32('magic') !== HVM_CONTEXT.magic || header.u32('version') !== HVM_CONTEXT.version) {
    throw header.error('FIELD_VALUE', 'The context has another magic or version', 'entry[0]');
  }
  const [changeset, cpuid] = [header.u64('changeset'), header.u32('cpuid')];
  return { entries, changeset, cpuid, tscKhz: header.u32('gtsc_khz'), rest: fields.rest() };
}

/** The blob of entries. The end of the list is added. */
export function encodeHvmContext(
  entries: readonly Pick<HvmEntry, 'type' | 'instance' | 'content'>[],
  rest: Uint8Array = new Uint8Array(0),
  little = true,
): Uint8Array {
  const bytes = entries.reduce((sum, { content }) => sum + HVM_CONTEXT.descriptorBytes + content.byteLength, 0);
  const out = new FieldsOut(bytes + HVM_CONTEXT.descriptorBytes + rest.byteLength, little);
  for (const { type, instance, content } of entries) {
    out.u16(type).u16(instance).u32(content.byteLength).put(content);
  }
  return out.u16(HVM_CONTEXT.end).u16(0).u32(0).put(rest).done();
}

function contextPlace(offset: number): Place {
  return { offset, path: 'HVM_CONTEXT', section: 'foreign/xen-libxc 9' };
}

/** Registers of the CPU entry in its order (foreign/xen-libxc 9.1). */
const GENERAL = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rbp',
  'rsi',
  'rdi',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;
const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4', 'dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const;
const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldtr'] as const;
const MSRS = ['sysenter_cs', 'sysenter_esp', 'sysenter_eip', 'kernel_gs_base'] as const;
const MSRS_LONG = ['msr_flags', 'lstar', 'star', 'cstar', 'sfmask', 'efer'] as const;

export type HvmRegister =
  | (typeof GENERAL)[number]
  | (typeof CONTROL)[number]
  | (typeof MSRS)[number]
  | (typeof MSRS_LONG)[number]
  | 'tsc_aux'
  | 'tsc';
export type HvmSegmentName = (typeof SEGMENTS)[number];

/** The CPU entry of one vCPU. */
export interface HvmCpu {
  readonly registers: Readonly<Record<HvmRegister, bigint>>;
  readonly segments: Readonly<Record<HvmSegmentName, XenSegment>>;
  readonly idtr: XenTable;
  readonly gdtr: XenTable;
  /** The 512 bytes of FXSAVE. */
  readonly fpu: Uint8Array;
  readonly pendingEvent: number;
  readonly errorCode: number;
  /** Whether the FPU was used; null in entries of Xen before 4.7, which do not say. */
  readonly fpuInitialised: boolean | null;
}

/** Lengths of the CPU entry: today's, that of Xen before 4.7, and that of Xen before 3.4 (foreign/xen-libxc 9.1). */
export const HVM_CPU_BYTES = { now: 1032, before47: 1024, before34: 1016 } as const;

/** Decodes a CPU entry. @throws LENGTH_MISMATCH for a length that Xen never wrote. */
export function decodeHvmCpu(entry: HvmEntry, offset: number, little = true): HvmCpu {
  const place = {
    ...contextPlace(offset),
    path: `HVM_CONTEXT/CPU ${entry.instance}`,
    section: 'foreign/xen-libxc 9.1',
  };
  const fields = new Fields(entry.content, little, place);
  const { byteLength } = entry.content;
  if (!Object.values<number>(HVM_CPU_BYTES).includes(byteLength)) {
    throw fields.error('LENGTH_MISMATCH', `A CPU entry of ${byteLength} bytes`);
  }
  const fpu = fields.take(512, 'fpu_regs');
  const registers: Partial<Record<HvmRegister, bigint>> = {};
  for (const name of [...GENERAL, ...CONTROL]) registers[name] = fields.u64(name);
  const selectors = SEGMENTS.map((name) => fields.u32(`${name}_sel`));
  const limits = [...SEGMENTS, 'idtr', 'gdtr'].map((name) => fields.u32(`${name}_limit`));
  const bases = [...SEGMENTS, 'idtr', 'gdtr'].map((name) => fields.u64(`${name}_base`));
  const attributes = SEGMENTS.map((name) => fields.u32(`${name}_arbytes`));
  for (const name of [...MSRS, ...MSRS_LONG]) registers[name] = fields.u64(name);
  registers.tsc_aux = byteLength === HVM_CPU_BYTES.before34 ? 0n : fields.u64('msr_tsc_aux');
  registers.tsc = fields.u64('tsc');
  const segments: Partial<Record<HvmSegmentName, XenSegment>> = {};
  SEGMENTS.forEach((name, i) => {
    segments[name] = { selector: selectors[i], attributes: attributes[i], limit: limits[i], base: bases[i] };
  });
  const [pendingEvent, errorCode] = [fields.u32('pending_event'), fields.u32('error_code')];
  return {
    registers: registers as Record<HvmRegister, bigint>,
    segments: segments as Record<HvmSegmentName, XenSegment>,
    idtr: { limit: limits[8], base: bases[8] },
    gdtr: { limit: limits[9], base: bases[9] },
    fpu,
    pendingEvent,
    errorCode,
    fpuInitialised: byteLength === HVM_CPU_BYTES.now ? (fields.u32('flags') & 1) !== 0 : null,
  };
}

/** What a debugger wants of the other entries of a vCPU; null where the entry is missing or too short. */
export interface HvmCpuExtras {
  readonly apicBase: bigint | null;
  readonly pat: bigint | null;
  readonly xcr0: bigint | null;
  /** `msrs` of CPU_MSR. */
  readonly msrs: readonly { readonly index: number; readonly value: bigint }[];
}

/** Reads LAPIC, MTRR, CPU_XSAVE and CPU_MSR of one vCPU (foreign/xen-libxc 9.1). @throws LENGTH_MISMATCH */
export function hvmCpuExtras(context: HvmContext, vcpu: number, offset: number, little = true): HvmCpuExtras {
  const contentOf = (name: HvmEntryName): Fields | undefined => {
    const entry = context.entries.find((each) => each.name === name && each.instance === vcpu);
    return entry && new Fields(entry.content, little, { ...contextPlace(offset), path: `HVM_CONTEXT/${name} ${vcpu}` });
  };
  const xsave = contentOf('CPU_XSAVE');
  if (xsave !== undefined) xsave.u64('xfeature_mask');
  const msr = contentOf('CPU_MSR');
  const msrs: { index: number; value: bigint }[] = [];
  for (let left = msr?.u32('count') ?? 0; left > 0; left--) {
    const index = msr!.u32('index');
    msr!.u32('reserved');
    msrs.push({ index, value: msr!.u64('val') });
  }
  return {
    apicBase: contentOf('LAPIC')?.u64('apic_base_msr') ?? null,
    pat: contentOf('MTRR')?.u64('msr_pat_cr') ?? null,
    xcr0: xsave?.u64('xcr0') ?? null,
    msrs,
  };
}
