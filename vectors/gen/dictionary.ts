// Section 12: records of one's own.
import { cat, idOf, string, text, u16, u32, u64, u8, utf8, uuidText, zeros } from './lib/bytes.ts';
import type { Json, JsonObject } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { asBytes, dictionary, own } from './lib/own.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const number = 0x4000;
const name = 'com.example.state';

const bind = (fields?: Json, more: JsonObject = {}): Rec =>
  dictionary({ record: number, name, version: 1, ...(fields === undefined ? {} : { schema: { fields } }), ...more });

const sound = (vector: string, section: string, title: string, recs: Rec[]): Vector =>
  good(vector, 'S4', section, title, {}, (channel) => {
    for (const rec of recs) channel.add(rec);
  });

/** The last record is the wrong one. */
const wrong = (vector: string, section: string, title: string, code: string, recs: Rec[]): Vector =>
  bad(vector, 'S4', section, title, {}, (channel) => {
    for (const rec of recs.slice(0, -1)) channel.add(rec);
    channel.bad(code, recs.at(-1)!);
  });

/** A schema, bodies, and what the one makes of the others. */
const printed = (
  vector: string,
  section: string,
  title: string,
  fields: Json,
  ...bodies: [Buffer, JsonObject][]
): Vector =>
  sound(vector, section, title, [bind(fields), ...bodies.map(([body, shown]) => own(number, name, body, shown))]);

const field = (fieldName: string, type: string, more: JsonObject = {}): JsonObject => ({
  name: fieldName,
  type,
  ...more,
});

const i64 = (value: bigint): Buffer => u64(BigInt.asUintN(64, value));

function f32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return out;
}

function f64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return out;
}

function bindings(): Vector[] {
  const body = text('body', 70);
  const many = (count: number): Rec[] =>
    Array.from({ length: count }, (_, place) =>
      dictionary({ record: number + place, name: `com.example.n${place}`, version: 1 }),
    );
  return [
    sound('dictionary-without-schema', '12', 'A record with a name and no schema: its first 64 bytes are shown.', [
      bind(),
      own(number, name, body, asBytes(body)),
      own(number, name, zeros(0), { bytes: '' }),
    ]),
    sound('dictionary-text', '12', 'A binding with a sentence for people and the largest version.', [
      dictionary({ record: number, name, version: 65535, text: 'What the guest’s α driver keeps.' }),
      own(number, name, u8(1), { bytes: '01' }),
    ]),
    sound('dictionary-first-and-last-number', '12', 'The first and the last number that are stream-local.', [
      dictionary({ record: 0x4000, name: 'a.b', version: 1 }),
      dictionary({ record: 0x7fff, name: 'x-1.y-2.3', version: 2 }),
      own(0x7fff, 'x-1.y-2.3', u8(2), { bytes: '02' }),
      own(0x4000, 'a.b', u8(1), { bytes: '01' }),
    ]),
    sound('dictionary-not-used', '12', 'A binding that no record uses, with a name of 255 bytes.', [
      dictionary({ record: number, name: `com.${'e'.repeat(251)}`, version: 1 }),
    ]),
    sound('dictionary-same-name-twice', '12', 'Two numbers with one name: what is unique is the number.', [
      dictionary({ record: number, name, version: 1 }),
      dictionary({ record: number + 1, name, version: 2 }),
    ]),
    sound('dictionary-of-known-number', '12.3', 'A binding for RAM changes nothing.', [
      dictionary({ record: 0x10, name: 'com.example.other', version: 1, schema: { fields: [field('n', 'u8')] } }),
    ]),
    sound('dictionary-256', '12.3', 'Bindings of 256 numbers, the most there can be.', many(256)),
    good('dictionary-over-checkpoint', 'S4 S13', '12.3', 'A binding holds to END.', {}, (channel) => {
      channel.add(bind([field('n', 'u16')])).add(own(number, name, u16(1), { n: 1 }));
      channel.checkpoint();
      channel.add(own(number, name, u16(2), { n: 2 }));
      channel.checkpoint();
      channel.end();
    }),
    sound('dictionary-mandatory', '3.4', 'A mandatory record with a name: whoever only looks reads past it.', [
      bind([field('n', 'u16')]),
      own(number, name, u16(1), { n: 1 }, false),
      own(number, name, u16(2), { n: 2 }),
    ]),
    sound('dictionary-unknown-keys', '12', 'Keys that the specification does not name are let be.', [
      bind([field('n', 'u8', { color: 'red', count2: -1 })], { more: [1] }),
      own(number, name, u8(1), { n: 1 }),
    ]),
    wrong('dictionary-mandatory-unbound', '4', 'A mandatory record without a name.', 'RECORD_ORDER', [
      own(number, name, u16(1), {}, false),
    ]),
    wrong('dictionary-257', '12.3', 'The 257th binding.', 'LIMIT_EXCEEDED', many(257)),
    wrong('dictionary-number-twice', '4', 'A number is bound twice.', 'DUPLICATE', [
      bind(),
      dictionary({ record: number, name: 'com.example.other', version: 1 }),
    ]),
    wrong('dictionary-number-twice-the-same', '4', 'A number is bound twice to the same name.', 'DUPLICATE', [
      bind(),
      bind(),
    ]),
    wrong('dictionary-other-number', '4', 'A record of another number than the one that was bound.', 'RECORD_ORDER', [
      bind(),
      own(number + 1, name, zeros(8), {}),
    ]),
    ...wrongKeys(),
  ];
}

