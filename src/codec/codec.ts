/**
 * How the content of a page, or of a run of pages, is stored: the codec numbers of the stream and the two functions
 * that turn original bytes into stored bytes and back.
 */

import { TransmigrateError } from '../errors.ts';
import { lz4Compress, lz4Decompress } from './lz4.ts';
import { lzo1xCompress, lzo1xDecompress } from './lzo1x.ts';
import { deflateDecode, deflateEncode, isZeroRange, zstdDecode, zstdEncode } from './platform.ts';
import { zstdFrameFault } from './zstd-frame.ts';

/** The codecs by name. The numbers are written into streams: they never change. */
export const CODEC = { zero: 0, raw: 1, zstd: 2, deflate: 3, lz4: 4, lzo1x: 5, opaque: 6 } as const;

/** A number of {@link CODEC}. */
export type CodecId = (typeof CODEC)[keyof typeof CODEC];

/** A name of {@link CODEC}. */
export type CodecName = keyof typeof CODEC;

const NAMES: readonly (CodecName | undefined)[] = ['zero', 'raw', 'zstd', 'deflate', 'lz4', 'lzo1x', 'opaque'];

/** Lowest, highest and default level of the codecs that have levels. */
export const CODEC_LEVELS = {
  zstd: { lowest: -7, highest: 19, standard: 1 },
  deflate: { lowest: 1, highest: 9, standard: 1 },
} as const;

/** Whether `id` is the number of a codec. */
export function isCodec(id: number): id is CodecId {
  return NAMES[id] !== undefined;
}

/** The name of a codec. Throws UNSUPPORTED_CODEC (data: codec) when there is none with this number. */
export function codecName(id: number): CodecName {
  const name = NAMES[id];
  if (name === undefined) throw unknownCodec(id);
  return name;
}

function unknownCodec(id: number): TransmigrateError {
  return new TransmigrateError('UNSUPPORTED_CODEC', `No codec has the number ${id}.`, { data: { codec: id } });
}

/** Says why `stored` is not `out.length` bytes in this codec; an empty string when it is, and `out` is filled. */
function decodeFault(codec: CodecId, stored: Uint8Array, out: Uint8Array): string {
  switch (codec) {
    case CODEC.zero:
      if (stored.length !== 0) return 'zero content has no stored bytes';
      out.fill(0);
      return '';
    case CODEC.raw:
      if (stored.length !== out.length) return 'raw content has another length than expected';
      out.set(stored);
      return '';
    case CODEC.zstd:
      return zstdFrameFault(stored, out.length) || zstdDecode(stored, out);
    case CODEC.deflate:
      return deflateDecode(stored, out);
    case CODEC.lz4:
      return lz4Decompress(stored, out);
    case CODEC.lzo1x:
      return lzo1xDecompress(stored, out);
    case CODEC.opaque:
      return 'opaque content is carried along and never decoded';
    default:
      throw unknownCodec(codec);
  }
}

/**
 * Fills `out` with the original content of `stored`.
 *
 * The stored bytes must be exactly one encoding of exactly out.length bytes: for zstd one frame (RFC 8878), for
 * deflate one raw stream (RFC 1951), for LZ4 one block, for LZO1X one stream, each with nothing after it. Whatever
 * the stored bytes are, nothing outside `out` is written, and time is in proportion to the two lengths. LZ4 and LZO1X
 * allocate nothing; zstd and deflate allocate out.length for the platform's answer and a decoder, whose window is at
 * most 8 MiB for a zstd frame that does not say its content size, and nothing or 32 KiB otherwise.
 *
 * Throws CODEC_DATA (data: codec, storedLength, expectedLength, reason) when they are not, and for `opaque`, which is
 * never decoded; UNSUPPORTED_CODEC (data: codec) for a number that is no codec. After either, the content of `out` is
 * unspecified. Both arrays stay the caller's and must not overlap.
 */
export function decodeInto(codec: CodecId, stored: Uint8Array, out: Uint8Array): void {
  const reason = decodeFault(codec, stored, out);
  if (reason === '') return;
  const name = codecName(codec);
  throw new TransmigrateError('CODEC_DATA', `Stored content cannot be decoded as ${name}: ${reason}.`, {
    data: { codec: name, storedLength: stored.length, expectedLength: out.length, reason },
  });
}

/** The level to use, checked. Throws USAGE (data: codec, level, lowest, highest). */
function checkedLevel(codec: keyof typeof CODEC_LEVELS, level: number | undefined): number {
  const { lowest, highest, standard } = CODEC_LEVELS[codec];
  if (level === undefined) return standard;
  if (Number.isInteger(level) && level >= lowest && level <= highest) return level;
  throw new TransmigrateError('USAGE', `The ${codec} codec has no level ${level}.`, {
    data: { codec, level, lowest, highest },
    next: `Choose a level from ${lowest} to ${highest}.`,
  });
}

/**
 * Encodes `original` to the start of `out` and returns the stored length, or -1 when it does not fit into out.length
 * (a caller that passes original.length - 1 or less asks for a result only if that is smaller). After -1, and behind
 * the returned length, the content of `out` is unspecified. `zero` returns 0 for an original of zeros, else -1.
 *
 * `level` is -7 to 19 for zstd and 1 to 9 for deflate, by default 1; the other codecs have one level and ignore it.
 * The same original and level give the same bytes on the same build; another zlib or zstd may choose others.
 *
 * Throws USAGE (data: codec, level, lowest, highest) for a level that the codec does not have, CODEC_DATA for
 * `opaque`, which only its producer can make, and UNSUPPORTED_CODEC for a number that is no codec. Both arrays stay
 * the caller's and must not overlap.
 */
export function encodeInto(codec: CodecId, original: Uint8Array, out: Uint8Array, level?: number): number {
  switch (codec) {
    case CODEC.zero:
      return isZeroRange(original, 0, original.length) ? 0 : -1;
    case CODEC.raw:
      if (original.length > out.length) return -1;
      out.set(original);
      return original.length;
    case CODEC.zstd:
      return zstdEncode(original, out, checkedLevel('zstd', level));
    case CODEC.deflate:
      return deflateEncode(original, out, checkedLevel('deflate', level));
    case CODEC.lz4:
      return lz4Compress(original, out);
    case CODEC.lzo1x:
      return lzo1xCompress(original, out);
    case CODEC.opaque: {
      const reason = 'opaque content is carried along and never encoded';
      throw new TransmigrateError('CODEC_DATA', `Content cannot be encoded as opaque: ${reason}.`, {
        data: { codec: 'opaque', originalLength: original.length, reason },
      });
    }
    default:
      throw unknownCodec(codec);
  }
}
