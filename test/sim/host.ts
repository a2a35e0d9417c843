/** A host: it performs what the sessions ask for, and crashes at any of it. */
import { createHash } from 'node:crypto';
import type { JournalRecord } from '../../src/migrate/journal/records.ts';
import type { OwnershipRecord } from '../../src/migrate/handover/ownership.ts';
import type { Hello } from '../../src/migrate/negotiate/hello.ts';
import {
  decodeHelloHead,
  decodeMessage,
  encodeMessage,
  type Message,
  type Offer,
} from '../../src/migrate/protocol/messages.ts';
import type { DestinationEffect, Failure, SourceEffect } from '../../src/migrate/session/effects.ts';
import {
  newReceiver,
  recoverReceiver,
  stepReceiver,
  type DestinationSession,
  type DestinationSessionEvent,
} from '../../src/migrate/session/destination.ts';
import { superseded } from '../../src/migrate/session/superseded.ts';
import { stepSession } from '../../src/migrate/session/source.ts';
import {
  beginSession,
  PATIENCE,
  recoverSession,
  type SourceRequest,
  type SourceSession,
  type SourceSessionEvent,
} from '../../src/migrate/session/source-state.ts';
import type { TmemEngine } from '../../src/tmem/engine.ts';
import { HOST, helloOf, PROBE, SECRET } from '../support/migration.ts';
import { newEngine, SimGuest } from './guest.ts';
import { DestinationPlane, SourcePlane, type StateFrame } from './planes.ts';
import type { Frame, SideName, SimConnection } from './network.ts';
import { SimDisk } from './disk.ts';
import type { Moment } from './scenario.ts';
import type { World } from './world.ts';

export const IDENTITY: Readonly<Record<SideName, string>> = { source: 'a'.repeat(32), destination: 'b'.repeat(32) };

type Content =
  | { readonly kind: 'message'; readonly message: Message['kind']; readonly body: Uint8Array; readonly sentMs: number }
  | { readonly kind: 'ack'; readonly seal: number; readonly chain: string }
  | { readonly kind: 'state'; readonly frame: StateFrame };

/** Messages that may come at any time, however late (protocol 3.3). */
const TIMELESS: ReadonlySet<string> = new Set([
  'CONFIRM',
  'GIVEN',
  'KEPT',
  'DONE',
  'RUNNING',
  'TAKEN',
  'ABANDONED',
  'YIELDED',
]);

interface Job<S> {
  session: S;
  connection: SimConnection | null;
  /** The next frame that may come over it. */
  expected: number;
  /** Goes up when a connection is lost: answers of what was under way then are dropped. */
  generation: number;
  wakes: number;
  failure: Failure | null;
}

export interface SourceJob extends Job<SourceSession> {
  plane: SourcePlane | null;
}

export interface ReceiverJob extends Job<DestinationSession> {
  plane: DestinationPlane | null;
  guest: SimGuest | null;
  stateCame: boolean;
}

export class SimHost {
  readonly side: SideName;
  readonly simulation: World;
  readonly disk: SimDisk;
  engine: TmemEngine = newEngine();
  up = true;
  sources = new Map<string, SourceJob>();
  receivers = new Map<string, ReceiverJob>();
  guest: SimGuest | null = null;
  #life = 0;

