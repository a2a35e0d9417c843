import type { ByteSink } from '../../bytes/endpoints.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import { OriginRecorder } from '../origin/recorder.ts';
import { readerOf } from '../readers/reader-of.ts';
import { refuseBigEndian, TmigImageWriter, type TmigWriterOptions } from './tmig-writer.ts';

/** How an image of ours is written. */
export interface ToTmigOptions extends Omit<TmigWriterOptions, 'origin'>, Work {
  /** Keep the foreign framing, so that the same bytes can be given back (stream 11). */
  readonly origin: boolean;
  /** Only so far: see {@link ReaderOptions.end}. */
  readonly end?: number | undefined;
}

/**
 * Converts an image of any format into one of ours, in one pass. The sink is not ended.
 * @param image without what is wrapped around it. @throws the reader's errors, and what the sink throws
 */
export async function convertToTmig(
  format: FormatName,
  image: ByteSource,
  sink: ByteSink,
  { origin, end, signal, onProgress, ...options }: ToTmigOptions,
): Promise<void> {
  const recorder = origin && format !== 'tmig' ? new OriginRecorder() : undefined;
  const reader = readerOf(format, image, {
    ...(recorder !== undefined && { origin: recorder }),
    ...(end !== undefined && { end }),
    signal,
    onProgress,
  });
  const writer = new TmigImageWriter(sink, {
    ...options,
    origin: recorder === undefined ? undefined : { format, recorder },
  });
  for await (const event of reader.events()) {
    if (event.kind === 'head') refuseBigEndian(event);
    await writer.event(event);
  }
}
