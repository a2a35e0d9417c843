/** LZ4 frames in one pass, from the "LZ4 Frame Format Description" 1.6.4 and the "LZ4 Block Format Description". */
import { unpackError } from './fault.ts';
import type { PieceReader } from './piece-reader.ts';
import { XxHash32 } from './xxhash32.ts';

const MAGIC = 0x184d2204;
/** Frames to be passed over: 16 magics. */
const SKIPPABLE = 0x184d2a50;
const LEGACY = 0x184c2102;
/** A match reaches at most so far back, into the blocks before too. */
const HISTORY = 65_536;
/** Most bytes of a block, by the descriptor's number. */
const BLOCK_BYTES: Readonly<Record<number, number>> = { 4: 65_536, 5: 262_144, 6: 1_048_576, 7: 4_194_304 };
const STORED = 0x8000_0000;

/** Unpacks all frames of the input. Output is valid until the next is asked for. */
export async function* unpackLz4(reader: PieceReader, name: string, container: boolean): AsyncGenerator<Uint8Array> {
  const file = new Lz4File(reader, name);
  for (let first = true; first || (await reader.ensure(1)) > 0; first = false) {
    if (!first && container && !(await file.hasFrame())) return;
    yield* file.frame();
  }
}

interface Descriptor {
  readonly linked: boolean;
  readonly blockChecks: boolean;
  readonly contentCheck: boolean;
  readonly contentBytes: number | undefined;
  readonly blockBytes: number;
}

class Lz4File {
  readonly #reader: PieceReader;
  readonly #name: string;
  #window = new Uint8Array(0);

  constructor(reader: PieceReader, name: string) {
    this.#reader = reader;
    this.#name = name;
  }

