import { escapeText } from '../escape.ts';

/** An integer as the library gives it: a number, or decimal digits where it can exceed 2^53 - 1. */
export type Integer = number | string | bigint;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** Digits in groups of three: `1,234,567`. What is no integer is given back as it is, escaped. */
export function formatCount(value: Integer): string {
  const digits = String(value);
  return /^-?\d+$/.test(digits) ? digits.replace(/\B(?=(\d{3})+$)/g, ',') : escapeText(digits);
}

/** A count with its noun: `1 page`, `3 pages`. */
export function plural(value: Integer, noun: string, several = `${noun}s`): string {
  return `${formatCount(value)} ${String(value) === '1' ? noun : several}`;
}

/** A size for people: `512 B`, `4 KiB`, `12.3 MiB`; whole numbers have no decimals. */
export function formatBytes(value: Integer): string {
  let size = Number(value);
  if (!Number.isFinite(size)) return formatCount(value);
  let unit = 0;
  // 1023.95 KiB would be shown as 1024.0 KiB.
  while (Math.abs(size) >= (unit === 0 ? 1024 : 1023.95) && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(size) ? size : size.toFixed(1)} ${UNITS[unit] ?? ''}`;
}

/** A size for people, and exactly: `94.2 MiB (98,765,432 bytes)`; a small one only once. */
export function formatSize(value: Integer): string {
  const exact = plural(value, 'byte');
  return Number(value) < 1024 ? exact : `${formatBytes(value)} (${exact})`;
}

/** A share in percent with one decimal. What is not nothing is never shown as 0, what is not all never as 100. */
export function formatPercent(part: number, whole: number): string {
  if (whole <= 0) return '-';
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.05) return '<0.1%';
  if (part < whole && share >= 99.95) return '>99.9%';
  return `${share.toFixed(1)}%`;
}

/** An offset or address. */
export function formatHex(value: number | bigint, digits = 0): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** How long, coarsely: `8 s`, `2 min 05 s`, `3 h 10 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** How many columns a terminal gives the text. It follows the common rule for wide letters, not every font's taste. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += widthOf(character);
  return width;
}

const WIDE = /[\p{Ideographic}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}]/u;
const FULL_WIDTH = /[\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]/u;

function widthOf(character: string): number {
  if (/\p{M}/u.test(character)) return 0;
  return WIDE.test(character) || FULL_WIDTH.test(character) ? 2 : 1;
}

/** The text when it fits, else as much of it as fits with `...` at its end. */
export function shorten(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  const room = Math.max(0, width - 3);
  let used = 0;
  let kept = '';
  for (const character of text) {
    used += widthOf(character);
    if (used > room) break;
    kept += character;
  }
  return `${kept}...`;
}

/** The text filled up with spaces to a width. */
export function pad(text: string, width: number, align: 'left' | 'right'): string {
  const fill = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return align === 'left' ? text + fill : fill + text;
}
