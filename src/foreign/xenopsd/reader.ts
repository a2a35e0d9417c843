import { TransmigrateError, type ErrorCode } from '../../errors.ts';
import { PieceReader, type Checkpoints } from '../xen-libxc/piece-reader.ts';
import { LibxcReader, type LibxcEvent } from '../xen-libxc/reader.ts';
import { LibxlReader, type LibxlEvent } from '../xen-libxl/reader.ts';
import { XENOPSD_HEADER_BYTES, XENOPSD_LIMITS, XENOPSD_SIGNATURE, xenopsdTag, type XenopsdTag } from './sections.ts';

/** What an image begins with. */
export interface XenopsdSignature {
  readonly layer: 'xenopsd';
  readonly kind: 'SIGNATURE';
  readonly offset: number;
  readonly format: 'structured' | 'legacy';
}

/**
 * A section. Of one with a length, `content` has its bytes, lent until the next call of `read`; that of LIBXC and LIBXL
 * is null: their streams follow.
 */
export interface XenopsdSection {
  readonly layer: 'xenopsd';
  readonly kind: XenopsdTag;
  readonly offset: number;
  /** As it stands in the header. */
  readonly length: bigint;
  readonly content: Uint8Array | null;
}

/** What a reader of a suspend image hands out. */
export type XenopsdEvent = XenopsdSignature | XenopsdSection | LibxcEvent | LibxlEvent;

type Phase = 'signature' | 'section' | 'content' | 'stream' | 'legacy' | 'done';

/**
 * Reads a suspend image of XCP-ng or XenServer (spec/foreign/xenopsd.md) and the stream in it, in one pass. It may
 * lie in a larger container: what follows the footer is handed out as trailing bytes.
 */
export class XenopsdReader extends PieceReader<XenopsdEvent> {
  #phase: Phase = 'signature';
  #tag: XenopsdTag | undefined;
  #sectionOffset = 0;
  #length = 0n;
  #stream: LibxcReader | LibxlReader | undefined;
  #memory = false;

  get complete(): boolean {
    return this.#phase === 'done';
  }

  get checkpoints(): Checkpoints {
    return this.#stream?.checkpoints ?? { complete: 0, end: 0 };
  }

  where(): { path: string; section: string } {
    switch (this.#phase) {
      case 'signature':
      case 'legacy':
        return { path: 'xenopsd signature', section: 'foreign/xenopsd 1' };
      case 'stream':
        return this.#stream!.where();
      case 'section':
      case 'content':
      case 'done': {
        const section = this.#tag === undefined ? 'header' : `section ${this.#tag}`;
        return { path: `xenopsd ${section}`, section: 'foreign/xenopsd 2' };
      }
    }
  }

