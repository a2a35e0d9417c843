/** How a QEMU migration stream starts (spec/foreign/libvirt.md, section 3). What follows is opaque for now. */
import { TransmigrateError } from '../../errors.ts';

/** The first eight bytes, big-endian: a magic and a version (foreign/libvirt 3). */
export const QEMU_STREAM = { magic: 'QEVM', version: 3, headerBytes: 8 } as const;

/** @param bytes at least eight from the start of the stream, or all there are. @throws NOT_AN_IMAGE, TRUNCATED,
 * UNSUPPORTED_VERSION */
export function parseQemuStreamHead(bytes: Uint8Array): { readonly version: number } {
  const where = { offset: 0, path: 'QEMU/header', section: 'foreign/libvirt 3' };
  if (!QEMU_STREAM.magic.startsWith(String.fromCharCode(...bytes.subarray(0, 4)))) {
    throw new TransmigrateError('NOT_AN_IMAGE', 'These bytes are no migration stream of QEMU', where);
  }
  if (bytes.byteLength < QEMU_STREAM.headerBytes) {
    const offset = bytes.byteLength;
    throw new TransmigrateError('TRUNCATED', 'The stream ends in its header', { ...where, offset });
  }
  const version = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4);
  if (version !== QEMU_STREAM.version) {
    throw new TransmigrateError('UNSUPPORTED_VERSION', `A QEMU stream of version ${version}`, { ...where, offset: 4 });
  }
  return { version };
}
