import { TransmigrateError } from '../errors.ts';
import { unclosed } from '../io/pieces-of.ts';
import type { ByteSource } from '../io/source.ts';
import { watchedPieces } from '../io/work.ts';
import { decodePieces } from '../stream/decode-pieces.ts';
import { identifyImage, type Identified } from './identify/identify.ts';
import { inspectForeign } from './inspect/foreign.ts';
import { newInspection, type Inspection, type InspectOptions } from './inspection.ts';
import { withLookalike } from './lookalike.ts';
import { decodersFor } from './read-channels.ts';
import { recordJson, type RecordJson } from './record-json.ts';
import { scanIndexed } from './scan-indexed.ts';
import { Summary } from './summary.ts';
import { WatchedSource } from './watched-source.ts';

/**
 * Says what an image of any format is. An image of ours with an index is not read whole: its heads, small records and
 * index are. What is wrong with the image is in the result's `error`, with all that could be read before it.
 * @param source stays open. @throws READ_FAILED, CANCELLED; of a pipe that is put aside WRITE_FAILED
 */
export async function inspectImage(source: ByteSource, options: InspectOptions = {}): Promise<Inspection> {
  let done = 0;
  const watched = new WatchedSource(source, (bytes) => {
    done += bytes;
    if (options.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Inspecting was cancelled');
    options.onProgress?.(done, source.size);
  });
  let identified: Identified;
  try {
    identified = await identifyImage(unclosed(watched), options);
  } catch (error) {
    if (!isAboutImage(error)) throw error;
    return { ...newInspection(source), ok: false, error: error.toJSON() };
  }
  const { format, nesting, image } = identified;
  if (format !== 'tmig') return inspectForeign(source, identified, options);
  if (image.random !== null && options.records !== true) {
    const summary = new Summary(source, nesting);
    if (await scanIndexed(image.random, summary, { signal: options.signal })) return summary.done(true);
  }
  return readAll(image, new Summary(source, nesting), options);
}

/** What is wrong with the image itself is part of what is said of it. */
function isAboutImage(error: unknown): error is TransmigrateError {
  return error instanceof TransmigrateError && !['READ_FAILED', 'WRITE_FAILED', 'CANCELLED'].includes(error.code);
}

async function readAll(image: ByteSource, summary: Summary, options: InspectOptions): Promise<Inspection> {
  const watched = new WatchedSource(image);
  const [decoder] = decodersFor([watched], { knows: 'all' });
  const records: RecordJson[] = [];
  try {
    for await (const decoded of decodePieces(watchedPieces(watched, { signal: options.signal }), decoder)) {
      summary.preamble = decoder.preamble!;
      summary.add(decoded);
      if (options.records === true) records.push(recordJson(decoded, decoder.scratch));
    }
  } catch (error) {
    if (!isAboutImage(error)) throw error;
    summary.error = withLookalike(error, watched.head);
  }
  // Even of an image without a whole record the preamble may be known.
  if (decoder.preamble !== undefined) summary.preamble = decoder.preamble;
  summary.complete = decoder.complete;
  summary.bytesRead = decoder.offset;
  summary.trailing = { bytes: decoder.trailing, zero: decoder.trailingZero };
  const result = summary.done(false);
  return options.records === true ? { ...result, records } : result;
}
