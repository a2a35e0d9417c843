import { plainBytes } from '../bytes/plain.ts';
import type { ByteSink, RandomAccess } from '../bytes/endpoints.ts';
import type { ByteSource } from './source.ts';

/** Bytes in memory as a source. @param pieceBytes how they are cut. */
export function memorySource(given: Uint8Array, name = 'memory', pieceBytes = 1024 * 1024): ByteSource {
  const bytes = plainBytes(given);
  const random: RandomAccess = {
    name,
    size: bytes.byteLength,
    readAt: (position, into) => {
      const part = bytes.subarray(position, position + into.byteLength);
      into.set(part);
      return Promise.resolve(part.byteLength);
    },
  };
  return {
    name,
    size: bytes.byteLength,
    container: false,
    random,
    async *pieces() {
      for (let at = 0; at < bytes.byteLength; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
    },
    close: () => Promise.resolve(),
  };
}

/** A sink that keeps everything, for tests and small images. */
export class MemorySink implements ByteSink {
  readonly #parts: Uint8Array[] = [];

  write(bytes: Uint8Array): Promise<void> {
    this.#parts.push(bytes.slice());
    return Promise.resolve();
  }

  /** Everything written so far, joined: a copy. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.byteLength, 0));
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.byteLength;
    }
    return all;
  }
}
