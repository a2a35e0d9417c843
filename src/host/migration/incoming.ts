/** What a host does for machines that come to it: looks, holds back, makes them hidden, and lets them run (N1, N2). */
import { randomBytes } from 'node:crypto';
import { freemem } from 'node:os';
import { toHex } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Machine } from '../../machine/machine.ts';
import { judge, type HostCapability, type Need, type Probe } from '../../migrate/negotiate/judge.ts';
import {
  NOTHING_RESERVED,
  release,
  reserve,
  without,
  type Reservations,
} from '../../migrate/negotiate/reservations.ts';
import { PROTOCOL_LIMITS } from '../../migrate/protocol/limits.ts';
import type { Offer } from '../../migrate/protocol/messages.ts';
import type { Hidden } from '../../migrate/restore/restore.ts';
import type { Probed } from '../../migrate/session/effects.ts';
import type { Driver, Made } from '../driver.ts';
import type { HostTmem, TmemSeat } from '../host-tmem.ts';
import { sharedDisks } from '../saving.ts';
import type { OwnSeats, OwnStates } from '../own-states.ts';
import type { HostJournal } from './host-journal.ts';
import type { GuestKeeper } from './keeper.ts';
import { claimsOf } from './offer.ts';

export interface IncomingParts {
  readonly keeper: GuestKeeper;
  readonly driver: Driver;
  readonly tmem: HostTmem;
  readonly own: OwnStates;
  readonly journal: HostJournal;
}

/** A machine that was made to see what it would be. */
interface Looked extends Made {
  readonly seat: TmemSeat | null;
  /** How long it took to load devices: its own. */
  readonly deviceLoadMs: number;
}

/** A machine that comes. */
interface Coming {
  readonly offer: Offer;
  /** Gives its name and identity back. */
  readonly unname: () => void;
  made: Looked | null;
  /** What it has of state of one's own, when it is made. */
  own: OwnSeats | null;
  over: boolean;
}

/** Reasons for which no machine is made to see what devices it has. */
const NOT_MADE = new Set(['DRIVER', 'DRIVER_VERSION', 'MEMORY', 'PAGE_SIZE', 'IDENTITY', 'BUSY', 'POLICY']);

export class IncomingGuests {
  readonly #parts: IncomingParts;
  readonly #codecs: readonly string[];
  #held: Reservations = NOTHING_RESERVED;
  readonly #probed = new Map<string, Looked>();
  readonly #coming = new Map<string, Coming>();

  /** @param codecs that the host says it knows. */
  constructor(parts: IncomingParts, codecs: readonly string[]) {
    this.#parts = parts;
    this.#codecs = codecs;
  }

