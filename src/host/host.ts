import { randomBytes, randomUUID } from 'node:crypto';
import type { JsonObject } from '../bytes/bounded-json.ts';
import { TransmigrateError } from '../errors.ts';
import { openFileSource } from '../io/file.ts';
import { FileSink } from '../io/file-sink.ts';
import type { ByteSource } from '../io/source.ts';
import type { TlsOptions } from '../io/tls.ts';
import type { Work } from '../io/work.ts';
import type { Machine } from '../machine/machine.ts';
import type { OwnGuest, OwnState } from '../migrate/section/own.ts';
import { restoreMachine, type Hidden } from '../migrate/restore/restore.ts';
import type { ImageClaims } from '../migrate/restore/image-claims.ts';
import {
  NAME,
  type CreateChoice,
  type GuestInfo,
  type HostInfo,
  type RestoreChoice,
  type RestoreResult,
  type SaveChoice,
  type SaveResult,
} from './api.ts';
import type { Driver } from './driver.ts';
import { Guest } from './guest.ts';
import { OwnStates, type OwnSeats } from './own-states.ts';
import type { HostTmem, TmemSeat } from './host-tmem.ts';
import type { HostTmemStatistics, TmemAuthoriseChoice, TmemSetChoice } from './tmem-api.ts';
import type { HostJournal } from './migration/host-journal.ts';
import type { GuestKeeper } from './migration/keeper.ts';
import { liveStates } from './migration/live-states.ts';
import { Migrations, type Speaks } from './migration/migrations.ts';
import { checkSharedDisks, saveGuest, sharedDisks, type ImageSink } from './saving.ts';

export interface HostParts {
  readonly version: string;
  readonly driver: Driver;
  readonly tmem: HostTmem;
  /** State of one's own that its guests have (M3). */
  readonly own?: readonly OwnState[] | undefined;
  /** Without it nothing moves live, to here or from here. */
  readonly journal?: HostJournal | undefined;
  /** What it shows to other hosts, and whom it believes (N4). */
  readonly tls?: TlsOptions | undefined;
  /** What it says of itself to other hosts, where that is not all that this build can. */
  readonly speaks?: Speaks | undefined;
}

/** What a guest is made of. */
interface Member {
  readonly name: string;
  readonly uuid: string;
  readonly machine: Guest['machine'];
  readonly seat: TmemSeat | null;
  readonly own: OwnSeats;
  readonly configuration: JsonObject;
  readonly paused: boolean;
  readonly epoch: number;
}

/** The first epoch of a guest that was not migrated. */
const FIRST_EPOCH = 1;

/** Everything that runs on this machine under Transmigrate. It knows nothing of how it is asked. */
export class Host {
  readonly #parts: HostParts;
  readonly #own: OwnStates;
  readonly #guests = new Map<string, Guest>();
  /** Names and uuids of guests that are being made. */
  readonly #reserved = new Set<string>();
  /** Guests that are being made. */
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #closed: string | null = null;

