/** What `verify` says of an image, whatever its format: spec/cli-json.md 4. */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ErrorJson, RecordPlace, TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import { newCounts, type StreamCounts } from '../counts.ts';
import type { MemoryDigest, TmemDigest } from '../content-digest.ts';
import type { IdentifyOptions } from '../identify/identify.ts';
import type { HeadJson } from '../head-json.ts';
import type { FindingLevel, ImageFinding } from '../model/reader.ts';
import type { PreambleJson } from '../record-json.ts';

/** sound: it restores; findings: it restores, but something is wrong; broken: it will not restore. */
export type Verdict = 'sound' | 'findings' | 'broken';

/** Something that is wrong, with the record it is about. */
export interface Finding extends Omit<ErrorJson, 'record' | 'code'> {
  /** Of the table of errors, or of the findings of the image's own format. */
  code: string;
  level: FindingLevel;
  record: RecordPlace | null;
}

/** The result of {@link verifyImage}: spec/cli-json.md 4. */
export interface Verification {
  ok: boolean;
  /** The outermost layer that is an image; `unknown` where none is. */
  format: string;
  /** All layers, outermost first; empty where none is known. */
  nesting: string[];
  verdict: Verdict;
  errors: Finding[];
  warnings: Finding[];
  /** How many findings only the letter of the specification forbids, where they were not asked for. */
  lettersIgnored: number;
  preamble: PreambleJson | null;
  head: HeadJson | null;
  about: JsonObject | null;
  counts: StreamCounts;
  bytes: number;
  /** The last whole checkpoint: to there a cut image is a machine. The offset is that of the first channel given. */
  checkpoint: { number: number; offset: number } | null;
  /** What was judged is the state at that checkpoint, and not the whole image. */
  toCheckpoint: boolean;
  /** What stands behind the image. */
  trailing: { bytes: number; zero: boolean };
  memory?: MemoryDigest | null;
  tmem?: TmemDigest | null;
}

export interface VerifyOptions extends Work, IdentifyOptions {
  /**
   * Also work out the digests of stream 19: needs sources that can be read at any place, or `spool`.
   */
  readonly digest?: boolean;
  /** The image may lie in a larger container. */
  readonly container?: boolean;
  /** The letter of the specification: also what restores although it is forbidden is a finding. */
  readonly strict?: boolean;
  /**
   * Judge the state at the last whole checkpoint, of an image that is cut or damaged behind it: needs a source that can
   * be read at any place, or `spool`.
   */
  readonly toCheckpoint?: boolean;
  /**
   * Stream-local records that whoever will restore it knows: a mandatory one of another name is a warning, since no
   * restore works without it (stream 3.4). Default: none.
   */
  readonly knows?: ReadonlySet<string> | 'all';
}

/** Of an image that nothing is known of yet. */
export function newVerification(): Verification {
  return {
    ok: false,
    format: 'unknown',
    nesting: [],
    verdict: 'broken',
    errors: [],
    warnings: [],
    lettersIgnored: 0,
    preamble: null,
    head: null,
    about: null,
    counts: newCounts(),
    bytes: 0,
    checkpoint: null,
    toCheckpoint: false,
    trailing: { bytes: 0, zero: true },
  };
}

/** The verdict that follows from what was found. */
export function judged(result: Verification): Verification {
  result.verdict = result.errors.length > 0 ? 'broken' : result.warnings.length > 0 ? 'findings' : 'sound';
  result.ok = result.verdict !== 'broken';
  return result;
}

/** An error as a finding. */
export function finding(error: TransmigrateError, level: FindingLevel = 'broken'): Finding {
  return { ...error.toJSON(), level, record: error.record ?? null };
}

const NEXT: Readonly<Record<FindingLevel, string>> = {
  broken: 'A restore refuses it: save the machine again. `transmigrate inspect --records` shows where it stands.',
  warning: 'It restores: see whether you can live with that. `transmigrate inspect --records` shows where it stands.',
  strict: 'It restores: only the letter of the specification forbids it.',
};

/**
 * What a reader found, the first of each code, with how often.
 * @param counts how often each code was found; of a code that is not in it, as often as it stands in the list.
 */
export function findingsOf(found: readonly ImageFinding[], counts: ReadonlyMap<string, number>): Finding[] {
  const firsts = new Map<string, { finding: ImageFinding; count: number }>();
  for (const one of found) {
    const first = firsts.get(one.code);
    if (first === undefined) firsts.set(one.code, { finding: one, count: 1 });
    else first.count++;
  }
  return [...firsts.values()].map(({ finding: one, count: kept }) => {
    const { code, level, message, offset, path, section, next, data } = one;
    const count = Math.max(kept, counts.get(code) ?? 0);
    return {
      code,
      level,
      message: count > 1 ? `${message} (${count} times; the first is named)` : message,
      next: next ?? NEXT[level],
      ...(offset !== null && { offset }),
      ...(path !== '' && { path }),
      ...(section !== '' && { section }),
      ...((Object.keys(data).length > 0 || count > 1) && { data: count > 1 ? { ...data, count } : data }),
      record: null,
    };
  });
}

/** Puts findings where they belong. */
export function addFindings(result: Verification, findings: readonly Finding[], strict: boolean): void {
  for (const one of findings) {
    if (one.level === 'broken') result.errors.push(one);
    else if (one.level === 'warning' || strict) result.warnings.push(one);
    else result.lettersIgnored++;
  }
}
