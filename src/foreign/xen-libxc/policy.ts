/** CPUID and MSR policies: what a domain may see of its processor (foreign/xen-libxc 10). */
import { BODY } from './constants.ts';
import { Fields, FieldsOut, type Place } from './fields.ts';

/** A leaf that has no subleaves says so in this number (foreign/xen-libxc 10). */
export const NO_SUBLEAF = 0xffff_ffff;

/** Most entries of a policy that are decoded: Xen has some hundred. */
export const POLICY_ENTRIES_MOST = 65_536;

export interface XenCpuidLeaf {
  readonly leaf: number;
  /** {@link NO_SUBLEAF} where the leaf has none. */
  readonly subleaf: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export interface XenMsrEntry {
  readonly index: number;
  /** Reserved; zero. */
  readonly flags: number;
  readonly value: bigint;
}

function fieldsOf(content: Uint8Array, unit: number, place: Place, little: boolean): Fields {
  const fields = new Fields(content, little, place);
  if (content.byteLength > POLICY_ENTRIES_MOST * unit) {
    throw fields.error('LIMIT_EXCEEDED', `More than ${POLICY_ENTRIES_MOST} entries`);
  }
  return fields;
}

/** The leaves of X86_CPUID_POLICY. @throws LENGTH_MISMATCH, LIMIT_EXCEEDED */
export function decodeCpuidPolicy(content: Uint8Array, place: Place, little = true): XenCpuidLeaf[] {
  const fields = fieldsOf(content, BODY.cpuidLeaf, place, little);
  const leaves: XenCpuidLeaf[] = [];
  while (fields.left > 0) {
    const [leaf, subleaf] = [fields.u32('leaf'), fields.u32('subleaf')];
    const [eax, ebx, ecx, edx] = [fields.u32('a'), fields.u32('b'), fields.u32('c'), fields.u32('d')];
    leaves.push({ leaf, subleaf, eax, ebx, ecx, edx });
  }
  return leaves;
}

export function encodeCpuidPolicy(leaves: readonly XenCpuidLeaf[], little = true): Uint8Array {
  const out = new FieldsOut(leaves.length * BODY.cpuidLeaf, little);
  for (const { leaf, subleaf, eax, ebx, ecx, edx } of leaves) {
    out.u32(leaf).u32(subleaf).u32(eax).u32(ebx).u32(ecx).u32(edx);
  }
  return out.done();
}

/** The entries of X86_MSR_POLICY. @throws LENGTH_MISMATCH, LIMIT_EXCEEDED */
export function decodeMsrPolicy(content: Uint8Array, place: Place, little = true): XenMsrEntry[] {
  const fields = fieldsOf(content, BODY.msrEntry, place, little);
  const entries: XenMsrEntry[] = [];
  while (fields.left > 0) {
    entries.push({ index: fields.u32('idx'), flags: fields.u32('flags'), value: fields.u64('val') });
  }
  return entries;
}

export function encodeMsrPolicy(entries: readonly XenMsrEntry[], little = true): Uint8Array {
  const out = new FieldsOut(entries.length * BODY.msrEntry, little);
  for (const { index, flags, value } of entries) out.u32(index).u32(flags).u64(value);
  return out.done();
}