  readonly #migrations: Migrations | null;

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.#own = new OwnStates(parts.own ?? []);
    const own = this.#own;
    const { journal } = parts;
    this.#migrations =
      journal === undefined ? null : new Migrations({ ...parts, own, journal, keeper: this.#keeper() });
  }

  /** Live migration. @throws MACHINE_STATE on a host that keeps no journal */
  get migrations(): Migrations {
    if (this.#migrations !== null) return this.#migrations;
    throw new TransmigrateError('MACHINE_STATE', 'This host keeps no journal, so nothing moves live', {
      next: 'Start it with a directory for its journal: `transmigrate host run --state DIR`.',
    });
  }

  info(): HostInfo {
    const { version, tmem } = this.#parts;
    return { version, pid: process.pid, guests: this.#guests.size, tmem: tmem.info(), closed: this.#closed };
  }

  /** Machines of other hosts are refused from now on (POLICY), or not any more. @param why null: they may come */
  closeTo(why: string | null): HostInfo {
    this.#closed = why;
    return this.info();
  }

  list(): GuestInfo[] {
    return [...this.#guests.values()].map((guest) => guest.info());
  }

  /** @throws GUEST_UNKNOWN */
  guest(name: string): Guest {
    const guest = this.#guests.get(name);
    if (guest !== undefined) return guest;
    throw new TransmigrateError('GUEST_UNKNOWN', `No guest is called ${name}`, {
      data: { name, guests: [...this.#guests.keys()] },
    });
  }

  /** Boots a guest. @throws NAME_TAKEN, TMEM_DISABLED, what the driver throws: then there is nothing new here */
  create(choice: CreateChoice): Promise<GuestInfo> {
    return this.#making(async (reserved) => {
      const { paused } = choice;
      const name = this.#reserveName(choice.name, reserved);
      const seat = choice.tmem ? this.#parts.tmem.seat() : null;
      try {
        const { machine, configuration } = await this.#parts.driver.create(choice, seat?.service ?? null);
        const uuid = randomUUID();
        const own = await this.#seats({ uuid, name }, machine);
        const guest = { name, uuid, machine, seat, own, configuration, paused, epoch: FIRST_EPOCH };
        return (await this.#add(guest)).info();
      } catch (error) {
        seat?.leave();
        throw error;
      }
    });
  }

  async pause(name: string): Promise<GuestInfo> {
    const guest = this.guest(name);
    guest.mustLive();
    await guest.during('pausing', () => guest.machine.pause());
    return guest.info();
  }

  async unpause(name: string): Promise<GuestInfo> {
    const guest = this.guest(name);
    guest.mustLive();
    await guest.during('unpausing', () => guest.machine.resume());
    return guest.info();
  }

  /** Ends a guest, whatever is being done with it. */
  async destroy(name: string): Promise<GuestInfo> {
    const guest = this.guest(name);
    if (this.#migrations?.isGiven(guest) === true) {
      throw new TransmigrateError('GUEST_BUSY', `${name} was given away, and what became of it is not known yet`, {
        data: { name },
        next: '`transmigrate jobs` shows the migration; `transmigrate settle` decides when its destination is lost.',
      });
    }
    const info = guest.info();
    this.#guests.delete(name);
    await this.#end(guest);
    return info;
  }

  /**
   * Saves a guest into a file of this machine, or into `sink`.
   * @throws USAGE, GUEST_UNKNOWN, GUEST_BUSY, GUEST_CRASHED, SHARED_DISK, WRITE_FAILED ...: then the guest is as it
   * was, and there is no file
   */
  async save(name: string, choice: SaveChoice, work: Work, sink?: ImageSink): Promise<SaveResult> {
    const guest = this.guest(name);
    guest.mustLive();
    const { after, path = null } = choice;
    if (path === null && after === 'stop') {
      // Only its reader knows when the image is safe.
      throw new TransmigrateError('USAGE', 'A guest whose image is sent is not stopped: destroy it once it is safe');
    }
    const result = await guest.during('saving', async (interrupted) => {
      const signal = work.signal === undefined ? interrupted : AbortSignal.any([interrupted, work.signal]);
      const warnings = checkSharedDisks(guest, after);
      try {
        const saved = await saveGuest({
          guest,
          choice,
          sink: sink ?? (await FileSink.create(path!, randomBytes(6).toString('hex'))),
          tool: { name: 'transmigrate', version: this.#parts.version },
          pinTmem: () => this.#parts.tmem.pin(guest.tmemClient),
          live: () => liveStates(guest, this.#parts),
          work: { ...work, signal },
        });
        const { bytes, pages, tmemPages, pauseMs } = saved;
        const { uuid, state } = guest;
        return { name, uuid, state, path, bytes, pages, tmemPages, pauseMs, warnings };
      } catch (error) {
        // What fails then mostly fails because its guest went away.
        if (!interrupted.aborted) throw error;
        throw new TransmigrateError('CANCELLED', `${name} was destroyed while it was saved`, { cause: error });
      }
    });
    if (after !== 'stop') return result;
    // Somebody else may have been quicker.
    if (this.#guests.get(name) === guest) this.#guests.delete(name);
    await this.#end(guest);
    return { ...result, state: 'destroyed' };
  }

  /**
   * Makes a guest of an image, from a file of this machine or from `image`, which is closed.
   * @throws the errors of the image, NAME_TAKEN, IDENTITY_TAKEN, TMEM_DISABLED, SHARED_DISK ...: then there is nothing
   * new here
   */
  restore(choice: RestoreChoice, work: Work, image?: ByteSource): Promise<RestoreResult> {
    return this.#making(async (reserved, closing) => {
      const signal = work.signal === undefined ? closing : AbortSignal.any([closing, work.signal]);
      const source = image ?? (await openFileSource(choice.path!));
      // A pipe that says nothing would be waited for.
      const close = (): void => void (source.random === null ? source.close() : undefined);
      signal.addEventListener('abort', close, { once: true });
      if (signal.aborted) close();
      try {
        return await this.#restoreFrom(source, choice, { ...work, signal }, reserved);
      } catch (error) {
        if (!signal.aborted) throw error;
        throw new TransmigrateError('CANCELLED', 'The restore was cancelled', { cause: error });
      } finally {
        signal.removeEventListener('abort', close);
        await source.close();
      }
    });
  }

  async #restoreFrom(
    source: ByteSource,
    choice: RestoreChoice,
    work: Work,
    reserved: string[],
  ): Promise<RestoreResult> {
    let made:
      | { name: string; uuid: string; seat: TmemSeat | null; own: OwnSeats; configuration: JsonObject }
      | undefined;
    const { paused } = choice;
    const make = async (claims: ImageClaims): Promise<Hidden> => {
      const uuid = choice.sameIdentity ? this.#reserveIdentity(claims, reserved) : randomUUID();
      const name = this.#reserveName(choice.name ?? usableName(claims.name), reserved);
      const seat = claims.tmem ? this.#parts.tmem.seat() : null;
      try {
        const { machine, mostDeviceBytes, configuration } = await this.#parts.driver.forImage(
          claims,
          seat?.service ?? null,
        );
        try {
          mayUseDisks(machine, choice);
        } catch (error) {
          await machine.close();
          throw error;
        }
        const own = await this.#seats({ uuid, name }, machine);
        made = { name, uuid, seat, own, configuration };
        return { machine, mostDeviceBytes, tmem: seat?.loader() ?? null, own: own.loaders() };
      } catch (error) {
        seat?.leave();
        throw error;
      }
    };
    const discard = async ({ machine }: Hidden): Promise<void> => {
      await machine.close();
      made?.seat?.leave();
      made?.own.leave();
    };
    const knows = this.#own.names;
    const wallClockMs = (): number => Date.now();
    const { machine, pages } = await restoreMachine(source, { make, discard, knows, wallClockMs, ...work });
    const { seat, own } = made!;
    let tmemPages = 0;
    let guest: Guest;
    try {
      if (work.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'The restore was cancelled');
      tmemPages = seat?.moveIn() ?? 0;
      guest = await this.#add({ ...made!, machine, paused, epoch: FIRST_EPOCH });
    } catch (error) {
      await machine.close();
      seat?.leave();
      own.leave();
      throw error;
    }
    const disks = sharedDisks(machine).map((disk) => `it writes to ${disk.location}, which the image names`);
    const warnings = [...(seat?.warnings() ?? []), ...disks];
    return { guest: guest.info(), pages, tmemPages, tmemRequests: seat?.decisions() ?? [], warnings };
  }

  /** @throws TMEM_DISABLED */
  tmem(): HostTmemStatistics {
    const statistics = this.#parts.tmem.statistics();
    if (statistics === undefined) throw new TransmigrateError('TMEM_DISABLED', 'This host has no tmem');
    const names = new Map([...this.#guests.values()].map(({ tmemClient, name }) => [tmemClient, name]));
    const clients = statistics.clients.map((client) => ({ ...client, guest: names.get(client.client) ?? null }));
    return { ...statistics, clients };
  }

  /** @returns the names of the guests that it was done for. @throws GUEST_UNKNOWN, TMEM_DISABLED */
  setTmem({ guest: name, ...settings }: TmemSetChoice): string[] {
    const guests = (name === undefined ? [...this.#guests.values()] : [this.guest(name)]).filter(hasTmem);
    const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    this.#parts.tmem.set(
      guests.map(({ tmemClient }) => tmemClient),
      given,
    );
    return guests.map((guest) => guest.name);
  }

  /** @throws GUEST_UNKNOWN, TMEM_DISABLED */
  authoriseTmem({ guest: name, uuid, authorised }: TmemAuthoriseChoice): boolean {
    const guest = this.guest(name);
    if (!hasTmem(guest)) throw new TransmigrateError('TMEM_DISABLED', `${name} has no tmem`);
    return this.#parts.tmem.authorise(guest.tmemClient, uuid, authorised);
  }

  /** @returns bytes that were freed. @throws TMEM_DISABLED */
  flushTmem(bytes: number): number {
    return this.#parts.tmem.flush(bytes);
  }

  /** Ends all guests, and whatever is being done. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#migrations?.close();
    const guests = [...this.#guests.values()];
    this.#guests.clear();
    await Promise.all(guests.map((guest) => this.#end(guest)));
    await Promise.allSettled(this.#underWay);
  }

  #keeper(): GuestKeeper {
    return {
      guest: (name) => this.guest(name),
      byIdentity: (uuid) => [...this.#guests.values()].find((guest) => guest.uuid === uuid),
      taken: () => {
        const guests = [...this.#guests.values()];
        const held = (what: string): string[] =>
          [...this.#reserved].filter((each) => each.startsWith(what)).map((each) => each.slice(what.length));
        return {
          names: [...guests.map(({ name }) => name), ...held('name ')],
          machines: [...guests.map(({ uuid }) => uuid), ...held('uuid ')],
          closed: this.#closed,
        };
      },
      reserve: (name, uuid) => {
        const reserved: string[] = [];
        this.#reserve(`name ${name}`, reserved);
        this.#reserve(`uuid ${uuid}`, reserved);
        return () => {
          for (const one of reserved) this.#reserved.delete(one);
        };
      },
      arrive: (arrived, epoch) => this.#add({ ...arrived, epoch }),
      depart: async (guest) => {
        if (this.#guests.get(guest.name) === guest) this.#guests.delete(guest.name);
        await guest.machine.close();
        guest.console.end();
        this.#parts.tmem.leave(guest.tmemClient);
        guest.own.leave();
      },
    };
  }

  /**
   * Makes a guest. What `work` reserves is free again at its end; when the host closes, it is waited for.
   * @param work gets the list of what it reserves, and a signal of the host's end.
   */
  async #making<T>(work: (reserved: string[], closing: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#closing;
    checkOpen(signal);
    const reserved: string[] = [];
    const done = work(reserved, signal);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
      for (const one of reserved) this.#reserved.delete(one);
    }
  }

  /** The last step of making a guest: others see it, and it runs. When that fails, its machine is closed. */
  async #add({ seat, paused, ...parts }: Member): Promise<Guest> {
    const { machine, name, uuid, epoch } = parts;
    const guest = new Guest({
      ...parts,
      tmemClient: seat?.client ?? null,
      tmemCounts: () => (seat === null ? null : seat.counts()),
      since: new Date(),
    });
    try {
      // One that came live is in the journal already.
      if (epoch === FIRST_EPOCH) await this.#parts.journal?.enterProcess(uuid, machine);
      await machine.grant(epoch);
      checkOpen(this.#closing.signal);
      this.#guests.set(name, guest);
      guest.own.moveIn();
      if (!paused) await machine.resume();
      return guest;
    } catch (error) {
      if (this.#guests.get(name) === guest) this.#guests.delete(name);
      await machine.close();
      guest.own.leave();
      throw error;
    }
  }

  /** What a guest has of state of one's own. When one refuses it, its machine is closed. */
  async #seats(guest: OwnGuest, machine: Machine): Promise<OwnSeats> {
    try {
      return this.#own.seats(guest);
    } catch (error) {
      await machine.close();
      throw error;
    }
  }

  async #end(guest: Guest): Promise<void> {
    guest.interrupt();
    await guest.machine.close();
    guest.console.end();
    // What was being done with it takes its traces away.
    await guest.idle();
    this.#parts.tmem.leave(guest.tmemClient);
    guest.own.leave();
  }

  /** Keeps a name for a guest that is being made. @throws NAME_TAKEN */
  #reserveName(wanted: string | undefined, reserved: string[]): string {
    const isTaken = (name: string): boolean => this.#guests.has(name) || this.#reserved.has(`name ${name}`);
    let number = 1;
    while (isTaken(`guest-${number}`)) number++;
    const name = wanted ?? `guest-${number}`;
    if (isTaken(name)) {
      throw new TransmigrateError('NAME_TAKEN', `A guest is called ${name} already`, { data: { name } });
    }
    this.#reserve(`name ${name}`, reserved);
    return name;
  }

  /** Keeps the identity in an image for a guest that is being made. @throws IDENTITY_TAKEN */
  #reserveIdentity({ uuid }: ImageClaims, reserved: string[]): string {
    if (uuid === null) throw new TransmigrateError('IDENTITY_TAKEN', 'The image does not say who it is');
    const taken = (what: string, name?: string) =>
      new TransmigrateError('IDENTITY_TAKEN', what, { data: { uuid, ...(name !== undefined && { name }) } });
    for (const guest of this.#guests.values()) {
      if (guest.uuid === uuid) throw taken(`${guest.name} is that machine, and it is here already`, guest.name);
    }
    if (this.#reserved.has(`uuid ${uuid}`)) throw taken('That machine is being restored here already');
    this.#reserve(`uuid ${uuid}`, reserved);
    return uuid;
  }

  #reserve(what: string, reserved: string[]): void {
    this.#reserved.add(what);
    reserved.push(what);
  }
}

function checkOpen(closing: AbortSignal): void {
  if (closing.aborted) throw new TransmigrateError('CANCELLED', 'The host is closing');
}

function hasTmem(guest: Guest): guest is Guest & { readonly tmemClient: number } {
  return guest.tmemClient !== null;
}

/**
 * An image may come from anybody: which files of this host its guest may write is not for the image to say.
 * @throws SHARED_DISK
 */
function mayUseDisks(machine: Machine, choice: RestoreChoice): void {
  const shared = sharedDisks(machine);
  if (choice.sharedDisks || shared.length === 0) return;
  const files = shared.map((disk) => disk.location);
  throw new TransmigrateError('SHARED_DISK', `The guest would write to ${files.join(', ')}, as its image says`, {
    data: { disks: files },
    next: 'If it may, and no other machine does, restore it with --shared-disks.',
  });
}

/** The name in an image, if it can be one here. */
function usableName(name: string | null): string | undefined {
  return name !== null && NAME.test(name) ? name : undefined;
}
