import type { RandomAccess } from '../../bytes/endpoints.ts';
import { isZeroRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { OriginRecorder } from '../origin/recorder.ts';

/** Bytes that are read at once where nothing else says how many. */
const STEP_BYTES = 1024 * 1024;
/** Zeros are told from other bytes in steps of this. */
const ZEROS_BYTES = 4096;

/** An image whose parts are not in the order in which they are needed: read at any place, with progress. */
export class RandomInput {
  readonly random: RandomAccess;
  readonly name: string;
  readonly size: number;
  readonly container: boolean;
  readonly #work: Work;

  /** @throws READ_FAILED for what can only be read in order */
  constructor(source: ByteSource, work: Work) {
    if (source.random === null) {
      throw new TransmigrateError('READ_FAILED', `${source.name} can only be read in order, which is not enough`, {
        path: source.name,
        next: 'Copy it into a file first.',
      });
    }
    this.random = source.random;
    this.name = source.name;
    this.size = source.random.size;
    this.container = source.container;
    this.#work = work;
  }

  /** Fills `into`. @throws TRUNCATED, CANCELLED */
  async fill(offset: number, into: Uint8Array, path: string, section: string): Promise<void> {
    const { signal, onProgress } = this.#work;
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', `Reading ${this.name} was cancelled`);
    const found = await this.random.readAt(offset, into);
    if (found < into.byteLength) {
      throw new TransmigrateError('TRUNCATED', `The image ends at ${offset + found}, in ${path}`, {
        offset: offset + found,
        path,
        section,
      });
    }
    onProgress?.(offset + found, this.size);
  }

  /** The bytes from `from` to before `to`, a step at a time; each is lent until the next. @throws as {@link fill} */
  async *steps(from: number, to: number, path: string, section: string): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(Math.min(STEP_BYTES, Math.max(0, to - from)));
    for (let at = from; at < to; at += STEP_BYTES) {
      const step = buffer.subarray(0, Math.min(STEP_BYTES, to - at));
      await this.fill(at, step, path, section);
      yield step;
    }
  }

  /** Tells a recorder of bytes that are no page of the model: as they are, zeros as their number. */
  async keep(recorder: OriginRecorder | undefined, from: number, to: number): Promise<void> {
    if (recorder === undefined) return;
    for await (const step of this.steps(from, to, 'framing', 'foreign/origin 2')) {
      for (let at = 0; at < step.byteLength; at += ZEROS_BYTES)
        keepBytes(recorder, step.subarray(at, at + ZEROS_BYTES));
    }
  }

  /** Whether all these bytes are zero. */
  async isZero(from: number, to: number): Promise<boolean> {
    for await (const step of this.steps(from, to, 'framing', 'foreign/origin 2')) {
      if (!isZeroRange(step, 0, step.byteLength)) return false;
    }
    return true;
  }
}

/** A few bytes that are no page of the model. */
export function keepBytes(recorder: OriginRecorder, bytes: Uint8Array): void {
  if (isZeroRange(bytes, 0, bytes.byteLength)) recorder.zeros(bytes.byteLength);
  else recorder.literal(bytes);
}
