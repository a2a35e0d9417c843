/**
 * Storing the compression units of a batch (spec/stream.md 7.3): what a thread of the pool does, and what a writer
 * without threads does itself.
 */
import { CODEC, encodeInto, type CodecId } from './codec.ts';
import { crc32 } from './platform.ts';

/** A batch whose units are to be stored. The two buffers do not overlap, unless it is in place. */
export interface UnitJob {
  /** The original content of all units, one directly after the other. */
  readonly original: Uint8Array;
  /** Takes the stored bytes, one unit directly after the other. As large as `original`. */
  readonly stored: Uint8Array;
  /** For each unit its original length in bytes, and the codec to try. */
  readonly plan: Uint32Array;
  readonly level: number | undefined;
  /** Both buffers are one and all units are raw: only the checksums are wanted. */
  readonly inPlace: boolean;
}

/** Numbers in a plan for each unit, and in the result. */
export const PLAN_STRIDE = 2;
export const RESULT_STRIDE = 3;

/**
 * Stores each unit in its codec, or raw when that does not make it smaller.
 * @returns for each unit: stored length, codec used, CRC of the stored bytes.
 */
export function storeUnits(job: UnitJob): Uint32Array {
  const units = job.plan.length / PLAN_STRIDE;
  const result = new Uint32Array(units * RESULT_STRIDE);
  let from = 0;
  let to = 0;
  for (let unit = 0; unit < units; unit++) {
    const length = job.plan[unit * PLAN_STRIDE];
    let codec = job.plan[unit * PLAN_STRIDE + 1] as CodecId;
    const original = job.original.subarray(from, from + length);
    let stored =
      codec === CODEC.raw ? -1 : encodeInto(codec, original, job.stored.subarray(to, to + length - 1), job.level);
    if (stored < 0) {
      codec = CODEC.raw;
      stored = length;
      if (!job.inPlace) job.stored.set(original, to);
    }
    result[unit * RESULT_STRIDE] = stored;
    result[unit * RESULT_STRIDE + 1] = codec;
    result[unit * RESULT_STRIDE + 2] = crc32(job.stored.subarray(to, to + stored));
    from += length;
    to += stored;
  }
  return result;
}
