import type { Writable } from 'node:stream';
import { TransmigrateError } from '../errors.ts';
import { escapeJson } from './escape.ts';

/** A standard stream to write to: the process's own, or any stream in tests. */
export type OutputStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Characters that are gathered before they are written. */
const CHUNK = 1 << 16;

/**
 * Writes text with backpressure. When the reader has gone (`| head`), the rest is dropped without a word: nobody wants
 * it, and the exit code still says what the command found.
 */
export class Output {
  readonly stream: OutputStream;
  readonly #name: string;
  #gone = false;
  #begun = false;

  /** @param name for messages. */
  constructor(stream: OutputStream, name = 'the output') {
    this.stream = stream;
    this.#name = name;
    // Without a listener the error of a closed pipe would end the process; `write` gets it too.
    stream.on('error', () => {
      this.#gone = true;
    });
  }

  /** Whether anything was written: a JSON document that was begun can't be followed by another. */
  get begun(): boolean {
    return this.#begun;
  }

  /**
   * Writes the text.
   * @throws TransmigrateError WRITE_FAILED when it cannot be written, e.g. for want of space.
   */
  async write(text: string): Promise<void> {
    if (this.#gone || text === '') return;
    this.#begun = true;
    await new Promise<void>((resolve, reject) => {
      this.stream.write(text, (error) => {
        if (error === null || error === undefined || isClosedPipe(error)) {
          resolve();
          return;
        }
        reject(this.#failed(error));
      });
    });
  }

  #failed(cause: Error): TransmigrateError {
    const reason = 'code' in cause && cause.code === 'ENOSPC' ? 'the disk is full' : cause.message;
    return new TransmigrateError('WRITE_FAILED', `Can't write ${this.#name}: ${reason}`, {
      cause,
      next: 'What was written of it so far is not whole: make room, and run the command again.',
      data: { reason },
    });
  }

  /** Writes bytes as they are. @throws TransmigrateError WRITE_FAILED, also when the reader has gone. */
  async writeBytes(bytes: Uint8Array): Promise<void> {
    const error = await this.#tryBytes(bytes);
    if (error !== null) throw this.#failed(error);
  }

  /** The same for what is shown. @returns whether its reader is still there. @throws TransmigrateError WRITE_FAILED */
  async writeWanted(bytes: Uint8Array): Promise<boolean> {
    if (this.#gone) return false;
    const error = await this.#tryBytes(bytes);
    if (error === null) return true;
    if (isClosedPipe(error)) return false;
    throw this.#failed(error);
  }

  #tryBytes(bytes: Uint8Array): Promise<Error | null> {
    this.#begun = true;
    return new Promise((resolve) => this.stream.write(bytes, (error) => resolve(error ?? null)));
  }

  /** Writes each line with its end. */
  async writeLines(lines: Iterable<string>): Promise<void> {
    let chunk = '';
    for (const line of lines) {
      chunk += `${line}\n`;
      if (chunk.length < CHUNK) continue;
      await this.write(chunk);
      await breath();
      if (this.#gone) return;
      chunk = '';
    }
    await this.write(chunk);
  }

  /**
   * Writes one JSON object and a newline. The object is never one string, for an image's list of records can be longer
   * than a string can be.
   */
  async writeJson(object: object): Promise<void> {
    let chunk = '';
    for (const piece of jsonPieces(object)) {
      chunk += escapeJson(piece);
      if (chunk.length < CHUNK) continue;
      await this.write(chunk);
      await breath();
      if (this.#gone) return;
      chunk = '';
    }
    await this.write(`${chunk}\n`);
  }
}

/** Lets signals in: a write to a pipe waits for its reader without giving the event loop a turn. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function* jsonPieces(object: object): Generator<string> {
  let separator = '{';
  for (const [key, value] of Object.entries(object) as [string, unknown][]) {
    if (value === undefined) continue;
    yield `${separator}${JSON.stringify(key)}:`;
    separator = ',';
    if (!Array.isArray(value)) {
      yield JSON.stringify(value) ?? 'null';
      continue;
    }
    yield '[';
    for (const [i, item] of (value as unknown[]).entries()) yield `${i === 0 ? '' : ','}${JSON.stringify(item)}`;
    yield ']';
  }
  yield separator === '{' ? '{}' : '}';
}

function isClosedPipe(error: Error): boolean {
  const code = 'code' in error ? error.code : undefined;
  return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED' || code === 'ERR_STREAM_WRITE_AFTER_END';
}
