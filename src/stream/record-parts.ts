/** Records that are put together from parts: a body of several, and memory that is used for one after the other. */
import { CODEC, encodeInto, type CodecId } from '../codec/codec.ts';
import { LIMITS } from './limits.ts';
import { HEADER_BYTES, recordBytes } from './record-header.ts';

/** Parts of a body, one behind the other. */
export type Body = readonly Uint8Array[];

/** Most memory that is kept for the next record. */
const MOST_KEPT = 2 * LIMITS.chunkBytes;

export function bodyBytes(body: Body): number {
  return body.reduce((sum, part) => sum + part.byteLength, 0);
}

/**
 * A head, and a chunk as it is stored behind it: packed, where that makes it smaller.
 * @param headOf the head for a codec, and for how many bytes that leaves of the chunk.
 */
export function chunkBody(
  chunk: Uint8Array,
  codec: CodecId,
  level: number | undefined,
  headOf: (codec: CodecId, stored: number) => Uint8Array,
): Body {
  if (codec !== CODEC.raw) {
    const packed = new Uint8Array(Math.max(chunk.byteLength - 1, 0));
    const stored = encodeInto(codec, chunk, packed, level);
    if (stored >= 0) return [headOf(codec, stored), packed.subarray(0, stored)];
  }
  return [headOf(CODEC.raw, chunk.byteLength), chunk];
}

/** Memory for a record: most of the time the same, because the last one is on its way when the next is made. */
export class RecordRoom {
  #kept = new Uint8Array(0);

  /** Room for a header, then the parts of the body, then zeros as padding. The caller's until {@link giveBack}. */
  join(body: Body): Uint8Array<ArrayBuffer> {
    const bytes = recordBytes(bodyBytes(body));
    // Taken away while it is used: nothing keeps a caller from asking for another record meanwhile.
    const kept = this.#kept;
    this.#kept = new Uint8Array(0);
    const record = kept.byteLength < bytes ? new Uint8Array(bytes) : kept.subarray(0, bytes);
    let end = HEADER_BYTES;
    for (const part of body) {
      record.set(part, end);
      end += part.byteLength;
    }
    record.fill(0, end);
    return record;
  }

  /** Nobody looks at a record any more. */
  giveBack({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength <= MOST_KEPT && buffer.byteLength > this.#kept.byteLength)
      this.#kept = new Uint8Array(buffer);
  }
}
