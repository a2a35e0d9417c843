/**
 * .bz2 files in one pass. There is no standard; this is written from the format as bzip2's manual and Wikipedia's
 * article describe it: blocks of at most 900,000 bytes, run lengths, Burrows and Wheeler's transform, move to front,
 * Huffman.
 */
import { unpackError } from './fault.ts';
import type { PieceReader } from './piece-reader.ts';

const MAGIC = [0x42, 0x5a, 0x68] as const;
const BLOCK_UNIT = 100_000;
/** The square root of pi ends a stream, pi starts a block: 24 bits and 24 bits. */
const BLOCK_START = [0x314159, 0x265359] as const;
const STREAM_END = [0x177245, 0x385090] as const;
const GROUP_SYMBOLS = 50;
const CODE_BITS_MOST = 20;
const TABLES_MOST = 6;
const SYMBOLS_MOST = 258;
/** No block is longer: 20 bits for each of 900,000 symbols, and its tables. So one is decoded without waiting in it. */
const BLOCK_BYTES_MOST = 2_400_000;
const OUTPUT_PIECE = 256 * 1024;

/** Thrown for data that no encoder wrote; whoever catches it knows the place. */
class Bzip2Fault extends Error {}

/** Unpacks all streams of the input. Output is valid until the next is asked for. */
export async function* unpackBzip2(reader: PieceReader, name: string, container: boolean): AsyncGenerator<Uint8Array> {
  let block: Block | undefined;
  for (let first = true; first || (await reader.ensure(1)) > 0; first = false) {
    let ready = await reader.ensure(4);
    const start = reader.ready;
    const isStream = ready >= 4 && MAGIC.every((byte, i) => start[i] === byte) && start[3] >= 0x31 && start[3] <= 0x39;
    if (!isStream && !first && container) return;
    if (ready < 4) throw unpackError('TRUNCATED', 'The bzip2 data end too early', reader.offset + ready, name);
    if (!isStream) {
      throw unpackError('CODEC_DATA', 'Where a bzip2 stream should start there is none', reader.offset, name);
    }
    block ??= new Block();
    block.most = (start[3] - 0x30) * BLOCK_UNIT;
    reader.skip(4);
    const bits = new Bits();
    let combined = 0;
    for (;;) {
      ready = await reader.ensure(BLOCK_BYTES_MOST);
      bits.start(reader.ready);
      let more: boolean;
      try {
        more = block.read(bits, combined);
      } catch (error) {
        if (!(error instanceof Bzip2Fault)) throw error;
        // Beyond the end there are zeros: what they broke is only an end that came too early.
        const cut = bits.usedBytes > ready;
        const what = cut ? 'The bzip2 data end too early' : `The bzip2 data can't be unpacked: ${error.message}`;
        throw unpackError(
          cut ? 'TRUNCATED' : 'CODEC_DATA',
          what,
          reader.offset + Math.min(bits.usedBytes, ready),
          name,
        );
      }
      if (!more) break;
      yield* block.output();
      if (block.crc !== block.expectedCrc) {
        throw unpackError('CODEC_DATA', 'The CRC of a bzip2 block is wrong', reader.offset, name);
      }
      combined = (((combined << 1) | (combined >>> 31)) ^ block.crc) >>> 0;
      reader.skip(bits.wholeBytes);
      bits.carry();
    }
    reader.skip(bits.usedBytes);
  }
}

/** Bits from the highest of each byte on. Reading beyond the end gives zeros, and is found by whoever asks. */
class Bits {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #bit = 0;
  #word = 0;
  #left = 0;