  /** What this host is and has now, without what it has promised. */
  capability(): HostCapability {
    const { keeper, driver, tmem, own, journal } = this.#parts;
    const host: HostCapability = {
      identity: journal.identity,
      ...keeper.taken(),
      drivers: driver.kinds,
      freeMemoryBytes: freemem(),
      codecs: this.#codecs,
      records: own.names,
      tmem: tmem.capability(this.#codecs),
      // Which files of this host a guest may write is not for its old host to say.
      sharedDisks: false,
      freeReservations: PROTOCOL_LIMITS.reservations,
    };
    return without(host, this.#held);
  }

  async probe(id: string, source: string, offer: Offer): Promise<Probed> {
    const host = this.capability();
    // As if all that must be looked at were there.
    const all: Probe = { fingerprint: offer.driver.fingerprint, disks: offer.disks.map(({ name }) => name) };
    const clear = !judge(offer, source, host, all).some(({ code }) => NOT_MADE.has(code));
    return {
      host,
      probe: clear ? await this.#look(id, offer, all) : all,
      measured: {
        deviceLoadMs: this.#probed.get(id)?.deviceLoadMs ?? null,
        fsyncMs: this.#parts.journal.fsyncMs,
      },
      secret: randomBytes(32).toString('hex'),
    };
  }

  /** Makes the machine, to see its devices and whether its disks are there. */
  async #look(id: string, offer: Offer, all: Probe): Promise<Probe> {
    try {
      const made = await this.#make(offer);
      await this.#unmake(this.#probed.get(id));
      this.#probed.set(id, made);
      return { ...all, fingerprint: toHex(made.machine.capabilities.fingerprint) };
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      if (error.code === 'DISK_MISMATCH' || error.code === 'READ_FAILED') return { ...all, disks: [] };
      return { ...all, fingerprint: null };
    }
  }

  /** Nothing will come of what was made to be looked at. */
  forget(id: string): void {
    const made = this.#probed.get(id);
    this.#probed.delete(id);
    void this.#unmake(made);
  }

  /** What is held back is so at once. @throws what makes the machine; WRITE_FAILED */
  reserve(id: string, need: Need, offer: Offer, uuids: readonly string[], gone: () => void): Promise<Hidden> {
    const { uuid: machine, name } = offer.machine;
    this.#held = reserve(this.#held, id, { ...need, machine, uuids });
    const coming: Coming = {
      offer,
      unname: this.#parts.keeper.reserve(name, machine),
      made: null,
      own: null,
      over: false,
    };
    this.#coming.set(id, coming);
    const probed = this.#probed.get(id);
    this.#probed.delete(id);
    return this.#prepare(id, coming, probed, gone);
  }

  async #prepare(id: string, coming: Coming, probed: Looked | undefined, gone: () => void): Promise<Hidden> {
    const made = probed ?? (await this.#make(coming.offer));
    coming.made = made;
    if (coming.over) {
      await this.#unmake(made);
      throw new TransmigrateError('CANCELLED', 'The migration is over');
    }
    const { machine, seat, mostDeviceBytes } = made;
    const own = this.#parts.own.seats(coming.offer.machine);
    coming.own = own;
    machine.on('crashed', gone);
    machine.on('closed', (_reason, expected) => {
      if (!expected) gone();
    });
    await this.#parts.journal.enterProcess(coming.offer.machine.uuid, machine);
    return { machine, mostDeviceBytes, tmem: seat?.loader() ?? null, own: own.loaders() };
  }

  /** The machine becomes a guest. */
  async run(id: string, epoch: number): Promise<void> {
    const coming = this.#coming.get(id);
    const made = coming?.made ?? null;
    const own = coming?.own ?? null;
    if (coming === undefined || made === null || own === null) throw nothing(id);
    const { machine, seat, configuration } = made;
    this.#release(id);
    seat?.moveIn();
    const { machine: known, paused } = coming.offer;
    const { uuid, name } = known;
    try {
      await this.#parts.keeper.arrive({ name, uuid, machine, seat, own, configuration, paused }, epoch);
    } catch (error) {
      // Its machine is closed by now; it owns nothing of the host's tmem any more.
      seat?.leave();
      throw error;
    }
  }

  /** What came of it, and what was held back, is given back. */
  async discard(id: string): Promise<void> {
    const coming = this.#coming.get(id);
    if (coming === undefined) return;
    coming.over = true;
    this.#release(id);
    coming.own?.leave();
    await this.#unmake(coming.made ?? undefined);
  }

  async close(): Promise<void> {
    const made = [...this.#probed.values(), ...[...this.#coming.values()].map((coming) => coming.made ?? undefined)];
    for (const coming of this.#coming.values()) {
      coming.over = true;
      coming.own?.leave();
    }
    this.#probed.clear();
    this.#coming.clear();
    await Promise.all(made.map((each) => this.#unmake(each)));
  }

  #release(id: string): void {
    this.#coming.get(id)?.unname();
    this.#coming.delete(id);
    this.#held = release(this.#held, id);
  }

  async #make(offer: Offer): Promise<Looked> {
    const { tmem, driver } = this.#parts;
    // Where tmem is off the machine is only looked at, and never runs.
    const seat = offer.tmem === null || tmem.info() === null ? null : tmem.seat();
    const service = offer.tmem === null ? null : (seat?.service ?? ((): number => -1));
    try {
      const made = await driver.forImage(claimsOf(offer), service);
      try {
        if (sharedDisks(made.machine).length > 0) {
          throw new TransmigrateError('DISK_MISMATCH', 'The machine would write to files of this host');
        }
        return { ...made, seat, deviceLoadMs: await deviceLoadMs(made.machine) };
      } catch (error) {
        await made.machine.close();
        throw error;
      }
    } catch (error) {
      seat?.leave();
      throw error;
    }
  }

  async #unmake(made: Looked | undefined): Promise<void> {
    if (made === undefined) return;
    await made.machine.close();
    made.seat?.leave();
  }
}

/**
 * How long a machine takes to load devices, tried with its own. The first time takes half as long again, and would be
 * in the pause: this way it has been by then.
 */
async function deviceLoadMs(machine: Machine): Promise<number> {
  const state = await machine.deviceState();
  const start = performance.now();
  await machine.loadDeviceState(state, Date.now());
  return performance.now() - start;
}

function nothing(id: string): TransmigrateError {
  return new TransmigrateError('MACHINE_STATE', `Nothing of migration ${id} is here`, { data: { id } });
}
