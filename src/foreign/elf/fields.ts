import { elfError } from './elf-error.ts';

/** Whether fields are 4 or 8 bytes wide where the class of the file says so, and their byte order. */
export interface ElfShape {
  readonly wordBytes: 4 | 8;
  readonly littleEndian: boolean;
}

/** Reads the fields of a table of an ELF file in order, in the byte order and word size of the file. */
export class FieldReader {
  readonly #view: DataView;
  readonly #shape: ElfShape;
  readonly #base: number;
  readonly #path: string;
  readonly #section: string;
  #at = 0;

  /** @param base where `bytes` stand in the file, for errors. The caller has seen to it that they are enough. */
  constructor(bytes: Uint8Array, shape: ElfShape, base: number, path: string, section: string) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#shape = shape;
    this.#base = base;
    this.#path = path;
    this.#section = section;
  }

  /** Goes to a place in the bytes. */
  seek(position: number): void {
    this.#at = position;
  }

  u16(): number {
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, this.#shape.littleEndian);
  }

  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, this.#shape.littleEndian);
  }

  u64(): bigint {
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8, this.#shape.littleEndian);
  }

  /** A field as wide as an address. */
  word(): bigint {
    return this.#shape.wordBytes === 8 ? this.u64() : BigInt(this.u32());
  }

  /** A field as wide as an address that is a length, a count or a place in the file. @throws FIELD_VALUE */
  length(field: string): number {
    if (this.#shape.wordBytes === 4) return this.u32();
    const at = this.#at;
    const value = Number(this.u64());
    if (value > Number.MAX_SAFE_INTEGER) {
      const what = `${field} is ${value}, more than any file has bytes`;
      throw elfError('FIELD_VALUE', what, this.#base + at, `${this.#path}/${field}`, this.#section);
    }
    return value;
  }
}

/** Writes the fields of a table of an ELF file in order. A value out of its range is the caller's defect. */
export class FieldWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #shape: ElfShape;
  #at = 0;

  constructor(length: number, shape: ElfShape) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
    this.#shape = shape;
  }

  seek(position: number): this {
    this.#at = position;
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.byteLength;
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#at, inRange(value, 0xffff), this.#shape.littleEndian);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#at, inRange(value, 0xffff_ffff), this.#shape.littleEndian);
    this.#at += 4;
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new RangeError(`${value} is no u64`);
    this.#view.setBigUint64(this.#at, value, this.#shape.littleEndian);
    this.#at += 8;
    return this;
  }

  word(value: bigint | number): this {
    return this.#shape.wordBytes === 8 ? this.u64(BigInt(value)) : this.u32(Number(value));
  }
}

function inRange(value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new RangeError(`${value} is not in 0..${max}`);
  return value;
}
