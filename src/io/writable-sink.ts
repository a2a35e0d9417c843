import { WriteStream } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ByteSink } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';

/** A stream of Node's as a sink. What it fails with rejects every write from then on. */
export class WritableSink implements ByteSink {
  readonly #stream: Writable;
  /** Whether the system has the bytes when a write is done. Others may hand them on as they are, to be read later. */
  readonly #takes: boolean;
  #failure: TransmigrateError | undefined;
  readonly #failed = (cause: unknown): void => {
    this.#failure ??= failure(cause);
  };
  readonly #closed = (): void => this.#failed(new Error('it was closed'));

  constructor(stream: Writable) {
    this.#stream = stream;
    this.#takes = stream instanceof Socket || stream instanceof WriteStream;
    // Without a listener a failure between two writes would end the process.
    stream.on('error', this.#failed);
    stream.on('close', this.#closed);
    if (stream.destroyed || stream.writableEnded) this.#closed();
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      const closed = (): void => reject((this.#failure ??= failure(new Error('it was closed'))));
      this.#stream.once('close', closed);
      this.#stream.write(this.#takes ? bytes : new Uint8Array(bytes), (cause) => {
        this.#stream.off('close', closed);
        if (cause === null || cause === undefined) resolve();
        else reject((this.#failure ??= failure(cause)));
      });
    });
  }

  /** Ends the stream, and waits until it has everything. @throws WRITE_FAILED */
  async end(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#stream.off('close', this.#closed);
    this.#stream.end();
    try {
      await finished(this.#stream, { readable: false });
    } catch (cause) {
      throw failure(cause);
    } finally {
      this.#stream.off('error', this.#failed);
    }
  }

  /** Destroys the stream: what it got is no whole image. */
  abort(): void {
    this.#stream.destroy();
  }
}

function failure(cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TransmigrateError('WRITE_FAILED', `The image can't be written to the stream: ${why}`, { cause });
}
