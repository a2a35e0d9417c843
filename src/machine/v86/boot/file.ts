/** Reading little-endian numbers of a file that a guest is started from, each within bounds. */

import { TransmigrateError } from '../../../errors.ts';

export interface BootFile {
  readonly bytes: Uint8Array;
  readonly what: string;
  u8(offset: number): number;
  u16(offset: number): number;
  u32(offset: number): number;
  /** A part of the file, not copied. */
  part(offset: number, byteLength: number): Uint8Array;
}

/** An error about the file at this place. */
export function bootFileError(what: string, offset: number, wrong: string): TransmigrateError {
  return new TransmigrateError('BOOT_FILE', `The ${what} ${wrong}`, { offset, data: { what } });
}

/** Wraps the bytes of a file; they are not copied. Every read outside throws BOOT_FILE. */
export function bootFile(bytes: Uint8Array, what: string): BootFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const check = (offset: number, byteLength: number): void => {
    if (offset < 0 || byteLength < 0 || offset + byteLength > bytes.length) {
      throw bootFileError(what, Math.min(offset, bytes.length), 'is shorter than it says of itself');
    }
  };
  return {
    bytes,
    what,
    u8: (offset) => {
      check(offset, 1);
      return view.getUint8(offset);
    },
    u16: (offset) => {
      check(offset, 2);
      return view.getUint16(offset, true);
    },
    u32: (offset) => {
      check(offset, 4);
      return view.getUint32(offset, true);
    },
    part: (offset, byteLength) => {
      check(offset, byteLength);
      return bytes.subarray(offset, offset + byteLength);
    },
  };
}
