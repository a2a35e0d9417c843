import { TransmigrateError } from '../errors.ts';

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Parses a JSON object whose size the caller has bounded already (stream 6.1).
 * The depth is counted on the bytes before anything is built, so a hostile input costs one pass.
 *
 * @throws LIMIT_EXCEEDED for deeper nesting than `maxDepth`, JSON_INVALID for what is not a JSON object in UTF-8.
 */
export function parseJsonObject(
  bytes: Uint8Array,
  maxDepth: number,
  where: { offset: number; path: string; section: string },
): JsonObject {
  const depth = nesting(bytes);
  if (depth > maxDepth) {
    throw new TransmigrateError('LIMIT_EXCEEDED', `JSON is nested ${depth} deep, the limit is ${maxDepth}`, where);
  }
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes.slice()));
  } catch (cause) {
    throw new TransmigrateError('JSON_INVALID', 'This is not JSON in UTF-8', { ...where, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TransmigrateError('JSON_INVALID', 'This JSON is not an object', where);
  }
  return value as JsonObject;
}

/** The deepest nesting of brackets outside of strings. Counts in broken JSON too, where it can only be too high. */
export function nesting(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (inString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > deepest) deepest = depth;
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
    }
  }
  return deepest;
}
