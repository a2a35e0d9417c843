import { crc32 } from 'node:zlib';
import type { Random } from '../support/random.ts';
import { ALL_REPAIRS, offsetsOf, putTogether, ramHead, takeApart, viewOf } from '../support/raw-stream.ts';
import type { RawRecord, RawStream } from '../support/raw-stream.ts';
import { mutateJson } from './mutate-json.ts';
import type { Input } from './subject.ts';

/** Values that are likely to hit a limit, a sign or an off-by-one. */
const EDGES = [
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 24, 63, 64, 65, 127, 128, 129, 131, 132, 255, 256, 257, 511, 512, 513],
  ...[575, 576, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 2 ** 18, 2 ** 18 + 1, 2 ** 20],
  ...[2 ** 20 + 1, 2 ** 24, 2 ** 24 + 1, 2 ** 26, 2 ** 30, 2 ** 30 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1],
];

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
  (bytes, generator) => {
    // A header that lies, with a checksum that is right.
    const copy = bytes.slice();
    const at = generator.pick(offsetsOf(takeApart(bytes)));
    if (at + 24 > copy.byteLength) return copy;
    viewOf(copy).setUint32(at + 4 * generator.below(5), generator.pick(EDGES), true);
    viewOf(copy).setUint32(at + 20, crc32(copy.subarray(at, at + 20)), true);
    return copy;
  },
];

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

/** Fields of bodies by type without bit 31: offset and bytes. What repeats is added by {@link fieldsOf}. */
const FIELDS: Readonly<Record<number, readonly (readonly [number, number])[]>> = {
  0x03: [
    [0, 8],
    [8, 8],
    [16, 8],
  ],
  0x04: [
    [0, 8],
    [8, 4],
    [16, 8],
  ],
  0x05: [[0, 8]],
  0x06: [
    [0, 8],
    [8, 8],
  ],
  0x07: [
    [0, 8],
    [8, 8],
    [16, 8],
    [24, 8],
    [32, 8],
    [40, 8],
    [48, 8],
    [56, 4],
    [64, 8],
  ],
  0x08: [
    [0, 4],
    [8, 8],
    [16, 4],
    [20, 4],
    [24, 8],
    [32, 8],
    [40, 8],
    [48, 4],
    [52, 4],
  ],
  0x09: [
    [0, 4],
    [8, 8],
    [16, 4],
    [20, 4],
    [24, 8],
    [32, 8],
  ],
  0x0a: [
    [0, 4],
    [8, 8],
  ],
  0x10: [
    [0, 4],
    [4, 4],
    [8, 4],
    [12, 4],
    [16, 4],
    [24, 8],
    [32, 4],
    [36, 1],
  ],
  0x20: [
    [0, 4],
    [4, 4],
    [504, 8],
  ],
  0x21: [
    [0, 4],
    [4, 2],
  ],
  0x22: [[0, 4]],
  0x23: [[0, 4]],
  0x30: [
    [0, 4],
    [8, 8],
    [80, 2],
  ],
  0x31: [
    [0, 4],
    [4, 1],
    [8, 8],
    [16, 4],
    [20, 4],
  ],
  0x32: [
    [0, 4],
    [4, 1],
    [5, 1],
    [8, 8],
    [16, 8],
    [48, 2],
  ],
  0x40: [
    [0, 4],
    [12, 4],
  ],
  0x41: [
    [0, 8],
    [8, 4],
    [12, 4],
    [12, 1],
    [15, 1],
    [16, 1],
  ],
  0x42: [
    [0, 8],
    [8, 4],
    [40, 4],
    [44, 4],
    [48, 4],
    [52, 1],
  ],
  0x43: [
    [0, 8],
    [8, 4],
    [12, 4],
    [40, 4],
  ],
  0x50: [
    [0, 4],
    [4, 1],
    [8, 4],
    [12, 4],
    [16, 2],
  ],
};

function fieldsOf({ type, body }: RawRecord, generator: Random): readonly (readonly [number, number])[] {
  const number = type & 0x7fff_ffff;
  const fixed = FIELDS[number] ?? [[4 * generator.below((body.byteLength >> 2) + 1), 4]];
  const view = viewOf(body);
  if (number === 0x10) {
    const head = ramHead(body);
    if (head === undefined) return fixed;
    const extent = 24 + 16 * generator.below(Math.min(view.getUint32(0, true), 4096));
    const unit = head.units + 16 * generator.below(Math.min(head.unitCount, 4096));
    const bitmap = head.bitmap + generator.below(Math.max(head.units - head.bitmap, 1));
    return [
      ...fixed,
      [extent, 8],
      [extent + 8, 4],
      [extent + 12, 1],
      [bitmap, 1],
      [unit, 4],
      [unit + 8, 2],
      [unit + 10, 1],
    ];
  }
  if ((number === 0x42 || number === 0x43) && body.byteLength >= 16) {
    const width = number === 0x42 ? 40 : 32;
    const entry = 16 + width * generator.below(Math.min(view.getUint32(number === 0x42 ? 8 : 12, true), 4096));
    return [...fixed, [entry, 8], [entry + 8, 8], [entry + 24, 4], [entry + 28, 4], [entry + 32, 4], [entry + 36, 1]];
  }
  if (number === 0x08 && body.byteLength >= 8) {
    const entry = 8 + 48 * generator.below(Math.min(view.getUint32(0, true), 4096));
    return [...fixed, [entry, 8], [entry + 8, 4], [entry + 16, 8], [entry + 24, 8], [entry + 32, 8]];
  }
  return fixed;
}

/** One field gets an edge, a neighbour of what it was, or what another field has. */
function changeField(stream: RawStream, generator: Random): void {
  const record = generator.pick(stream.records);
  const { body } = record;
  const [at, width] = generator.pick(fieldsOf(record, generator));
  if (at + width > body.byteLength) return;
  const view = viewOf(body);
  const old = width === 8 ? Number(view.getBigUint64(at, true)) : readNumber(view, at, width);
  const other = 4 * generator.below(body.byteLength >> 2);
  const value = generator.pick([
    generator.pick(EDGES),
    old + 1,
    Math.max(old, 1) - 1,
    old * 2,
    body.byteLength,
    body.byteLength - at,
    other + 4 <= body.byteLength ? view.getUint32(other, true) : 0,
    generator.pick([2 ** 48, 2 ** 52 - 1, 2 ** 52, 2 ** 53, 2 ** 63, 2 ** 64 - 2048]),
  ]);
  if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(Math.floor(value))), true);
  else writeNumber(view, at, width, value);
}

function readNumber(view: DataView, at: number, width: number): number {
  return width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function writeNumber(view: DataView, at: number, width: number, value: number): void {
  if (width === 1) view.setUint8(at, value);
  else if (width === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

/**
 * One to four mutations of `bytes`: as damage comes, or with everything derived put right again, or first the one and
 * then the other.
 */
export function mutate(bytes: Uint8Array, other: Uint8Array, generator: Random): Input {
  const how = generator.below(10);
  let result = bytes;
  if (how >= 4) result = deeply(result, other, generator);
  if (how < 5) {
    for (let left = 1 + generator.below(4); left > 0; left--) result = generator.pick(RAW)(result, generator, other);
  }
  return { bytes: result, repaired: how >= 4 };
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
