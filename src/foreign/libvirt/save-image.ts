/** What stands before the QEMU stream in a save image of libvirt (spec/foreign/libvirt.md). */
import { decodeText, encodeText } from '../../bytes/text.ts';
import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** The header (foreign/libvirt 1). */
export const LIBVIRT = {
  magic: 'LibvirtQemudSave',
  /** What the file is called while it is written: libvirt changes it when all is there. */
  partialMagic: 'LibvirtQemudPart',
  headerBytes: 92,
  /** Where in the header the place of the cookie stands. */
  cookieAt: 32,
  version: 2,
  /** Zeros after the texts, so that they can be edited in place (foreign/libvirt 2). */
  spareBytes: 65_536,
} as const;

export const LIBVIRT_LIMITS = {
  /** Bytes of domain XML, cookie and padding. */
  dataBytes: 16 * 1024 * 1024,
} as const;

const MAGIC_BYTES = 16;
const RESERVED_BYTES = 56;

/** How the QEMU stream is compressed, by the number in the header (foreign/libvirt 1.1). */
export const LIBVIRT_COMPRESSION = ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd', 'sparse'] as const;
export type LibvirtCompression = (typeof LIBVIRT_COMPRESSION)[number];
/** What can be read here. */
const READABLE: readonly string[] = ['raw', 'gzip', 'bzip2', 'xz', 'zstd'];

export interface LibvirtHead {
  /** The save was not finished: what follows may end anywhere. */
  readonly partial: boolean;
  readonly version: number;
  readonly littleEndian: boolean;
  /** 0 when the guest was paused. */
  readonly wasRunning: number;
  /** The number in the header: {@link compressionName} has its name. */
  readonly compression: number;
  /** The domain, as XML. */
  readonly xml: string;
  /** What libvirt wants to know beside it, as XML too; undefined where there is none. */
  readonly cookie: string | undefined;
  /** Bytes of the texts with what pads them. */
  readonly dataBytes: number;
  /** Reserved fields, as they stand there. */
  readonly reserved: Uint8Array;
  /** Whether what pads the texts is zero: otherwise {@link encodeLibvirtHead} does not give the same bytes. */
  readonly zeroPadded: boolean;
  /** Where the QEMU stream starts. */
  readonly streamOffset: number;
}

function fault(code: ErrorCode, what: string, offset: number, field: string, section: string): TransmigrateError {
  return new TransmigrateError(code, what, { offset, path: `libvirt/${field}`, section: `foreign/libvirt ${section}` });
}

/**
 * How many bytes from the start {@link parseLibvirtHead} needs.
 * @param header at least 92 bytes from the start, or all there are.
 * @throws NOT_AN_IMAGE, TRUNCATED, UNSUPPORTED_VERSION, LIMIT_EXCEEDED
 */
