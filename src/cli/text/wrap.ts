import { stripVTControlCharacters } from 'node:util';
import { displayWidth } from './format.ts';

/** Columns of text below which it is not squeezed: then it goes beyond the terminal's edge, which wraps it itself. */
const NARROWEST = 16;

/**
 * Text as lines that fit, broken at its spaces. A single word that does not fit, such as a digest, is left whole: so
 * it can be copied, and the terminal breaks it where it must.
 * @param room columns of a line; `Infinity` for no limit.
 * @param firstRoom columns of the first line, when it has others.
 */
export function wrapText(text: string, room: number, firstRoom: number = room): string[] {
  if (room === Infinity) return [text];
  const lines: string[] = [];
  let line: string | undefined;
  let used = 0;
  for (const word of text.split(' ')) {
    const width = displayWidth(stripVTControlCharacters(word));
    const limit = Math.max(lines.length === 0 ? firstRoom : room, NARROWEST);
    if (line !== undefined && used + 1 + width > limit) {
      lines.push(line);
      line = undefined;
    }
    line = line === undefined ? word : `${line} ${word}`;
    used = line === word ? width : used + 1 + width;
  }
  return [...lines, line ?? ''];
}

/** Whether each word of a text has room in a line by itself. */
export function wordsFit(text: string, room: number): boolean {
  return text.split(' ').every((word) => displayWidth(word) <= room);
}

/** A paragraph: `start`, then the text, wrapped at the width; further lines are indented. */
export function paragraph(start: string, text: string, indent: number, width: number): string[] {
  const startWidth = displayWidth(stripVTControlCharacters(start));
  const [first = '', ...rest] = wrapText(text, width - indent, width - startWidth);
  return [(start + first).trimEnd(), ...rest.map((line) => ' '.repeat(indent) + line)];
}
