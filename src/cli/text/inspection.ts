import type { Inspection, MemorySummary, NativeRecordJson, PoolSummary } from '../../image/inspection.ts';
import type { Fields } from './fields.ts';
import { ERRORS } from '../../errors.ts';
import { escapeText } from '../escape.ts';
import { aboutLines } from './about.ts';
import { asFields, bytesField, countField, digestField, listField, showValue, textField } from './fields.ts';
import { formatBytes, formatCount, formatHex, formatPercent, formatSize, plural } from './format.ts';
import { countsText, featuresText, foreignText, formatText, imageText, nestingText } from './image.ts';
import { problemText } from './problem.ts';
import { layerLines, nativeLines } from './layers.ts';
import { policyLines } from './policies.ts';
import { recordLines } from './records.ts';
import type { Layout } from './style.ts';
import { clientText, recordNumber } from './summaries.ts';
import { pairLines, sectionLines, tableLines } from './table.ts';
import type { Column } from './table.ts';
import { vcpuLines } from './vcpu.ts';
import { paragraph } from './wrap.ts';

/**
 * The text of `inspect`, line by line: what the image is, what it says of itself, what is in it, and what is wrong.
 * With records there is one line for each in place of the summaries.
 */
export function* inspectionLines(inspection: Inspection, layout: Layout): Generator<string> {
  yield* paragraph('', headline(inspection, layout), 2, layout.width);
  const { records } = inspection;
  if (records !== undefined) {
    if (isNative(records)) yield* nativeLines(records, layout);
    else yield* recordLines(records, layout);
  } else if (inspection.preamble !== null || inspection.layers.length > 0) {
    yield* summaryLines(inspection, layout);
  }
  yield* problemLines(inspection, layout);
}

function isNative(records: NonNullable<Inspection['records']>): records is NativeRecordJson[] {
  return records.length > 0 && 'layer' in records[0];
}

function headline(inspection: Inspection, { style }: Layout): string {
  const name = style.strong(escapeText(inspection.file.name));
  if (inspection.preamble === null && inspection.layers.length === 0) {
    const is = inspection.error?.code === 'NOT_AN_IMAGE' ? 'not an image' : 'not a whole image';
    const size = inspection.file.bytes === null ? '' : `, ${formatBytes(inspection.file.bytes)}`;
    return `${name}: ${style.bad(is)}${size}`;
  }
  const { preamble, format, head, about } = inspection;
  const what = preamble === null ? foreignText(format, head, about) : imageText(preamble);
  const bytes = inspection.file.bytes === null ? '' : `, ${formatBytes(inspection.file.bytes)}`;
  return `${name}: ${what}${bytes}, ${stateText(inspection, style)}`;
}

function stateText({ complete, error }: Inspection, style: Layout['style']): string {
  if (error !== null) {
    if (complete) return style.bad('complete, but something is wrong');
    if (error.code === 'TRUNCATED') return style.bad('not complete');
    return style.bad(ERRORS[error.code].class === 'unsupported' ? 'not supported here' : 'broken');
  }
  return complete ? style.good('complete') : style.warning('not complete');
}

function* summaryLines(inspection: Inspection, layout: Layout): Generator<string> {
  const { about, memory, tmem, vcpus, devices, disks, dictionary, layers, policies } = inspection;
  yield* sectionLines('Image', imageLines(inspection, layout), layout);
  yield* sectionLines('Layers', layerLines(layers, layout), layout);
  yield* sectionLines('About', about === null ? [] : aboutLines(asFields(about), layout), layout);
  yield* sectionLines('Memory', memory.pages + memory.absentPages === 0 ? [] : memoryLines(memory, layout), layout);
  yield* sectionLines('Transcendent memory', tmem === null ? [] : tmemLines(tmem, layout), layout);
  yield* sectionLines('vCPUs', vcpus.length === 0 ? [] : vcpuLines(vcpus, layout), layout);
  yield* sectionLines('Policies', policyLines(policies, layout), layout);
  yield* sectionLines('Devices', listLines(DEVICE_COLUMNS, devices, deviceRow, layout), layout);
  yield* sectionLines('Disks', listLines(DISK_COLUMNS, disks, diskRow, layout), layout);
  yield* sectionLines('Records of its own', listLines(BINDING_COLUMNS, dictionary, bindingRow, layout), layout);
}

