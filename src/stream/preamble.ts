import { equalBytes, toUuid } from '../bytes/hex.ts';
import { crc32 } from '../codec/platform.ts';
import { TransmigrateError } from '../errors.ts';
import { LIMITS } from './limits.ts';

/** Bytes of a preamble (stream 2). */
export const PREAMBLE_BYTES = 128;
/** The magic of stream 2. */
export const MAGIC: Uint8Array = Uint8Array.of(0x89, 0x54, 0x4d, 0x49, 0x47, 0x52, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0xff);

export const VERSION = { major: 1, minor: 0 } as const;
export const KIND = { save: 1, migration: 2, incremental: 3, core: 4 } as const;
export const BYTE_ORDER = { little: 1, big: 2 } as const;
export const DOMAIN = { unknown: 0, pv: 1, hvm: 2, pvh: 3, 'emulated-tmem': 4, emulated: 5 } as const;
export const DIRECTION = { forward: 0, back: 1 } as const;

export type KindName = keyof typeof KIND;
export type ByteOrderName = keyof typeof BYTE_ORDER;
export type DomainName = keyof typeof DOMAIN;
export type DirectionName = keyof typeof DIRECTION;

/** Features that a reader must know, by bit (stream 16.4). None is built; all are refused by these names. */
export const MUST_KNOW = ['ENCRYPTED', 'PAGE_REFERENCES', 'DELTAS', 'INCREMENTAL'] as const;
/** Features that a reader may ignore, by bit. */
export const MAY_IGNORE = ['INDEXED'] as const;
const INCREMENTAL = 1n << 3n;
const INDEXED = 1n;

/** What a preamble says (stream 2). */
export interface Preamble {
  readonly major: number;
  readonly minor: number;
  readonly kind: KindName;
  /** Byte order of the guest's memory; the stream itself is little-endian. */
  readonly byteOrder: ByteOrderName;
  readonly wordBits: number;
  readonly domainType: DomainName;
  /** ELF e_machine. */
  readonly machine: number;
  /** Bytes. */
  readonly pageSize: number;
  readonly direction: DirectionName;
  readonly mustKnow: bigint;
  readonly mayIgnore: bigint;
  /** 16 bytes, in the shape of a uuid. */
  readonly streamId: string;
  readonly channels: number;
  readonly channel: number;
  /** The preamble's CRC, which is also the tag in every record header of the channel. */
  readonly checksum: number;
}

/** Whether an index and a footer follow END (stream 13). */
export function isIndexed(preamble: Preamble): boolean {
  return (preamble.mayIgnore & INDEXED) !== 0n;
}

/** Names of the set bits of a feature set; `bit N` where there is no name. */
export function featureNames(bits: bigint, names: readonly string[]): string[] {
  const found: string[] = [];
  for (let bit = 0; bits >> BigInt(bit) !== 0n; bit++) {
    if ((bits >> BigInt(bit)) & 1n) found.push(names[bit] ?? `bit ${bit}`);
  }
  return found;
}

/** What a writer chooses; the rest of a preamble follows from it. */
export interface PreambleChoice {
  readonly kind: KindName;
  readonly byteOrder: ByteOrderName;
  readonly wordBits: 32 | 64;
  readonly domainType: DomainName;
  readonly machine: number;
  readonly pageSize: number;
  /** 16 random bytes. Handed in, since nothing here draws random numbers. */
  readonly streamId: Uint8Array;
  readonly direction?: DirectionName;
  readonly channels?: number;
  readonly channel?: number;
  readonly indexed?: boolean;
}

/**
 * Encodes a preamble of this version.
 * @throws RangeError for a choice that the format has no place for: a defect of the caller.
 */
