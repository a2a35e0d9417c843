import type { Emit } from '../xen-libxc/writer.ts';
import { LibxlWriter } from '../xen-libxl/writer.ts';
import { encodeXlHeader, type XlHeader } from './header.ts';
import { encodeXlMessage } from './messages.ts';
import type { XlEvent } from './reader.ts';

/** Writes a file of `xl save`, or what the source of `xl migrate` sends, through all layers. */
export class XlWriter {
  readonly #emit: Emit;
  /** For what belongs to the libxl stream and the libxc stream in it. */
  readonly libxl: LibxlWriter;

  constructor(emit: Emit) {
    this.#emit = emit;
    this.libxl = new LibxlWriter(emit);
  }

  /** Writes again what a reader handed out. */
  event(event: XlEvent): void {
    if (event.layer === 'xl') this.header(event);
    else if (event.layer === 'wire') this.#emit(encodeXlMessage(event));
    else this.libxl.event(event);
  }

  header(header: XlHeader): void {
    this.#emit(encodeXlHeader(header));
  }

  /** The permission to run the domain, at the end of what the source of `xl migrate` sends. */
  permission(): void {
    this.#emit(encodeXlMessage({ kind: 'PERMISSION_TO_GO' }));
  }
}