  async hasFrame(): Promise<boolean> {
    if ((await this.#reader.ensure(4)) < 4) return false;
    const { ready } = this.#reader;
    const magic = new DataView(ready.buffer, ready.byteOffset).getUint32(0, true);
    return magic === MAGIC || (magic & 0xffff_fff0) >>> 0 === SKIPPABLE;
  }

  async *frame(): AsyncGenerator<Uint8Array> {
    const magic = await this.#u32();
    if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE) return this.#skip(await this.#u32());
    if (magic === LEGACY)
      throw this.#fault('UNSUPPORTED_CODEC', 'a frame is of the legacy kind', 'Unpack it first, with `lz4 -dc`.');
    if (magic !== MAGIC) throw this.#fault('CODEC_DATA', 'where a frame should start there is none');
    const about = await this.#descriptor();
    if (this.#window.byteLength < HISTORY + about.blockBytes) this.#window = new Uint8Array(HISTORY + about.blockBytes);
    const hash = new XxHash32();
    let [at, total] = [0, 0];
    for (;;) {
      const word = await this.#u32();
      if (word === 0) break;
      const stored = word >= STORED;
      const length = stored ? word - STORED : word;
      if (length > about.blockBytes) throw this.#fault('CODEC_DATA', 'a block is longer than the frame says');
      const block = (await this.#need(length + (about.blockChecks ? 4 : 0))).subarray(0, length);
      if (about.blockChecks) this.#compare(new XxHash32().update(block), length, 'a block');
      // What a match may reach is kept before the block.
      const keep = about.linked ? Math.min(at, HISTORY) : 0;
      this.#window.copyWithin(0, at - keep, at);
      const out = this.#window.subarray(0, keep + about.blockBytes);
      if (stored) out.set(block, keep);
      at = stored ? keep + length : decodeBlock(block, out, keep);
      if (at < 0) throw this.#fault('CODEC_DATA', 'a block is damaged');
      this.#reader.skip(length + (about.blockChecks ? 4 : 0));
      const bytes = this.#window.subarray(keep, at);
      total += bytes.byteLength;
      if (about.contentCheck) hash.update(bytes);
      yield bytes;
    }
    if (about.contentBytes !== undefined && about.contentBytes !== total) {
      throw this.#fault('CODEC_DATA', `the frame says ${about.contentBytes} bytes, and has ${total}`);
    }
    if (about.contentCheck) {
      await this.#need(4);
      this.#compare(hash, 0, 'the frame');
      this.#reader.skip(4);
    }
  }

  async #descriptor(): Promise<Descriptor> {
    const [flags, block] = await this.#need(2);
    if (flags >> 6 !== 1) throw this.#fault('UNSUPPORTED_CODEC', `a frame of version ${flags >> 6}`);
    if ((flags & 1) !== 0) throw this.#fault('UNSUPPORTED_CODEC', 'a frame needs a dictionary');
    const blockBytes = BLOCK_BYTES[(block >> 4) & 7];
    if ((flags & 2) !== 0 || (block & 0x8f) !== 0 || blockBytes === undefined) {
      throw this.#fault('CODEC_DATA', 'the descriptor of a frame has reserved bits or sizes');
    }
    const sized = (flags & 8) !== 0;
    const length = sized ? 10 : 2;
    const bytes = await this.#need(length + 1);
    if (((new XxHash32().update(bytes.subarray(0, length)).digest() >>> 8) & 0xff) !== bytes[length]) {
      throw this.#fault('CODEC_DATA', 'the checksum of the descriptor of a frame is wrong');
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const contentBytes = sized ? view.getUint32(2, true) + view.getUint32(6, true) * 2 ** 32 : undefined;
    this.#reader.skip(length + 1);
    const linked = (flags & 0x20) === 0;
    return { linked, blockChecks: (flags & 0x10) !== 0, contentCheck: (flags & 4) !== 0, contentBytes, blockBytes };
  }

  async #skip(length: number): Promise<void> {
    for (let left = length; left > 0;) {
      const part = Math.min(left, await this.#reader.ensure(1));
      if (part === 0) throw unpackError('TRUNCATED', 'The lz4 data end too early', this.#reader.offset, this.#name);
      this.#reader.skip(part);
      left -= part;
    }
  }

  #compare(hash: XxHash32, at: number, what: string): void {
    const { ready } = this.#reader;
    const expected = new DataView(ready.buffer, ready.byteOffset).getUint32(at, true);
    if (hash.digest() !== expected) throw this.#fault('CODEC_DATA', `the checksum of ${what} is wrong`);
  }

  async #u32(): Promise<number> {
    const bytes = await this.#need(4);
    const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    this.#reader.skip(4);
    return value;
  }

  async #need(length: number): Promise<Uint8Array> {
    const ready = await this.#reader.ensure(length);
    if (ready < length)
      throw unpackError('TRUNCATED', 'The lz4 data end too early', this.#reader.offset + ready, this.#name);
    return this.#reader.ready;
  }

  #fault(code: 'CODEC_DATA' | 'UNSUPPORTED_CODEC', what: string, next?: string): Error {
    return unpackError(code, `The lz4 data can't be unpacked: ${what}`, this.#reader.offset, this.#name, next);
  }
}

/** Decodes a block behind `start` bytes of history. @returns where it ends in `out`, or -1 for a damaged one */
function decodeBlock(block: Uint8Array, out: Uint8Array, start: number): number {
  let at = start;
  let from = 0;
  const extended = (length: number): number => {
    if (length < 15) return length;
    let sum = length;
    for (;;) {
      // Beyond the end it is not a number, and so not 255; the check behind the literals finds it.
      const byte = block[from++];
      sum += byte;
      if (byte !== 255) return sum;
    }
  };
  while (from < block.byteLength) {
    const token = block[from++];
    const literals = extended(token >> 4);
    if (!(from + literals <= block.byteLength && at + literals <= out.byteLength)) return -1;
    out.set(block.subarray(from, from + literals), at);
    from += literals;
    at += literals;
    if (from === block.byteLength) return at;
    if (from + 2 > block.byteLength) return -1;
    const distance = block[from] | (block[from + 1] << 8);
    from += 2;
    const length = extended(token & 15) + 4;
    if (distance === 0 || distance > at || !(at + length <= out.byteLength)) return -1;
    if (distance >= length) {
      out.copyWithin(at, at - distance, at - distance + length);
      at += length;
    } else {
      for (const end = at + length; at < end; at++) out[at] = out[at - distance];
    }
  }
  return -1;
}
