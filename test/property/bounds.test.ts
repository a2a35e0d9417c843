/** Lengths that lie cost no memory and no time (stream 15, 18.2): a reader allocates by what came, not by
 * what is said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { LIMITS } from '../../src/stream/limits.ts';
import { planted } from '../fuzz/plants.ts';
import { allocationsOf, heapBytesOf } from '../support/allocations.ts';
import { random } from '../support/random.ts';
import { offsetsOf, putTogether, takeApart, viewOf } from '../support/raw-stream.ts';
import { stories, told } from '../support/stream-model.ts';
import { PAGE, somePages, written } from '../support/streams.ts';
import { property } from './seeded.ts';

/** What a decoder needs whatever comes: room for one chunk, and what its hashes and its first bytes lie in. */
const FIXED_BYTES = LIMITS.chunkBytes + 128 * 1024;
/** Bytes that may be allocated for a byte that came: a split record is moved to twice the room, and once more. */
const PER_BYTE = 5;

/** Objects that a decoder makes whatever comes, an error with its stack among them, and for a byte that came. */
const HEAP_BYTES = 512 * 1024;
const HEAP_PER_BYTE = 64;
/** And for a piece that came: a view on it, or two. */
const HEAP_PER_PIECE = 1024;

/** Decodes, and takes records as a reader that needs nothing of them. Returns the error's code, or ''. */
function skim(bytes: Uint8Array, piece: number, Decoder = StreamDecoder): string {
  const decoder = new Decoder({ knows: 'all' });
  try {
    for (let at = 0; at < bytes.byteLength; at += piece) {
      decoder.feed(bytes.subarray(at, at + piece));
      while (decoder.read() !== undefined);
    }
    decoder.finish();
    return '';
  } catch (error) {
    // A library with a planted fault has an error class of its own.
    if (!(error instanceof TransmigrateError) && (error as Error).name !== 'TransmigrateError') throw error;
    return (error as TransmigrateError).code;
  }
}

function assertBounded(bytes: Uint8Array, piece: number, what: string, Decoder = StreamDecoder): void {
  const { total } = allocationsOf(() => void skim(bytes, piece, Decoder));
  const most = FIXED_BYTES + PER_BYTE * bytes.byteLength;
  assert.ok(total <= most, `${what}: ${total} bytes allocated for ${bytes.byteLength}`);
}

/** The same for objects: lists, texts, numbers. It takes a few milliseconds. */
function assertHeapBounded(bytes: Uint8Array, piece: number, what: string, Decoder = StreamDecoder): void {
  const heap = heapBytesOf(() => void skim(bytes, piece, Decoder));
  const pieces = Math.ceil(bytes.byteLength / piece);
  const most = HEAP_BYTES + HEAP_PER_BYTE * bytes.byteLength + HEAP_PER_PIECE * pieces;
  assert.ok(heap <= most, `${what}: ${heap} bytes of objects for ${bytes.byteLength}, at most ${most}`);
}

/** A stream whose header of record `position` says another length; its checksum is right. */
function withLength(bytes: Uint8Array, position: number, length: number): Uint8Array {
  const out = bytes.slice();
  const at = offsetsOf(takeApart(bytes))[position];
  viewOf(out).setUint32(at + 4, length, true);
  viewOf(out).setUint32(at + 20, crc32(out.subarray(at, at + 20)), true);
  return out;
}

const LIES = [2 ** 16, 2 ** 20, 2 ** 24 - 1, 2 ** 24, 2 ** 24 + 1, 2 ** 31, 2 ** 32 - 8, 2 ** 32 - 1];

property(
  'a length in a header that lies does not make the decoder allocate',
  60,
  fc.tuple(stories(true), fc.nat(), fc.constantFrom(...LIES), fc.constantFrom(1, 64, 4096, 1 << 20)),
  async ([story, at, lie, piece]) => {
    const { bytes } = await told(story);
    const position = at % takeApart(bytes).records.length;
    const lying = withLength(bytes, position, lie);
    assert.notEqual(skim(lying, piece), '');
    assertBounded(lying, piece, `record ${position} says ${lie}`);
    assertHeapBounded(lying, piece, `record ${position} says ${lie}`);
  },
);

property(
  'counts and lengths in bodies that lie do not make the decoder allocate',
  150,
  fc.tuple(stories(true), fc.array(fc.tuple(fc.nat(), fc.nat(31), fc.constantFrom(...LIES)), { minLength: 1 })),
  async ([story, lies]) => {
    const { bytes } = await told(story);
    const stream = takeApart(bytes);
    for (const [at, word, lie] of lies.slice(0, 3)) {
      const { body } = stream.records[at % stream.records.length];
      if (4 * word + 4 <= body.byteLength) viewOf(body).setUint32(4 * word, lie, true);
    }
    const lying = putTogether(stream);
    assertBounded(lying, 4096, 'lying bodies');
    assertHeapBounded(lying, 4096, 'lying bodies');
  },
);

