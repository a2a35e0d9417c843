import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageReader, ReaderOptions } from '../model/reader.ts';

/**
 * The reader of a format for who only looks: also of what holds no machine, and so can be neither opened nor converted.
 * Of all readers only the one that is needed is loaded.
 * @param image without what is wrapped around it; it stays the caller's.
 * @throws UNSUPPORTED_FEATURE for a format that is only known by name
 */
export async function lookingReader(
  format: FormatName,
  image: ByteSource,
  options: ReaderOptions & Work,
): Promise<ImageReader> {
  switch (format) {
    case 'xl-back':
      return new (await import('./xen/xl-back-reader.ts')).XlBackImageReader(image, options);
    case 'xen-libxc':
    case 'xen-libxc-v2':
    case 'libxl':
    case 'xl':
    case 'xenopsd':
      return new (await import('./xen/xen-reader.ts')).XenImageReader(format, image, options);
    default:
      return (await import('./reader-of.ts')).readerOf(format, image, options);
  }
}
