/** The two headers of a libxc stream (foreign/xen-libxc 1 and 2). */
import { TransmigrateError } from '../../errors.ts';
import { DOMAIN_HEADER, HEADERS_BYTES, IMAGE_HEADER } from './constants.ts';
import { FieldsOut } from './fields.ts';
import type { Findings } from './findings.ts';

/** Both headers. The options and reserved fields are kept as they were, so that the same bytes can be written again. */
export interface LibxcHeader {
  readonly layer: 'libxc';
  readonly kind: 'HEADER';
  readonly offset: number;
  readonly version: 2 | 3;
  readonly littleEndian: boolean;
  readonly options: number;
  /** 6 bytes. */
  readonly reserved: Uint8Array;
  readonly domainType: number;
  readonly pageShift: number;
  readonly domainReserved: number;
  /** 0: the image was converted from the legacy format, and `xenMinor` is the version of the converter. */
  readonly xenMajor: number;
  readonly xenMinor: number;
}

const PATH = 'libxc header';

/**
 * Decodes both headers.
 * @param bytes 40 bytes.
 * @throws NOT_AN_IMAGE, UNSUPPORTED_VERSION, FIELD_VALUE for a size of pages that is not 4096 bytes.
 */
export function decodeLibxcHeader(bytes: Uint8Array, offset: number): LibxcHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADERS_BYTES);
  const section = 'foreign/xen-libxc 1';
  const marked = view.getUint32(0) === 0xffff_ffff && view.getUint32(4) === 0xffff_ffff;
  if (!marked || view.getUint32(8) !== IMAGE_HEADER.id) {
    throw new TransmigrateError('NOT_AN_IMAGE', 'No libxc stream begins here', { offset, path: PATH, section });
  }
  const version = view.getUint32(12);
  if (version !== 2 && version !== 3) {
    throw new TransmigrateError('UNSUPPORTED_VERSION', `A libxc stream of version ${version}`, {
      offset: offset + 12,
      path: `${PATH}/version`,
      section,
      data: { version, supported: IMAGE_HEADER.versions },
    });
  }
  const options = view.getUint16(16);
  const little = (options & IMAGE_HEADER.bigEndian) === 0;
  const pageShift = view.getUint16(28, little);
  if (pageShift !== DOMAIN_HEADER.pageShift) {
    throw new TransmigrateError('FIELD_VALUE', `Pages of 2^${pageShift} bytes: only 4096 bytes are known`, {
      offset: offset + 28,
      path: `${PATH}/page_shift`,
      section: 'foreign/xen-libxc 2',
    });
  }
  return {
    layer: 'libxc',
    kind: 'HEADER',
    offset,
    version,
    littleEndian: little,
    options,
    reserved: bytes.slice(18, 24),
    domainType: view.getUint32(24, little),
    pageShift,
    domainReserved: view.getUint16(30, little),
    xenMajor: view.getUint32(32, little),
    xenMinor: view.getUint32(36, little),
  };
}

/** Reports what is unusual in a header (foreign/xen-libxc 11). */
export function checkLibxcHeader(header: LibxcHeader, findings: Findings): void {
  const { offset, options, domainType } = header;
  if (!header.littleEndian) findings.report('BIG_ENDIAN', offset, `${PATH}/options`);
  if (domainType !== 1 && domainType !== 2) {
    findings.report('DOMAIN_TYPE', offset + 24, `${PATH}/type`, { type: domainType });
  }
  if ((options & ~IMAGE_HEADER.bigEndian) !== 0) {
    findings.report('RESERVED_FIELD', offset + 16, `${PATH}/options`, { value: options });
  }
  if (header.reserved.some((byte) => byte !== 0)) findings.report('RESERVED_FIELD', offset + 18, `${PATH}/reserved`);
  if (header.domainReserved !== 0) {
    findings.report('RESERVED_FIELD', offset + 30, `${PATH}/reserved`, { value: header.domainReserved });
  }
}

/** What a header is made of when it is not one that was read. */
export interface LibxcHeaderChoice {
  readonly version?: 2 | 3;
  readonly domainType: number;
  readonly xenMajor: number;
  readonly xenMinor: number;
}

/** A little-endian header without anything unusual. */
export function libxcHeader({ version = 3, domainType, xenMajor, xenMinor }: LibxcHeaderChoice): LibxcHeader {
  return {
    layer: 'libxc',
    kind: 'HEADER',
    offset: 0,
    version,
    littleEndian: true,
    options: 0,
    reserved: new Uint8Array(6),
    domainType,
    pageShift: DOMAIN_HEADER.pageShift,
    domainReserved: 0,
    xenMajor,
    xenMinor,
  };
}

/** The 40 bytes of both headers. @throws RangeError when the options contradict the byte order. */
export function encodeLibxcHeader(header: LibxcHeader): Uint8Array {
  if (header.littleEndian !== ((header.options & IMAGE_HEADER.bigEndian) === 0)) {
    throw new RangeError('the options of the header contradict its byte order');
  }
  const image = new FieldsOut(IMAGE_HEADER.bytes, false);
  image.u32(0xffff_ffff).u32(0xffff_ffff).u32(IMAGE_HEADER.id).u32(header.version);
  image.u16(header.options).put(header.reserved);
  const domain = new FieldsOut(DOMAIN_HEADER.bytes, header.littleEndian);
  domain.u32(header.domainType).u16(header.pageShift).u16(header.domainReserved);
  domain.u32(header.xenMajor).u32(header.xenMinor);
  const bytes = new Uint8Array(HEADERS_BYTES);
  bytes.set(image.done());
  bytes.set(domain.done(), IMAGE_HEADER.bytes);
  return bytes;
}
