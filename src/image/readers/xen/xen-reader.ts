import type { RandomAccess } from '../../../bytes/endpoints.ts';
import { TransmigrateError } from '../../../errors.ts';
import type { PageBatch } from '../../../foreign/xen-libxc/pages.ts';
import type { PieceReader, Trailing } from '../../../foreign/xen-libxc/piece-reader.ts';
import { LibxcReader, type LibxcEvent } from '../../../foreign/xen-libxc/reader.ts';
import { LibxlReader } from '../../../foreign/xen-libxl/reader.ts';
import { XenopsdReader } from '../../../foreign/xenopsd/reader.ts';
import { XlReader } from '../../../foreign/xl/reader.ts';
import { isZeroRange } from '../../../codec/platform.ts';
import type { ByteSource } from '../../../io/source.ts';
import { watchedPieces, type Work } from '../../../io/work.ts';
import type { FormatName } from '../../identify/layers.ts';
import { DEVICE_FORMAT, type ImageEvent, type PagesEvent } from '../../model/event.ts';
import type { ImageFinding, ImageReader, ReaderOptions } from '../../model/reader.ts';
import type { XenEvent } from './event.ts';
import { XenHead } from './head.ts';
import { nativeOf } from './native.ts';
import { XenOrigin } from './origin.ts';
import { pageRuns } from './page-runs.ts';
import { blob, libxcState, libxlState } from './states.ts';
import { imageFindings } from './xen-findings.ts';

/** Formats that this reads. */
export type XenFormat = Extract<FormatName, 'xen-libxc' | 'xen-libxc-v2' | 'libxl' | 'xl' | 'xenopsd'>;

/** Bytes that are read at once where pages are passed over: what stands before the pages of a record is 8 KiB. */
const BETWEEN_BYTES = 64 * 1024;

/** The reader of a format's bytes. */
export function pieceReaderOf(format: XenFormat): PieceReader<XenEvent> {
  switch (format) {
    case 'xl':
      return new XlReader();
    case 'libxl':
      return new LibxlReader();
    case 'xenopsd':
      return new XenopsdReader();
    case 'xen-libxc':
    case 'xen-libxc-v2':
      return new LibxcReader();
  }
}

/** Reads what Xen's toolstacks save, through all its layers, as events of the model. */
export class XenImageReader implements ImageReader {
  readonly format: XenFormat;
  readonly #pieces: AsyncIterable<Uint8Array>;
  readonly #options: ReaderOptions;
  readonly #reader: PieceReader<XenEvent>;
  readonly #keepsTrailing: boolean;
  readonly #origin: XenOrigin | undefined;
  readonly #head = new XenHead();
  /** What was said before the head could be made: copies. */
  #early: ImageEvent[] | undefined = [];
  #verifying = false;
  #trailing = 0;
  #trailingZero = true;

  /** @param source the image, without what is wrapped around it. */
  constructor(format: XenFormat, source: ByteSource, options: ReaderOptions & Work = {}) {
    this.format = format;
    this.#options = options;
    this.#reader = pieceReaderOf(format);
    const { random } = source;
    if (options.placesOnly === true && random !== null && options.origin === undefined) {
      this.#reader.passOverPages();
      this.#pieces = this.#between(random, options);
    } else {
      this.#pieces = watchedPieces(source, options);
    }
    this.#keepsTrailing = !source.container;
    if (options.origin !== undefined) this.#origin = new XenOrigin(options.origin, format);
  }

  get offset(): number {
    return this.#reader.offset;
  }

