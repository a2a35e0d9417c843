import type { TransmigrateError } from '../errors.ts';
import { magicOf, type Magic } from './magic.ts';

/** What an input seems to be, with its article, and the program that unpacks it to standard output. */
export type Lookalike = Pick<Magic, 'name' | 'unpack'>;

/** What a file that is no image may be, from its first bytes; undefined when they say nothing. */
export function lookalikeOf(head: Uint8Array): Lookalike | undefined {
  const found = magicOf(head);
  if (found !== undefined || head.byteLength === 0) return found;
  const start = String.fromCharCode(...head);
  if (/^\0+$/.test(start)) return { name: 'zeros' };
  return /^[\t\n\r\x20-\x7e]*$/.test(start) ? { name: 'text' } : undefined;
}

/** The error, with advice for what the input seems to be: for NOT_AN_IMAGE, and for an input without a byte. */
export function withLookalike(error: TransmigrateError, head: Uint8Array): TransmigrateError {
  if (error.code === 'TRUNCATED' && head.byteLength === 0) {
    return advised(error, 'It is empty: whatever was to write it has failed, or has not begun.', {});
  }
  if (error.code !== 'NOT_AN_IMAGE') return error;
  const like = lookalikeOf(head);
  if (like === undefined) return error;
  const { name, unpack } = like;
  const next =
    unpack === undefined
      ? `It looks like ${name}: is this the right file?`
      : `It looks like ${name}: unpack it first, \`${unpack} FILE | transmigrate -\`.`;
  return advised(error, next, { looksLike: name });
}

function advised(error: TransmigrateError, next: string, data: Readonly<Record<string, string>>): TransmigrateError {
  return error.with({ next, data: { ...error.data, ...data } });
}
