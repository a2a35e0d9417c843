import { TransmigrateError } from '../../errors.ts';
import { Findings } from './findings.ts';
import { Intake } from './intake.ts';

/** Bytes after the end, as they came: a part of them, lent until the next call of `read`. */
export interface Trailing {
  readonly layer: 'end';
  readonly kind: 'TRAILING';
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Consistent states that a checkpointed stream has so far (foreign/xen-libxc 5.1). */
export interface Checkpoints {
  readonly complete: number;
  /** Stream offset after the last complete one; 0 without one. */
  readonly end: number;
}

/** What the readers of nested layers share. */
export interface Shared {
  readonly intake: Intake;
  readonly findings: Findings;
}

/**
 * What all readers of Xen's formats have in common. Give bytes with {@link feed}, take what they hold with {@link read}
 * until it returns undefined, and say with {@link finish} that no more will come.
 *
 * Memory is bounded whatever the input says: at most one record of the stream's own limit, most often much less, since
 * pages are handed out as they come. Any method throws a TransmigrateError for what can't be read on; what is wrong
 * beside that is in {@link findings}. What `read` returned before was right. After an error the reader is used up.
 */
export abstract class PieceReader<Event> {
  protected readonly intake: Intake;
  /** What is wrong with what was read so far, as data. */
  readonly findings: Findings;
  readonly #outermost: boolean;
  #trailing = 0;

  constructor(shared?: Shared) {
    this.intake = shared?.intake ?? new Intake();
    this.findings = shared?.findings ?? new Findings();
    this.#outermost = shared === undefined;
  }

  /** Whether the format's own end was reached. */
  abstract get complete(): boolean;

  /** Complete checkpoints so far. */
  abstract get checkpoints(): Checkpoints;

  /** The next thing that was read, or undefined. For readers of outer layers; others call {@link read}. */
  abstract step(): Event | undefined;

  /** What is being read, for the error about a cut. */
  abstract where(): { readonly path: string; readonly section: string };

  /** Bytes consumed so far. */
  get offset(): number {
    return this.intake.offset;
  }

  /** Bytes after the end, of the outermost reader. */
  get trailing(): number {
    return this.#trailing;
  }

  /**
   * From now on the content of pages is passed over: their batches come without it (`PageBatch.passed`). For who only
   * wants to know where they stand.
   */
  passOverPages(): void {
    this.intake.skipsPages = true;
  }

  /**
   * How many of the next bytes need not be fed: only after {@link passOverPages}, and once `read` has returned
   * undefined. Whoever calls this goes on behind them.
   * @param most bytes that there are.
   */
  jump(most: number): number {
    return this.intake.jump(most);
  }

  /** Gives more bytes. Borrowed: they must not change before {@link read} has returned undefined. */
  feed(bytes: Uint8Array): void {
    this.intake.feed(bytes);
  }

  /**
   * The next record, header or part of pages, or undefined when more bytes are needed or nothing is left. Valid until
   * the next call. After the end come the bytes that follow it, as {@link Trailing}.
   */
  read(): Event | Trailing | undefined {
    const event = this.step();
    if (event !== undefined || !this.complete || !this.#outermost) return event;
    const { offset } = this.intake;
    const bytes = this.intake.some(Number.MAX_SAFE_INTEGER);
    if (bytes.byteLength === 0) return undefined;
    if (this.#trailing === 0) this.findings.report('TRAILING_DATA', offset, 'end of stream');
    this.#trailing += bytes.byteLength;
    return { layer: 'end', kind: 'TRAILING', offset, bytes };
  }

  /**
   * Says that no more bytes will come.
   * @throws TRUNCATED unless the end was reached; its data name the complete checkpoints.
   */
  finish(): void {
    if (this.complete) return;
    const { complete, end } = this.checkpoints;
    const { path, section } = this.where();
    const total = this.intake.received;
    throw new TransmigrateError('TRUNCATED', `The stream ends after ${total} bytes, in or before ${path}`, {
      offset: total,
      path,
      section,
      data: { checkpoints: complete, lastCheckpointEnd: end },
    });
  }
}

/** The record that an error is about, where it names none itself. */
export function withRecord(error: unknown, sequence: number, name: string): unknown {
  if (error instanceof TransmigrateError) error.record ??= { sequence, name };
  return error;
}
