import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** An error about compressed input. @param offset in the compressed bytes, as near as the decoder can say. */
export function unpackError(
  code: ErrorCode,
  what: string,
  offset: number,
  name: string,
  next?: string,
): TransmigrateError {
  return new TransmigrateError(code, what, { offset, path: name, ...(next !== undefined && { next }) });
}
