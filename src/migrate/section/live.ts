/**
 * State that travels while the machine runs (M3): what a source has of it. Memory, tmem and devices are three of these,
 * and state of one's own is another; the destination has a {@link StateLoader} for each.
 */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { Taker } from './turns.ts';

/** What a kind of state needs where it goes. It is said before anything moves (N1). */
export interface StateOffer {
  /** `memory`, `tmem`, `devices`, or a reverse-DNS name of one's own. */
  readonly name: string;
  /** Whether a destination that does not know it must refuse the machine. */
  readonly mandatory: boolean;
  /** Bytes on the way, without compression of the stream's, and bytes that it takes there; about. */
  readonly carriedBytes: number;
  readonly unpackedBytes: number;
  /** What else there must be: for the destination's part of the same kind to judge. */
  readonly needs: JsonObject;
}

/** What would cross if the guest were paused now, about (L2). */
export interface StateLeft {
  readonly bytes: number;
  /** Of that, pages with content, and removals of what was sent. */
  readonly pages: number;
  readonly invalidations: number;
}

/**
 * Told of what is written on a channel, before it is: it keeps no content, but what must be written again when the
 * channel is cut (M2, T4). What it was told lies behind the next seal that the channel's writer is asked for: a writer
 * that seals by itself does so with batches in hand.
 */
export interface Ledger {
  /** Pages of memory, zero ones too. */
  pages(first: number, count: number): void;
  /** Anything else: numbers that rise, of each kind of state for itself. */
  step(state: string, step: number): void;
}

/** One connection, or a file. */
export interface LiveChannel {
  readonly writer: StreamWriter;
  readonly ledger?: Ledger | undefined;
}

/** All connections of a migration, in the order of their numbers; at least one. */
export interface LiveOutput {
  readonly channels: readonly LiveChannel[];
  /** Seals every channel, and writes a BARRIER on each (stream 14.1). Not asked for where there is one channel. */
  meet(): Promise<void>;
}

/** What did not arrive when a connection was cut. */
export interface Lost {
  /** Pages of memory that were written above the seals that the destination has applied, rising. */
  readonly pages: Uint32Array;
  /** Of each channel, the step of this state up to which the destination has applied it. */
  readonly steps: readonly number[];
}

/**
 * One kind of a running machine's state. A round and the end are generators: each step writes about a megabyte and says
 * how many bytes of state it did, and between two steps others have their turn, or the work ends with `return()`. What
 * it had taken from the guest by then, and not written, the next round has again.
 */
export interface LiveState {
  readonly name: string;
  /** Numbers of the records that it writes (stream 3.5): by them its bytes are counted. */
  readonly records: readonly number[];

  offer(): StateOffer;
  /** From now on what the guest does is followed. @throws what the machine or the engine throws */
  begin(): Promise<void>;
  /**
   * Writes what changed since it was written last. A round comes to its end, however fast the guest goes on.
   * Between two rounds the channels meet, where there are several (stream 14.3).
   */
  round(output: LiveOutput): AsyncGenerator<number, void>;
  /** Costs nothing, and may be asked at any time. */
  left(): StateLeft;
  /** The guest stands still, and its requests are done: writes all that is left. */
  final(output: LiveOutput): AsyncGenerator<number, void>;
  /** The destination has applied a channel up to this step of this state. */
  acknowledged(channel: number, step: number): void;
  /** A connection was cut: what was lost counts as never written. The next output is a stream that begins anew. */
  resend(lost: Lost): Promise<void>;
  /** Follows the guest no more, and gives back what that took. Never rejects, and may be asked twice. */
  end(): Promise<void>;
}

/** A single channel: a file, or a migration over one connection. */
export function singleOutput(writer: StreamWriter, ledger?: Ledger): LiveOutput {
  return { channels: [{ writer, ledger }], meet: () => Promise.resolve() };
}

/** A round of a kind of state, or its end, as it takes turns with others. */
export function takerOf(state: LiveState, output: LiveOutput, last: boolean): Taker {
  return {
    name: state.name,
    steps: last ? state.final(output) : state.round(output),
    sent: () => bytesOf(state, output),
  };
}

/** Bytes that a kind of state has on the wire so far. */
export function bytesOf({ records }: Pick<LiveState, 'records'>, { channels }: LiveOutput): number {
  return channels.reduce((sum, { writer }) => sum + writer.bytesOf(records), 0);
}
