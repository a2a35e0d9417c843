import { TransmigrateError } from '../errors.ts';
import { unclosed } from '../io/pieces-of.ts';
import type { ByteSource } from '../io/source.ts';
import { identifyImage, type Identified } from './identify/identify.ts';
import { newInspection, type Inspection, type InspectOptions } from './inspection.ts';
import { isAboutReading } from './verify/about-reading.ts';
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
    if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
    return { ...newInspection(source), ok: false, error: error.toJSON() };
  }
  // Each is loaded when it is called: half of the time of a small image is loading.
  if (identified.format !== 'tmig') {
    return (await import('./inspect/foreign.ts')).inspectForeign(source, identified, options);
  }
  return (await import('./inspect/tmig.ts')).inspectTmig(source, identified, options);
}
