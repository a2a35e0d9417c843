import type { DecodedRecord } from '../../stream/decoder.ts';
import type { StreamWriter } from '../../stream/writer.ts';

/**
 * Writes one kind of a machine's state into a stream (M3): memory, tmem and devices are three, and state of one's own
 * is another.
 */
export interface StateWriter {
  /** For messages and progress, e.g. `memory`. */
  readonly name: string;
  /** Numbers of the records that it writes (stream 3.5): by them its bytes are counted. Absent: by what it says. */
  readonly records?: readonly number[];
  /** How many bytes of guest state it has to write, about: for progress. */
  readonly bytes: number;
  /**
   * Writes everything, a piece at a time: each step writes about a megabyte at most, and says how many bytes of guest
   * state it did. Sections take turns (turns.ts), so that none waits until the others are done (L1).
   */
  write(writer: StreamWriter): AsyncGenerator<number, void>;
}

/** Takes one kind of state from a stream. */
export interface StateLoader {
  readonly name: string;
  /** Takes a record when it is of this kind of state. Its bytes are valid until the promise resolves. */
  load(decoded: DecodedRecord): Promise<void>;
  /**
   * The stream is whole: is all of the state there?
   * @throws TransmigrateError when something is missing
   */
  complete(): Promise<void>;
}