function wrongKeys(): Vector[] {
  const cases = (key: 'record' | 'name' | 'version', values: [string, Json][]): Vector[] =>
    values.map(([what, value]) =>
      wrong(`dictionary-${key}-${what}`, '12', `A ${key} that is none: ${what}.`, 'FIELD_VALUE', [
        dictionary({ record: number, name, version: 1, [key]: value }),
      ]),
    );
  return [
    ...cases('record', [
      ['0', 0],
      ['0x8000', 0x8000],
      ['with-bit-31', 0x80004000],
      ['negative', -1],
      ['fraction', 16384.5],
      ['text', '16384'],
      ['null', null],
    ]),
    ...cases('name', [
      ['one-label', 'example'],
      ['empty', ''],
      ['empty-label', 'com..example'],
      ['leading-dot', '.com.example'],
      ['trailing-dot', 'com.example.'],
      ['capital', 'com.Example'],
      ['underscore', 'com.example.a_b'],
      ['newline', 'com.example\n'],
      ['not-ascii', 'com.exämple'],
      ['of-256-bytes', `com.${'e'.repeat(252)}`],
      ['number', 7],
    ]),
    ...cases('version', [
      ['0', 0],
      ['65536', 65536],
      ['fraction', 1.5],
      ['text', '1'],
    ]),
    wrong('dictionary-text-number', '12', 'The text is a number.', 'FIELD_VALUE', [bind(undefined, { text: 5 })]),
    ...['record', 'name', 'version'].map((key) => {
      const value: JsonObject = { record: number, name, version: 1 };
      delete value[key];
      return wrong(`dictionary-without-${key}`, '12', `The key ${key} is missing.`, 'FIELD_VALUE', [
        bare('DICTIONARY', utf8(JSON.stringify(value))),
      ]);
    }),
  ];
}

function json(): Vector[] {
  const whole = JSON.stringify({ record: number, name, version: 1 });
  const deep = (depth: number): Buffer =>
    utf8(`${whole.slice(0, -1)},"more":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`);
  const wrongJson = (vector: string, title: string, body: Buffer, code = 'JSON_INVALID'): Vector =>
    wrong(vector, '12', title, code, [bare('DICTIONARY', body)]);
  return [
    wrongJson('dictionary-empty-body', 'An empty body.', zeros(0)),
    wrongJson('dictionary-json-cut', 'JSON without its end.', utf8(whole.slice(0, -1))),
    wrongJson('dictionary-json-array', 'A list.', utf8('[]')),
    wrongJson('dictionary-json-string', 'A string.', utf8('"com.example.state"')),
    wrongJson('dictionary-json-two', 'Two objects.', utf8(`${whole}${whole}`)),
    wrongJson('dictionary-json-comment', 'JSON with a comment.', utf8(`${whole}//`)),
    wrongJson(
      'dictionary-json-not-utf8',
      'JSON that is not UTF-8.',
      cat(utf8('{"record":16384,"name":"'), u8(0xff), utf8('"}')),
    ),
    wrongJson('dictionary-json-byte-order-mark', 'A byte order mark.', cat(Buffer.from('efbbbf', 'hex'), utf8(whole))),
    wrongJson('dictionary-depth-9', 'Lists in lists, nine deep with the object.', deep(9), 'LIMIT_EXCEEDED'),
    wrongJson('dictionary-depth-10000', 'Lists in lists, 10,000 deep.', deep(10000), 'LIMIT_EXCEEDED'),
  ];
}

