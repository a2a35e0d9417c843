import type { TransmigrateError } from '../errors.ts';

interface Lookalike {
  /** What it looks like, with its article. */
  readonly name: string;
  /** Bytes at the start, as Latin-1. */
  readonly magic: string;
  /** The program that unpacks it to standard output. */
  readonly unpack?: string;
}

/**
 * How files start that are taken for images, or are images of others: from file(1)'s public magic, RFC 1952 and 8878,
 * the qcow2 specification, Xen's docs/specs (libxc and libxl migration streams), and the headers that xl, xenopsd,
 * libvirt and QEMU write.
 */
const LOOKALIKES: readonly Lookalike[] = [
  { name: 'a gzip file', magic: '\x1f\x8b', unpack: 'gzip -dc' },
  { name: 'a zstd file', magic: '\x28\xb5\x2f\xfd', unpack: 'zstd -dc' },
  { name: 'an xz file', magic: '\xfd7zXZ\0', unpack: 'xz -dc' },
  { name: 'a bzip2 file', magic: 'BZh', unpack: 'bzip2 -dc' },
  { name: 'an lz4 file', magic: '\x04\x22\x4d\x18', unpack: 'lz4 -dc' },
  { name: 'an lzop file', magic: '\x89LZO\0\r\n', unpack: 'lzop -dc' },
  { name: 'a zip archive', magic: 'PK\x03\x04', unpack: 'unzip -p' },
  { name: "a domain saved by Xen's xl", magic: 'Xen saved domain, xl format' },
  { name: 'a domain saved by xenopsd', magic: 'XenSavedDomain' },
  { name: 'a Xen migration stream (libxl)', magic: 'LibxenFmt' },
  { name: 'a Xen migration stream (libxc)', magic: `${'\xff'.repeat(8)}XENF` },
  { name: 'a domain saved by libvirt', magic: 'LibvirtQemud' },
  { name: 'a QEMU migration stream', magic: 'QEVM' },
  { name: 'a qcow2 disk image, which holds no memory', magic: 'QFI\xfb' },
  { name: 'an ELF file, such as a program or a core dump', magic: '\x7fELF' },
];

/** What a file that is no image may be, from its first bytes; undefined when they say nothing. */
export function lookalikeOf(head: Uint8Array): Omit<Lookalike, 'magic'> | undefined {
  const start = String.fromCharCode(...head);
  const found = LOOKALIKES.find(({ magic }) => start.startsWith(magic));
  if (found !== undefined || start === '') return found;
  if (/^\0+$/.test(start)) return { name: 'zeros' };
  return /^[\t\n\r\x20-\x7e]*$/.test(start) ? { name: 'text' } : undefined;
}

/** The error, with advice for what the input seems to be: for NOT_AN_IMAGE, and for an input without a byte. */
export function withLookalike(error: TransmigrateError, head: Uint8Array): TransmigrateError {
  if (error.code === 'TRUNCATED' && head.byteLength === 0) {
    return advised(error, 'It is empty: whatever was to write it has failed, or has not begun.', {});
  }
  if (error.code !== 'NOT_AN_IMAGE') return error;
  const like = lookalikeOf(head);
  if (like === undefined) return error;
  const { name, unpack } = like;
  const next =
    unpack === undefined
      ? `It looks like ${name}: is this the right file?`
      : `It looks like ${name}: unpack it first, \`${unpack} FILE | transmigrate -\`.`;
  return advised(error, next, { looksLike: name });
}

function advised(error: TransmigrateError, next: string, data: Readonly<Record<string, string>>): TransmigrateError {
  return error.with({ next, data: { ...error.data, ...data } });
}
