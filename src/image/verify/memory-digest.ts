import { toHex } from '../../bytes/hex.ts';
import { isZeroRange, Sha256 } from '../../codec/platform.ts';
import type { MemoryDigest } from '../content-digest.ts';
import type { ImageMemory } from '../open/opened-image.ts';

/**
 * The digest of the memory of an open image (stream 19.1): the same as of an image of ours with the same memory.
 * @throws what reading its pages throws
 */
export async function memoryDigest(memory: ImageMemory): Promise<MemoryDigest> {
  const { pageSize } = memory;
  const hash = new Sha256();
  const name = new Uint8Array(8);
  const view = new DataView(name.buffer);
  let [pages, zeroPages] = [0, 0];
  for await (const batch of memory.batches()) {
    for (let page = 0; page < batch.pages; page++) {
      const pfn = batch.firstPfn + page;
      const bytes = batch.bytes.subarray(page * pageSize, (page + 1) * pageSize);
      view.setUint32(0, pfn % 2 ** 32, true);
      view.setUint32(4, Math.floor(pfn / 2 ** 32), true);
      hash.update(name);
      hash.update(bytes);
      if (isZeroRange(bytes, 0, bytes.byteLength)) zeroPages++;
    }
    pages += batch.pages;
  }
  return { pages, zeroPages, sha256: toHex(hash.digest()) };
}
