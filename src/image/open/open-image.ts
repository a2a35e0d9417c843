import { TransmigrateError } from '../../errors.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import { needsRandomAccess } from '../needs-random-access.ts';
import { identifyImage, type Identified, type IdentifyOptions } from '../identify/identify.ts';
import { lastCheckpoint } from '../readers/last-checkpoint.ts';
import { readerOf } from '../readers/reader-of.ts';
import { DirectMemoryBuilder } from './direct-memory.ts';
import { frameMapOf } from './frame-map.ts';
import { openTmig } from './open-tmig.ts';
import type { OpenedImage } from './opened-image.ts';
import { StateCollector } from './state-collector.ts';

export interface OpenOptions extends Work, IdentifyOptions {
  /** Take the image for what it is at its last complete checkpoint, although it is cut or damaged behind it. */
  readonly toCheckpoint?: boolean;
}

/**
 * Opens a saved image of any format, to look at its memory and state at any place (spec/foreign/model.md 4). All of a
 * foreign image is read once; an image of ours with an index only in part.
 *
 * @param source belongs to the result, whose `close` closes it. What can't be read at any place, as a pipe, or an
 * image inside a compression, is put aside by `options.spool`.
 * @throws the errors of {@link identifyImage} and of the image; NO_CHECKPOINT
 */
export async function openImage(source: ByteSource, options: OpenOptions = {}): Promise<OpenedImage> {
  const identified = await identifyImage(source, options);
  let { image } = identified;
  try {
    image = await readableAtAnyPlace(image, options);
    const opened = await open(identified, image, options);
    return { ...opened, format: identified.format, nesting: identified.nesting, close: () => image.close() };
  } catch (error) {
    await image.close();
    throw error;
  }
}

/**
 * The image itself when it can be read at any place, else all of it, put aside.
 * @throws READ_FAILED without {@link IdentifyOptions.spool}; WRITE_FAILED
 */
export async function readableAtAnyPlace(image: ByteSource, { spool, signal }: OpenOptions): Promise<ByteSource> {
  if (image.random !== null) return image;
  if (spool === undefined) throw needsRandomAccess(image.name);
  const spooled = await spool(image);
  for await (const piece of spooled.pieces()) {
    void piece;
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', `Reading ${image.name} was cancelled`);
  }
  return spooled;
}

async function open(
  { format }: Identified,
  image: ByteSource,
  options: OpenOptions,
): Promise<Omit<OpenedImage, 'format' | 'nesting' | 'close'>> {
  const work: Work = { signal: options.signal, onProgress: options.onProgress };
  const found = options.toCheckpoint === true ? await lastCheckpoint(format, image, work) : Infinity;
  const end = found === Infinity ? undefined : found;
  if (format === 'tmig') return openTmig(image, work, end);
  const reader = readerOf(format, again(image), { ...work, placesOnly: true, ...(end !== undefined && { end }) });
  const state = new StateCollector();
  let memory: DirectMemoryBuilder | undefined;
  for await (const event of reader.events()) {
    if (event.kind === 'pages') memory!.add(event);
    else state.add(event);
    if (event.kind === 'head') memory = new DirectMemoryBuilder(event.pageSize);
  }
  const head = state.head!;
  const rest = state.done();
  const pfnOfFrame = (await frameMapOf(rest.devices))?.of;
  return { head, about: head.about, memory: memory!.done(image.random!, pfnOfFrame), ...rest };
}
