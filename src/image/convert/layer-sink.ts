import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import type { PieceReader, Trailing } from '../../foreign/xen-libxc/piece-reader.ts';
import type { ImageFinding } from '../model/reader.ts';
import type { XenEvent } from '../readers/xen/event.ts';
import { imageFindings } from '../readers/xen/xen-findings.ts';
import { pieceReaderOf, type XenFormat } from '../readers/xen/xen-reader.ts';

/**
 * Passes an image of Xen on as it is, or one layer of it: a libxl stream out of an xl file, a libxc stream out of
 * either. The image is read on the way, so that what is passed on is known to be one.
 */
export class LayerSink implements ByteSink {
  readonly #sink: ByteSink;
  readonly #reader: PieceReader<XenEvent>;
  readonly #outer: XenFormat;
  readonly #layer: XenFormat;
  readonly #trailing: boolean;
  /** Where the layer lies in the image; -1 as long as that is not known. */
  #start: number;
  #end = -1;
  #at = 0;
  /** What was wrong: the image of a checkpoint keeps what stood behind that, whatever it is. */
  #error: TransmigrateError | undefined;
  /** Pages with content that passed. */
  pages = 0;

  /**
   * @param layer the same as `outer`, or one inside it, which must lie in one piece: not within checkpoints.
   * @param trailing whether what follows an image is passed on too.
   */
  constructor(sink: ByteSink, outer: XenFormat, layer: XenFormat, trailing: boolean) {
    this.#sink = sink;
    this.#outer = outer;
    this.#layer = layer;
    this.#trailing = trailing;
    this.#reader = pieceReaderOf(outer);
    this.#start = layer === outer ? 0 : -1;
  }

  /** What was wrong with the image although it can be read. */
  findings(): readonly ImageFinding[] {
    return imageFindings(this.#reader.findings);
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength === 0) return;
    if (this.#error === undefined) this.#read(bytes);
    const before = this.#at;
    this.#at += bytes.byteLength;
    if (this.#start < 0) return;
    const from = Math.max(0, this.#start - before);
    const to = this.#end < 0 ? bytes.byteLength : Math.max(0, Math.min(bytes.byteLength, this.#end - before));
    if (from < to) await this.#sink.write(bytes.subarray(from, to));
  }

  /**
   * To be called at the end.
   * @param cut whether it may be an image that breaks off behind a complete checkpoint, passed on as a whole: ORIGIN of
   * one that was converted at that. @throws the image's errors; RECORD_ORDER when the layer is not in it
   */
  finish(cut: boolean): void {
    if (this.#error === undefined) {
      try {
        this.#reader.finish();
      } catch (error) {
        this.#error = ours(error);
      }
    }
    const isWhole = this.#layer === this.#outer;
    if (this.#error !== undefined && !(isWhole && cut && this.#reader.checkpoints.complete > 0)) throw this.#error;
    if (isWhole || this.#end >= 0) return;
    throw new TransmigrateError('RECORD_ORDER', `There is no whole ${this.#layer} in the image`, {
      offset: this.#at,
      section: 'foreign/xen-libxl 2',
    });
  }

  #read(bytes: Uint8Array): void {
    try {
      this.#reader.feed(bytes);
      for (let event = this.#reader.read(); event !== undefined; event = this.#reader.read()) this.#event(event);
    } catch (error) {
      this.#error = ours(error);
    }
  }

  #event(event: XenEvent | Trailing): void {
    const { offset } = this.#reader;
    if (event.layer === 'end') {
      if (this.#layer === this.#outer && !this.#trailing && this.#end < 0) this.#end = event.offset;
      return;
    }
    if (event.layer === 'libxc' && event.kind === 'PAGE_DATA') {
      for (let entry = event.first; entry < event.end; entry++) if (event.hasData(entry)) this.pages++;
      return;
    }
    if (this.#layer === this.#outer) return;
    const isLibxc = this.#layer === 'xen-libxc' || this.#layer === 'xen-libxc-v2';
    if (event.layer === 'xl' && this.#layer === 'libxl') this.#start = offset;
    else if (event.layer === 'xenopsd' && event.kind === 'LIBXL' && this.#layer === 'libxl') this.#start = offset;
    else if (event.layer === 'libxl' && event.kind === 'LIBXC_CONTEXT' && isLibxc) this.#start = offset;
    else if (event.layer === 'xenopsd' && event.kind === 'LIBXC' && isLibxc) this.#start = offset;
    else if (event.layer === 'libxc' && event.kind === 'END' && isLibxc) this.#end = offset;
    else if (event.layer === 'libxl' && event.kind === 'END' && this.#layer === 'libxl') this.#end = offset;
  }
}

/** An error of ours; another is a defect, and is thrown. */
function ours(error: unknown): TransmigrateError {
  if (error instanceof TransmigrateError) return error;
  throw error;
}
