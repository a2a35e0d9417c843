import { LibxcWriter, type Emit } from '../xen-libxc/writer.ts';
import { LibxlWriter } from '../xen-libxl/writer.ts';
import type { XenopsdEvent } from './reader.ts';
import { encodeXenopsdHeader, encodeXenopsdSignature, type XenopsdTag } from './sections.ts';

/** Writes a suspend image and the stream in it. */
export class XenopsdWriter {
  readonly #emit: Emit;
  #stream: LibxcWriter | LibxlWriter | undefined;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  /** Writes again what a reader handed out. */
  event(event: XenopsdEvent): void {
    if (event.layer === 'xenopsd') {
      if (event.kind === 'SIGNATURE') this.signature(event.format);
      else this.#section(event.kind, event.length, event.content);
    } else if (this.#stream instanceof LibxlWriter) {
      this.#stream.event(event);
    } else if (this.#stream !== undefined && event.layer === 'libxc') {
      this.#stream.event(event);
    } else {
      throw new RangeError(`a record of ${event.layer} in no section of its own`);
    }
  }

  signature(format: 'structured' | 'legacy' = 'structured'): void {
    this.#emit(encodeXenopsdSignature(format));
  }

  /** A section with its bytes. */
  section(tag: Exclude<XenopsdTag, 'LIBXC' | 'LIBXL' | 'END_OF_IMAGE'>, content: Uint8Array): void {
    this.#section(tag, BigInt(content.byteLength), content);
  }

  /** Begins the memory image; its stream goes to what is returned. */
  libxc(): LibxcWriter {
    this.#section('LIBXC', 0n, null);
    return this.#stream as LibxcWriter;
  }

  /** The footer. */
  end(): void {
    this.#section('END_OF_IMAGE', 0n, null);
  }

  #section(tag: XenopsdTag, length: bigint, content: Uint8Array | null): void {
    if (content !== null && BigInt(content.byteLength) !== length) throw new RangeError(`${length} bytes of ${tag}`);
    this.#emit(encodeXenopsdHeader(tag, length));
    if (content !== null && content.byteLength > 0) this.#emit(content);
    if (tag === 'LIBXC') this.#stream = new LibxcWriter(this.#emit);
    else if (tag === 'LIBXL') this.#stream = new LibxlWriter(this.#emit);
    else this.#stream = undefined;
  }
}