function imageLines(inspection: Inspection, layout: Layout): string[] {
  const { preamble, file, origin, counts, bytesRead, indexed } = inspection;
  const pairs: [string, string][] = [];
  if (preamble !== null) {
    pairs.push(['format', formatText(preamble, inspection.format)]);
    pairs.push(['stream id', escapeText(preamble.streamId)]);
    const features = featuresText(preamble);
    if (features !== '') pairs.push(['features', features]);
  }
  if (preamble === null || inspection.nesting.length > 1) pairs.push(['layers', nestingText(inspection.nesting)]);
  if (preamble === null && inspection.head !== null) {
    const { wordBits, byteOrder, pageSize } = inspection.head;
    pairs.push(['machine', `${wordBits}-bit ${escapeText(byteOrder)}-endian, ${formatBytes(pageSize)} pages`]);
  }
  const read = formatBytes(bytesRead);
  const how = indexed
    ? `${read} of it read, by its index`
    : bytesRead === file.bytes
      ? 'all of it read'
      : `${read} read`;
  pairs.push(['size', file.bytes === null ? how : `${formatSize(file.bytes)}, ${how}`]);
  pairs.push(['content', countsText(counts)]);
  const { checkpoint, permissionGiven, trailing } = inspection;
  if (checkpoint !== null) {
    pairs.push(['checkpoint', `${formatCount(checkpoint.number)}, up to offset ${formatHex(checkpoint.offset)}`]);
  }
  if (permissionGiven === true) pairs.push(['given away', 'its source let the target of xl migrate run it']);
  if (trailing.bytes > 0) {
    pairs.push(['behind it', `${formatSize(trailing.bytes)}${trailing.zero ? ', all zero' : ', not all zero'}`]);
  }
  if (origin !== null) {
    const parts = `${plural(origin.parts, 'part')}, ${formatBytes(origin.bytes)}`;
    pairs.push(['origin', `framing of ${escapeText(origin.format)} is kept: ${parts}`]);
  }
  return pairLines(pairs, layout);
}

const MEMORY_COLUMNS: readonly Column[] = [
  { title: '' },
  { title: 'pages', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'share', align: 'right' },
  { title: 'stored', align: 'right' },
  { title: 'saved', align: 'right' },
  { title: 'codecs', rank: 1 },
];

function memoryLines(memory: MemorySummary, layout: Layout): string[] {
  const { pageSize, pages, zeroPages, rawPages, compressedPages, absentPages, distinctPages } = memory;
  const rawBytes = rawPages * pageSize;
  const packedBytes = Math.max(0, memory.storedBytes - rawBytes);
  const row = (name: string, count: number, share: string, stored: string, saved: string, codecs: string) => [
    name,
    formatCount(count),
    formatBytes(count * pageSize),
    share,
    stored,
    saved,
    codecs,
  ];
  const part = (name: string, count: number, stored: number, codecs = '') =>
    row(name, count, formatPercent(count, pages), formatBytes(stored), savedText(stored, count * pageSize), codecs);
  const parts = [
    { count: zeroPages, row: part('zero', zeroPages, 0) },
    { count: rawPages, row: part('raw', rawPages, rawBytes) },
    { count: compressedPages, row: part('compressed', compressedPages, packedBytes, codecsText(memory.codecs)) },
    { count: pages, row: part('in all', pages, memory.storedBytes) },
    { count: distinctPages, row: row('distinct', distinctPages, repeatText(pages, distinctPages), '', '', '') },
    { count: absentPages, row: row('absent', absentPages, '', '', '', '') },
  ];
  const rows = parts.filter(({ count }) => count > 0).map(({ row: cells }) => cells);
  const classes = Object.entries(memory.classes).filter(([name]) => name !== 'ordinary' && name !== 'notPresent');
  const text = classes.map(([name, count]) => `${escapeText(name)} ${formatCount(count)}`).join(', ');
  const kinds = text === '' ? [] : pairLines([['classes', text]], layout);
  return [...tableLines(MEMORY_COLUMNS, rows, layout), ...kinds];
}

function savedText(stored: number, original: number): string {
  return original === 0 ? '' : formatPercent(Math.max(0, original - stored), original);
}

/** Pages that are sent again make more pages than there are places for them. */
function repeatText(pages: number, distinct: number): string {
  return distinct > 0 && pages > distinct ? `sent x${(pages / distinct).toFixed(2)}` : '';
}

function codecsText(codecs: Readonly<Record<string, number>>): string {
  const compressed = Object.entries(codecs).filter(([name, pages]) => pages > 0 && name !== 'zero' && name !== 'raw');
  return compressed.map(([name, pages]) => `${escapeText(name)} ${formatCount(pages)}`).join(', ');
}

const POOL_COLUMNS: readonly Column[] = [
  { title: 'pool', align: 'right' },
  { title: 'kind' },
  { title: 'pages', align: 'right' },
  { title: 'zero', align: 'right', rank: 3 },
  { title: 'stored', align: 'right' },
  { title: 'invalidated', align: 'right', rank: 2 },
  { title: 'page size', align: 'right', rank: 5 },
  { title: 'object ids', align: 'right', rank: 6 },
  { title: 'incarnation', align: 'right', rank: 4 },
  { title: 'shared as', rank: 1 },
];

