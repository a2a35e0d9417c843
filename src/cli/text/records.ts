import type { RecordJson } from '../../image/record-json.ts';
import { PAGE_CLASS } from '../../stream/page-class.ts';
import type { Fields } from './fields.ts';
import {
  asFields,
  bytesField,
  countField,
  digestField,
  hexField,
  integerField,
  listField,
  textField,
} from './fields.ts';
import { numberField, showValue } from './fields.ts';
import { formatBytes, formatCount, formatHex, pad, plural, shorten } from './format.ts';
import type { Integer } from './format.ts';
import { clientText, recordNumber } from './summaries.ts';
import type { Layout } from './style.ts';
import { vcpuMode, vcpuState } from './vcpu.ts';
import { paragraph, wordsFit, wrapText } from './wrap.ts';

/** Things of a list that are shown before `...`. */
const SHOWN = 3;
/** Longest summary; `--json` has everything. */
const LONGEST = 400;
const GAP = '  ';
/** With fewer columns than this the fields are easier to read below the rest of the line. */
const LEAST_ROOM = 28;
/** How far they are indented there. */
const BELOW = 4;

const MIN_OFFSET_DIGITS = 8;

/** One line a record: offset, sequence, name, section, length of the body, and the gist of its fields. */
export function* recordLines(records: readonly RecordJson[], layout: Layout): Generator<string> {
  const last = records.at(-1);
  if (last === undefined) return;
  const widths = columnWidths(records, last);
  const { style, width } = layout;
  // The columns before the fields, with a gap after each. Where they leave too little room, the fields go below them.
  const before = widths.offset + widths.sequence + widths.name + 'section'.length + widths.length + 5 * GAP.length + 2;
  const isNarrow = width - before < LEAST_ROOM;
  const head = [
    pad('offset', widths.offset + 2, 'left'),
    pad('#', widths.sequence, 'right'),
    pad('record', widths.name, 'left'),
    pad('section', 'section'.length, 'left'),
    pad('length', widths.length, 'right'),
  ];
  // Where not even the columns have room, they are no columns.
  const isTight = before - GAP.length > width;
  const joined = (cells: readonly string[]) => (isTight ? cells.map((cell) => cell.trim()) : cells).join(GAP).trimEnd();
  const [first = '', ...rest] = wrapText(joined([...head, ...(isNarrow ? [] : ['fields'])]), width);
  for (const line of [first, ...rest.map((one) => ' '.repeat(BELOW) + one.trim())]) yield style.faint(line.trimEnd());
  for (const record of records) {
    const cells = [
      formatHex(record.offset, widths.offset),
      pad(String(record.sequence), widths.sequence, 'right'),
      pad(shorten(recordName(record), widths.name), widths.name, 'left'),
      pad(record.section, 'section'.length, 'left'),
      pad(formatCount(record.length), widths.length, 'right'),
    ];
    const summary = shorten(recordSummary(record), LONGEST);
    if (!isNarrow && wordsFit(summary, width - before)) {
      yield* paragraph(joined(cells) + GAP, summary, before, width);
      continue;
    }
    yield* paragraph('', joined(cells), BELOW, width);
    if (summary !== '') yield* paragraph(' '.repeat(BELOW), summary, BELOW, width);
  }
}

const LONGEST_NAME = 32;

function columnWidths(records: readonly RecordJson[], last: RecordJson) {
  let name = 'record'.length;
  let length = 'length'.length;
  // A loop, since a list of arguments for Math.max has a limit and an image can have millions of records.
  for (const record of records) {
    name = Math.max(name, recordName(record).length);
    length = Math.max(length, formatCount(record.length).length);
  }
  return {
    offset: Math.max(MIN_OFFSET_DIGITS, last.offset.toString(16).length),
    sequence: Math.max(1, String(last.sequence).length),
    name: Math.min(name, LONGEST_NAME),
    length,
  };
}

/** A name is not to be believed when an image binds it; an unknown record is told by its number. */
function recordName(record: RecordJson): string {
  const name = record.name === 'unknown' ? `unknown 0x${record.type}` : showValue(record.name);
  return record.optional && !ALWAYS_OPTIONAL.has(record.name) ? `${name} (opt)` : name;
}

const ALWAYS_OPTIONAL: ReadonlySet<string> = new Set(['INDEX', 'INDEX_ROOT', 'ORIGIN']);

/** The gist of a record's fields in one line; lists are shortened. */
export function recordSummary(record: RecordJson): string {
  const fields = asFields(record.fields);
  const summarise = Object.hasOwn(SUMMARIES, record.name) ? SUMMARIES[record.name] : undefined;
  return summarise === undefined ? anyFields(fields) : words(summarise(fields));
}

