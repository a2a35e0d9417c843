/** Changes JSON where it hurts: structure, depth, keys, numbers, strings, and the bytes themselves. */
import type { Random } from '../support/random.ts';

/** Texts to put in the place of a value. */
const VALUES = [
  'null',
  'true',
  '0',
  '-0',
  '1',
  '-1',
  '1.5',
  '1e3',
  '1e999',
  '-1e999',
  '4294967295',
  '9007199254740993',
  '16383',
  '16384',
  '32767',
  '32768',
  '65535',
  '65536',
  '""',
  '"rest"',
  '"n"',
  '"u8"',
  '"bytes"',
  '"a.b"',
  '"__proto__"',
  '[]',
  '{}',
  '[[]]',
  '{"fields":[]}',
  '{"__proto__":{"a":1}}',
  '{"constructor":{}}',
  '{"toString":"x"}',
  String.raw`"\u0000"`,
  String.raw`"\ud800"`,
  String.raw`"\u202e"`,
  '"é"',
  '01',
  'NaN',
  '1,',
  '"',
  'nul',
  '[{"name":"n","type":"u32"},{"name":"b","type":"u8","count":"n"}]',
  '[{"name":"s","type":"string","count":9}]',
];

const KEYS = [
  'record',
  'name',
  'version',
  'text',
  'schema',
  'fields',
  'type',
  'count',
  'unit',
  'show',
  '__proto__',
  '',
];

/** Where strings, numbers and words start and end in the text. */
function values(text: string): [number, number][] {
  return [...text.matchAll(/"(?:[^"\\]|\\.)*"|-?[\d.]+(?:e[+-]?\d+)?|true|false|null/g)].map((match) => [
    match.index,
    match.index + match[0].length,
  ]);
}

export function mutateJson(body: Uint8Array, generator: Random): Uint8Array {
  const text = Buffer.from(body).toString();
  const places = values(text);
  const [from, to] = places.length === 0 ? [0, text.length] : generator.pick(places);
  const depth = generator.pick([2, 8, 9, 31, 32, 33, 5000]);
  const replaced = (value: string): string => text.slice(0, from) + value + text.slice(to);
  const open = text.indexOf('{') + 1;
  const inserted = `${JSON.stringify(generator.pick(KEYS))}:${generator.pick(VALUES)}`;
  const results: readonly (() => string)[] = [
    () => replaced(generator.pick(VALUES)),
    () => replaced(generator.pick(VALUES)),
    () => replaced('['.repeat(depth) + ']'.repeat(depth)),
    () => replaced(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`),
    () => replaced(JSON.stringify('x'.repeat(generator.pick([254, 255, 256, 257, 70_000])))),
    () => text.slice(0, open) + inserted + (text.length > open + 1 ? ',' : '') + text.slice(open),
    () => text.slice(0, generator.below(text.length + 1)),
    () => `${generator.pick(['\uFEFF', ' ', '\n', '[', '/**/'])}${text}`,
    () => `${text}${generator.pick([' ', '\n', '}', ']', '\0', 'x', '{}'])}`,
    () => generator.pick(VALUES),
    () => JSON.stringify(dictionary(generator)),
  ];
  const result = new Uint8Array(Buffer.from(generator.pick(results)()));
  // Now and then what is not UTF-8.
  if (generator.below(12) === 0 && result.length > 0) {
    result[generator.below(result.length)] = 128 + generator.below(128);
  }
  return result;
}

/** A dictionary whose schema may be right. */
function dictionary(generator: Random): unknown {
  const types = ['u8', 'u16', 'u32', 'u64', 'i8', 'i64', 'f32', 'f64', 'bool', 'uuid', 'string', 'bytes', 'u128'];
  const counts: readonly unknown[] = [0, 1, 65_535, 65_536, -1, 'f0', 'rest', 1.5];
  const fields = Array.from({ length: generator.pick([0, 1, 2, 5, 256, 257]) }, (_, i) => ({
    name: generator.below(20) === 0 ? 'f0' : `f${i}`,
    type: generator.pick(types),
    ...(generator.below(3) === 0 && { count: generator.pick(counts) }),
    ...(generator.below(5) === 0 && { show: 'hex' }),
  }));
  return { record: 0x4000 + generator.below(4), name: 'org.example.x', version: 1, schema: { fields } };
}
