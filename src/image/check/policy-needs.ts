/** What a guest's policy needs beyond that of a host (foreign/xen-libxc 10). */
import { hexNumber } from '../../bytes/hex.ts';
import type { CpuidLeaf, Msr } from '../../stream/records/vcpu.ts';
import { ARCH_CAPABILITIES, featureNames, msrName } from '../diff/cpuid-names.ts';
import { leafName } from '../diff/policy-diff.ts';

const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
const NO_SUBLEAF = 0xffff_ffff;

/** Bits that say what an operating system or hypervisor did, and not what the processor can: leaf, register, mask. */
const NO_FEATURES: ReadonlyMap<string, number> = new Map([
  // OSXSAVE, HYPERVISOR
  ['1:ecx', (1 << 27) | (1 << 31)],
  // OSPKE
  ['7:ecx', 1 << 4],
]);

/** Leaves whose eax is the number of the last leaf of their range. */
const RANGES: readonly number[] = [0, 0x8000_0000];
/** XCR0 of leaf 0xD, and the width of addresses of leaf 0x80000008. */
const XSTATE = 0xd;
const ADDRESSES = 0x8000_0008;

/** MSRs of features, bit by bit; bits of ARCH_CAPABILITIES that confess a weakness are no need. */
const FEATURE_MSRS: ReadonlyMap<number, bigint> = new Map([
  [0xce, 0n],
  // RSBA, RRSBA
  [0x10a, (1n << 2n) | (1n << 19n)],
]);

/** Something that a guest was shown and a host does not have. */
export interface PolicyNeed {
  /** `cpuid 7:0 ebx`, `msr 0000010a`. */
  readonly what: string;
  /** Names of features, or bits; empty where it is no set of features. */
  readonly features: readonly string[];
  readonly need: string;
  readonly have: string;
}

/** What of a guest's CPUID policy a host does not have. */
export function cpuidNeeds(guest: readonly CpuidLeaf[], host: readonly CpuidLeaf[]): PolicyNeed[] {
  const has = new Map(host.map((leaf) => [leafKey(leaf), leaf]));
  const needs: PolicyNeed[] = [];
  for (const leaf of guest) {
    const own = has.get(leafKey(leaf));
    for (const register of REGISTERS) {
      const [need, have] = [leaf[register], own?.[register] ?? 0];
      const features = beyond(leaf, register, need, have);
      if (features === null) continue;
      const what = `cpuid ${leafName(leaf)} ${register}`;
      needs.push({ what, features, need: hexNumber(need, 8), have: hexNumber(have, 8) });
    }
  }
  return needs;
}

/** A leaf without subleaves is one whose only subleaf is 0. */
function leafKey({ leaf, subleaf }: CpuidLeaf): string {
  return `${leaf}:${subleaf === NO_SUBLEAF ? 0 : subleaf}`;
}

/** null when the host has all of it. */
function beyond(
  { leaf, subleaf }: CpuidLeaf,
  register: (typeof REGISTERS)[number],
  need: number,
  have: number,
): string[] | null {
  const names = featureNames(leaf, subleaf, register);
  const isXcr0 = leaf === XSTATE && subleaf === 0 && (register === 'eax' || register === 'edx');
  if (names !== undefined || isXcr0) {
    const missing = need & ~have & ~(NO_FEATURES.get(`${leaf.toString(16)}:${register}`) ?? 0);
    if (missing === 0) return null;
    const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((missing >>> bit) & 1) === 1);
    return bits.map((bit) => names?.[bit] ?? `bit ${bit}`);
  }
  if (RANGES.includes(leaf)) {
    // Of leaf 0 the other registers are the vendor's name, whose processors have features of their own.
    const differs = register === 'eax' ? need > have : leaf === 0 && need !== have;
    return differs ? [] : null;
  }
  if (leaf === ADDRESSES && register === 'eax') return (need & 0xff) > (have & 0xff) ? [] : null;
  return null;
}

/** What of a guest's MSR policy a host does not have. */
export function msrNeeds(guest: readonly Msr[], host: readonly Msr[]): PolicyNeed[] {
  const has = new Map(host.map(({ index, value }) => [index, value]));
  return guest.flatMap(({ index, value }) => {
    const own = has.get(index);
    const noFeatures = FEATURE_MSRS.get(index);
    const missing = noFeatures === undefined ? 0n : value & ~(own ?? 0n) & ~noFeatures;
    if (missing === 0n && (own !== undefined || noFeatures !== undefined || value === 0n)) return [];
    const name = msrName(index);
    const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((missing >> BigInt(bit)) & 1n) === 1n);
    return [
      {
        what: `msr ${hexNumber(index, 8)}${name === null ? '' : ` ${name}`}`,
        features: bits.map((bit) => (index === 0x10a ? ARCH_CAPABILITIES[bit] : null) ?? `bit ${bit}`),
        need: hexNumber(value, 16),
        have: own === undefined ? 'none' : hexNumber(own, 16),
      },
    ];
  });
}
