import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RandomAccess } from '../../../src/bytes/endpoints.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { expectType, RecordStore } from '../../../src/stream/record-store.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { encodeHeader } from '../../../src/stream/record-header.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import { offsetsOf, takeApart, viewOf } from '../../support/raw-stream.ts';
import { PAGE, somePages, written } from '../../support/streams.ts';

/** What is read, and where. */
class Watched implements RandomAccess {
  readonly name = 'watched';
  readonly reads: [position: number, length: number][] = [];
  readonly #inner: RandomAccess;

  constructor(bytes: Uint8Array) {
    this.#inner = memorySource(bytes).random!;
  }

  get size(): number {
    return this.#inner.size;
  }

  readAt(position: number, into: Uint8Array): Promise<number> {
    this.reads.push([position, into.byteLength]);
    return this.#inner.readAt(position, into);
  }
}

const BYTES = await written(async (writer) => {
  await writer.ram(0, 3, somePages(3, 'store'));
  // Many extents, so that the head is longer than what is read at first.
  for (let i = 0; i < 60; i++) await writer.ram(10 + 2 * i, 1, new Uint8Array(PAGE).fill(1 + i));
  await writer.round();
  await writer.ram(1000, 1, new Uint8Array(PAGE).fill(9));
});
const STREAM = takeApart(BYTES);
const OFFSETS = offsetsOf(STREAM);
const TAG = viewOf(BYTES).getUint32(124, true);

/** Positions of the records of a type. */
function positionsOf(type: number): number[] {
  return STREAM.records.flatMap((record, position) => (record.type === type ? [position] : []));
}

test('S6: a read beyond the end is TRUNCATED, and says where the image ends', async () => {
  const access = new Watched(BYTES);
  const store = new RecordStore(access, TAG);
  assert.equal(store.bytesRead, 0);
  assert.equal(store.size, BYTES.byteLength);
  const end = BYTES.byteLength;
  assert.deepEqual(await store.read(end - 8, 8), BYTES.slice(-8));
  assert.equal(store.bytesRead, 8);
  for (const [offset, length] of [
    [end - 8, 9],
    [end, 1],
    [end + 1, 1],
    [2 ** 60, 64],
  ] as const) {
    await assert.rejects(store.read(offset, length), { code: 'TRUNCATED', offset: end, path: 'image' });
  }
  assert.equal(store.bytesRead, 16);
  assert.deepEqual(
    access.reads,
    [
      [end - 8, 8],
      [end - 8, 9],
    ],
    'beyond the end nothing is asked for',
  );
});

test('S6: a header that is damaged, of another stream, or too long', async () => {
  const at = OFFSETS[1];
  const headerWith = (change: (header: Uint8Array) => void): RecordStore => {
    const bytes = BYTES.slice();
    change(bytes.subarray(at, at + 24));
    return new RecordStore(memorySource(bytes).random!, TAG);
  };
  const { type, body } = STREAM.records[1];
  const found = await headerWith(() => undefined).header(at);
  const checksum = viewOf(BYTES).getUint32(at + 16, true);
  assert.deepEqual(found, { type, length: body.byteLength, sequence: 1, offset: at, bodyChecksum: checksum });
  const where = { offset: at, path: `record at ${at}` };
  await assert.rejects(headerWith((header) => (header[9] ^= 1)).header(at), { code: 'HEADER_CHECKSUM', ...where });
  const foreign = headerWith((header) => encodeHeader(header, type, 16, 1, TAG ^ 1, 0));
  await assert.rejects(foreign.header(at), { code: 'RECORD_FOREIGN', ...where });
  for (const [of, limit] of [
    [TYPE.checkpoint, 16],
    [0x8000_0123, LIMITS.recordBody],
  ] as const) {
    const just = headerWith((header) => encodeHeader(header, of, limit, 1, TAG, 0));
    assert.equal((await just.header(at)).length, limit);
    const long = headerWith((header) => encodeHeader(header, of, limit + 1, 1, TAG, 0));
    await assert.rejects(long.header(at), { code: 'LIMIT_EXCEEDED', ...where });
  }
});

test('S7: the head of a batch is read, and not its pages', async () => {
  for (const position of positionsOf(TYPE.ram)) {
    const access = new Watched(BYTES);
    const store = new RecordStore(access, TAG);
    const batch = await store.ramHead(OFFSETS[position], PAGE);
    const { body } = STREAM.records[position];
    assert.equal(batch.headLength, viewOf(body).getUint32(12, true));
    const first = Math.min(512, BYTES.byteLength - OFFSETS[position]);
    const rest: [number, number][] =
      batch.headLength + 24 > first ? [[OFFSETS[position] + first, batch.headLength + 24 - first]] : [];
    assert.deepEqual(access.reads, [[OFFSETS[position], first], ...rest]);
    for (let extent = 0; extent < batch.extents; extent++) {
      assert.equal(batch.extentFirst(extent), Number(viewOf(body).getBigUint64(24 + 16 * extent, true)));
    }
  }
  const heads = positionsOf(TYPE.ram).map((position) => viewOf(STREAM.records[position].body).getUint32(12, true));
  assert.ok(Math.max(...heads) > 512, 'one head is longer than the first read');
});

test('S7: a head near the end of an image is read, and not what would be behind it', async () => {
  const bytes = await written((writer) => writer.absent(5, 2, 0x80), { indexed: false });
  const stream = takeApart(bytes);
  const at = offsetsOf(stream)[1];
  assert.ok(bytes.byteLength - at < 512);
  const store = new RecordStore(memorySource(bytes).random!, viewOf(bytes).getUint32(124, true));
  const batch = await store.ramHead(at, PAGE);
  assert.deepEqual([batch.pages, batch.headLength], [2, stream.records[1].body.byteLength]);
});

test('S7: another record than a batch is INDEX_MISMATCH', async () => {
  const store = new RecordStore(memorySource(BYTES).random!, TAG);
  const [round] = positionsOf(TYPE.round);
  const wrong = { code: 'INDEX_MISMATCH', offset: OFFSETS[round], path: `record ${round} (ROUND)` };
  await assert.rejects(store.ramHead(OFFSETS[round], PAGE), wrong);
  const { header } = await store.fetch(OFFSETS[round]);
  expectType(header, TYPE.round);
  assert.throws(() => expectType(header, TYPE.checkpoint), wrong);
});

test('a record that was fetched is kept, and the one that was not used for longest is forgotten', async () => {
  const access = new Watched(BYTES);
  const store = new RecordStore(access, TAG, 2);
  const fetched = async (position: number): Promise<boolean> => {
    const before = access.reads.length;
    const { header, body } = await store.fetch(OFFSETS[position]);
    assert.equal(header.sequence, position);
    assert.deepEqual(body, STREAM.records[position].body);
    return access.reads.length > before;
  };
  assert.deepEqual([await fetched(0), await fetched(1)], [true, true]);
  assert.deepEqual([await fetched(0), await fetched(1), await fetched(0)], [false, false, false]);
  assert.equal(await fetched(2), true);
  assert.equal(await fetched(0), false, 'used after 1');
  assert.equal(await fetched(1), true, 'forgotten');
  assert.equal(await fetched(0), false);
  assert.equal(await fetched(2), true);
});

test('S6: a body that is damaged is not handed on', async () => {
  const bytes = BYTES.slice();
  bytes[OFFSETS[0] + 26] ^= 1;
  const store = new RecordStore(memorySource(bytes).random!, TAG);
  await assert.rejects(store.fetch(OFFSETS[0]), { code: 'BODY_CHECKSUM', offset: OFFSETS[0], path: 'record 0' });
});
