import { LIBXC_LIMITS, LIBXC_TYPE, libxcTypeName, RECORD_HEADER_BYTES, XEN_PAGE_BYTES } from './constants.ts';
import { FieldsOut } from './fields.ts';
import { encodeLibxcHeader, type LibxcHeader } from './headers.ts';
import { entryBytes, pageDataLength, seeEntries, type PageBatch } from './pages.ts';
import { paddedLength, type LibxcEvent } from './reader.ts';
import { encodeLibxcBody, type LibxcBody } from './records.ts';

/** Takes bytes before it returns: they may change afterwards. */
export type Emit = (bytes: Uint8Array) => void;

const ZEROS = new Uint8Array(8);

/** Emits a record: header, body, padding. @param padding what stands in its place, where it is not zeros. */
export function emitRecord(
  emit: Emit,
  type: number,
  body: Uint8Array,
  little: boolean,
  padding: Uint8Array | null = null,
): void {
  emit(new FieldsOut(RECORD_HEADER_BYTES, little).u32(type).u32(body.byteLength).done());
  if (body.byteLength > 0) emit(body);
  const missing = paddedLength(body.byteLength) - body.byteLength;
  if (padding !== null && padding.byteLength !== missing) throw new RangeError(`${missing} bytes of padding`);
  if (missing > 0) emit(padding ?? ZEROS.subarray(0, missing));
}

/** Writes a libxc stream: what a reader handed out as the same bytes, or records that are made. */
export class LibxcWriter {
  readonly #emit: Emit;
  #little = true;
  #state: 'header' | 'records' | 'pages' = 'header';
  /** Bytes of pages that the open record still needs. */
  #pageBytes = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  /** Writes again what was read. Parts of a PAGE_DATA record are to come in order, and whole. */
  event(event: LibxcEvent): void {
    switch (event.kind) {
      case 'HEADER':
        this.header(event);
        break;
      case 'PAGE_DATA':
        this.#part(event);
        break;
      default:
        this.#ready();
        if (event.kind !== 'UNKNOWN' && LIBXC_TYPE[event.kind] !== event.frame.type) {
          throw new RangeError(`a frame of type ${event.frame.type} around ${event.kind}`);
        }
        emitRecord(
          this.#emit,
          event.frame.type,
          encodeLibxcBody(event, this.#little),
          this.#little,
          event.frame.padding,
        );
    }
  }

  header(header: LibxcHeader): void {
    if (this.#state !== 'header') throw new RangeError('the header was written');
    this.#emit(encodeLibxcHeader(header));
    this.#little = header.littleEndian;
    this.#state = 'records';
  }

  /** Writes a record other than PAGE_DATA. */
  record(body: Exclude<LibxcBody, { kind: 'UNKNOWN' }>): void {
    this.#ready();
    emitRecord(this.#emit, LIBXC_TYPE[body.kind], encodeLibxcBody(body, this.#little), this.#little);
  }

  /** Writes an optional record of another's making. */
  optional(type: number, content: Uint8Array): void {
    this.#ready();
    if (type < 0x8000_0000 || libxcTypeName(type) !== undefined) throw new RangeError(`type ${type} is not optional`);
    emitRecord(this.#emit, type, content, this.#little);
  }

  /**
   * Begins a PAGE_DATA record; its pages follow with {@link pages}.
   * @param words entries as in {@link PageBatch.words}.
   */
  pageEntries(words: Uint32Array, count: number, reserved = 0): void {
    this.#ready();
    const { withData, firstUnknown } = seeEntries(words, count);
    const length = pageDataLength(count, withData);
    if (count === 0 || firstUnknown >= 0 || length > LIBXC_LIMITS.recordBytes) {
      throw new RangeError(`no record of ${count} entries, ${withData} with data`);
    }
    const head = new FieldsOut(RECORD_HEADER_BYTES + 8, this.#little).u32(LIBXC_TYPE.PAGE_DATA).u32(length);
    this.#emit(head.u32(count).u32(reserved).done());
    this.#emit(entryBytes(words, count, this.#little));
    this.#pageBytes = withData * XEN_PAGE_BYTES;
    this.#state = this.#pageBytes > 0 ? 'pages' : 'records';
  }

  /** Pages of the record that was begun, in any parts. */
  pages(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    if (this.#state !== 'pages' || bytes.byteLength > this.#pageBytes) throw new RangeError('more pages than entries');
    this.#emit(bytes);
    this.#pageBytes -= bytes.byteLength;
    if (this.#pageBytes === 0) this.#state = 'records';
  }

  #part(part: PageBatch): void {
    if (part.first === 0) this.pageEntries(part.words, part.count, part.reserved);
    this.pages(part.bytes);
  }

  #ready(): void {
    if (this.#state !== 'records') throw new RangeError(`a record, and ${this.#state} are missing`);
  }
}
