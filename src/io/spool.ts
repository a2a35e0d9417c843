import { close, mkdtempSync, openSync, read, rmdirSync, unlinkSync, write } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RandomAccess } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';
import { readFailed } from './read-failed.ts';
import type { ByteSource } from './source.ts';

/** Most bytes that are put aside for a pipe, when the caller names no limit. */
export const SPOOL_LIMIT = 64 * 1024 ** 3;

/**
 * Makes the bytes of a pipe readable again: what is read in order is also put into a temporary file, and from there it
 * can be read at any place. Nothing is read ahead of its reader, so that one who finds no image in it ends at once.
 *
 * The file has no name from the start: it is made in a directory of its own, mode 0700, under TMPDIR, and both are
 * removed before anything is written. Whatever ends this process, nothing stays behind.
 * @param source belongs to the result, whose `close` closes it.
 * @param limit most bytes.
 * @throws WRITE_FAILED when there can be no such file; then the source stays open. Reading in order throws it when the
 * disk is full or the limit is reached.
 */
export async function spool(source: ByteSource, limit: number = SPOOL_LIMIT): Promise<ByteSource> {
  const file = new UnnamedFile();
  const random: RandomAccess = {
    name: source.name,
    get size() {
      return file.size;
    },
    readAt: async (position, into) => {
      try {
        return await file.readAt(position, into);
      } catch (cause) {
        throw readFailed(source.name, cause);
      }
    },
  };
  return Promise.resolve({
    name: source.name,
    size: source.size,
    container: source.container,
    random,
    async *pieces() {
      for await (const piece of source.pieces()) {
        if (file.size + piece.byteLength > limit) {
          throw spoolFailed(`${source.name} is longer than the ${limit} bytes that are put aside at most`);
        }
        const written = file.append(piece);
        // It is waited for below, unless the reader stops here: then its failure is nobody's.
        written.catch(() => undefined);
        yield piece;
        await written;
      }
    },
    close: async () => {
      await Promise.all([file.close(), source.close()]);
    },
  });
}

const readFrom = promisify(read);
const writeTo = promisify(write);

/** A file without a name, which ends with the process at the latest. */
class UnnamedFile {
  readonly #fd: number;
  #underWay: Promise<void> = Promise.resolve();
  size = 0;

  /** In one go: between two steps that waited, a cancelled process could end and leave the name behind. */
  constructor() {
    let directory: string | undefined;
    try {
      directory = mkdtempSync(join(tmpdir(), 'transmigrate-'));
      const path = join(directory, 'spool');
      this.#fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
    } catch (cause) {
      throw spoolFailed(reasonOf(cause), cause);
    } finally {
      if (directory !== undefined) rmdirSync(directory);
    }
  }

  /** To be waited for before the next. */
  append(bytes: Uint8Array): Promise<void> {
    this.#underWay = this.#append(bytes);
    return this.#underWay;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const start = this.size;
    this.size += bytes.byteLength;
    try {
      for (let done = 0; done < bytes.byteLength;) {
        done += (await writeTo(this.#fd, bytes, done, bytes.byteLength - done, start + done)).bytesWritten;
      }
    } catch (cause) {
      throw spoolFailed(reasonOf(cause), cause);
    }
  }

  async readAt(position: number, into: Uint8Array): Promise<number> {
    let done = 0;
    while (done < into.byteLength) {
      const { bytesRead } = await readFrom(this.#fd, into, done, into.byteLength - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async close(): Promise<void> {
    await this.#underWay.catch(() => undefined);
    await promisify(close)(this.#fd);
  }
}

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return `there is no room left in ${tmpdir()}`;
  if (code === 'ENOENT' || code === 'ENOTDIR') return `there is no directory ${tmpdir()}`;
  return code === 'EACCES' || code === 'EROFS' ? `${tmpdir()} can't be written` : message;
}

function spoolFailed(why: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('WRITE_FAILED', `Can't put the input aside in a temporary file: ${why}`, {
    ...(cause !== undefined && { cause }),
    next: 'Set TMPDIR to a directory with room, or copy the input into a file and read that.',
    data: { directory: tmpdir(), reason: why },
  });
}
