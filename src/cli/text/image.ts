import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { HeadJson } from '../../image/head-json.ts';
import type { StreamCounts } from '../../image/counts.ts';
import type { PreambleJson } from '../../image/record-json.ts';
import { escapeText } from '../escape.ts';
import { asFields, showValue, textField } from './fields.ts';
import { formatBytes, formatCount, plural } from './format.ts';

/** ELF machine numbers by the names people use. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, 'i386'],
  [20, 'PowerPC'],
  [21, 'PowerPC64'],
  [22, 's390'],
  [40, 'Arm'],
  [62, 'x86-64'],
  [183, 'AArch64'],
  [243, 'RISC-V'],
  [258, 'LoongArch'],
]);

const KINDS: Readonly<Record<string, string>> = {
  save: 'saved',
  migration: 'migration stream of',
  incremental: 'incremental image of',
  core: 'core image of',
};

const DOMAINS: Readonly<Record<string, string>> = {
  unknown: 'machine of unknown type',
  pv: 'PV machine',
  hvm: 'HVM machine',
  pvh: 'PVH machine',
  'emulated-tmem': 'emulated machine with tmem',
  emulated: 'emulated machine',
};

/** What the image is in a few words: `saved PV machine, x86-64`. */
export function imageText(preamble: PreambleJson): string {
  const kind = KINDS[preamble.kind] ?? `${escapeText(preamble.kind)} image of`;
  const domain = DOMAINS[preamble.domainType] ?? `${escapeText(preamble.domainType)} machine`;
  const kindOf = kind.endsWith(' of') ? `${kind} ${articleOf(domain)} ${domain}` : `${kind} ${domain}`;
  return `${kindOf}, ${MACHINES.get(preamble.machine) ?? `machine type ${preamble.machine}`}`;
}

/** What an image of others is: `PV machine of Xen 4.17, x86-64, NAME`. */
export function foreignText(format: string, head: HeadJson | null, about: JsonObject | null): string {
  if (head === null) {
    return format === 'xl-back' ? 'what the target of xl migrate answered: no machine' : `${escapeText(format)} image`;
  }
  const domain = DOMAINS[head.domainType] ?? `${escapeText(head.domainType)} machine`;
  const fields = asFields(about);
  const source = asFields(fields.source);
  const versions = Object.entries(asFields(source.versions)).map(
    ([program, version]) => `${showValue(program)} ${showValue(version)}`,
  );
  const of = versions.length === 0 ? '' : ` of ${versions.join(', ')}`;
  const machine = MACHINES.get(head.machine) ?? `machine type ${head.machine}`;
  const name = textField(fields, 'name');
  return `${domain}${of}, ${machine}${name === '' ? '' : `, ${name}`}`;
}

/** Layers, outermost first: `zstd > xl > libxl > xen-libxc`. */
export function nestingText(nesting: readonly string[]): string {
  return nesting.map(escapeText).join(' > ');
}

function articleOf(words: string): string {
  return /^(?:[aeio]|HVM)/.test(words) ? 'an' : 'a';
}

/** How it is written: format and version, word size, page size, channel and direction where they are not the usual. */
export function formatText(preamble: PreambleJson, format: string): string {
  const parts = [
    `${escapeText(format)} ${preamble.major}.${preamble.minor}`,
    `${preamble.wordBits}-bit ${escapeText(preamble.byteOrder)}-endian`,
    `${formatBytes(preamble.pageSize)} pages`,
  ];
  if (preamble.channels > 1) parts.push(`channel ${preamble.channel} of ${preamble.channels}`);
  if (preamble.direction !== 'forward') parts.push('back to the source');
  return parts.join(', ');
}

/** What the stream is made of: `24 records, among them 2 seals, 1 checkpoint`. */
export function countsText(counts: StreamCounts, where = ''): string {
  const parts: string[] = [];
  if (counts.seals > 0) parts.push(plural(counts.seals, 'seal'));
  if (counts.rounds > 0) parts.push(plural(counts.rounds, 'round'));
  if (counts.checkpoints > 0 || counts.seals > 0) parts.push(plural(counts.checkpoints, 'checkpoint'));
  if (counts.unknownOptional > 0) parts.push(`${formatCount(counts.unknownOptional)} unknown optional ones`);
  const all = `${plural(counts.records, 'record')}${where}`;
  return parts.length === 0 ? all : `${all}: ${parts.join(', ')}`;
}

/** Features by name, with what a reader owes them. */
export function featuresText(preamble: PreambleJson): string {
  const must = preamble.mustKnow.map((name) => `${escapeText(name)} (must be known)`);
  return [...must, ...preamble.mayIgnore.map(escapeText)].join(', ');
}
