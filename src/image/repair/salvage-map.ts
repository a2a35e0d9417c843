/** What is missing or doubtful in what was saved of a damaged image: spec/cli-json.md 16. All of it is JSON. */
import type { ErrorCode, RecordPlace, TransmigrateError } from '../../errors.ts';
import type { PageFate } from './page-account.ts';
import type { LostDevice } from './state-salvage.ts';
import type { TmemFate } from './tmem-salvage.ts';

/** Places that are named; all are counted. */
const SKIPPED_MOST = 4096;

/** Bytes of the input that were not used, or a place where something is missing. */
export interface Skipped {
  readonly offset: number;
  /** 0 where only something is missing. */
  readonly bytes: number;
  readonly code: ErrorCode;
  readonly message: string;
  /** The record, where its header holds. */
  readonly record: RecordPlace | null;
  /** Records that are missing. */
  readonly lostRecords: number;
  /** Pages that could be taken out of these bytes all the same. */
  readonly savedPages: number;
}

export interface SalvageMap {
  readonly version: 1;
  /** Whether nothing was found wrong. */
  readonly whole: boolean;
  readonly skipped: readonly Skipped[];
  readonly skippedCount: number;
  /** A byte of the preamble that was put right. */
  readonly mendedAt: number | null;
  /** Where the image ends before its end. */
  readonly cutAt: number | null;
  /** Something was lost, and nobody knows what. */
  readonly unknownLost: boolean;
  readonly memory: PageFate;
  /** Registers and other small state may be older than the memory. */
  readonly statesDoubtful: boolean;
  readonly vcpus: number;
  readonly devices: { readonly kept: readonly string[]; readonly lost: readonly LostDevice[] };
  readonly tmem: TmemFate | null;
  /** What an image of this kind does not take along. */
  readonly leftOut: readonly string[];
}

/** Gathers {@link SalvageMap.skipped}. */
export class SkippedList {
  readonly first: Skipped[] = [];
  count = 0;
  /** What was wrong first. */
  error: TransmigrateError | undefined;

  add(offset: number, bytes: number, error: TransmigrateError, lostRecords = 0, savedPages = 0): void {
    this.count++;
    this.error ??= error;
    if (this.first.length === SKIPPED_MOST) return;
    const { code, message, record } = error;
    this.first.push({ offset, bytes, code, message, record: record ?? null, lostRecords, savedPages });
  }
}
