import type { JsonObject } from '../bytes/bounded-json.ts';
import { ERRORS, TransmigrateError, type ErrorJson, type RecordPlace } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { isIndexed, type Preamble } from '../stream/preamble.ts';
import type { StreamDecoder } from '../stream/decoder.ts';
import { count, newCounts, type StreamCounts } from './counts.ts';
import { ContentDigest, needsRandomAccess, type MemoryDigest, type TmemDigest } from './content-digest.ts';
import { ContentCheck } from './content-check.ts';
import { IndexCheck } from './index-check.ts';
import type { Work } from '../io/work.ts';
import { withLookalike } from './lookalike.ts';
import { decodersFor, readChannels } from './read-channels.ts';
import { preambleJson, type PreambleJson } from './record-json.ts';
import { RecordStore } from '../stream/record-store.ts';
import { WatchedSource } from './watched-source.ts';

/** sound: it restores; findings: it restores, but something is wrong; broken: it will not restore. */
export type Verdict = 'sound' | 'findings' | 'broken';

/** An error or warning, with the record it is about. */
export interface Finding extends Omit<ErrorJson, 'record'> {
  record: RecordPlace | null;
}

/** The result of {@link verifyImage}: spec/cli-json.md 4. */
export interface Verification {
  ok: boolean;
  format: string;
  verdict: Verdict;
  errors: Finding[];
  warnings: Finding[];
  preamble: PreambleJson | null;
  about: JsonObject | null;
  counts: StreamCounts;
  bytes: number;
  /** The last whole checkpoint: to there a cut image is a machine. The offset is that of the first channel given. */
  checkpoint: { number: number; offset: number } | null;
  memory?: MemoryDigest | null;
  tmem?: TmemDigest | null;
}

export interface VerifyOptions extends Work {
  /** Also work out the digests of stream 19: needs sources that can be read at any place. */
  readonly digest?: boolean;
  /** The image may lie in a larger container. */
  readonly container?: boolean;
  /**
   * Stream-local records that whoever will restore it knows: a mandatory one of another name is a warning, since no
   * restore works without it (stream 3.4). Default: none.
   */
  readonly knows?: ReadonlySet<string> | 'all';
}

/**
 * Reads all of an image and says whether it is sound. Whatever is wrong with the image is in the result; what is
 * thrown is about reading it (READ_FAILED, CANCELLED; of a spooled pipe also WRITE_FAILED).
 * @param sources the channels of one stream, in any order: mostly one. They stay open.
 */
export async function verifyImage(sources: readonly ByteSource[], options: VerifyOptions = {}): Promise<Verification> {
  if (options.digest === true) {
    for (const source of sources) if (source.random === null) throw needsRandomAccess(source.name);
  }
  const progress = new VerifyProgress(sources, options);
  const watched = sources.map((source) => new WatchedSource(source, progress.add));
  const decoders = decodersFor(sources, { knows: 'all', ...(options.container === true && { container: true }) });
  const result: Verification = {
    ok: false,
    format: 'tmig',
    verdict: 'broken',
    errors: [],
    warnings: [],
    preamble: null,
    about: null,
    counts: newCounts(),
    bytes: 0,
    checkpoint: null,
  };
  const content = new ContentCheck();
  const digest = options.digest === true ? new ContentDigest() : undefined;
  const index = new IndexCheck();
  const needed = new Set<string>();
  let checkpointAt = 0;
  try {
    for await (const decoded of readChannels(watched, decoders, { signal: options.signal })) {
      const { header, record, source, applies } = decoded;
      if (record.kind === 'LOCAL' && !record.optional) needed.add(record.dictionary.name);
      // Where channels meet, each has the record, but the round or checkpoint is one.
      count(result.counts, applies ? record.kind : 'MEETING');
      if (record.kind === 'ABOUT') result.about ??= record.about;
      if (record.kind === 'CHECKPOINT') {
        if (source === 0) checkpointAt = header.offset;
        if (applies) result.checkpoint = { number: record.number, offset: checkpointAt };
      }
      // Only one channel alone can have an index (stream 14.4).
      if (isIndexed(decoders[source].preamble!)) index.add(decoded);
      content.check(decoded);
      if (applies) digest?.add(decoded, source);
    }
    if (digest !== undefined) await addDigests(result, digest, watched, decoders);
  } catch (thrown) {
    if (!(thrown instanceof TransmigrateError) || isAboutReading(thrown)) throw thrown;
    const source = watched.find(({ name }) => name === thrown.file) ?? watched[0];
    const error = withLookalike(thrown, source.head);
    if (error.code === 'NOT_AN_IMAGE') result.format = 'unknown';
    result.errors.push(finding(error));
  }
  result.bytes = decoders.reduce((sum, decoder) => sum + decoder.offset, 0);
  const preamble = decoders[0]?.preamble;
  result.preamble = preamble === undefined ? null : preambleJson(preamble);
  if (result.errors.length === 0) {
    result.warnings.push(...index.warnings().map(finding));
    for (const [i, decoder] of decoders.entries()) {
      if (decoder.trailing > 0)
        result.warnings.push(trailingData(decoder, sources.length > 1 ? sources[i].name : undefined));
    }
    const { knows } = options;
    for (const name of needed) {
      if (knows !== 'all' && knows?.has(name) !== true) result.warnings.push(finding(notKnown(name)));
    }
  }
  if (digest !== undefined && result.errors.length > 0) Object.assign(result, { memory: null, tmem: null });
  result.verdict = result.errors.length > 0 ? 'broken' : result.warnings.length > 0 ? 'findings' : 'sound';
  result.ok = result.verdict !== 'broken';
  return result;
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

/** Failures that say nothing of the image: it can't be read or put aside, or nobody wants it any more. */
function isAboutReading(error: TransmigrateError): boolean {
  const kind = ERRORS[error.code].class;
  return kind === 'store' || kind === 'cancelled';
}

async function addDigests(
  result: Verification,
  digest: ContentDigest,
  sources: readonly ByteSource[],
  decoders: readonly StreamDecoder[],
): Promise<void> {
  const preamble = decoders[0].preamble as Preamble;
  const stores = sources.map((source, i) => new RecordStore(source.random!, decoders[i].preamble!.checksum));
  result.memory = await digest.memory(stores, preamble);
  result.tmem = await digest.tmem(stores);
}

function trailingData(decoder: StreamDecoder, file: string | undefined): Finding {
  const what = `${decoder.trailing} bytes stand after the end of the image in its container`;
  const details = {
    offset: decoder.offset,
    path: 'end of stream',
    section: '13.4',
    data: { bytes: decoder.trailing },
    next: 'The image itself is whole; nothing need be done.',
  };
  const warning = new TransmigrateError('TRAILING_DATA', what, details);
  warning.file = file;
  return finding(warning);
}

function notKnown(name: string): TransmigrateError {
  return new TransmigrateError('UNKNOWN_RECORD', `A restore needs records that are not known here: ${name}`, {
    section: '3.4',
    data: { name },
    next: `Restore it with the program that knows ${name}.`,
  });
}

/** An error as a finding. */
export function finding(error: TransmigrateError): Finding {
  return { ...error.toJSON(), record: error.record ?? null };
}
