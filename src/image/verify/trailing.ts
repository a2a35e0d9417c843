import { TransmigrateError } from '../../errors.ts';
import { finding, type Finding } from './verification.ts';

/**
 * What stands behind an image as a finding: zeros and other bytes are told apart, since zeros are what a container is
 * filled up with, and other bytes are what it held before.
 * @param container the image may be shorter than what it lies in. @param file named where several were given
 */
export function trailingFinding(
  { bytes, zero }: { readonly bytes: number; readonly zero: boolean },
  offset: number,
  container: boolean,
  section = 'foreign/xen-libxc 5',
  file?: string,
): Finding {
  const what = zero ? `${bytes} zero bytes` : `${bytes} bytes, not all of them zero,`;
  const where = container ? ' in its container' : '';
  const warning = new TransmigrateError('TRAILING_DATA', `${what} stand after the end of the image${where}`, {
    offset,
    path: 'end of stream',
    section,
    data: { bytes, zero },
    next: 'The image itself is whole; nothing need be done.',
  });
  warning.file = file;
  return finding(warning, 'warning');
}
