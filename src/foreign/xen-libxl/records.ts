/** Header and records of a libxl stream (spec/foreign/xen-libxl.md). */
import { TransmigrateError } from '../../errors.ts';
import { Fields, FieldsOut, type Place } from '../xen-libxc/fields.ts';
import type { Findings } from '../xen-libxc/findings.ts';
import type { RecordFrame } from '../xen-libxc/records.ts';

/** Header (foreign/xen-libxl 1): `LibxlFmt` in ASCII, and option bits. */
export const LIBXL_HEADER = {
  bytes: 16,
  identHigh: 0x4c696278,
  identLow: 0x6c466d74,
  version: 2,
  bigEndian: 1,
  legacy: 2,
} as const;

/** Types of records (foreign/xen-libxl 3). */
export const LIBXL_TYPE = {
  END: 0,
  LIBXC_CONTEXT: 1,
  EMULATOR_XENSTORE_DATA: 2,
  EMULATOR_CONTEXT: 3,
  CHECKPOINT_END: 4,
  CHECKPOINT_STATE: 5,
} as const;

export type LibxlTypeName = keyof typeof LIBXL_TYPE;

const NAMES = new Map<number, LibxlTypeName>(
  Object.entries(LIBXL_TYPE).map(([name, type]) => [type, name as LibxlTypeName]),
);

export function libxlTypeName(type: number): LibxlTypeName | undefined {
  return NAMES.get(type);
}

const SECTION: Readonly<Record<LibxlTypeName | 'UNKNOWN', string>> = {
  END: 'foreign/xen-libxl 4',
  LIBXC_CONTEXT: 'foreign/xen-libxl 4',
  EMULATOR_XENSTORE_DATA: 'foreign/xen-libxl 5.1',
  EMULATOR_CONTEXT: 'foreign/xen-libxl 5',
  CHECKPOINT_END: 'foreign/xen-libxl 6',
  CHECKPOINT_STATE: 'foreign/xen-libxl 6.1',
  UNKNOWN: 'foreign/xen-libxl 3',
};

/** The section of our specification about a record type. */
export function libxlSection(type: number): string {
  return SECTION[libxlTypeName(type) ?? 'UNKNOWN'];
}

export const LIBXL_LIMITS = {
  /** Bytes of a body. Xen has no limit; this is that of libxc (foreign/xen-libxl 3). */
  recordBytes: 128 * 1024 * 1024,
  /** Keys of one EMULATOR_XENSTORE_DATA that are decoded (foreign/xen-libxl 5.1). */
  xenstorePairs: 65_536,
} as const;

/** Kinds of emulators (foreign/xen-libxl 5). */
export const EMULATOR = { unknown: 0, qemuTraditional: 1, qemuUpstream: 2 } as const;

/** What CHECKPOINT_STATE says (foreign/xen-libxl 6.1). */
export const CHECKPOINT_STATE = { new: 0, secondarySuspended: 1, secondaryReady: 2, secondaryResumed: 3 } as const;

export interface LibxlHeader {
  readonly layer: 'libxl';
  readonly kind: 'HEADER';
  readonly offset: number;
  readonly littleEndian: boolean;
  /** Whether the stream was converted from the legacy format. */
  readonly fromLegacy: boolean;
  readonly options: number;
}

/** @param bytes 16 bytes. @throws NOT_AN_IMAGE, UNSUPPORTED_VERSION */
export function decodeLibxlHeader(bytes: Uint8Array, offset: number): LibxlHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, LIBXL_HEADER.bytes);
  const place = { offset, path: 'libxl header', section: 'foreign/xen-libxl 1' };
  if (view.getUint32(0) !== LIBXL_HEADER.identHigh || view.getUint32(4) !== LIBXL_HEADER.identLow) {
    throw new TransmigrateError('NOT_AN_IMAGE', 'No libxl stream begins here', place);
  }
  const version = view.getUint32(8);
  if (version !== LIBXL_HEADER.version) {
    const data = { version, supported: [LIBXL_HEADER.version] };
    throw new TransmigrateError('UNSUPPORTED_VERSION', `A libxl stream of version ${version}`, { ...place, data });
  }
  const options = view.getUint32(12);
  return {
    layer: 'libxl',
    kind: 'HEADER',
    offset,
    littleEndian: (options & LIBXL_HEADER.bigEndian) === 0,
    fromLegacy: (options & LIBXL_HEADER.legacy) !== 0,
    options,
  };
}

export function checkLibxlHeader({ offset, options, littleEndian }: LibxlHeader, findings: Findings): void {
  if (!littleEndian) findings.report('BIG_ENDIAN', offset, 'libxl header/options');
  const unknown = (options & ~(LIBXL_HEADER.bigEndian | LIBXL_HEADER.legacy)) >>> 0;
  if (unknown !== 0) findings.report('RESERVED_FIELD', offset, 'libxl header/options', { value: unknown });
}

/** The 16 bytes of a header with these options. */
export function encodeLibxlHeader(options: number): Uint8Array {
  const out = new FieldsOut(LIBXL_HEADER.bytes, false).u32(LIBXL_HEADER.identHigh).u32(LIBXL_HEADER.identLow);
  return out.u32(LIBXL_HEADER.version).u32(options).done();
}

