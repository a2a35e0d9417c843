import { TransmigrateError } from '../../errors.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import { readerOf } from './reader-of.ts';

/**
 * How far an image is a machine: the end of its last complete checkpoint, also of one that is cut or damaged behind it
 * (stream 6.4, foreign/xen-libxc 5.1).
 *
 * @param image can be read at any place; it is read once, in order.
 * @returns Infinity for an image that is whole. @throws NO_CHECKPOINT with the cause; CANCELLED, READ_FAILED
 */
export async function lastCheckpoint(format: FormatName, image: ByteSource, work: Work = {}): Promise<number> {
  const reader = readerOf(format, again(image), { ...work, placesOnly: true });
  try {
    for await (const event of reader.events()) void event;
    return Infinity;
  } catch (error) {
    if (!(error instanceof TransmigrateError) || ['CANCELLED', 'READ_FAILED'].includes(error.code)) throw error;
    const { complete, end } = reader.checkpoints;
    if (complete > 0) return end;
    throw new TransmigrateError('NO_CHECKPOINT', 'The image is not whole, and no checkpoint in it is', {
      ...(error.offset !== undefined && { offset: error.offset }),
      cause: error,
      next: 'See what is wrong with it with `transmigrate verify`.',
    });
  }
}
