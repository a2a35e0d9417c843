import { TransmigrateError } from '../../errors.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import { count } from '../counts.ts';
import { headJson } from '../head-json.ts';
import type { FormatName } from '../identify/layers.ts';
import { DEVICE_FORMAT, VCPU_STATE, type ImageEvent } from '../model/event.ts';
import type { ImageReader } from '../model/reader.ts';
import { lookingReader } from '../readers/looking-reader.ts';
import { isAboutReading } from './about-reading.ts';
import { PageTableWalk } from './page-tables.ts';
import { PagesAgain } from './pages-again.ts';
import { StateCheck } from './state-check.ts';
import { trailingFinding } from './trailing.ts';
import {
  addFindings,
  finding,
  findingsOf,
  judged,
  newVerification,
  type Finding,
  type Verification,
  type VerifyOptions,
} from './verification.ts';

/** Formats whose page tables hold pfns, and whose restorer looks page tables up. */
const WITH_PAGE_TABLES: ReadonlySet<FormatName> = new Set(['xen-libxc', 'xen-libxc-v2', 'libxl', 'xl', 'xenopsd']);

/** What is verified. */
export interface Subject {
  readonly format: FormatName;
  readonly nesting: readonly string[];
  readonly image: ByteSource;
  /** Only so far: the end of a checkpoint, which all before it is to be judged as. */
  readonly end?: number;
}

/**
 * Reads all of an image of others and says whether it is sound: whether the program that wrote it would restore it, and
 * what is wrong although it would.
 * @throws READ_FAILED, CANCELLED
 */
export async function verifyForeign(subject: Subject, options: VerifyOptions): Promise<Verification> {
  const result = newVerification();
  result.format = subject.format;
  result.nesting = [...subject.nesting];
  const pass = new Pass(subject, options, result);
  await pass.run();
  if (options.digest === true) {
    Object.assign(result, { memory: null, tmem: null });
    try {
      if (result.errors.length === 0) result.memory = (await digestOf(subject, pass.isCut, options)) ?? null;
    } catch (error) {
      if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
      result.errors.push(finding(error));
    }
  }
  return judged(result);
}

/** One reading of an image. */
class Pass {
  readonly #subject: Subject;
  readonly #options: VerifyOptions;
  readonly #result: Verification;
  readonly #state = new StateCheck();
  readonly #again: PagesAgain;
  #walk: PageTableWalk | undefined;
  #little = true;
  /** It breaks off behind a whole checkpoint. */
  isCut = false;

  constructor(subject: Subject, options: VerifyOptions, result: Verification) {
    this.#subject = subject;
    this.#options = options;
    this.#result = result;
    this.#again = new PagesAgain(subject.format, subject.image, options.signal);
  }

  async run(): Promise<void> {
    const { format, image, end } = this.#subject;
    const { counts } = this.#result;
    let reader: ImageReader | undefined;
    let cut: Finding | undefined;
    try {
      reader = await lookingReader(format, image, {
        signal: this.#options.signal,
        again: true,
        onNative: () => count(counts, 'NATIVE'),
        ...(end !== undefined && { end }),
      });
      for await (const event of reader.events()) await this.#see(event, reader);
    } catch (error) {
      if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
      cut = this.#broken(error, reader);
    }
    if (reader === undefined) return;
    this.#result.bytes = reader.offset;
    this.#result.trailing = { ...reader.trailing };
    counts.checkpoints = reader.checkpoints.complete;
    this.#findings(reader, cut);
  }

  async #see(event: ImageEvent, reader: ImageReader): Promise<void> {
    switch (event.kind) {
      case 'head':
        this.#result.head = headJson(event);
        this.#result.about = event.about;
        this.#little = event.byteOrder === 'little';
        if (event.domainType === 'pv' && WITH_PAGE_TABLES.has(this.#subject.format)) {
          this.#walk = new PageTableWalk(event.wordBits);
        }
        break;
      case 'pages':
        this.#walk?.pages(event);
        break;
      case 'pages-again':
        await this.#again.add(event);
        break;
      case 'round':
        this.#result.counts.rounds++;
        break;
      case 'checkpoint':
        this.#result.checkpoint = { number: reader.checkpoints.complete, offset: reader.checkpoints.end };
        break;
      case 'long-device':
        // Its bytes are read with it.
        for await (const chunk of event.chunks()) void chunk;
        break;
      default:
        if (event.kind === 'vcpu-state' && event.stateKind === VCPU_STATE.xenPvBasic) {
          this.#walk?.vcpu(event, this.#little);
        }
        if (event.kind === 'device' && event.format === DEVICE_FORMAT.xenOptional) {
          this.#result.counts.unknownOptional++;
        }
        this.#state.see(event, this.#little, reader.offset);
    }
  }

  /**
   * What can't be read on. A receiver of a checkpointed stream that breaks off takes what it has at the last whole
   * checkpoint (foreign/xen-libxc 5.1).
   */
  #broken(error: TransmigrateError, reader: ImageReader | undefined): Finding | undefined {
    const { complete = 0, end = 0 } = reader?.checkpoints ?? {};
    if (error.code !== 'TRUNCATED' || complete === 0) {
      this.#result.errors.push(finding(error));
      return undefined;
    }
    this.isCut = true;
    const next =
      `A receiver takes it for the machine at checkpoint ${complete}, which ends at byte ${end}: ` +
      '`--to-checkpoint` judges that.';
    return finding(error.with({ next }), 'warning');
  }

  #findings(reader: ImageReader, cut: Finding | undefined): void {
    const { end = 0 } = cut === undefined ? {} : reader.checkpoints;
    // What stands behind the last whole checkpoint of a stream that is cut, a receiver never looked at.
    const counted = reader.findings().filter(({ offset }) => cut === undefined || offset === null || offset < end);
    const found = findingsOf(
      counted.filter(({ code }) => code !== 'TRAILING_DATA'),
      cut === undefined ? reader.findingCounts() : new Map(),
    );
    const whole = this.#result.errors.length === 0 && cut === undefined;
    // Tables of a stream that is cut are those of no moment.
    const tables = whole && this.#walk !== undefined ? this.#walk.findings() : [];
    const more = findingsOf([...this.#state.findings(), ...this.#again.findings(), ...tables], new Map());
    const all = cut === undefined ? [...found, ...more] : [cut, ...found, ...more];
    if (whole && reader.trailing.bytes > 0) {
      all.push(trailingFinding(reader.trailing, reader.offset - reader.trailing.bytes, this.#subject.image.container));
    }
    addFindings(this.#result, all, this.#options.strict === true);
  }
}

/** The digest of memory as it is at the end (stream 19.1); null of what holds no machine. */
async function digestOf(
  { format, image, end }: Subject,
  isCut: boolean,
  options: VerifyOptions,
): Promise<Verification['memory']> {
  if (format === 'xl-back') return null;
  const { openImage } = await import('../open/open-image.ts');
  const { memoryDigest } = await import('./memory-digest.ts');
  const opened = await openImage(again(image), {
    ...(format === 'raw' && { as: 'raw' }),
    ...((isCut || end !== undefined) && { toCheckpoint: true }),
    signal: options.signal,
  });
  return memoryDigest(opened.memory);
}
