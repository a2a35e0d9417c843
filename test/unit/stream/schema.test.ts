import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Json } from '../../../src/bytes/bounded-json.ts';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { decodeDictionary } from '../../../src/stream/records/dictionary.ts';
import { checkSchema, printBySchema, type Schema } from '../../../src/stream/records/schema.ts';

const WHERE = { offset: 0, path: 'schema', section: '12.1' };

function check(...fields: Json[]): Schema {
  return checkSchema({ fields }, WHERE);
}

function refused(value: Json, what: string): void {
  assert.throws(() => checkSchema(value, WHERE), { code: 'SCHEMA_INVALID' }, what);
}

test('S4: what a schema may say (stream 12.1)', () => {
  const types = ['u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64', 'f32', 'f64', 'bool', 'uuid', 'string', 'bytes'];
  for (const type of types) {
    check({ name: 'Az_09', type, text: '', unit: 'Hz' });
    const hex = { name: 'a', type, show: 'hex' };
    if (/^[ui]\d/.test(type)) check(hex);
    else refused({ fields: [hex] }, `${type} as hex`);
    // Only an unsigned integer that is there once, and before, can say how many there are.
    const counted = [
      { name: 'n', type },
      { name: 'x', type: 'u8', count: 'n' },
    ];
    if (['u8', 'u16', 'u32'].includes(type)) check(...counted);
    else refused({ fields: counted }, `${type} as a count`);
  }
  for (const count of [0, 1, 65_535]) check({ name: 'a', type: 'u8', count });
  check({ name: 'a', type: 'u8' }, { name: 'rest', type: 'u16', count: 'rest' });
  check();
  check(...Array.from({ length: LIMITS.schemaFields }, (_, i) => ({ name: `f${i}`, type: 'u8' })));
});

test('S4: what a schema may not say', () => {
  const field = { name: 'a', type: 'u8' };
  const wrong: Json[] = [
    null,
    [],
    'x',
    {},
    { fields: {} },
    { fields: [null] },
    { fields: [[]] },
    { fields: ['a'] },
    { fields: [{ type: 'u8' }] },
    { fields: [{ name: 'a' }] },
    { fields: [{ name: 1, type: 'u8' }] },
    { fields: [{ name: 'a', type: 1 }] },
    ...['', '1a', '_a', 'a-b', 'a b', 'é'].map((name) => ({ fields: [{ name, type: 'u8' }] })),
    ...['u128', 'toString', ''].map((type) => ({ fields: [{ name: 'a', type }] })),
    { fields: [field, field] },
    { fields: [{ ...field, unit: 1 }] },
    { fields: [{ ...field, text: 1 }] },
    { fields: [{ ...field, show: 'dec' }] },
    ...[-1, 1.5, 65_536, 'n', null, true].map((count) => ({ fields: [{ ...field, count }] })),
    // What comes later, a list, and the field itself count nothing.
    {
      fields: [
        { ...field, count: 'b' },
        { name: 'b', type: 'u8' },
      ],
    },
    {
      fields: [
        { name: 'l', type: 'u8', count: 2 },
        { name: 'b', type: 'u8', count: 'l' },
      ],
    },
    { fields: [{ ...field, count: 'a' }] },
    {
      fields: [
        { ...field, count: 'rest' },
        { name: 'b', type: 'u8' },
      ],
    },
  ];
  for (const value of wrong) refused(value, JSON.stringify(value));
  const fields = Array.from({ length: LIMITS.schemaFields + 1 }, (_, i) => ({ name: `f${i}`, type: 'u8' }));
  assert.throws(() => check(...fields), { code: 'LIMIT_EXCEEDED' });
});

test('S4: every type as it is printed (stream 12.2)', () => {
  const print = (type: string, bytes: readonly number[], more: object = {}): unknown =>
    printBySchema(check({ name: 'a', type, ...more }), Uint8Array.from(bytes))['a'];
  const ones = (count: number): number[] => Array<number>(count).fill(0xff);
  assert.deepEqual(
    ['u8', 'u16', 'u32', 'i8', 'i16', 'i32'].map((type) => print(type, ones(4))),
    [255, 65_535, 4_294_967_295, -1, -1, -1],
  );
  assert.deepEqual([print('u64', ones(8)), print('i64', ones(8))], ['18446744073709551615', '-1']);
  for (const [type, bytes] of Object.entries({ u8: 1, u16: 2, u32: 4, u64: 8, i8: 1, i16: 2, i32: 4, i64: 8 })) {
    assert.equal(print(type, ones(bytes), { show: 'hex' }), 'ff'.repeat(bytes));
    assert.equal(print(type, [1, 0, 0, 0, 0, 0, 0, 0], { show: 'hex' }), `${'00'.repeat(bytes - 1)}01`);
  }
  assert.deepEqual(print('f32', [0, 0, 0xc0, 0x3f]), 1.5);
  assert.deepEqual(print('f64', [0, 0, 0, 0, 0, 0, 0xf0, 0x7f]), 'Infinity');
  assert.deepEqual([print('bool', [0]), print('bool', [1])], [false, true]);
  const uuid = Array.from({ length: 16 }, (_, i) => 16 * i + i);
  assert.equal(print('uuid', uuid), '00112233-4455-6677-8899-aabbccddeeff');
  assert.equal(print('string', [2, 0, 0x68, 0x69]), 'hi');
  assert.equal(print('bytes', [3, 0, 0, 0, 7, 8, 9]), '070809');
  assert.deepEqual(print('i16', [1, 0, 2, 0], { count: 2 }), [1, 2]);
  assert.deepEqual(print('u16', [1, 0, 2, 0, 3, 0], { count: 'rest' }), [1, 2, 3]);
  assert.deepEqual(print('u8', [9], { count: 'rest' }), [9]);
  assert.equal(print('u8', [], { count: 'rest' }), undefined, 'where the body has ended, there is not even a list');
  assert.deepEqual(print('u8', [1], { count: 0 }), []);
});