  /** Goes on in new bytes, whose first bits may be used already. */
  start(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#at = 0;
    this.#word = 0;
    this.#left = 0;
    if (this.#bit > 0) this.read(this.#bit);
    this.#bit = 0;
  }

  /** Remembers how much of the byte that is not whole was used. */
  carry(): void {
    this.#bit = (8 - (this.#left & 7)) & 7;
  }

  /** Bytes of which all bits were used. */
  get wholeBytes(): number {
    return this.#at - Math.ceil(this.#left / 8);
  }

  /** Bytes of which bits were used. */
  get usedBytes(): number {
    return this.#at - Math.floor(this.#left / 8);
  }

  /** At most 24. */
  read(count: number): number {
    while (this.#left < count) {
      const byte = this.#at < this.#bytes.byteLength ? this.#bytes[this.#at] : 0;
      this.#word = (this.#word << 8) | byte;
      this.#at++;
      this.#left += 8;
    }
    this.#left -= count;
    return (this.#word >>> this.#left) & ((1 << count) - 1);
  }

  get isOver(): boolean {
    return this.usedBytes > this.#bytes.byteLength;
  }
}

class Block {
  most = 0;
  crc = 0;
  expectedCrc = 0;
  /** The transformed bytes, and in the upper bits where each goes on. */
  readonly #chain = new Uint32Array(9 * BLOCK_UNIT);
  #count = 0;
  #first = 0;
  readonly #tables = Array.from({ length: TABLES_MOST }, () => new Huffman());
  readonly #selectors = new Uint8Array(32_768);
  readonly #front = new Uint8Array(256);
  readonly #counts = new Uint32Array(256);
  readonly #output = new Uint8Array(OUTPUT_PIECE);

  /** Reads a block. @returns false at the end of the stream, whose CRC is compared with `combined` */
  read(bits: Bits, combined: number): boolean {
    const [high, low] = [bits.read(24), bits.read(24)];
    const crc = ((bits.read(16) << 16) | bits.read(16)) >>> 0;
    if (high === STREAM_END[0] && low === STREAM_END[1]) {
      if (bits.isOver) throw new Bzip2Fault('it ends too early');
      if (crc !== combined) throw new Bzip2Fault('the CRC of the stream is wrong');
      return false;
    }
    if (high !== BLOCK_START[0] || low !== BLOCK_START[1])
      throw new Bzip2Fault('there is no block where one should be');
    this.expectedCrc = crc;
    if (bits.read(1) === 1) throw new Bzip2Fault('a block is of the randomised kind, which bzip2 no longer writes');
    const origin = bits.read(24);
    const used = this.#alphabet(bits);
    this.#codes(bits, used + 2);
    this.#symbols(bits, used + 1);
    if (bits.isOver) throw new Bzip2Fault('it ends too early');
    if (origin >= this.#count) throw new Bzip2Fault('a block starts beyond its end');
    this.#link(origin);
    return true;
  }

  /** Which bytes there are. @returns how many */
  #alphabet(bits: Bits): number {
    const rows = bits.read(16);
    let used = 0;
    for (let row = 0; row < 16; row++) {
      if ((rows & (0x8000 >> row)) === 0) continue;
      const columns = bits.read(16);
      for (let column = 0; column < 16; column++) {
        if ((columns & (0x8000 >> column)) !== 0) this.#front[used++] = row * 16 + column;
      }
    }
    if (used === 0) throw new Bzip2Fault('a block has no bytes');
    return used;
  }

  #codes(bits: Bits, symbols: number): void {
    const tables = bits.read(3);
    const selectors = bits.read(15);
    if (tables < 2 || tables > TABLES_MOST || selectors === 0) throw new Bzip2Fault('a block has no codes');
    const order = [0, 1, 2, 3, 4, 5];
    for (let i = 0; i < selectors; i++) {
      let place = 0;
      while (bits.read(1) === 1) if (++place >= tables) throw new Bzip2Fault('a code is chosen that there is not');
      const [table] = order.splice(place, 1);
      order.unshift(table);
      this.#selectors[i] = table;
    }
    this.#selectors.fill(0xff, selectors);
    const lengths = new Uint8Array(symbols);
    for (let table = 0; table < tables; table++) {
      let length = bits.read(5);
      for (let symbol = 0; symbol < symbols; symbol++) {
        for (;;) {
          if (length < 1 || length > CODE_BITS_MOST) throw new Bzip2Fault('a code is too long');
          if (bits.read(1) === 0) break;
          length += bits.read(1) === 0 ? 1 : -1;
        }
        lengths[symbol] = length;
      }
      this.#tables[table].build(lengths);
    }
  }

  /** The symbols of the block, from Huffman codes through move to front and runs to bytes. */
  #symbols(bits: Bits, end: number): void {
    const { most } = this;
    const chain = this.#chain;
    const front = this.#front;
    this.#counts.fill(0);
    let [count, group, inGroup, run, weight] = [0, 0, 0, 0, 1];
    let table = this.#tables[0];
    for (;;) {
      if (inGroup === 0) {
        const selected = this.#selectors[group++];
        if (selected === undefined || selected === 0xff) throw new Bzip2Fault('a block has more symbols than codes');
        table = this.#tables[selected];
        inGroup = GROUP_SYMBOLS;
        if (bits.isOver) throw new Bzip2Fault('it ends too early');
      }
      inGroup--;
      const symbol = table.read(bits);
      if (symbol <= 1) {
        // A run is counted in digits of 1 and 2; one longer than a block is refused before it overflows.
        run += weight << symbol;
        weight <<= 1;
        if (run > most) throw new Bzip2Fault('a run is longer than a block');
        continue;
      }
      if (run > 0) {
        if (count + run > most) throw new Bzip2Fault('a block is too long');
        chain.fill(front[0], count, count + run);
        this.#counts[front[0]] += run;
        count += run;
        run = 0;
        weight = 1;
      }
      if (symbol === end) break;
      if (count >= most) throw new Bzip2Fault('a block is too long');
      const byte = front[symbol - 1];
      front.copyWithin(1, 0, symbol - 1);
      front[0] = byte;
      chain[count++] = byte;
      this.#counts[byte]++;
    }
    this.#count = count;
  }

