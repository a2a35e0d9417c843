/**
 * How files start: one table for what is identified, unpacked or only named. From file(1)'s public magic, RFC 1952
 * and 8878, the qcow2 and VHD specifications, Xen's docs/specs (libxc and libxl migration streams), spec/foreign/,
 * and the headers that xl, xenopsd, libvirt and QEMU write.
 */
import type { Compression } from '../io/compressed/unpack.ts';
import { MAGIC } from '../stream/preamble.ts';

/** A layer that a magic number is enough to know. ELF is looked into, since programs are ELF files too. */
export type MagicLayer =
  | 'tmig'
  | 'xl'
  | 'xenopsd'
  | 'libxl'
  | 'libxc'
  | 'libvirt'
  | 'qemu'
  | 'v86'
  | 'elf'
  | 'vhd'
  | 'xl-back';

export interface Magic {
  /** What it looks like, with its article. */
  readonly name: string;
  /** Bytes at the start, as Latin-1. */
  readonly magic: string;
  readonly layer?: MagicLayer;
  readonly compression?: Compression;
  /** The program that unpacks it to standard output, of what is not unpacked here. */
  readonly unpack?: string;
}

const MAGICS: readonly Magic[] = [
  { name: 'a transmigrate image', magic: String.fromCharCode(...MAGIC), layer: 'tmig' },
  { name: 'a gzip file', magic: '\x1f\x8b', compression: 'gzip', unpack: 'gzip -dc' },
  { name: 'a zstd file', magic: '\x28\xb5\x2f\xfd', compression: 'zstd', unpack: 'zstd -dc' },
  { name: 'an xz file', magic: '\xfd7zXZ\0', compression: 'xz', unpack: 'xz -dc' },
  { name: 'a bzip2 file', magic: 'BZh', compression: 'bzip2', unpack: 'bzip2 -dc' },
  { name: 'an lz4 file', magic: '\x04\x22\x4d\x18', compression: 'lz4', unpack: 'lz4 -dc' },
  { name: 'an lzop file', magic: '\x89LZO\0\r\n', unpack: 'lzop -dc' },
  { name: 'a zip archive', magic: 'PK\x03\x04', unpack: 'unzip -p' },
  { name: "a domain saved by Xen's xl", magic: 'Xen saved domain, xl format\n \0 \r', layer: 'xl' },
  { name: 'the answers of the target of xl migrate', magic: 'xl migration receiver ready', layer: 'xl-back' },
  { name: 'a domain saved by xenopsd', magic: 'XenSavedDomv2-\n', layer: 'xenopsd' },
  { name: 'a domain saved by xenopsd before 2015, with a stream without a version', magic: 'XenSavedDomain\n' },
  { name: 'a domain saved by xend, with a stream without a version', magic: 'LinuxGuestRecord' },
  { name: 'a Xen migration stream (libxl)', magic: 'LibxlFmt', layer: 'libxl' },
  { name: 'a Xen migration stream (libxc)', magic: `${'\xff'.repeat(8)}XENF`, layer: 'libxc' },
  { name: 'a domain saved by libvirt', magic: 'LibvirtQemudSave', layer: 'libvirt' },
  { name: 'a domain that libvirt did not finish to save', magic: 'LibvirtQemudPart', layer: 'libvirt' },
  { name: 'a QEMU migration stream', magic: 'QEVM', layer: 'qemu' },
  { name: "a state of v86's save_state", magic: '\x76\x86\x76\x86', layer: 'v86' },
  { name: 'a virtual hard disk (VHD)', magic: 'conectix', layer: 'vhd' },
  { name: 'a qcow2 disk image, which holds no memory', magic: 'QFI\xfb' },
  { name: 'an ELF file, such as a program or a core dump', magic: '\x7fELF', layer: 'elf' },
];

/** Bytes from the start that {@link magicOf} looks at: the longest magic has 32. */
export const MAGIC_BYTES = 64;

/** What starts like these first bytes; undefined when nothing known does. */
export function magicOf(head: Uint8Array): Magic | undefined {
  const start = String.fromCharCode(...head.subarray(0, MAGIC_BYTES));
  // `BZh` is short, and a text may start so: a digit of the block size follows.
  return MAGICS.find(({ magic }) => start.startsWith(magic) && (magic !== 'BZh' || /^BZh([1-9]|$)/.test(start)));
}
