import { hexNumber } from '../../bytes/hex.ts';
import {
  CONTROL,
  DEBUG,
  GENERAL,
  knownGroups,
  SEGMENTS,
  SYSCALL,
  type GroupName,
  type RegisterName,
  type VcpuX86,
} from '../../stream/records/vcpu.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import type { RegisterDiff, VcpuDiff, VcpusDiff } from './result.ts';

type Vcpu = Omit<VcpuX86, 'kind'>;

/** The registers of each group, but for segments and tables, which have fields. */
const REGISTERS: Readonly<Partial<Record<GroupName, readonly RegisterName[]>>> = {
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

const PAGE_SHIFT = 12n;

/** Compares the processors of two images, register by register, where both know the group (stream 8.1). */
export function diffVcpus(a: OpenedImage, b: OpenedImage): VcpusDiff {
  const inB = new Map(b.vcpus.map((vcpu) => [vcpu.vcpu, vcpu]));
  const inA = new Set(a.vcpus.map(({ vcpu }) => vcpu));
  const both: VcpuDiff[] = [];
  const onlyA: number[] = [];
  for (const vcpu of a.vcpus) {
    const other = inB.get(vcpu.vcpu);
    if (other === undefined) onlyA.push(vcpu.vcpu);
    else both.push(diffVcpu(withPfns(vcpu, a, b), withPfns(other, b, a)));
  }
  return { onlyA, onlyB: b.vcpus.map(({ vcpu }) => vcpu).filter((vcpu) => !inA.has(vcpu)), both };
}

/** The address of the page tables as a pfn, where the other image says it so (spec/foreign/model.md 2). */
function withPfns(vcpu: Vcpu, own: OpenedImage, other: OpenedImage): Vcpu {
  const { pfnOfFrame } = own.memory;
  const { cr3 } = vcpu.registers;
  if (pfnOfFrame === undefined || other.memory.pfnOfFrame !== undefined || cr3 === undefined) return vcpu;
  const pfn = pfnOfFrame(Number(cr3 >> PAGE_SHIFT));
  if (pfn < 0) return vcpu;
  const low = cr3 & ((1n << PAGE_SHIFT) - 1n);
  return { ...vcpu, registers: { ...vcpu.registers, cr3: (BigInt(pfn) << PAGE_SHIFT) | low } };
}

function diffVcpu(a: Vcpu, b: Vcpu): VcpuDiff {
  const [groupsA, groupsB] = [knownGroups(a), knownGroups(b)];
  const registers: RegisterDiff[] = [];
  let compared = 0;
  const compare = (name: string, one: number | bigint, other: number | bigint, digits: number): void => {
    compared++;
    if (one !== other) registers.push({ name, a: hexNumber(one, digits), b: hexNumber(other, digits) });
  };
  for (const flag of ['online', 'halted'] as const) {
    if (a[flag] !== b[flag]) registers.push({ name: flag, a: a[flag], b: b[flag] });
  }
  for (const group of groupsA.filter((one) => groupsB.includes(one))) {
    for (const name of REGISTERS[group] ?? []) compare(name, a.registers[name]!, b.registers[name]!, 16);
    if (group === 'segments') {
      for (const name of SEGMENTS) {
        const [one, other] = [a.segments![name], b.segments![name]];
        compare(`${name}.selector`, one.selector, other.selector, 4);
        compare(`${name}.attributes`, one.attributes, other.attributes, 4);
        compare(`${name}.limit`, one.limit, other.limit, 8);
        compare(`${name}.base`, one.base, other.base, 16);
      }
    }
    if (group === 'tables') {
      for (const name of ['gdtr', 'idtr'] as const) {
        compare(`${name}.base`, a[name]!.base, b[name]!.base, 16);
        compare(`${name}.limit`, a[name]!.limit, b[name]!.limit, 8);
      }
    }
  }
  return {
    vcpu: a.vcpu,
    compared,
    registers,
    onlyA: groupsA.filter((group) => !groupsB.includes(group)),
    onlyB: groupsB.filter((group) => !groupsA.includes(group)),
  };
}
