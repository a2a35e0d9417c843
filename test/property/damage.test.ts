/** S6: damage never goes unnoticed, and what was handed on before it was noticed was right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { random } from '../support/random.ts';
import { offsetsOf, putTogether, takeApart, viewOf, type RawStream } from '../support/raw-stream.ts';
import { readInPieces, stories, told, type Reading } from '../support/stream-model.ts';
import { written } from '../support/streams.ts';
import { property } from './seeded.ts';

/** The damaged stream is refused by name, and what came before the refusal is what the whole stream begins with. */
function assertNoticed(damaged: Reading, whole: Reading, how: string): TransmigrateError {
  const { error, records } = damaged;
  assert.ok(error instanceof TransmigrateError, `${how}: ${String(error)}`);
  assert.notEqual(error.code, 'INTERNAL', how);
  assert.deepEqual(records, whole.records.slice(0, records.length), `${how}: what was handed on before`);
  return error;
}

/** Where END starts. */
function endOf(bytes: Uint8Array): { offset: number; position: number; stream: RawStream; offsets: number[] } {
  const stream = takeApart(bytes);
  const offsets = offsetsOf(stream);
  const position = stream.records.findIndex(({ type }) => type === 0x07);
  return { offset: offsets[position], position, stream, offsets };
}

property('a stream that is cut anywhere is TRUNCATED: every cut of small ones', 6, stories(true), async (story) => {
  const { bytes } = await told(story);
  const whole = readInPieces(bytes);
  // A cut of a long stream costs its length: then only some are tried.
  const step = Math.max(1, Math.floor(bytes.byteLength / 1500));
  for (let length = 0; length < bytes.byteLength; length += step) {
    const error = assertNoticed(readInPieces(bytes.subarray(0, length)), whole, `cut at ${length}`);
    assert.equal(error.code, 'TRUNCATED', `cut at ${length}`);
    assert.equal(error.offset, length);
  }
});

property(
  'a stream that is cut anywhere is TRUNCATED: some cuts of larger ones, in pieces',
  40,
  fc.tuple(stories(), fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { maxLength: 6 })),
  async ([story, cuts]) => {
    const { bytes } = await told(story);
    const whole = readInPieces(bytes);
    for (const cut of cuts) {
      const length = Math.floor(cut * bytes.byteLength);
      const reading = readInPieces(bytes.subarray(0, length), () => 3001);
      const error = assertNoticed(reading, whole, `cut at ${length}`);
      assert.equal(error.code, 'TRUNCATED', `cut at ${length}`);
      assert.equal(error.offset, length);
    }
  },
);

function assertFlipNoticed(bytes: Uint8Array, whole: Reading, bit: number, end: number): void {
  const damaged = bytes.slice();
  damaged[bit >> 3] ^= 1 << (bit & 7);
  const reading = readInPieces(damaged);
  const error = assertNoticed(reading, whole, `bit ${bit}`);
  assert.ok(error.offset! <= bit >> 3, `bit ${bit}: the place of the error is not behind the damage`);
  if (bit >> 3 < end) assert.ok(!reading.kinds.includes('END'), `bit ${bit}: END was accepted`);
}

property('every flipped bit of a small stream is noticed', 2, stories(true), async ({ shape, steps }) => {
  const { bytes } = await told({ shape, steps: steps.slice(0, 3) });
  const whole = readInPieces(bytes);
  const { offsets, position } = endOf(bytes);
  const step = Math.max(1, 2 * Math.floor(bytes.byteLength / 2000) + 1);
  for (let bit = 0; bit < bytes.byteLength * 8; bit += step) {
    assertFlipNoticed(bytes, whole, bit, offsets[position + 1]);
  }
});

property(
  'flipped bits of larger streams are noticed',
  40,
  fc.tuple(stories(), fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { maxLength: 8 })),
  async ([story, places]) => {
    const { bytes } = await told(story);
    const whole = readInPieces(bytes);
    const { offsets, position } = endOf(bytes);
    for (const place of places) {
      assertFlipNoticed(bytes, whole, Math.floor(place * bytes.byteLength * 8), offsets[position + 1]);
    }
  },
);

/** A stream whose records are in another order: bytes as they stood, nothing repaired. */
function rearranged(bytes: Uint8Array, order: readonly number[]): Uint8Array {
  const { offsets } = endOf(bytes);
  const parts = [bytes.subarray(0, offsets[0]), ...order.map((i) => bytes.subarray(offsets[i], offsets[i + 1]))];
  return new Uint8Array(Buffer.concat([...parts, bytes.subarray(offsets.at(-1))]));
}

