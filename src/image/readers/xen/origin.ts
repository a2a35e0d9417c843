import { isZeroRange } from '../../../codec/platform.ts';
import { LIBXC_TYPE, RECORD_HEADER_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import { FieldsOut } from '../../../foreign/xen-libxc/fields.ts';
import { entryBytes, type PageBatch } from '../../../foreign/xen-libxc/pages.ts';
import type { Trailing } from '../../../foreign/xen-libxc/piece-reader.ts';
import { LibxcWriter, type Emit } from '../../../foreign/xen-libxc/writer.ts';
import { LibxlWriter } from '../../../foreign/xen-libxl/writer.ts';
import { XenopsdWriter } from '../../../foreign/xenopsd/writer.ts';
import { XlWriter } from '../../../foreign/xl/writer.ts';
import type { FormatName } from '../../identify/layers.ts';
import type { OriginRecorder } from '../../origin/recorder.ts';
import type { XenEvent } from './event.ts';

/** Each is given the events that the reader of its own format makes. */
interface Writer {
  event(event: XenEvent): void;
}

function writerOf(format: FormatName, emit: Emit): XlWriter | LibxlWriter | XenopsdWriter | LibxcWriter {
  switch (format) {
    case 'xl':
      return new XlWriter(emit);
    case 'libxl':
      return new LibxlWriter(emit);
    case 'xenopsd':
      return new XenopsdWriter(emit);
    default:
      return new LibxcWriter(emit);
  }
}

/**
 * Tells a recorder how an image of Xen is made (spec/foreign/origin.md): what the formats' own writers would write
 * again of each event, and of a PAGE_DATA record its entries and that its pages follow.
 */
export class XenOrigin {
  readonly #recorder: OriginRecorder;
  readonly #writer: Writer;
  #little = true;

  constructor(recorder: OriginRecorder, format: FormatName) {
    this.#recorder = recorder;
    const emit = (bytes: Uint8Array): void => recorder.literal(bytes);
    this.#writer = writerOf(format, emit);
  }

  /** @param inModel whether the pages of a PAGE_DATA record are handed out: then they need not be kept here. */
  event(event: XenEvent | Trailing, inModel: boolean): void {
    if (event.layer === 'end') this.#rest(event.bytes);
    else if (event.layer === 'libxc' && event.kind === 'PAGE_DATA') this.#pages(event, inModel);
    else {
      if (event.layer === 'libxc' && event.kind === 'HEADER') this.#little = event.littleEndian;
      this.#writer.event(event);
    }
  }

  #rest(bytes: Uint8Array): void {
    if (isZeroRange(bytes, 0, bytes.byteLength)) this.#recorder.zeros(bytes.byteLength);
    else this.#recorder.literal(bytes);
  }

  #pages(batch: PageBatch, inModel: boolean): void {
    const { count, reserved, words, frame } = batch;
    if (batch.first === 0) {
      const head = new FieldsOut(RECORD_HEADER_BYTES + 8, this.#little);
      this.#recorder.literal(head.u32(LIBXC_TYPE.PAGE_DATA).u32(frame.length).u32(count).u32(reserved).done());
      // The step has little-endian entries; the others are rare enough to be kept as they are.
      if (this.#little) this.#recorder.entries(words, count);
      else this.#recorder.literal(entryBytes(words, count, false));
    }
    if (!inModel) {
      this.#recorder.literal(batch.bytes);
      return;
    }
    let withData = 0;
    for (let entry = batch.first; entry < batch.end; entry++) if (batch.hasData(entry)) withData++;
    this.#recorder.pages(withData);
  }
}
