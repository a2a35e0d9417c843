/** Compressed input as a source of what is in it, in one pass. */
import type { ByteSource } from '../source.ts';
import { unpackBzip2 } from './bzip2.ts';
import { unpackError } from './fault.ts';
import { UNPACK_LIMITS } from './limits.ts';
import { unpackLz4 } from './lz4-frame.ts';
import { PieceReader } from './piece-reader.ts';
import { unpackWithZlib } from './platform.ts';
import { unpackXz } from './xz.ts';
import { unpackZstd } from './zstd.ts';

/** What can be unpacked. */
export type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'lz4';

export interface UnpackOptions {
  /** Most bytes that may come out; {@link UNPACK_LIMITS} says what it is otherwise. */
  readonly outputBytes?: number;
  /**
   * The input may be larger than what was put into it, as a block device is: what follows the last frame is ignored,
   * behind gzip only zeros.
   */
  readonly container?: boolean;
}

/**
 * The content of a compressed source, all its frames, members or streams one after the other. In order only: spool it
 * where random access is needed. Its memory is bounded by the limits of {@link UNPACK_LIMITS}, whatever the input
 * claims.
 *
 * Reading it throws TRUNCATED, CODEC_DATA, UNSUPPORTED_CODEC and LIMIT_EXCEEDED, each with the offset in the
 * compressed bytes.
 * @param source belongs to the result, whose `close` closes it.
 */
export function unpackedSource(source: ByteSource, compression: Compression, options: UnpackOptions = {}): ByteSource {
  return {
    name: source.name,
    size: null,
    container: source.container,
    random: null,
    pieces: () => unpackPieces(source.pieces(), compression, source.name, { container: source.container, ...options }),
    close: () => source.close(),
  };
}

/** {@link unpackedSource} for pieces. A piece is valid until the next is asked for. */
export async function* unpackPieces(
  pieces: AsyncIterable<Uint8Array>,
  compression: Compression,
  name: string,
  { outputBytes = UNPACK_LIMITS.outputBytes, container = false }: UnpackOptions = {},
): AsyncGenerator<Uint8Array> {
  const reader = new PieceReader(pieces);
  let total = 0;
  try {
    for await (const piece of decoder(compression, reader, pieces, name, container)) {
      total += piece.byteLength;
      if (total > outputBytes) {
        const what = `More than ${outputBytes} bytes come out of the ${compression} data`;
        throw unpackError('LIMIT_EXCEEDED', what, reader.offset, name);
      }
      if (piece.byteLength > 0) yield piece;
    }
  } finally {
    // Not waited for: a pipe may be asked for its next piece at this moment, and say nothing until it is closed.
    reader.stop().catch(() => undefined);
  }
}

function decoder(
  compression: Compression,
  reader: PieceReader,
  pieces: AsyncIterable<Uint8Array>,
  name: string,
  container: boolean,
): AsyncGenerator<Uint8Array> {
  if (compression === 'xz') return unpackXz(reader, name, container);
  if (compression === 'bzip2') return unpackBzip2(reader, name, container);
  if (compression === 'lz4') return unpackLz4(reader, name, container);
  if (compression === 'zstd') return unpackZstd(reader, name, container);
  return unpackWithZlib('gzip', pieces, name);
}
