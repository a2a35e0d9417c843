/**
 * Damage to cores, states of v86 and save images: a typed error, or an image that can be read. What can be read comes
 * back byte for byte, whatever is in it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIBVIRT } from '../../src/foreign/libvirt/save-image.ts';
import type { FormatName } from '../../src/image/identify/layers.ts';
import { memorySource } from '../../src/io/memory.ts';
import { back, read, sha256, toOurs } from '../support/conversion.ts';
import { fixture } from '../support/corpus.ts';
import { random, type Random } from '../support/random.ts';
import { TransmigrateError } from '../../src/errors.ts';
import { testSeed } from '../support/seed.ts';

/** A place near one of those that say something. */
type Place = (rng: Random) => number;

/** The small core has a table at its end; of the state only the tree says something. */
const SUBJECTS: readonly { format: FormatName; bytes: Uint8Array; place: Place }[] = [
  {
    format: 'xen-core',
    bytes: fixture('elf/xen-4.17-pv-tiny64-4m.core'),
    place: (rng) =>
      rng.pick([rng.below(512), 512 + rng.below(1400), 1896 + rng.below(5200), 4_206_592 + rng.below(16_400)]),
  },
  {
    format: 'elf-core',
    bytes: fixture('elf/tiny-x86_64-pc.core.elf'),
    place: (rng) => rng.below(984),
  },
  {
    format: 'v86',
    bytes: fixture('v86/v86-0.5.462-tiny16.v86state'),
    place: (rng) => rng.below(7100),
  },
  {
    format: 'libvirt',
    bytes: fixture('libvirt/tiny-xz.save'),
    place: (rng) => rng.pick([rng.below(LIBVIRT.headerBytes), rng.below(1800), 67_106 + rng.below(200)]),
  },
];

for (const { format, bytes, place } of SUBJECTS) {
  test(`random damage to ${format}`, async () => {
    const seed = testSeed();
    const rng = random(seed);
    let whole = 0;
    for (let run = 0; run < 40; run++) {
      const damaged = bytes.slice();
      for (let n = 1 + rng.below(3); n > 0; n--) {
        damaged[place(rng)] = rng.pick([0, 1, 0x30, 0x39, 0x7f, 0x80, 0xff, rng.below(256)]);
      }
      const cut = rng.below(4) === 0 ? damaged.subarray(0, rng.below(damaged.byteLength)) : damaged;
      try {
        const before = process.memoryUsage().arrayBuffers;
        const { error, findings } = await read(format, memorySource(cut, 'damaged', 100_000));
        assert.ok(process.memoryUsage().arrayBuffers - before < 300 * 1024 * 1024, 'memory');
        for (const finding of findings) assert.match(finding.section, /^foreign\//);
        if (error !== undefined) continue;
        whole++;
        if (whole > 3) continue;
        const ours = await toOurs(format, cut).catch((refused: unknown) => {
          assert.ok(refused instanceof TransmigrateError && refused.code === 'UNSUPPORTED_FEATURE', String(refused));
        });
        if (ours !== undefined) assert.equal(sha256(await back(ours)), sha256(cut));
      } catch (error) {
        throw new Error(
          `SEED=${seed} node_modules/.bin/node --test test/property/foreign-readers.test.ts, run ${run}`,
          {
            cause: error,
          },
        );
      }
    }
  });
}
