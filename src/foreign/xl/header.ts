/** The header that `xl save` writes before a libxl stream, and what it carries (foreign/xl 1 and 2). */
import { parseJsonObject, type JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import { FieldsOut } from '../xen-libxc/fields.ts';
import type { Findings } from '../xen-libxc/findings.ts';

/** Layout and flags (foreign/xl 1). */
export const XL_HEADER = {
  bytes: 48,
  magic: 'Xen saved domain, xl format\n \0 \r',
  byteOrder: 0x01020304,
  json: 1,
  streamV2: 2,
} as const;

export const XL_LIMITS = {
  /** Bytes of optional data. Xen has no limit; a configuration has a few thousand (foreign/xl 2). */
  optionalBytes: 16 * 1024 * 1024,
  configDepth: 64,
} as const;

/** Header and optional data. Bytes are copies. */
export interface XlHeader {
  readonly layer: 'xl';
  readonly kind: 'HEADER';
  readonly offset: number;
  readonly littleEndian: boolean;
  readonly mandatoryFlags: number;
  readonly optionalFlags: number;
  /** All optional data, as they were. */
  readonly optionalData: Uint8Array;
  /** The configuration in them, or null where there is none. */
  readonly config: Uint8Array | null;
  readonly configFormat: 'json' | 'text';
}

/** What stands in the first 48 bytes. */
export interface XlFixedHeader {
  readonly littleEndian: boolean;
  readonly mandatoryFlags: number;
  readonly optionalFlags: number;
  readonly optionalBytes: number;
}

const MAGIC = Uint8Array.from(XL_HEADER.magic, (character) => character.codePointAt(0)!);
const PATH = 'xl header';

/** @param bytes 48 bytes. @throws NOT_AN_IMAGE, FIELD_VALUE, UNSUPPORTED_FEATURE, LIMIT_EXCEEDED */
export function decodeXlFixedHeader(bytes: Uint8Array, offset: number): XlFixedHeader {
  const place = { offset, path: PATH, section: 'foreign/xl 1' };
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new TransmigrateError('NOT_AN_IMAGE', 'No file of xl save begins here', place);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, XL_HEADER.bytes);
  const little = view.getUint32(32, true) === XL_HEADER.byteOrder;
  if (!little && view.getUint32(32) !== XL_HEADER.byteOrder) {
    throw new TransmigrateError('FIELD_VALUE', 'The mark of the byte order is none', { ...place, offset: offset + 32 });
  }
  const mandatoryFlags = view.getUint32(36, little);
  const unknown = (mandatoryFlags & ~(XL_HEADER.json | XL_HEADER.streamV2)) >>> 0;
  if (unknown !== 0) {
    const what = `Mandatory flags that are not known: 0x${unknown.toString(16)}`;
    throw new TransmigrateError('UNSUPPORTED_FEATURE', what, { ...place, offset: offset + 36, data: { unknown } });
  }
  const optionalBytes = view.getUint32(44, little);
  if (optionalBytes > XL_LIMITS.optionalBytes) {
    const what = `${optionalBytes} bytes of optional data, the limit is ${XL_LIMITS.optionalBytes}`;
    throw new TransmigrateError('LIMIT_EXCEEDED', what, { ...place, offset: offset + 44, section: 'foreign/xl 2' });
  }
  return { littleEndian: little, mandatoryFlags, optionalFlags: view.getUint32(40, little), optionalBytes };
}

/** Takes the optional data apart, and reports what is unusual. @param optionalData copied. */
export function decodeXlHeader(
  fixed: XlFixedHeader,
  optionalData: Uint8Array,
  offset: number,
  findings: Findings,
): XlHeader {
  const { littleEndian, mandatoryFlags, optionalFlags } = fixed;
  const data = optionalData.slice();
  if (!littleEndian) findings.report('XL_BYTE_ORDER', offset + 32, PATH);
  if (optionalFlags !== 0) findings.report('XL_OPTIONAL_FLAGS', offset + 40, PATH, { flags: optionalFlags });
  let config: Uint8Array | null = null;
  const at = offset + XL_HEADER.bytes;
  if (data.byteLength >= 4) {
    const length = new DataView(data.buffer).getUint32(0, littleEndian);
    if (length > data.byteLength - 4) findings.report('XL_CONFIG_LENGTH', at, PATH, { length });
    else config = data.subarray(4, 4 + length);
    const left = data.byteLength - 4 - length;
    if (left > 0) findings.report('XL_OPTIONAL_DATA_LEFT', at + 4 + length, PATH, { bytes: left });
  } else if (data.byteLength > 0) {
    findings.report('XL_CONFIG_LENGTH', at, PATH, { length: data.byteLength });
  }
  if (config === null && data.byteLength === 0) findings.report('XL_NO_CONFIG', at, PATH);
  const configFormat = (mandatoryFlags & XL_HEADER.json) === 0 ? 'text' : 'json';
  return {
    layer: 'xl',
    kind: 'HEADER',
    offset,
    littleEndian,
    mandatoryFlags,
    optionalFlags,
    optionalData: data,
    config,
    configFormat,
  };
}

/**
 * The configuration of the domain as libxl wrote it: up to its first NUL, as xl reads it.
 * @throws LIMIT_EXCEEDED, JSON_INVALID; RangeError where it is not JSON.
 */
export function xlConfig(header: XlHeader): JsonObject {
  if (header.config === null || header.configFormat !== 'json') throw new RangeError('there is no JSON configuration');
  const end = header.config.indexOf(0);
  const text = end < 0 ? header.config : header.config.subarray(0, end);
  const offset = header.offset + XL_HEADER.bytes + 4;
  return parseJsonObject(text, XL_LIMITS.configDepth, { offset, path: `${PATH}/config`, section: 'foreign/xl 2' });
}

/** A header around a JSON configuration, which gets its NUL. */
export function xlHeader(config: string): XlHeader {
  const text = new TextEncoder().encode(config);
  const bytes = new Uint8Array(text.byteLength + 1);
  bytes.set(text);
  return xlHeaderAround(bytes, 'json');
}

/** A header around the bytes of a configuration, JSON with its NUL; null for one without. @param config copied. */
export function xlHeaderAround(config: Uint8Array | null, configFormat: 'json' | 'text'): XlHeader {
  const length = config?.byteLength ?? 0;
  const optionalData =
    config === null ? new Uint8Array(0) : new FieldsOut(4 + length, true).u32(length).put(config).done();
  return {
    layer: 'xl',
    kind: 'HEADER',
    offset: 0,
    littleEndian: true,
    mandatoryFlags: (configFormat === 'json' ? XL_HEADER.json : 0) | XL_HEADER.streamV2,
    optionalFlags: 0,
    optionalData,
    config: config === null ? null : optionalData.subarray(4),
    configFormat,
  };
}

/** The bytes of header and optional data. */
export function encodeXlHeader(header: XlHeader): Uint8Array {
  const { littleEndian, mandatoryFlags, optionalFlags, optionalData } = header;
  const out = new FieldsOut(XL_HEADER.bytes + optionalData.byteLength, littleEndian).put(MAGIC);
  out.u32(XL_HEADER.byteOrder).u32(mandatoryFlags).u32(optionalFlags).u32(optionalData.byteLength);
  return out.put(optionalData).done();
}