const disorder = fc.record({
  story: stories(true),
  how: fc.constantFrom('lost', 'doubled', 'swapped', 'moved'),
  first: fc.nat(),
  second: fc.nat(),
});

/** Positions of the records after one was lost, doubled, swapped or moved; undefined when nothing changed. */
function disordered(
  count: number,
  { how, first, second }: { how: string; first: number; second: number },
): number[] | undefined {
  const order = Array.from({ length: count }, (_, i) => i);
  const [a, b] = [first % count, second % count];
  if (how === 'lost') order.splice(a, 1);
  else if (how === 'doubled') order.splice(b, 0, a);
  else if (a === b) return undefined;
  else if (how === 'swapped') [order[a], order[b]] = [order[b], order[a]];
  else order.splice(b, 0, ...order.splice(a, 1));
  return order;
}

property('a lost, doubled, swapped or moved record is noticed', 150, disorder, async ({ story, ...change }) => {
  const { bytes } = await told(story);
  const whole = readInPieces(bytes);
  const { stream, position, offset } = endOf(bytes);
  const order = disordered(stream.records.length, change);
  if (order === undefined) return;
  const damaged = rearranged(bytes, order);
  const reading = readInPieces(damaged, () => 997);
  const error = assertNoticed(reading, whole, change.how);
  const first = order.findIndex((record, i) => record !== i);
  if (first >= 0 && first < position) {
    assert.ok(!reading.kinds.includes('END'), 'END was accepted');
    assert.equal(error.code, 'RECORD_SEQUENCE');
    assert.ok(error.offset! <= offset + 64);
  }
});

property(
  'a record lost, doubled or replaced is noticed by the next seal even when numbers and checksums are right',
  150,
  fc.tuple(disorder, fc.boolean()),
  async ([{ story, ...change }, replace]) => {
    const { bytes } = await told(story);
    const { stream, position } = endOf(bytes);
    // The seals are not repaired: whoever made this knew the checksums, and not the chain.
    const order = disordered(position, change);
    if (order === undefined) return;
    const records = order.map((i) => stream.records[i]);
    if (replace) {
      const at = change.first % position;
      const body = stream.records[at].body.slice();
      if (body.byteLength === 0) return;
      body[change.second % body.byteLength] ^= 1;
      records.splice(0, records.length, ...stream.records.slice(0, position));
      records[at] = { type: records[at].type, body };
    }
    const rest = stream.records.slice(position);
    const repairs = { preamble: true, seals: false, counts: false, heads: true, footer: true };
    const damaged = putTogether({ ...stream, records: [...records, ...rest] }, repairs);
    if (Buffer.from(damaged).equals(bytes)) return;
    const reading = readInPieces(damaged);
    assert.ok(reading.error instanceof TransmigrateError, String(reading.error));
    assert.ok(!reading.kinds.includes('END'), 'END was accepted');
  },
);

property(
  'bytes after the end are noticed, and counted in a container',
  30,
  fc.tuple(stories(true), fc.uint8Array({ minLength: 1, maxLength: 40 })),
  async ([story, tail]) => {
    const { bytes } = await told(story);
    const whole = readInPieces(bytes);
    const longer = new Uint8Array([...bytes, ...tail]);
    const generator = random(`${tail.length}`);
    const error = assertNoticed(
      readInPieces(longer, () => 1 + generator.below(200)),
      whole,
      'trailing',
    );
    assert.equal(error.code, 'TRAILING_DATA');
    assert.equal(error.offset, bytes.byteLength);
    const lying = readInPieces(longer, undefined, { knows: 'all', container: true });
    assert.deepEqual(lying, whole);
  },
);

test('a RAM head that is replaced by another with right checksums is noticed by the next seal', async () => {
  const bytes = await written((writer) => writer.ram(7, 1, new Uint8Array(4096)));
  const stream = takeApart(bytes);
  const ram = stream.records.find(({ type }) => type === 0x10)!;
  // Another pfn: everything but the chain is made right again.
  viewOf(ram.body).setUint32(24, 8, true);
  const repairs = { preamble: true, seals: false, counts: false, heads: true, footer: true };
  const reading = readInPieces(putTogether(stream, repairs));
  assert.ok(reading.error instanceof TransmigrateError, 'page 7 became page 8, and nobody noticed');
  assert.equal(reading.error.code, 'SEAL_MISMATCH');
});
