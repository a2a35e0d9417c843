/** ORIGIN, the framing of a foreign image: stream 11. */
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import type { CodecId } from '../../codec/codec.ts';
import { LIMITS } from '../limits.ts';
import { chunkLength } from './device.ts';
import { checkStored, type Stored } from './stored.ts';

/** A part of what gives the source's bytes back exactly. The foreign format's page says what the joined parts mean. */
export interface Origin extends Stored {
  readonly kind: 'ORIGIN';
  readonly part: number;
  readonly format: string;
}

/** The fields before the stored bytes. */
export function encodeOriginHead(
  part: number,
  codec: CodecId,
  bytes: number,
  stored: number,
  format: string,
): Uint8Array {
  return new ByteWriter(20 + LIMITS.nameBytes)
    .u32(part)
    .u8(codec)
    .zeros(3)
    .u32(bytes)
    .u32(stored)
    .string(format, LIMITS.nameBytes)
    .done();
}

export function decodeOrigin(body: ByteReader): Origin {
  const part = body.u32('part');
  const codec = body.u8('codec');
  body.reserved(3);
  const bytes = chunkLength(body);
  const stored = body.u32('stored');
  const checked = checkStored(codec, bytes, stored, { offset: body.base, path: body.path, section: body.section });
  const format = body.string('format', LIMITS.nameBytes);
  const piece = body.take(stored, 'stored');
  body.end();
  return { kind: 'ORIGIN', part, codec: checked, bytes, stored: piece, format };
}
