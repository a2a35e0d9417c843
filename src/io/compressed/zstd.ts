/** .zst files in one pass: the frames of RFC 8878, section 3, each handed to a decoder of its own. */
import { unpackError } from './fault.ts';
import { UNPACK_LIMITS } from './limits.ts';
import type { PieceReader } from './piece-reader.ts';
import { unpackWithZlib } from './platform.ts';

const MAGIC = 0xfd2f_b528;
/** Frames to be passed over: 16 magics (section 3.1.2). */
const SKIPPABLE = 0x184d_2a50;
/** Magic, descriptor, window, dictionary, content size. */
const HEADER_MOST = 18;
const RLE = 1;
const RESERVED = 3;
/** Section 3.1.1.2.3. */
const BLOCK_MOST = 128 * 1024;

/**
 * Unpacks all frames of the input. Node's decoder ends with the first one and says nothing of the others, so frames are
 * told apart here, by the lengths of their blocks. Output is valid until the next is asked for.
 */
export async function* unpackZstd(reader: PieceReader, name: string, container: boolean): AsyncGenerator<Uint8Array> {
  for (let first = true; first || (await reader.ensure(1)) > 0; first = false) {
    if (!first && container && (await reader.ensure(4)) < 4) return;
    const ready = await need(reader, 4, name);
    const magic = u32(ready, 0);
    if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE) {
      await skipFrame(reader, name);
    } else if (magic === MAGIC) {
      yield* unpackWithZlib('zstd', frame(reader, name), name);
    } else if (!first && container) {
      return;
    } else {
      throw unpackError('CODEC_DATA', 'Where a zstd frame should start there is none', reader.offset, name);
    }
  }
}

/** The bytes of one frame. */
async function* frame(reader: PieceReader, name: string): AsyncGenerator<Uint8Array> {
  await need(reader, 6, name);
  await reader.ensure(HEADER_MOST);
  const headBytes = frameHead(reader, name);
  const checksumBytes = (reader.ready[4] & 4) === 0 ? 0 : 4;
  yield (await need(reader, headBytes, name)).subarray(0, headBytes);
  reader.skip(headBytes);
  for (let last = false; !last;) {
    const head = await need(reader, 3, name);
    const word = head[0] | (head[1] << 8) | (head[2] << 16);
    last = (word & 1) === 1;
    const type = (word >> 1) & 3;
    const length = 3 + (type === RLE ? 1 : word >> 3);
    if (type === RESERVED || word >> 3 > BLOCK_MOST) {
      throw unpackError('CODEC_DATA', 'A zstd block is of a kind or length that there is not', reader.offset, name);
    }
    yield (await need(reader, length, name)).subarray(0, length);
    reader.skip(length);
  }
  yield (await need(reader, checksumBytes, name)).subarray(0, checksumBytes);
  reader.skip(checksumBytes);
}

/** Checks what a frame wants (section 3.1.1.1). @returns the length of its header */
function frameHead(reader: PieceReader, name: string): number {
  const bytes = reader.ready;
  const [, , , , descriptor, windowByte] = bytes;
  const single = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag;
  const most = 2 ** UNPACK_LIMITS.zstdWindowLog;
  const next = 'Unpack it first, with `zstd -dc --long=31`.';
  let at = 5;
  if (!single) {
    const power = 2 ** (10 + (windowByte >> 3));
    const window = power + (power / 8) * (windowByte & 7);
    if (window > most) {
      throw unpackError(
        'LIMIT_EXCEEDED',
        `The zstd data want a window of ${window} bytes, the limit is ${most}`,
        reader.offset,
        name,
        next,
      );
    }
    at++;
  }
  if (bytes.subarray(at, at + dictionaryBytes).some((byte) => byte !== 0)) {
    throw unpackError('UNSUPPORTED_CODEC', 'The zstd data need a dictionary', reader.offset, name);
  }
  at += dictionaryBytes;
  if (single) {
    let content = 0;
    for (let i = sizeBytes - 1; i >= 0; i--) content = content * 256 + (bytes[at + i] ?? 0);
    // Then the window is the content.
    if (content > most) {
      throw unpackError(
        'LIMIT_EXCEEDED',
        `The zstd data want a window of ${content} bytes, the limit is ${most}`,
        reader.offset,
        name,
        next,
      );
    }
  }
  return at + sizeBytes;
}

async function skipFrame(reader: PieceReader, name: string): Promise<void> {
  const length = u32(await need(reader, 8, name), 4);
  reader.skip(8);
  for (let left = length; left > 0;) {
    await need(reader, 1, name);
    const part = Math.min(left, reader.ready.byteLength);
    reader.skip(part);
    left -= part;
  }
}

async function need(reader: PieceReader, length: number, name: string): Promise<Uint8Array> {
  const ready = await reader.ensure(length);
  if (ready < length) throw unpackError('TRUNCATED', 'The zstd data end too early', reader.offset + ready, name);
  return reader.ready;
}

function u32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
}
