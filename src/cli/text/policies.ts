import type { PoliciesJson } from '../../image/policies.ts';
import { escapeText } from '../escape.ts';
import { plural } from './format.ts';
import type { Layout } from './style.ts';
import { pairLines } from './table.ts';

/** The policies that the guest was given, in short. */
export function policyLines(policies: PoliciesJson | null, layout: Layout): string[] {
  if (policies === null) return [];
  const { cpuidLeaves, msrs, vendor, brand, family, model, stepping } = policies;
  const name = [vendor, brand].filter((text) => text !== null && text !== '').map((text) => escapeText(text!));
  if (family !== null) name.push(`family ${family}, model ${model ?? '?'}, stepping ${stepping ?? '?'}`);
  const counts = [];
  if (cpuidLeaves > 0) counts.push(plural(cpuidLeaves, 'CPUID leaf', 'CPUID leaves'));
  if (msrs > 0) counts.push(plural(msrs, 'MSR'));
  const pairs: [string, string][] = [['policies', counts.join(', ')]];
  if (name.length > 0) pairs.push(['processor', name.join(', ')]);
  return pairLines(pairs, layout);
}
