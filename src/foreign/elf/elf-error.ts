import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** An error about an ELF core. @param section of spec/foreign/elf.md */
export function elfError(
  code: ErrorCode,
  what: string,
  offset: number,
  path: string,
  section: string,
): TransmigrateError {
  return new TransmigrateError(code, what, { offset, path: `ELF/${path}`, section: `foreign/elf ${section}` });
}
