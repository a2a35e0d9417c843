/** All live migrations of a host, both ways: what begins them, what is asked about them, and what is left of them. */
import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { toHex } from '../../bytes/hex.ts';
import { ERRORS, TransmigrateError, type ErrorCode } from '../../errors.ts';
import type { Connection } from '../../io/connection.ts';
import { listenTls, type TlsOptions } from '../../io/tls.ts';
import { listenTcp, type Address, type Listener } from '../../io/tcp.ts';
import type { Ownership } from '../../migrate/handover/ownership.ts';
import type { PeerHow } from '../../migrate/journal/records.ts';
import type { Hello } from '../../migrate/negotiate/hello.ts';
import { DEFAULT_LIMITS, type Limits } from '../../migrate/precopy/convergence.ts';
import { PROTOCOL, PROTOCOL_LIMITS } from '../../migrate/protocol/limits.ts';
import type { MessageOf, Offer } from '../../migrate/protocol/messages.ts';
import { askCheck, askOwner } from '../../migrate/runner/ask.ts';
import { DestinationRunner, type DestinationHost } from '../../migrate/runner/destination-runner.ts';
import { receive, type ReceptionParts } from '../../migrate/runner/reception.ts';
import { SourceRunner, type SourceGuest } from '../../migrate/runner/source-runner.ts';
import type { CheckSession } from '../../migrate/session/check.ts';
import type { Failure } from '../../migrate/session/effects.ts';
import { answerOwner, ownerOf } from '../../migrate/session/owner.ts';
import { beginSession, recoverSession, type SourceRequest } from '../../migrate/session/source-state.ts';
import { superseded } from '../../migrate/session/superseded.ts';
import type { Guest } from '../guest.ts';
import type { HostTmem } from '../host-tmem.ts';
import { deviceBytesOf, type Driver } from '../driver.ts';
import type { OwnStates } from '../own-states.ts';
import type { HostJournal } from './host-journal.ts';
import { IncomingGuests } from './incoming.ts';
import {
  destinationInfo,
  sourceInfo,
  type JobInfo,
  type JobStory,
  type LimitsChoice,
  type MigrateChoice,
  type MigrateResult,
  type OwnerAnswer,
  type TargetChoice,
} from './jobs.ts';
import type { GuestKeeper } from './keeper.ts';
import { liveStates } from './live-states.ts';
import { CONNECT_MS, connectOther, howOf, ofHow, otherHost, otherName, type OtherHost } from './other-host.ts';
import { CODEC_NAMES, offerOf, release } from './offer.ts';
import { recordFiles } from './record-files.ts';

export interface MigrationParts {
  readonly version: string;
  readonly keeper: GuestKeeper;
  readonly driver: Driver;
  readonly tmem: HostTmem;
  readonly own: OwnStates;
  readonly journal: HostJournal;
  /** How hosts are known to each other; without it they are of this machine alone (N4). */
  readonly tls?: TlsOptions | undefined;
  readonly speaks?: Speaks | undefined;
}

/** What a host says of itself, where that is not all that this build can: so speaks an older one, or a newer (N3). */
export interface Speaks {
  readonly protocol?: { readonly least: number; readonly most: number };
  /** Names of codecs of memory, devices and tmem that it reads. */
  readonly codecs?: readonly string[];
}

/** Bytes between two seals: as much has to be sent again after a cut. */
const SEAL_BYTES = 8 * 1024 * 1024;

/** How long a destination may take to answer when somebody cancels what was given to it. */
const LEAVE_MS = 2000;

/** Migrations that have ended and are still shown. */
const MOST_ENDED = 100;

interface SourceJob {
  readonly runner: SourceRunner;
  readonly to: OtherHost | null;
}

export class Migrations {
  readonly #parts: MigrationParts;
  readonly #hello: DestinationHost['hello'];
  readonly #incoming: IncomingGuests;
  readonly #sources = new Map<string, SourceJob>();
  readonly #destinations = new Map<string, DestinationRunner>();
  readonly #listeners: Listener[] = [];
  /** Connections, and when all that came over one was dealt with. */
  readonly #open = new Map<Connection, Promise<void>>();
  readonly #host: DestinationHost;
  #closed = false;

