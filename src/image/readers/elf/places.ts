/** What of an ELF core is named by its tables, and what is not. */
import { elfError } from '../../../foreign/elf/elf-error.ts';
import { elfTables, type ElfFile } from '../../../foreign/elf/elf-file.ts';
import { elfRegions } from '../../../foreign/elf/regions.ts';
import type { FoundFindings } from '../found.ts';
import type { RandomInput } from '../random-input.ts';

/** One above the last byte that header and tables name. */
export function elfEnd(file: ElfFile): number {
  return elfRegions(file, elfTables(file.header, file.sections[0])).reduce(
    (end, { offset, length }) => Math.max(end, offset + length),
    0,
  );
}

/** @throws TRUNCATED when the file ends before what its tables name does */
export function checkWhole(input: RandomInput, end: number): void {
  if (end <= input.size) return;
  const what = `The tables name bytes up to ${end}, and the file has ${input.size}`;
  throw elfError('TRUNCATED', what, input.size, 'tables', '2.1');
}

/**
 * Reports bytes between what the tables name that are not zero (foreign/elf 2.1).
 * @param end of the image: a region beyond it was refused, or will be.
 */
export async function reportGaps(
  input: RandomInput,
  file: ElfFile,
  end: number,
  findings: FoundFindings,
): Promise<void> {
  let at = 0;
  for (const { offset, length } of elfRegions(file, elfTables(file.header, file.sections[0]))) {
    const until = Math.min(offset, end);
    if (until > at && !(await input.isZero(at, until))) {
      const place = { offset: at, path: 'ELF', section: 'foreign/elf 2.1' };
      findings.report('strict', 'GAP_CONTENT', 'bytes that no table names are not zero', place, { bytes: until - at });
    }
    at = Math.max(at, offset + length);
  }
}

/** Reports what follows an image in its file. @returns how many bytes, and whether all are zero */
export async function trailingOf(
  input: RandomInput,
  end: number,
  findings: FoundFindings,
  section: string,
): Promise<{ readonly bytes: number; readonly zero: boolean }> {
  const bytes = Math.max(0, input.size - end);
  if (bytes === 0) return { bytes: 0, zero: true };
  const zero = await input.isZero(end, input.size);
  const place = { offset: end, path: input.name, section };
  findings.report('warning', 'TRAILING_DATA', 'bytes follow the image', place, { bytes, zero });
  return { bytes, zero };
}