  constructor(simulation: World, side: SideName) {
    this.simulation = simulation;
    this.side = side;
    const first: JournalRecord[] = [{ kind: 'HOST', identity: IDENTITY[side] }];
    if (side === 'source') first.push(this.#process(1));
    this.disk = new SimDisk(simulation.clock, simulation.scenario, first);
  }

  /** Begins a migration. */
  migrate(request: SourceRequest): void {
    const { state, effects } = beginSession(request, this.simulation.clock.nowMs);
    const job: SourceJob = { session: state, plane: null, ...this.#newJob() };
    this.sources.set(request.id, job);
    this.#performSource(job, effects);
  }

  tellSource(job: SourceJob, event: SourceEventOf): void {
    if (!this.up || this.sources.get(job.session.request.id) !== job) return;
    const { state, effects } = stepSession(job.session, { ...event, nowMs: this.simulation.clock.nowMs });
    if (state.phase !== job.session.phase || state.handover?.phase !== job.session.handover?.phase) {
      this.#note('state', `${state.phase}, ${state.handover?.phase ?? 'no handover'}`);
    }
    job.session = state;
    this.#performSource(job, effects);
  }

  tellReceiver(job: ReceiverJob, event: ReceiverEventOf): void {
    if (!this.up || this.receivers.get(job.session.id) !== job) return;
    const { state, effects } = stepReceiver(job.session, { ...event, nowMs: this.simulation.clock.nowMs });
    if (state.phase !== job.session.phase || state.handover?.phase !== job.session.handover?.phase) {
      this.#note('state', `${state.phase}, ${state.handover?.phase ?? 'no handover'}`);
    }
    job.session = state;
    this.#performReceiver(job, effects);
  }

  /** A connection from the source. */
  accept(connection: SimConnection): void {
    let job: ReceiverJob | null = null;
    const end = connection.ends.destination;
    end.onClosed = () => {
      if (job !== null && job.connection === connection) this.#lost(job);
    };
    end.onFrame = (frame) => {
      if (!this.up) return;
      const content = frame.content as Content;
      if (job === null) {
        if (content.kind !== 'message' || content.message !== 'HELLO' || frame.sequence !== 0) {
          connection.close();
          return;
        }
        const { id } = decodeMessage('HELLO', content.body);
        job = this.#receiver(id);
        if (job.connection !== null) this.#lost(job);
        job.connection = connection;
        job.expected = 0;
        this.tellReceiver(job, { kind: 'connected' });
      }
      this.#frame(job, connection, frame);
    };
  }

  /** The host ends at this moment: its guest's process goes on until somebody ends it. */
  crash(): void {
    if (!this.up) return;
    this.#note('crash', 'crashes');
    this.up = false;
    this.#life++;
    this.disk.crash();
    for (const job of [...this.sources.values(), ...this.receivers.values()]) job.connection?.close();
    const { clock, scenario } = this.simulation;
    clock.after(10 + scenario.random.below(2000), () => this.start());
  }

  start(): void {
    if (this.up) return;
    const found = this.disk.recover();
    // First the processes that may still run a guest, then everything else (H6).
    for (const guest of this.simulation.orphans(this.side)) {
      if (!found.processes.some(({ pid }) => pid === guest.pid)) {
        this.simulation.fault(`the ${this.side} left a process that its journal does not know`);
      }
      guest.runs = 0;
    }
    this.guest = null;
    this.engine = newEngine();
    this.up = true;
    this.#note('start', 'starts again');
    this.sources = new Map();
    this.receivers = new Map();
    for (const [id, handover] of found.sources) {
      const request = this.simulation.requestOf(id);
      const { state, effects } = recoverSession(request, handover, this.simulation.clock.nowMs);
      const job: SourceJob = { session: state, plane: null, ...this.#newJob() };
      this.sources.set(id, job);
      this.#performSource(job, effects);
    }
    for (const [id, state] of found.destinations) {
      const last = this.disk.records.findLast(
        (record): record is OwnershipRecord => 'side' in record && record.id === id,
      );
      const session = { ...recoverReceiver(helloOf(IDENTITY.destination), last!), handover: state };
      this.receivers.set(id, { session, ...this.#newReceiverJob() });
    }
  }

  #supersede(job: ReceiverJob, offer: Offer): void {
    const held = [...this.receivers.values()].flatMap(({ session }) =>
      session.handover === null ? [] : [session.handover],
    );
    for (const { id, epoch } of superseded(held, offer, job.session.peer!)) {
      const message = { kind: 'KEPT', id, epoch } as const;
      this.tellReceiver(this.receivers.get(id)!, { kind: 'message', message, body: new Uint8Array(0) });
    }
  }

  #receiver(id: string): ReceiverJob {
    const known = this.receivers.get(id);
    if (known !== undefined) return known;
    const job: ReceiverJob = { session: newReceiver(id, this.#hello()), ...this.#newReceiverJob() };
    this.receivers.set(id, job);
    return job;
  }

  #hello(): Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'> {
    return { ...helloOf(IDENTITY[this.side]), limits: { channels: 1, sealBytes: 65_536, unacknowledgedSeals: 4 } };
  }

  #newJob(): Omit<Job<never>, 'session'> {
    return { connection: null, expected: 0, generation: 0, wakes: 0, failure: null };
  }

  #newReceiverJob(): Omit<ReceiverJob, 'session'> {
    return { ...this.#newJob(), plane: null, guest: null, stateCame: false };
  }

  #process(pid: number): JournalRecord {
    return { kind: 'PROCESS', machine: this.simulation.machine, pid, started: '1' };
  }

  #note(what: 'state' | 'journal' | 'guest' | 'crash' | 'start' | 'effect' | 'end', text: string): void {
    this.simulation.trace.add({ atMs: this.simulation.clock.nowMs, who: this.side, what, text });
  }

  /** Does something later, unless the host has ended by then. */
  #after(delayMs: number, what: () => void): void {
    const life = this.#life;
    this.simulation.clock.after(delayMs, () => {
      if (life === this.#life && this.up) what();
    });
  }

  /** What is to happen at an effect, once. */
  #moment(job: SourceJob | ReceiverJob, effect: SourceEffect | DestinationEffect, when: 'before' | 'after'): void {
    const kind = effect.kind === 'send' ? `send ${effect.message.kind}` : effect.kind;
    const name = effect.kind === 'journal' ? `journal ${effect.record.kind}` : kind;
    for (const moment of this.simulation.scenario.moments) {
      const here = moment.side === this.side && moment.effect === name && moment.when === when;
      if (!here || this.simulation.healed || this.#past.has(moment)) continue;
      this.#past.add(moment);
      this.#note('effect', `${moment.what} ${when} ${name}`);
      if (moment.what === 'crash') this.crash();
      else job.connection?.close();
    }
  }

  readonly #past = new Set<Moment>();

  /** @returns true when the host has crashed instead of performing the next effect. */
  #crashesHere(job: SourceJob | ReceiverJob, effect: SourceEffect | DestinationEffect): boolean {
    if (!this.up) return true;
    this.#moment(job, effect, 'before');
    if (!this.up) return true;
    const { scenario, healed } = this.simulation;
    if (healed || scenario.crashes === 0 || scenario.random.below(10_000) >= scenario.crashes) return false;
    this.crash();
    return true;
  }

