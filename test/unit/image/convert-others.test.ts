/** Conversion of formats that are no streams of Xen: to ours and back, and to each other as far as they go. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { convertImage, type Conversion } from '../../../src/image/convert/convert.ts';
import type { FormatName } from '../../../src/image/identify/layers.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { fixture } from '../../support/corpus.ts';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const IMAGES: readonly (readonly [FormatName, string])[] = [
  ['xen-core', 'elf/xen-4.17-pv-tiny64-4m.core'],
  ['xen-core', 'elf/xen-4.17-hvm-seabios-16m.core'],
  ['elf-core', 'elf/tiny-x86_64-pc.core.elf'],
  ['libvirt', 'libvirt/tiny-raw.save'],
  ['libvirt', 'libvirt/tiny-xz.save'],
  ['v86', 'v86/v86-0.5.462-tiny16.v86state'],
  ['v86', 'v86/v86-0.5.278-tiny16.v86state'],
];

interface Choice {
  readonly allowLoss?: boolean;
  readonly codec?: (typeof CODEC)[keyof typeof CODEC];
  readonly as?: 'raw';
}

async function converted(
  bytes: Uint8Array,
  to: FormatName,
  choice: Choice = {},
): Promise<{ bytes: Uint8Array; conversion: Conversion }> {
  const sink = new MemorySink();
  const streamId = new Uint8Array(16).fill(1);
  const time = '2026-01-01T00:00:00Z';
  const conversion = await convertImage(memorySource(bytes), sink, { to, streamId, time, ...choice });
  return { bytes: sink.bytes(), conversion };
}

async function memoryOf(bytes: Uint8Array, as?: 'raw'): Promise<Map<number, string>> {
  const image = await openImage(memorySource(bytes), as === undefined ? {} : { as });
  const pages = new Map<number, string>();
  for await (const batch of image.memory.batches()) {
    for (let i = 0; i < batch.pages; i++) {
      const page = batch.bytes.subarray(i * 4096, (i + 1) * 4096);
      if (page.some((byte) => byte !== 0)) pages.set(batch.firstPfn + i, Buffer.from(page).toString('base64'));
    }
  }
  return pages;
}

for (const [format, name] of IMAGES) {
  describe(name, () => {
    const bytes = fixture(name);

    it('becomes one of ours and comes back, byte for byte', async () => {
      const ours = await converted(bytes, 'tmig');
      assert.equal(ours.conversion.from, format);
      assert.equal(ours.conversion.exact, true);
      const back = await converted(ours.bytes, format);
      assert.equal(back.conversion.exact, true);
      assert.deepEqual(back.bytes, bytes);
      const verdict = await verifyImage([memorySource(ours.bytes)]);
      assert.equal(verdict.verdict, 'sound');
    });

    if (format !== 'libvirt') {
      it('gives raw memory and a core that hold the same pages', async () => {
        const expected = await memoryOf(bytes);
        if (!name.startsWith('elf/tiny')) {
          // That of QEMU has its firmware below 4 GiB: raw, it would be as long.
          const raw = await converted(bytes, 'raw', { allowLoss: true });
          assert.deepEqual(await memoryOf(raw.bytes, 'raw'), expected);
        }
        const core = await converted(bytes, 'elf-core', { allowLoss: true });
        assert.deepEqual(await memoryOf(core.bytes), expected);
      });
      it('is not made raw memory without a word about what is lost', async () => {
        await assert.rejects(converted(bytes, 'raw'), (error) => {
          assert.ok(error instanceof TransmigrateError);
          assert.equal(error.code, 'CONVERSION_LOSS');
          const losses = error.data['losses'] as readonly { readonly what: string }[];
          assert.ok(losses.some(({ what }) => what === 'vcpu'));
          return true;
        });
      });
    }
  });
}

describe('a save image of libvirt', () => {
  it('is stored again as raw or zstd when that is asked for', async () => {
    const xz = fixture('libvirt/tiny-xz.save');
    const raw = await converted(xz, 'libvirt', { codec: CODEC.raw });
    const zstd = await converted(raw.bytes, 'libvirt', { codec: CODEC.zstd });
    for (const { bytes, conversion } of [raw, zstd]) {
      assert.equal(conversion.exact, false);
      assert.equal((await verifyImage([memorySource(bytes)])).verdict, 'sound');
    }
    const stored = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(28, true);
    assert.deepEqual([stored(xz), stored(raw.bytes), stored(zstd.bytes)], [3, 0, 5]);
    // The stream in it is the same, whichever way it was stored.
    const again = await converted(zstd.bytes, 'libvirt', { codec: CODEC.raw });
    assert.deepEqual(again.bytes, raw.bytes);
  });

  it('can be made of nothing that has no stream of QEMU', async () => {
    await assert.rejects(
      converted(fixture('v86/v86-0.5.462-tiny16.v86state'), 'libvirt', { allowLoss: true }),
      (error) => {
        assert.ok(error instanceof TransmigrateError);
        return error.code === 'IMAGE_UNFIT';
      },
    );
  });
});

describe('inside a compression', () => {
  const place = join(import.meta.dirname, '../../fixtures/elf/xen-4.17-pv-tiny64-4m.core.zst');

  it('what can not be read in order is put aside', async () => {
    let spooled = 0;
    const spool = async (source: ByteSource): Promise<ByteSource> => {
      const parts: Uint8Array[] = [];
      for await (const piece of source.pieces()) parts.push(piece.slice());
      spooled++;
      return memorySource(new Uint8Array(Buffer.concat(parts)), source.name);
    };
    const packed = memorySource(new Uint8Array(readFileSync(place)));
    const result = await verifyImage([packed], { spool });
    assert.deepEqual([result.verdict, result.nesting, spooled], ['sound', ['zstd', 'xen-core'], 1]);
  });
});
