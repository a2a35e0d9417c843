import type { Readable } from 'node:stream';
import { plainBytes } from '../bytes/plain.ts';
import { readFailed } from './read-failed.ts';
import type { ByteSource } from './source.ts';

/** A pipe, such as standard input, as a source: in order only. */
export function openPipeSource(stream: Readable, name: string): ByteSource {
  return {
    name,
    size: null,
    container: false,
    random: null,
    async *pieces() {
      try {
        for await (const piece of stream) yield plainBytes(piece as Uint8Array);
      } catch (cause) {
        throw readFailed(name, cause);
      }
    },
    close: () => {
      stream.destroy();
      return Promise.resolve();
    },
  };
}
