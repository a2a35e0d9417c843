/** S3, S4: what a reader does not know and need not know is stepped over, and changes nothing else. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { random } from '../support/random.ts';
import { putTogether, takeApart, type RawStream } from '../support/raw-stream.ts';
import { joined, readInPieces, stories, told } from '../support/stream-model.ts';
import { property } from './seeded.ts';

const OPTIONAL = 0x8000_0000;
/** Numbers of stream 3.5: nobody may use them for something else. */
const KNOWN = new Set([
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x10, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x40, 0x41, 0x42,
]);
for (const number of [0x43, 0x50]) KNOWN.add(number);

const numbers = fc.oneof(fc.integer({ min: 1, max: 0x60 }), fc.integer({ min: 1, max: 0x3fff }));
const unknown = numbers.filter((number) => !KNOWN.has(number));

/** Whether a record may stand before the one at `position`: not inside a pair that stands together. */
function mayStandBefore({ records }: RawStream, position: number): boolean {
  const end = records.findIndex(({ type }) => type === 0x07);
  if (position < 1 || position > end) return false;
  return ![0x04, 0x06, 0x07].includes(records[position].type);
}

const insertions = fc.array(
  fc.record({ number: unknown, at: fc.nat(), body: fc.uint8Array({ maxLength: 80 }), named: fc.boolean() }),
  { minLength: 1, maxLength: 6 },
);

property(
  'unknown optional records change nothing else',
  120,
  fc.tuple(stories(true), insertions),
  async ([story, inserted]) => {
    const { bytes, events } = await told(story);
    const stream = takeApart(bytes);
    const names = new Set<number>();
    let added = 0;
    for (const { number, at, body, named } of inserted) {
      const places = stream.records.map((_, i) => i).filter((i) => mayStandBefore(stream, i));
      const position = places[at % places.length];
      const news = [{ type: OPTIONAL + number, body }];
      // A later version of the specification names what it adds (stream 16.3).
      if (named && !names.has(number)) {
        names.add(number);
        const text = JSON.stringify({ record: number, name: `org.transmigrate.r${number}`, version: 1 });
        news.unshift({ type: 2, body: new Uint8Array(Buffer.from(text)) });
      }
      stream.records.splice(position, 0, ...news);
      added += news.length;
    }
    const generator = random(`${added}`);
    const whole = readInPieces(bytes);
    const changed = putTogether(stream);
    const reading = readInPieces(changed, () => 1 + generator.below(700));
    assert.equal(reading.error, undefined, String(reading.error));
    const kept = reading.records.flat().filter((event) => !event.startsWith('unknown'));
    assert.deepEqual(joined(kept.filter((event) => !event.includes('"org.transmigrate.r'))), events);
    assert.deepEqual(reading.counts, { ...whole.counts, records: whole.counts!['records'] + added });
    assert.equal(reading.kinds.filter((kind) => kind === 'UNKNOWN').length, inserted.length);
  },
);

property(
  'an unknown mandatory record is refused by name, and nothing after it is handed on',
  60,
  fc.tuple(stories(true), unknown, fc.nat(), fc.boolean()),
  async ([story, number, at, named]) => {
    const stream = takeApart((await told(story)).bytes);
    const places = stream.records.map((_, i) => i).filter((i) => mayStandBefore(stream, i));
    const position = places[at % places.length];
    const news = [{ type: number, body: new Uint8Array(3) }];
    if (named) {
      const text = JSON.stringify({ record: number, name: 'org.example.later', version: 2 });
      news.unshift({ type: 2, body: new Uint8Array(Buffer.from(text)) });
    }
    stream.records.splice(position, 0, ...news);
    const reading = readInPieces(putTogether(stream));
    assert.ok(reading.error instanceof TransmigrateError);
    assert.equal(reading.error.code, 'UNKNOWN_RECORD');
    assert.equal(reading.kinds.length, position + news.length - 1);
    const name = named ? 'org.example.later' : `type 0x${number.toString(16).padStart(8, '0')}`;
    assert.equal(reading.error.data['name'], name);
  },
);

property(
  'padding and reserved bytes are ignored',
  60,
  fc.tuple(stories(true), fc.integer({ min: 1, max: 255 })),
  async ([story, value]) => {
    const { bytes, events } = await told(story);
    const stream = takeApart(bytes);
    stream.preamble.fill(value, 60, 124);
    /** Reserved bytes by type: from, to. */
    const reserved: Record<number, readonly [number, number][]> = {
      0x04: [[12, 16]],
      0x05: [[8, 16]],
      0x07: [[60, 64]],
      0x22: [[4, 8]],
      0x23: [[4, 8]],
      0x30: [[4, 8]],
      0x31: [[5, 8]],
      0x32: [[6, 8]],
      0x41: [[17, 24]],
      0x42: [
        [12, 16],
        [53, 56],
      ],
      0x43: [[44, 48]],
      [OPTIONAL + 0x41]: [[17, 24]],
      [OPTIONAL + 0x42]: [
        [12, 16],
        [53, 56],
      ],
      [OPTIONAL + 0x43]: [[44, 48]],
      [OPTIONAL + 0x50]: [[5, 8]],
      0x10: [
        [20, 24],
        [37, 40],
      ],
    };
    for (const { type, body } of stream.records) {
      for (const [from, to] of reserved[type] ?? []) if (to <= body.byteLength) body.fill(value, from, to);
    }
    const reading = readInPieces(putTogether(stream));
    assert.equal(reading.error, undefined, String(reading.error));
    assert.deepEqual(joined(reading.records.flat()), events);
  },
);
