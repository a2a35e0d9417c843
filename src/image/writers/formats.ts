/** Which formats images can be written in, what each holds, and its writer. */
import { TransmigrateError } from '../../errors.ts';
import type { FormatName } from '../identify/layers.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { writeElfCore } from './elf-core.ts';
import {
  ELF_CORE_HOLDS,
  LIBVIRT_HOLDS,
  LIBXL_HOLDS,
  RAW_HOLDS,
  TMIG_HOLDS,
  V86_HOLDS,
  XEN_CORE_HOLDS,
  XEN_LIBXC_HOLDS,
  XEN_LIBXC_V2_HOLDS,
  XENOPSD_HOLDS,
  XL_HOLDS,
  type FormatHolds,
} from './holds.ts';
import { writeLibvirt } from './libvirt.ts';
import type { PreparedWrite, WriteOptions } from './prepared.ts';
import { writeRaw } from './raw.ts';
import { writeV86 } from './v86.ts';
import { writeXenCore } from './xen-core.ts';
import { isXenFormat, prepareXen } from './xen/write-xen.ts';

/** All formats that can be written, in the order of the documentation. */
export const HOLDS: readonly FormatHolds[] = [
  TMIG_HOLDS,
  XEN_LIBXC_HOLDS,
  XEN_LIBXC_V2_HOLDS,
  LIBXL_HOLDS,
  XL_HOLDS,
  XENOPSD_HOLDS,
  LIBVIRT_HOLDS,
  V86_HOLDS,
  XEN_CORE_HOLDS,
  ELF_CORE_HOLDS,
  RAW_HOLDS,
];

/** Names for `--to`. */
export const TARGETS: readonly FormatName[] = HOLDS.map(({ format }) => format);

/** What a format holds. @throws UNSUPPORTED_FEATURE for one that is not written */
export function holdsOf(format: FormatName): FormatHolds {
  const holds = HOLDS.find((one) => one.format === format);
  if (holds !== undefined) return holds;
  throw new TransmigrateError('UNSUPPORTED_FEATURE', `Images of the format ${format} can't be written`, {
    data: { format, formats: TARGETS },
    next: `Choose one of ${TARGETS.join(', ')}.`,
  });
}

/**
 * Makes ready to write an open image anew, in a foreign format: all that the format needs is fetched, so that nothing
 * is written when something is missing.
 *
 * @throws IMAGE_UNFIT for what the format needs and the image lacks; the errors of the image. What is returned throws
 * the errors of the image, CANCELLED, and what the sink throws.
 */
export async function prepareImage(
  format: FormatName,
  image: OpenedImage,
  options: WriteOptions,
): Promise<PreparedWrite> {
  if (isXenFormat(format)) return prepareXen(format, image, options);
  const { pages } = image.memory;
  switch (format) {
    case 'libvirt':
      return (sink) => writeLibvirt(image, sink, options).then(() => 0);
    case 'v86':
      return (sink) => writeV86(image, sink, options).then(() => pages);
    case 'xen-core':
      return (sink) => writeXenCore(image, sink, options).then(() => pages);
    case 'elf-core':
      return (sink) => writeElfCore(image, sink, options).then(() => pages);
    case 'raw':
      return (sink) => writeRaw(image, sink, options).then(() => pages);
    default:
      // Throws for what is not one of HOLDS.
      holdsOf(format);
      throw new RangeError(`${format} is made event by event`);
  }
}