const SUMMARIES: Readonly<Record<string, (fields: Fields) => readonly string[]>> = {
  ABOUT: ({ about }) => {
    const fields = asFields(about);
    const tool = asFields(fields.tool);
    const uuid = textField(fields, 'uuid');
    return [showValue(fields.name ?? 'no name'), uuid, textField(fields, 'time'), textField(tool, 'name')];
  },
  DICTIONARY: (f) => [
    `${recordNumber(f)} is ${textField(f, 'name')} version ${countField(f, 'version')}`,
    f.schema === null ? 'no schema' : plural(listField(asFields(f.schema), 'fields').length, 'field'),
    textField(f, 'text'),
  ],
  SEAL: (f) => [`seal ${countField(f, 'number')}`, `chain ${digestField(f, 'chain')}`],
  BARRIER: (f) => [`barrier ${countField(f, 'number')}`, chains(f)],
  ROUND: (f) => [`round ${countField(f, 'round')} ends`],
  CHECKPOINT: (f) => [`checkpoint ${countField(f, 'number')}`, guestTime(f)],
  END: (f) => [
    plural(numberField(f, 'records'), 'record'),
    `${plural(numberField(f, 'ramPages'), 'page')} (${countField(f, 'ramZeroPages')} zero)`,
    some(f, 'ramAbsentPages', 'absent'),
    some(f, 'tmemPages', 'tmem pages'),
    some(f, 'tmemInvalidations', 'invalidations'),
    `${bytesField(f, 'deviceBytes')} of devices`,
    chains(f),
  ],
  INDEX: (f) => [plural(integerField(f, 'entries') ?? '?', 'entry', 'entries')],
  INDEX_ROOT: (f) => [plural(numberField(f, 'segments'), 'segment')],
  ACK: (f) => [
    `channel ${countField(f, 'channel')}`,
    `seal ${countField(f, 'seal')}`,
    `chain ${digestField(f, 'chain')}`,
  ],
  RAM: (f) => [
    plural(numberField(f, 'pages'), 'page'),
    `pfn ${extents(listField(f, 'extents'))}`,
    some(f, 'zeroPages', 'zero'),
    units(listField(f, 'units')),
  ],
  VCPU_X86: (f) => [
    `vcpu ${countField(f, 'vcpu')} ${vcpuState(f)}`,
    vcpuMode(f),
    ...['rip', 'rsp', 'cr3'].map((name) => register(f, name)),
  ],
  VCPU_STATE: (f) => [`vcpu ${countField(f, 'vcpu')}`, `kind ${textField(f, 'kind')}`, bytesField(f, 'bytes')],
  X86_CPUID: (f) => [
    plural(listField(f, 'leaves').length, 'leaf', 'leaves'),
    shown(listField(f, 'leaves').map((leaf) => textField(asFields(leaf), 'leaf'))),
  ],
  X86_MSR: (f) => [
    plural(listField(f, 'msrs').length, 'MSR'),
    shown(
      listField(f, 'msrs').map((msr) => `${textField(asFields(msr), 'index')}=${textField(asFields(msr), 'value')}`),
    ),
  ],
  DEVICE: (f) => [
    `device ${countField(f, 'device')}`,
    [textField(f, 'name'), textField(f, 'format'), textField(f, 'version')].join(' '),
    bytesField(f, 'bytes'),
  ],
  DEVICE_DATA: (f) => [
    `device ${countField(f, 'device')}`,
    `at ${formatHex(BigInt(integerField(f, 'offset') ?? 0))}`,
    stored(f),
  ],
  DISK: (f) => [
    `disk ${countField(f, 'disk')} ${textField(f, 'name')}`,
    bytesField(f, 'bytes'),
    textField(f, 'policy'),
    f.readOnly === true ? 'read-only' : '',
    textField(f, 'locator'),
  ],
  TMEM_CLIENT: (f) => [clientText(f)],
  TMEM_POOL: (f) => [
    `pool ${countField(f, 'pool')}`,
    incarnation(f),
    textField(f, 'kind'),
    f.shared === true ? `shared as ${textField(f, 'uuid')}` : '',
    f.precompressed === true ? 'precompressed' : '',
    `${bytesField(f, 'pageSize')} pages`,
    plural(integerField(f, 'pages') ?? '?', 'page'),
  ],
  TMEM_PAGES: (f) => [
    incarnation(f),
    plural(listField(f, 'pages').length, 'page'),
    `${formatBytes(sum(listField(f, 'pages'), 'stored'))} stored`,
    codecs(listField(f, 'pages'), () => 1),
    shown(listField(f, 'pages').map(handle)),
  ],
  TMEM_INVALIDATE: (f) => [
    incarnation(f),
    f.scope === 'pool' ? 'the whole pool' : plural(listField(f, 'handles').length, singular(textField(f, 'scope'))),
    shown(listField(f, 'handles').map(handle)),
  ],
  ORIGIN: (f) => [`part ${countField(f, 'part')} of ${textField(f, 'format')}`, stored(f)],
};

/** `page` of the scope `pages`. */
function singular(scope: string): string {
  return scope.replace(/s$/, '');
}

function words(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(', ');
}

function some(fields: Fields, name: string, what: string): string {
  const value = integerField(fields, name);
  return value === null || String(value) === '0' ? '' : `${formatCount(value)} ${what}`;
}

