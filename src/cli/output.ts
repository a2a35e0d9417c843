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
  #gone = false;

  constructor(stream: OutputStream) {
    this.stream = stream;
    // Without a listener the error of a closed pipe would end the process; `write` gets it too.
    stream.on('error', () => {
      this.#gone = true;
    });
  }

  /**
   * Writes the text.
   * @throws TransmigrateError WRITE_FAILED when it cannot be written, e.g. for want of space.
   */
  async write(text: string): Promise<void> {
    if (this.#gone || text === '') return;
    await new Promise<void>((resolve, reject) => {
      this.stream.write(text, (error) => {
        if (error === null || error === undefined || isClosedPipe(error)) {
          resolve();
          return;
        }
        reject(
          new TransmigrateError('WRITE_FAILED', `the output cannot be written: ${error.message}`, { cause: error }),
        );
      });
    });
  }

  /** Writes each line with its end. */
  async writeLines(lines: Iterable<string>): Promise<void> {
    let chunk = '';
    for (const line of lines) {
      chunk += `${line}\n`;
      if (chunk.length < CHUNK) continue;
      await this.write(chunk);
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
      if (this.#gone) return;
      chunk = '';
    }
    await this.write(`${chunk}\n`);
  }
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
