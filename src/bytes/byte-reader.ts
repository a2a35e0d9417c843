import { TransmigrateError, type ErrorCode, type ErrorDetails } from '../errors.ts';
import { decodeText } from './text.ts';

/**
 * Reads little-endian fields from one bounded piece of a stream, in order, and knows where it is: every error it throws
 * carries the stream offset and the path of the field. For records, not for pages: it makes no claim to be fast.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** Stream offset of the record that is read: where its errors are placed. The path says which field. */
  readonly base: number;
  /** What is being read, e.g. `record 3 (DISK)`; field names are appended to it. */
  readonly path: string;
  /** Section of the specification that is being applied. */
  readonly section: string;
  readonly #view: DataView;
  #at = 0;

  /** @param bytes borrowed, not copied: valid as long as the caller keeps it. */
  constructor(bytes: Uint8Array, base: number, path: string, section: string) {
    this.bytes = bytes;
    this.base = base;
    this.path = path;
    this.section = section;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Position of the next field in `bytes`. */
  get position(): number {
    return this.#at;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.bytes.byteLength - this.#at;
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#take(1, field));
  }

  u16(field: string): number {
    return this.#view.getUint16(this.#take(2, field), true);
  }

  u32(field: string): number {
    return this.#view.getUint32(this.#take(4, field), true);
  }

  /** A u64 that may use all of its bits. */
  u64(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field), true);
  }

  /** A u64 that counts or locates something: as a number. Above 2^53 - 1 it can't be true, and is FIELD_VALUE. */
  count(field: string): number {
    const value = this.u64(field);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.error('FIELD_VALUE', `${field} is ${value}, more than any count can be`, field);
    }
    return Number(value);
  }

  i8(field: string): number {
    return this.#view.getInt8(this.#take(1, field));
  }

  i16(field: string): number {
    return this.#view.getInt16(this.#take(2, field), true);
  }

  i32(field: string): number {
    return this.#view.getInt32(this.#take(4, field), true);
  }

  i64(field: string): bigint {
    return this.#view.getBigInt64(this.#take(8, field), true);
  }

  f32(field: string): number {
    return this.#view.getFloat32(this.#take(4, field), true);
  }

  f64(field: string): number {
    return this.#view.getFloat64(this.#take(8, field), true);
  }

  /** The next `length` bytes: a view into the input, not a copy. */
  take(length: number, field: string): Uint8Array {
    const at = this.#take(length, field);
    return this.bytes.subarray(at, at + length);
  }

  /** Reserved bytes: passed over, whatever they are (stream 1.3). */
  reserved(length: number): void {
    this.#take(length, 'reserved');
  }

  /** A string of stream 1.4. @param limit its most bytes: more is LIMIT_EXCEEDED. */
  string(field: string, limit = 0xffff): string {
    const length = this.u16(field);
    if (length > limit) {
      throw this.error('LIMIT_EXCEEDED', `${field} has ${length} bytes, the limit is ${limit}`, field);
    }
    return decodeText(this.take(length, field), this.base, `${this.path}/${field}`, this.section);
  }

  /** Says that the record must end here: LENGTH_MISMATCH when bytes are left. */
  end(): void {
    if (this.left !== 0) {
      throw this.error('LENGTH_MISMATCH', `${this.left} bytes stand after the last field`, '');
    }
  }

  /** An error about `field`. The caller throws it. */
  error(code: ErrorCode, what: string, field: string, details: ErrorDetails = {}): TransmigrateError {
    return new TransmigrateError(code, what, {
      offset: this.base,
      path: field === '' ? this.path : `${this.path}/${field}`,
      section: this.section,
      ...details,
    });
  }

  #take(length: number, field: string): number {
    const at = this.#at;
    if (length > this.bytes.byteLength - at) {
      throw this.error('LENGTH_MISMATCH', `${field} needs ${length} bytes, and ${this.left} are left`, field);
    }
    this.#at = at + length;
    return at;
  }
}