  #link(origin: number): void {
    const chain = this.#chain;
    const counts = this.#counts;
    let sum = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = counts[byte];
      counts[byte] = sum;
      sum += count;
    }
    for (let i = 0; i < this.#count; i++) chain[counts[chain[i] & 0xff]++] |= i << 8;
    this.#first = chain[origin] >>> 8;
  }

  /** The bytes of the block, and of them its CRC. */
  *output(): Generator<Uint8Array> {
    const chain = this.#chain;
    const out = this.#output;
    let crc = 0xffff_ffff;
    let [at, next, run, last] = [0, this.#first, 0, -1];
    for (let left = this.#count; left > 0; left--) {
      const entry = chain[next];
      next = entry >>> 8;
      const byte = entry & 0xff;
      // After four equal bytes comes how many more there are.
      let copies = 1;
      let value = byte;
      if (run === 4) {
        copies = byte;
        value = last;
        run = 0;
        last = -1;
      } else if (byte === last) {
        run++;
      } else {
        run = 1;
        last = byte;
      }
      if (at + copies > out.byteLength) {
        yield out.subarray(0, at);
        at = 0;
      }
      for (; copies > 0; copies--) {
        out[at++] = value;
        crc = (crc << 8) ^ CRC[(crc >>> 24) ^ value];
      }
    }
    this.crc = ~crc >>> 0;
    if (at > 0) yield out.subarray(0, at);
  }
}

/** Canonical codes: per length the last code, and what to subtract from a code to find its symbol. */
class Huffman {
  readonly #limits = new Int32Array(CODE_BITS_MOST + 2);
  readonly #bases = new Int32Array(CODE_BITS_MOST + 2);
  readonly #symbols = new Uint16Array(SYMBOLS_MOST);
  #shortest = 1;
  #longest = 1;
  #total = 0;

  build(lengths: Uint8Array): void {
    const counts = new Int32Array(CODE_BITS_MOST + 2);
    for (const length of lengths) counts[length]++;
    this.#shortest = Math.min(...lengths);
    this.#longest = Math.max(...lengths);
    let at = 0;
    for (let length = this.#shortest; length <= this.#longest; length++) {
      for (let symbol = 0; symbol < lengths.length; symbol++)
        if (lengths[symbol] === length) this.#symbols[at++] = symbol;
    }
    this.#total = at;
    let [code, sum] = [0, 0];
    for (let length = this.#shortest; length <= this.#longest; length++) {
      this.#bases[length] = code - sum;
      code += counts[length];
      sum += counts[length];
      this.#limits[length] = code - 1;
      code <<= 1;
    }
  }

  read(bits: Bits): number {
    let length = this.#shortest;
    let code = bits.read(length);
    while (code > this.#limits[length]) {
      if (++length > this.#longest) throw new Bzip2Fault('a code means nothing');
      code = (code << 1) | bits.read(1);
    }
    const place = code - this.#bases[length];
    if (place < 0 || place >= this.#total) throw new Bzip2Fault('a code means nothing');
    return this.#symbols[place];
  }
}

/** The polynomial of gzip, not reflected. */
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit++) value = (value << 1) ^ (value < 0 ? 0x04c11db7 : 0);
  return value >>> 0;
});
