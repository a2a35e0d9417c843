/** Keeps what a source says over a connection, as a file that `inspect` and `verify` read: protocol 10.1. */
import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { failureOf } from './source-runner.ts';

/** A file that is there from its commit on, and not before. */
export interface RecordFile extends ByteSink {
  readonly path: string;
  readonly bytes: number;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** Most bytes of a conversation before anything of a machine came: messages, and an ABOUT. */
const MOST_EARLY_BYTES = 4 * 1024 * 1024;

/** Of one connection. What goes wrong with it is told at its end, and is nothing to who listens. */
export class Recording {
  readonly #create: () => Promise<RecordFile>;
  /** Copies of what came before a file was made. */
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #file: RecordFile | null = null;
  #failed: string | null = null;

  /** @param create makes the file, when there is something to be kept. */
  constructor(create: () => Promise<RecordFile>) {
    this.#create = create;
  }

  /**
   * Hands the pieces on, each written while it is used. The disk holds the connection up when it is slower.
   * @param wanted whether anything of a machine came: a mere question leaves no file.
   */
  async *pieces(source: AsyncIterable<Uint8Array>, wanted: () => boolean): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      const kept = this.#keep(piece);
      try {
        yield piece;
      } finally {
        await kept;
        if (this.#file === null && this.#failed === null && wanted()) await this.#begin();
      }
    }
  }

  /** The connection has ended, in whatever way: all that came is safe in its file. @returns a line about it, or null */
  async end(): Promise<string | null> {
    const file = this.#file;
    this.#early = [];
    if (file !== null && this.#failed === null) {
      await file.commit().catch((cause: unknown) => this.#fail(cause));
      if (this.#failed === null) return `${file.bytes} bytes are kept in ${file.path}`;
    }
    return this.#failed === null ? null : `what came is not kept: ${this.#failed}`;
  }

  async #keep(piece: Uint8Array): Promise<void> {
    if (this.#failed !== null) return;
    if (this.#file !== null) {
      await this.#file.write(piece).catch((cause: unknown) => this.#fail(cause));
      return;
    }
    this.#earlyBytes += piece.byteLength;
    if (this.#earlyBytes <= MOST_EARLY_BYTES) this.#early.push(piece.slice());
    else await this.#fail(new TransmigrateError('LIMIT_EXCEEDED', 'Too much was said before a machine came'));
  }

  async #begin(): Promise<void> {
    try {
      this.#file = await this.#create();
      for (const piece of this.#early.splice(0)) await this.#file.write(piece);
    } catch (cause) {
      await this.#fail(cause);
    }
  }

  /** Nothing of it stays: half a recording would look like a connection that was cut. */
  async #fail(cause: unknown): Promise<void> {
    this.#failed ??= failureOf(cause).message;
    this.#early = [];
    await this.#file?.abort();
  }
}
