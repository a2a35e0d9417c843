/** S3, S5, S7 to S11: what was written is what is read, however the stream is cut into pieces. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { random } from '../support/random.ts';
import { joined, readInPieces, stories, told, type Reading } from '../support/stream-model.ts';
import { property } from './seeded.ts';

function assertSame(reading: Reading, expected: { events: string[]; counts: Record<string, number> }): void {
  assert.equal(reading.error, undefined, reading.error instanceof Error ? reading.error.stack : '');
  assert.deepEqual(joined(reading.records.flat()), expected.events);
  const { records, ...counts } = reading.counts!;
  assert.equal(records, reading.kinds.indexOf('END'));
  assert.deepEqual(counts, expected.counts);
}

property('a stream is read as it was written, whole and in random pieces', 110, stories(), async (story) => {
  const expected = await told(story);
  assertSame(readInPieces(expected.bytes), expected);
  const generator = random(`${expected.bytes.byteLength}`);
  for (const most of [40, 5000, 300_000]) {
    if (most === 40 && expected.bytes.byteLength > 200_000) continue;
    assertSame(
      readInPieces(expected.bytes, () => 1 + generator.below(most)),
      expected,
    );
  }
});

property('a stream is read as it was written, byte by byte', 60, stories(true), async (story) => {
  const expected = await told(story);
  assertSame(
    readInPieces(expected.bytes, () => 1),
    expected,
  );
});

property(
  'any two cuts of a stream give the same records',
  60,
  fc.tuple(stories(true), fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 })),
  async ([story, cuts]) => {
    const { bytes } = await told(story);
    let at = 0;
    const cut = readInPieces(bytes, () => cuts[at++ % cuts.length]);
    assert.deepEqual(cut, readInPieces(bytes));
  },
);

property('the same story makes the same bytes', 20, stories(true), async (story) => {
  const [first, second] = [await told(story), await told(story)];
  assert.ok(Buffer.from(first.bytes).equals(second.bytes));
});
