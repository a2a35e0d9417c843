/**
 * State of one's own beside the guests of a host (M3): what a program registers with the host that it runs, so that it
 * travels with them live, and is in their images. Records: stream 12; what two hosts say about it: protocol 4.3.
 */
import type { Dictionary } from '../../stream/records/dictionary.ts';
import type { LiveState } from './live.ts';
import type { StateLoader, StateWriter } from './section.ts';

/** A name of a record in a stream, as DICTIONARY binds it. */
export type DictionaryEntry = Omit<Dictionary, 'kind'>;

/** Which guest: its uuid is not that of any other on this host, or on its way here. */
export interface OwnGuest {
  readonly uuid: string;
  readonly name: string;
}

/**
 * A kind of state. Its name is what hosts compare before anything moves, and stands for one layout and the later
 * versions that its loader also takes: what an older loader can't take gets another name.
 */
export interface OwnState extends Pick<Dictionary, 'name' | 'version' | 'text' | 'schema'> {
  /**
   * Called for each guest that is made here or comes here, before it runs.
   * @param record the number of its records in every stream of this host, without the bit of optional ones.
   * @throws what is to refuse the guest: then it is not made, or goes on where it comes from
   */
  seat(guest: OwnGuest, record: number): OwnSeat;
}

/**
 * What one guest has of it. It begins hidden: `loader` may fill it, and nobody else uses it. Then it is either moved
 * in, and left when the guest goes, or left at once, when nothing came of the guest. Neither may throw.
 */
export interface OwnSeat {
  /**
   * The state in rounds, for one migration or one live save; {@link LiveState.offer} says under this state's name
   * whether it is mandatory. All its records are then mandatory or optional accordingly, those of `pin` too.
   * From the beginning of `final` until its `end` the guest stands still, and the state has to do the same.
   */
  live(): LiveState;
  /** The state as it is now, while the guest stands still: it runs on before that is written. */
  pin(): PinnedState;
  /** Takes the state from one image or migration. Nothing may come, when where it comes from has none. */
  loader(): StateLoader;
  /** The guest is this host's from now on, and is about to run. */
  moveIn(): void;
  /** The guest is gone: destroyed, moved away, or never come. */
  leave(): void;
}

/** State as it was at one moment, until it is released. */
export interface PinnedState extends StateWriter {
  /** It is written, or will not be. */
  release(): void;
}

/** What is in a stream under a name of one's own. */
export interface Named<S> {
  readonly entry: DictionaryEntry;
  readonly state: S;
}
