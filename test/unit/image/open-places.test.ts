/** Opening an image of Xen reads what stands between its pages, and not the pages. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import { memorySource } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { EXPECTED, imageBytes } from '../../support/xen/corpus.ts';

const NAMES = ['xen-4.17-pv-tiny64-4m.xl', 'xen-4.17-hvm-seabios-16m.xl', 'xen-4.17-pv-tiny32-4m-lostpage.xl'];

/** A source that counts what is read of it at any place. */
function counting(bytes: Uint8Array): { source: ByteSource; readonly read: () => number } {
  const inner = memorySource(bytes);
  let read = 0;
  const random = {
    name: 'counted',
    size: bytes.byteLength,
    readAt: async (position: number, into: Uint8Array): Promise<number> => {
      const found = await inner.random!.readAt(position, into);
      read += found;
      return found;
    },
  };
  return { source: { ...inner, random }, read: () => read };
}

describe('opening an image of Xen', () => {
  for (const name of NAMES) {
    it(`leaves the pages of ${name} unread, and knows where they stand`, async () => {
      const bytes = imageBytes(name);
      const { source, read } = counting(bytes);
      const image = await openImage(source);
      const { pages } = image.memory;
      assert.equal(pages, EXPECTED[name].memory!.final_pages);
      const between = bytes.byteLength - pages * 4096;
      assert.ok(read() <= between + 0.1 * bytes.byteLength, `${read()} bytes read, and ${between} are no pages`);
    });
  }

  it('finds a cut in the last pages all the same, and says where', async () => {
    const bytes = imageBytes(NAMES[0]);
    for (const cut of [1, 5000, 20_000, 2_000_000]) {
      await assert.rejects(openImage(memorySource(bytes.subarray(0, bytes.byteLength - cut))), (error) => {
        assert.ok(error instanceof TransmigrateError);
        assert.equal(error.code, 'TRUNCATED');
        assert.equal(error.offset, bytes.byteLength - cut);
        return true;
      });
    }
  });
});
