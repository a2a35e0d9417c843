import { TransmigrateError } from '../errors.ts';
import { again, unclosed } from '../io/pieces-of.ts';
import type { ByteSource } from '../io/source.ts';
import { needsRandomAccess } from './needs-random-access.ts';
import { identifyImage, type Identified } from './identify/identify.ts';
import { WatchedSource } from './watched-source.ts';
import { isAboutReading } from './verify/about-reading.ts';
import { finding, judged, newVerification, type Verification, type VerifyOptions } from './verify/verification.ts';

export { finding, type Finding, type Verdict, type Verification, type VerifyOptions } from './verify/verification.ts';

/**
 * Reads all of an image of any format and says whether it is sound. Whatever is wrong with the image is in the result;
 * what is thrown is about reading it (READ_FAILED, CANCELLED; of a spooled pipe also WRITE_FAILED).
 * @param sources one image, or the channels of one stream of ours, in any order. They stay open.
 */
export async function verifyImage(sources: readonly ByteSource[], options: VerifyOptions = {}): Promise<Verification> {
  const progress = new VerifyProgress(sources, options);
  const watched = sources.map((source) => new WatchedSource(source, progress.add));
  if (watched.length > 1) {
    if (options.digest === true) {
      for (const source of sources) if (source.random === null) throw needsRandomAccess(source.name);
    }
    const { verifyTmig } = await import('./verify/tmig.ts');
    return verifyTmig({ sources: watched, nesting: ['tmig'] }, options);
  }
  const [source] = watched;
  let identified: Identified;
  try {
    identified = await identifyImage(unclosed(source), options);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
    return unidentified(error, options);
  }
  return new Single(identified, options).verify();
}

/** Of what is no image that is known. */
function unidentified(error: TransmigrateError, { digest }: VerifyOptions): Verification {
  const result = newVerification();
  if (digest === true) Object.assign(result, { memory: null, tmem: null });
  result.errors.push(finding(error));
  return judged(result);
}

/** One image of one file, already identified. */
class Single {
  readonly #identified: Identified;
  readonly #options: VerifyOptions;

  constructor(identified: Identified, options: VerifyOptions) {
    this.#identified = identified;
    this.#options = options;
  }

  async verify(): Promise<Verification> {
    const { toCheckpoint, digest } = this.#options;
    let { image } = this.#identified;
    if (toCheckpoint !== true && digest !== true) return this.#pass(image);
    const given = image;
    const { readableAtAnyPlace } = await import('./open/open-image.ts');
    try {
      image = await readableAtAnyPlace(image, this.#options);
    } catch (error) {
      // What is wrapped around it does not hold: then what it holds is not all there.
      if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
      return {
        ...unidentified(error, this.#options),
        format: this.#identified.format,
        nesting: [...this.#identified.nesting],
      };
    }
    try {
      const whole = await this.#pass(again(image));
      const isCut = whole.errors.length > 0 || whole.warnings.some(({ code }) => code === 'TRUNCATED');
      return toCheckpoint === true && isCut ? await this.#atCheckpoint(image, whole) : whole;
    } finally {
      if (image !== given) await image.close();
    }
  }

  /** The state at the last whole checkpoint of an image that is not whole. */
  async #atCheckpoint(image: ByteSource, whole: Verification): Promise<Verification> {
    if (whole.checkpoint === null) return whole;
    // Of ours the offset is where the CHECKPOINT record stands, of others where the checkpoint ends.
    const { offset } = whole.checkpoint;
    const result = await this.#pass(again(image), this.#identified.format === 'tmig' ? offset + 1 : offset);
    const error = whole.errors[0] ?? whole.warnings.find(({ code }) => code === 'TRUNCATED');
    result.toCheckpoint = true;
    if (error !== undefined) {
      const next = 'What was judged is the state at the last whole checkpoint: restore that, with `--to-checkpoint`.';
      result.warnings.unshift({ ...error, level: 'warning', next });
    }
    return judged(result);
  }

  async #pass(image: ByteSource, end?: number): Promise<Verification> {
    const { format, nesting } = this.#identified;
    const upTo = end === undefined ? {} : { end };
    // Each is loaded when it is called, as the readers of formats are: half of the time of a small image is loading.
    if (format === 'tmig') {
      const { verifyTmig } = await import('./verify/tmig.ts');
      return verifyTmig({ sources: [new WatchedSource(image)], nesting, ...upTo }, this.#options);
    }
    const { verifyForeign } = await import('./verify/foreign.ts');
    return verifyForeign({ format, nesting, image, ...upTo }, this.#options);
  }
}

/** How far a verification is: all sources together; a digest reads their data a second time. */
class VerifyProgress {
  readonly #options: VerifyOptions;
  readonly #total: number | null;
  #done = 0;

  constructor(sources: readonly ByteSource[], options: VerifyOptions) {
    this.#options = options;
    const sum = sources.reduce<number | null>(
      (total, { size }) => (total === null || size === null ? null : total + size),
      0,
    );
    this.#total = sum === null || options.digest !== true ? sum : 2 * sum;
  }

  readonly add = (bytes: number): void => {
    this.#done += bytes;
    if (this.#options.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Verifying was cancelled');
    this.#options.onProgress?.(this.#done, this.#total);
  };
}
