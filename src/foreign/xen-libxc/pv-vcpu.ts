/** Contexts of vCPUs of PV domains: what the four X86_PV_VCPU records hold (foreign/xen-libxc 7.1 to 7.4). */
import { BODY } from './constants.ts';
import { Fields, type Place } from './fields.ts';

/** A segment register with its hidden part. Attributes as in the VMCB: bits 8 to 11 are AVL, L, D/B and G. */
export interface XenSegment {
  readonly selector: number;
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

/** A descriptor table. */
export interface XenTable {
  readonly base: bigint;
  readonly limit: number;
}

/** Registers as the guest saved them, in the order of the 64-bit and of the 32-bit context (foreign/xen-libxc 7.1). */
const ORDER_64 = 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi'.split(' ') as readonly PvRegister[];
const ORDER_32 = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rax'] as const;

export type PvRegister =
  | 'rax'
  | 'rbx'
  | 'rcx'
  | 'rdx'
  | 'rsi'
  | 'rdi'
  | 'rbp'
  | 'rsp'
  | 'r8'
  | 'r9'
  | 'r10'
  | 'r11'
  | 'r12'
  | 'r13'
  | 'r14'
  | 'r15'
  | 'rip'
  | 'rflags';
export type PvSelector = 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs';

/** Bits of the flags of a context (foreign/xen-libxc 7.1). */
export const PV_FLAG = { fpuValid: 1, inKernel: 4, online: 32 } as const;

/** A basic context. Registers of a 32-bit guest have the 64-bit names. */
export interface PvVcpu {
  readonly width: 4 | 8;
  readonly flags: bigint;
  readonly online: boolean;
  readonly inKernel: boolean;
  /** r8 to r15 are absent in a 32-bit guest. */
  readonly registers: Readonly<Partial<Record<PvRegister, bigint>>>;
  readonly selectors: Readonly<Record<PvSelector, number>>;
  /** Bit 0: no events are delivered. Stands for the interrupt flag of rflags. */
  readonly upcallMask: number;
  readonly errorCode: number;
  readonly entryVector: number;
  /** Null in a 32-bit guest. */
  readonly bases: { readonly fs: bigint; readonly gsKernel: bigint; readonly gsUser: bigint } | null;
  /** cr0 to cr7 as they stand; cr3 holds a pfn of the stream, see {@link PvVcpu.cr3Pfn}. */
  readonly controls: readonly bigint[];
  /** The pfn of the top page table. */
  readonly cr3Pfn: number;
  /** The pfn of the user's top page table of a 64-bit guest, or null. */
  readonly userCr3Pfn: number | null;
  readonly debug: readonly bigint[];
  readonly kernelSs: bigint;
  readonly kernelSp: bigint;
  readonly ldt: { readonly base: bigint; readonly entries: bigint };
  /** The pfns of the frames of the GDT, 16 of them, and how many descriptors there are. */
  readonly gdt: { readonly frames: readonly bigint[]; readonly entries: bigint };
  /** The 256 entries of the virtual IDT, as they stand. */
  readonly traps: Uint8Array;
  readonly callbacks: Readonly<Record<'event' | 'failsafe' | 'syscall', bigint>>;
  readonly vmAssist: bigint;
  /** The 512 bytes of FXSAVE. */
  readonly fpu: Uint8Array;
}

/**
 * Decodes the context of X86_PV_VCPU_BASIC; its length says which guest it is of.
 * @param context lent to the result. @throws LENGTH_MISMATCH for another length.
 */
export function decodePvVcpu(context: Uint8Array, place: Place, little = true): PvVcpu {
  const fields = new Fields(context, little, place);
  const width = context.byteLength === BODY.vcpuBasic64 ? 8 : context.byteLength === BODY.vcpuBasic32 ? 4 : undefined;
  if (width === undefined) throw fields.error('LENGTH_MISMATCH', `A context of ${context.byteLength} bytes`);
  const word = (field: string): bigint => fields.word(width, field);
  const words = (count: number, field: string): bigint[] =>
    Array.from({ length: count }, (_, i) => word(`${field}[${i}]`));
  const fpu = fields.take(512, 'fpu_ctxt');
  const flags = word('flags');
  const user = userRegisters(fields, width);
  const traps = fields.take(256 * (width === 8 ? 16 : 8), 'trap_ctxt');
  const ldt = { base: word('ldt_base'), entries: word('ldt_ents') };
  const gdt = { frames: words(16, 'gdt_frames'), entries: word('gdt_ents') };
  const [kernelSs, kernelSp] = [word('kernel_ss'), word('kernel_sp')];
  const controls = words(8, 'ctrlreg');
  const debug = words(8, 'debugreg');
  if (width === 4) fields.u32('event_callback_cs');
  const event = word('event_callback_eip');
  if (width === 4) fields.u32('failsafe_callback_cs');
  const failsafe = word('failsafe_callback_eip');
  const syscall = width === 8 ? word('syscall_callback_eip') : 0n;
  const vmAssist = word('vm_assist');
  const bases =
    width === 8
      ? { fs: fields.u64('fs_base'), gsKernel: fields.u64('gs_base_kernel'), gsUser: fields.u64('gs_base_user') }
      : null;
  return {
    width,
    flags,
    online: (flags & BigInt(PV_FLAG.online)) !== 0n,
    inKernel: (flags & BigInt(PV_FLAG.inKernel)) !== 0n,
    ...user,
    bases,
    controls,
    cr3Pfn: pfnOfCr3(controls[3], width),
    userCr3Pfn: width === 8 && controls[1] !== 0n ? Number(controls[1] >> 12n) : null,
    debug,
    kernelSs,
    kernelSp,
    ldt,
    gdt,
    traps,
    callbacks: { event, failsafe, syscall },
    vmAssist,
    fpu,
  };
}

/** The pfn in a cr3. A 32-bit guest has its high bits at the bottom (foreign/xen-libxc 7.1). */
export function pfnOfCr3(cr3: bigint, width: 4 | 8): number {
  if (width === 8) return Number(cr3 >> 12n);
  const low = Number(cr3 & 0xffff_ffffn);
  return ((low >>> 12) | (low << 20)) >>> 0;
}

type UserRegisters = Pick<PvVcpu, 'registers' | 'selectors' | 'upcallMask' | 'errorCode' | 'entryVector'>;

function userRegisters(fields: Fields, width: 4 | 8): UserRegisters {
  const registers: Partial<Record<PvRegister, bigint>> = {};
  for (const name of width === 8 ? ORDER_64 : ORDER_32) registers[name] = fields.word(width, name);
  const errorCode = width === 8 ? fields.u32('error_code') : fields.u16('error_code');
  const entryVector = width === 8 ? fields.u32('entry_vector') : fields.u16('entry_vector');
  registers.rip = fields.word(width, 'rip');
  const cs = fields.u16('cs');
  if (width === 8) fields.u16('pad');
  const upcallMask = fields.u8('saved_upcall_mask');
  fields.take(width === 8 ? 3 : 1, 'pad');
  registers.rflags = fields.word(width, 'rflags');
  registers.rsp = fields.word(width, 'rsp');
  const selector = (name: string): number => {
    const value = fields.u16(name);
    fields.take(width - 2, 'pad');
    return value;
  };
  const [ss, es, ds] = [selector('ss'), selector('es'), selector('ds')];
  const selectors = { cs, ss, es, ds, fs: selector('fs'), gs: selector('gs') };
  return { registers, selectors, upcallMask, errorCode, entryVector };
}

/** What X86_PV_VCPU_EXTENDED holds (foreign/xen-libxc 7.2). Fields beyond a shorter record are absent. */
export interface PvExtended {
  readonly vcpu: number;
  readonly size: number;
  readonly syscall32Callback: bigint;
  readonly sysenterCallback: bigint;
  readonly syscall32Cs: number;
  readonly sysenterCs: number;
  readonly syscall32DisablesEvents: boolean;
  readonly sysenterDisablesEvents: boolean;
  /** Machine check: capabilities and the control registers, where they were saved. */
  readonly machineCheck: readonly bigint[];
}

/** @throws LENGTH_MISMATCH for less than 32 bytes. */
export function decodePvExtended(context: Uint8Array, place: Place, little = true): PvExtended {
  const fields = new Fields(context, little, place);
  const [vcpu, size] = [fields.u32('vcpu'), fields.u32('size')];
  const [syscall32Callback, sysenterCallback] = [fields.u64('syscall32_callback'), fields.u64('sysenter_callback')];
  const [syscall32Cs, sysenterCs] = [fields.u16('syscall32_callback_cs'), fields.u16('sysenter_callback_cs')];
  const [syscallOff, sysenterOff] = [fields.u8('syscall32_disables_events'), fields.u8('sysenter_disables_events')];
  fields.take(2, 'pad');
  const machineCheck: bigint[] = [];
  while (fields.left >= 8 && machineCheck.length < 4) machineCheck.push(fields.u64(`vmce[${machineCheck.length}]`));
  return {
    vcpu,
    size,
    syscall32Callback,
    sysenterCallback,
    syscall32Cs,
    sysenterCs,
    syscall32DisablesEvents: syscallOff !== 0,
    sysenterDisablesEvents: sysenterOff !== 0,
    machineCheck,
  };
}

/** What X86_PV_VCPU_XSAVE holds (foreign/xen-libxc 7.3). */
export interface PvXsave {
  readonly xcr0: bigint;
  readonly xcr0Accumulated: bigint;
  /** The area as XSAVE lays it out; empty where the vCPU never used it. */
  readonly area: Uint8Array;
}

/** @throws LENGTH_MISMATCH for less than 16 bytes. */
export function decodePvXsave(context: Uint8Array, place: Place, little = true): PvXsave {
  const fields = new Fields(context, little, place);
  return { xcr0: fields.u64('xcr0'), xcr0Accumulated: fields.u64('xcr0_accum'), area: fields.rest() };
}

/** One MSR of X86_PV_VCPU_MSRS (foreign/xen-libxc 7.4). */
export interface PvMsr {
  readonly index: number;
  readonly reserved: number;
  readonly value: bigint;
}

/** Most MSRs of a vCPU that are decoded: Xen saves fewer than ten. */
export const PV_MSRS_MOST = 4096;

/** @throws LENGTH_MISMATCH, LIMIT_EXCEEDED */
export function decodePvMsrs(context: Uint8Array, place: Place, little = true): PvMsr[] {
  const fields = new Fields(context, little, place);
  if (context.byteLength > PV_MSRS_MOST * BODY.vcpuMsr) throw fields.error('LIMIT_EXCEEDED', 'Too many MSRs');
  const msrs: PvMsr[] = [];
  while (fields.left > 0) {
    msrs.push({ index: fields.u32('index'), reserved: fields.u32('reserved'), value: fields.u64('value') });
  }
  return msrs;
}
