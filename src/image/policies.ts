import type { CpuidLeaf, Msr } from '../stream/records/vcpu.ts';

/** The policies that a guest was given, in short: spec/cli-json.md 1. */
export interface PoliciesJson {
  cpuidLeaves: number;
  msrs: number;
  /** Of leaf 0: `GenuineIntel`; null where there is none. */
  vendor: string | null;
  /** Of leaves 0x80000002 to 0x80000004; null where they are not all there. */
  brand: string | null;
  /** Of leaf 1; null where there is none. */
  family: number | null;
  model: number | null;
  stepping: number | null;
}

const BRAND = [0x8000_0002, 0x8000_0003, 0x8000_0004] as const;

/** @param leaves,msrs null: the image has no such policy */
export function policiesJson(leaves: readonly CpuidLeaf[] | null, msrs: readonly Msr[] | null): PoliciesJson | null {
  if (leaves === null && msrs === null) return null;
  const find = (number: number): CpuidLeaf | undefined => leaves?.find(({ leaf }) => leaf === number);
  const first = find(0);
  const brand = BRAND.map(find).filter((leaf) => leaf !== undefined);
  const signature = find(1)?.eax;
  const text = brand.map(({ eax, ebx, ecx, edx }) => ascii(eax, ebx, ecx, edx)).join('');
  return {
    cpuidLeaves: leaves?.length ?? 0,
    msrs: msrs?.length ?? 0,
    vendor: first === undefined ? null : ascii(first.ebx, first.edx, first.ecx),
    brand: brand.length < BRAND.length ? null : text.trim(),
    ...versionOf(signature),
  };
}

/** Family, model and stepping: the extended fields count only with some families (SDM and APM, CPUID leaf 1). */
function versionOf(eax: number | undefined): Pick<PoliciesJson, 'family' | 'model' | 'stepping'> {
  if (eax === undefined) return { family: null, model: null, stepping: null };
  const base = (eax >>> 8) & 0xf;
  const family = base === 0xf ? base + ((eax >>> 20) & 0xff) : base;
  const model = ((eax >>> 4) & 0xf) | (base === 0xf || base === 6 ? ((eax >>> 16) & 0xf) << 4 : 0);
  return { family, model, stepping: eax & 0xf };
}

/** Bytes of registers as text, up to their first NUL. What is not ASCII is for the one who shows it to escape. */
function ascii(...registers: readonly number[]): string {
  let text = '';
  for (const register of registers) {
    for (let shift = 0; shift < 32; shift += 8) text += String.fromCharCode((register >>> shift) & 0xff);
  }
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}