  #lost(job: SourceJob | ReceiverJob): void {
    job.connection?.close();
    job.connection = null;
    job.generation++;
    if ('guest' in job) this.tellReceiver(job, { kind: 'disconnected' });
    else this.tellSource(job, { kind: 'disconnected' });
  }

  #say(job: SourceJob | ReceiverJob, message: Message): void {
    const { connection } = job;
    const body = encodeMessage(message);
    const sentMs = this.simulation.clock.nowMs;
    if (connection === null) return;
    connection.send(
      this.side,
      { kind: 'message', message: message.kind, body, sentMs } satisfies Content,
      body.length + 24,
    );
    if (TIMELESS.has(message.kind)) this.simulation.said(this, message);
  }

  /** A message that was said before, once more. */
  replay(message: Message): void {
    if (!this.up || !('id' in message)) return;
    const job = this.side === 'source' ? this.sources.get(message.id) : this.receivers.get(message.id);
    // It comes over a connection that the peer has opened with its HELLO.
    if (job === undefined || message.kind === 'HELLO') return;
    if ('guest' in job ? job.session.purpose === null : !job.session.believed) return;
    this.#note('effect', `${message.kind} comes again`);
    const event = { kind: 'message', message, body: new Uint8Array(0) } as const;
    if ('guest' in job) this.tellReceiver(job, event);
    else this.tellSource(job, event);
  }

  #frame(job: SourceJob | ReceiverJob, connection: SimConnection, frame: Frame): void {
    // What a connection brings after another took its place is dropped.
    if (job.connection !== connection || !this.up) return;
    if (frame.sequence !== job.expected++) {
      this.#lost(job);
      return;
    }
    const content = frame.content as Content;
    switch (content.kind) {
      case 'message':
        this.simulation.trace.add({
          atMs: this.simulation.clock.nowMs,
          who: this.side,
          what: 'message',
          text: content.message,
          sentMs: content.sentMs,
        });
        this.#message(job, content.message, content.body);
        break;
      case 'ack':
        if ('guest' in job || job.plane === null) break;
        job.plane.acknowledge(content.seal, content.chain);
        this.tellSource(job, { kind: 'acknowledged', waitingSeals: job.plane.waitingSeals });
        break;
      case 'state':
        if ('guest' in job) this.#state(job, content.frame);
        break;
    }
  }

  #message(job: SourceJob | ReceiverJob, kind: Message['kind'], body: Uint8Array): void {
    const message = decodeMessage(kind, body);
    const event =
      message.kind === 'HELLO'
        ? ({ kind: 'hello', head: decodeHelloHead(body), message, body } as const)
        : ({ kind: 'message', message, body } as const);
    if ('guest' in job) this.tellReceiver(job, event);
    else this.tellSource(job, event);
  }

  #state(job: ReceiverJob, frame: StateFrame): void {
    const { plane, session } = job;
    if (plane === null || session.phase !== 'receiving') return;
    if (!session.legCame) {
      const chain = plane.newLeg(session.leg);
      this.tellReceiver(job, { kind: 'stateCame', chains: [chain] });
    }
    const sealed = plane.apply(frame);
    if (sealed !== null) this.tellReceiver(job, { kind: 'applied', channel: 0, ...sealed });
  }

  #write(record: OwnershipRecord, tell: (end: 'durable' | 'notWritten' | 'doubtful') => void): void {
    const life = this.#life;
    this.#note('journal', `writes ${record.kind} ${record.epoch}`);
    const how = { transport: 'tcp', host: 'host', port: 7 } as const;
    const first = record.kind === 'BEGUN' || record.kind === 'RUNNING' || record.kind === 'ABANDONED';
    const peer: JournalRecord = { kind: 'PEER', id: record.id, identity: record.peer, how };
    this.disk.write(first ? [peer, record] : [record], (end) => {
      if (life !== this.#life) return;
      this.#note('journal', `${record.kind} ${record.epoch}: ${end}`);
      this.simulation.onWritten(this, record, end);
      tell(end);
    });
  }

  #wake(job: SourceJob | ReceiverJob, delayMs: number): void {
    const wake = ++job.wakes;
    this.#after(delayMs, () => {
      if (wake !== job.wakes) return;
      if ('guest' in job) this.tellReceiver(job, { kind: 'tick' });
      else this.tellSource(job, { kind: 'tick' });
    });
  }

  #performSource(job: SourceJob, effects: readonly SourceEffect[]): void {
    for (const effect of effects) {
      if (this.#crashesHere(job, effect)) return;
      this.#doSource(job, effect);
      this.#moment(job, effect, 'after');
    }
  }

  #doSource(job: SourceJob, effect: SourceEffect): void {
    const { clock, scenario } = this.simulation;
    const { generation } = job;
    /** Tells how something ended, unless the connection that it was for is lost. */
    const later = (delayMs: number, event: () => SourceEventOf): void =>
      this.#after(delayMs, () => {
        if (job.generation === generation && job.session.phase !== 'ended') this.tellSource(job, event());
      });
    const emit = (frame: StateFrame, bytes: number): void => {
      sentMs = Math.max(
        sentMs,
        job.connection?.send(this.side, { kind: 'state', frame } satisfies Content, bytes) ?? 0,
      );
    };
    let sentMs = 0;
    switch (effect.kind) {
      case 'connect': {
        const life = this.#life;
        this.simulation.connect((connection) => {
          if (life !== this.#life || !this.up) return;
          if (connection === null) {
            this.tellSource(job, { kind: 'disconnected' });
            return;
          }
          job.connection = connection;
          job.expected = 0;
          const end = connection.ends.source;
          end.onFrame = (frame) => this.#frame(job, connection, frame);
          end.onClosed = () => {
            if (job.connection === connection) this.#lost(job);
          };
          const { fsyncMs, delayMs } = scenario;
          const costs = { deviceSaveMs: 3, scanMs: 0.5, sourceFsyncMs: fsyncMs, roundTripMs: 2 * delayMs };
          this.tellSource(job, { kind: 'measured', costs });
          this.tellSource(job, { kind: 'connected' });
        });
        break;
      }
      case 'hangUp':
        this.#after(scenario.delayMs, () => job.connection?.close());
        break;
      case 'send':
        this.#say(job, effect.message);
        break;
      case 'journal':
        this.#write(effect.record, (end) => this.tellSource(job, { kind: 'written', end }));
        break;
      case 'wake':
        this.#wake(job, effect.atMs - clock.nowMs);
        break;
      case 'later':
        this.#wake(job, PATIENCE.retryMs);
        break;
      case 'work': {
        job.plane ??= new SourcePlane(this.guest!, scenario);
        const done = job.plane.work(effect.section, effect.bytes, emit);
        const { plane } = job;
        // The stream takes it as fast as the link does.
        later(sentMs + 0.2, () => ({ kind: 'worked', section: effect.section, ...done, left: plane.leftOfRound() }));
        break;
      }
      case 'seal':
        job.plane!.seal(emit);
        later(0.1, () => ({ kind: 'sealed', waitingSeals: job.plane!.waitingSeals }));
        break;
      case 'endRound':
        job.plane!.record({ kind: 'round' }, emit);
        this.#note('state', `round ${job.session.convergence.rounds} ends`);
        later(sentMs + 0.5, () => ({ kind: 'roundEnded', left: job.plane!.left(), scanMs: 0.5 }));
        break;
      case 'throttle':
        if (this.guest !== null) this.guest.throttle = effect.percent;
        break;
      case 'pause':
        this.#after(1, () => {
          if (this.guest === null || job.session.phase === 'ended') return;
          this.simulation.paused(this.guest);
          this.tellSource(job, { kind: 'paused', left: job.plane!.left() });
        });
        break;
      case 'finish': {
        const { plane } = job;
        plane!.record({ kind: 'device', counter: this.guest!.model.counter }, emit);
        // Before CHECKPOINT stands a SEAL, and behind it another (protocol 6.3).
        plane!.seal(emit);
        plane!.record({ kind: 'checkpoint' }, emit);
        const place = plane!.seal(emit);
        later(sentMs + 3, () => ({ kind: 'finished', channels: [place] }));
        break;
      }
      case 'goBack':
        job.plane ??= new SourcePlane(this.guest!, scenario);
        this.simulation.resumes++;
        job.plane.goBack(job.session.leg, effect.place, effect.sameLeg, emit);
        later(sentMs + 0.5, () => ({ kind: 'resumed', left: job.plane!.left() }));
        break;
      case 'resume':
        if (this.guest !== null) this.simulation.resumed(this, this.guest, effect.epoch);
        break;
      case 'stop':
        if (this.guest !== null) this.guest.runs = 0;
        break;
      case 'free':
        this.simulation.freed(job.session.request.id);
        job.plane?.close();
        job.plane = null;
        this.guest = null;
        break;
      case 'report':
        this.#note('effect', JSON.stringify(effect.report));
        break;
      case 'ended':
        this.#note('end', effect.failure === null ? 'moved' : effect.failure.code);
        job.failure = effect.failure;
        job.plane?.close();
        job.plane = null;
        break;
      case 'run':
      case 'discard':
        throw new Error(`a source is asked to ${effect.kind}`);
    }
  }

  #performReceiver(job: ReceiverJob, effects: readonly DestinationEffect[]): void {
    for (const effect of effects) {
      if (this.#crashesHere(job, effect)) return;
      this.#doReceiver(job, effect);
      this.#moment(job, effect, 'after');
    }
  }

  #doReceiver(job: ReceiverJob, effect: DestinationEffect): void {
    const { clock, scenario } = this.simulation;
    const { generation } = job;
    const later = (delayMs: number, event: () => ReceiverEventOf): void =>
      this.#after(delayMs, () => {
        if (job.generation === generation) this.tellReceiver(job, event());
      });
    switch (effect.kind) {
      case 'hangUp':
        this.#after(scenario.delayMs, () => job.connection?.close());
        break;
      case 'send':
        if (effect.message.kind === 'CONFIRM') this.simulation.confirmed(this, job);
        this.#say(job, effect.message);
        break;
      case 'journal':
        this.#write(effect.record, (end) => this.tellReceiver(job, { kind: 'written', end }));
        break;
      case 'wake':
        this.#wake(job, effect.atMs - clock.nowMs);
        break;
      case 'later':
        this.#wake(job, PATIENCE.retryMs);
        break;
      case 'probe':
        this.#supersede(job, effect.offer);
        later(1, () => ({
          kind: 'probed',
          host: { ...HOST, names: this.guest === null ? [] : ['one'] },
          probe: PROBE,
          measured: { deviceLoadMs: 2, fsyncMs: scenario.fsyncMs },
          secret: createHash('sha256').update(`${SECRET}${job.session.id}`).digest('hex'),
        }));
        break;
      case 'reserve': {
        const pid = this.simulation.newPid();
        const failure = { code: 'WRITE_FAILED', message: 'The journal could not be written' };
        this.disk.write([this.#process(pid)], (end) => {
          // A process that the journal does not know may not be granted anything (H6).
          if (end !== 'durable') this.tellReceiver(job, { kind: 'failed', failure });
        });
        this.engine = newEngine();
        job.plane = new DestinationPlane(this.engine, scenario.pages);
        job.guest = new SimGuest(pid, job.plane.memory, this.engine, this.simulation.model);
        this.simulation.guests.push({ guest: job.guest, side: this.side });
        break;
      }
      case 'acknowledge': {
        const { seal, chain } = effect;
        job.connection?.send(this.side, { kind: 'ack', seal, chain } satisfies Content, 72);
        break;
      }
      case 'load': {
        const problem = job.plane!.complete();
        if (problem !== null) this.simulation.fault(`confirmed too early: ${problem}`);
        // What is loading goes on when the connection is lost.
        this.#after(2, () => this.tellReceiver(job, { kind: 'loaded' }));
        break;
      }
      case 'run':
        this.guest = job.guest;
        job.plane!.run();
        this.simulation.runs(this, job.guest!, job.session.id, effect.epoch);
        break;
      case 'stop':
        if (job.guest !== null) job.guest.runs = 0;
        break;
      case 'discard':
        if (job.guest !== null && job.guest.runs > 0) this.simulation.fault('what runs was discarded');
        job.plane?.discard();
        job.plane = null;
        job.guest = null;
        break;
      case 'report':
        this.#note('effect', JSON.stringify(effect.report));
        break;
      case 'ended':
        this.#note('end', effect.failure === null ? 'ended' : effect.failure.code);
        break;
      case 'connect':
      case 'resume':
      case 'free':
        throw new Error(`a destination is asked to ${effect.kind}`);
    }
  }
}

type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;
export type SourceEventOf = WithoutTime<SourceSessionEvent>;
export type ReceiverEventOf = WithoutTime<DestinationSessionEvent>;
