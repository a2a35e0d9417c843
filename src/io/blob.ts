import type { RandomAccess } from '../bytes/endpoints.ts';
import { piecesOf } from './pieces-of.ts';
import { readFailed } from './read-failed.ts';
import type { ByteSource } from './source.ts';

/** What is used of a Blob or File of the web platform. */
export interface BlobLike {
  readonly size: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/**
 * A Blob or File as a source, as a file input or a drop gives it in a browser: it is read where it is asked for, and
 * never whole. @throws READ_FAILED while it is read, when the file behind it was changed
 */
export function blobSource(blob: BlobLike, name = 'blob'): ByteSource {
  const random: RandomAccess = {
    name,
    size: blob.size,
    readAt: async (position, into) => {
      try {
        const end = Math.min(blob.size, position + into.byteLength);
        if (end <= position) return 0;
        into.set(new Uint8Array(await blob.slice(position, end).arrayBuffer()));
        return end - position;
      } catch (cause) {
        throw readFailed(name, cause);
      }
    },
  };
  return {
    name,
    size: blob.size,
    container: false,
    random,
    pieces: () => piecesOf(random),
    close: () => Promise.resolve(),
  };
}
