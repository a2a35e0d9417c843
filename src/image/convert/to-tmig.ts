import type { ByteSink } from '../../bytes/endpoints.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageFinding } from '../model/reader.ts';
import { OriginRecorder } from '../origin/recorder.ts';
import { readerOf } from '../readers/reader-of.ts';
import type { PageRun } from '../../stream/records/ram.ts';
import { refuseLosses, unknownLosses, type ConversionLoss } from './losses.ts';
import { Survey } from './survey.ts';
import { refuseBigEndian, TmigImageWriter, type TmigWriterOptions } from './tmig-writer.ts';

/** How an image of ours is written. */
export interface ToTmigOptions extends Omit<TmigWriterOptions, 'origin' | 'keepsOrigin'>, Work {
  /**
   * Keep the foreign framing, so that the same bytes can be given back (stream 11); of an image of ours, what it keeps
   * itself.
   */
  readonly origin: boolean;
  /** Only so far: see {@link ReaderOptions.end}. */
  readonly end?: number | undefined;
  /** Leave out what can't be carried over, and say so, in place of failing. */
  readonly allowLoss?: boolean | undefined;
}

/** What became of it. */
export interface ToTmigResult {
  readonly survey: Survey;
  readonly findings: readonly ImageFinding[];
  readonly losses: readonly ConversionLoss[];
  /** Whether what was written keeps what gives the source's bytes back. */
  readonly exact: boolean;
}

/**
 * Converts an image of any format into one of ours, in one pass. The sink is not ended.
 * @param image without what is wrapped around it.
 * @throws the reader's errors, CONVERSION_LOSS for records of ours that can't be carried over, what the sink throws
 */
export async function convertToTmig(
  format: FormatName,
  image: ByteSource,
  sink: ByteSink,
  { origin, end, signal, onProgress, allowLoss = false, ...options }: ToTmigOptions,
): Promise<ToTmigResult> {
  const recorder = origin && format !== 'tmig' ? new OriginRecorder() : undefined;
  const reader = readerOf(format, image, {
    ...(recorder !== undefined && { origin: recorder }),
    ...(end !== undefined && { end }),
    signal,
    onProgress,
  });
  // Of an image that is cut ORIGIN can't be followed.
  const keepsOrigin = origin && end === undefined;
  const writer = new TmigImageWriter(sink, {
    ...options,
    origin: recorder === undefined ? undefined : { format, recorder },
    keepsOrigin,
  });
  const survey = new Survey();
  for await (const event of reader.events()) {
    if (event.kind === 'head') refuseBigEndian(event);
    if (event.kind === 'pages') {
      await writer.event({ ...event, runs: () => surveyed(event.runs(), survey) });
      continue;
    }
    survey.addOther(event);
    if (survey.unknownRecords > 0) refuseLosses('tmig', unknownLosses(survey), allowLoss);
    await writer.event(event);
  }
  const losses = unknownLosses(survey);
  if (end !== undefined && origin && survey.originParts > 0) {
    const why = 'it belongs to all of the image, and what is written is that of a checkpoint';
    losses.push({ what: 'origin', name: 'ORIGIN', why });
  }
  const exact = recorder !== undefined || (keepsOrigin && survey.originParts > 0);
  return { survey, findings: reader.findings(), losses, exact };
}

function* surveyed(runs: Iterable<PageRun>, survey: Survey): Generator<PageRun> {
  for (const run of runs) {
    survey.addPages(run.pages, run.pageClass);
    yield run;
  }
}
