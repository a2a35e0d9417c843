import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { CODEC, type CodecId } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import { watchedPieces, type Work } from '../../io/work.ts';
import { identifyImage, type Identified, type IdentifyOptions } from '../identify/identify.ts';
import { FORMATS, type FormatName } from '../identify/layers.ts';
import type { ImageFinding } from '../model/reader.ts';
import { openImage, readableAtAnyPlace } from '../open/open-image.ts';
import { lastCheckpoint } from '../readers/last-checkpoint.ts';
import { readerOf } from '../readers/reader-of.ts';
import { holdsOf, prepareImage } from '../writers/formats.ts';
import { passedHolds } from '../writers/holds.ts';
import { isXenFormat } from '../writers/xen/write-xen.ts';
import { LayerSink } from './layer-sink.ts';
import { conversionLosses, refuseLosses, type ConversionLoss } from './losses.ts';
import { originOf, replayOrigin } from './replay.ts';
import { Survey } from './survey.ts';
import { refuseBigEndian } from './tmig-writer.ts';
import { convertToTmig } from './to-tmig.ts';

export interface ConvertOptions extends Work, IdentifyOptions {
  /** The format to write. */
  readonly to: FormatName;
  /**
   * To ours: keep what gives the source's bytes back (stream 11). From ours: give them back where it is kept. Default
   * true; false makes images from what they hold.
   */
  readonly origin?: boolean | undefined;
  /** Leave out what the format has no place for, and list it in the result, in place of refusing. */
  readonly allowLoss?: boolean | undefined;
  /** Take an image that is cut for what it is at its last complete checkpoint. */
  readonly toCheckpoint?: boolean | undefined;
  /**
   * To ours: how memory, devices and ORIGIN are stored; zstd when absent. To libvirt: how QEMU's stream is stored: raw,
   * which is what absent means, or zstd.
   */
  readonly codec?: CodecId | undefined;
  readonly level?: number | undefined;
  /** To ours: threads that compress; none when absent. */
  readonly threads?: number | undefined;
  /** 16 random bytes that name a stream of ours. */
  readonly streamId: Uint8Array;
  /** When this is done, RFC 3339. */
  readonly time: string;
  /** What ABOUT of an image of ours says beside what the source says: the tool. */
  readonly about?: JsonObject | undefined;
}

/** What was converted. JSON-safe. */
export interface Conversion {
  /** The format of the source, without what is wrapped around it, and of what was written. */
  readonly from: FormatName;
  readonly to: FormatName;
  /** All layers of the source, outermost first. */
  readonly nesting: readonly string[];
  /**
   * To ours: the source's bytes can be given back from it. To another: what was written are bytes of the source, or of
   * what it was made from, as they were; false: the image was made anew.
   */
  readonly exact: boolean;
  /** Bytes that were written. */
  readonly bytes: number;
  /** Pages with content that were written, each time they were. */
  readonly pages: number;
  /** What was left out: only with `allowLoss`. */
  readonly losses: readonly ConversionLoss[];
  /** What is wrong with the source although it can be read. At level `broken`, its own restorer would refuse it. */
  readonly warnings: readonly ImageFinding[];
}

/**
 * Converts an image of any format into another (spec/foreign/model.md 5). To ours it is one pass over the source, a
 * pipe too. To a foreign format: an image of ours that was made from one gives that one back, byte for byte, and so
 * does a layer that lies inside the source; all else is made anew from the model, after all of the source was read and
 * compared with what the format can hold.
 *
 * @param source is closed in any case. For a foreign format it must be readable at any place, or `options.spool` given.
 * @param sink takes the image; it is not ended. When this throws, what it got is no image.
 * @throws CONVERSION_LOSS with `data.losses`: each `{what, name, why}`; IMAGE_UNFIT for what the format needs and the
 * source lacks; ORIGIN_INVALID; UNSUPPORTED_FEATURE for formats that are not written; NO_CHECKPOINT; the errors of
 * identifying and of the source; CANCELLED; what the sink throws
 */
