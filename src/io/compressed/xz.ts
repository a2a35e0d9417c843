/** .xz files in one pass, from "The .xz File Format" 1.2.1 (public domain): streams, blocks, checks, index. */
import { unpackError } from './fault.ts';
import { UNPACK_LIMITS } from './limits.ts';
import { Lzma2Decoder, LzmaFault } from './lzma2.ts';
import type { PieceReader } from './piece-reader.ts';
import { startCheck, type Check } from './checks.ts';
import { crc32 } from './platform.ts';

/** Section 2.1.1. */
const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0] as const;
const HEADER_BYTES = 12;
/** Section 3.1: a block's header is at most 1,024 bytes. */
const BLOCK_HEADER_MOST = 1024;
/** Section 5.3: what stands in the place of a filter. */
const LZMA2 = 0x21;
const FILTERS: Readonly<Record<number, string>> = {
  3: 'delta',
  4: 'x86',
  5: 'PowerPC',
  6: 'IA-64',
  7: 'ARM',
  8: 'ARM-Thumb',
  9: 'SPARC',
  10: 'ARM64',
  11: 'RISC-V',
};
/** Bytes of an LZMA2 chunk's head with its properties. */
const CHUNK_HEAD_BYTES = 6;

/** Unpacks all streams of the input. Output is valid until the next is asked for. */
export async function* unpackXz(reader: PieceReader, name: string, container: boolean): AsyncGenerator<Uint8Array> {
  const file = new XzFile(reader, name);
  for (let first = true; await file.hasStream(first, container); first = false) yield* file.stream();
}

interface BlockHead {
  readonly headBytes: number;
  readonly packed: number | undefined;
  readonly unpacked: number | undefined;
  readonly dictionaryBytes: number;
}

class XzFile {
  readonly #reader: PieceReader;
  readonly #name: string;

  constructor(reader: PieceReader, name: string) {
    this.#reader = reader;
    this.#name = name;
  }

  /** Between streams there may be zeros, four by four (section 2.2). */
  async hasStream(first: boolean, container: boolean): Promise<boolean> {
    for (;;) {
      const ready = await this.#reader.ensure(4);
      if (ready === 0 && !first) return false;
      const start = this.#reader.ready.subarray(0, 4);
      const isMagic = MAGIC.slice(0, 4).every((byte, i) => start[i] === byte);
      if (first || isMagic) return true;
      if (container) return false;
      if (start.some((byte) => byte !== 0)) return true;
      if (ready < 4) throw this.#fault('CODEC_DATA', 'the zeros behind a stream are no multiple of four');
      this.#reader.skip(4);
    }
  }

  async *stream(): AsyncGenerator<Uint8Array> {
    const flags = await this.#header();
    const index = new IndexSums();
    for (;;) {
      const size = (await this.#need(1))[0];
      if (size === 0) break;
      yield* this.#block((size + 1) * 4, flags[1], index);
    }
    await this.#index(index, flags);
  }

  async #header(): Promise<Uint8Array> {
    const bytes = (await this.#need(HEADER_BYTES)).slice(0, HEADER_BYTES);
    if (MAGIC.some((byte, i) => bytes[i] !== byte)) throw this.#fault('CODEC_DATA', 'these bytes are no xz stream');
    this.#checksum(bytes.subarray(6, 8), bytes, 8, 'the header of the stream');
    if (bytes[6] !== 0 || bytes[7] > 0x0f) {
      throw this.#fault('UNSUPPORTED_CODEC', 'the stream has flags that xz did not have when this was written');
    }
    this.#reader.skip(HEADER_BYTES);
    return bytes.slice(6, 8);
  }

  async *#block(headBytes: number, checkType: number, index: IndexSums): AsyncGenerator<Uint8Array> {
    const start = this.#reader.offset;
    const head = this.#blockHead(await this.#need(headBytes), headBytes);
    this.#reader.skip(headBytes);
    const check = startCheck(checkType);
    if (check === undefined) throw this.#fault('UNSUPPORTED_CODEC', `a block has a check of type ${checkType}`);
    const decoder = new Lzma2Decoder(head.dictionaryBytes);
    let unpacked = 0;
    for (;;) {
      const bytes = await this.#chunk(decoder);
      if (bytes === undefined) break;
      unpacked += bytes.byteLength;
      if (head.unpacked !== undefined && unpacked > head.unpacked) break;
      check.update(bytes);
      yield bytes;
    }
    const packed = this.#reader.offset - start - headBytes;
    if ((head.packed ?? packed) !== packed || (head.unpacked ?? unpacked) !== unpacked) {
      throw this.#fault('CODEC_DATA', 'a block has another length than its header says');
    }
    await this.#zeros(-packed & 3);
    await this.#compare(check);
    index.add(headBytes + packed + check.bytes, unpacked);
  }

