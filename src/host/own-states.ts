/** State of one's own that is registered with a host (M3), and what each of its guests has of it. */
import { TransmigrateError } from '../errors.ts';
import { PROTOCOL_LIMITS } from '../migrate/protocol/limits.ts';
import type { LiveState } from '../migrate/section/live.ts';
import type { DictionaryEntry, Named, OwnGuest, OwnSeat, OwnState, PinnedState } from '../migrate/section/own.ts';
import type { StateLoader } from '../migrate/section/section.ts';
import { encodeDictionary } from '../stream/records/dictionary.ts';

/** Numbers of records of one's own (stream 3.5), below those of messages (protocol 3.1). */
const FIRST_RECORD = 0x4000;

/** What a host has of it, all kinds. */
export class OwnStates {
  readonly #states: readonly Named<OwnState>[];

  /** @throws USAGE for two of one name, or too many; FIELD_VALUE, SCHEMA_INVALID for what no DICTIONARY can say */
  constructor(states: readonly OwnState[]) {
    this.#states = states.map((state, at) => {
      const { name, version, text, schema } = state;
      const entry: DictionaryEntry = { record: FIRST_RECORD + at, name, version, text, schema };
      encodeDictionary(entry);
      return { entry, state };
    });
    const { names } = this;
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new TransmigrateError('USAGE', `Two states of one's own are called ${twice}`);
    if (names.length <= PROTOCOL_LIMITS.names) return;
    throw new TransmigrateError('USAGE', `A host takes ${PROTOCOL_LIMITS.names} states of one's own at most`);
  }

  /** What this host knows (protocol 3.2). */
  get names(): string[] {
    return this.#states.map(({ entry }) => entry.name);
  }

  /** What a new guest has of it. @throws what one of them throws; then none of them has it */
  seats(guest: OwnGuest): OwnSeats {
    const seats: Named<OwnSeat>[] = [];
    try {
      for (const { entry, state } of this.#states) {
        seats.push({ entry, state: state.seat(guest, entry.record) });
      }
    } catch (error) {
      for (const { state } of seats) state.leave();
      throw error;
    }
    return new OwnSeats(seats);
  }
}

/** What one guest has of it. */
export class OwnSeats {
  readonly #seats: readonly Named<OwnSeat>[];
  #left = false;

  constructor(seats: readonly Named<OwnSeat>[]) {
    this.#seats = seats;
  }

  /** For a migration, or a live save. */
  live(): readonly Named<LiveState>[] {
    return this.#seats.map(({ entry, state }) => ({ entry, state: state.live() }));
  }

  /** Names of those that a host must know (protocol 4.3). */
  mandatory(): string[] {
    return this.live()
      .filter(({ state }) => state.offer().mandatory)
      .map(({ entry }) => entry.name);
  }

  /** @throws what one of them throws; then none is held */
  pin(): readonly Named<PinnedState>[] {
    const pinned: Named<PinnedState>[] = [];
    try {
      for (const { entry, state } of this.#seats) pinned.push({ entry, state: state.pin() });
    } catch (error) {
      for (const { state } of pinned) state.release();
      throw error;
    }
    return pinned;
  }

  loaders(): readonly StateLoader[] {
    return this.#seats.map(({ state }) => state.loader());
  }

  moveIn(): void {
    for (const { state } of this.#seats) state.moveIn();
  }

  /** Once, however often it is asked. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    for (const { state } of this.#seats) state.leave();
  }
}