const integers = ['u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64'];

function types(): Vector[] {
  const low = cat(u8(0), u16(0), u32(0), u64(0), u8(0x80), u16(0x8000), u32(0x80000000), i64(-(2n ** 63n)));
  const high = cat(
    u8(0xff),
    u16(0xffff),
    u32(0xffffffff),
    u64(2n ** 64n - 1n),
    u8(0x7f),
    u16(0x7fff),
    u32(0x7fffffff),
    i64(2n ** 63n - 1n),
  );
  const minus = cat(u8(1), u16(2), u32(3), u64(4), u8(0xff), u16(0xfffe), u32(0xfffffffd), i64(-4n));
  const id = idOf('own record');
  return [
    printed(
      'schema-integers',
      '12.1',
      'Integers of every type: the least, the largest, and some between.',
      integers.map((type) => field(type, type)),
      [low, { u8: 0, u16: 0, u32: 0, u64: '0', i8: -128, i16: -32768, i32: -(2 ** 31), i64: String(-(2n ** 63n)) }],
      [
        high,
        {
          u8: 255,
          u16: 65535,
          u32: 0xffffffff,
          u64: String(2n ** 64n - 1n),
          i8: 127,
          i16: 32767,
          i32: 2 ** 31 - 1,
          i64: String(2n ** 63n - 1n),
        },
      ],
      [minus, { u8: 1, u16: 2, u32: 3, u64: '4', i8: -1, i16: -2, i32: -3, i64: '-4' }],
    ),
    printed(
      'schema-hex',
      '12.1',
      'Integers that are shown as hex digits of their width.',
      integers.map((type) => field(type, type, { show: 'hex' })),
      [
        minus,
        {
          u8: '01',
          u16: '0002',
          u32: '00000003',
          u64: '0000000000000004',
          i8: 'ff',
          i16: 'fffe',
          i32: 'fffffffd',
          i64: 'fffffffffffffffc',
        },
      ],
    ),
    printed(
      'schema-floats',
      '12.1',
      'Floating-point numbers, and those that JSON does not have.',
      [field('single', 'f32'), field('double', 'f64')],
      [cat(f32(1.5), f64(-0.1)), { single: 1.5, double: -0.1 }],
      [cat(f32(Math.fround(0.1)), f64(1e300)), { single: Math.fround(0.1), double: 1e300 }],
      [cat(f32(Infinity), f64(-Infinity)), { single: 'Infinity', double: '-Infinity' }],
      [cat(u32(0x7fc00000), u64(0x7ff8000000000000n)), { single: 'NaN', double: 'NaN' }],
    ),
    printed(
      'schema-bool-uuid-string-bytes',
      '12.1',
      'The other types.',
      [field('off', 'bool'), field('on', 'bool'), field('id', 'uuid'), field('name', 'string'), field('data', 'bytes')],
      [
        cat(u8(0), u8(1), id, string('ü 漢 \u001b'), u32(3), Buffer.from('00ff7f', 'hex')),
        { off: false, on: true, id: uuidText(id), name: 'ü 漢 \u001b', data: '00ff7f' },
      ],
      [
        cat(u8(1), u8(0), zeros(16), string(''), u32(0)),
        { off: true, on: false, id: uuidText(zeros(16)), name: '', data: '' },
      ],
    ),
    printed(
      'schema-unit-and-text',
      '12.1',
      'Units, texts, and names that a program might stumble over.',
      [
        field('constructor', 'u8', { unit: 'KiB', text: 'How much.' }),
        field('toString', 'u8'),
        field('hasOwnProperty', 'u8'),
        field('x_1', 'u8'),
      ],
      [Buffer.from([1, 2, 3, 4]), { constructor: 1, toString: 2, hasOwnProperty: 3, x_1: 4 }],
    ),
  ];
}