  #blockHead(bytes: Uint8Array, headBytes: number): BlockHead {
    if (headBytes > BLOCK_HEADER_MOST) throw this.#fault('CODEC_DATA', 'a block has a header that is too long');
    this.#checksum(bytes.subarray(0, headBytes - 4), bytes, headBytes - 4, 'the header of a block');
    const fields = new VliReader(bytes.subarray(0, headBytes - 4), 2, (what) => this.#fault('CODEC_DATA', what));
    const flags = bytes[1];
    if ((flags & 0x3c) !== 0) throw this.#fault('UNSUPPORTED_CODEC', 'a block has flags that are not known');
    const packed = (flags & 0x40) === 0 ? undefined : fields.read();
    const unpacked = (flags & 0x80) === 0 ? undefined : fields.read();
    let dictionaryBytes = 0;
    for (let filter = 0; filter <= (flags & 3); filter++) {
      const [id, length] = [fields.read(), fields.read()];
      if (id !== LZMA2 || filter > 0) {
        const what = `a block went through the filter ${FILTERS[id] ?? id}, which is not known here`;
        throw this.#fault('UNSUPPORTED_CODEC', what, 'Unpack it first, with `xz -dc`.');
      }
      if (length !== 1) throw this.#fault('CODEC_DATA', 'LZMA2 has properties of another length');
      dictionaryBytes = this.#dictionary(fields.byte());
    }
    if (fields.rest().some((byte) => byte !== 0))
      throw this.#fault('CODEC_DATA', 'the padding of a header is not zero');
    return { headBytes, packed, unpacked, dictionaryBytes };
  }

