import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { StreamDecoder, type DecodedRecord } from '../../../src/stream/decoder.ts';
import { ALL_REPAIRS, offsetsOf, putTogether, takeApart, viewOf } from '../../support/raw-stream.ts';
import { decoded, PAGE, somePages, written } from '../../support/streams.ts';

const BYTES = await written((writer) => writer.ram(0, 4, somePages(4, 'decoder')));

function errorOf(work: () => unknown): TransmigrateError {
  try {
    work();
  } catch (error) {
    if (error instanceof TransmigrateError) return error;
    throw error;
  }
  return assert.fail('nothing was thrown');
}

/** Reads all that is there. */
function drained(decoder: StreamDecoder): DecodedRecord[] {
  const records: DecodedRecord[] = [];
  for (let record = decoder.read(); record !== undefined; record = decoder.read()) records.push(record);
  return records;
}

test('bytes are not taken while there are some', () => {
  const decoder = new StreamDecoder();
  decoder.feed(BYTES.subarray(0, 200));
  assert.throws(() => decoder.feed(BYTES.subarray(200)), RangeError);
  drained(decoder);
  decoder.feed(BYTES.subarray(200));
  // A record is handed out while further ones are there.
  assert.notEqual(decoder.read(), undefined);
  assert.throws(() => decoder.feed(new Uint8Array(1)), RangeError);
  drained(decoder);
  decoder.finish();
});

test('even one byte that waits', () => {
  const decoder = new StreamDecoder();
  decoder.feed(BYTES.subarray(0, 1));
  assert.throws(() => decoder.feed(BYTES.subarray(1)), RangeError);
});

test('what a decoder says of itself on its way', () => {
  const offsets = offsetsOf(takeApart(BYTES));
  const decoder = new StreamDecoder();
  assert.deepEqual([decoder.offset, decoder.sequence, decoder.complete, decoder.trailing], [0, 0, false, 0]);
  assert.deepEqual([decoder.preamble, decoder.chain], [undefined, undefined]);
  decoder.feed(BYTES.subarray(0, 128));
  assert.equal(decoder.read(), undefined);
  assert.deepEqual([decoder.offset, decoder.preamble!.kind], [128, 'save']);
  decoder.feed(BYTES.subarray(128));
  for (let sequence = 1; decoder.read() !== undefined; sequence++) {
    assert.deepEqual([decoder.offset, decoder.sequence], [offsets[sequence], sequence]);
  }
  assert.deepEqual([decoder.offset, decoder.complete], [BYTES.byteLength, true]);
  assert.equal(decoder.counts.ramPages, 4);
  assert.equal(decoder.scratch.byteLength, LIMITS.chunkBytes);
});

test('S6: a cut says what it cut: preamble, header, body, footer', () => {
  const stream = takeApart(BYTES);
  const offsets = offsetsOf(stream);
  const cut = (length: number): TransmigrateError =>
    errorOf(() => {
      const decoder = new StreamDecoder();
      decoder.feed(BYTES.subarray(0, length));
      drained(decoder);
      decoder.finish();
    });
  const facts = (length: number): unknown[] => {
    const error = cut(length);
    return [error.code, error.offset, error.path, error.section, error.message];
  };
  assert.deepEqual(facts(100).slice(0, 4), ['TRUNCATED', 100, 'preamble', '2']);
  const header = offsets[1] + 10;
  const inHeader = `The stream ends after ${header} bytes, in or before record 1`;
  assert.deepEqual(facts(header), ['TRUNCATED', header, 'record 1', '3.1', inHeader]);
  const body = offsets[1] + 30;
  const inBody = `The stream ends after ${body} bytes, in or before record 1 (RAM)`;
  assert.deepEqual(facts(body), ['TRUNCATED', body, 'record 1 (RAM)', '3.1', inBody]);
  const footer = BYTES.byteLength - 1;
  const inFooter = `The stream ends after ${footer} bytes, in the footer`;
  assert.deepEqual(facts(footer), ['TRUNCATED', footer, 'footer', '13.3', inFooter]);
});

test('what is no image is refused before the preamble is there', () => {
  const decoder = new StreamDecoder();
  decoder.feed(new Uint8Array(11).fill(0x41));
  assert.equal(decoder.read(), undefined);
  decoder.feed(new Uint8Array(1));
  assert.equal(errorOf(() => decoder.read()).code, 'NOT_AN_IMAGE');
});

test('S2: a stream that is refused says what it is, whatever its version has in the preamble', () => {
  const stream = takeApart(BYTES);
  viewOf(stream.preamble).setUint16(12, 2, true);
  // Kind, byte order, word size, domain type, page size and direction of a later version.
  stream.preamble.fill(99, 16, 24);
  const decoder = new StreamDecoder();
  decoder.feed(putTogether(stream));
  assert.equal(decoder.read()!.record.kind, 'ABOUT');
  assert.deepEqual([decoder.preamble!.kind, decoder.preamble!.domainType], ['save', 'unknown']);
  assert.equal(errorOf(() => decoder.read()).code, 'UNSUPPORTED_VERSION');
  // Without ABOUT it can't: then the version is what is wrong with it, and not the order.
  stream.records.shift();
  const without = new StreamDecoder();
  without.feed(putTogether(stream));
  assert.equal(errorOf(() => without.read()).code, 'UNSUPPORTED_VERSION');
  viewOf(stream.preamble).setUint16(12, 1, true);
  stream.preamble.set(takeApart(BYTES).preamble.subarray(16, 24), 16);
  const known = new StreamDecoder();
  known.feed(putTogether(stream));
  assert.equal(errorOf(() => known.read()).code, 'RECORD_ORDER');
});

