import { emitRecord, LibxcWriter, type Emit } from '../xen-libxc/writer.ts';
import type { LibxlEvent } from './reader.ts';
import { encodeLibxlBody, encodeLibxlHeader, LIBXL_HEADER, LIBXL_TYPE, type LibxlBody } from './records.ts';

/** Writes a libxl stream and the libxc stream in it. The caller keeps the order of the layers (foreign/xen-libxl 2). */
export class LibxlWriter {
  readonly #emit: Emit;
  /** For what belongs to the libxc stream. */
  readonly libxc: LibxcWriter;
  #little = true;
  #begun = false;

  constructor(emit: Emit) {
    this.#emit = emit;
    this.libxc = new LibxcWriter(emit);
  }

  /** Writes again what a reader handed out. */
  event(event: LibxlEvent): void {
    if (event.layer === 'libxc') {
      this.libxc.event(event);
    } else if (event.kind === 'HEADER') {
      this.header(event.options);
    } else {
      const { type, padding } = event.frame;
      if (event.kind !== 'UNKNOWN' && LIBXL_TYPE[event.kind] !== type) {
        throw new RangeError(`a frame of type ${type} around ${event.kind}`);
      }
      emitRecord(this.#emit, type, encodeLibxlBody(event, this.#little), this.#little, padding);
    }
  }

  header(options = 0): void {
    if (this.#begun) throw new RangeError('the header was written');
    this.#begun = true;
    this.#little = (options & LIBXL_HEADER.bigEndian) === 0;
    this.#emit(encodeLibxlHeader(options));
  }

  record(body: Exclude<LibxlBody, { kind: 'UNKNOWN' }>): void {
    if (!this.#begun) throw new RangeError('a record, and the header is missing');
    emitRecord(this.#emit, LIBXL_TYPE[body.kind], encodeLibxlBody(body, this.#little), this.#little);
  }
}
