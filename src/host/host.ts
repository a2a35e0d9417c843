import { randomBytes, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ByteSink } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';
import { openFileSource } from '../io/file.ts';
import { FileSink } from '../io/file-sink.ts';
import type { ByteSource } from '../io/source.ts';
import type { Work } from '../io/work.ts';
import { restoreMachine, type Hidden } from '../migrate/restore/restore.ts';
import type { ImageClaims } from '../migrate/restore/image-claims.ts';
import { saveMachine } from '../migrate/save/save.ts';
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
import type { HostTmem, TmemSeat } from './host-tmem.ts';

export interface HostParts {
  readonly version: string;
  readonly driver: Driver;
  readonly tmem: HostTmem;
}

/** The first epoch of a guest that was not migrated. */
const FIRST_EPOCH = 1;

/** Everything that runs on this machine under Transmigrate. It knows nothing of how it is asked. */
export class Host {
  readonly #parts: HostParts;
  readonly #guests = new Map<string, Guest>();
  /** Names of guests that are being made. */
  readonly #reserved = new Set<string>();
  #closing = false;

  constructor(parts: HostParts) {
    this.#parts = parts;
  }

  info(): HostInfo {
    const { version, tmem } = this.#parts;
    return { version, pid: process.pid, guests: this.#guests.size, tmem: tmem.info() };
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

  /** Boots a guest. @throws NAME_TAKEN, TMEM_DISABLED, what the driver throws */
  async create(choice: CreateChoice): Promise<GuestInfo> {
    const { driver } = this.#parts;
    const name = this.#reserve(choice.name);
    let seat: TmemSeat | null = null;
    try {
      seat = choice.tmem ? this.#parts.tmem.seat() : null;
      const made = await driver.create(choice, seat?.service ?? null);
      const { machine, configuration } = made;
      const guest = this.#add({ name, uuid: randomUUID(), machine, seat, configuration });
      await machine.grant(FIRST_EPOCH);
      if (!choice.paused) await machine.resume();
      return guest.info();
    } catch (error) {
      seat?.leave();
      throw error;
    } finally {
      this.#reserved.delete(name);
    }
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
    guest.interrupt();
    const info = guest.info();
    this.#guests.delete(name);
    await this.#end(guest);
    return info;
  }

  /**
   * Saves a guest into a file of this machine, or into `sink`.
   * @throws GUEST_UNKNOWN, GUEST_BUSY, SHARED_DISK, WRITE_FAILED ...: then the guest is as it was, and there is no file
   */
  async save(name: string, choice: SaveChoice, work: Work, sink?: ByteSink): Promise<SaveResult> {
    const guest = this.guest(name);
    guest.mustLive();
    return guest.during('saving', async (interrupted) => {
      const signals = [interrupted, ...(work.signal === undefined ? [] : [work.signal])];
      const signal = AbortSignal.any(signals);
      const file = sink === undefined ? await FileSink.create(choice.path!, randomBytes(6).toString('hex')) : undefined;
      const running = guest.state === 'running';
      try {
        const warnings = checkSharedDisks(guest, running, choice.after);
        const saved = await saveMachine(
          {
            machine: guest.machine,
            running,
            leavePaused: choice.after !== 'run',
            about: this.#about(guest),
            streamId: randomBytes(16),
            codec: choice.codec,
            threads: Math.max(1, availableParallelism() - 1),
            pinTmem: () => this.#parts.tmem.pin(guest.tmemClient),
            guestTimeNs: () => BigInt(Date.now()) * 1_000_000n,
            onProgress: work.onProgress,
            signal,
          },
          file ?? sink!,
        );
        await file?.commit();
        const { bytes, pages, tmemPages, pauseMs } = saved;
        if (choice.after === 'stop') {
          this.#guests.delete(name);
          await this.#end(guest);
        }
        const state = choice.after === 'stop' ? 'destroyed' : guest.state;
        const { uuid } = guest;
        return { name, uuid, state, path: choice.path ?? null, bytes, pages, tmemPages, pauseMs, warnings };
      } catch (error) {
        await file?.abort();
        // There is no image, so nothing has changed for the guest.
        if (running && guest.machine.status === 'paused') await guest.machine.resume();
        throw error;
      }
    });
  }

  /**
   * Makes a guest of an image, from a file of this machine or from `image`.
   * @throws the errors of the image, NAME_TAKEN, IDENTITY_TAKEN, TMEM_DISABLED ...: then there is nothing new here
   */
  async restore(choice: RestoreChoice, work: Work, image?: ByteSource): Promise<RestoreResult> {
    const source = image ?? (await openFileSource(choice.path!));
    let name: string | undefined;
    let seat: TmemSeat | null = null;
    let configuration: JsonObject = {};
    try {
      const make = async (claims: ImageClaims): Promise<Hidden> => {
        if (choice.sameIdentity) this.#mustBeNowhere(claims);
        name = this.#reserve(choice.name ?? usableName(claims.name));
        seat = claims.tmem ? this.#parts.tmem.seat() : null;
        const made = await this.#parts.driver.forImage(claims, seat?.service ?? null);
        configuration = made.configuration;
        const { machine, mostDeviceBytes } = made;
        return { machine, mostDeviceBytes, tmem: seat?.loader() ?? null };
      };
      const discard = async ({ machine }: Hidden): Promise<void> => machine.close();
      const request = { make, discard, wallClockMs: () => Date.now(), ...work };
      const { machine, claims, pages } = await restoreMachine(source, request);
      const uuid = choice.sameIdentity ? claims.uuid! : randomUUID();
      const tmemPages = (seat as TmemSeat | null)?.moveIn() ?? 0;
      const guest = this.#add({ name: name!, uuid, machine, seat, configuration });
      await machine.grant(FIRST_EPOCH);
      if (!choice.paused) await machine.resume();
      return { guest: guest.info(), pages, tmemPages, warnings: [] };
    } catch (error) {
      (seat as TmemSeat | null)?.leave();
      throw error;
    } finally {
      if (name !== undefined) this.#reserved.delete(name);
      await source.close();
    }
  }

  /** Ends all guests. */
  async close(): Promise<void> {
    this.#closing = true;
    const guests = [...this.#guests.values()];
    this.#guests.clear();
    for (const guest of guests) guest.interrupt();
    await Promise.all(guests.map((guest) => this.#end(guest)));
  }

  #add(parts: {
    name: string;
    uuid: string;
    machine: Guest['machine'];
    seat: TmemSeat | null;
    configuration: JsonObject;
  }): Guest {
    const { seat, ...rest } = parts;
    const guest = new Guest({
      ...rest,
      tmemClient: seat?.client ?? null,
      tmemCounts: () => (seat === null ? null : seat.counts()),
      since: new Date(),
    });
    this.#guests.set(parts.name, guest);
    return guest;
  }

  async #end(guest: Guest): Promise<void> {
    await guest.machine.close();
    guest.console.end();
    this.#parts.tmem.leave(guest.tmemClient);
  }

  /** Keeps a name for a guest that is being made. @throws NAME_TAKEN */
  #reserve(wanted: string | undefined): string {
    if (this.#closing) throw new TransmigrateError('CANCELLED', 'The host is closing');
    const isTaken = (name: string): boolean => this.#guests.has(name) || this.#reserved.has(name);
    let number = 1;
    while (isTaken(`guest-${number}`)) number++;
    const name = wanted ?? `guest-${number}`;
    if (isTaken(name)) {
      throw new TransmigrateError('NAME_TAKEN', `A guest is called ${name} already`, { data: { name } });
    }
    this.#reserved.add(name);
    return name;
  }

  #mustBeNowhere(claims: ImageClaims): void {
    if (claims.uuid === null) throw new TransmigrateError('IDENTITY_TAKEN', 'The image does not say who it is');
    for (const guest of this.#guests.values()) {
      if (guest.uuid !== claims.uuid) continue;
      const what = `${guest.name} is that machine, and it is here already`;
      throw new TransmigrateError('IDENTITY_TAKEN', what, { data: { uuid: claims.uuid, name: guest.name } });
    }
  }

  #about(guest: Guest): JsonObject {
    const { version } = this.#parts;
    const { driver, version: driverVersion } = guest.machine.capabilities;
    const counts = guest.info().tmem;
    return {
      name: guest.name,
      uuid: guest.uuid,
      source: { hypervisor: driver, versions: { [driver]: driverVersion, node: process.versions.node } },
      configuration: guest.configuration,
      ...(counts !== null && { tmem: { ...counts } }),
      time: new Date().toISOString(),
      tool: { name: 'transmigrate', version },
    };
  }
}

/** The name in an image, if it can be one here. */
function usableName(name: string | null): string | undefined {
  return name !== null && NAME.test(name) ? name : undefined;
}

/**
 * A disk that others may write to is not part of the image: the guest may not run on over it (M6).
 * @returns warnings
 * @throws SHARED_DISK
 */
function checkSharedDisks(guest: Guest, running: boolean, after: SaveChoice['after']): string[] {
  const shared = guest.machine.disks.filter((disk) => disk.policy === 4 && !disk.readOnly);
  if (shared.length === 0) return [];
  const names = shared.map((disk) => disk.name).join(', ');
  if (running && after === 'run') {
    const what = `${guest.name} would run on and write to ${names}, which the image does not hold`;
    throw new TransmigrateError('SHARED_DISK', what, { data: { disks: shared.map((disk) => disk.location) } });
  }
  return [`the image does not hold ${names}: keep ${shared.map((disk) => disk.location).join(', ')} as it is now`];
}
