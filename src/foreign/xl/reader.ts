import { TransmigrateError } from '../../errors.ts';
import { PieceReader, type Checkpoints, type Shared } from '../xen-libxc/piece-reader.ts';
import { LibxlReader, type LibxlEvent } from '../xen-libxl/reader.ts';
import { decodeXlFixedHeader, decodeXlHeader, XL_HEADER, type XlFixedHeader, type XlHeader } from './header.ts';
import { MESSAGE_BYTES, type XlMessage } from './messages.ts';

/** What a reader of a file of `xl save`, or of what `xl migrate` sends, hands out. */
export type XlEvent = XlHeader | LibxlEvent | XlMessage;

type Phase = 'header' | 'optional' | 'libxl' | 'after' | 'done';

/**
 * Reads what `xl save` wrote (spec/foreign/xl.md), through all its layers in one pass. The same bytes travel in `xl
 * migrate`, where the permission to run the domain follows them: that is recognised where it stands.
 */
export class XlReader extends PieceReader<XlEvent> {
  #phase: Phase = 'header';
  #fixed: XlFixedHeader | undefined;
  #header: XlHeader | undefined;
  readonly #libxl: LibxlReader;
  #permission = false;
  #partOfPermission = false;

  constructor(shared?: Shared) {
    super(shared);
    this.#libxl = new LibxlReader({ intake: this.intake, findings: this.findings });
  }

  get header(): XlHeader | undefined {
    return this.#header;
  }

  /** The reader of the libxl stream in it. */
  get libxl(): LibxlReader {
    return this.#libxl;
  }

  get complete(): boolean {
    return this.#phase === 'done' || (this.#phase === 'after' && !this.#partOfPermission);
  }

  /** Whether the source gave the domain away: only in `xl migrate`. */
  get permissionGiven(): boolean {
    return this.#permission;
  }

  get checkpoints(): Checkpoints {
    return this.#libxl.checkpoints;
  }

  where(): { path: string; section: string } {
    switch (this.#phase) {
      case 'header':
        return { path: 'xl header', section: 'foreign/xl 1' };
      case 'optional':
        return { path: 'xl header/optional data', section: 'foreign/xl 2' };
      case 'libxl':
        return this.#libxl.where();
      case 'after':
      case 'done':
        return { path: 'xl message PERMISSION_TO_GO', section: 'foreign/xl 3' };
    }
  }

  step(): XlEvent | undefined {
    for (;;) {
      const { offset } = this.intake;
      switch (this.#phase) {
        case 'header': {
          const bytes = this.intake.gather(XL_HEADER.bytes);
          if (bytes === undefined) return undefined;
          this.#fixed = decodeXlFixedHeader(bytes, offset);
          this.#phase = 'optional';
          break;
        }
        case 'optional': {
          const bytes = this.intake.gather(this.#fixed!.optionalBytes);
          if (bytes === undefined) return undefined;
          const start = this.intake.offset - bytes.byteLength - XL_HEADER.bytes;
          this.#header = decodeXlHeader(this.#fixed!, bytes, start, this.findings);
          this.#phase = 'libxl';
          return this.#header;
        }
        case 'libxl': {
          if ((this.#header!.mandatoryFlags & XL_HEADER.streamV2) === 0) throw this.#legacy(offset);
          const event = this.#libxl.step();
          if (event !== undefined || !this.#libxl.complete) return event;
          this.#phase = 'after';
          break;
        }
        case 'after':
          return this.#after(offset);
        case 'done':
          return undefined;
      }
    }
  }

  /** Behind the stream stands nothing, the permission, or what does not belong there. */
  #after(offset: number): XlMessage | undefined {
    const expected = MESSAGE_BYTES.PERMISSION_TO_GO;
    const found = this.intake.peek(expected.byteLength);
    if (found.byteLength === 0) return undefined;
    if (found.some((byte, i) => byte !== expected[i])) {
      this.#partOfPermission = false;
      this.#phase = 'done';
      return undefined;
    }
    if (this.intake.gather(expected.byteLength) === undefined) {
      this.#partOfPermission = true;
      return undefined;
    }
    this.#permission = true;
    this.#phase = 'done';
    return { layer: 'wire', kind: 'PERMISSION_TO_GO', offset };
  }

  #legacy(offset: number): TransmigrateError {
    return new TransmigrateError('UNSUPPORTED_VERSION', 'A stream of the format before Xen 4.6 follows', {
      offset,
      path: 'xl header',
      section: 'foreign/xl 1',
      data: { format: 'xen-libxc legacy' },
    });
  }
}
