import { TransmigrateError } from '../../errors.ts';
import { RECORD_HEADER_BYTES } from '../xen-libxc/constants.ts';
import type { LibxcHeader } from '../xen-libxc/headers.ts';
import { PieceReader, withRecord, type Checkpoints } from '../xen-libxc/piece-reader.ts';
import { LibxcReader, oddPadding, paddedLength, type LibxcEvent } from '../xen-libxc/reader.ts';
import type { RecordFrame } from '../xen-libxc/records.ts';
import {
  checkLibxlHeader,
  decodeLibxlBody,
  decodeLibxlHeader,
  LIBXL_HEADER,
  LIBXL_LIMITS,
  LIBXL_TYPE,
  libxlPath,
  libxlSection,
  libxlTypeName,
  xenstorePairs,
  type LibxlBody,
  type LibxlHeader,
  type LibxlRecord,
} from './records.ts';

/** What a reader of a libxl stream hands out, with the libxc stream in it. */
export type LibxlEvent = LibxlHeader | LibxlRecord | LibxcEvent;

type Phase = 'header' | 'record' | 'body' | 'libxc' | 'after-checkpoint' | 'done';

/**
 * Reads a libxl stream (spec/foreign/xen-libxl.md) and the libxc stream in it, in one pass.
 *
 * A checkpoint is complete at CHECKPOINT_END; then records of libxc follow without headers.
 */
export class LibxlReader extends PieceReader<LibxlEvent> {
  #phase: Phase = 'header';
  #header: LibxlHeader | undefined;
  #libxc: LibxcReader | undefined;
  /** Whether a CHECKPOINT of libxc came, and CHECKPOINT_END did not. */
  #inCheckpoint = false;
  #sequence = 0;
  #frame: RecordFrame | undefined;
  #checkpoints: Checkpoints = { complete: 0, end: 0 };

  get header(): LibxlHeader | undefined {
    return this.#header;
  }

  /** The headers of the libxc stream, once they were read. */
  get libxcHeader(): LibxcHeader | undefined {
    return this.#libxc?.header;
  }

  get complete(): boolean {
    return this.#phase === 'done';
  }

  get checkpoints(): Checkpoints {
    return this.#checkpoints;
  }