export async function convertImage(source: ByteSource, sink: ByteSink, options: ConvertOptions): Promise<Conversion> {
  try {
    holdsOf(options.to);
  } catch (error) {
    await source.close();
    throw error;
  }
  const counted = new CountingSink(sink);
  const identified = await identifyImage(source, options);
  const conversion = new Converting(identified, counted, options);
  try {
    const result = await conversion.run();
    const { format: from, nesting } = identified;
    return { from, to: options.to, nesting, ...result, bytes: counted.bytes };
  } finally {
    await conversion.close();
  }
}

type Result = Pick<Conversion, 'exact' | 'pages' | 'losses' | 'warnings'>;

interface Surveyed {
  readonly survey: Survey;
  readonly findings: readonly ImageFinding[];
}

/** One conversion, from an image that is identified. */
class Converting {
  readonly #identified: Identified;
  readonly #sink: ByteSink;
  readonly #options: ConvertOptions;
  #image: ByteSource;

  constructor(identified: Identified, sink: ByteSink, options: ConvertOptions) {
    this.#identified = identified;
    this.#image = identified.image;
    this.#sink = sink;
    this.#options = options;
  }

  close(): Promise<void> {
    return this.#image.close();
  }

  async run(): Promise<Result> {
    const { format } = this.#identified;
    const { to, toCheckpoint = false, codec } = this.#options;
    // Another form was asked for than the bytes at hand have.
    const origin = this.#options.origin !== false && (to !== 'libvirt' || codec === undefined);
    if (to === 'tmig' && !toCheckpoint) return this.#toTmig(this.#image, undefined);
    // The bytes are there, and one pass hands them on: what else they are is not asked.
    if (format === to && isXenFormat(to) && origin && !toCheckpoint) return this.#pass(this.#image, to, to, []);
    this.#image = await readableAtAnyPlace(this.#image, { ...this.#options, toCheckpoint });
    const found = toCheckpoint ? await lastCheckpoint(format, this.#image, this.#half(0)) : Infinity;
    const end = found === Infinity ? undefined : found;
    if (to === 'tmig') return this.#toTmig(again(this.#image), end);
    const layers = origin && end === undefined ? await this.#layers() : [];
    if (layers[0] === to && isXenFormat(to)) return this.#pass(again(this.#image), to, to, []);
    const surveyed = await this.#survey(end);
    if (layers[0] === to) return this.#copy(surveyed);
    const inside = layers.includes(to) && (to === 'libxl' || surveyed.survey.checkpoints <= 1);
    return this.#fromModel(surveyed, inside ? layers[0] : undefined);
  }

  async #toTmig(image: ByteSource, end: number | undefined): Promise<Result> {
    const { origin = true, allowLoss, codec = CODEC.zstd, level, threads, streamId, about = {} } = this.#options;
    const { survey, findings, losses, exact } = await convertToTmig(this.#identified.format, image, this.#sink, {
      origin,
      end,
      allowLoss,
      codec,
      level,
      threads,
      streamId,
      about,
      signal: this.#options.signal,
      onProgress: this.#options.onProgress,
    });
    return { exact, pages: survey.pages, losses, warnings: warningsOf(findings) };
  }

  /** The layers whose bytes are at hand: of a foreign image its own, of one of ours those that it was made from. */
  async #layers(): Promise<readonly FormatName[]> {
    const { format, nesting } = this.#identified;
    if (format !== 'tmig') return formatsOf(nesting.slice(nesting.indexOf(format)));
    const origin = await originOf(this.#image.random!);
    if (origin === undefined) return [];
    if (origin.format === this.#options.to) return [this.#options.to];
    const { nesting: inside } = await identifyImage(memorySource(origin.head, 'ORIGIN'));
    return inside[0] === origin.format ? formatsOf(inside) : [];
  }

  /** Passes on the bytes of an image, or of a layer of it. */
  async #pass(
    source: ByteSource,
    outer: FormatName,
    layer: FormatName,
    losses: readonly ConversionLoss[],
    work: Work = this.#options,
  ): Promise<Result> {
    if (!isXenFormat(outer) || !isXenFormat(layer)) throw new RangeError(`${outer} has no layers`);
    const isOrigin = this.#identified.format === 'tmig';
    const sink = new LayerSink(this.#sink, outer, layer, isOrigin || !source.container);
    if (isOrigin) await replayOrigin(source, sink, work);
    else for await (const piece of watchedPieces(source, work)) await sink.write(piece);
    try {
      sink.finish(isOrigin);
    } catch (error) {
      if (!isOrigin || !(error instanceof TransmigrateError)) throw error;
      throw new TransmigrateError('ORIGIN_INVALID', `What ORIGIN gives back is no whole ${layer}`, {
        section: 'foreign/origin 4',
        cause: error,
        next: 'Convert with --no-origin, which makes the image anew from what it holds.',
      });
    }
    return { exact: true, pages: sink.pages, losses, warnings: warningsOf(sink.findings()) };
  }

  /** Gives out the bytes of an image that has no layers, or that one of ours was made from: they are at hand. */
  async #copy({ survey, findings }: Surveyed): Promise<Result> {
    const work = this.#half(1);
    if (this.#identified.format === 'tmig') await replayOrigin(again(this.#image), this.#sink, work);
    else for await (const piece of watchedPieces(again(this.#image), work)) await this.#sink.write(piece);
    return { exact: true, pages: survey.pages, losses: [], warnings: warningsOf(findings) };
  }

  /** Reads all of the image: so it is known to be whole before anything is written. */
  async #survey(end: number | undefined): Promise<Surveyed> {
    const reader = readerOf(this.#identified.format, again(this.#image), {
      ...(end !== undefined && { end }),
      ...this.#half(0),
    });
    const survey = new Survey();
    for await (const event of reader.events()) survey.add(event);
    return { survey, findings: reader.findings() };
  }

  /** @param outer the layer that the bytes of the wanted one lie in; undefined when there is none */
  async #fromModel({ survey, findings }: Surveyed, outer: FormatName | undefined): Promise<Result> {
    const { to, as, toCheckpoint = false, allowLoss = false, time, signal } = this.#options;
    const work = this.#half(1);
    const source = again(this.#image);
    const image = await openImage(source, { ...(as !== undefined && { as }), toCheckpoint, signal });
    const holds = holdsOf(to);
    if (outer !== undefined) {
      const losses = conversionLosses({ image, survey, holds: passedHolds(holds), toCheckpoint });
      refuseLosses(to, losses, allowLoss);
      return this.#pass(again(this.#image), outer, to, losses, work);
    }
    refuseBigEndian(image.head);
    // First what no permission helps with.
    const compression = this.#options.codec === CODEC.zstd ? 'zstd' : 'raw';
    const write = await prepareImage(to, image, { time, compression, ...work });
    const losses = conversionLosses({ image, survey, holds, toCheckpoint });
    refuseLosses(to, losses, allowLoss);
    const pages = await write(this.#sink);
    return { exact: false, pages, losses, warnings: warningsOf(findings) };
  }

  /** Progress of one of two passes, where the size is known. */
  #half(which: 0 | 1): Work {
    const { onProgress, signal } = this.#options;
    if (onProgress === undefined) return { signal };
    const size = this.#image.random?.size ?? 0;
    return {
      signal,
      onProgress: (done, total) => {
        const share = total === null || total <= 0 ? 0 : done / total;
        onProgress(Math.round(((which + share) / 2) * size), size);
      },
    };
  }
}

/** Those of some layers that are formats. */
function formatsOf(layers: readonly string[]): FormatName[] {
  return layers.flatMap((layer) => FORMATS.filter((format) => format === layer));
}

/** What a user should know of; what only the letter forbids is for `verify --strict`. */
function warningsOf(findings: readonly ImageFinding[]): ImageFinding[] {
  return findings.filter(({ level }) => level !== 'strict');
}

class CountingSink implements ByteSink {
  readonly #sink: ByteSink;
  bytes = 0;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  write(bytes: Uint8Array): Promise<void> {
    this.bytes += bytes.byteLength;
    return this.#sink.write(bytes);
  }
}