export function libvirtHeadBytes(header: Uint8Array): number {
  const magic = String.fromCharCode(...header.subarray(0, MAGIC_BYTES));
  const known = [LIBVIRT.magic, LIBVIRT.partialMagic].some((name) => name.startsWith(magic));
  if (!known) throw fault('NOT_AN_IMAGE', 'These bytes are no save image of libvirt', 0, 'magic', '1');
  if (header.byteLength < LIBVIRT.headerBytes) {
    throw fault('TRUNCATED', 'The file ends in its header', header.byteLength, 'header', '1');
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const little = isLittleEndian(view);
  const version = view.getUint32(16, little);
  if (version === 0 || version > LIBVIRT.version) {
    throw fault('UNSUPPORTED_VERSION', `A save image of version ${version}`, 16, 'version', '1');
  }
  const dataBytes = view.getUint32(20, little);
  if (dataBytes > LIBVIRT_LIMITS.dataBytes) {
    const what = `Texts of ${dataBytes} bytes, the limit is ${LIBVIRT_LIMITS.dataBytes}`;
    throw fault('LIMIT_EXCEEDED', what, 20, 'data_len', '1');
  }
  return LIBVIRT.headerBytes + dataBytes;
}

/** A version that cannot be is one of the other byte order (foreign/libvirt 1). */
function isLittleEndian(view: DataView): boolean {
  return view.getUint32(16, true) <= view.getUint32(16, false);
}

/**
 * Reads header and texts.
 * @param head at least {@link libvirtHeadBytes} bytes from the start; more is ignored.
 * @throws as it does, and FIELD_VALUE, STRING_INVALID.
 */
export function parseLibvirtHead(head: Uint8Array): LibvirtHead {
  const streamOffset = libvirtHeadBytes(head);
  if (head.byteLength < streamOffset) {
    throw fault('TRUNCATED', 'The file ends in the description of the domain', head.byteLength, 'data', '2');
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const littleEndian = isLittleEndian(view);
  const data = head.subarray(LIBVIRT.headerBytes, streamOffset);
  const cookieAt = view.getUint32(32, littleEndian);
  const xml = textAt(data, 0, 'xml');
  if (cookieAt !== 0 && (cookieAt < xml.end || cookieAt >= data.byteLength)) {
    const what = `The cookie is at ${cookieAt}, and the XML ends at ${xml.end} of ${data.byteLength}`;
    throw fault('FIELD_VALUE', what, 32, 'cookie_offset', '2');
  }
  const cookie = cookieAt === 0 ? undefined : textAt(data, cookieAt, 'cookie');
  const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
  return {
    partial: String.fromCharCode(...head.subarray(0, MAGIC_BYTES)) === LIBVIRT.partialMagic,
    version: view.getUint32(16, littleEndian),
    littleEndian,
    wasRunning: view.getUint32(24, littleEndian),
    compression: view.getUint32(28, littleEndian),
    xml: xml.text,
    cookie: cookie?.text,
    dataBytes: data.byteLength,
    reserved: head.slice(LIBVIRT.headerBytes - RESERVED_BYTES, LIBVIRT.headerBytes),
    zeroPadded: isZero(data.subarray(cookie?.end ?? xml.end)) && (cookie === undefined || cookieAt === xml.end),
    streamOffset,
  };
}

function textAt(data: Uint8Array, at: number, field: string): { text: string; end: number } {
  const end = data.indexOf(0, at);
  const offset = LIBVIRT.headerBytes + at;
  if (end < 0) throw fault('FIELD_VALUE', `The ${field} has no end`, offset, field, '2');
  const text = decodeText(data.subarray(at, end), offset, `libvirt/${field}`, 'foreign/libvirt 2');
  return { text, end: end + 1 };
}

/** What a head is written from: as it is parsed, with what follows from the rest left out. */
export type LibvirtHeadChoice = Pick<LibvirtHead, 'xml' | 'cookie' | 'wasRunning' | 'compression'> &
  Partial<Pick<LibvirtHead, 'partial' | 'version' | 'littleEndian' | 'reserved'>> & {
    readonly dataBytes?: number | undefined;
  };

/**
 * Writes header and texts: what goes before the QEMU stream. Without `dataBytes` they get as much room as libvirt
 * gives them. Texts that do not fit are the caller's defect, and a RangeError.
 */
export function encodeLibvirtHead(choice: LibvirtHeadChoice): Uint8Array {
  const xml = encodeText(choice.xml);
  const cookie = choice.cookie === undefined ? undefined : encodeText(choice.cookie);
  const texts = xml.byteLength + 1 + (cookie === undefined ? 0 : cookie.byteLength + 1);
  const dataBytes = choice.dataBytes ?? texts + LIBVIRT.spareBytes;
  if (dataBytes < texts || dataBytes > LIBVIRT_LIMITS.dataBytes) {
    throw new RangeError(`texts of ${texts} bytes in ${dataBytes}`);
  }
  const bytes = new Uint8Array(LIBVIRT.headerBytes + dataBytes);
  const view = new DataView(bytes.buffer);
  const little = choice.littleEndian ?? true;
  bytes.set(encodeText(choice.partial === true ? LIBVIRT.partialMagic : LIBVIRT.magic));
  view.setUint32(16, choice.version ?? LIBVIRT.version, little);
  view.setUint32(20, dataBytes, little);
  view.setUint32(24, choice.wasRunning, little);
  view.setUint32(28, choice.compression, little);
  view.setUint32(32, cookie === undefined ? 0 : xml.byteLength + 1, little);
  if (choice.reserved !== undefined) bytes.set(choice.reserved, LIBVIRT.headerBytes - RESERVED_BYTES);
  bytes.set(xml, LIBVIRT.headerBytes);
  if (cookie !== undefined) bytes.set(cookie, LIBVIRT.headerBytes + xml.byteLength + 1);
  return bytes;
}

/** The name of a compression, also of one that can't be read here; undefined for a number that nobody has given out. */
export function compressionName(compression: number): LibvirtCompression | undefined {
  return LIBVIRT_COMPRESSION[compression];
}

/**
 * The compression of an image whose QEMU stream is to be read.
 * @throws UNSUPPORTED_CODEC by name for lzop and sparse, and for numbers that nobody has given out.
 */
export function readableCompression(head: LibvirtHead): 'raw' | 'gzip' | 'bzip2' | 'xz' | 'zstd' {
  const name = compressionName(head.compression);
  if (name !== undefined && READABLE.includes(name)) return name as 'raw';
  const what = `The QEMU stream is stored as ${name ?? `format ${head.compression}, which has no name`}`;
  throw fault('UNSUPPORTED_CODEC', what, 28, 'compressed', '1.1').with({
    data: { compression: name ?? head.compression },
    next: 'Save it again with `save_image_format` set to raw, gzip, bzip2, xz or zstd in qemu.conf of libvirt.',
  });
}
