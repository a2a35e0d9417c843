import { XlBackReader, type XlBackEvent } from '../../../foreign/xl/messages.ts';
import type { Trailing } from '../../../foreign/xen-libxc/piece-reader.ts';
import { isZeroRange } from '../../../codec/platform.ts';
import type { ByteSource } from '../../../io/source.ts';
import { watchedPieces, type Work } from '../../../io/work.ts';
import type { ImageEvent } from '../../model/event.ts';
import type { ImageFinding, ImageReader, ReaderOptions } from '../../model/reader.ts';
import { nativeOf } from './native.ts';
import { imageFindings } from './xen-findings.ts';

/**
 * Reads what the target of `xl migrate` or of `xl remus` answered (foreign/xl 3). It holds no machine: of all events
 * only the last one comes, and the messages are native records.
 */
export class XlBackImageReader implements ImageReader {
  readonly format = 'xl-back';
  readonly #pieces: AsyncIterable<Uint8Array>;
  readonly #options: ReaderOptions;
  readonly #reader = new XlBackReader();
  #trailing = 0;
  #trailingZero = true;

  constructor(source: ByteSource, options: ReaderOptions & Work = {}) {
    this.#pieces = watchedPieces(source, options);
    this.#options = options;
  }

  get offset(): number {
    return this.#reader.offset;
  }

  get trailing(): { readonly bytes: number; readonly zero: boolean } {
    return { bytes: this.#trailing, zero: this.#trailingZero };
  }

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
    for await (const piece of this.#pieces) {
      this.#reader.feed(piece);
      for (let event = this.#reader.read(); event !== undefined; event = this.#reader.read()) this.#see(event);
    }
    this.#reader.finish();
    yield { kind: 'end', bytes: this.#reader.offset - this.#trailing };
  }

  #see(event: XlBackEvent | Trailing): void {
    if (event.layer === 'end') {
      this.#trailing += event.bytes.byteLength;
      this.#trailingZero &&= isZeroRange(event.bytes, 0, event.bytes.byteLength);
    }
    const native = nativeOf(event);
    if (native !== undefined) this.#options.onNative?.(native);
  }
}
