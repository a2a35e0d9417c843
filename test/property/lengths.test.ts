/** S6: lengths that lie cost nothing: memory follows what has come, and time follows what an honest stream takes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { offsetsOf, PREAMBLE, putTogether, takeApart, viewOf } from '../support/raw-stream.ts';
import { readInPieces, stories, told } from '../support/stream-model.ts';
import { written } from '../support/streams.ts';
import { property } from './seeded.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** What everything else in the process may take and give back while a test looks. */
const NOISE_BYTES = 256 * KIB;
/** What a millisecond of somebody else's work, or a first compilation, may add to a measurement. */
const NOISE_MICROSECONDS = 50_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Freed buffers are given back behind the scenes, some time after a collection. */
async function arrayBuffers(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4; i++) {
    collect();
    await setImmediate();
    least = Math.min(least, process.memoryUsage().arrayBuffers);
  }
  return least;
}

/** ABOUT of a stream, and a header of `type` that says that `length` bytes follow. */
async function beginning(type: number, length: number): Promise<Uint8Array> {
  const stream = takeApart(await written(() => Promise.resolve()));
  const start = putTogether({ ...stream, records: stream.records.slice(0, 1), tail: new Uint8Array(0) });
  const bytes = new Uint8Array(start.byteLength + 24);
  bytes.set(start);
  const header = viewOf(bytes.subarray(start.byteLength));
  header.setUint32(0, type, true);
  header.setUint32(4, length, true);
  header.setUint32(8, 1, true);
  header.setUint32(12, viewOf(bytes).getUint32(PREAMBLE - 4, true), true);
  header.setUint32(20, crc32(bytes.subarray(start.byteLength, start.byteLength + 20)), true);
  return bytes;
}

/** Types whose bodies may be 16 MiB, and which may follow ABOUT. */
const LARGE = [0x10, 0x21, 0x8000_0050, 0x8000_3000] as const;

for (const type of LARGE) {
  const name = type.toString(16);
  test(`a header of type ${name} that claims 16 MiB gets no more memory than bytes came`, async () => {
    const bytes = await beginning(type, 16 * MIB);
    for (const came of [0, 1, 100 * KIB, 3 * MIB]) {
      const piece = new Uint8Array(Math.min(came, 64 * KIB));
      const decoder = new StreamDecoder();
      const before = await arrayBuffers();
      decoder.feed(bytes);
      while (decoder.read() !== undefined);
      for (let left = came; left > 0; left -= piece.byteLength) {
        decoder.feed(piece.subarray(0, left));
        assert.equal(decoder.read(), undefined);
      }
      const grown = (await arrayBuffers()) - before;
      assert.ok(grown <= 2 * came + NOISE_BYTES, `${grown} bytes for ${came} that came`);
      assert.throws(() => decoder.finish(), { code: 'TRUNCATED', offset: bytes.byteLength + came });
    }
  });
}

test('the same, when the bytes come one by one', async () => {
  const bytes = await beginning(0x21, 16 * MIB);
  const decoder = new StreamDecoder();
  const before = await arrayBuffers();
  const piece = new Uint8Array(1);
  for (const each of bytes) {
    piece[0] = each;
    decoder.feed(piece);
    while (decoder.read() !== undefined);
  }
  for (let i = 0; i < 20_000; i++) {
    decoder.feed(piece);
    assert.equal(decoder.read(), undefined);
  }
  const grown = (await arrayBuffers()) - before;
  assert.ok(grown <= 40_000 + NOISE_BYTES, `${grown} bytes for 20,000 that came`);
});

function microsecondsOf(bytes: Uint8Array): number {
  const before = process.cpuUsage();
  readInPieces(bytes);
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

function medianOf(bytes: Uint8Array): number {
  return Array.from({ length: 5 }, () => microsecondsOf(bytes)).toSorted((a, b) => a - b)[2];
}

const lies = fc.array(
  fc.record({
    record: fc.nat(),
    /** Where in the body, in units of four bytes: counts and lengths stand near its start. */
    field: fc.oneof(fc.nat(5), fc.nat(20)),
    value: fc.constantFrom(0xffff, 0x4000, 0x1_0000, 0x10_0000, 0xff_ffff, 0x100_0000, 0x7fff_ffff, 0xffff_ffff),
    header: fc.boolean(),
  }),
  { minLength: 1, maxLength: 4 },
);

property(
  'a length that lies takes no more than twice the time of an honest one',
  25,
  fc.tuple(stories(), lies),
  async ([story, list]) => {
    const { bytes } = await told(story);
    for (const { record, field, value, header } of list) {
      const stream = takeApart(bytes);
      const position = record % stream.records.length;
      let lying: Uint8Array;
      if (header) {
        // The header says it, and its checksum agrees.
        const at = offsetsOf(stream)[position];
        lying = bytes.slice();
        viewOf(lying).setUint32(at + 4, value, true);
        viewOf(lying).setUint32(at + 20, crc32(lying.subarray(at, at + 20)), true);
      } else {
        const { body } = stream.records[position];
        if (body.byteLength < 4) continue;
        viewOf(body).setUint32(4 * (field % Math.floor(body.byteLength / 4)), value, true);
        lying = putTogether(stream);
      }
      // Most lies are cheap at once. One that looks dear is measured again, beside the honest stream.
      if (microsecondsOf(lying) <= NOISE_MICROSECONDS) continue;
      const [honest, dear] = [medianOf(bytes), medianOf(lying)];
      assert.ok(dear <= 2 * honest + NOISE_MICROSECONDS, `${dear} µs for a lie, ${honest} µs for the truth`);
    }
  },
);
