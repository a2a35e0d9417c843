/**
 * The text of the commands, compared with what it was. After a change that is meant:
 * `node --test --test-update-snapshots test/unit/cli/text.test.ts`, and look at the difference.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { inspectionLines } from '../../../src/cli/text/inspection.ts';
import { recordLines, recordSummary } from '../../../src/cli/text/records.ts';
import { COLOURED, PLAIN } from '../../../src/cli/text/style.ts';
import { verificationLines } from '../../../src/cli/text/verification.ts';
import { displayWidth } from '../../../src/cli/text/format.ts';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import type { RecordJson } from '../../../src/image/record-json.ts';
import { sampleInspection, sampleVerification } from './fake.ts';

function record(name: string, fields: RecordJson['fields'], changes: Partial<RecordJson> = {}): RecordJson {
  const base = { sequence: 3, offset: 0x1f40, type: '00000010', section: '7', optional: false, length: 70_000 };
  return { ...base, name, fields, ...changes };
}

function unit(codec: string, pages: number, stored: number) {
  return { codec, pages, stored, checksum: '01020304' };
}

function tmemPage(first: string, index: number, codec: string, stored: number) {
  return { object: [first, '0', '0'], index, codec, bytes: 4096, stored, content: 'ab'.repeat(32) };
}

const chain = '0123456789abcdef'.repeat(4);

const RECORDS: readonly RecordJson[] = [
  record(
    'ABOUT',
    { about: { name: 'guest\u0007', time: '2009-06-01T12:00:00Z', tool: { name: 'x' } } },
    { sequence: 0 },
  ),
  record('DICTIONARY', { record: 0x4001, name: 'com.example.clock', version: 2, text: 'The clock.', schema: null }),
  record('RAM', {
    pages: 1030,
    extents: [
      { first: 0, pages: 1024, class: 0 },
      { first: 4096, pages: 1, class: 1 },
      { first: 8192, pages: 4, class: 0x80 },
      { first: 9000, pages: 1, class: 0 },
    ],
    zeroPages: 12,
    units: [unit('zstd', 64, 5000), unit('zstd', 64, 6000), unit('raw', 1, 4096)],
    content: chain,
  }),
  record('TMEM_POOL', {
    incarnation: '7',
    pool: 2,
    flags: '01000003',
    kind: 'persistent',
    shared: true,
    precompressed: true,
    pageSize: 4096,
    objectIdBits: 64,
    uuid: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
    pages: '1',
  }),
  record(
    'TMEM_PAGES',
    { incarnation: '7', pages: [1, 2, 3, 4].map((index) => tmemPage('18446744073709551615', index, 'lz4', 900)) },
    { optional: true },
  ),
  record('TMEM_INVALIDATE', { incarnation: '7', scope: 'objects', handles: [{ object: ['1', '2', '3'], index: 0 }] }),
  record('TMEM_INVALIDATE', { incarnation: '7', scope: 'pool', handles: [] }),
  record('X86_CPUID', { leaves: [{ leaf: '00000001', subleaf: 'ffffffff', eax: '0', ebx: '0', ecx: '0', edx: '0' }] }),
  record('CHECKPOINT', { number: 1, guestTimeNs: '1243857600000000000' }),
  record('END', {
    records: 9,
    ramPages: 1030,
    ramZeroPages: 12,
    ramAbsentPages: 4,
    tmemPages: 4,
    tmemInvalidations: 2,
    deviceBytes: 300,
    chains: [chain, chain],
  }),
  record(
    'com.example.clock',
    { ticks: '123', label: 'a b\u202e', list: [1, 2, 3, 4, 5], nested: null },
    { section: '12', type: '80004001', optional: true },
  ),
  record(
    'unknown',
    { bytes: 'ff'.repeat(64) },
    { section: '3.4', type: '80000777', optional: true, offset: 0x123456789 },
  ),
];

/** At several widths, and without one. */
function compare(t: TestContext, makeLines: (width: number) => Iterable<string>): void {
  const texts = [Infinity, 80, 40].map((width) => {
    const text = Array.from(makeLines(width)).join('\n');
    return `--- width ${width}\n${text}`;
  });
  t.assert.snapshot(texts.join('\n\n'), { serializers: [String] });
}

