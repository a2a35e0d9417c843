/** Bytes that a record holds in some codec: what stream 7.3 and 7.4 say of their lengths, wherever they stand. */
import { CODEC, codecName, decodeInto, isCodec, type CodecId } from '../../codec/codec.ts';
import { TransmigrateError, type ErrorDetails } from '../../errors.ts';

/** A piece of content as it is stored. */
export interface Stored {
  readonly codec: CodecId;
  /** Length of the original content in bytes. */
  readonly bytes: number;
  /** A view into the record: valid as long as that is. */
  readonly stored: Uint8Array;
}

/**
 * Checks codec and lengths of content outside of tmem pools (stream 7.3).
 * @throws UNSUPPORTED_CODEC, FIELD_VALUE for a codec that has no place here, LENGTH_MISMATCH.
 */
export function checkStored(codec: number, bytes: number, stored: number, where: ErrorDetails): CodecId {
  if (!isCodec(codec)) {
    throw new TransmigrateError('UNSUPPORTED_CODEC', `Codec ${codec} is unknown`, { ...where, data: { codec } });
  }
  if (codec === CODEC.zero || codec === CODEC.opaque) {
    throw new TransmigrateError('FIELD_VALUE', `Codec ${codecName(codec)} has no place here`, where);
  }
  if (codec === CODEC.raw ? stored !== bytes : stored < 1 || stored >= bytes) {
    const what = `${stored} stored bytes can't be ${bytes} bytes in codec ${codecName(codec)}`;
    throw new TransmigrateError('LENGTH_MISMATCH', what, { ...where, data: { codec, bytes, stored } });
  }
  return codec;
}

/**
 * The original content: a view of the record when it is raw, else decoded into `scratch`, which is at least `bytes`
 * long.
 * @throws CODEC_DATA with the place, when the stored bytes are not what they say.
 */
export function contentOf(piece: Stored, scratch: Uint8Array, where: ErrorDetails): Uint8Array {
  if (piece.codec === CODEC.raw) return piece.stored;
  const out = scratch.subarray(0, piece.bytes);
  decodeAt(piece.codec, piece.stored, out, where);
  return out;
}

/** {@link decodeInto}, with the place in what it throws. */
export function decodeAt(codec: CodecId, stored: Uint8Array, out: Uint8Array, where: ErrorDetails): void {
  try {
    decodeInto(codec, stored, out);
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    throw new TransmigrateError(error.code, error.message, { ...where, data: error.data });
  }
}
