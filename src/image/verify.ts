import type { JsonObject } from '../bytes/bounded-json.ts';
import { TransmigrateError, type ErrorJson, type RecordPlace } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { isIndexed, type Preamble } from '../stream/preamble.ts';
import type { StreamDecoder } from '../stream/decoder.ts';
import { count, newCounts, type StreamCounts } from './counts.ts';
import { ContentDigest, needsRandomAccess, type MemoryDigest, type TmemDigest } from './content-digest.ts';
import { ContentCheck } from './content-check.ts';
import { IndexCheck } from './index-check.ts';
import { decodersFor, readChannels, type Work } from './read-stream.ts';
import { preambleJson, recordName, type PreambleJson } from './record-json.ts';
import { RecordStore } from '../stream/record-store.ts';

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
  /** The last whole checkpoint: to there a cut image is a machine. */
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
 * thrown is about reading it (READ_FAILED, CANCELLED).
 * @param sources the channels of one stream, in any order: mostly one. They stay open.
 */
export async function verifyImage(sources: readonly ByteSource[], options: VerifyOptions = {}): Promise<Verification> {
  if (options.digest === true) {
    for (const source of sources) if (source.random === null) throw needsRandomAccess(source.name);
  }
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
  let last: { sequence: number; name: string } | null = null;
  try {
    for await (const decoded of readChannels(sources, decoders, options)) {
      const { header, record, source, applies } = decoded;
      last = { sequence: header.sequence, name: recordName(header.type, record) };
      count(result.counts, record.kind);
      if (record.kind === 'LOCAL' && !record.optional) needed.add(record.dictionary.name);
      if (record.kind === 'ABOUT') result.about ??= record.about;
      if (record.kind === 'CHECKPOINT' && applies) result.checkpoint = { number: record.number, offset: header.offset };
      if (isIndexed(decoders[source].preamble!)) index.add(decoded);
      content.check(decoded);
      if (applies) digest?.add(decoded, source);
    }
    if (digest !== undefined) await addDigests(result, digest, sources, decoders);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || isAboutReading(error)) throw error;
    result.errors.push(finding(error, recordAt(error, decoders, last)));
  }
  result.bytes = decoders.reduce((sum, decoder) => sum + decoder.offset, 0);
  const preamble = decoders[0]?.preamble;
  result.preamble = preamble === undefined ? null : preambleJson(preamble);
  if (result.errors.length === 0) result.warnings.push(...warningsOf(decoders, index));
  if (result.errors.length === 0 && options.knows !== 'all') {
    for (const name of needed)
      if (options.knows?.has(name) !== true) result.warnings.push(finding(notKnown(name), null));
  }
  if (digest !== undefined && result.errors.length > 0) Object.assign(result, { memory: null, tmem: null });
  result.verdict = result.errors.length > 0 ? 'broken' : result.warnings.length > 0 ? 'findings' : 'sound';
  result.ok = result.verdict !== 'broken';
  return result;
}

/** Failures that say nothing of the image. */
function isAboutReading(error: TransmigrateError): boolean {
  return error.code === 'READ_FAILED' || error.code === 'CANCELLED';
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

function warningsOf(decoders: readonly StreamDecoder[], index: IndexCheck): Finding[] {
  const warnings = index.warnings().map((warning) => finding(warning, recordOfPath(warning)));
  for (const decoder of decoders) {
    if (decoder.trailing === 0) continue;
    const what = `${decoder.trailing} bytes stand after the end of the image in its container`;
    const details = {
      offset: decoder.offset,
      path: 'end of stream',
      section: '13.4',
      data: { bytes: decoder.trailing },
    };
    warnings.push(finding(new TransmigrateError('TRAILING_DATA', what, details), null));
  }
  return warnings;
}

function notKnown(name: string): TransmigrateError {
  return new TransmigrateError('UNKNOWN_RECORD', `A restore needs records that are not known here: ${name}`, {
    section: '3.4',
    data: { name },
    next: `Restore it with the program that knows ${name}.`,
  });
}

/** An error as a finding. */
export function finding(error: TransmigrateError, record: Finding['record']): Finding {
  return { ...error.toJSON(), record };
}

/** The record that an error is about: most errors say it in their path. */
export function recordAt(
  error: TransmigrateError,
  decoders: readonly StreamDecoder[],
  last: { sequence: number; name: string } | null,
): Finding['record'] {
  if (error.record !== undefined) return error.record;
  const named = recordOfPath(error);
  if (named === null) return null;
  if (named.name !== '') return named;
  const after = decoders.length === 1 && last !== null && last.sequence === named.sequence;
  return { sequence: named.sequence, name: after ? last.name : 'unknown' };
}

function recordOfPath(error: TransmigrateError): { sequence: number; name: string } | null {
  const match = /record (\d+)(?: \(([^)]+)\))?/.exec(error.path ?? '');
  return match === null ? null : { sequence: Number(match[1]), name: match[2] ?? '' };
}
