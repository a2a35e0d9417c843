/** Changes one field of one record, knowing where fields are. */
import type { Random } from '../support/random.ts';
import { ramHead, viewOf, type RawRecord, type RawStream } from '../support/raw-stream.ts';

/** Values that are likely to hit a limit, a sign or an off-by-one. */
export const EDGES = [
  0,
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  15,
  16,
  17,
  24,
  63,
  64,
  65,
  127,
  128,
  129,
  131,
  132,
  255,
  256,
  257,
  511,
  512,
  513,
  575,
  576,
  4095,
  4096,
  4097,
  16_383,
  16_384,
  16_385,
  65_535,
  65_536,
  65_537,
  2 ** 18,
  2 ** 18 + 1,
  2 ** 20,
  2 ** 20 + 1,
  2 ** 24,
  2 ** 24 + 1,
  2 ** 26,
  2 ** 30,
  2 ** 30 + 1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 2,
  2 ** 32 - 1,
];
/** The same for fields of 64 bits. */
const WIDE_EDGES = [2 ** 48, 2 ** 52 - 1, 2 ** 52, 2 ** 53, 2 ** 63, 2 ** 64 - 2048];

/** Offset and width of each field of a body, as `offset:width`, by type without bit 31. */
const FIELDS: Readonly<Record<number, string>> = {
  0x03: '0:8 8:8 16:8',
  0x04: '0:8 8:4 16:8',
  0x05: '0:8',
  0x06: '0:8 8:8',
  0x07: '0:8 8:8 16:8 24:8 32:8 40:8 48:8 56:4 64:8',
  0x08: '0:4 8:8 16:4 20:4 24:8 32:8 40:8 48:4 52:4',
  0x09: '0:4 8:8 16:4 20:4 24:8 32:8',
  0x0a: '0:4 8:8',
  0x10: '0:4 4:4 8:4 12:4 16:4 24:8 32:4 36:1',
  0x20: '0:4 4:4 504:8',
  0x21: '0:4 4:2',
  0x22: '0:4',
  0x23: '0:4',
  0x30: '0:4 8:8 80:2',
  0x31: '0:4 4:1 8:8 16:4 20:4',
  0x32: '0:4 4:1 5:1 8:8 16:8 48:2',
  0x40: '0:4 12:4',
  0x41: '0:8 8:4 12:4 12:1 15:1 16:1',
  0x42: '0:8 8:4 40:4 44:4 48:4 52:1',
  0x43: '0:8 8:4 12:4 40:4',
  0x50: '0:4 4:1 8:4 12:4 16:2',
};

interface Field {
  readonly at: number;
  readonly width: number;
}

function fieldsAt(base: number, text: string): Field[] {
  return text.split(' ').map((each) => {
    const [at, width] = each.split(':').map(Number);
    return { at: base + at, width };
  });
}

/** The fields of a body, and of one of the entries that repeat in it. */
function fieldsOf({ type, body }: RawRecord, generator: Random): Field[] {
  const number = type & 0x7fff_ffff;
  const text = FIELDS[number];
  if (text === undefined) return [{ at: 4 * generator.below((body.byteLength >> 2) + 1), width: 4 }];
  const fixed = fieldsAt(0, text);
  if (body.byteLength < 16) return fixed;
  const view = viewOf(body);
  const some = (count: number): number => generator.below(Math.max(1, Math.min(count, 4096)));
  if (number === 0x10) {
    const head = ramHead(body);
    if (head === undefined) return fixed;
    return [
      ...fixed,
      ...fieldsAt(24 + 16 * some(view.getUint32(0, true)), '0:8 8:4 12:1'),
      ...fieldsAt(head.bitmap + some(head.units - head.bitmap), '0:1'),
      ...fieldsAt(head.units + 16 * some(head.unitCount), '0:4 8:2 10:1'),
    ];
  }
  if (number === 0x42) {
    return [...fixed, ...fieldsAt(16 + 40 * some(view.getUint32(8, true)), '0:8 8:8 24:4 28:4 32:4 36:1')];
  }
  if (number === 0x43) return [...fixed, ...fieldsAt(16 + 32 * some(view.getUint32(12, true)), '0:8 8:8 24:4')];
  if (number === 0x08) return [...fixed, ...fieldsAt(8 + 48 * some(view.getUint32(0, true)), '0:8 8:4 16:8 24:8 32:8')];
  return fixed;
}

/** One field gets an edge, a neighbour of what it was, or what another field has. */
export function changeField(stream: RawStream, generator: Random): void {
  const record = generator.pick(stream.records);
  const { body } = record;
  const { at, width } = generator.pick(fieldsOf(record, generator));
  if (at + width > body.byteLength) return;
  const view = viewOf(body);
  const old = read(view, at, width);
  const other = 4 * generator.below(body.byteLength >> 2);
  const value = generator.pick([
    generator.pick(EDGES),
    old + 1,
    Math.max(old, 1) - 1,
    old * 2,
    body.byteLength,
    body.byteLength - at,
    other + 4 <= body.byteLength ? view.getUint32(other, true) : 0,
    generator.pick(WIDE_EDGES),
  ]);
  write(view, at, width, value);
}

function read(view: DataView, at: number, width: number): number {
  if (width === 8) return Number(view.getBigUint64(at, true));
  return width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function write(view: DataView, at: number, width: number, value: number): void {
  if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(Math.floor(value))), true);
  else if (width === 1) view.setUint8(at, value);
  else if (width === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}