  /** Section 5.3.1. */
  #dictionary(bits: number): number {
    if (bits > 40) throw this.#fault('CODEC_DATA', 'a dictionary of a size that cannot be');
    const bytes = bits === 40 ? 0xffff_ffff : (2 | (bits & 1)) * 2 ** ((bits >> 1) + 11);
    if (bytes > UNPACK_LIMITS.xzDictionaryBytes) {
      const what = `it wants a dictionary of ${bytes} bytes, the limit is ${UNPACK_LIMITS.xzDictionaryBytes}`;
      throw this.#fault('LIMIT_EXCEEDED', what, 'Unpack it first, with `xz -dc`.');
    }
    return bytes;
  }

  /** @returns undefined at the end of the block. */
  async #chunk(decoder: Lzma2Decoder): Promise<Uint8Array | undefined> {
    const control = (await this.#need(1))[0];
    if (control === 0) {
      this.#reader.skip(1);
      return undefined;
    }
    const packed = control >= 0x80;
    if (!packed && control > 2) throw this.#fault('CODEC_DATA', 'a chunk of a kind that there is not');
    const hasProperties = control >= 0xc0;
    const headBytes = packed ? CHUNK_HEAD_BYTES - (hasProperties ? 0 : 1) : 3;
    const head = await this.#need(headBytes);
    const unpackedBytes = (packed ? (control & 0x1f) << 16 : 0) + (head[1] << 8) + head[2] + 1;
    const packedBytes = packed ? (head[3] << 8) + head[4] + 1 : unpackedBytes;
    const properties = hasProperties ? head[5] : undefined;
    const input = (await this.#need(headBytes + packedBytes)).subarray(headBytes, headBytes + packedBytes);
    try {
      const bytes = packed ? decoder.packed(control, properties, input, unpackedBytes) : decoder.stored(control, input);
      this.#reader.skip(headBytes + packedBytes);
      return bytes;
    } catch (error) {
      if (!(error instanceof LzmaFault)) throw error;
      throw this.#fault('CODEC_DATA', error.message);
    }
  }

  async #compare(check: Check): Promise<void> {
    const bytes = await this.#need(check.bytes);
    const found = check.digest();
    if (found.some((byte, i) => byte !== bytes[i]))
      throw this.#fault('CODEC_DATA', `the ${check.name} of a block is wrong`);
    this.#reader.skip(check.bytes);
  }

  /** Section 4: the list of blocks again, which must be what was read. Read in passing: it may be long. */
  async #index(sums: IndexSums, flags: Uint8Array): Promise<void> {
    const start = this.#reader.offset;
    const found = new IndexSums();
    let crc = 0;
    const byte = async (): Promise<number> => {
      const [value] = await this.#need(1);
      crc = crc32(Uint8Array.of(value), crc);
      this.#reader.skip(1);
      return value;
    };
    const vli = async (): Promise<number> => {
      let value = 0;
      for (let shift = 0; shift < 63; shift += 7) {
        const part = await byte();
        value += (part & 0x7f) * 2 ** shift;
        if (part < 0x80) return value;
      }
      throw this.#fault('CODEC_DATA', 'a number in the index is too long');
    };
    await byte();
    const count = await vli();
    if (count !== sums.count)
      throw this.#fault('CODEC_DATA', `the index lists ${count} blocks, and there are ${sums.count}`);
    for (let i = 0; i < count; i++) found.add(await vli(), await vli());
    if (!found.equals(sums)) throw this.#fault('CODEC_DATA', 'the index does not list the blocks that there are');
    while (((this.#reader.offset - start) & 3) !== 0) {
      if ((await byte()) !== 0) throw this.#fault('CODEC_DATA', 'the padding of the index is not zero');
    }
    const indexBytes = this.#reader.offset - start + 4;
    const tail = await this.#need(4 + HEADER_BYTES);
    const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
    if (view.getUint32(0, true) !== crc) throw this.#fault('CODEC_DATA', 'the CRC of the index is wrong');
    this.#checksum(tail.subarray(8, 14), tail, 4, 'the footer');
    const ends = tail[14] === 0x59 && tail[15] === 0x5a && tail[12] === flags[0] && tail[13] === flags[1];
    if (!ends || (view.getUint32(8, true) + 1) * 4 !== indexBytes) {
      throw this.#fault('CODEC_DATA', 'the footer does not fit the stream');
    }
    this.#reader.skip(4 + HEADER_BYTES);
  }

  async #zeros(length: number): Promise<void> {
    const bytes = (await this.#need(length)).subarray(0, length);
    if (bytes.some((byte) => byte !== 0)) throw this.#fault('CODEC_DATA', 'the padding of a block is not zero');
    this.#reader.skip(length);
  }

  #checksum(of: Uint8Array, bytes: Uint8Array, at: number, what: string): void {
    if (crc32(of, 0) !== new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)) {
      throw this.#fault('CODEC_DATA', `the CRC of ${what} is wrong`);
    }
  }

  async #need(length: number): Promise<Uint8Array> {
    const ready = await this.#reader.ensure(length);
    if (ready < length) {
      throw unpackError('TRUNCATED', 'The xz data end too early', this.#reader.offset + ready, this.#name);
    }
    return this.#reader.ready;
  }

  #fault(code: 'CODEC_DATA' | 'UNSUPPORTED_CODEC' | 'LIMIT_EXCEEDED', what: string, next?: string): Error {
    return unpackError(code, `The xz data can't be unpacked: ${what}`, this.#reader.offset, this.#name, next);
  }
}

/** A list of blocks, as its length and a checksum: a long list must not cost memory. */
class IndexSums {
  count = 0;
  #crc = 0;

  add(unpadded: number, unpacked: number): void {
    this.count++;
    this.#crc = crc32(new Uint8Array(Float64Array.of(unpadded, unpacked).buffer), this.#crc);
  }

  equals(other: IndexSums): boolean {
    return this.count === other.count && this.#crc === other.#crc;
  }
}

/** Numbers of section 1.2 in a header. */
class VliReader {
  readonly #bytes: Uint8Array;
  readonly #fault: (what: string) => Error;
  #at: number;

  constructor(bytes: Uint8Array, at: number, fault: (what: string) => Error) {
    this.#bytes = bytes;
    this.#at = at;
    this.#fault = fault;
  }

  byte(): number {
    if (this.#at >= this.#bytes.byteLength) throw this.#fault('the header of a block ends too early');
    return this.#bytes[this.#at++];
  }

  read(): number {
    let value = 0;
    for (let shift = 0; shift < 63; shift += 7) {
      const part = this.byte();
      value += (part & 0x7f) * 2 ** shift;
      if (part < 0x80) return value;
    }
    throw this.#fault('a number in the header of a block is too long');
  }

  rest(): Uint8Array {
    return this.#bytes.subarray(this.#at);
  }
}