test('S4: counts of other fields, whatever they are shown as', () => {
  const print = (fields: Json[], bytes: readonly number[]): unknown =>
    printBySchema(check(...fields), Uint8Array.from(bytes));
  const list = { name: 'l', type: 'u8', count: 'n' };
  assert.deepEqual(print([{ name: 'n', type: 'u8' }, list], [2, 5, 6]), { n: 2, l: [5, 6] });
  const hex = { name: 'n', type: 'u16', show: 'hex' };
  const many = Array.from({ length: 16 }, (_, i) => i);
  assert.deepEqual(print([hex, list], [16, 0, ...many]), { n: '0010', l: many });
  const last = { name: 'z', type: 'u8' };
  assert.deepEqual(print([{ name: 'n', type: 'u8' }, list, last], [0, 7]), { n: 0, l: [], z: 7 });
  // Text is no number, even if it looks like one.
  const text = { name: 't', type: 'string' };
  assert.deepEqual(print([text, { name: 'n', type: 'u8' }, list], [1, 0, 0x33, 1, 7]), { t: '3', n: 1, l: [7] });
});

test('S4: a body that is shorter or longer than its schema, or does not fit', () => {
  const schema = check({ name: 'a', type: 'u8' }, { name: 'b', type: 'u16' });
  assert.deepEqual(printBySchema(schema, Uint8Array.of()), {});
  assert.deepEqual(printBySchema(schema, Uint8Array.of(1)), { a: 1 }, 'an older writer ends earlier');
  assert.deepEqual(printBySchema(schema, Uint8Array.of(1, 2, 0)), { a: 1, b: 2 });
  assert.deepEqual(printBySchema(schema, Uint8Array.of(1, 2, 0, 9)), { a: 1, b: 2, extraBytes: 1 });
  const { bytes, schemaProblem } = printBySchema(schema, Uint8Array.of(1, 2));
  assert.equal(bytes, '0102');
  assert.match(schemaProblem as string, /b needs 2 bytes/);
  const long = printBySchema(check({ name: 'a', type: 'bool' }), new Uint8Array(100).fill(2));
  assert.equal(long['bytes'], '02'.repeat(64), 'only the start is shown');
  assert.match(long['schemaProblem'] as string, /neither false nor true/);
  const lying = check({ name: 'n', type: 'u32' }, { name: 'l', type: 'u8', count: 'n' });
  assert.match(printBySchema(lying, Uint8Array.of(255, 255, 255, 255, 1))['schemaProblem'] as string, /l needs/);
});

test('S4: what a dictionary binds (stream 12)', () => {
  const read = (json: object): unknown => {
    const bytes = new Uint8Array(Buffer.from(JSON.stringify(json)));
    return decodeDictionary(new ByteReader(bytes, 64, 'record 1 (DICTIONARY)', '12'));
  };
  const right = { record: 0x4000, name: 'org.example', version: 1 };
  const label = 'a'.repeat(63);
  assert.deepEqual(read(right), { kind: 'DICTIONARY', ...right, text: null, schema: null });
  const names = ['a.b', 'a-1.b-2.c', `${label}.${label}.${label}.${label}`, '0.9'];
  for (const [field, values] of Object.entries({ record: [1, 2, 0x7fff], version: [1, 65_535], name: names })) {
    for (const value of values) read({ ...right, [field]: value });
  }
  const wrong: Record<string, unknown[]> = {
    record: [0, -1, 0x8000, 1.5, '1', null, undefined],
    version: [0, 65_536, 1.5, '1', undefined],
    name: ['a', 'A.b', 'a..b', '.a', 'a.', 'a_b.c', 'a.é', 7, undefined, `${label}.${label}.${label}.${label}a`],
    text: [1, null],
  };
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      const path = `record 1 (DICTIONARY)/${field}`;
      assert.throws(
        () => read({ ...right, [field]: value }),
        { code: 'FIELD_VALUE', path },
        `${field} ${String(value)}`,
      );
    }
  }
});