export function encodePreamble(choice: PreambleChoice): Uint8Array {
  const { channels = 1, channel = 0, direction = 'forward', indexed = false } = choice;
  const pageShift = Math.log2(choice.pageSize);
  const bad =
    !Number.isInteger(pageShift) || pageShift < LIMITS.pageShiftMin || pageShift > LIMITS.pageShiftMax
      ? `page size ${choice.pageSize}`
      : channels < 1 || channels > LIMITS.channels || channel < 0 || channel >= channels
        ? `channel ${channel} of ${channels}`
        : indexed && (channels > 1 || direction === 'back')
          ? 'an index on a stream with several channels or in direction back'
          : choice.streamId.byteLength !== 16
            ? 'a stream id that is not 16 bytes'
            : choice.kind === 'incremental'
              ? 'kind incremental'
              : '';
  if (bad !== '') throw new RangeError(`the stream format has no place for ${bad}`);
  const bytes = new Uint8Array(PREAMBLE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint16(12, VERSION.major, true);
  view.setUint16(14, VERSION.minor, true);
  view.setUint8(16, KIND[choice.kind]);
  view.setUint8(17, BYTE_ORDER[choice.byteOrder]);
  view.setUint8(18, choice.wordBits);
  view.setUint8(19, DOMAIN[choice.domainType]);
  view.setUint16(20, choice.machine, true);
  view.setUint8(22, pageShift);
  view.setUint8(23, DIRECTION[direction]);
  view.setBigUint64(32, indexed ? INDEXED : 0n, true);
  bytes.set(choice.streamId, 40);
  view.setUint16(56, channels, true);
  view.setUint16(58, channel, true);
  view.setUint32(124, crc32(bytes.subarray(0, 124)), true);
  return bytes;
}

/**
 * Looks at the first bytes of an input (stream 2.2). Throws the magic's errors as soon as they can be known.
 * @param bytes as many as have come, at most the preamble.
 * @param ended no more will come.
 */
export function checkMagic(bytes: Uint8Array, ended: boolean): void {
  const known = Math.min(bytes.byteLength, MAGIC.byteLength);
  if (equalBytes(bytes.subarray(0, known), MAGIC.subarray(0, known))) {
    if (ended && bytes.byteLength < PREAMBLE_BYTES) {
      throw new TransmigrateError('TRUNCATED', `The input ends after ${bytes.byteLength} bytes, inside its preamble`, {
        offset: bytes.byteLength,
        path: 'preamble',
        section: '2',
      });
    }
    return;
  }
  if (known < MAGIC.byteLength && !ended) return;
  const where = { offset: 0, path: 'preamble/magic', section: '2.2' };
  const letters = (at: number): boolean => equalBytes(bytes.subarray(at, at + 5), MAGIC.subarray(1, 6));
  if (bytes[0] === 0x09 && letters(1)) {
    throw new TransmigrateError('SEVEN_BIT_DAMAGE', 'The eighth bit of every byte was cleared', where);
  }
  if ((bytes[0] === 0x89 && letters(1)) || (bytes[0] === 0xc2 && bytes[1] === 0x89 && letters(2))) {
    throw new TransmigrateError('TEXT_MODE_DAMAGE', 'The image was converted as if it were text', where);
  }
  throw new TransmigrateError('NOT_AN_IMAGE', 'This is not a Transmigrate stream', where);
}

/** The fields of a preamble that every version has (stream 2, F), and the bytes of the rest. */
export interface RawPreamble {
  readonly bytes: Uint8Array;
  readonly major: number;
  readonly minor: number;
  readonly checksum: number;
}

/**
 * Checks magic and CRC and gives what every version can read.
 * @param bytes exactly 128; kept, not copied.
 * @throws the magic's errors, PREAMBLE_CHECKSUM.
 */
export function readRawPreamble(bytes: Uint8Array): RawPreamble {
  checkMagic(bytes, true);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const checksum = view.getUint32(124, true);
  const found = crc32(bytes.subarray(0, 124));
  if (found !== checksum) {
    throw new TransmigrateError('PREAMBLE_CHECKSUM', 'The checksum of the preamble does not match', {
      offset: 0,
      path: 'preamble',
      section: '2.1',
      data: { expected: checksum, found },
    });
  }
  return { bytes, major: view.getUint16(12, true), minor: view.getUint16(14, true), checksum };
}

/** UNSUPPORTED_VERSION or UNSUPPORTED_FEATURE, when this build must refuse (stream 2.1); to be thrown after ABOUT. */
export function refusalOf(raw: RawPreamble): TransmigrateError | undefined {
  if (raw.major !== VERSION.major) {
    return new TransmigrateError('UNSUPPORTED_VERSION', `The image has version ${raw.major}.${raw.minor}`, {
      offset: 0,
      path: 'preamble/major',
      section: '2.1',
      data: { major: raw.major, minor: raw.minor, supported: `${VERSION.major}.x` },
    });
  }
  const mustKnow = new DataView(raw.bytes.buffer, raw.bytes.byteOffset).getBigUint64(24, true);
  if (mustKnow !== 0n) {
    const features = featureNames(mustKnow, MUST_KNOW);
    return new TransmigrateError('UNSUPPORTED_FEATURE', `The image needs ${features.join(', ')}`, {
      offset: 0,
      path: 'preamble/mustKnow',
      section: '16.4',
      data: { features },
    });
  }
  return undefined;
}

/**
 * All fields of a preamble.
 * @param lenient take the nearest meaning for values that this version does not know: for showing what a refused
 * image says.
 * @throws FIELD_VALUE (stream 2.1), unless lenient.
 */
export function decodePreamble(raw: RawPreamble, lenient = false): Preamble {
  const view = new DataView(raw.bytes.buffer, raw.bytes.byteOffset, raw.bytes.byteLength);
  const wrong = (field: string, value: number | string): never => {
    throw new TransmigrateError('FIELD_VALUE', `${field} is ${value}, which version 1 does not have`, {
      offset: 0,
      path: `preamble/${field}`,
      section: '2',
      data: { value },
    });
  };
  const nameOf = <T extends string>(table: Readonly<Record<T, number>>, at: number, field: string, fallback: T): T => {
    const value = view.getUint8(at);
    const names = Object.keys(table) as T[];
    const name = names.find((each) => table[each] === value);
    return name ?? (lenient ? fallback : wrong(field, value));
  };
  const wordBits = view.getUint8(18);
  const pageShift = view.getUint8(22);
  const preamble: Preamble = {
    major: raw.major,
    minor: raw.minor,
    kind: nameOf(KIND, 16, 'kind', 'save'),
    byteOrder: nameOf(BYTE_ORDER, 17, 'byteOrder', 'little'),
    wordBits,
    domainType: nameOf(DOMAIN, 19, 'domainType', 'unknown'),
    machine: view.getUint16(20, true),
    pageSize: 2 ** pageShift,
    direction: nameOf(DIRECTION, 23, 'direction', 'forward'),
    mustKnow: view.getBigUint64(24, true),
    mayIgnore: view.getBigUint64(32, true),
    streamId: toUuid(raw.bytes.subarray(40, 56)),
    channels: view.getUint16(56, true),
    channel: view.getUint16(58, true),
    checksum: raw.checksum,
  };
  if (lenient) return preamble;
  if (wordBits !== 32 && wordBits !== 64) wrong('wordBits', wordBits);
  if (pageShift < LIMITS.pageShiftMin || pageShift > LIMITS.pageShiftMax) wrong('pageShift', pageShift);
  if (preamble.channels < 1 || preamble.channels > LIMITS.channels) wrong('channels', preamble.channels);
  if (preamble.channel >= preamble.channels) wrong('channel', `${preamble.channel} of ${preamble.channels}`);
  if (preamble.kind === 'incremental' && (preamble.mustKnow & INCREMENTAL) === 0n) wrong('kind', 'incremental');
  if (isIndexed(preamble) && (preamble.channels > 1 || preamble.direction === 'back')) wrong('mayIgnore', 'INDEXED');
  return preamble;
}