/** One large body that is there in whole, so that only its own fields can lie. */
const HONEST = await written(
  async (writer) => {
    await writer.ram(0, 512, somePages(512, 'bounds'));
    const client = { compress: false, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] };
    await writer.tmemClient(client);
    const pool = { ephemeral: false, incarnation: 1n, pool: 0, shared: false, precompressed: false, pages: 0n };
    const uuid = '00000000-0000-0000-0000-000000000000';
    await writer.tmemPool({ ...pool, pageSize: PAGE, objectIdBits: 192, uuid });
    for (let i = 0; i < 200; i++) {
      await writer.tmemPage(1n, new Uint32Array(6).fill(i), i, 1, PAGE, somePages(1, `tmem ${i}`).fill(1, 0, 1));
    }
    await writer.device(
      { device: 0, name: 'd', format: 'f', version: '1', fingerprint: new Uint8Array(32) },
      random('blob').scramble(new Uint8Array(700_000)),
    );
  },
  { indexed: false },
);

test('S7: what a decoder allocates does not grow with the image', async () => {
  const pages = somePages(256, 'growth');
  const allocated: number[] = [];
  for (const batches of [4, 16]) {
    const bytes = await written(async (writer) => {
      for (let i = 0; i < batches; i++) await writer.ram(256 * i, 256, pages);
    });
    allocated.push(allocationsOf(() => void skim(bytes, 65_536)).total);
  }
  assert.ok(allocated[1] <= allocated[0] + 64 * 1024, `${allocated.join(', then ')} bytes`);
});

test('the bounds are noticed when they are broken', async () => {
  const { records } = takeApart(HONEST);
  const ram = records.findIndex(({ type }) => type === 0x10);
  // A reader that makes room for what a header says.
  const { StreamDecoder: TrustingLength } = await planted('trusted-length');
  const long = withLength(HONEST, ram, 2 ** 24 - 8);
  assertBounded(long, 4096, 'the library as it is');
  assert.throws(() => assertBounded(long, 4096, 'planted', TrustingLength), /bytes allocated/);
  // A reader that makes a list of as many as a body says.
  const { StreamDecoder: TrustingCount } = await planted('trusted-count');
  const stream = takeApart(await written((writer) => writer.ram(0, 2, somePages(2, 'count'))));
  viewOf(stream.records[1].body).setUint32(8, 2 ** 32 - 1, true);
  const many = putTogether(stream);
  assertHeapBounded(many, 4096, 'the library as it is');
  assert.throws(() => assertHeapBounded(many, 4096, 'planted', TrustingCount), /bytes of objects/);
});

/** Milliseconds of a decode: the least of several, so that what else runs here counts little. */
function costOf(bytes: Uint8Array, piece: number, times: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < times; i++) {
    const before = performance.now();
    skim(bytes, piece);
    least = Math.min(least, performance.now() - before);
  }
  return least;
}

/** Streams like HONEST, each with one lie, by name. */
function liars(): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  const { records } = takeApart(HONEST);
  for (const [position, { type, body }] of records.entries()) {
    const name = `record ${position} of type ${type.toString(16)}`;
    for (const lie of [2 ** 24, 2 ** 32 - 1]) found.set(`${name} says ${lie}`, withLength(HONEST, position, lie));
    for (let word = 0; word < Math.min(body.byteLength >> 2, 6); word++) {
      const stream = takeApart(HONEST);
      viewOf(stream.records[position].body).setUint32(4 * word, 65_535, true);
      found.set(`word ${word} of ${name}`, putTogether(stream));
    }
  }
  return found;
}

/** How often a suspect and the honest stream are read in turn: only what is slow every time is slow. */
const TURNS = [3, 9, 27];

test('lengths that lie cost less than twice the time of an honest stream', () => {
  const lying = liars();
  for (const piece of [1 << 20, 64]) {
    skim(HONEST, piece);
    const honest = costOf(HONEST, piece, 5);
    for (const [name, bytes] of lying) {
      const slow =
        costOf(bytes, piece, 1) > 2 * honest &&
        TURNS.every((turns) => {
          let [least, leastHonest] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
          for (let turn = 0; turn < turns; turn++) {
            least = Math.min(least, costOf(bytes, piece, 1));
            leastHonest = Math.min(leastHonest, costOf(HONEST, piece, 1));
          }
          return least > 2 * leastHonest;
        });
      assert.ok(!slow, `${name}, in pieces of ${piece}: more than twice as long as an honest stream`);
    }
  }
});
