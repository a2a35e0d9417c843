/** Images of Xen to ours and back: made at random, damaged at random, and ORIGIN that lies. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { TransmigrateError, type FormatName } from '../../src/index.ts';
import { PAGE_TYPE } from '../../src/foreign/xen-libxc/constants.ts';
import { converted, machineOf, sha256 } from '../support/convert.ts';
import { random, type Random } from '../support/random.ts';
import { PAGE, written } from '../support/streams.ts';
import {
  checkpointed,
  hvmSteps,
  libxcStream,
  pvSteps,
  xenopsdImage,
  xlFile,
  type Step,
  type TestPage,
} from '../support/xen/streams.ts';
import { property } from './seeded.ts';

const seed = fc.integer({ min: 0, max: 0x7fff_ffff });

const WITH_DATA = [PAGE_TYPE.normal, PAGE_TYPE.l1, PAGE_TYPE.l3, PAGE_TYPE.l4Pinned];
const WITHOUT = [PAGE_TYPE.invalid, PAGE_TYPE.allocateOnly, PAGE_TYPE.broken];

/** Records of pages in any order, which come again, go away, and are zero. */
function pages(draw: Random, below: number): TestPage[][] {
  return Array.from({ length: 1 + draw.below(5) }, () => {
    const record: TestPage[] = [];
    let pfn = draw.below(below);
    for (let left = 1 + draw.below(40); left > 0; left--) {
      if (draw.below(4) === 0) pfn = draw.below(below);
      const isThere = draw.below(3) > 0;
      record.push(isThere ? [pfn, draw.pick(WITH_DATA), draw.below(3)] : [pfn, draw.pick(WITHOUT)]);
      pfn = (pfn + 1) % below;
    }
    return record;
  });
}

/** A libxc stream with random memory; page 0 of a PV domain is there, for Xen wants some. */
function stream(draw: Random): { readonly bytes: Uint8Array; readonly format: FormatName } {
  const pv = draw.below(2) === 0;
  const version = draw.below(2) === 0 ? 2 : 3;
  const steps = (pv ? pvSteps() : hvmSteps()).flatMap((step): (Step | Step[])[] =>
    Array.isArray(step) ? [[step as Step]] : [step],
  );
  const made: Step[] = [];
  let first = true;
  for (const step of steps.flat() as Step[]) {
    const isStatic = 'kind' in step && ['STATIC_DATA_END', 'X86_CPUID_POLICY', 'X86_MSR_POLICY'].includes(step.kind);
    if (version === 2 && isStatic) continue;
    made.push(step);
    if (!Array.isArray(step) || !first) continue;
    first = false;
    made.push([[0, PAGE_TYPE.normal, 1]]);
  }
  const memory = pages(draw, pv ? 4 : 3000);
  const at = made.findIndex((step) => 'kind' in step && step.kind === 'X86_TSC_INFO');
  made.splice(at, 0, ...memory, [[0, PAGE_TYPE.normal, 2]]);
  const bytes = libxcStream({ version, domainType: pv ? 1 : 2 }, made);
  return { bytes, format: version === 2 ? 'xen-libxc-v2' : 'xen-libxc' };
}

property('a made image is the same bytes again, and anew the same machine', 25, seed, async (number) => {
  const { bytes, format } = stream(random(`convert ${number}`));
  const ours = await converted(bytes, { to: 'tmig', codec: 1 });
  assert.equal(sha256((await converted(ours.bytes, { to: format })).bytes), sha256(bytes));
  const machine = await machineOf(bytes);
  assert.deepEqual(await machineOf(ours.bytes), machine);
  const plain = await converted(bytes, { to: 'tmig', origin: false });
  const anew = await converted(plain.bytes, { to: format });
  assert.equal(anew.result.exact, false);
  assert.deepEqual(await machineOf(anew.bytes), machine);
});

const SEEDS: readonly (readonly [FormatName, Uint8Array])[] = [
  ['xen-libxc', libxcStream({}, pvSteps())],
  ['xen-libxc', libxcStream({ domainType: 2 }, hvmSteps())],
  ['xl', xlFile()],
  ['libxl', checkpointed()],
  ['xenopsd', xenopsdImage()],
];

property('a damaged image is refused by a typed error, or kept to the byte', 120, seed, async (number) => {
  const draw = random(`damaged ${number}`);
  const [format, sound] = draw.pick(SEEDS);
  const bytes = sound.slice();
  for (let changes = 1 + draw.below(3); changes > 0; changes--) {
    // Most where headers and entries stand: pages are content.
    const at = draw.below(draw.below(3) > 0 ? Math.min(700, bytes.byteLength) : bytes.byteLength);
    bytes[at] = draw.below(2) === 0 ? draw.below(256) : bytes[at] ^ (1 << draw.below(8));
  }
  const ours = await orError(converted(bytes, { to: 'tmig', codec: 1 }));
  if (ours === undefined) return;
  const to = ours.result.from;
  assert.equal(sha256((await converted(ours.bytes, { to })).bytes), sha256(bytes));
  const anew = await orError(converted(bytes, { to: format, origin: false, allowLoss: true }));
  if (anew !== undefined && to === format) {
    assert.equal((await machineOf(anew.bytes))['memory'], (await machineOf(bytes))['memory']);
  }
});

/** Steps can name any number of zeros: where the image goes there is room for so much. */
const MOST = 8 * 1024 * 1024;

property('ORIGIN that was changed ends in a typed error, or gives a whole image', 120, seed, async (number) => {
  const draw = random(`origin ${number}`);
  const [format, sound] = draw.pick(SEEDS);
  const steps: number[] = [1];
  for (let left = draw.below(6); left > 0; left--) {
    steps.push(draw.below(8), ...Array.from({ length: draw.below(12) }, () => draw.below(256)));
  }
  const parts =
    draw.below(3) === 0 ? Uint8Array.from(steps) : Uint8Array.from([1, 1, ...literal(sound), ...steps.slice(1)]);
  const image = await written(async (writer) => {
    await writer.ram(0, 4, draw.scramble(new Uint8Array(4 * PAGE)));
    await writer.origin(format, parts);
  });
  const given = await orError(converted(image, { to: format }, MOST));
  if (given !== undefined) await converted(given.bytes, { to: 'tmig' });
});

/** The start of an image as a literal: its length, and its bytes. */
function literal(sound: Uint8Array): number[] {
  const bytes = sound.subarray(0, 100);
  return [bytes.byteLength, ...bytes];
}

/** What came of it, or undefined after an error of ours. */
async function orError<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TransmigrateError && error.code !== 'INTERNAL') return undefined;
    throw error;
  }
}