  get trailing(): { readonly bytes: number; readonly zero: boolean } {
    return { bytes: this.#trailing, zero: this.#trailingZero };
  }

  /** Whether the source of `xl migrate` gave the domain away at the end. */
  get permissionGiven(): boolean {
    return this.#reader instanceof XlReader && this.#reader.permissionGiven;
  }

  /** Complete checkpoints so far, and where the last ended. */
  get checkpoints(): { readonly complete: number; readonly end: number } {
    return this.#reader.checkpoints;
  }

  findings(): readonly ImageFinding[] {
    return imageFindings(this.#reader.findings);
  }

  findingCounts(): ReadonlyMap<string, number> {
    return this.#reader.findings.counts;
  }

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const { end = Infinity, origin } = this.#options;
    let left = end;
    for await (const piece of this.#pieces) {
      const wanted = piece.subarray(0, Math.min(left, piece.byteLength));
      left -= wanted.byteLength;
      if (wanted.byteLength > 0) {
        this.#reader.feed(wanted);
        yield* this.#drain();
      }
      if (wanted.byteLength < piece.byteLength) origin?.literal(piece.subarray(wanted.byteLength));
      if (left === 0 && origin === undefined) break;
    }
    if (this.#reader.offset < end) this.#reader.finish();
    if (this.#early !== undefined) yield* this.#begin();
    yield { kind: 'end', bytes: this.#reader.offset - this.#trailing };
  }

  /** What stands between the pages, which are not read. */
  async *#between(random: RandomAccess, { end = Infinity, ...work }: ReaderOptions & Work): AsyncGenerator<Uint8Array> {
    const size = Math.min(random.size, end);
    const buffer = new Uint8Array(BETWEEN_BYTES);
    for (let at = 0; at < size && !this.#reader.complete;) {
      if (work.signal?.aborted === true) {
        throw new TransmigrateError('CANCELLED', `Reading ${random.name} was cancelled`);
      }
      const found = await random.readAt(at, buffer.subarray(0, Math.min(buffer.byteLength, size - at)));
      if (found === 0) return;
      yield buffer.subarray(0, found);
      at += found;
      at += this.#reader.jump(size - at);
      work.onProgress?.(Math.min(at, size), random.size);
    }
  }

  *#drain(): Generator<ImageEvent> {
    for (;;) {
      const before = this.#reader.checkpoints.complete;
      const event = this.#reader.read();
      if (event === undefined) return;
      if (this.#options.onNative !== undefined) {
        const native = nativeOf(event);
        if (native !== undefined) this.#options.onNative(native);
      }
      if (event.layer !== 'end' || this.#keepsTrailing) this.#origin?.event(event, !this.#verifying);
      yield* this.#model(event);
      const { complete, end } = this.#reader.checkpoints;
      if (complete > before) yield { kind: 'checkpoint', guestTimeNs: 0n, end };
    }
  }

  *#model(event: XenEvent | Trailing): Generator<ImageEvent> {
    switch (event.layer) {
      case 'end':
        this.#trailing += event.bytes.byteLength;
        this.#trailingZero &&= isZeroRange(event.bytes, 0, event.bytes.byteLength);
        return;
      case 'wire':
        return;
      case 'xl':
        if (!this.#head.xl(event)) this.#reader.findings.report('XL_CONFIG_INVALID', event.offset, 'xl header/config');
        if (event.config !== null) {
          // What the optional data hold beyond the configuration is framing.
          const name = event.configFormat === 'json' ? 'xl-config.json' : 'xl-config.cfg';
          yield* this.#held(blob(name, DEVICE_FORMAT.xlConfig, '', event.config));
        }
        return;
      case 'xenopsd':
        if (event.kind === 'SIGNATURE' || event.content === null) return;
        if (event.kind === 'XENOPS') this.#head.xenopsd(event.content, event.offset);
        yield* this.#held(blob(`xenopsd-${event.kind}`, DEVICE_FORMAT.xenopsdSection, '', event.content));
        return;
      case 'libxl':
        if (event.kind === 'HEADER') return;
        for (const state of libxlState(event, this.#head.version)) yield* this.#held(state);
        return;
      case 'libxc':
        yield* this.#libxc(event);
    }
  }

  *#libxc(event: LibxcEvent): Generator<ImageEvent> {
    if (event.kind === 'HEADER') {
      this.#head.libxc(event);
      // The width of a PV guest, which the head needs, is still to come.
      if (!this.#head.isPv) yield* this.#begin();
      return;
    }
    if (event.kind === 'PAGE_DATA') {
      if (this.#early !== undefined) yield* this.#begin();
      // After VERIFY the pages come once more, for comparison; Xen's memory does not change by them.
      if (!this.#verifying) yield this.#pages(event);
      else if (this.#options.again === true) yield { ...this.#pages(event), kind: 'pages-again' };
      return;
    }
    if (event.kind === 'X86_PV_INFO') this.#head.pvInfo(event.guestWidth);
    if (event.kind === 'VERIFY') this.#verifying = true;
    for (const state of libxcState(event, this.#head.version, this.#head.littleEndian)) yield* this.#held(state);
    if (event.kind === 'X86_PV_INFO' && this.#early !== undefined) yield* this.#begin();
  }

  #pages(batch: PageBatch): PagesEvent {
    return {
      kind: 'pages',
      // A part ends where its last page does, and nothing behind it was read.
      bytesOffset: this.#reader.offset - batch.bytes.byteLength - batch.passed,
      runs: () => pageRuns(batch),
    };
  }

  /** An event, or, before the head, its copy for later. */
  *#held(event: ImageEvent): Generator<ImageEvent> {
    if (this.#early === undefined) yield event;
    else if ('content' in event) this.#early.push({ ...event, content: event.content.slice() });
    else this.#early.push(event);
  }

  *#begin(): Generator<ImageEvent> {
    const early = this.#early ?? [];
    this.#early = undefined;
    yield this.#head.head();
    yield* early;
  }
}
