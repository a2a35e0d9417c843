import { displayWidth, pad, shorten } from './format.ts';
import type { Layout } from './style.ts';
import { paragraph, wordsFit } from './wrap.ts';

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Where the table is too wide, columns with a rank leave it first, the highest rank first of all. */
  readonly rank?: number;
}

const INDENT = '  ';
const GAP = '  ';
/** Longest value that is shown; `--json` has all of it. */
export const LONGEST_VALUE = 400;
/** Names of pairs that are longer stand on a line of their own, so that they do not push all values aside. */
const LONGEST_NAME = 20;
/** How far a value that has no room beside its name is indented below it. */
const BELOW = 4;
/** How far what has no room in a row is indented below it, at most. */
const DEEPEST = 8;

/**
 * A table as lines, indented. Where the layout has no room for all columns, some leave the table, and each row is
 * followed by what it has in them. Columns without any content are left out. Cells must be escaped already.
 */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[], layout: Layout): string[] {
  const cells = rows.map((row) => row.map((cell) => shorten(cell, LONGEST_VALUE)));
  const { inside, outside } = divide(columns, cells, layout.width);
  const line = (row: readonly string[]) =>
    (
      INDENT + inside.map(({ column, at, width }) => pad(row[at] ?? '', width, column.align ?? 'left')).join(GAP)
    ).trimEnd();
  const lines = [layout.style.faint(line(columns.map(({ title }) => title)))];
  const indent = Math.min(DEEPEST, INDENT.length + (inside[0]?.width ?? 0) + GAP.length);
  for (const row of cells) {
    lines.push(line(row));
    const facts = outside.filter(({ at }) => (row[at] ?? '') !== '');
    if (facts.length === 0) continue;
    const text = facts.map(({ column, at }) => `${column.title} ${row[at]}`).join(', ');
    lines.push(...paragraph(' '.repeat(indent), text, indent, layout.width));
  }
  return lines;
}

interface Used {
  readonly column: Column;
  readonly at: number;
  readonly width: number;
}

/** Which columns have room. The first one always stays: it says what the row is. */
function divide(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  room: number,
): { inside: Used[]; outside: Used[] } {
  const used: Used[] = columns
    .map((column, at) => ({
      column,
      at,
      width: rows.reduce((widest, row) => Math.max(widest, displayWidth(row[at] ?? '')), displayWidth(column.title)),
    }))
    .filter(({ at }) => rows.some((row) => (row[at] ?? '') !== ''));
  const leaving = used.slice(1).toSorted((a, b) => (b.column.rank ?? 0) - (a.column.rank ?? 0) || b.at - a.at);
  const outside = new Set<Used>();
  for (const next of leaving) {
    if (totalWidth(used.filter((one) => !outside.has(one))) <= room) break;
    outside.add(next);
  }
  return { inside: used.filter((one) => !outside.has(one)), outside: used.filter((one) => outside.has(one)) };
}

function totalWidth(used: readonly Used[]): number {
  return INDENT.length + used.reduce((sum, { width }) => sum + width, 0) + GAP.length * (used.length - 1);
}

/** Names and values below each other, the values aligned and wrapped at the width. */
export function pairLines(pairs: readonly (readonly [name: string, value: string])[], layout: Layout): string[] {
  const { style, width } = layout;
  const widths = pairs.map(([name]) => displayWidth(name)).filter((one) => one <= LONGEST_NAME);
  const column = Math.max(0, ...widths);
  const indent = INDENT.length + column + GAP.length;
  return pairs.flatMap(([name, value]) => {
    const text = shorten(value, LONGEST_VALUE);
    if (displayWidth(name) > LONGEST_NAME) {
      const start = `${INDENT}${style.faint(shorten(name, LONGEST_VALUE))}`;
      return [start, ...paragraph(' '.repeat(indent), text, indent, width)];
    }
    const start = `${INDENT}${style.faint(pad(name, column, 'left'))}${GAP}`;
    if (wordsFit(text, width - indent)) return paragraph(start, text, indent, width);
    // A word too long to stand beside its name has more room below it.
    return [start.trimEnd(), ...paragraph(' '.repeat(BELOW), text, BELOW, width)];
  });
}

/** A heading, and what stands under it; nothing when there is nothing under it. */
export function sectionLines(title: string, lines: readonly string[], layout: Layout): string[] {
  return lines.length === 0 ? [] : ['', layout.style.title(title), ...lines];
}
