/** What the two ends of `xl migrate` say to each other beside the stream (foreign/xl 3). */
import { TransmigrateError } from '../../errors.ts';
import { LIBXC_TYPE, RECORD_HEADER_BYTES } from '../xen-libxc/constants.ts';
import { PieceReader, withRecord, type Checkpoints } from '../xen-libxc/piece-reader.ts';
import { oddPadding, paddedLength } from '../xen-libxc/reader.ts';
import { decodeLibxcBody, encodeLibxcBody, type LibxcRecord, type RecordFrame } from '../xen-libxc/records.ts';
import { emitRecord, type Emit } from '../xen-libxc/writer.ts';
import { decodeLibxlBody, encodeLibxlBody, LIBXL_TYPE, type LibxlRecord } from '../xen-libxl/records.ts';

/** The texts as they stand on the wire. BANNER has no NUL; REPORT is followed by a byte. */
const TEXT = {
  BANNER: 'xl migration receiver ready, send binary domain data.\n',
  READY: 'domain received, ready to unpause\0',
  PERMISSION_TO_GO: 'domain is yours, you are cleared to unpause\0',
  REPORT: 'my copy unpause results are as follows\0',
} as const;

export type XlMessageKind = keyof typeof TEXT;

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.codePointAt(0)!);
}

/** The bytes of each message, without the status after REPORT. */
export const MESSAGE_BYTES: Readonly<Record<XlMessageKind, Uint8Array>> = {
  BANNER: ascii(TEXT.BANNER),
  READY: ascii(TEXT.READY),
  PERMISSION_TO_GO: ascii(TEXT.PERMISSION_TO_GO),
  REPORT: ascii(TEXT.REPORT),
};

/** A message. */
export interface XlMessage {
  readonly layer: 'wire';
  readonly kind: XlMessageKind;
  readonly offset: number;
  /** Of REPORT: 0 where the domain runs at the target, anything else where it failed there. */
  readonly status?: number;
}

/** A message as bytes. @throws RangeError for a REPORT without its status, or another with one. */
export function encodeXlMessage({ kind, status }: Pick<XlMessage, 'kind' | 'status'>): Uint8Array {
  const text = MESSAGE_BYTES[kind];
  if ((kind === 'REPORT') !== (status !== undefined)) throw new RangeError(`${kind}, and a status or none`);
  if (status === undefined) return text.slice();
  if (!Number.isInteger(status) || status < 0 || status > 255) throw new RangeError(`${status} is no byte`);
  return Uint8Array.of(...text, status);
}

/** What comes back from the target: messages, and in COLO records. */
export type XlBackEvent = XlMessage | LibxlRecord | LibxcRecord;

/** Bytes of a record of the back channel: a list of all pfns of 32 GiB. */
const BACK_RECORD_MOST = 64 * 1024 * 1024;

type Phase = 'banner' | 'next' | 'body' | 'status' | 'handed-back' | 'done';

/**
 * Reads what the target of `xl migrate` sends to the source: the banner, READY, REPORT with its status, and after a
 * failure PERMISSION_TO_GO. The target of COLO sends records between the banner and the rest (foreign/xl 3.1).
 *
 * After each message the other side may stop: `complete` says only that the exchange came to its end, and `finish`
 * throws only for a message that is cut.
 */
export class XlBackReader extends PieceReader<XlBackEvent> {
  #phase: Phase = 'banner';
  #said: XlMessageKind | undefined;
  #sequence = 0;
  #frame: RecordFrame | undefined;
  #reportOffset = 0;

  get complete(): boolean {
    return this.#phase === 'done';
  }

  /** The last message that came. */
  get said(): XlMessageKind | undefined {
    return this.#said;
  }

  get checkpoints(): Checkpoints {
    return { complete: 0, end: 0 };
  }

  where(): { path: string; section: string } {
    const after = this.#said === undefined ? 'the first message' : `what follows ${this.#said}`;
    return { path: `xl migrate: ${after}`, section: 'foreign/xl 3' };
  }

  override finish(): void {
    const between = this.#phase === 'next' || this.#phase === 'handed-back';
    if (between && this.intake.received === this.intake.offset) return;
    super.finish();
  }