function layouts(): Vector[] {
  const id = idOf('own record');
  return [
    printed(
      'schema-count-number',
      '12.1',
      'Counts that are numbers: a list, also of one.',
      [field('one', 'u8', { count: 1 }), field('three', 'u16', { count: 3 }), field('ids', 'uuid', { count: 2 })],
      [
        cat(u8(9), u16(1), u16(2), u16(3), id, zeros(16)),
        { one: [9], three: [1, 2, 3], ids: [uuidText(id), uuidText(zeros(16))] },
      ],
    ),
    printed(
      'schema-count-field',
      '12.1',
      'Counts that are fields of type u8, u16 and u32, one of them shown as hex.',
      [
        field('a', 'u8'),
        field('b', 'u16', { show: 'hex' }),
        field('c', 'u32'),
        field('as', 'u32', { count: 'a' }),
        field('bs', 'string', { count: 'b' }),
        field('cs', 'u64', { count: 'c', show: 'hex' }),
        field('last', 'u8'),
      ],
      [
        cat(u8(2), u16(1), u32(1), u32(5), u32(6), string('x'), u64(7), u8(8)),
        { a: 2, b: '0001', c: 1, as: [5, 6], bs: ['x'], cs: ['0000000000000007'], last: 8 },
      ],
      [cat(u8(0), u16(0), u32(0), u8(8)), { a: 0, b: '0000', c: 0, as: [], bs: [], cs: [], last: 8 }],
    ),
    printed(
      'schema-count-rest',
      '12.1',
      'The last field takes what is left.',
      [field('first', 'u8'), field('rest', 'u16', { count: 'rest' })],
      [cat(u8(1), u16(2), u16(3), u16(4)), { first: 1, rest: [2, 3, 4] }],
      [cat(u8(1), u16(2)), { first: 1, rest: [2] }],
    ),
    printed(
      'schema-rest-of-strings',
      '12.1',
      'Strings up to the end.',
      [field('rest', 'string', { count: 'rest' })],
      [cat(string('one'), string(''), string('three')), { rest: ['one', '', 'three'] }],
    ),
    printed(
      'schema-missing-tail',
      '12.2',
      'A body that ends where a field would start has no further fields.',
      [field('a', 'u8'), field('b', 'u32'), field('c', 'string'), field('d', 'u8', { count: 2 })],
      [zeros(0), {}],
      [u8(1), { a: 1 }],
      [cat(u8(1), u32(2)), { a: 1, b: 2 }],
      [cat(u8(1), u32(2), string('x')), { a: 1, b: 2, c: 'x' }],
      [cat(u8(1), u32(2), string('x'), u8(3), u8(4)), { a: 1, b: 2, c: 'x', d: [3, 4] }],
    ),
    printed(
      'schema-missing-empty-lists',
      '12.2',
      'Also a list that would be empty is not there, when the body has ended.',
      [field('n', 'u8'), field('counted', 'u16', { count: 'n' }), field('rest', 'u8', { count: 'rest' })],
      [u8(0), { n: 0 }],
      [cat(u8(0), u8(7)), { n: 0, counted: [], rest: [7] }],
      [cat(u8(1), u16(5)), { n: 1, counted: [5] }],
    ),
    printed(
      'schema-extra-bytes',
      '12.2',
      'Bytes after the last field are counted.',
      [field('a', 'u8')],
      [cat(u8(1), zeros(5)), { a: 1, extraBytes: 5 }],
      [u8(1), { a: 1 }],
    ),
    printed('schema-no-fields', '12.1', 'A schema without fields.', [], [text('body', 9), { extraBytes: 9 }]),
    printed(
      'schema-256-fields',
      '12.1',
      'A schema of 256 fields, the most there can be.',
      Array.from({ length: 256 }, (_, place) => field(`f${place}`, 'u8')),
      [u8(3), { f0: 3 }],
    ),
    printed(
      'schema-count-65535',
      '12.1',
      'A count of 65,535, the largest, of a field that the body does not reach.',
      [field('many', 'u8', { count: 65535 }), field('next', 'u8')],
      [zeros(0), {}],
    ),
  ];
}

