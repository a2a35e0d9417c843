import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { Former } from '../../../src/tmem/former.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const PAGE = 4096;

/** What a page becomes. */
function formed(former: Former, page: Uint8Array): { codec: number; original: number; stored: Uint8Array } {
  former.form(page, CODEC.lz4);
  return { codec: former.codec, original: former.original, stored: former.storedBytes().slice() };
}

describe('the form of a page', () => {
  it('does not depend on the pages before it, of which a run may have been worth compressing', () => {
    const seed = testSeed();
    const source = random(seed);
    const old = new Former();
    const even = new Uint8Array(PAGE).fill(5);
    const tally = { raw: 0, packed: 0 };
    for (let trial = 0; trial < 300; trial++) {
      // Random to some length, then a pattern: whether that is worth it is close for some.
      const page = source.scramble(new Uint8Array(PAGE));
      page.fill(7, source.pick([PAGE, PAGE - 40, PAGE - 80, 4000, 3000, 100, 0]));
      for (let before = source.pick([0, 0, 3, 20]); before > 0; before--) formed(old, even);
      const found = formed(old, page);
      assert.deepEqual(found, formed(new Former(), page), `SEED=${seed}, trial ${trial}`);
      tally[found.codec === CODEC.raw ? 'raw' : 'packed']++;
    }
    assert.ok(tally.raw > 30 && tally.packed > 30, JSON.stringify(tally));
  });

  it('is raw when the codec would gain, but the sample says that it is not worth it', () => {
    // Evenly spread at the places that are sampled; the rest repeats.
    const source = random('even');
    const page = source.scramble(new Uint8Array(PAGE));
    for (let at = 512; at < PAGE; at += 512) page.copyWithin(at, 0, 512);
    const old = new Former();
    const even = new Uint8Array(PAGE).fill(5);
    for (let before = 0; before < 40; before++) formed(old, even);
    assert.equal(formed(old, page).codec, CODEC.raw);
    assert.equal(formed(new Former(), page).codec, CODEC.raw);
  });
});
