/**
 * The adapter between unpacking and Node: the one file of this folder that imports from `node:`. In a browser it is
 * the one to replace, by another with the same exports.
 */
import { createHash } from 'node:crypto';
import type { Transform } from 'node:stream';
import { constants, crc32 as zlibCrc32, createGunzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { plainBytes } from '../../bytes/plain.ts';
import { unpackError } from './fault.ts';
import { UNPACK_LIMITS } from './limits.ts';

/** The CRC-32 of gzip; `seed` is the CRC of the bytes before these. */
export function crc32(bytes: Uint8Array, seed: number): number {
  return zlibCrc32(bytes, seed);
}

/** A SHA-256 that is fed piece by piece. */
export function startSha256(): { update(bytes: Uint8Array): void; digest(): Uint8Array } {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
}

const OUTPUT_PIECE = 1024 * 1024;

/**
 * Unpacks gzip, all members of the input, or one frame of zstd, which the caller has checked to end where the pieces
 * do. A piece is valid until the next is asked for.
 */
export async function* unpackWithZlib(
  kind: 'gzip' | 'zstd',
  pieces: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array> {
  const params = { [constants.ZSTD_d_windowLogMax]: UNPACK_LIMITS.zstdWindowLog };
  const transform =
    kind === 'gzip'
      ? createGunzip({ chunkSize: OUTPUT_PIECE })
      : createZstdDecompress({ chunkSize: OUTPUT_PIECE, params });
  let failure: unknown;
  let consumed = 0;
  const feed = async (): Promise<void> => {
    for await (const piece of pieces) {
      consumed += piece.byteLength;
      // The piece may be changed as soon as the next is asked for, so it is waited until it is used up.
      await written(transform, piece);
      if (transform.destroyed) return;
    }
    transform.end();
  };
  const feeding = feed().catch((error: unknown) => {
    failure = error;
    transform.destroy();
  });
  try {
    for await (const piece of transform) yield plainBytes(piece as Uint8Array);
    await feeding;
  } catch (error) {
    failure ??= error;
  } finally {
    // What feeds it ends with its next piece. It is not waited for: a pipe may say nothing until it is closed.
    transform.destroy();
  }
  // Outside of the try: whoever leaves in the middle hears of no failure.
  if (failure !== undefined) throw explained(failure, kind, consumed, name);
}

/** Resolves when the transform has used the piece, or is destroyed. */
function written(transform: Transform, piece: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (transform.destroyed) return resolve();
    const gone = (): void => resolve();
    transform.once('close', gone);
    transform.write(piece, () => {
      transform.off('close', gone);
      resolve();
    });
  });
}

/** zlib's codes are stable and say more than its messages. */
function explained(error: unknown, kind: string, offset: number, name: string): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const code = 'code' in error ? String(error.code) : '';
  if (!/^Z_|^ZSTD_/.test(code)) return error;
  if (code === 'Z_BUF_ERROR') return unpackError('TRUNCATED', `The ${kind} data end too early`, offset, name);
  return unpackError(
    'CODEC_DATA',
    `The ${kind} data can't be unpacked: the decoder refuses them (${code})`,
    offset,
    name,
  );
}

/**
 * A sink that compresses as one zstd frame with a checksum, and hands it on; {@link end} must be called, and ends the
 * frame.
 * @param level one that zstd has.
 */
export class ZstdSink implements ByteSink {
  readonly #transform: Transform;
  readonly #done: Promise<void>;

  constructor(sink: ByteSink, level = 3) {
    this.#transform = createZstdCompress({
      chunkSize: OUTPUT_PIECE,
      params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
    });
    this.#done = this.#drain(sink);
    // It is waited for in `write` and `end`; until then its failure is nobody's.
    this.#done.catch(() => undefined);
  }

  async write(bytes: Uint8Array): Promise<void> {
    await written(this.#transform, bytes);
    if (this.#transform.destroyed) await this.#done;
  }

  /** Ends the frame. The sink that it is written to stays open. */
  async end(): Promise<void> {
    this.#transform.end();
    await this.#done;
  }

  async #drain(sink: ByteSink): Promise<void> {
    for await (const piece of this.#transform) await sink.write(piece as Uint8Array);
  }
}
