/** Processors: stream 8. */
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { LIMITS } from '../limits.ts';

/** The u64 registers of VCPU_X86 from offset 8 to 296 and, after the tables, from 456 to 504, in order (stream 8.1). */
export const GENERAL = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
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
export const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4'] as const;
export const SYSCALL = [
  'kernel_gs_base',
  'star',
  'lstar',
  'cstar',
  'sfmask',
  'sysenter_cs',
  'sysenter_esp',
  'sysenter_eip',
] as const;
export const DEBUG = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const;
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;

export type RegisterName =
  | (typeof GENERAL)[number]
  | (typeof CONTROL)[number]
  | (typeof SYSCALL)[number]
  | (typeof DEBUG)[number]
  | 'cr8'
  | 'efer'
  | 'pat'
  | 'tsc'
  | 'xcr0'
  | 'apic_base';
export type SegmentName = (typeof SEGMENTS)[number];

/** Groups of the `known` field, by bit. */
export const GROUPS = [
  'general',
  'segments',
  'control',
  'cr8',
  'efer',
  'syscall',
  'pat',
  'tsc',
  'xcr0',
  'apic',
  'tables',
  'debug',
] as const;
export type GroupName = (typeof GROUPS)[number];

/** Which registers a group has; segments and tables have places of their own. */
const REGISTERS_OF: Partial<Record<GroupName, readonly RegisterName[]>> = {
  general: GENERAL,
  control: CONTROL,
  cr8: ['cr8'],
  efer: ['efer'],
  syscall: SYSCALL,
  pat: ['pat'],
  tsc: ['tsc'],
  xcr0: ['xcr0'],
  apic: ['apic_base'],
  debug: DEBUG,
};

const FRONT: readonly RegisterName[] = [
  ...GENERAL,
  ...CONTROL,
  'cr8',
  'efer',
  ...SYSCALL,
  'pat',
  'tsc',
  'xcr0',
  'apic_base',
];

