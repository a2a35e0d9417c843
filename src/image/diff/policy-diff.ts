import { hexNumber } from '../../bytes/hex.ts';
import type { CpuidLeaf, Msr } from '../../stream/records/vcpu.ts';
import { featureNames, msrName } from './cpuid-names.ts';
import type { CpuidDiff, CpuidPolicyDiff, MsrPolicyDiff, Side } from './result.ts';

const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
const NO_SUBLEAF = 0xffff_ffff;

/** `1`, or `7:0` of a leaf with subleaves; hexadecimal digits. */
export function leafName({ leaf, subleaf }: Pick<CpuidLeaf, 'leaf' | 'subleaf'>): string {
  return subleaf === NO_SUBLEAF ? leaf.toString(16) : `${leaf.toString(16)}:${subleaf.toString(16)}`;
}

/**
 * Compares what two guests were shown of their processors, register by register. A policy that is not there at all is
 * one without leaves.
 */
export function diffCpuid(a: readonly CpuidLeaf[] | null, b: readonly CpuidLeaf[] | null): CpuidPolicyDiff {
  const [inA, inB] = [byName(a ?? []), byName(b ?? [])];
  const different: CpuidDiff[] = [];
  for (const [name, one] of inA) {
    const other = inB.get(name);
    if (other === undefined) continue;
    for (const register of REGISTERS) {
      if (one[register] !== other[register]) different.push(registerDiff(one, other, register));
    }
  }
  return {
    leaves: { a: inA.size, b: inB.size },
    onlyA: [...inA.keys()].filter((name) => !inB.has(name)),
    onlyB: [...inB.keys()].filter((name) => !inA.has(name)),
    different,
  };
}

function byName(leaves: readonly CpuidLeaf[]): Map<string, CpuidLeaf> {
  return new Map(leaves.map((leaf) => [leafName(leaf), leaf]));
}

function registerDiff(a: CpuidLeaf, b: CpuidLeaf, register: (typeof REGISTERS)[number]): CpuidDiff {
  const names = featureNames(a.leaf, a.subleaf, register);
  const bits: { bit: number; name: string | null; in: Side }[] = [];
  if (names !== undefined) {
    for (let bit = 0; bit < 32; bit++) {
      const [one, other] = [(a[register] >>> bit) & 1, (b[register] >>> bit) & 1];
      if (one !== other) bits.push({ bit, name: names[bit] ?? null, in: one === 1 ? 'a' : 'b' });
    }
  }
  return {
    leaf: hexNumber(a.leaf, 8),
    subleaf: hexNumber(a.subleaf, 8),
    register,
    a: hexNumber(a[register], 8),
    b: hexNumber(b[register], 8),
    bits,
  };
}

/** Compares policies of MSRs by index. */
export function diffMsrs(a: readonly Msr[] | null, b: readonly Msr[] | null): MsrPolicyDiff {
  const [inA, inB] = [new Map((a ?? []).map((msr) => [msr.index, msr])), new Map((b ?? []).map((m) => [m.index, m]))];
  const different = [...inA.values()].flatMap(({ index, value }) => {
    const other = inB.get(index);
    if (other === undefined || other.value === value) return [];
    const [one, two] = [hexNumber(value, 16), hexNumber(other.value, 16)];
    return [{ index: hexNumber(index, 8), name: msrName(index), a: one, b: two }];
  });
  return {
    msrs: { a: inA.size, b: inB.size },
    onlyA: [...inA.keys()].filter((index) => !inB.has(index)).map((index) => hexNumber(index, 8)),
    onlyB: [...inB.keys()].filter((index) => !inA.has(index)).map((index) => hexNumber(index, 8)),
    different,
  };
}