  constructor(parts: MigrationParts) {
    this.#parts = parts;
    const { version, journal, own, speaks = {} } = parts;
    const { protocol = PROTOCOL, codecs = CODEC_NAMES } = speaks;
    this.#incoming = new IncomingGuests(parts, codecs);
    this.#hello = {
      protocol: { ...protocol },
      host: {
        identity: journal.identity,
        name: hostname().slice(0, PROTOCOL_LIMITS.nameCharacters) || 'host',
        version,
      },
      features: [],
      codecs: [...codecs],
      records: own.names,
      limits: { channels: 1, sealBytes: SEAL_BYTES, unacknowledgedSeals: PROTOCOL_LIMITS.unacknowledgedSeals },
      resumable: true,
    };
    this.#host = this.#hostOf();
  }

  /** What the journal knows from before: those that were given are asked about (H6). */
  recover(): void {
    const { sources, destinations, peers } = this.#parts.journal.recovered;
    for (const [id, state] of sources) {
      const how = peers.get(id)?.how ?? { transport: 'waits' };
      const request: SourceRequest = {
        ...this.#request(id, unknownOffer(state.machine, state.epoch)),
        ownEpoch: state.epoch,
      };
      const to = ofHow(how);
      const begun = recoverSession(request, state, performance.now());
      this.#sources.set(id, { runner: new SourceRunner(begun, this.#sourceParts(null, how, to, 'raw', {})), to });
    }
    for (const [id, state] of destinations) {
      const { machine, peer, epoch } = state;
      const kind = state.phase === 'running' ? 'RUNNING' : state.phase === 'abandoned' ? 'ABANDONED' : 'YIELDED';
      const record = { kind, side: 'destination', id, machine, epoch, peer, by: 'protocol' } as const;
      this.#destinations.set(id, new DestinationRunner(id, this.#host, { record, state }));
    }
  }

  /**
   * Takes machines there.
   * @param record where what comes is kept (protocol 10.1).
   * @throws NOT_LOOPBACK without TLS, LISTEN_FAILED, USAGE for keys that are none; WRITE_FAILED
   */
  async listen(address: Address, record?: string): Promise<Address> {
    const { tls } = this.#parts;
    const files = record === undefined ? undefined : await recordFiles(record);
    const take = (connection: Connection): Promise<void> => this.take(connection, files);
    const listener =
      tls === undefined
        ? await listenTcp(address, take)
        : await listenTls(address, tls, take, { handshakeMs: CONNECT_MS });
    this.#listeners.push(listener);
    return listener.address;
  }

  /** A connection of a source. Resolves at its end. @param record makes the files for what comes over it */
  async take(connection: Connection, record?: ReceptionParts['record']): Promise<void> {
    const received = receive(connection, {
      hello: this.#hello,
      about: this.#about({}),
      runnerOf: (id, purpose) => this.#runnerOf(id, purpose),
      ownerOf: (id) => this.#ownership(id),
      record,
    });
    this.#open.set(connection, received);
    try {
      await received;
    } finally {
      this.#open.delete(connection);
    }
  }

  /**
   * Moves a guest while it runs; one that is paused arrives paused.
   * @throws GUEST_UNKNOWN, GUEST_BUSY, GUEST_CRASHED, MIGRATION_REFUSED with
   * the reasons, MIGRATION_LOST, NOT_CONVERGING, CANCELLED ...: then the guest runs on here as before.
   * OWNERSHIP_UNKNOWN when it was given away, and the other side says nothing before `signal`.
   */
  async migrate(
    name: string,
    choice: MigrateChoice,
    signal?: AbortSignal,
    onProgress?: (job: JobInfo) => void,
  ): Promise<MigrateResult> {
    const guest = this.#parts.keeper.guest(name);
    guest.mustLive();
    const left = Promise.withResolvers<never>();
    left.promise.catch(() => undefined);
    const moved = guest.during('migrating', async (interrupted) => {
      const startMs = performance.now();
      const { runner, to } = this.#begin(guest, choice, onProgress);
      const cancel = (): void => {
        runner.cancel();
        // What was given away can't be cancelled: who asks for that is told so, and it goes on being asked about.
        if (runner.session.phase !== 'asking') return;
        const unknown: Failure = {
          code: 'OWNERSHIP_UNKNOWN',
          message: `${name} was given away, and nothing was heard since`,
        };
        setTimeout(() => left.reject(errorOf(unknown, runner.session.request.id)), LEAVE_MS).unref();
      };
      const signals = signal === undefined ? [interrupted] : [interrupted, signal];
      for (const each of signals) {
        if (each.aborted) cancel();
        else each.addEventListener('abort', cancel, { once: true });
      }
      const { failure } = await runner.ended;
      if (failure !== null) throw errorOf(failure, runner.session.request.id);
      return resultOf(guest, runner, otherName(to), performance.now() - startMs);
    });
    return Promise.race([moved, left.promise]);
  }

  /** Would it be taken there? Nothing is moved, and nothing held back. @throws GUEST_UNKNOWN, HOST_UNREACHABLE */
  async check(name: string, target: TargetChoice): Promise<Pick<CheckSession, 'accepted' | 'reasons'>> {
    const guest = this.#parts.keeper.guest(name);
    const offer = this.#offer(guest, target.codec);
    const connection = await this.#connect(otherHost(target));
    const result = await askCheck(connection, { id: newId(), hello: this.#hello, offer }, this.#about({}));
    if (result.failure !== null) throw errorOf(result.failure, null);
    return result;
  }

  jobs(): JobInfo[] {
    return [...[...this.#sources.values()].map(infoOf), ...[...this.#destinations.values()].map(destinationInfo)];
  }

  /** @throws MIGRATION_UNKNOWN */
  job(id: string): JobStory {
    const source = this.#sources.get(id);
    const destination = this.#destinations.get(id);
    const runner = source?.runner ?? destination;
    if (runner === undefined) throw this.#unknown(id);
    const info = source === undefined ? destinationInfo(destination!) : infoOf(source);
    return { ...info, events: runner.log.entries, eventsDropped: runner.log.dropped };
  }

  /** @throws MIGRATION_UNKNOWN */
  cancel(id: string): JobInfo {
    this.#any(id).cancel();
    return this.job(id);
  }

  /** @throws MIGRATION_UNKNOWN; USAGE on a destination, where there is nothing to set */
  set(id: string, limits: LimitsChoice): JobInfo {
    const job = this.#sources.get(id);
    if (job === undefined) {
      if (!this.#destinations.has(id)) throw this.#unknown(id);
      throw new TransmigrateError('USAGE', 'Limits are set where the machine comes from');
    }
    job.runner.set(definite(limits));
    return this.job(id);
  }

  /** Who owns the machine, with what the other side says when it can be asked (H5). @throws MIGRATION_UNKNOWN */
  async owner(id: string): Promise<OwnerAnswer> {
    this.#any(id);
    const mine = this.#ownership(id);
    const to = this.#sources.get(id)?.to ?? null;
    if (to === null) return ownerAnswer(mine, mine, false);
    const machine = this.#sources.get(id)?.runner.session.request.offer.machine.uuid ?? null;
    const theirs = await this.#connect(to)
      .then((connection) => askOwner(connection, id, machine, this.#hello, this.#about({})))
      .catch(() => null);
    return ownerAnswer(mine, ownerOf(mine, theirs), theirs !== null);
  }

  /** @throws MIGRATION_UNKNOWN; MACHINE_STATE when there is nothing to decide */
  settle(id: string, choice: 'take' | 'abandon'): JobInfo {
    this.#any(id).settle(choice);
    return this.job(id);
  }

  /** Whether a guest was given away, so that nothing of it may be deleted (H5). */
  isGiven(guest: Guest): boolean {
    return [...this.#sources.values()].some(
      ({ runner: { session } }) => session.request.offer.machine.uuid === guest.uuid && session.phase === 'asking',
    );
  }

  /** The host ends. What was not settled is in the journal. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    await Promise.all([...this.#sources.values()].map(({ runner }) => runner.close()));
    await Promise.all([...this.#destinations.values()].map((runner) => runner.close()));
    const open = [...this.#open];
    for (const [connection] of open) connection.reset();
    await this.#incoming.close();
    // What was recorded is safe before the host ends.
    await Promise.all(open.map(([, received]) => received));
  }

  #begin(guest: Guest, choice: MigrateChoice, onProgress?: (job: JobInfo) => void): SourceJob & { to: OtherHost } {
    const { codec, limits } = choice;
    const id = newId();
    const to = otherHost(choice);
    const offer = this.#offer(guest, codec);
    const limited = { ...DEFAULT_LIMITS, ...definite(limits) };
    const request = this.#request(id, offer, limited, guest.epoch, !('command' in to));
    const how = howOf(to, this.#parts.tls !== undefined);
    // Which codecs the destination knows, its HELLO says.
    const known = (): readonly string[] => runner.session.common?.codecs ?? [];
    const parts = this.#sourceParts(this.#sourceGuest(guest, known), how, to, codec, this.#guestAbout(guest));
    const onChange = (runner: SourceRunner): void => onProgress?.(infoOf({ runner, to }));
    const runner = new SourceRunner(beginSession(request, performance.now()), { ...parts, onChange });
    this.#sources.set(id, { runner, to });
    this.#forgetOld();
    return { runner, to };
  }

  #offer(guest: Guest, codec: string): Offer {
    const { tmem, driver, journal } = this.#parts;
    const { uuid, epoch, machine, tmemClient } = guest;
    const next = Math.max(journal.epochOf(uuid), epoch) + 1;
    return offerOf(guest, next, codec, tmem.client(tmemClient), deviceBytesOf(driver, machine));
  }

  #request(id: string, offer: Offer, limits: Limits = DEFAULT_LIMITS, ownEpoch = 1, resumable = true): SourceRequest {
    return { id, hello: { ...this.#hello, resumable }, offer, ownEpoch, limits };
  }

  #sourceParts(
    guest: SourceGuest | null,
    how: PeerHow,
    to: OtherHost | null,
    codec: 'raw' | 'zstd',
    about: JsonObject,
  ): ConstructorParameters<typeof SourceRunner>[1] {
    return {
      guest,
      how,
      connect: () => {
        if (to !== null) return this.#connect(to);
        return Promise.reject(new TransmigrateError('CONNECT_FAILED', 'Its destination can only come by itself'));
      },
      about: this.#about(about),
      streamId: () => new Uint8Array(randomBytes(16)),
      append: this.#parts.journal.append,
      codec,
      threads: Math.max(1, availableParallelism() - 1),
      nowMs: () => performance.now(),
      guestTimeNs: () => BigInt(Date.now()) * 1_000_000n,
    };
  }

  #sourceGuest(guest: Guest, codecs: () => readonly string[]): SourceGuest {
    const { keeper } = this.#parts;
    return {
      machine: guest.machine,
      states: liveStates(guest, this.#parts, codecs),
      free: () => keeper.depart(guest),
      stop: () => keeper.depart(guest),
      granted: (epoch) => (guest.epoch = epoch),
    };
  }

  #connect(other: OtherHost): Promise<Connection> {
    return connectOther(other, this.#parts.tls);
  }

  #about(more: JsonObject): JsonObject {
    const { version } = this.#parts;
    return { tool: { name: 'transmigrate', version }, time: new Date().toISOString(), ...more };
  }

  #guestAbout({ name, uuid, machine, configuration }: Guest): JsonObject {
    const { driver, version, fingerprint, pages, pageBytes, vcpus } = machine.capabilities;
    return {
      name,
      uuid,
      source: { hypervisor: driver, versions: { [driver]: version, node: process.versions.node } },
      driver: { name: driver, version: release(version), fingerprint: toHex(fingerprint) },
      memory: { bytes: pages * pageBytes, pages },
      vcpus,
      configuration,
    };
  }

  #hostOf(): DestinationHost {
    const incoming = this.#incoming;
    return {
      hello: this.#hello,
      nowMs: () => performance.now(),
      wallClockMs: () => Date.now(),
      append: this.#parts.journal.append,
      probe: (...args) => incoming.probe(...args),
      supersede: (id, offer, peer) => this.#supersede(id, offer, peer),
      reserve: (...args) => incoming.reserve(...args),
      forget: (id) => incoming.forget(id),
      run: (id, epoch) => incoming.run(id, epoch),
      stop: async (id) => {
        const machine = this.#destinations.get(id)?.session.handover?.machine;
        await incoming.discard(id);
        const guest = machine === undefined ? undefined : this.#parts.keeper.byIdentity(machine);
        if (guest !== undefined) await this.#parts.keeper.depart(guest);
      },
      discard: (id) => incoming.discard(id),
      changed: () => undefined,
      over: (runner) => {
        // Of what nothing was ever held, nobody asks.
        if (runner.session.handover === null) this.#destinations.delete(runner.id);
        this.#forgetOld();
      },
    };
  }

  #supersede(id: string, offer: Offer, peer: string): void {
    const held = [...this.#destinations.values()].flatMap(({ session }) =>
      session.handover === null || session.id === id ? [] : [session.handover],
    );
    for (const { id: earlier, epoch } of superseded(held, offer, peer)) {
      const message = { kind: 'KEPT', id: earlier, epoch } as const;
      this.#destinations.get(earlier)?.tell({ kind: 'message', message, body: new Uint8Array(0) });
    }
  }

  #runnerOf(id: string, purpose: Hello['purpose'] | null): DestinationRunner {
    const known = this.#destinations.get(id);
    if (known !== undefined && purpose !== 'check') return known;
    const runner = new DestinationRunner(id, this.#host);
    // Who only asks leaves nothing to be remembered.
    if (!this.#closed && purpose !== 'check' && purpose !== null) this.#destinations.set(id, runner);
    return runner;
  }

  #ownership(id: string): MessageOf<'OWNERSHIP'> {
    const source = this.#sources.get(id);
    if (source !== undefined) return answerOwner(id, source.runner.session.handover, 'source');
    return answerOwner(id, this.#destinations.get(id)?.session.handover ?? null, 'destination');
  }

  #any(id: string): SourceRunner | DestinationRunner {
    const runner = this.#sources.get(id)?.runner ?? this.#destinations.get(id);
    if (runner === undefined) throw this.#unknown(id);
    return runner;
  }

  #unknown(id: string): TransmigrateError {
    const known = [...this.#sources.keys(), ...this.#destinations.keys()].slice(-20);
    return new TransmigrateError('MIGRATION_UNKNOWN', `This host knows of no migration ${id}`, { data: { id, known } });
  }

  /** Those that ended are kept for a while, for who asks; the oldest go first. */
  #forgetOld(): void {
    const ended = [...this.#sources].filter(([, { runner }]) => runner.session.phase === 'ended');
    for (const [id] of ended.slice(0, -MOST_ENDED)) this.#sources.delete(id);
    const over = [...this.#destinations].filter(([, { session }]) => session.phase === 'ended');
    for (const [id] of over.slice(0, -MOST_ENDED)) this.#destinations.delete(id);
  }
}

function infoOf({ runner, to }: SourceJob): JobInfo {
  return sourceInfo(runner, to === null ? null : otherName(to));
}

function newId(): string {
  return randomBytes(16).toString('hex');
}

function ownerAnswer(
  { id, state }: MessageOf<'OWNERSHIP'>,
  { owner, epoch, gone }: Ownership,
  asked: boolean,
): OwnerAnswer {
  return { id, epoch, owner, gone, state, asked };
}

/** Without the keys that were not given. */
function definite(limits: LimitsChoice): Partial<Limits> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}

/** What is known of a machine whose guest is no more. */
function unknownOffer(uuid: string, epoch: number): Offer {
  return {
    epoch,
    machine: { uuid, name: uuid },
    paused: false,
    driver: { name: 'none', version: 'none', fingerprint: '0'.repeat(64), format: 'none' },
    memory: { bytes: 4096, pageBytes: 4096, carriedBytes: 0 },
    vcpus: 1,
    deviceBytes: 0,
    tmem: null,
    disks: [],
    codec: 'raw',
    records: [],
    configuration: {},
  };
}

/** How it failed, as an error of the table; the guest is where it was. */
function errorOf({ code, message, reasons }: Failure, id: string | null): TransmigrateError {
  const known: ErrorCode = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'MIGRATION_LOST';
  return new TransmigrateError(known, message, {
    guestAt: code === 'OWNERSHIP_UNKNOWN' ? 'unknown' : 'source',
    data: { ...(id !== null && { id }), ...(reasons !== undefined && { reasons }) },
  });
}

function resultOf(guest: Guest, runner: SourceRunner, to: string, totalMs: number): MigrateResult {
  const { request, progress, leg, handover } = runner.session;
  const { rounds, ramPages, ramBytes, tmemPages, tmemBytes, invalidations, ownBytes } = progress;
  return {
    id: request.id,
    name: guest.name,
    machine: guest.uuid,
    to,
    epoch: handover?.epoch ?? request.offer.epoch,
    rounds,
    legs: leg,
    ramPages,
    ramBytes,
    tmemPages,
    tmemBytes,
    invalidations,
    ownBytes,
    downtimeMs: runner.downtimeMs ?? 0,
    totalMs,
  };
}
