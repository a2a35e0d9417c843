import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageReader, ReaderOptions } from '../model/reader.ts';
import { readerOf } from './reader-of.ts';
import { XlBackImageReader } from './xen/xl-back-reader.ts';

/**
 * The reader of a format for who only looks: also of what holds no machine, and so can be neither opened nor converted.
 * @param image without what is wrapped around it; it stays the caller's.
 * @throws UNSUPPORTED_FEATURE for a format that is only known by name
 */
export function lookingReader(format: FormatName, image: ByteSource, options: ReaderOptions & Work): ImageReader {
  return format === 'xl-back' ? new XlBackImageReader(image, options) : readerOf(format, image, options);
}
