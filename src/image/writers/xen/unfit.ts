import { TransmigrateError } from '../../../errors.ts';
import type { FormatName } from '../../identify/layers.ts';

/** An image that a format can't be written of. @param missing what the format needs and the image lacks, by name. */
export function unfit(
  format: FormatName,
  what: string,
  missing: readonly string[],
  section: string,
): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', `No ${format} can be made of this image: ${what}`, {
    section,
    data: { format, missing },
    next: 'Choose another format: `transmigrate inspect` shows what the image holds.',
  });
}
