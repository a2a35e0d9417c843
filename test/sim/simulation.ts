/** One seed: two hosts, a guest, a network and two disks, in virtual time, until it is known who owns the guest. */
import { ownerByDestination } from '../../src/migrate/handover/destination.ts';
import type { OwnershipRecord, WriteEnd } from '../../src/migrate/handover/ownership.ts';
import { ownerBySource } from '../../src/migrate/handover/source.ts';
import { DEFAULT_LIMITS } from '../../src/migrate/precopy/convergence.ts';
import type { Message } from '../../src/migrate/protocol/messages.ts';
import type { SourceRequest } from '../../src/migrate/session/source-state.ts';
import { helloOf, OFFER } from '../support/migration.ts';
import { VirtualClock } from './clock.ts';
import { CLIENT, copyModel, newModel, SimGuest, type GuestModel } from './guest.ts';
import { IDENTITY, SimHost, type SourceJob } from './host.ts';
import { SimNetwork, type SimConnection, type SideName } from './network.ts';
import type { Scenario } from './scenario.ts';
import { Trace } from './trace.ts';
import type { Arrival, HostView, World } from './world.ts';

/** Until then things go wrong, in virtual milliseconds; afterwards nothing does, and it is waited for the end. */
const TROUBLE_MS = 100_000;
const HEALED_MS = 200_000;
const AFTER_MS = 3000;
const ATTEMPTS = 4;
/** What a guest does at full speed, in a run; then it does something less often. */
const BUSY_ACTS = 8000;
const RESTING_MS = 100;
/** Most events of a run: more is a loop that does not end. */
const STEPS = 2_000_000;

export class SimFaultFound extends Error {
  override readonly name = 'SimFaultFound';
}

export interface Outcome {
  readonly end: string;
  readonly steps: number;
  readonly attempts: number;
  readonly crashed: boolean;
  readonly resumes: number;
  readonly rounds: number;
  readonly pages: number;
  readonly tmemPages: number;
  readonly invalidations: number;
  readonly digest: string;
}

