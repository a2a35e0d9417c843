/**
 * The outside of a zstd frame (RFC 8878, section 3.1.1): enough to know, before any decoder allocates anything, how
 * long the frame is, what content size and window it claims, and whether exactly one frame was stored.
 */

/** RFC 8878 recommends this as the window that every decoder supports; a frame that wants more is refused. */
const MAX_WINDOW = 8 * 1024 * 1024;

const FIXED_BLOCK_BYTES = 3;

/** Block types of section 3.1.1.2.2. */
const BLOCK_RAW = 0;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/**
 * Says why `stored` is not one whole zstd frame that may hold `expected` bytes of content, or returns an empty
 * string when nothing of its outside speaks against that; the blocks themselves are for the decoder to check.
 *
 * Refused are: skippable frames, anything after the frame, dictionaries, windows over 8 MiB, and a claimed content
 * size other than `expected`. Never throws, allocates nothing, and takes at most one turn per three stored bytes.
 */
export function zstdFrameFault(stored: Uint8Array, expected: number): string {
  const end = stored.length;
  if (end < 6) return 'too short for a zstd frame';
  if (stored[0] !== 0x28 || stored[1] !== 0xb5 || stored[2] !== 0x2f || stored[3] !== 0xfd) {
    return 'does not start with the magic number of a zstd frame';
  }
  const descriptor = stored[4];
  if ((descriptor & 0x08) !== 0) return 'a reserved bit of the frame header is set';
  const singleSegment = (descriptor & 0x20) !== 0;
  const checksumBytes = (descriptor & 0x04) !== 0 ? 4 : 0;
  const dictionaryFlag = descriptor & 3;
  const dictionaryBytes = dictionaryFlag === 3 ? 4 : dictionaryFlag;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag;
  let at = 5;
  if (end - at < (singleSegment ? 0 : 1) + dictionaryBytes + sizeBytes) return 'the frame header is cut off';

  if (!singleSegment) {
    // Section 3.1.1.1.2: five bits of exponent, three of mantissa. The largest is 3.75 TiB, exact as a number.
    const window = stored[at++];
    const power = 2 ** (10 + (window >> 3));
    if (power + (power / 8) * (window & 7) > MAX_WINDOW) return 'the window is larger than 8 MiB';
  }
  for (let left = dictionaryBytes; left > 0; left--) {
    if (stored[at++] !== 0) return 'the frame needs a dictionary';
  }
  if (sizeBytes > 0) {
    let claimed = 0;
    for (let byte = sizeBytes - 1; byte >= 0; byte--) claimed = claimed * 256 + stored[at + byte];
    if (sizeBytes === 2) claimed += 256;
    at += sizeBytes;
    // In a single segment the window is the content, so this bounds the window too.
    if (claimed !== expected) return 'the frame claims another content size';
  }

  let known = 0;
  let last = false;
  while (!last) {
    if (end - at < FIXED_BLOCK_BYTES) return 'the frame ends inside a block header';
    const header = stored[at] | (stored[at + 1] << 8) | (stored[at + 2] << 16);
    at += FIXED_BLOCK_BYTES;
    last = (header & 1) !== 0;
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === BLOCK_RESERVED) return 'a block has the reserved type';
    if (type === BLOCK_RAW || type === BLOCK_RLE) {
      known += size;
      if (known > expected) return 'the content is longer than expected';
    }
    at += type === BLOCK_RLE ? 1 : size;
    if (at > end) return 'the frame ends inside a block';
  }
  if (end - at < checksumBytes) return 'the frame ends inside its checksum';
  return at + checksumBytes === end ? '' : 'bytes follow the end of the frame';
}
