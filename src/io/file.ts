import { constants, open as openDescriptor } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { RandomAccess } from '../bytes/endpoints.ts';
import { openPipeSource } from './pipe.ts';
import { cannotRead, readFailed } from './read-failed.ts';
import type { ByteSource } from './source.ts';

/** Bytes of one read: large enough that calls do not count, small enough to be handed to another core's cache. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** Opening must not wait for the writer of a named pipe, or for a modem: nothing could end that wait. */
const OPEN_FLAGS = constants.O_RDONLY | ((constants as Partial<typeof constants>).O_NONBLOCK ?? 0);

/**
 * Opens a file or block device to read it, in order or at any place; or a named pipe, to read it in order.
 * @throws READ_FAILED
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle | undefined;
  try {
    if ((await stat(path)).isFIFO()) return await openNamedPipe(path);
    handle = await open(path, OPEN_FLAGS);
    const found = await handle.stat();
    if (found.isDirectory()) throw cannotRead(path, 'it is a directory', 'Name a file in it.');
    if (found.isCharacterDevice() && (await import('node:tty')).isatty(handle.fd))
      throw cannotRead(path, 'it is a terminal', 'Name a file, a block device or a pipe.');
    if (found.isBlockDevice()) return new HandleSource(path, handle, await deviceBytes(handle), true);
    return new HandleSource(path, handle, found.isFile() ? found.size : null, false);
  } catch (cause) {
    await handle?.close();
    throw readFailed(path, cause);
  }
}

/** A read of a pipe that says nothing would hold a thread, and the process with it: a socket waits without one. */
async function openNamedPipe(path: string): Promise<ByteSource> {
  const { Socket } = await import('node:net');
  const fd = await promisify(openDescriptor)(path, OPEN_FLAGS);
  return openPipeSource(new Socket({ fd, readable: true, writable: false }), path);
}

/**
 * Size of a block device, whose `stat` says 0: where reading finds nothing more, found by halving.
 * @returns null when the device does not let itself be read like that.
 */
async function deviceBytes(handle: FileHandle): Promise<number | null> {
  const one = new Uint8Array(1);
  const isThere = async (position: number): Promise<boolean> =>
    (await handle.read(one, 0, 1, position)).bytesRead === 1;
  try {
    let low = 0;
    let high = 1;
    while (await isThere(high - 1)) {
      low = high;
      high *= 2;
      if (high > Number.MAX_SAFE_INTEGER / 2) return null;
    }
    // Byte low - 1 is there, byte high - 1 is not.
    while (high - low > 1) {
      const middle = low + Math.floor((high - low) / 2);
      if (await isThere(middle - 1)) low = middle;
      else high = middle;
    }
    return low;
  } catch {
    return null;
  }
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
    let position = 0;
    let next = this.#read(buffers[turn], position);
    for (;;) {
      const length = await next;
      if (length === 0) return;
      position += length;
      const piece = buffers[turn].subarray(0, length);
      turn = 1 - turn;
      next = this.#read(buffers[turn], position);
      // If the reader stops here, the read under way still ends by itself; its failure is nobody's.
      next.catch(() => undefined);
      yield piece;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Character devices have no places: they are read from where they are. */
  async #read(into: Uint8Array, position: number): Promise<number> {
    try {
      const place = this.random === null ? null : position;
      return (await this.#handle.read(into, 0, into.byteLength, place)).bytesRead;
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
