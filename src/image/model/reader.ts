import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { FormatName } from '../identify/layers.ts';
import type { OriginRecorder } from '../origin/recorder.ts';
import type { ImageEvent } from './event.ts';

/**
 * How much a finding weighs: `broken`, the image will not restore; `warning`, it restores, but something is wrong;
 * `strict`, it restores, and only the letter of the format's specification forbids it.
 */
export type FindingLevel = 'broken' | 'warning' | 'strict';

/** Something wrong with an image that can be read on. */
export interface ImageFinding {
  /** One of the format's own table, or of the errors'. */
  readonly code: string;
  readonly level: FindingLevel;
  readonly message: string;
  readonly offset: number | null;
  readonly path: string;
  readonly section: string;
  readonly next?: string;
  readonly data: JsonObject;
}

/** A record as its own format has it, for listings. */
export interface NativeRecord {
  /** Which layer it is of: `xl`, `libxl`, `libxc` ... */
  readonly layer: string;
  readonly name: string;
  readonly offset: number;
  /** Bytes of its body; of a header, of all of it. */
  readonly bytes: number;
  /** The section of spec/ that describes it. */
  readonly section: string;
  /** What it says, short. */
  readonly fields: JsonObject;
}

export interface ReaderOptions {
  /** Told of every record, before the events that come of it. */
  readonly onNative?: (record: NativeRecord) => void;
  /** Keeps what is needed to give the same bytes back. */
  readonly origin?: OriginRecorder;
  /**
   * Read only so far: the end of a complete checkpoint, which the machine then is that of. What follows is kept for
   * `origin`, and is nothing more.
   */
  readonly end?: number;
  /**
   * Only say where pages stand, and leave their content unread where the reader can: the bytes of runs are then not to
   * be looked at.
   */
  readonly placesOnly?: boolean;
  /** Also hand out the pages that come once more for comparison. */
  readonly again?: boolean;
}

/** Reads an image in one pass. Memory is bounded, whatever the image says. To be used once. */
export interface ImageReader {
  readonly format: FormatName;
  /**
   * The events. What was handed out before an error was right.
   * @throws TransmigrateError for what can't be read on; CANCELLED and READ_FAILED of the source.
   */
  events(): AsyncGenerator<ImageEvent, void, undefined>;
  /** What was found wrong so far. */
  findings(): readonly ImageFinding[];
  /** How often each code was found, where more were found than are kept. */
  findingCounts(): ReadonlyMap<string, number>;
  /** Bytes of the image that were read. */
  readonly offset: number;
  /** Complete checkpoints so far, and where in the image the last of them ended. */
  readonly checkpoints: { readonly complete: number; readonly end: number };
  /** Bytes after the image's end, and whether they are all zero. */
  readonly trailing: { readonly bytes: number; readonly zero: boolean };
}
