import { encodeText } from './text.ts';

/**
 * Writes little-endian fields, in order, into a buffer that grows up to a limit. For records, not for pages.
 * What exceeds the limit or a field's range is a defect of the caller, and a RangeError.
 */
export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;
  readonly #limit: number;

  constructor(limit: number, initial = 256) {
    this.#limit = limit;
    this.#bytes = new Uint8Array(Math.min(initial, limit));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get position(): number {
    return this.#at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#view.setUint8(at, checked(value, 0xff));
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    this.#view.setUint16(at, checked(value, 0xffff), true);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#view.setUint32(at, checked(value, 0xffff_ffff), true);
    return this;
  }

  u64(value: bigint | number): this {
    const wide = BigInt(value);
    if (wide < 0n || wide > 0xffff_ffff_ffff_ffffn) throw new RangeError(`${wide} is not a u64`);
    const at = this.#room(8);
    this.#view.setBigUint64(at, wide, true);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#room(value.byteLength);
    this.#bytes.set(value, at);
    return this;
  }

  zeros(length: number): this {
    const at = this.#room(length);
    this.#bytes.fill(0, at, at + length);
    return this;
  }

  /** A string of stream 1.4. @param limit its most bytes. */
  string(value: string, limit = 0xffff): this {
    const text = encodeText(value);
    if (text.byteLength > limit) throw new RangeError(`a string of ${text.byteLength} bytes, the limit is ${limit}`);
    return this.u16(text.byteLength).bytes(text);
  }

  /** What was written: a view, which the next write may change or leave behind. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Where the next `length` bytes go. To be asked before the buffer is: it may be another afterwards. */
  #room(length: number): number {
    const at = this.#at;
    const need = at + length;
    if (need > this.#limit) throw new RangeError(`a record of more than ${this.#limit} bytes`);
    if (need > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.min(this.#limit, Math.max(need, this.#bytes.byteLength * 2)));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#at = need;
    return at;
  }
}

function checked(value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new RangeError(`${value} is not in 0..${max}`);
  return value;
}