test('an inspection', (t) => {
  compare(t, (width) => inspectionLines(sampleInspection(), { style: PLAIN, width }));
});

test('an inspection of a cut image', (t) => {
  const error = new TransmigrateError('TRUNCATED', 'The image ends within a record', {
    offset: 0x5e30000,
    path: 'record 12 (RAM)',
    section: '3.2',
  }).toJSON();
  const inspection = sampleInspection({ ok: false, complete: false, error, tmem: null, about: null });
  compare(t, (width) => inspectionLines(inspection, { style: PLAIN, width }));
});

test('an inspection with records', (t) => {
  compare(t, (width) => inspectionLines(sampleInspection({ records: [...RECORDS] }), { style: PLAIN, width }));
});

test('a verification', (t) => {
  const at = { offset: 0x5e30000, section: '5.3' };
  const seal = new TransmigrateError('SEAL_MISMATCH', 'The chain does not match', at).toJSON();
  const index = new TransmigrateError('INDEX_MISMATCH', 'A record is not in the index', { offset: 128 }).toJSON();
  const verifications = [
    sampleVerification({
      memory: { pages: 65_000, zeroPages: 20_000, sha256: chain },
      tmem: { pools: 2, pages: 1241, sha256: chain },
    }),
    sampleVerification({
      verdict: 'broken',
      errors: [{ ...seal, level: 'broken', record: { sequence: 99, name: 'SEAL' } }],
      warnings: [1, 2].map(() => ({ ...index, level: 'warning', record: null })),
      checkpoint: null,
    }),
  ];
  compare(t, (width) =>
    verifications.flatMap((one) => [...verificationLines(['guest.tmig'], one, { style: PLAIN, width }), '']),
  );
});

const WIDTHS = [40, 60, 80, 100, 120, 200];

/** Everything the commands print of an image with something of everything. */
function allLines(width: number): string[] {
  const error = new TransmigrateError('TRUNCATED', 'The image ends within a record', {
    offset: 0x5e30000,
    path: 'record 12 (RAM)',
    section: '3.2',
  }).toJSON();
  const layout = { style: PLAIN, width };
  const found = {
    ...error,
    level: 'broken' as const,
    record: { sequence: 12, name: 'RAM', channel: 1 },
    file: 'channel-1.tmig',
  };
  const verification = sampleVerification({
    verdict: 'broken',
    errors: [found],
    memory: { pages: 1, zeroPages: 0, sha256: chain },
  });
  return [
    ...inspectionLines(sampleInspection({ complete: false, error }), layout),
    ...inspectionLines(sampleInspection({ records: [...RECORDS] }), layout),
    ...verificationLines(['channel-0.tmig', 'channel-1.tmig'], verification, layout),
  ];
}

test('no line is wider than the terminal, but for single words that do not fit', () => {
  for (const width of WIDTHS) {
    for (const line of allLines(width)) {
      const isOneWord = !line.trim().includes(' ');
      assert.ok(displayWidth(line) <= width || isOneWord, `${width}: ${line}`);
    }
  }
});

test('a narrow terminal shows everything that a wide one shows', () => {
  const words = (width: number) => new Set(allLines(width).flatMap((line) => line.split(/[\s,]+/)));
  const wide = words(Infinity);
  for (const width of WIDTHS) {
    const narrow = words(width);
    // Titles of columns go when the column does; its cells do not.
    const lost = [...wide].filter((word) => !narrow.has(word) && word !== 'fields');
    assert.deepEqual(lost, [], `${width} columns`);
  }
});

test('colours change nothing of the text, and no text of the image brings its own', () => {
  const plain = [...inspectionLines(sampleInspection(), { style: PLAIN, width: 80 })];
  const coloured = [...inspectionLines(sampleInspection(), { style: COLOURED, width: 80 })];
  assert.deepEqual(coloured.map(stripVTControlCharacters), plain);
  assert.notDeepEqual(coloured, plain);
  assert.doesNotMatch(plain.join(''), /[\p{Cc}\p{Cf}]/u);
});

