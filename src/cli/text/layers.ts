import type { LayerJson, NativeRecordJson } from '../../image/inspection.ts';
import { escapeText } from '../escape.ts';
import { asFields, showValue } from './fields.ts';
import { formatCount, formatHex, shorten } from './format.ts';
import type { Layout } from './style.ts';
import { tableLines, type Column } from './table.ts';

/** Longest summary of fields; `--json` has everything. */
const LONGEST = 200;
/** Lines whose columns are laid out together: a listing of any length is not held as a table. */
const LINES_TOGETHER = 4096;

const LAYER_COLUMNS: readonly Column[] = [
  { title: 'layer' },
  { title: 'offset', align: 'right' },
  { title: 'header' },
  { title: 'records', rank: 1 },
];

/** The layers of an image of others: header and records. */
export function layerLines(layers: readonly LayerJson[], layout: Layout): string[] {
  if (layers.length === 0) return [];
  const rows = layers.map(({ layer, offset, header, records }) => [
    escapeText(layer),
    formatHex(offset),
    fieldsText(header),
    Object.entries(records)
      .map(([name, count]) => (count === 1 ? escapeText(name) : `${escapeText(name)} x${formatCount(count)}`))
      .join(', '),
  ]);
  return tableLines(LAYER_COLUMNS, rows, layout);
}

const NATIVE_COLUMNS: readonly Column[] = [
  { title: 'offset', align: 'right' },
  { title: 'layer' },
  { title: 'record' },
  { title: 'length', align: 'right' },
  { title: 'section' },
  { title: 'fields', rank: 1 },
];

/** One line a record of a format of others: where it is, in which layer, how long, where it is specified. */
export function* nativeLines(records: readonly NativeRecordJson[], layout: Layout): Generator<string> {
  for (let first = 0; first < records.length; first += LINES_TOGETHER) {
    const rows = records
      .slice(first, first + LINES_TOGETHER)
      .map(({ offset, layer, name, length, section, fields }) => [
        formatHex(offset, 8),
        escapeText(layer),
        escapeText(name),
        formatCount(length),
        escapeText(section),
        fieldsText(fields),
      ]);
    yield* tableLines(NATIVE_COLUMNS, rows, layout);
  }
}

function fieldsText(fields: object): string {
  const texts = Object.entries(asFields(fields)).map(([name, value]) => `${showValue(name)}=${showValue(value)}`);
  return shorten(texts.join(' '), LONGEST);
}
