import { crc32 } from 'node:zlib';
import type { Random } from '../support/random.ts';
import { ALL_REPAIRS, offsetsOf, putTogether, takeApart, viewOf } from '../support/raw-stream.ts';
import type { RawRecord, RawStream } from '../support/raw-stream.ts';
import { changeField, EDGES } from './mutate-field.ts';
import { mutateJson } from './mutate-json.ts';
import type { Input } from './subject.ts';

/** Lengths of bodies that are almost, just, or no longer allowed. */
const LIES = [40, 4096, 2 ** 16, 2 ** 20, 2 ** 22, 2 ** 24 - 8, 2 ** 24, 2 ** 31];

type Mutation = (bytes: Uint8Array, generator: Random, other: Uint8Array) => Uint8Array;

/** Damage as it comes: the reader sees it at the checksums. */
const RAW: readonly Mutation[] = [
  (bytes, generator) => changed(bytes, generator, (copy, at) => (copy[at] ^= 1 << generator.below(8))),
  (bytes, generator) => changed(bytes, generator, (copy, at) => (copy[at] = generator.below(256))),
  (bytes, generator) => bytes.slice(0, generator.below(bytes.byteLength + 1)),
  (bytes, generator) => {
    const [from, to] = range(bytes, generator);
    return joined(bytes.subarray(0, from), bytes.subarray(to));
  },
  (bytes, generator) => {
    const [from, to] = range(bytes, generator);
    return joined(bytes.subarray(0, to), bytes.subarray(from));
  },
  (bytes, generator) => {
    // A block changes its place.
    const [from, to] = range(bytes, generator);
    const rest = joined(bytes.subarray(0, from), bytes.subarray(to));
    const at = generator.below(rest.byteLength + 1);
    return joined(joined(rest.subarray(0, at), bytes.subarray(from, to)), rest.subarray(at));
  },
  (bytes, generator) => {
    const [from, to] = range(bytes, generator);
    const copy = bytes.slice();
    if (generator.below(2) === 0) copy.fill(0, from, to);
    else generator.scramble(copy.subarray(from, to));
    return copy;
  },
  (bytes, generator, other) => {
    const cut = 8 * generator.below(bytes.byteLength / 8 + 1);
    return joined(bytes.subarray(0, cut), other.subarray(Math.min(cut, other.byteLength)));
  },
  (bytes, generator, other) => {
    // From one record boundary to another one, of another stream.
    const [here, there] = [offsetsOf(takeApart(bytes)), offsetsOf(takeApart(other))];
    return joined(bytes.subarray(0, generator.pick(here)), other.subarray(generator.pick(there)));
  },
];

/** A header that lies, with a checksum that is right: no damage does this, so it counts as repaired. */
function lyingHeader(bytes: Uint8Array, generator: Random): Uint8Array {
  const copy = bytes.slice();
  const at = generator.pick(offsetsOf(takeApart(bytes)));
  if (at + 24 > copy.byteLength) return copy;
  if (generator.below(2) === 0) viewOf(copy).setUint32(at + 4, generator.pick(LIES) + generator.below(3), true);
  else viewOf(copy).setUint32(at + 4 * generator.below(5), generator.pick(EDGES), true);
  viewOf(copy).setUint32(at + 20, crc32(copy.subarray(at, at + 20)), true);
  return copy;
}

type Deep = (stream: RawStream, generator: Random, other: RawStream) => void;

