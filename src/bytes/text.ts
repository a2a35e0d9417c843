import { TransmigrateError } from '../errors.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Decodes UTF-8 strictly (stream 1.4).
 * @throws STRING_INVALID for what is not UTF-8 or holds U+0000.
 */
export function decodeText(bytes: Uint8Array, offset: number, path: string, section: string): string {
  let text: string;
  try {
    // A view into shared memory can't be decoded in browsers, so a copy is taken: strings are short.
    text = decoder.decode(bytes.slice());
  } catch (cause) {
    throw new TransmigrateError('STRING_INVALID', 'A string is not valid UTF-8', { offset, path, section, cause });
  }
  if (text.includes('\0')) {
    throw new TransmigrateError('STRING_INVALID', 'A string holds the character U+0000', { offset, path, section });
  }
  return text;
}

/** Encodes a string for stream 1.4. @throws RangeError for a lone surrogate or U+0000: both can't be written. */
export function encodeText(text: string): Uint8Array {
  if (!text.isWellFormed() || text.includes('\0')) throw new RangeError('a string with a lone surrogate or U+0000');
  return encoder.encode(text);
}
