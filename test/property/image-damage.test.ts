/** Images of others, cut and damaged anywhere: `verify` and `inspect` always answer, and a cut is never sound. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { inspectImage } from '../../src/image/inspect.ts';
import { verifyImage } from '../../src/image/verify.ts';
import { memorySource } from '../../src/io/memory.ts';
import { damagedImage, imageFaultIn, imageSeeds } from '../fuzz/images.ts';
import { guestSteps } from '../support/xen/pv-guest.ts';
import { libxcStream, xenopsdImage, xlFile } from '../support/xen/streams.ts';
import { property } from './seeded.ts';

const SEEDS = imageSeeds();

property('any damage to any of them', 120, fc.nat(), async (number) => {
  const bytes = damagedImage(SEEDS, 'property', number);
  assert.equal(
    await imageFaultIn(bytes, `property ${number}`),
    undefined,
    `damagedImage(seeds, 'property', ${number})`,
  );
});

const WHOLE = [libxcStream({}, guestSteps()), xlFile(), xenopsdImage()];

property('a cut is never sound, and says where', 60, fc.tuple(fc.nat(2), fc.nat()), async ([which, at]) => {
  const bytes = WHOLE[which];
  const length = at % bytes.byteLength;
  const cut = memorySource(bytes.subarray(0, length));
  const { verdict, errors } = await verifyImage([cut]);
  assert.equal(verdict, 'broken');
  // Of a cut in the magic it can't be told of what it is the start.
  assert.ok(length < 64 || errors[0].code === 'TRUNCATED', errors[0].code);
  if (length >= 64) assert.equal(errors[0].offset, length);
  const { error, complete } = await inspectImage(cut);
  assert.equal(error?.code, errors[0].code);
  assert.equal(complete, false);
});
