import { plainBytes } from '../bytes/plain.ts';
import { TransmigrateError } from '../errors.ts';
import { readFailed } from './read-failed.ts';
import type { ByteSource } from './source.ts';

/**
 * Anything that gives bytes in pieces as a source, in order only: a stream of Node's, one of the web's, a generator.
 * It is read once. Whoever stops early ends it, as `for await` does.
 */
export function iterableSource(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, name: string): ByteSource {
  return {
    name,
    size: null,
    container: false,
    random: null,
    async *pieces() {
      try {
        for await (const piece of pieces) {
          if (!(piece instanceof Uint8Array)) {
            throw new TransmigrateError('READ_FAILED', `${name} gives no bytes but ${typeof piece}`, {
              next: 'Leave the encoding of the stream away.',
            });
          }
          yield plainBytes(piece);
        }
      } catch (cause) {
        throw cause instanceof TransmigrateError ? cause : readFailed(name, cause);
      }
    },
    close: () => Promise.resolve(),
  };
}
