import { ERRORS, TransmigrateError } from '../../src/errors.ts';
import { inspectImage } from '../../src/image/inspect.ts';
import { recordJson } from '../../src/image/record-json.ts';
import { verifyImage } from '../../src/image/verify.ts';
import { memorySource } from '../../src/io/memory.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import type { Random } from '../support/random.ts';

/** What reading an input came to: the records that were handed on, and how it ended. */
export interface Outcome {
  readonly records: readonly string[];
  /** Code, offset and path of the error; empty when all was read. */
  readonly end: string;
}

/** Reads an input that is cut by `next`. Anything but a TransmigrateError it lets out is a finding. */
export type Subject = (bytes: Uint8Array, next: () => number) => Outcome;

/** The decoder, with every record printed: so its content is decoded, too. */
export const decode: Subject = (bytes, next) => {
  const decoder = new StreamDecoder({ knows: 'all' });
  const records: string[] = [];
  try {
    for (let at = 0; at < bytes.byteLength;) {
      const piece = bytes.slice(at, at + next());
      at += piece.byteLength;
      decoder.feed(piece);
      for (let record = decoder.read(); record !== undefined; record = decoder.read()) {
        records.push(JSON.stringify(recordJson(record, decoder.scratch)));
      }
    }
    const last = decoder.read();
    if (last !== undefined) records.push(JSON.stringify(recordJson(last, decoder.scratch)));
    decoder.finish();
    return { records, end: '' };
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    return { records, end: `${error.code} ${error.offset} ${error.path}` };
  }
};

/**
 * Tries an input against all that must hold for any input.
 * @returns what does not hold, or undefined.
 */
export async function findingOf(bytes: Uint8Array, generator: Random, subject: Subject): Promise<string | undefined> {
  try {
    const whole = subject(bytes, () => Math.max(bytes.byteLength, 1));
    const pieces = subject(bytes, () => 1 + generator.below(100));
    if (whole.end !== pieces.end) return `whole: ${whole.end}; in pieces: ${pieces.end}`;
    if (whole.records.join('\n') !== pieces.records.join('\n')) return 'other records in pieces than whole';
    if (whole.end.startsWith('INTERNAL')) return whole.end;
    const verified = await verifyImage([memorySource(bytes)], { digest: true });
    const code = verified.errors[0]?.code;
    if (code !== undefined && !Object.hasOwn(ERRORS, code)) return `an error of code ${code}`;
    if (whole.end === '' && verified.verdict === 'broken' && code !== 'CHAIN_VECTOR' && code !== 'CODEC_DATA') {
      return `decoded whole, and verify says ${code}`;
    }
    await inspectImage(memorySource(bytes));
    await inspectImage({ ...memorySource(bytes), size: null, random: null });
    return undefined;
  } catch (error) {
    if (error instanceof TransmigrateError) return `thrown: ${error.code} ${error.path}`;
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