/** A segment register with its hidden part. Attributes are as in the VMCB (stream 8.1). */
export interface Segment {
  readonly selector: number;
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

/** GDTR or IDTR. */
export interface TableRegister {
  readonly base: bigint;
  readonly limit: number;
}

/** VCPU_X86: what a debugger wants to know of one processor. Registers of groups that are not known are absent. */
export interface VcpuX86 {
  readonly kind: 'VCPU_X86';
  readonly vcpu: number;
  readonly online: boolean;
  readonly halted: boolean;
  readonly registers: Readonly<Partial<Record<RegisterName, bigint>>>;
  readonly segments: Readonly<Record<SegmentName, Segment>> | null;
  readonly gdtr: TableRegister | null;
  readonly idtr: TableRegister | null;
}

/** Which groups a vCPU's registers fill: a group counts as known when all of its registers are there. */
export function knownGroups(vcpu: Omit<VcpuX86, 'kind'>): GroupName[] {
  return GROUPS.filter((group) => {
    if (group === 'segments') return vcpu.segments !== null;
    if (group === 'tables') return vcpu.gdtr !== null && vcpu.idtr !== null;
    return REGISTERS_OF[group]!.every((name) => vcpu.registers[name] !== undefined);
  });
}

export function encodeVcpuX86(vcpu: Omit<VcpuX86, 'kind'>): Uint8Array {
  if (vcpu.vcpu >= LIMITS.vcpus) throw new RangeError(`vCPU ${vcpu.vcpu}: there are at most ${LIMITS.vcpus}`);
  const groups = knownGroups(vcpu);
  const known = new Set<RegisterName>(groups.flatMap((group) => REGISTERS_OF[group] ?? []));
  const value = (name: RegisterName): bigint => (known.has(name) ? vcpu.registers[name]! : 0n);
  const writer = new ByteWriter(512, 512);
  writer.u32(vcpu.vcpu).u32((vcpu.online ? 1 : 0) | (vcpu.halted ? 2 : 0));
  for (const name of FRONT) writer.u64(value(name));
  for (const name of SEGMENTS) {
    const segment = vcpu.segments?.[name];
    if (segment === undefined) writer.zeros(16);
    else writer.u16(segment.selector).u16(segment.attributes).u32(segment.limit).u64(segment.base);
  }
  for (const table of groups.includes('tables') ? [vcpu.gdtr!, vcpu.idtr!] : [null, null]) {
    if (table === null) writer.zeros(16);
    else writer.u64(table.base).u32(table.limit).zeros(4);
  }
  for (const name of DEBUG) writer.u64(value(name));
  return writer.u64(groups.reduce((bits, group) => bits | (1n << BigInt(GROUPS.indexOf(group))), 0n)).done();
}

export function decodeVcpuX86(body: ByteReader): VcpuX86 {
  const vcpu = vcpuNumber(body);
  const flags = body.u32('flags');
  const registers: Partial<Record<RegisterName, bigint>> = {};
  for (const name of FRONT) registers[name] = body.u64(name);
  const segments = Object.fromEntries(
    SEGMENTS.map((name) => [
      name,
      { selector: body.u16(name), attributes: body.u16(name), limit: body.u32(name), base: body.u64(name) },
    ]),
  ) as Record<SegmentName, Segment>;
  const table = (name: string): TableRegister => {
    const register = { base: body.u64(name), limit: body.u32(name) };
    body.reserved(4);
    return register;
  };
  const gdtr = table('gdtr');
  const idtr = table('idtr');
  for (const name of DEBUG) registers[name] = body.u64(name);
  const known = body.u64('known');
  body.end();
  const knows = (group: GroupName): boolean => ((known >> BigInt(GROUPS.indexOf(group))) & 1n) === 1n;
  for (const group of GROUPS) {
    if (!knows(group)) for (const name of REGISTERS_OF[group] ?? []) delete registers[name];
  }
  return {
    kind: 'VCPU_X86',
    vcpu,
    online: (flags & 1) !== 0,
    halted: (flags & 2) !== 0,
    registers,
    segments: knows('segments') ? segments : null,
    gdtr: knows('tables') ? gdtr : null,
    idtr: knows('tables') ? idtr : null,
  };
}

function vcpuNumber(body: ByteReader): number {
  const vcpu = body.u32('vcpu');
  if (vcpu >= LIMITS.vcpus) throw body.error('FIELD_VALUE', `vCPU ${vcpu} is above ${LIMITS.vcpus - 1}`, 'vcpu');
  return vcpu;
}

/** Kinds of VCPU_STATE that this version defines (stream 8.2). */
export const VCPU_STATE = { fxsave: 1, xsave: 2, msrs: 3 } as const;

/** VCPU_STATE: bytes of one processor in a form of their own. */
export interface VcpuState {
  readonly kind: 'VCPU_STATE';
  readonly vcpu: number;
  readonly state: number;
  /** A view into the record: copy it to keep it. */
  readonly bytes: Uint8Array;
}

export function encodeVcpuState(vcpu: number, state: number, bytes: Uint8Array): Uint8Array {
  return new ByteWriter(LIMITS.recordBody, 8 + bytes.byteLength).u32(vcpu).u16(state).zeros(2).bytes(bytes).done();
}

export function decodeVcpuState(body: ByteReader): VcpuState {
  const vcpu = vcpuNumber(body);
  const state = body.u16('kind');
  body.reserved(2);
  const bytes = body.take(body.left, 'bytes');
  if (state === 0) throw body.error('FIELD_VALUE', 'Kind 0 of vCPU state does not exist', 'kind');
  const fits =
    state === VCPU_STATE.fxsave
      ? bytes.byteLength === 512
      : state === VCPU_STATE.xsave
        ? bytes.byteLength >= 576
        : state !== VCPU_STATE.msrs || bytes.byteLength % 16 === 0;
  if (!fits) throw body.error('LENGTH_MISMATCH', `${bytes.byteLength} bytes are not a state of kind ${state}`, 'bytes');
  return { kind: 'VCPU_STATE', vcpu, state, bytes };
}

/** A leaf of X86_CPUID; subleaf 0xFFFFFFFF when the leaf has none. */
export interface CpuidLeaf {
  readonly leaf: number;
  readonly subleaf: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** X86_CPUID (stream 8.3): what the guest was shown. */
export interface Cpuid {
  readonly kind: 'X86_CPUID';
  readonly leaves: readonly CpuidLeaf[];
}

export function encodeCpuid(leaves: readonly CpuidLeaf[]): Uint8Array {
  const writer = new ByteWriter(8 + 24 * LIMITS.cpuidLeaves).u32(leaves.length).zeros(4);
  for (const { leaf, subleaf, eax, ebx, ecx, edx } of leaves) {
    writer.u32(leaf).u32(subleaf).u32(eax).u32(ebx).u32(ecx).u32(edx);
  }
  return writer.done();
}

export function decodeCpuid(body: ByteReader): Cpuid {
  const count = countOf(body, LIMITS.cpuidLeaves);
  const leaves: CpuidLeaf[] = [];
  for (let i = 0; i < count; i++) {
    leaves.push({
      leaf: body.u32(`leaves[${i}]`),
      subleaf: body.u32(`leaves[${i}]`),
      eax: body.u32(`leaves[${i}]`),
      ebx: body.u32(`leaves[${i}]`),
      ecx: body.u32(`leaves[${i}]`),
      edx: body.u32(`leaves[${i}]`),
    });
  }
  body.end();
  return { kind: 'X86_CPUID', leaves };
}

/** An entry of X86_MSR. */
export interface Msr {
  readonly index: number;
  readonly flags: number;
  readonly value: bigint;
}

/** X86_MSR (stream 8.4): what policy the guest was given. */
export interface MsrPolicy {
  readonly kind: 'X86_MSR';
  readonly msrs: readonly Msr[];
}

export function encodeMsrs(msrs: readonly Msr[]): Uint8Array {
  const writer = new ByteWriter(8 + 16 * LIMITS.msrs).u32(msrs.length).zeros(4);
  for (const { index, flags, value } of msrs) writer.u32(index).u32(flags).u64(value);
  return writer.done();
}

export function decodeMsrs(body: ByteReader): MsrPolicy {
  const count = countOf(body, LIMITS.msrs);
  const msrs: Msr[] = [];
  for (let i = 0; i < count; i++) {
    msrs.push({ index: body.u32(`msrs[${i}]`), flags: body.u32(`msrs[${i}]`), value: body.u64(`msrs[${i}]`) });
  }
  body.end();
  return { kind: 'X86_MSR', msrs };
}

function countOf(body: ByteReader, limit: number): number {
  const count = body.u32('count');
  body.reserved(4);
  if (count > limit) throw body.error('LIMIT_EXCEEDED', `${count} entries, the limit is ${limit}`, 'count');
  if (count === 0) throw body.error('FIELD_VALUE', 'A list without entries', 'count');
  return count;
}
