import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** Where something that is read stands, for errors. */
export interface Place {
  readonly offset: number;
  /** E.g. `libxc record 3 (X86_PV_INFO)`. */
  readonly path: string;
  readonly section: string;
}

/** Reads fields in either byte order from one bounded piece: the streams of Xen say which order they have. */
export class Fields {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #little: boolean;
  readonly #place: Place;
  #at = 0;

  /** @param bytes borrowed, not copied. */
  constructor(bytes: Uint8Array, little: boolean, place: Place) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = little;
    this.#place = place;
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }

  get position(): number {
    return this.#at;
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#take(1, field));
  }

  u16(field: string): number {
    return this.#view.getUint16(this.#take(2, field), this.#little);
  }

  u32(field: string): number {
    return this.#view.getUint32(this.#take(4, field), this.#little);
  }

  u64(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field), this.#little);
  }

  /** An unsigned long of a guest that is `width` bytes wide. */
  word(width: 4 | 8, field: string): bigint {
    return width === 8 ? this.u64(field) : BigInt(this.u32(field));
  }

  /** A view of the next bytes, not a copy. */
  take(length: number, field: string): Uint8Array {
    const at = this.#take(length, field);
    return this.#bytes.subarray(at, at + length);
  }

  /** A view of all that is left. */
  rest(): Uint8Array {
    return this.take(this.left, 'rest');
  }

  error(code: ErrorCode, what: string, field = ''): TransmigrateError {
    const { offset, path, section } = this.#place;
    return new TransmigrateError(code, what, { offset, path: field === '' ? path : `${path}/${field}`, section });
  }

  #take(length: number, field: string): number {
    const at = this.#at;
    if (length > this.left) {
      throw this.error('LENGTH_MISMATCH', `${field} needs ${length} bytes, and ${this.left} are left`, field);
    }
    this.#at = at + length;
    return at;
  }
}

/** Writes fields in either byte order into a buffer of a size known beforehand. A value out of range: RangeError. */
export class FieldsOut {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;
  #at = 0;

  constructor(length: number, little: boolean) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
    this.#little = little;
  }

  u8(value: number): this {
    this.#view.setUint8(this.#room(1), inRange(value, 0xff));
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#room(2), inRange(value, 0xffff), this.#little);
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#room(4), inRange(value, 0xffff_ffff), this.#little);
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new RangeError(`${value} is not a u64`);
    this.#view.setBigUint64(this.#room(8), value, this.#little);
    return this;
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#room(bytes.byteLength));
    return this;
  }

  /** What was written. @throws RangeError unless the buffer is full: its size was said beforehand. */
  done(): Uint8Array {
    if (this.#at !== this.bytes.byteLength) throw new RangeError(`${this.bytes.byteLength - this.#at} bytes are left`);
    return this.bytes;
  }

  #room(length: number): number {
    const at = this.#at;
    if (at + length > this.bytes.byteLength) throw new RangeError(`more than ${this.bytes.byteLength} bytes`);
    this.#at = at + length;
    return at;
  }
}

function inRange(value: number, most: number): number {
  if (!Number.isInteger(value) || value < 0 || value > most) throw new RangeError(`${value} is not in 0..${most}`);
  return value;
}

/** A list of u64 that stays the bytes it was: for lists that may be long. Valid as long as those bytes are. */
export class U64List {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;

  /** @param bytes borrowed; a multiple of 8. */
  constructor(bytes: Uint8Array, little: boolean) {
    if (bytes.byteLength % 8 !== 0) throw new RangeError(`${bytes.byteLength} bytes are no list of u64`);
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = little;
  }

  get length(): number {
    return this.bytes.byteLength / 8;
  }

  at(index: number): bigint {
    return this.#view.getBigUint64(index * 8, this.#little);
  }

  /** As a number: exact up to 2^53. */
  number(index: number): number {
    const first = this.#view.getUint32(index * 8, this.#little);
    const second = this.#view.getUint32(index * 8 + 4, this.#little);
    return this.#little ? second * 2 ** 32 + first : first * 2 ** 32 + second;
  }
}

/** The bytes of a list of u64, for writers. */
export function u64Bytes(values: readonly (bigint | number)[], little: boolean): Uint8Array {
  const out = new FieldsOut(values.length * 8, little);
  for (const value of values) out.u64(BigInt(value));
  return out.done();
}