/** Damage by a writer: every checksum, number and seal is right, and what they protect is not. */
const DEEP: readonly Deep[] = [
  (stream, generator) => inBody(stream, generator, (body, at) => (body[at] ^= 1 << generator.below(8))),
  (stream, generator) => inBody(stream, generator, (body, at) => (body[at] = generator.below(256))),
  (stream, generator) =>
    inBody(stream, generator, (body, at) => {
      const place = at & ~3;
      if (place + 4 <= body.byteLength) viewOf(body).setUint32(place, generator.pick(EDGES), true);
    }),
  changeField,
  changeField,
  changeField,
  changeField,
  (stream, generator) => {
    const texts = stream.records.filter(({ type }) => type === 1 || type === 2);
    if (texts.length === 0) return;
    const record = generator.pick(texts);
    record.body = mutateJson(record.body, generator);
  },
  (stream, generator) => {
    const record = generator.pick(stream.records);
    record.body = record.body.slice(0, generator.below(record.body.byteLength + 1));
  },
  (stream, generator) => {
    const record = generator.pick(stream.records);
    record.body = joined(record.body, generator.scramble(new Uint8Array(generator.below(64))));
  },
  (stream, generator) => {
    const { type } = generator.pick(stream.records);
    generator.pick(stream.records).type = (type ^ (generator.below(4) === 0 ? 0x8000_0000 : 0)) >>> 0;
  },
  (stream, generator) => {
    const number = generator.pick([generator.below(0x60), 0x4000 + generator.below(4), generator.pick(EDGES)]);
    generator.pick(stream.records).type = (number ^ (generator.below(3) === 0 ? 0x8000_0000 : 0)) >>> 0;
  },
  (stream, generator) => void stream.records.splice(generator.below(stream.records.length), 1),
  (stream, generator) => insert(stream, generator, generator.pick(stream.records)),
  (stream, generator, other) => {
    if (other.records.length > 0) insert(stream, generator, generator.pick(other.records));
  },
  (stream, generator, other) => {
    // The rest of another stream.
    const at = generator.below(stream.records.length);
    const rest = other.records.slice(generator.below(other.records.length + 1));
    stream.records.splice(at, stream.records.length, ...rest.map(copyOf));
    stream.tail = other.tail.slice();
  },
  (stream, generator) => {
    const [a, b] = [generator.below(stream.records.length), generator.below(stream.records.length)];
    [stream.records[a], stream.records[b]] = [stream.records[b], stream.records[a]];
  },
  (stream, generator) => {
    const at = generator.pick([12, 14, 16, 17, 18, 19, 20, 22, 23, 24, 32, 56, 58, generator.below(124)]);
    if (at < stream.preamble.byteLength) {
      stream.preamble[at] = generator.pick([generator.below(8), generator.below(256), 12, 13, 16, 17]);
    }
  },
  (stream, generator) => {
    if (stream.tail.byteLength > 0) stream.tail[generator.below(stream.tail.byteLength)] = generator.below(256);
  },
];

/**
 * One to four mutations of `bytes`: as damage comes, or with everything derived put right again, or first the one and
 * then the other.
 */
export function mutate(bytes: Uint8Array, other: Uint8Array, generator: Random): Input {
  const how = generator.below(10);
  if (how < 4) return { bytes: damaged(bytes, other, generator), repaired: false };
  if (how === 4) return { bytes: lyingHeader(bytes, generator), repaired: true };
  const result = deeply(bytes, other, generator);
  return { bytes: how === 5 ? damaged(result, other, generator) : result, repaired: true };
}

function damaged(bytes: Uint8Array, other: Uint8Array, generator: Random): Uint8Array {
  let result = bytes;
  for (let left = 1 + generator.below(4); left > 0; left--) result = generator.pick(RAW)(result, generator, other);
  return result;
}

function deeply(bytes: Uint8Array, other: Uint8Array, generator: Random): Uint8Array {
  const stream = takeApart(bytes);
  const splice = takeApart(other);
  for (let left = 1 + generator.below(4); left > 0 && stream.records.length > 0; left--) {
    generator.pick(DEEP)(stream, generator, splice);
  }
  if (generator.below(3) > 0) return putTogether(stream);
  const keep = (): boolean => generator.below(5) !== 0;
  return putTogether(stream, { ...ALL_REPAIRS, seals: keep(), counts: keep(), heads: keep(), footer: keep() });
}

function copyOf({ type, body }: RawRecord): RawRecord {
  return { type, body: body.slice() };
}

function insert(stream: RawStream, generator: Random, record: RawRecord): void {
  stream.records.splice(generator.below(stream.records.length + 1), 0, copyOf(record));
}

function changed(bytes: Uint8Array, generator: Random, change: (copy: Uint8Array, at: number) => unknown): Uint8Array {
  const copy = bytes.slice();
  if (copy.byteLength > 0) change(copy, generator.below(copy.byteLength));
  return copy;
}

function range(bytes: Uint8Array, generator: Random): [number, number] {
  const from = generator.below(bytes.byteLength + 1);
  return [from, Math.min(bytes.byteLength, from + 1 + generator.below(200))];
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const all = new Uint8Array(a.byteLength + b.byteLength);
  all.set(a);
  all.set(b, a.byteLength);
  return all;
}

function inBody(stream: RawStream, generator: Random, change: (body: Uint8Array, at: number) => unknown): void {
  const { body } = generator.pick(stream.records);
  if (body.byteLength === 0) return;
  // The first bytes of a body hold its counts and lengths: they are hit more often.
  const reach = generator.below(2) === 0 ? Math.min(body.byteLength, 64) : body.byteLength;
  change(body, generator.below(reach));
}
