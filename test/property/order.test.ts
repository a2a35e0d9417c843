/** S3: a table says which record may come before which; everything else is refused (stream 4). */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { putTogether, takeApart, type RawStream } from '../support/raw-stream.ts';
import { readInPieces, stories, told, type Story } from '../support/stream-model.ts';
import { firstViolation, type Facts } from './order-oracle.ts';
import { property } from './seeded.ts';

const TMEM_DOMAINS = new Set([1, 4]);

function factsOf({ preamble }: RawStream): Facts {
  return { indexed: (preamble[32] & 1) === 1, tmem: TMEM_DOMAINS.has(preamble[19]) };
}

/** The decoder and the oracle must agree about where a stream goes wrong, and by which rule. */
function assertJudged(stream: RawStream): void {
  const verdict = firstViolation(factsOf(stream), stream.records);
  const reading = readInPieces(putTogether(stream));
  const { error } = reading;
  const names = stream.records.map(({ type }) => type.toString(16)).join(' ');
  if (verdict === undefined) {
    assert.equal(error, undefined, `${String(error)} in ${names}`);
    return;
  }
  const { position, codes } = verdict;
  assert.ok(error instanceof TransmigrateError, `${codes.join('|')} at ${position} of ${names}: ${String(error)}`);
  assert.ok(codes.includes(error.code), `${codes.join('|')} at ${position} of ${names}: ${error.code} ${error.path}`);
  assert.equal(reading.kinds.length, position, `${error.code} ${error.path}, not at ${position} of ${names}`);
}

const changes = fc.array(
  fc.record({
    how: fc.constantFrom('drop', 'double', 'swap', 'move', 'borrow'),
    first: fc.nat(),
    second: fc.nat(),
  }),
  { minLength: 1, maxLength: 3 },
);

async function rawOf(story: Story): Promise<RawStream> {
  return takeApart((await told(story)).bytes);
}

property(
  'records dropped, doubled, swapped, moved or borrowed: the decoder judges as the specification does',
  500,
  fc.tuple(stories(true), stories(true), changes),
  async ([story, other, list]) => {
    const stream = await rawOf(story);
    const lender = (await rawOf({ ...other, shape: { ...other.shape, machine: 62 } })).records;
    const { records } = stream;
    for (const { how, first, second } of list) {
      const a = first % records.length;
      const b = second % records.length;
      if (how === 'drop' && records.length > 2) records.splice(a, 1);
      else if (how === 'double') records.splice(b, 0, records[a]);
      else if (how === 'swap') [records[a], records[b]] = [records[b], records[a]];
      else if (how === 'move') records.splice(b, 0, ...records.splice(a, 1));
      else {
        const borrowed = lender[second % lender.length];
        // What depends on more than order (page size, machine, form of a pool) would break another rule first.
        if (![0x10, 0x20, 0x42, 0x43].includes(borrowed.type & 0x7fff_ffff)) records.splice(a, 0, borrowed);
      }
    }
    // A stream that does not end is another matter.
    const end = records.findIndex(({ type }) => type === 0x07);
    const complete = end >= 0 && (!factsOf(stream).indexed || records[end + 1]?.type === 0x8000_0009);
    const verdict = firstViolation(factsOf(stream), records);
    if (verdict === undefined && !complete) {
      const { error } = readInPieces(putTogether(stream));
      assert.ok(error instanceof TransmigrateError);
      return;
    }
    assertJudged(stream);
  },
);

property('tmem records in a domain that has none are refused', 30, stories(true), async (story) => {
  const stream = await rawOf({ ...story, shape: { ...story.shape, domain: 'pv' } });
  for (const domain of [0, 2, 3, 5]) {
    stream.preamble[19] = domain;
    assertJudged(stream);
  }
});

property(
  'a feature bit that is taken away or added changes what the order is',
  40,
  fc.tuple(stories(true), fc.boolean()),
  async ([story, indexed]) => {
    const stream = await rawOf({ ...story, shape: { ...story.shape, indexed } });
    stream.preamble[32] ^= 1;
    const reading = readInPieces(putTogether(stream));
    assert.ok(reading.error instanceof TransmigrateError);
    const hasIndex = stream.records.some(({ type }) => type === 0x8000_0008);
    assert.equal(reading.error.code, indexed ? (hasIndex ? 'RECORD_ORDER' : 'TRAILING_DATA') : 'TRUNCATED');
  },
);