  step(): XlBackEvent | undefined {
    for (;;) {
      const { offset } = this.intake;
      switch (this.#phase) {
        case 'banner':
          return this.#message('BANNER', 'next', offset);
        case 'next': {
          const first = this.intake.peek(1);
          if (first.byteLength === 0) return undefined;
          const expected = this.#said === 'BANNER' ? 'READY' : 'REPORT';
          if (first[0] === MESSAGE_BYTES[expected][0]) {
            if (expected === 'READY') return this.#message('READY', 'next', offset);
            if (!this.#text('REPORT')) return undefined;
            this.#reportOffset = offset;
            this.#phase = 'status';
            break;
          }
          if (expected === 'REPORT') throw this.#unexpected(offset);
          const header = this.intake.gather(RECORD_HEADER_BYTES);
          if (header === undefined) return undefined;
          this.#takeHeader(header, offset);
          break;
        }
        case 'body': {
          const padded = this.intake.gather(paddedLength(this.#frame!.length));
          return padded === undefined ? undefined : this.#takeBody(padded);
        }
        case 'status': {
          const byte = this.intake.gather(1);
          if (byte === undefined) return undefined;
          const [status] = byte;
          this.#said = 'REPORT';
          this.#phase = status === 0 ? 'done' : 'handed-back';
          return { layer: 'wire', kind: 'REPORT', offset: this.#reportOffset, status };
        }
        case 'handed-back':
          return this.#message('PERMISSION_TO_GO', 'done', offset);
        case 'done':
          return undefined;
      }
    }
  }

  #message(kind: XlMessageKind, next: Phase, offset: number): XlMessage | undefined {
    if (!this.#text(kind)) return undefined;
    this.#said = kind;
    this.#phase = next;
    return { layer: 'wire', kind, offset };
  }

  /** Whether the whole text came. @throws NOT_AN_IMAGE or FIELD_VALUE as soon as it is another. */
  #text(kind: XlMessageKind): boolean {
    const expected = MESSAGE_BYTES[kind];
    const found = this.intake.peek(expected.byteLength);
    if (found.some((byte, i) => byte !== expected[i])) throw this.#unexpected(this.intake.offset);
    return this.intake.gather(expected.byteLength) !== undefined;
  }

  #unexpected(offset: number): TransmigrateError {
    const code = this.#said === undefined ? 'NOT_AN_IMAGE' : 'FIELD_VALUE';
    return new TransmigrateError(code, 'The target of xl migrate says something else', { offset, ...this.where() });
  }

  #takeHeader(bytes: Uint8Array, offset: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES);
    const [type, length] = [view.getUint32(0, true), view.getUint32(4, true)];
    const known = type === LIBXL_TYPE.CHECKPOINT_STATE || type === LIBXC_TYPE.CHECKPOINT_DIRTY_PFN_LIST;
    if (!known) throw this.#unexpected(offset);
    if (length > BACK_RECORD_MOST) {
      const what = `A record of ${length} bytes, the limit is ${BACK_RECORD_MOST}`;
      throw new TransmigrateError('LIMIT_EXCEEDED', what, { offset, ...this.where() });
    }
    this.#frame = { sequence: this.#sequence, offset, type, length, padding: null };
    this.#phase = 'body';
  }

  #takeBody(padded: Uint8Array): LibxlRecord | LibxcRecord {
    const { length, type } = this.#frame!;
    const frame: RecordFrame = { ...this.#frame!, padding: oddPadding(padded, length) };
    const body = padded.subarray(0, length);
    try {
      const record: LibxlRecord | LibxcRecord =
        type === LIBXL_TYPE.CHECKPOINT_STATE
          ? { layer: 'libxl', frame, ...decodeLibxlBody(frame, body, true) }
          : { layer: 'libxc', frame, ...decodeLibxcBody(frame, body, true) };
      this.#sequence++;
      this.#phase = 'next';
      return record;
    } catch (error) {
      throw withRecord(error, frame.sequence, 'back channel');
    }
  }
}

/** Writes what the target sends: each event as the same bytes. */
export function emitXlBack(emit: Emit, event: XlBackEvent): void {
  if (event.layer === 'wire') emit(encodeXlMessage(event));
  else if (event.layer === 'libxl') {
    emitRecord(emit, event.frame.type, encodeLibxlBody(event, true), true, event.frame.padding);
  } else emitRecord(emit, event.frame.type, encodeLibxcBody(event, true), true, event.frame.padding);
}
