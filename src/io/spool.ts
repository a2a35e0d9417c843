import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TransmigrateError } from '../errors.ts';
import { openFileSource } from './file.ts';
import type { ByteSource } from './source.ts';

/** Most bytes that are put aside for a pipe, when the caller names no limit. */
export const SPOOL_LIMIT = 64 * 1024 ** 3;

/**
 * Puts the bytes of a pipe into a temporary file, so that they can be read again and at any place. The file is in a
 * directory of its own, mode 0700, under TMPDIR, and is unlinked as soon as it is open: nothing stays behind, whatever
 * ends this process. `source` is read to its end and closed.
 * @param limit most bytes.
 * @throws WRITE_FAILED when the disk is full or the limit is reached; READ_FAILED, CANCELLED
 */
export async function spool(
  source: ByteSource,
  limit: number = SPOOL_LIMIT,
  signal?: AbortSignal,
): Promise<ByteSource> {
  const directory = await mkdtemp(join(tmpdir(), 'transmigrate-'));
  const path = join(directory, 'spool');
  try {
    const handle = await open(path, 'wx', 0o600);
    try {
      let bytes = 0;
      for await (const piece of source.pieces()) {
        if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', `Reading ${source.name} was cancelled`);
        bytes += piece.byteLength;
        if (bytes > limit) throw spoolFailed(`${source.name} is longer than the limit of ${limit} bytes for a spool`);
        await handle.writeFile(piece);
      }
    } catch (cause) {
      throw cause instanceof TransmigrateError ? cause : spoolFailed((cause as Error).message, cause);
    } finally {
      await handle.close();
    }
    const spooled = await openFileSource(path);
    return { ...bound(spooled), name: source.name };
  } finally {
    await source.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** A source's members without its class, so that its name can be another. */
function bound(source: ByteSource): ByteSource {
  return {
    name: source.name,
    size: source.size,
    container: source.container,
    random: source.random,
    pieces: () => source.pieces(),
    close: () => source.close(),
  };
}

function spoolFailed(why: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('WRITE_FAILED', `Can't put the input aside in a temporary file: ${why}`, {
    cause,
    next: 'Set TMPDIR to a directory with room, or copy the input into a file and read that.',
  });
}
