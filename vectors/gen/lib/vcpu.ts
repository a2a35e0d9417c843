// Processor records (section 8).
import { cat, hex, hexOf, sha256, u16, u32, u64, zeros } from './bytes.ts';
import type { JsonObject } from './bytes.ts';
import { known } from './channel.ts';
import type { Rec } from './channel.ts';

const general = [
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
];
const syscall = ['kernel_gs_base', 'star', 'lstar', 'cstar', 'sfmask', 'sysenter_cs', 'sysenter_esp', 'sysenter_eip'];
const debug = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'];
const segmentNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];

/** Groups by bit, with the registers of each in the order of the body (8.1). */
const groups: { name: string; registers: string[] }[] = [
  { name: 'general', registers: general },
  { name: 'segments', registers: [] },
  { name: 'control', registers: ['cr0', 'cr2', 'cr3', 'cr4'] },
  { name: 'cr8', registers: ['cr8'] },
  { name: 'efer', registers: ['efer'] },
  { name: 'syscall', registers: syscall },
  { name: 'pat', registers: ['pat'] },
  { name: 'tsc', registers: ['tsc'] },
  { name: 'xcr0', registers: ['xcr0'] },
  { name: 'apic', registers: ['apic_base'] },
  { name: 'tables', registers: [] },
  { name: 'debug', registers: debug },
];
const bodyOrder = [
  ...general,
  'cr0',
  'cr2',
  'cr3',
  'cr4',
  'cr8',
  'efer',
  ...syscall,
  'pat',
  'tsc',
  'xcr0',
  'apic_base',
];

export type Segment = { selector: number; attributes: number; limit: number; base: bigint };
export type Table = { base: bigint; limit: number };
export type VcpuModel = {
  vcpu: number;
  flags: number;
  known: string[];
  registers: Record<string, bigint>;
  segments: Record<string, Segment>;
  gdtr: Table;
  idtr: Table;
  reserved: number;
};

const allGroups = groups.map((group) => group.name);

/** Registers that are all different, so that a swapped pair shows. */
export function vcpuModel(fields: Partial<VcpuModel> = {}): VcpuModel {
  const registers: Record<string, bigint> = {};
  [...bodyOrder, ...debug].forEach((name, place) => {
    registers[name] = 0xf0e1d2c300000000n + BigInt(place + 1) * 0x01010101n;
  });
  const segments: Record<string, Segment> = {};
  segmentNames.forEach((name, place) => {
    segments[name] = {
      selector: 8 * (place + 1),
      attributes: name === 'cs' ? 0xa9b : 0xc93 + place * 0x10,
      limit: 0xffffffff - place,
      base: 0x100000000n * BigInt(place),
    };
  });
  return {
    vcpu: 0,
    flags: 1,
    known: allGroups,
    registers,
    segments,
    gdtr: { base: 0xffffffff82000000n, limit: 0x7f },
    idtr: { base: 0xffffffff82001000n, limit: 0xfff },
    reserved: 0,
    ...fields,
  };
}

export function vcpuX86(model: VcpuModel): Rec {
  const has = (group: string): boolean => model.known.includes(group);
  const groupOf = (register: string): string => groups.find((group) => group.registers.includes(register))!.name;
  const word = (register: string): Buffer => u64(has(groupOf(register)) ? model.registers[register] : 0n);
  const segment = (name: string): Buffer => {
    const s = model.segments[name];
    return has('segments') ? cat(u16(s.selector), u16(s.attributes), u32(s.limit), u64(s.base)) : zeros(16);
  };
  const table = (t: Table): Buffer => (has('tables') ? cat(u64(t.base), u32(t.limit), u32(model.reserved)) : zeros(16));
  const bits = groups.reduce((mask, group, bit) => (has(group.name) ? mask | (1n << BigInt(bit)) : mask), 0n);
  const shown: JsonObject = {};
  for (const group of groups) {
    if (!has(group.name)) continue;
    for (const register of group.registers) shown[register] = hexOf(model.registers[register], 16);
  }
  const segments: JsonObject = {};
  for (const name of segmentNames) {
    const s = model.segments[name];
    segments[name] = {
      selector: hexOf(s.selector, 4),
      attributes: hexOf(s.attributes, 4),
      limit: hexOf(s.limit, 8),
      base: hexOf(s.base, 16),
    };
  }
  const tableJson = (t: Table): JsonObject => ({ base: hexOf(t.base, 16), limit: hexOf(t.limit, 8) });
  return {
    ...known('VCPU_X86'),
    body: cat(
      u32(model.vcpu),
      u32(model.flags),
      ...bodyOrder.map(word),
      ...segmentNames.map(segment),
      table(model.gdtr),
      table(model.idtr),
      ...debug.map(word),
      u64(bits),
    ),
    fields: {
      vcpu: model.vcpu,
      online: (model.flags & 1) !== 0,
      halted: (model.flags & 2) !== 0,
      known: groups.filter((group) => has(group.name)).map((group) => group.name),
      registers: shown,
      segments: has('segments') ? segments : null,
      gdtr: has('tables') ? tableJson(model.gdtr) : null,
      idtr: has('tables') ? tableJson(model.idtr) : null,
    },
  };
}

export function vcpuState(vcpu: number, kind: number, state: Buffer, reserved = 0): Rec {
  return {
    ...known('VCPU_STATE'),
    body: cat(u32(vcpu), u16(kind), u16(reserved), state),
    fields: { vcpu, kind, bytes: state.length, sha256: hex(sha256(state)) },
  };
}

export type Leaf = { leaf: number; subleaf: number; eax: number; ebx: number; ecx: number; edx: number };

export function cpuid(leaves: Leaf[], count = leaves.length, reserved = 0): Rec {
  const words = (leaf: Leaf): number[] => [leaf.leaf, leaf.subleaf, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx];
  return {
    ...known('X86_CPUID'),
    body: cat(u32(count), u32(reserved), ...leaves.flatMap((leaf) => words(leaf).map(u32))),
    fields: {
      leaves: leaves.map((leaf) => ({
        leaf: hexOf(leaf.leaf, 8),
        subleaf: hexOf(leaf.subleaf, 8),
        eax: hexOf(leaf.eax, 8),
        ebx: hexOf(leaf.ebx, 8),
        ecx: hexOf(leaf.ecx, 8),
        edx: hexOf(leaf.edx, 8),
      })),
    },
  };
}

export type Msr = { index: number; flags?: number; value: bigint };

export const msrRows = (msrs: Msr[]): Buffer =>
  cat(...msrs.map((msr) => cat(u32(msr.index), u32(msr.flags ?? 0), u64(msr.value))));

export function msr(msrs: Msr[], count = msrs.length, reserved = 0): Rec {
  return {
    ...known('X86_MSR'),
    body: cat(u32(count), u32(reserved), msrRows(msrs)),
    fields: {
      msrs: msrs.map((item) => ({
        index: hexOf(item.index, 8),
        flags: hexOf(item.flags ?? 0, 8),
        value: hexOf(item.value, 16),
      })),
    },
  };
}