export interface LibxlEmptyBody {
  readonly kind: 'END' | 'LIBXC_CONTEXT' | 'CHECKPOINT_END';
  /** A body that should not be there. */
  readonly rest: Uint8Array;
}
/** Nodes of xenstore, or the state, of an emulator. `xenstorePairs` takes the nodes apart. */
export interface EmulatorBody {
  readonly kind: 'EMULATOR_XENSTORE_DATA' | 'EMULATOR_CONTEXT';
  /** One of {@link EMULATOR}. */
  readonly emulator: number;
  readonly index: number;
  readonly content: Uint8Array;
}
export interface CheckpointStateBody {
  readonly kind: 'CHECKPOINT_STATE';
  /** One of {@link CHECKPOINT_STATE}. */
  readonly state: number;
  readonly rest: Uint8Array;
}
export interface LibxlUnknownBody {
  readonly kind: 'UNKNOWN';
  readonly content: Uint8Array;
}

export type LibxlBody = LibxlEmptyBody | EmulatorBody | CheckpointStateBody | LibxlUnknownBody;

/** A record as a reader hands it out. Its bytes are lent: valid until the next call of `read`. */
export type LibxlRecord = LibxlBody & { readonly layer: 'libxl'; readonly frame: RecordFrame };

export function libxlPath({ sequence, type }: Pick<RecordFrame, 'sequence' | 'type'>): string {
  return `libxl record ${sequence} (${libxlTypeName(type) ?? `type 0x${type.toString(16)}`})`;
}

/** Decodes a body, which is lent to the result. @throws LENGTH_MISMATCH; UNKNOWN_RECORD for a mandatory record. */
export function decodeLibxlBody(frame: RecordFrame, body: Uint8Array, little: boolean): LibxlBody {
  const place: Place = { offset: frame.offset, path: libxlPath(frame), section: libxlSection(frame.type) };
  const fields = new Fields(body, little, place);
  const name = libxlTypeName(frame.type);
  switch (name) {
    case undefined:
      if (frame.type < 0x8000_0000) {
        throw fields
          .error('UNKNOWN_RECORD', `A mandatory record that is not known: type 0x${frame.type.toString(16)}`)
          .with({ data: { type: frame.type } });
      }
      return { kind: 'UNKNOWN', content: body };
    case 'END':
    case 'LIBXC_CONTEXT':
    case 'CHECKPOINT_END':
      return { kind: name, rest: body };
    case 'EMULATOR_XENSTORE_DATA':
    case 'EMULATOR_CONTEXT': {
      const [emulator, index] = [fields.u32('emulator_id'), fields.u32('index')];
      return { kind: name, emulator, index, content: fields.rest() };
    }
    case 'CHECKPOINT_STATE':
      return { kind: name, state: fields.u32('id'), rest: fields.rest() };
  }
}

export function encodeLibxlBody(body: LibxlBody, little: boolean): Uint8Array {
  switch (body.kind) {
    case 'END':
    case 'LIBXC_CONTEXT':
    case 'CHECKPOINT_END':
      return body.rest;
    case 'EMULATOR_XENSTORE_DATA':
    case 'EMULATOR_CONTEXT': {
      const out = new FieldsOut(8 + body.content.byteLength, little);
      return out.u32(body.emulator).u32(body.index).put(body.content).done();
    }
    case 'CHECKPOINT_STATE':
      return new FieldsOut(4 + body.rest.byteLength, little).u32(body.state).put(body.rest).done();
    case 'UNKNOWN':
      return body.content;
  }
}

/** One node: bytes that xenstore takes, as Latin-1, so that each byte is one character. */
export interface XenstorePair {
  readonly key: string;
  readonly value: string;
}

/** What is wrong with nodes, as libxl would say it; '' where nothing is (foreign/xen-libxl 5.1). */
export type XenstoreFault = '' | 'key-unterminated' | 'key-empty' | 'key-absolute' | 'value-unterminated' | 'too-many';

/** Keys and values of EMULATOR_XENSTORE_DATA, as far as libxl takes them. */
export function xenstorePairs(content: Uint8Array): { pairs: XenstorePair[]; fault: XenstoreFault } {
  const pairs: XenstorePair[] = [];
  for (let at = 0; at < content.byteLength;) {
    if (pairs.length === LIBXL_LIMITS.xenstorePairs) return { pairs, fault: 'too-many' };
    const keyEnd = content.indexOf(0, at);
    if (keyEnd < 0) return { pairs, fault: 'key-unterminated' };
    if (keyEnd === at) return { pairs, fault: 'key-empty' };
    if (content[at] === 0x2f) return { pairs, fault: 'key-absolute' };
    const valueEnd = content.indexOf(0, keyEnd + 1);
    if (valueEnd < 0) return { pairs, fault: 'value-unterminated' };
    pairs.push({ key: latin1(content.subarray(at, keyEnd)), value: latin1(content.subarray(keyEnd + 1, valueEnd)) });
    at = valueEnd + 1;
  }
  return { pairs, fault: '' };
}

/** The content of EMULATOR_XENSTORE_DATA. @throws RangeError for keys that libxl would refuse. */
export function xenstoreContent(pairs: readonly XenstorePair[]): Uint8Array {
  const text = pairs.map(({ key, value }) => `${key}\0${value}\0`).join('');
  const bytes = Uint8Array.from(text, (character) => character.codePointAt(0)!);
  const read = xenstorePairs(bytes);
  if (read.fault !== '' || read.pairs.length !== pairs.length || latin1(bytes) !== text) {
    throw new RangeError('keys and values that can not be written');
  }
  return bytes;
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCodePoint(byte);
  return text;
}
