import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { checkCancelled } from './work.ts';

export const RAW_LIMITS = {
  /** Bytes of pages that are not present, which are written as zeros (foreign/raw 3). */
  absentBytes: 64 * 1024 * 1024 * 1024,
} as const;

const ZEROS = new Uint8Array(1024 * 1024);

/**
 * Writes memory as it is: page i at i times the size of a page (foreign/raw 3). The sink is not ended.
 * @throws IMAGE_UNFIT when pages that are not present would take more than {@link RAW_LIMITS}; CANCELLED; the image's
 * errors, and what the sink throws
 */
export async function writeRaw({ memory }: OpenedImage, sink: ByteSink, work: Work): Promise<void> {
  const { pageSize, pages, pfnEnd } = memory;
  const absent = (pfnEnd - pages) * pageSize;
  if (absent > RAW_LIMITS.absentBytes) {
    throw new TransmigrateError('IMAGE_UNFIT', `Raw memory would have ${absent} bytes of pages that are not there`, {
      path: `page ${pfnEnd - 1}`,
      section: 'foreign/raw 3',
      data: { absent, limit: RAW_LIMITS.absentBytes },
      next: 'Choose a format that names its pages, as elf-core.',
    });
  }
  let next = 0;
  for await (const batch of memory.batches()) {
    for (let left = (batch.firstPfn - next) * pageSize; left > 0; left -= ZEROS.byteLength) {
      checkCancelled(work);
      await sink.write(ZEROS.subarray(0, left));
    }
    checkCancelled(work);
    await sink.write(batch.bytes);
    next = batch.firstPfn + batch.pages;
    work.onProgress?.(next * pageSize, pfnEnd * pageSize);
  }
}
