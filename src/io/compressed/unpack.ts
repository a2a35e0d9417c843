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
    pieces: () => unpackPieces(source.pieces(), compression, source.name, options),
    close: () => source.close(),
  };
}

/** {@link unpackedSource} for pieces. A piece is valid until the next is asked for. */
export async function* unpackPieces(
  pieces: AsyncIterable<Uint8Array>,
  compression: Compression,
  name: string,
  { outputBytes = UNPACK_LIMITS.outputBytes }: UnpackOptions = {},
): AsyncGenerator<Uint8Array> {
  const reader = new PieceReader(pieces);
  let total = 0;
  try {
    for await (const piece of decoder(compression, reader, pieces, name)) {
      total += piece.byteLength;
      if (total > outputBytes) {
        const what = `More than ${outputBytes} bytes come out of the ${compression} data`;
        throw unpackError('LIMIT_EXCEEDED', what, reader.offset, name);
      }
      if (piece.byteLength > 0) yield piece;
    }
  } finally {
    await reader.stop();
  }
}

function decoder(
  compression: Compression,
  reader: PieceReader,
  pieces: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array> {
  if (compression === 'xz') return unpackXz(reader, name);
  if (compression === 'bzip2') return unpackBzip2(reader, name);
  if (compression === 'lz4') return unpackLz4(reader, name);
  if (compression === 'zstd') return unpackZstd(reader, name);
  return unpackWithZlib('gzip', pieces, name);
}
