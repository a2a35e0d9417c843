// Content that several vectors share, with what compressors made of it.
import { strictEqual } from 'node:assert';
import { inflateRawSync, zstdDecompressSync } from 'node:zlib';
import { compressed } from './compressed.ts';
import { cat, hex, sha256, text, textPages, u32, u64, u8, zeros } from './bytes.ts';

export const codecNumber = { zero: 0, raw: 1, zstd: 2, deflate: 3, lz4: 4, lzo1x: 5, opaque: 6 } as const;
export type Codec = keyof typeof codecNumber;

/** Original bytes and what is stored of them. */
export type Packed = { codec: Codec; content: Buffer; stored: Buffer };

export const originals = {
  one: textPages('one', 1),
  two: textPages('two', 2),
  four: textPages('four', 4),
  many: textPages('many', 64),
  over: textPages('over', 65),
  big13: textPages('big13', 1, 8192),
  big14: textPages('big14', 1, 16384),
  big16: textPages('big16', 1, 65536),
  full16: textPages('full16', 4, 65536),
  part: text('part', 1000),
  blob: text('blob', 3000),
  mib: zeros(1 << 20),
  mibOver: zeros((1 << 20) + 1),
  oneChecked: textPages('one', 1),
  oneUnsized: textPages('one', 1),
} as const;

type Table = typeof compressed;

/** A committed payload; where this program has a decoder too, it makes sure that the constant is what it says. */
export function packed<Name extends keyof Table>(name: Name, codec: keyof Table[Name] & Codec): Packed {
  const content = originals[name];
  const stored = Buffer.from(compressed[name][codec] as string, 'base64');
  if (codec === 'zstd') strictEqual(hex(sha256(zstdDecompressSync(stored))), hex(sha256(content)));
  if (codec === 'deflate') strictEqual(hex(sha256(inflateRawSync(stored))), hex(sha256(content)));
  return { codec, content, stored };
}

export const raw = (content: Buffer): Packed => ({ codec: 'raw', content, stored: content });
export const opaque = (content: Buffer): Packed => ({ codec: 'opaque', content, stored: content });
export const zeroPage = (): Packed => ({ codec: 'zero', content: zeros(0), stored: zeros(0) });

const zstdMagic = u32(0xfd2fb528);

/** A zstd block that repeats one byte. */
function runBlock(byte: number, count: number, last: boolean): Buffer {
  const header = (last ? 1 : 0) | (1 << 1) | (count << 3);
  return cat(u32(header).subarray(0, 3), u8(byte));
}

/** A zstd frame of one segment, made by hand: `count` times one byte, with a stated content size that may lie. */
export function zstdRun(byte: number, count: number, stated: bigint | number = count): Buffer {
  return cat(zstdMagic, u8(0xe0), u64(stated), runBlock(byte, count, true));
}

/** A zstd frame without a content size, made by hand, whose window descriptor is the given byte. */
export function zstdWindow(byte: number, count: number, descriptor: number): Buffer {
  return cat(zstdMagic, u8(0x00), u8(descriptor), runBlock(byte, count, true));
}

/** A zstd frame that names dictionary 7, made by hand. */
export function zstdDictionary(byte: number, count: number): Buffer {
  return cat(zstdMagic, u8(0xe1), u8(7), u64(count), runBlock(byte, count, true));
}

/** A zstd skippable frame. */
export const zstdSkippable = (content: Buffer): Buffer => cat(u32(0x184d2a50), u32(content.length), content);
