import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { watchedPieces } from '../../io/work.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import type { Identified } from '../identify/identify.ts';
import type { Inspection, InspectOptions } from '../inspection.ts';
import { withLookalike } from '../lookalike.ts';
import { decodersFor } from '../read-channels.ts';
import { recordJson, type RecordJson } from '../record-json.ts';
import { scanIndexed } from '../scan-indexed.ts';
import { Summary } from '../summary.ts';
import { isAboutReading } from '../verify/about-reading.ts';
import { WatchedSource } from '../watched-source.ts';

/** Says what an image of ours is: by its index, where it has one that holds, else by reading all of it. */
export async function inspectTmig(
  source: ByteSource,
  { nesting, image }: Identified,
  options: InspectOptions,
): Promise<Inspection> {
  if (image.random !== null && options.records !== true) {
    const summary = new Summary(source, nesting);
    if (await scanIndexed(image.random, summary, { signal: options.signal })) return summary.done(true);
  }
  return readAll(image, new Summary(source, nesting), options);
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
    if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
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
