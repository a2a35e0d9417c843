import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageReader, ReaderOptions } from '../model/reader.ts';
import { ProgramCoreReader } from './elf/program-core-reader.ts';
import { XenCoreReader } from './elf/xen-core-reader.ts';
import { LibvirtReader } from './libvirt/libvirt-reader.ts';
import { RawReader } from './raw/raw-reader.ts';
import { TmigImageReader } from './tmig/tmig-reader.ts';
import { V86Reader } from './v86/v86-reader.ts';
import { XenImageReader } from './xen/xen-reader.ts';

/**
 * The reader of a format.
 * @param image without what is wrapped around it; it stays the caller's.
 * @throws UNSUPPORTED_FEATURE for a format that is only known by name
 */
export function readerOf(format: FormatName, image: ByteSource, options: ReaderOptions & Work = {}): ImageReader {
  switch (format) {
    case 'tmig':
      return new TmigImageReader(image, options);
    case 'xen-libxc':
    case 'xen-libxc-v2':
    case 'libxl':
    case 'xl':
    case 'xenopsd':
      return new XenImageReader(format, image, options);
    case 'xen-core':
      return new XenCoreReader(image, options);
    case 'elf-core':
      return new ProgramCoreReader(image, options);
    case 'raw':
      return new RawReader(image, options);
    case 'v86':
      return new V86Reader(image, options);
    case 'libvirt':
      return new LibvirtReader(image, options);
    case 'xl-back':
      throw new TransmigrateError(
        'IMAGE_UNFIT',
        'This is what the target of xl migrate answered: no machine is in it',
        {
          offset: 0,
          path: image.name,
          section: 'foreign/xl 3',
        },
      );
    case 'qemu':
      throw new TransmigrateError('UNSUPPORTED_FEATURE', `Images of the format ${format} can't be read yet`, {
        offset: 0,
        path: image.name,
        data: { format },
      });
  }
}