const OWN = await written(async (writer) => {
  await writer.dictionary({ record: 0x4001, name: 'org.example.a', version: 3, text: null, schema: null });
  await writer.dictionary({ record: 0x4002, name: 'org.example.b', version: 1, text: null, schema: null });
  await writer.local(0x4001, false, Uint8Array.of(1, 2, 3));
  await writer.local(0x4002, true, Uint8Array.of(4));
});

test('S4: a record of one’s own is for who knows its name', () => {
  const kindsWith = (...names: string[]): string[] => {
    const kinds: string[] = [];
    decoded(OWN, ({ record }) => kinds.push(record.kind), { knows: new Set(names) });
    return kinds.filter((kind) => kind === 'LOCAL' || kind === 'UNKNOWN');
  };
  assert.deepEqual(kindsWith('org.example.a', 'org.example.b'), ['LOCAL', 'LOCAL']);
  assert.deepEqual(kindsWith('org.example.a'), ['LOCAL', 'UNKNOWN'], 'the optional one is stepped over');
  for (const options of [{}, { knows: new Set<string>() }, { knows: new Set(['org.example.b']) }]) {
    const error = errorOf(() => decoded(OWN, undefined, options));
    assert.equal(error.code, 'UNKNOWN_RECORD');
    assert.deepEqual(error.data, { name: 'org.example.a', type: 0x4001, version: 3 });
  }
  const all: unknown[] = [];
  decoded(
    OWN,
    ({ record }) => record.kind === 'LOCAL' && all.push([record.dictionary.name, record.optional, record.body.length]),
    {
      knows: 'all',
    },
  );
  assert.deepEqual(all, [
    ['org.example.a', false, 3],
    ['org.example.b', true, 1],
  ]);
});

test('S4: a name for a number that the specification has is not taken for one of one’s own', () => {
  for (const number of [0x10, 0x08, 0x41]) {
    const stream = takeApart(OWN);
    const text = JSON.stringify({ record: number, name: 'org.example.x', version: 1 });
    stream.records.splice(1, 0, { type: 2, body: new Uint8Array(Buffer.from(text)) });
    const kinds: string[] = [];
    decoded(putTogether(stream), ({ record }) => kinds.push(record.kind), { knows: 'all' });
    assert.deepEqual(kinds.slice(0, 2), ['ABOUT', 'DICTIONARY']);
  }
});

test('S5: the chain over more headers than are gathered at once is the one of stream 5', async () => {
  const many = await written(
    async (writer) => {
      for (let i = 0; i < 1100; i++) await writer.round();
    },
    { kind: 'migration', indexed: false },
  );
  const stream = takeApart(many);
  assert.ok(stream.records.length > 1100);
  // Put together by code that shares nothing with the library.
  assert.ok(Buffer.from(putTogether(stream)).equals(many));
  const decoder = decoded(many);
  const end = stream.records.at(-1)!;
  assert.deepEqual(new Uint8Array(decoder.chain!), end.body.slice(64, 96));
});

test('S11: a device without bytes has a digest, too', async () => {
  const about = { device: 3, name: 'd', format: 'f', version: '1', fingerprint: new Uint8Array(32) };
  const bytes = await written((writer) => writer.device(about, new Uint8Array(0)), { indexed: false });
  decoded(bytes);
  const stream = takeApart(bytes);
  const { body } = stream.records.find(({ type }) => type === 0x30)!;
  body[48] ^= 1;
  const error = errorOf(() => decoded(putTogether(stream, ALL_REPAIRS)));
  assert.deepEqual([error.code, error.path], ['DEVICE_DIGEST', 'record 1 (DEVICE)']);
});

test('a record that lies whole in what was fed is not copied', () => {
  const decoder = new StreamDecoder();
  decoder.feed(BYTES);
  for (const { body } of drained(decoder)) assert.equal(body.buffer, BYTES.buffer);
  // Exactly a record, and no byte more.
  const exact = new StreamDecoder();
  const offsets = offsetsOf(takeApart(BYTES));
  exact.feed(BYTES.subarray(0, offsets[1]));
  drained(exact);
  exact.feed(BYTES.subarray(offsets[1], offsets[2]));
  const [ram] = drained(exact);
  assert.equal(ram.body.buffer, BYTES.buffer);
  assert.equal(ram.body.byteLength > PAGE, true);
});

test('bytes after the end are counted in a container, piece by piece', () => {
  const decoder = new StreamDecoder({ container: true });
  decoder.feed(BYTES);
  drained(decoder);
  for (const length of [3, 5]) {
    decoder.feed(new Uint8Array(length));
    assert.equal(decoder.read(), undefined);
  }
  assert.equal(decoder.trailing, 8);
  decoder.finish();
  const strict = new StreamDecoder();
  strict.feed(BYTES);
  drained(strict);
  strict.feed(new Uint8Array(1));
  const error = errorOf(() => strict.read());
  assert.deepEqual([error.code, error.offset], ['TRAILING_DATA', BYTES.byteLength]);
});
