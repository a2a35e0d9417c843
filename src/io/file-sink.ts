import { open, realpath, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ByteSink } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';

/** Blocks of a file, at multiples of this, that are not written when they are zero. */
const HOLE_BYTES = 32 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/**
 * Writes a file that is whole or absent (house rule 5): the bytes go to a hidden file beside it, mode 0600, which takes
 * the name only after {@link commit} has synced it. {@link abort} removes it; a process that is killed leaves a file
 * whose name ends in `.partial`, never one that looks whole. Long runs of zeros are left out: where the file system
 * can, they take no room.
 */
export class FileSink implements ByteSink {
  readonly path: string;
  readonly #partial: string;
  readonly #handle: FileHandle;
  #position = 0;
  /** Nothing was written at its end, so the file must be made as long as it is to be. */
  #endsInHole = false;
  /** Writes that are under way. Each has its own place, so they need not wait for each other. */
  readonly #underWay = new Set<Promise<void>>();
  #failure: TransmigrateError | undefined;

  private constructor(path: string, partial: string, handle: FileHandle) {
    this.path = path;
    this.#partial = partial;
    this.#handle = handle;
  }

  /** @param unique makes the hidden name unique: handed in, e.g. random digits. @throws WRITE_FAILED */
  static async create(path: string, unique: string): Promise<FileSink> {
    try {
      const target = await targetOf(path);
      const partial = join(dirname(target), `.${basename(target)}.${unique}.partial`);
      return new FileSink(target, partial, await open(partial, 'wx', 0o600));
    } catch (cause) {
      throw writeFailed(path, cause);
    }
  }

  get bytes(): number {
    return this.#position;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const position = this.#position;
    this.#position += bytes.byteLength;
    const written = this.#writeParts(bytes, position);
    this.#underWay.add(written);
    try {
      await written;
    } finally {
      this.#underWay.delete(written);
    }
  }

  /** What lies between blocks of zeros. */
  #writeParts(bytes: Uint8Array, position: number): Promise<void> {
    const parts: Promise<void>[] = [];
    const write = (from: number, to: number): void => {
      if (from < to) parts.push(this.#writeAt(bytes.subarray(from, to), position + from));
    };
    let from = 0;
    let at = -position % HOLE_BYTES;
    if (at < 0) at += HOLE_BYTES;
    for (; at + HOLE_BYTES <= bytes.byteLength; at += HOLE_BYTES) {
      if (bytes[at] !== 0 || ZEROS.compare(bytes, at, at + HOLE_BYTES) !== 0) continue;
      write(from, at);
      from = at + HOLE_BYTES;
    }
    write(from, bytes.byteLength);
    if (bytes.byteLength > 0) this.#endsInHole = from === bytes.byteLength;
    return parts.length === 1 ? parts[0] : Promise.all(parts).then(() => undefined);
  }

  /** Goes on behind bytes that are zero without writing them: where the file system can, they take no room. */
  hole(bytes: number): Promise<void> {
    this.#position += bytes;
    this.#endsInHole = true;
    return Promise.resolve();
  }

  async #writeAt(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    try {
      while (done < bytes.byteLength) {
        const left = bytes.byteLength - done;
        done += (await this.#handle.write(bytes, done, left, position + done)).bytesWritten;
      }
    } catch (cause) {
      this.#failure ??= writeFailed(this.path, cause);
      throw this.#failure;
    }
  }

  /** Syncs the file, gives it its name, and syncs the directory. @throws WRITE_FAILED, and then there is no file. */
  async commit(): Promise<void> {
    try {
      await Promise.all(this.#underWay);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#endsInHole) await this.#handle.truncate(this.#position);
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#partial, this.path);
    } catch (cause) {
      await this.abort();
      throw cause instanceof TransmigrateError ? cause : writeFailed(this.path, cause);
    }
    await syncDirectory(dirname(this.path));
  }

  /** Gives up: no file is left. */
  async abort(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    await this.#handle.close().catch(() => undefined);
    await unlink(this.#partial).catch(() => undefined);
  }
}

/**
 * What a rename to this name would replace: the file that a symbolic link leads to, and nothing that is no file.
 * @throws TransmigrateError WRITE_FAILED, and what the system says
 */
async function targetOf(path: string): Promise<string> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    // It is new; whether its directory is there shows when something is written into it.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return path;
    throw error;
  }
  const found = await stat(target);
  if (found.isFile()) return target;
  const why = found.isDirectory() ? 'it is a directory' : 'it is there already, and it is no file';
  throw new TransmigrateError('WRITE_FAILED', `Can't write ${path}: ${why}`, {
    data: { file: path, reason: why },
    next: 'Name a file. Into a pipe or a device goes what is sent to standard output.',
  });
}

/** Makes a rename last. Not every system lets a directory be opened: there it lasts by itself. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => undefined);
  await directory?.sync().catch(() => undefined);
  await directory?.close();
}

function writeFailed(path: string, cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const why =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'the disk is full'
      : code === 'ENOENT'
        ? 'the directory does not exist'
        : code === 'EACCES' || code === 'EROFS'
          ? 'permission denied'
          : message;
  return new TransmigrateError('WRITE_FAILED', `Can't write ${path}: ${why}`, {
    cause,
    data: { file: path, reason: why },
  });
}
