import type { Random } from '../support/random.ts';
import { ALL_REPAIRS, putTogether, takeApart, type RawStream } from '../support/raw-stream.ts';

/** Values that are likely to hit a limit, a sign or an off-by-one. */
const EDGES = [0, 1, 2, 7, 8, 15, 16, 24, 255, 256, 4095, 4096, 65_535, 65_536, 2 ** 20, 2 ** 24, 2 ** 31, 2 ** 32 - 1];

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
  (bytes, generator, other) => {
    const cut = 8 * generator.below(bytes.byteLength / 8 + 1);
    return joined(bytes.subarray(0, cut), other.subarray(Math.min(cut, other.byteLength)));
  },
];

/** Damage by a writer: every checksum, number and seal is right, and what they protect is not. */
const DEEP: readonly ((stream: RawStream, generator: Random, other: RawStream) => void)[] = [
  (stream, generator) => inBody(stream, generator, (body, at) => (body[at] ^= 1 << generator.below(8))),
  (stream, generator) => inBody(stream, generator, (body, at) => (body[at] = generator.below(256))),
  (stream, generator) =>
    inBody(stream, generator, (body, at) => {
      const place = at & ~3;
      if (place + 4 > body.byteLength) return;
      new DataView(body.buffer, body.byteOffset).setUint32(place, generator.pick(EDGES), true);
    }),
  (stream, generator) => {
    const record = someRecord(stream, generator);
    record.body = record.body.slice(0, generator.below(record.body.byteLength + 1));
  },
  (stream, generator) => {
    const record = someRecord(stream, generator);
    record.body = joined(record.body, generator.scramble(new Uint8Array(generator.below(64))));
  },
  (stream, generator) => {
    someRecord(stream, generator).type =
      generator.pick(stream.records).type ^ (generator.below(4) === 0 ? 0x8000_0000 : 0);
  },
  (stream, generator) => {
    someRecord(stream, generator).type = generator.below(0x60) + (generator.below(3) === 0 ? 0x8000_0000 : 0);
  },
  (stream, generator) => void stream.records.splice(generator.below(stream.records.length), 1),
  (stream, generator) => {
    const { type, body } = someRecord(stream, generator);
    stream.records.splice(generator.below(stream.records.length + 1), 0, { type, body: body.slice() });
  },
  (stream, generator, other) => {
    if (other.records.length === 0) return;
    const { type, body } = someRecord(other, generator);
    stream.records.splice(generator.below(stream.records.length + 1), 0, { type, body: body.slice() });
  },
  (stream, generator) => {
    stream.preamble[generator.below(Math.max(stream.preamble.byteLength - 4, 1))] = generator.below(256);
  },
];

/** One to four mutations of `bytes`: half the time as they come, half with everything derived put right again. */
export function mutate(bytes: Uint8Array, other: Uint8Array, generator: Random): Uint8Array {
  const steps = 1 + generator.below(4);
  if (generator.below(2) === 0) {
    let result = bytes;
    for (let i = 0; i < steps; i++) result = generator.pick(RAW)(result, generator, other);
    return result;
  }
  const stream = takeApart(bytes);
  const splice = takeApart(other);
  for (let i = 0; i < steps && stream.records.length > 0; i++) generator.pick(DEEP)(stream, generator, splice);
  const keep = (): boolean => generator.below(8) !== 0;
  return putTogether(
    stream,
    generator.below(3) === 0 ? { ...ALL_REPAIRS, counts: keep(), heads: keep() } : ALL_REPAIRS,
  );
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

function someRecord(stream: RawStream, generator: Random): RawStream['records'][number] {
  return generator.pick(stream.records);
}

function inBody(stream: RawStream, generator: Random, change: (body: Uint8Array, at: number) => unknown): void {
  const record = someRecord(stream, generator);
  if (record.body.byteLength === 0) return;
  // The first bytes of a body hold its counts and lengths: they are hit more often.
  const reach = generator.below(2) === 0 ? Math.min(record.body.byteLength, 64) : record.body.byteLength;
  change(record.body, generator.below(reach));
}
