/** Reads single fields of JSON whose type nobody vouches for: what is not there, or odd, becomes `?`. */

import { escapeJson, escapeText } from '../escape.ts';
import { formatBytes, formatCount } from './format.ts';
import type { Integer } from './format.ts';

/** Fields of a record, or any other object of the JSON. */
export type Fields = Readonly<Record<string, unknown>>;

/** The object as fields; an empty one for anything else. */
export function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

/** A list, or an empty one. */
export function listField(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

/** An integer, or null. */
export function integerField(fields: Fields, name: string): Integer | null {
  const value = fields[name];
  if (typeof value === 'number' || typeof value === 'bigint') return value;
  return typeof value === 'string' && /^-?\d+$/.test(value) ? value : null;
}

/** A number for arithmetic, 0 when there is none. */
export function numberField(fields: Fields, name: string): number {
  return Number(integerField(fields, name) ?? 0);
}

export function countField(fields: Fields, name: string): string {
  const value = integerField(fields, name);
  return value === null ? '?' : formatCount(value);
}

export function bytesField(fields: Fields, name: string): string {
  const value = integerField(fields, name);
  return value === null ? '?' : formatBytes(value);
}

/** A string as it may be shown; empty when there is none. */
export function textField(fields: Fields, name: string): string {
  const value = fields[name];
  return value === undefined || value === null ? '' : showValue(value);
}

/** The first digits of a checksum; enough to compare by eye. */
export function digestField(fields: Fields, name: string, digits = 12): string {
  const text = textField(fields, name);
  return /^0*$/.test(text) ? '' : text.slice(0, digits);
}

/** Bits of a field that is hex digits; null when it is not there. */
export function hexField(fields: Fields, name: string): bigint | null {
  const value = fields[name];
  return typeof value === 'string' && /^[0-9a-f]{1,16}$/i.test(value) ? BigInt(`0x${value}`) : null;
}

/** Any JSON value in one line: a string as it is, everything else as JSON; escaped. */
export function showValue(value: unknown): string {
  if (typeof value === 'string') return escapeText(value);
  return escapeJson(JSON.stringify(value) ?? '');
}
