import { open, type FileHandle } from 'node:fs/promises';
import type { RandomAccess } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from './source.ts';

/** Bytes of one read: large enough that calls do not count, small enough to be handed to another core's cache. */
const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * Opens a file or block device to read it, in order or at any place.
 * @throws READ_FAILED
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const stat = await handle.stat();
    if (stat.isDirectory()) throw new Error('it is a directory');
    if (stat.isFIFO() || stat.isCharacterDevice() || stat.isSocket())
      return new HandleSource(path, handle, null, false);
    // A block device says 0 for its size: reading in order finds its end.
    return new HandleSource(path, handle, stat.isBlockDevice() ? null : stat.size, stat.isBlockDevice());
  } catch (cause) {
    await handle?.close();
    throw readFailed(path, cause);
  }
}

function readFailed(name: string, cause: unknown): TransmigrateError {
  const code = (cause as NodeJS.ErrnoException).code;
  const why =
    code === 'ENOENT'
      ? 'there is no such file'
      : code === 'EACCES'
        ? 'permission denied'
        : cause instanceof Error
          ? cause.message
          : String(cause);
  return new TransmigrateError('READ_FAILED', `Can't read ${name}: ${why}`, {
    cause,
    data: { file: name, reason: why },
  });
}

class HandleSource implements ByteSource {
  readonly name: string;
  readonly size: number | null;
  readonly container: boolean;
  readonly random: RandomAccess | null;
  readonly #handle: FileHandle;

  constructor(name: string, handle: FileHandle, size: number | null, container: boolean) {
    this.name = name;
    this.size = size;
    this.container = container;
    this.#handle = handle;
    this.random = size === null ? null : { name, size, readAt: (position, into) => this.#readAt(position, into) };
  }

  /** Reads ahead: while one piece is worked on, the next is read by another thread. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const buffers = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
    let turn = 0;
    let next = this.#read(buffers[turn]);
    for (;;) {
      const length = await next;
      if (length === 0) return;
      const piece = buffers[turn].subarray(0, length);
      turn = 1 - turn;
      next = this.#read(buffers[turn]);
      // If the reader stops here, the read under way still ends by itself; its failure is nobody's.
      next.catch(() => undefined);
      yield piece;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #read(into: Uint8Array): Promise<number> {
    try {
      return (await this.#handle.read(into, 0, into.byteLength, null)).bytesRead;
    } catch (cause) {
      throw readFailed(this.name, cause);
    }
  }

  async #readAt(position: number, into: Uint8Array): Promise<number> {
    let done = 0;
    try {
      while (done < into.byteLength) {
        const { bytesRead } = await this.#handle.read(into, done, into.byteLength - done, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (cause) {
      throw readFailed(this.name, cause);
    }
    return done;
  }
}