function shown(texts: readonly string[]): string {
  return texts.slice(0, SHOWN).join(' ') + (texts.length > SHOWN ? ' ...' : '');
}

function chains(fields: Fields): string {
  const all = listField(fields, 'chains').map((chain) => showValue(chain).slice(0, 12));
  return all.length === 0 ? '' : `${all.length === 1 ? 'chain' : `${all.length} chains`} ${shown(all)}`;
}

/** The guest's clock at the pause; nothing when the image does not know it. */
function guestTime(fields: Fields): string {
  const nanoseconds = integerField(fields, 'guestTimeNs');
  if (nanoseconds === null || BigInt(nanoseconds) === 0n) return '';
  const time = new Date(Number(BigInt(nanoseconds) / 1_000_000n));
  return Number.isNaN(time.getTime()) ? '' : `guest time ${time.toISOString()}`;
}

function extents(list: readonly unknown[]): string {
  const texts = list.slice(0, SHOWN + 1).map((entry) => {
    const extent = asFields(entry);
    const first = BigInt(integerField(extent, 'first') ?? 0);
    const pages = BigInt(integerField(extent, 'pages') ?? 1);
    const range = pages > 1n ? `${formatHex(first)}-${formatHex(first + pages - 1n)}` : formatHex(first);
    const kind = integerField(extent, 'class');
    return kind === null || String(kind) === '0' ? range : `${range} (${classText(kind)})`;
  });
  const more = list.length > SHOWN ? ` (${formatCount(list.length)} extents)` : '';
  return shown(texts) + more;
}

const CLASS_NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries(PAGE_CLASS).map(([name, number]) => [String(number), name]),
);

/** Name of a page class as stream 7.1 lists it: `not present` for `notPresent`. */
function classText(kind: Integer): string {
  const name = CLASS_NAMES.get(String(kind)) ?? `class ${formatHex(BigInt(kind))}`;
  return name.replace(/[A-Z\d]+/g, (part) => ` ${part.toLowerCase()}`);
}

function units(list: readonly unknown[]): string {
  if (list.length === 0) return '';
  const byCodec = codecs(list, (unit) => numberField(unit, 'pages'));
  return `${plural(list.length, 'unit')} (${byCodec}), ${formatBytes(sum(list, 'stored'))} stored`;
}

/** How many of each codec: `zstd 12 raw 3`. */
function codecs(list: readonly unknown[], weigh: (entry: Fields) => number): string {
  const counts = new Map<string, number>();
  for (const item of list) {
    const entry = asFields(item);
    const codec = textField(entry, 'codec');
    counts.set(codec, (counts.get(codec) ?? 0) + weigh(entry));
  }
  return Array.from(counts, ([codec, count]) => `${codec} ${formatCount(count)}`).join(' ');
}

function sum(list: readonly unknown[], name: string): number {
  return list.reduce<number>((total, entry) => total + numberField(asFields(entry), name), 0);
}

function stored(fields: Fields): string {
  return `${bytesField(fields, 'bytes')}, ${textField(fields, 'codec')} ${bytesField(fields, 'stored')}`;
}

function incarnation(fields: Fields): string {
  return `incarnation ${countField(fields, 'incarnation')}`;
}

/** A tmem handle: object words in hex without those that are zero at the end, and the page's index. */
function handle(entry: unknown): string {
  const fields = asFields(entry);
  const object = listField(fields, 'object').map((word) => hexWord(word));
  while (object.length > 1 && object.at(-1) === '0') object.pop();
  return `${object.join(':')}/${showValue(fields.index)}`;
}

function hexWord(word: unknown): string {
  const text = showValue(word);
  return /^\d+$/.test(text) ? BigInt(text).toString(16) : text;
}

function register(vcpu: Fields, name: string): string {
  const value = hexField(asFields(vcpu.registers), name);
  return value === null ? '' : `${name} ${formatHex(value)}`;
}

/** Fields of a record that only its writer knows: `name=value`, lists shortened. */
function anyFields(fields: Fields): string {
  const texts = Object.entries(fields).map(([name, value]) => `${showValue(name)}=${anyValue(value)}`);
  return texts.join(' ');
}

function anyValue(value: unknown): string {
  if (!Array.isArray(value)) return typeof value === 'string' ? stringValue(value) : showValue(value);
  const texts = (value as readonly unknown[]).slice(0, SHOWN).map(anyValue);
  const more = value.length > SHOWN ? `, ... ${formatCount(value.length)} in all` : '';
  return `[${texts.join(', ')}${more}]`;
}

/** Hex and plain words stay as they are; what has spaces is quoted, so that one sees where it ends. */
function stringValue(value: string): string {
  // It is escaped here, once and for all: quoted, only the quotes in it are left to be told from those around it.
  const text = shorten(showValue(value), 64);
  return /^[^\s"=,[\]]+$/.test(text) ? text : `"${text.replaceAll('"', String.raw`\"`)}"`;
}
