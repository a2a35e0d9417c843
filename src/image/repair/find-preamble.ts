import type { RandomAccess } from '../../bytes/endpoints.ts';
import { crc32 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { decodePreamble, PREAMBLE_BYTES, readRawPreamble, refusalOf, type Preamble } from '../../stream/preamble.ts';
import { HEADER_BYTES, headerChecksumHolds } from '../../stream/record-header.ts';

/** Where the CRC of a preamble stands: it is also the tag of every record (stream 2, 3). */
const CHECKSUM_AT = 124;
const TAG_AT = 12;

/** A preamble that can be worked with. */
export interface FoundPreamble {
  readonly preamble: Preamble;
  /** Its 128 bytes. */
  readonly bytes: Uint8Array;
  /** The byte that was wrong and could be put right; null when none was. */
  readonly mendedAt: number | null;
}

/**
 * The preamble of an image of ours. One that is damaged in a single byte is put right: its checksum stands once more in
 * every record header.
 * @throws the errors of stream 2.1; UNSUPPORTED_FEATURE for a channel of several, and for direction back
 */
export async function findPreamble(random: RandomAccess): Promise<FoundPreamble> {
  const head = new Uint8Array(PREAMBLE_BYTES + HEADER_BYTES);
  const found = await random.readAt(0, head);
  const bytes = head.slice(0, Math.min(found, PREAMBLE_BYTES));
  let mendedAt: number | null = null;
  try {
    readRawPreamble(bytes);
  } catch (error) {
    mendedAt = found < head.byteLength ? -1 : mend(bytes, head.subarray(PREAMBLE_BYTES));
    if (mendedAt < 0) throw error;
  }
  const raw = readRawPreamble(bytes);
  const refusal = refusalOf(raw);
  if (refusal !== undefined) throw refusal;
  const preamble = decodePreamble(raw);
  if (preamble.channels > 1 || preamble.direction === 'back') {
    throw new TransmigrateError('UNSUPPORTED_FEATURE', 'This is a recorded connection of a migration, and no image', {
      offset: 0,
      path: 'preamble',
      section: '14',
      data: { channel: preamble.channel, channels: preamble.channels, direction: preamble.direction },
      next: 'Migrate the machine again.',
    });
  }
  return { preamble, bytes, mendedAt };
}

/** Finds the one byte that is wrong. @returns where it was, or -1 when it is more than one. */
function mend(bytes: Uint8Array, header: Uint8Array): number {
  if (!headerChecksumHolds(header)) return -1;
  const tag = new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getUint32(TAG_AT, true);
  const view = new DataView(bytes.buffer, bytes.byteOffset, PREAMBLE_BYTES);
  // The record after it has the checksum; when that is right already, it was its copy here that was damaged.
  if (crc32(bytes.subarray(0, CHECKSUM_AT)) === tag) {
    const at = [0, 1, 2, 3].find((i) => bytes[CHECKSUM_AT + i] !== (tag >>> (8 * i)) % 256)!;
    view.setUint32(CHECKSUM_AT, tag, true);
    return CHECKSUM_AT + at;
  }
  if (view.getUint32(CHECKSUM_AT, true) !== tag) return -1;
  for (let at = 0; at < CHECKSUM_AT; at++) {
    const was = bytes[at];
    for (let value = 0; value < 256; value++) {
      bytes[at] = value;
      if (crc32(bytes.subarray(0, CHECKSUM_AT)) === tag) return at;
    }
    bytes[at] = was;
  }
  return -1;
}