test('a digest is never cut', () => {
  const verification = sampleVerification({ memory: { pages: 1, zeroPages: 0, sha256: chain } });
  const text = Array.from(verificationLines(['x'], verification, { style: PLAIN, width: 40 })).join('\n');
  assert.ok(text.includes(chain));
});

test('what is in a TMEM_INVALIDATE is counted in its own words', () => {
  const summary = (scope: string, count: number) =>
    recordSummary(
      record('TMEM_INVALIDATE', {
        incarnation: '7',
        scope,
        handles: Array.from({ length: count }, (_, index) => ({ object: ['1', '0', '0'], index })),
      }),
    );
  assert.equal(summary('pages', 1), 'incarnation 7, 1 page, 1/0');
  assert.equal(summary('objects', 1), 'incarnation 7, 1 object, 1/0');
  assert.equal(summary('pages', 2), 'incarnation 7, 2 pages, 1/0 1/1');
  assert.equal(recordSummary(record('INDEX', { entries: 1 })), '1 entry');
  assert.equal(recordSummary(record('INDEX', { entries: 2 })), '2 entries');
});

test('a string of a record of its own is escaped once', () => {
  const summary = (text: string) => recordSummary(record('com.example.clock', { text }));
  assert.equal(summary('a\u0007b'), String.raw`text=a\x07b`);
  assert.equal(summary('two\u202e words'), String.raw`text="two\u{202e} words"`);
  assert.equal(summary(String.raw`C:\dir of`), String.raw`text="C:\\dir of"`);
  assert.equal(summary('say "no"'), String.raw`text="say \"no\""`);
  assert.equal(summary(''), 'text=""');
});

test('of what is no image there is no report', () => {
  const error = new TransmigrateError('NOT_AN_IMAGE', 'This is no image', { offset: 0 }).toJSON();
  const inspection = sampleInspection({ ok: false, format: 'unknown', preamble: null, complete: false, error });
  const lines = [...inspectionLines(inspection, { style: PLAIN, width: Infinity })];
  assert.deepEqual(lines.slice(0, 3), ['guest.tmig: not an image, 94.2 MiB', '', 'Wrong']);
  const verification = sampleVerification({
    verdict: 'broken',
    format: 'unknown',
    preamble: null,
    errors: [{ ...error, level: 'broken', record: null }],
  });
  const text = [...verificationLines(['x'], verification, { style: PLAIN, width: Infinity })];
  assert.deepEqual(text, [
    'x: not an image',
    '  error: This is no image (NOT_AN_IMAGE at offset 0x0)',
    `    ${error.next}`,
  ]);
});

test('the headline says what kind of wrong it is', () => {
  const headline = (code: ErrorCode, complete: boolean) => {
    const error = new TransmigrateError(code, 'What is wrong').toJSON();
    const [line = ''] = inspectionLines(sampleInspection({ complete, error }), { style: PLAIN, width: Infinity });
    return line.slice(line.lastIndexOf('MiB, ') + 5);
  };
  assert.equal(headline('TRUNCATED', false), 'not complete');
  assert.equal(headline('BODY_CHECKSUM', false), 'broken');
  assert.equal(headline('UNSUPPORTED_VERSION', false), 'not supported here');
  assert.equal(headline('TRAILING_DATA', true), 'complete, but something is wrong');
});

test('what is only too new is not called broken', () => {
  const error = new TransmigrateError('UNSUPPORTED_FEATURE', 'It needs more', {}).toJSON();
  const verification = sampleVerification({ verdict: 'broken', errors: [{ ...error, level: 'broken', record: null }] });
  const [first] = verificationLines(['x'], verification, { style: PLAIN, width: Infinity });
  assert.equal(first, 'x: not supported: it will not restore here');
});

test('a record with fields of any shape still gets its line', () => {
  const names = [...new Set(RECORDS.map(({ name }) => name)), 'VCPU_X86', 'DEVICE', 'DISK', 'ORIGIN', 'toString'];
  for (const name of names) {
    for (const fields of [{}, { pages: null, extents: 7, units: [null, 3], handles: ['x'], about: [], number: true }]) {
      assert.equal(typeof recordSummary(record(name, fields)), 'string');
    }
  }
  assert.deepEqual([...recordLines([], { style: PLAIN, width: 80 })], []);
});
