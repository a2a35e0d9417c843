import { displayWidth, pad, shorten } from './format.ts';
import type { Layout } from './style.ts';

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Where the table is too wide, columns with a rank are left out, the highest rank first; without one it stays. */
  readonly rank?: number;
  /** May be cut when leaving out columns was not enough. */
  readonly shrinks?: boolean;
}

const INDENT = '  ';
const GAP = '  ';
const NARROWEST = 8;

/**
 * A table as lines, indented, with as many of its columns as the layout has room for. Columns without any content are
 * left out. Cells must be escaped already.
 */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[], layout: Layout): string[] {
  const used = chooseColumns(columns, rows, layout.width);
  const lines = [
    layout.style.faint(
      joinCells(
        used,
        used.map(({ column }) => column.title),
      ),
    ),
  ];
  for (const row of rows) {
    lines.push(
      joinCells(
        used,
        used.map(({ at, width }) => shorten(row[at] ?? '', width)),
      ),
    );
  }
  return lines;
}

interface Used {
  readonly column: Column;
  readonly at: number;
  width: number;
}

function chooseColumns(columns: readonly Column[], rows: readonly (readonly string[])[], room: number): Used[] {
  let used: Used[] = columns
    .map((column, at) => ({
      column,
      at,
      width: Math.max(displayWidth(column.title), ...rows.map((row) => displayWidth(row[at] ?? ''))),
    }))
    .filter(({ at }) => rows.some((row) => (row[at] ?? '') !== ''));
  while (totalWidth(used) > room) {
    const worst = used.reduce((rank, { column }) => Math.max(rank, column.rank ?? 0), 0);
    if (worst === 0) break;
    used = used.filter(({ column }) => column.rank !== worst);
  }
  for (const entry of used.filter(({ column }) => column.shrinks === true).toSorted((a, b) => b.width - a.width)) {
    const excess = totalWidth(used) - room;
    if (excess <= 0) break;
    entry.width = Math.max(Math.min(entry.width, NARROWEST), entry.width - excess);
  }
  return used;
}

function totalWidth(used: readonly Used[]): number {
  return INDENT.length + used.reduce((sum, { width }) => sum + width, 0) + GAP.length * (used.length - 1);
}

function joinCells(used: readonly Used[], cells: readonly string[]): string {
  const padded = used.map(({ column, width }, i) => pad(cells[i] ?? '', width, column.align ?? 'left'));
  return (INDENT + padded.join(GAP)).trimEnd();
}

/** Names and values below each other, the values aligned and cut at the width. */
export function pairLines(pairs: readonly (readonly [name: string, value: string])[], layout: Layout): string[] {
  const names = Math.max(0, ...pairs.map(([name]) => displayWidth(name)));
  const room = layout.width - INDENT.length - names - GAP.length;
  return pairs.map(
    ([name, value]) =>
      `${INDENT}${layout.style.faint(pad(name, names, 'left'))}${GAP}${shorten(value, Math.max(room, NARROWEST))}`,
  );
}

/** A heading, and what stands under it; nothing when there is nothing under it. */
export function sectionLines(title: string, lines: readonly string[], layout: Layout): string[] {
  return lines.length === 0 ? [] : ['', layout.style.title(title), ...lines];
}
