import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from './source.ts';

/** What long work reports and obeys. */
export interface Work {
  /** Called now and then with bytes done and, where it is known, bytes in all. */
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The pieces of a source, with progress when each was used up. @throws CANCELLED, and what the source throws */
export async function* watchedPieces(source: ByteSource, { onProgress, signal }: Work): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of source.pieces()) {
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', `Reading ${source.name} was cancelled`);
    const { byteLength } = piece;
    yield piece;
    done += byteLength;
    onProgress?.(done, source.size);
  }
}