function tmemLines(tmem: NonNullable<Inspection['tmem']>, layout: Layout): string[] {
  const client = tmem.client === null ? [] : pairLines([['client', clientText(asFields(tmem.client))]], layout);
  if (tmem.pools.length === 0) return [...client, '  no pools'];
  return [...client, ...tableLines(POOL_COLUMNS, tmem.pools.map(poolRow), layout)];
}

function poolRow(pool: PoolSummary): string[] {
  const kind = [
    pool.kind,
    pool.shared && 'shared',
    pool.precompressed && 'precompressed',
    pool.destroyed && 'destroyed',
  ];
  return [
    String(pool.pool),
    escapeText(kind.filter((word) => word !== false).join(', ')),
    formatCount(pool.pages),
    // The index does not tell.
    pool.zeroPages === null ? '' : formatCount(pool.zeroPages),
    formatBytes(pool.storedBytes),
    formatCount(pool.invalidated),
    formatBytes(pool.pageSize),
    `${pool.objectIdBits}-bit`,
    formatCount(pool.incarnation),
    pool.shared ? escapeText(pool.uuid) : '',
  ];
}

const DEVICE_COLUMNS: readonly Column[] = [
  { title: 'device', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'sha256', rank: 2 },
  { title: 'fingerprint', rank: 1 },
  { title: 'name' },
  { title: 'format' },
  { title: 'version' },
];

function deviceRow(device: Fields): string[] {
  return [
    countField(device, 'device'),
    bytesField(device, 'bytes'),
    digestField(device, 'sha256'),
    digestField(device, 'fingerprint'),
    textField(device, 'name'),
    textField(device, 'format'),
    textField(device, 'version'),
  ];
}

const DISK_COLUMNS: readonly Column[] = [
  { title: 'disk', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'policy' },
  { title: 'access', rank: 2 },
  { title: 'sha256', rank: 3 },
  { title: 'name' },
  { title: 'format', rank: 1 },
  { title: 'where' },
];

function diskRow(disk: Fields): string[] {
  return [
    countField(disk, 'disk'),
    bytesField(disk, 'bytes'),
    textField(disk, 'policy'),
    disk.readOnly === true ? 'read-only' : 'read-write',
    digestField(disk, 'sha256'),
    textField(disk, 'name'),
    textField(disk, 'format'),
    textField(disk, 'locator'),
  ];
}

const BINDING_COLUMNS: readonly Column[] = [
  { title: 'record', align: 'right' },
  { title: 'version', align: 'right' },
  { title: 'schema', rank: 1 },
  { title: 'name' },
  { title: 'text' },
];

function bindingRow(binding: Fields): string[] {
  const schema = asFields(binding.schema);
  return [
    recordNumber(binding),
    countField(binding, 'version'),
    binding.schema === null ? 'none' : plural(listField(schema, 'fields').length, 'field'),
    textField(binding, 'name'),
    textField(binding, 'text'),
  ];
}

function listLines(
  columns: readonly Column[],
  entries: readonly object[],
  toRow: (entry: Fields) => string[],
  layout: Layout,
): string[] {
  const rows = entries.map((entry) => toRow(asFields(entry)));
  return rows.length === 0 ? [] : tableLines(columns, rows, layout);
}

/** What an input was tried for in vain. */
function triedText({ code, data }: NonNullable<Inspection['error']>): string[] {
  const tried = code === 'NOT_AN_IMAGE' ? listField(asFields(data), 'tried') : [];
  return tried.length === 0 ? [] : [`It was tried for: ${tried.map(showValue).join(', ')}.`];
}

function* problemLines({ complete, error, counts }: Inspection, layout: Layout): Generator<string> {
  const { style } = layout;
  const indented = (text: string) => paragraph('  ', text, 2, layout.width);
  if (error !== null) {
    yield* sectionLines(
      'Wrong',
      [
        ...indented(style.bad(problemText(error))),
        ...indented(escapeText(error.next)),
        ...triedText(error).flatMap(indented),
      ],
      layout,
    );
  } else if (!complete) {
    const what = 'The end of the image was not found: it is cut, or still being written.';
    yield* sectionLines('Not complete', indented(style.warning(what)), layout);
  }
  if (!complete && counts.checkpoints > 0) {
    const which = counts.checkpoints === 1 ? 'its checkpoint' : `the last of its ${counts.checkpoints} checkpoints`;
    yield* indented(`Up to ${which} it is a consistent machine.`);
  }
}
