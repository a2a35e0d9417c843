import type { Fields } from './fields.ts';
import { escapeText } from '../escape.ts';
import { asFields, integerField, showValue, textField } from './fields.ts';
import { formatBytes, plural } from './format.ts';
import { pairLines } from './table.ts';
import type { Layout } from './style.ts';

/** How known keys of ABOUT (stream 6.1) read for people. What does not have the expected shape is shown as JSON. */
const KNOWN: Readonly<Record<string, (value: Fields) => string>> = {
  source: (source) => join([textField(source, 'hypervisor'), versionsText(source.versions)]),
  driver: (driver) => join([nameAndVersion(driver), prefixed('fingerprint ', textField(driver, 'fingerprint'))]),
  memory: (memory) => join([size(memory, 'bytes'), amount(memory, 'pages', 'page')]),
  tmem: (tmem) => join([amount(tmem, 'pools', 'pool'), amount(tmem, 'pages', 'page'), size(tmem, 'bytes')]),
  tool: nameAndVersion,
};

const ORDER = ['name', 'uuid', 'source', 'driver', 'memory', 'vcpus', 'tmem', 'time', 'tool'];

/** What the image says of itself, one line a key: the known ones first, then all others. */
export function aboutLines(about: Fields, layout: Layout): string[] {
  const others = Object.keys(about).filter((key) => !ORDER.includes(key));
  const keys = [...ORDER.filter((key) => Object.hasOwn(about, key)), ...others];
  const pairs = keys.map((key): [string, string] => [escapeText(key), aboutValue(key, about[key])]);
  return pairLines(pairs, layout);
}

function aboutValue(key: string, value: unknown): string {
  const known = Object.hasOwn(KNOWN, key) ? KNOWN[key] : undefined;
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return (known !== undefined && isObject && known(asFields(value))) || showValue(value);
}

function nameAndVersion(fields: Fields): string {
  return [textField(fields, 'name'), textField(fields, 'version')].filter((text) => text !== '').join(' ');
}

function versionsText(versions: unknown): string {
  const fields = asFields(versions);
  const parts = Object.keys(fields).map((name) => `${escapeText(name)} ${textField(fields, name)}`);
  return parts.join(', ');
}

function size(fields: Fields, name: string): string {
  const value = integerField(fields, name);
  return value === null ? '' : formatBytes(value);
}

function amount(fields: Fields, name: string, noun: string): string {
  const value = integerField(fields, name);
  return value === null ? '' : plural(value, noun);
}

function prefixed(prefix: string, text: string): string {
  return text === '' ? '' : prefix + text;
}

function join(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(', ');
}