function wrongSchemas(): Vector[] {
  const none = (vector: string, title: string, schema: Json): Vector =>
    wrong(`schema-${vector}`, '12.1', title, 'SCHEMA_INVALID', [
      dictionary({ record: number, name, version: 1, schema }),
    ]);
  const fields = (vector: string, title: string, ...list: Json[]): Vector => none(vector, title, { fields: list });
  return [
    none('is-a-list', 'The schema is a list.', []),
    none('is-null', 'The schema is null.', null),
    none('without-fields', 'The schema has no fields.', {}),
    none('fields-an-object', 'The fields are an object.', { fields: {} }),
    fields('field-a-string', 'A field that is a string.', 'u8'),
    fields('field-null', 'A field that is null.', null),
    fields('field-without-name', 'A field without a name.', { type: 'u8' }),
    fields('field-without-type', 'A field without a type.', { name: 'a' }),
    fields('name-digit-first', 'A name that begins with a digit.', field('1a', 'u8')),
    fields('name-underscore-first', 'A name that begins with an underscore.', field('__proto__', 'u8')),
    fields('name-hyphen', 'A name with a hyphen.', field('a-b', 'u8')),
    fields('name-newline', 'A name that ends with a newline.', field('a\n', 'u8')),
    fields('name-not-ascii', 'A name with a letter that is not of ASCII.', field('ä', 'u8')),
    fields('name-empty', 'An empty name.', field('', 'u8')),
    fields('name-twice', 'Two fields of one name.', field('a', 'u8'), field('a', 'u16')),
    fields('type-unknown', 'A type that does not exist.', field('a', 'u128')),
    fields('type-inherited', 'A type that is the name of a method.', field('a', 'toString')),
    fields('type-number', 'A type that is a number.', field('a', 'u8', { type: 8 })),
    fields('count-negative', 'Count -1.', field('a', 'u8', { count: -1 })),
    fields('count-65536', 'Count 65,536.', field('a', 'u8', { count: 65536 })),
    fields('count-fraction', 'Count 1.5.', field('a', 'u8', { count: 1.5 })),
    fields('count-null', 'Count null.', field('a', 'u8', { count: null })),
    fields('count-unknown-field', 'A count by a field that does not exist.', field('a', 'u8', { count: 'n' })),
    fields('count-later-field', 'A count by a later field.', field('a', 'u8', { count: 'n' }), field('n', 'u8')),
    fields('count-itself', 'A count by the field itself.', field('a', 'u8', { count: 'a' })),
    fields('count-signed-field', 'A count by a signed field.', field('n', 'i8'), field('a', 'u8', { count: 'n' })),
    fields('count-u64-field', 'A count by a field of 64 bits.', field('n', 'u64'), field('a', 'u8', { count: 'n' })),
    fields(
      'count-list-field',
      'A count by a field that has a count.',
      field('n', 'u8', { count: 1 }),
      field('a', 'u8', { count: 'n' }),
    ),
    fields('rest-not-last', 'Rest before the last field.', field('a', 'u8', { count: 'rest' }), field('b', 'u8')),
    fields('show-unknown', 'Shown as octal.', field('a', 'u8', { show: 'octal' })),
    fields('show-of-string', 'A string that is shown as hex.', field('a', 'string', { show: 'hex' })),
    fields('show-of-float', 'A floating-point number that is shown as hex.', field('a', 'f32', { show: 'hex' })),
    wrong('schema-257-fields', '12.1', 'A schema of 257 fields.', 'LIMIT_EXCEEDED', [
      bind(Array.from({ length: 257 }, (_, place) => field(`f${place}`, 'u8'))),
    ]),
    fields('unit-number', 'A unit that is a number.', field('a', 'u8', { unit: 1 })),
    fields('text-number', 'A text that is a number.', field('a', 'u8', { text: 1 })),
  ];
}

export const dictionaryVectors = (): Vector[] => [
  ...bindings(),
  ...json(),
  ...types(),
  ...layouts(),
  ...wrongSchemas(),
];
