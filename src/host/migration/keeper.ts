import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { Machine } from '../../machine/machine.ts';
import type { Guest } from '../guest.ts';
import type { TmemSeat } from '../host-tmem.ts';
import type { OwnSeats } from '../own-states.ts';

/** A machine that came, before it is a guest. */
export interface Arrived {
  readonly name: string;
  readonly uuid: string;
  readonly machine: Machine;
  readonly seat: TmemSeat | null;
  readonly own: OwnSeats;
  readonly configuration: JsonObject;
  readonly paused: boolean;
}

/** What live migration asks of the host that it belongs to. */
export interface GuestKeeper {
  /** @throws GUEST_UNKNOWN */
  guest(name: string): Guest;
  byIdentity(uuid: string): Guest | undefined;
  /** Names and identities that are taken, also by guests that are being made; why nothing may come, or null. */
  taken(): { readonly names: readonly string[]; readonly machines: readonly string[]; readonly closed: string | null };
  /** Keeps them for a machine that comes. @returns what gives them back */
  reserve(name: string, uuid: string): () => void;
  /** Others see it from now on, and it runs, unless it is to be paused, under this epoch. */
  arrive(arrived: Arrived, epoch: number): Promise<Guest>;
  /** A guest that is no longer this host's goes, with its memory and tmem. */
  depart(guest: Guest): Promise<void>;
}