  where(): { path: string; section: string } {
    if (this.#phase === 'header') return { path: 'libxl header', section: 'foreign/xen-libxl 1' };
    if (this.#phase === 'libxc') return this.#libxc!.where();
    const frame = this.#frame;
    if (frame === undefined) return { path: `libxl record ${this.#sequence}`, section: 'foreign/xen-libxl 3' };
    return { path: libxlPath(frame), section: libxlSection(frame.type) };
  }

  step(): LibxlEvent | undefined {
    try {
      return this.#step();
    } catch (error) {
      if (this.#phase === 'header' || this.#phase === 'libxc') throw error;
      throw withRecord(error, this.#sequence, libxlTypeName(this.#frame?.type ?? -1) ?? 'unknown');
    }
  }

  #step(): LibxlEvent | undefined {
    for (;;) {
      const { offset } = this.intake;
      switch (this.#phase) {
        case 'header': {
          const bytes = this.intake.gather(LIBXL_HEADER.bytes);
          if (bytes === undefined) return undefined;
          this.#header = decodeLibxlHeader(bytes, offset);
          checkLibxlHeader(this.#header, this.findings);
          this.#phase = 'record';
          return this.#header;
        }
        case 'record': {
          const bytes = this.intake.gather(RECORD_HEADER_BYTES);
          if (bytes === undefined) return undefined;
          this.#takeRecordHeader(bytes, offset);
          break;
        }
        case 'body': {
          const padded = this.intake.gather(paddedLength(this.#frame!.length));
          return padded === undefined ? undefined : this.#takeBody(padded);
        }
        case 'libxc': {
          const libxc = this.#libxc!;
          const event = libxc.step();
          if (event !== undefined) return event;
          if (!libxc.complete && !libxc.paused) return undefined;
          this.#inCheckpoint = libxc.paused;
          this.#phase = 'record';
          break;
        }
        case 'after-checkpoint': {
          const bytes = this.intake.gather(RECORD_HEADER_BYTES);
          if (bytes === undefined) return undefined;
          this.#afterCheckpoint(bytes, offset);
          break;
        }
        case 'done':
          return undefined;
      }
    }
  }

  /**
   * After CHECKPOINT_END stands a record of libxc, or, in COLO, a CHECKPOINT_STATE. That has 4 bytes, and the libxc
   * record of the same number at least 8 (foreign/xen-libxl 6.1).
   */
  #afterCheckpoint(bytes: Uint8Array, offset: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES);
    const little = this.#header!.littleEndian;
    if (view.getUint32(0, little) === LIBXL_TYPE.CHECKPOINT_STATE && view.getUint32(4, little) === 4) {
      this.#takeRecordHeader(bytes, offset);
      return;
    }
    this.#phase = 'libxc';
    this.#libxc!.resume(bytes);
  }

  #takeRecordHeader(bytes: Uint8Array, offset: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES);
    const little = this.#header!.littleEndian;
    const [type, length] = [view.getUint32(0, little), view.getUint32(4, little)];
    this.#frame = { sequence: this.#sequence, offset, type, length, padding: null };
    if (length > LIBXL_LIMITS.recordBytes) {
      const what = `A body of ${length} bytes, the limit is ${LIBXL_LIMITS.recordBytes}`;
      throw this.#error('LIMIT_EXCEEDED', what);
    }
    if (libxlTypeName(type) === undefined) decodeLibxlBody(this.#frame, new Uint8Array(0), little);
    this.#mayStandHere(type);
    this.#phase = 'body';
  }

  /** Records that switch between the layers in the wrong place leave nothing that could be read on. */
  #mayStandHere(type: number): void {
    const afterEnd = this.#libxc?.complete === true;
    if (type === LIBXL_TYPE.LIBXC_CONTEXT && this.#libxc !== undefined) {
      throw this.#error('RECORD_ORDER', 'A second LIBXC_CONTEXT');
    }
    if (type === LIBXL_TYPE.CHECKPOINT_END && !this.#inCheckpoint) {
      throw this.#error('RECORD_ORDER', 'CHECKPOINT_END without a CHECKPOINT before it');
    }
    if (type === LIBXL_TYPE.CHECKPOINT_STATE && this.#phase !== 'after-checkpoint') {
      throw this.#error('RECORD_ORDER', 'CHECKPOINT_STATE stands only after CHECKPOINT_END');
    }
    if (type === LIBXL_TYPE.END && this.#libxc !== undefined && !afterEnd) {
      throw this.#error('RECORD_ORDER', 'END within a checkpoint');
    }
  }

  #takeBody(padded: Uint8Array): LibxlRecord {
    const { length } = this.#frame!;
    const frame: RecordFrame = { ...this.#frame!, padding: oddPadding(padded, length) };
    const body = decodeLibxlBody(frame, padded.subarray(0, length), this.#header!.littleEndian);
    this.#check(frame, body);
    this.#sequence++;
    this.#frame = undefined;
    this.#phase = 'record';
    if (body.kind === 'END') this.#phase = 'done';
    if (body.kind === 'LIBXC_CONTEXT') {
      this.#libxc = new LibxcReader({ intake: this.intake, findings: this.findings });
      this.#phase = 'libxc';
    }
    if (body.kind === 'CHECKPOINT_END') {
      this.#inCheckpoint = false;
      this.#checkpoints = { complete: this.#checkpoints.complete + 1, end: this.intake.offset };
    }
    if (body.kind === 'CHECKPOINT_END' || body.kind === 'CHECKPOINT_STATE') this.#phase = 'after-checkpoint';
    return { layer: 'libxl', frame, ...body };
  }

  #check(frame: RecordFrame, body: LibxlBody): void {
    const { findings } = this;
    const path = libxlPath(frame);
    const { offset } = frame;
    if (frame.padding !== null) findings.report('PADDING', offset, path);
    if ('rest' in body && body.rest.byteLength > 0) {
      const code = body.kind === 'CHECKPOINT_STATE' ? 'BODY_TOO_LONG' : 'BODY_NOT_EMPTY';
      findings.report(code, offset, path, { bytes: body.rest.byteLength });
    }
    if (body.kind === 'UNKNOWN') findings.report('OPTIONAL_RECORD_REFUSED', offset, path, { type: frame.type });
    if (body.kind === 'END' && this.#libxc === undefined) findings.report('LIBXC_CONTEXT_MISSING', offset, path);
    if (body.kind !== 'EMULATOR_CONTEXT' && body.kind !== 'EMULATOR_XENSTORE_DATA') return;
    if (this.libxcHeader?.domainType === 1) findings.report('EMULATOR_OF_PV', offset, path);
    if (body.emulator > 2) findings.report('EMULATOR_ID', offset, path, { emulator: body.emulator });
    if (body.kind === 'EMULATOR_CONTEXT') return;
    const { fault } = xenstorePairs(body.content);
    if (fault !== '') findings.report('XENSTORE_DATA', offset, path, { fault });
  }

  #error(code: 'LIMIT_EXCEEDED' | 'RECORD_ORDER', what: string): TransmigrateError {
    const frame = this.#frame!;
    return new TransmigrateError(code, what, {
      offset: frame.offset,
      path: libxlPath(frame),
      section: libxlSection(frame.type),
    });
  }
}