  step(): XenopsdEvent | undefined {
    for (;;) {
      const { offset } = this.intake;
      switch (this.#phase) {
        case 'signature': {
          const bytes = this.intake.gather(XENOPSD_SIGNATURE.bytes);
          return bytes === undefined ? undefined : this.#takeSignature(bytes, offset);
        }
        case 'legacy':
          throw this.#error('UNSUPPORTED_VERSION', 'The image has the format before Xen 4.6', { format: 'legacy' });
        case 'section': {
          const bytes = this.intake.gather(XENOPSD_HEADER_BYTES);
          if (bytes === undefined) return undefined;
          const section = this.#takeHeader(bytes, offset);
          if (section !== undefined) return section;
          break;
        }
        case 'content': {
          const content = this.intake.gather(Number(this.#length));
          if (content === undefined) return undefined;
          const section = this.#section(content);
          this.#next();
          return section;
        }
        case 'stream': {
          const stream = this.#stream!;
          const event = stream.step();
          if (event !== undefined) return event;
          if (stream instanceof LibxcReader && stream.paused) {
            stream.resume();
            break;
          }
          if (!stream.complete) return undefined;
          this.#next();
          break;
        }
        case 'done':
          return undefined;
      }
    }
  }

  #takeSignature(bytes: Uint8Array, offset: number): XenopsdSignature {
    const text = String.fromCodePoint(...bytes);
    const structured = text === XENOPSD_SIGNATURE.structured;
    if (!structured && text !== XENOPSD_SIGNATURE.legacy) {
      throw this.#error('NOT_AN_IMAGE', 'No suspend image of xenopsd begins here');
    }
    this.#phase = structured ? 'section' : 'legacy';
    return { layer: 'xenopsd', kind: 'SIGNATURE', offset, format: structured ? 'structured' : 'legacy' };
  }

  #takeHeader(bytes: Uint8Array, offset: number): XenopsdSection | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, XENOPSD_HEADER_BYTES);
    const number = view.getBigUint64(0, true);
    this.#length = view.getBigUint64(8, true);
    this.#sectionOffset = offset;
    const tag = number <= 0xffffn ? xenopsdTag(Number(number)) : undefined;
    if (tag === undefined) {
      throw this.#error('UNKNOWN_RECORD', `A section that is not known: 0x${number.toString(16)}`, {
        tag: `0x${number.toString(16)}`,
      });
    }
    this.#tag = tag;
    const path = `xenopsd section ${tag}`;
    switch (tag) {
      case 'LIBXC':
      case 'LIBXL': {
        this.#noLength(path);
        if (tag === 'LIBXL') this.findings.report('XENOPSD_TAG_REFUSED', offset, path);
        const shared = { intake: this.intake, findings: this.findings };
        this.#stream = tag === 'LIBXC' ? new LibxcReader(shared) : new LibxlReader(shared);
        this.#memory = true;
        this.#phase = 'stream';
        return this.#section(null);
      }
      case 'LIBXC_LEGACY':
        throw this.#error('UNSUPPORTED_VERSION', 'A libxc stream of the format before Xen 4.6', { section: tag });
      case 'DEMU':
        throw this.#error('UNSUPPORTED_FEATURE', 'The state of a virtual GPU, which does not say where it ends', {
          section: tag,
        });
      case 'END_OF_IMAGE': {
        this.#noLength(path);
        if (!this.#memory) this.findings.report('XENOPSD_NO_MEMORY', offset, path);
        this.#phase = 'done';
        return this.#section(null);
      }
      case 'XENOPS':
      case 'QEMU_TRAD':
      case 'QEMU_XEN':
      case 'VARSTORED':
      case 'SWTPM0':
      case 'SWTPM':
        break;
    }
    if (this.#length > BigInt(XENOPSD_LIMITS.sectionBytes)) {
      const what = `A section of ${this.#length} bytes, the limit is ${XENOPSD_LIMITS.sectionBytes}`;
      throw this.#error('LIMIT_EXCEEDED', what);
    }
    if (tag === 'QEMU_XEN') this.findings.report('XENOPSD_TAG_REFUSED', offset, path);
    if (tag === 'QEMU_TRAD' && this.#length > BigInt(XENOPSD_LIMITS.qemuBytes)) {
      this.findings.report('XENOPSD_QEMU_SIZE', offset, path, { bytes: Number(this.#length) });
    }
    this.#phase = 'content';
    return undefined;
  }

  /** Such a section says 0: how long it is shows only at its end. */
  #noLength(path: string): void {
    if (this.#length === 0n) return;
    this.findings.report('XENOPSD_LENGTH', this.#sectionOffset, path, { length: String(this.#length) });
  }

  #section(content: Uint8Array | null): XenopsdSection {
    return { layer: 'xenopsd', kind: this.#tag!, offset: this.#sectionOffset, length: this.#length, content };
  }

  #next(): void {
    this.#tag = undefined;
    this.#phase = 'section';
  }

  #error(code: ErrorCode, what: string, data: Record<string, string> = {}): TransmigrateError {
    return new TransmigrateError(code, what, { offset: this.#sectionOffset, ...this.where(), data });
  }
}
