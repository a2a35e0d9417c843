import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { watchedPieces, type Work } from '../io/work.ts';
import { decodePieces } from '../stream/decode-pieces.ts';
import { withLookalike } from './lookalike.ts';
import { decodersFor } from './read-channels.ts';
import { recordJson, type RecordJson } from './record-json.ts';
import { scanIndexed } from './scan-indexed.ts';
import { Summary, type Inspection } from './summary.ts';
import { WatchedSource } from './watched-source.ts';

export interface InspectOptions extends Work {
  /** List every record: then all of the image is read. */
  readonly records?: boolean;
}

/**
 * Says what an image is. An image with an index is not read whole: its heads, small records and index are. What is
 * wrong with the image is in the result's `error`, with all that could be read before it.
 * @throws READ_FAILED, CANCELLED
 */
export async function inspectImage(source: ByteSource, options: InspectOptions = {}): Promise<Inspection> {
  if (source.random !== null && options.records !== true) {
    const summary = new Summary(source);
    if (await scanIndexed(source.random, summary, options)) return summary.done(true);
  }
  return readAll(source, new Summary(source), options);
}

async function readAll(source: ByteSource, summary: Summary, options: InspectOptions): Promise<Inspection> {
  const watched = new WatchedSource(source);
  const [decoder] = decodersFor([watched], { knows: 'all' });
  const records: RecordJson[] = [];
  try {
    for await (const decoded of decodePieces(watchedPieces(watched, options), decoder)) {
      summary.preamble = decoder.preamble!;
      summary.add(decoded);
      if (options.records === true) records.push(recordJson(decoded, decoder.scratch));
    }
  } catch (error) {
    if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED' || error.code === 'CANCELLED')
      throw error;
    summary.error = withLookalike(error, watched.head);
  }
  // Even of an image without a whole record the preamble may be known.
  if (decoder.preamble !== undefined) summary.preamble = decoder.preamble;
  summary.complete = decoder.complete;
  summary.bytesRead = decoder.offset;
  const result = summary.done(false);
  return options.records === true ? { ...result, records } : result;
}