export class Simulation implements World {
  readonly machine = OFFER.machine.uuid;
  readonly clock = new VirtualClock();
  readonly trace = new Trace();
  readonly scenario: Scenario;
  readonly network: SimNetwork;
  readonly source: SimHost;
  readonly destination: SimHost;
  readonly guests: { readonly guest: SimGuest; readonly side: SideName }[] = [];
  model: GuestModel;
  healed = false;
  resumes = 0;
  #requests = new Map<string, SourceRequest>();
  #pids = 1;
  #attempts = 0;
  /** The guest as it was when it was paused last. */
  #atPause: GuestModel;
  #moved = false;
  #overridden = false;
  #steps = 0;
  #acts = 0;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.network = new SimNetwork(this.clock, scenario);
    this.source = new SimHost(this, 'source');
    this.destination = new SimHost(this, 'destination');
    this.model = newModel(scenario.pages);
    this.#atPause = this.model;
    const { engine } = this.source;
    engine.addClient(CLIENT);
    const guest = new SimGuest(1, new Uint32Array(scenario.pages), engine, this.model);
    this.source.guest = guest;
    this.guests.push({ guest, side: 'source' });
    for (let i = 0; i < 300; i++) guest.act(scenario, true);
    this.resumed(this.source, guest, 1);
  }

  /** @throws SimFaultFound for the first thing that is wrong. */
  run(): Outcome {
    this.clock.after(10, () => this.#attempt());
    const { cancelMs } = this.scenario;
    if (cancelMs !== null) {
      this.clock.after(cancelMs, () => {
        for (const job of this.source.sources.values()) this.source.tellSource(job, { kind: 'cancel' });
      });
    }
    this.#until(TROUBLE_MS, () => this.#settled());
    this.healed = true;
    this.network.heal();
    this.source.disk.healed = true;
    this.destination.disk.healed = true;
    this.#until(this.clock.nowMs + HEALED_MS, () => this.#settled());
    // What is still on the way, or comes again, changes nothing any more.
    this.#until(this.clock.nowMs + AFTER_MS, () => false);
    return this.#judge();
  }

  fault(what: string): never {
    throw new SimFaultFound(`seed ${this.scenario.seed}, ${this.clock.nowMs.toFixed(1)} ms: ${what}`);
  }

  newPid(): number {
    return ++this.#pids;
  }

  requestOf(id: string): SourceRequest {
    return this.#requests.get(id)!;
  }

  connect(reach: (connection: SimConnection | null) => void): void {
    this.network.connect(
      () => this.destination.up,
      (connection) => {
        if (connection !== null) this.destination.accept(connection);
        reach(connection);
      },
    );
  }

  orphans(side: SideName): SimGuest[] {
    return this.guests.filter((each) => each.side === side && each.guest.runs > 0).map(({ guest }) => guest);
  }

  said({ side, disk }: HostView, message: Message): void {
    const { kind } = message;
    if (kind !== 'CONFIRM' && kind !== 'KEPT' && 'id' in message) {
      const there = disk.records.some((record) => record.kind === kind && 'id' in record && record.id === message.id);
      if (!there) this.fault(`the ${side} says ${kind}, which is not on its disk`);
    }
    const { random, replays } = this.scenario;
    if (this.healed || replays === 0 || random.below(10_000) >= replays) return;
    const other = side === 'source' ? this.destination : this.source;
    this.clock.after(random.below(random.pick([20, 300, 5000])), () => other.replay(message));
  }

  paused(guest: SimGuest): void {
    guest.runs = 0;
    this.#atPause = copyModel(this.model);
    this.#guestNote('source', 'paused');
  }

  resumed(host: HostView, guest: SimGuest, epoch: number): void {
    if (guest.runs > 0) return;
    if (this.#moved && !this.#overridden) this.fault('an old copy goes on, and another has run since');
    const model = this.#overridden ? this.#atPause : this.model;
    const differs = guest.differs(model);
    if (differs !== null) this.fault(`the source's own copy changed: ${differs}`);
    this.#live(host, guest, epoch);
  }

  runs(host: HostView, guest: SimGuest, id: string, epoch: number): void {
    if (!this.#hasRecord(host, 'RUNNING', id)) this.fault('the destination runs, and RUNNING is not on its disk');
    const differs = guest.differs(this.#atPause);
    if (differs !== null) this.fault(`the machine arrived with other content: ${differs}`);
    this.#moved = true;
    this.#live(host, guest, epoch);
  }

  confirmed(host: HostView, job: Arrival): void {
    if (this.scenario.fault !== 'runs before GIVEN') return;
    job.plane!.run();
    this.runs(host, job.guest!, job.session.id, job.session.handover!.epoch);
  }

  onWritten(host: HostView, record: OwnershipRecord, end: WriteEnd): void {
    if (this.scenario.fault === 'frees too early' && record.kind === 'GIVEN' && end === 'durable') {
      host.guest = null;
      this.freed(record.id);
    }
  }

  freed(id: string): void {
    if (!this.#overridden && !this.#hasRecord(this.destination, 'RUNNING', id)) {
      this.fault('the source freed its copy, and nobody else has run it');
    }
    this.#guestNote('source', 'copy freed');
  }

  #hasRecord({ disk }: HostView, kind: string, id: string): boolean {
    return disk.records.some((record) => record.kind === kind && 'id' in record && record.id === id);
  }

  #guestNote(who: SideName, text: string): void {
    this.trace.add({ atMs: this.clock.nowMs, who, what: 'guest', text });
  }

  #live(host: HostView, guest: SimGuest, epoch: number): void {
    guest.runs = epoch;
    this.#guestNote(host.side, `runs under epoch ${epoch}`);
    this.#checkOne();
    const act = (): void => {
      if (guest.runs !== epoch) return;
      guest.act(this.scenario, host.up && host.guest === guest);
      // A guest that waits for long, through a partition or for a host, need not be busy all the time.
      const restMs = ++this.#acts > BUSY_ACTS ? RESTING_MS : 0;
      this.clock.after(restMs + this.scenario.guestMs / (1 - guest.throttle / 100), act);
    };
    this.clock.after(this.scenario.guestMs, act);
  }

  /** At most one runs, also of those that a host left behind. */
  #checkOne(): void {
    const running = this.guests.filter(({ guest }) => guest.runs > 0);
    if (running.length > 1) this.fault(`two run: ${running.map(({ side }) => side).join(' and ')}`);
  }

  #until(untilMs: number, enough: () => boolean): void {
    while (this.clock.step(untilMs)) {
      this.#checkOne();
      if (++this.#steps > STEPS) this.fault('it does not end');
      if (this.#steps % 16 === 0 && enough()) return;
    }
  }

  #jobs(): SourceJob[] {
    return [...this.source.sources.values()];
  }

  #attempt(): void {
    const { scenario, source } = this;
    if (!source.up || source.guest === null || source.guest.runs === 0) return;
    const id = String(++this.#attempts).padStart(32, '0');
    const known = source.disk.records.flatMap((record) => ('epoch' in record ? [record.epoch] : []));
    const { pages, downtimeMs, force } = scenario;
    const request: SourceRequest = {
      id,
      hello: {
        ...helloOf(IDENTITY.source),
        limits: { channels: 1, sealBytes: 65_536, unacknowledgedSeals: 4 },
      },
      offer: {
        ...OFFER,
        epoch: Math.max(1, ...known, ...this.#jobs().map(({ session }) => session.handover?.epoch ?? 0)) + 1,
        memory: { bytes: pages * 4096, pageBytes: 4096, carriedBytes: pages * 4096 },
      },
      ownEpoch: source.guest.runs,
      limits: { ...DEFAULT_LIMITS, downtimeMs, force },
    };
    this.#requests.set(id, request);
    source.migrate(request);
  }

  /** Whether nothing more will happen by itself; begins another attempt when there may be one. */
  #settled(): boolean {
    const job = this.#jobs().at(-1);
    if (job === undefined || job.session.phase !== 'ended' || !this.source.up) return false;
    const mayTry = this.source.guest !== null && this.source.guest.runs > 0 && this.scenario.cancelMs === null;
    const owns = job.session.handover === null || ownerBySource(job.session.handover).owner === 'source';
    if (owns && mayTry && this.#attempts < ATTEMPTS && this.#retryAt === null) {
      this.#retryAt = this.clock.nowMs + 300;
      this.clock.after(300, () => {
        this.#retryAt = null;
        this.#attempt();
      });
    }
    if (this.#retryAt !== null) return false;
    return this.destination.up;
  }

  #retryAt: number | null = null;

  /** There is one owner, or an unknown with its reason, which an operator then ends. */
  #judge(): Outcome {
    const job = this.#jobs().at(-1);
    if (job === undefined) {
      // The source ended before anybody heard of a migration.
      if (this.source.guest !== null) this.fault('nothing was tried');
      return this.#outcome('source, gone with its host', null);
    }
    let owner = this.#owner(job);
    if (owner.endsWith('unknown')) {
      // An operator has looked: the destination owns it, and its guest is gone.
      this.#overridden = true;
      this.model = copyModel(this.#atPause);
      const choice = this.scenario.random.below(2) === 0 || this.source.guest === null ? 'abandon' : 'take';
      this.trace.add({ atMs: this.clock.nowMs, who: 'operator', what: 'effect', text: `settle --${choice}` });
      this.source.tellSource(job, { kind: 'settle', choice });
      this.#until(this.clock.nowMs + 5000, () => false);
      owner = `${this.#owner(job)}, by an operator: ${choice}`;
      if (owner.includes('unknown')) this.fault(`an operator could not end it: ${owner}`);
    }
    return this.#outcome(owner, job);
  }

  #outcome(end: string, job: SourceJob | null): Outcome {
    const progress = job?.session.progress;
    return {
      end,
      steps: this.#steps,
      attempts: this.#attempts,
      crashed: this.trace.entries.some(({ what }) => what === 'crash'),
      resumes: this.resumes,
      rounds: progress?.rounds ?? 0,
      pages: progress?.ramPages ?? 0,
      tmemPages: progress?.tmemPages ?? 0,
      invalidations: progress?.invalidations ?? 0,
      digest: this.trace.digest(),
    };
  }

  #owner(job: SourceJob): string {
    const { handover, phase } = job.session;
    const destinations = [...this.destination.receivers.values()].flatMap(({ session }) =>
      session.handover === null ? [] : [session.handover],
    );
    const running = destinations.filter((state) => ownerByDestination(state).owner === 'destination');
    const bySource =
      handover === null ? { owner: 'source', gone: this.source.guest === null } : ownerBySource(handover);
    const there = destinations.map((state) => state.phase).join(' ');
    const said = `source: ${phase} ${handover?.phase ?? ''}, destination: ${there}`;
    if (running.length + (bySource.owner === 'source' ? 1 : 0) > 1 && !this.#overridden)
      this.fault(`two own it: ${said}`);
    const crashed = this.trace.entries.some(({ what }) => what === 'crash');
    if (bySource.owner === 'source') {
      if (bySource.gone !== (this.source.guest === null)) this.fault(`the source is wrong about its guest: ${said}`);
      if (bySource.gone && !crashed) this.fault(`lost, and no host crashed: ${said}`);
      if (!bySource.gone && this.source.guest?.runs === 0) this.fault(`the owner's guest stands still: ${said}`);
      return bySource.gone ? 'source, gone with its host' : 'source';
    }
    if (bySource.owner === 'unknown') {
      if (handover?.peerGone !== true) this.fault(`unknown, and nobody said why: ${said}`);
      return 'unknown';
    }
    if (this.#overridden) return 'destination';
    const [state] = running;
    if (state === undefined) this.fault(`nobody owns it: ${said}`);
    if (!state.copy && !crashed) this.fault(`lost, and no host crashed: ${said}`);
    if (state.copy && this.destination.guest?.runs !== state.epoch)
      this.fault(`the owner's guest stands still: ${said}`);
    return state.copy ? 'destination' : 'destination, gone with its host';
  }
}
