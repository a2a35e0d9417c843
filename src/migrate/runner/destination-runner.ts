/** Performs what a destination's session asks for (protocol 10), over the connections that its source makes. */
import { TransmigrateError } from '../../errors.ts';
import type { Connection } from '../../io/connection.ts';
import type { DestinationState } from '../handover/destination.ts';
import type { OwnershipRecord, WriteEnd } from '../handover/ownership.ts';
import type { JournalRecord, PeerHow } from '../journal/records.ts';
import type { Hello } from '../negotiate/hello.ts';
import type { Need } from '../negotiate/judge.ts';
import type { Message, Offer } from '../protocol/messages.ts';
import type { Hidden } from '../restore/restore.ts';
import {
  newReceiver,
  recoverReceiver,
  stepReceiver,
  type DestinationSession,
  type DestinationSessionEvent,
} from '../session/destination.ts';
import type { DestinationEffect, Failure, Probed } from '../session/effects.ts';
import { PATIENCE } from '../session/source-state.ts';
import type { Heard, Speaker } from './conversation.ts';
import { DestinationPlane } from './destination-plane.ts';
import { JobLog } from './job-log.ts';
import { chainBytes } from './source-plane.ts';
import { failureOf, textOf } from './source-runner.ts';
import { Wake } from './wake.ts';

/** What a host does for machines that come. */
export interface DestinationHost {
  readonly hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>;
  readonly nowMs: () => number;
  readonly wallClockMs: () => number;
  readonly append: (records: readonly JournalRecord[]) => Promise<WriteEnd>;
  /** Looks at an offer. What it made to find out, it keeps until {@link reserve} or {@link forget}. */
  probe(id: string, source: string, offer: Offer): Promise<Probed>;
  /** Earlier attempts for the same machine by the same source end (4.4). */
  supersede(id: string, offer: Offer, peer: string): void;
  /** Holds back what is needed, at once; then the machine is made, hidden, and its process is in the journal. */
  reserve(id: string, need: Need, offer: Offer, uuids: readonly string[], gone: () => void): Promise<Hidden>;
  /** Nothing will come of what was probed. */
  forget(id: string): void;
  /** The machine becomes a guest, and runs, unless it was offered paused. */
  run(id: string, epoch: number): Promise<void>;
  stop(id: string): Promise<void>;
  discard(id: string): Promise<void>;
  /** After every step. */
  changed(runner: DestinationRunner): void;
  /** It has ended, and holds nothing that anybody could ask for. */
  over(runner: DestinationRunner): void;
}

/** A connection of the source, and what is said over it. */
export interface Line {
  readonly connection: Connection;
  readonly speaker: Promise<Speaker>;
}

type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;
export type DestinationTold = WithoutTime<DestinationSessionEvent>;

/** A source comes by itself. */
const WAITS: PeerHow = { transport: 'waits' };

/** How long a peer may take to read what was said before the connection was closed. */
const HANG_UP_MS = 2000;

export class DestinationRunner {
  readonly id: string;
  readonly log: JobLog;
  readonly #host: DestinationHost;
  readonly #wake: Wake;
  #session: DestinationSession;
  #plane: DestinationPlane | null = null;
  #line: Line | null = null;
  #generation = 0;
  /** Of the first connection's certificate; null without TLS. */
  #peerKey: string | null | undefined;
  #peerKnown = false;
  /** Words to the host about its guest go one after the other. */
  #guest: Promise<unknown> = Promise.resolve();
  #failure: Failure | null = null;
  #over = false;

  /** @param last what the journal says of a migration from before; absent for a new one. */
  constructor(
    id: string,
    host: DestinationHost,
    last?: { readonly record: OwnershipRecord; readonly state: DestinationState },
  ) {
    this.id = id;
    this.#host = host;
    this.#session =
      last === undefined
        ? newReceiver(id, host.hello)
        : { ...recoverReceiver(host.hello, last.record), handover: last.state };
    this.#peerKnown = last !== undefined;
    this.log = new JobLog(host.nowMs);
    this.#wake = new Wake(host.nowMs, () => this.tell({ kind: 'tick' }));
  }

  get session(): DestinationSession {
    return this.#session;
  }

  /** Why it ended, or null. */
  get failure(): Failure | null {
    return this.#failure;
  }

  /** Pages of memory that have come. */
  get pages(): number {
    return this.#plane?.pages ?? 0;
  }

  get connected(): boolean {
    return this.#line !== null;
  }

  cancel(): void {
    this.tell({ kind: 'cancel' });
  }

  /** @throws MACHINE_STATE when there is nothing to decide. */
  settle(choice: 'take' | 'abandon'): void {
    this.tell({ kind: 'settle', choice });
  }

  tell(event: DestinationTold): void {
    const before = this.#session;
    const { state, effects } = stepReceiver(before, { ...event, nowMs: this.#host.nowMs() });
    this.#session = state;
    if (state.phase !== before.phase || state.handover?.phase !== before.handover?.phase) {
      this.log.add('state', `${state.phase}, ${state.handover?.phase ?? 'no handover yet'}`);
    }
    for (const effect of effects) this.#perform(effect);
    this.#host.changed(this);
  }

  async close(): Promise<void> {
    this.#over = true;
    this.#wake.clear();
    this.#line?.connection.reset();
    await this.#guest;
  }

  /** A connection of the source: it takes the place of the one before it. Its HELLO is given to {@link hear}. */
  attach(line: Line): void {
    const { peer } = line.connection;
    if (this.#peerKey !== undefined && this.#peerKey !== peer) {
      // Another key than the migration began with (N4): whoever that is, it does not take the place of the source.
      this.log.add('connection', `refused ${line.connection.name}: another certificate`);
      line.connection.reset();
      return;
    }
    this.#peerKey = peer;
    if (this.#line !== null) this.lost(this.#line, 'another connection took its place');
    this.#line = line;
    this.log.add('connection', `connected by ${line.connection.name}`);
    this.tell({ kind: 'connected' });
  }

  /** Something that came over a connection. Resolves when it is applied. @returns false when nothing more is wanted. */
  async hear(line: Line, heard: Heard): Promise<boolean> {
    if (this.#line !== line || this.#over) return false;
    switch (heard.kind) {
      case 'hello':
        this.log.add('hears', `HELLO, to ${heard.message?.purpose ?? 'say something that is not known here'}`);
        this.tell(heard);
        break;
      case 'message':
        this.log.add('hears', textOf(heard.message));
        this.tell(heard);
        break;
      case 'state':
      case 'seal':
        await this.#state(line, heard);
        break;
      case 'acknowledged':
        // Nobody acknowledges what a destination says.
        break;
    }
    return this.#line === line && !this.#over;
  }

  /** What came over a connection is no stream of a migration. */
  broken(line: Line, failure: Failure): void {
    if (this.#line === line && !this.#over) this.tell({ kind: 'failed', failure });
  }

  /** A connection has ended. */
  lost(line: Line, why: string): void {
    if (this.#line !== line) return;
    this.#line = null;
    this.#generation++;
    line.connection.reset();
    this.log.add('connection', `lost: ${why}`);
    if (!this.#over) this.tell({ kind: 'disconnected' });
  }

  async #state(line: Line, heard: Extract<Heard, { readonly kind: 'state' | 'seal' }>): Promise<void> {
    const plane = this.#plane;
    if (plane === null || this.#session.phase !== 'receiving') return;
    if (!this.#session.legCame) {
      plane.newLeg();
      // Nothing of this connection is held yet, and what its chain is then is never compared.
      this.tell({ kind: 'stateCame', chains: ['0'.repeat(64)] });
    }
    if (heard.kind === 'seal') {
      this.tell({ kind: 'applied', channel: 0, seal: heard.seal, chain: heard.chain });
      return;
    }
    try {
      await plane.apply(heard.decoded);
    } catch (cause) {
      if (this.#line === line) this.tell({ kind: 'failed', failure: failureOf(cause) });
    }
  }

  #perform(effect: DestinationEffect): void {
    const { id } = this;
    const host = this.#host;
    switch (effect.kind) {
      case 'send':
        this.#say(effect.message);
        break;
      case 'journal':
        void this.#write(effect.record);
        break;
      case 'wake':
        this.#wake.at(effect.atMs);
        break;
      case 'later':
        this.#wake.at(host.nowMs() + PATIENCE.retryMs);
        break;
      case 'probe':
        void this.#probe(effect.offer);
        break;
      case 'reserve': {
        const { need, offer, uuids } = effect;
        const made = host.reserve(id, need, offer, uuids, () => this.#gone());
        this.#plane = new DestinationPlane(made, host.wallClockMs, offer.deviceBytes);
        made.catch((cause: unknown) => this.tell({ kind: 'failed', failure: failureOf(cause) }));
        break;
      }
      case 'acknowledge': {
        const { channel, seal, chain } = effect;
        this.#toSpeaker((speaker) => speaker.write((writer) => writer.ack(channel, seal, chainBytes(chain))));
        break;
      }
      case 'load':
        void this.#load();
        break;
      case 'run':
        this.log.add('guest', `it ${this.#paused() ? 'is here, paused' : 'runs here'}, under epoch ${effect.epoch}`);
        this.#do(() => host.run(id, effect.epoch));
        break;
      case 'stop':
        this.log.add('guest', 'it is stopped');
        this.#do(() => host.stop(id));
        break;
      case 'discard':
        this.log.add('guest', 'what came of it is given back');
        this.#plane = null;
        this.#do(() => host.discard(id));
        break;
      case 'report':
        this.log.add('report', JSON.stringify(effect.report));
        break;
      case 'hangUp':
        void this.#hangUp();
        break;
      case 'ended':
        this.#failure = effect.failure;
        this.log.add(
          'end',
          effect.failure === null ? 'it is over' : `${effect.failure.code}: ${effect.failure.message}`,
        );
        this.#wake.clear();
        host.forget(id);
        host.over(this);
        break;
      case 'connect':
      case 'resume':
      case 'free':
        throw new TransmigrateError('INTERNAL', `A destination is asked to ${effect.kind}`);
    }
  }

  #paused(): boolean {
    return this.#session.offer?.paused === true;
  }

  #gone(): void {
    if (!this.#over) this.tell({ kind: 'guestGone' });
  }

  #do(what: () => Promise<void>): void {
    this.#guest = this.#guest.then(what).catch((cause: unknown) => {
      this.log.add('guest', failureOf(cause).message);
      this.#gone();
    });
  }

  async #probe(offer: Offer): Promise<void> {
    const generation = this.#generation;
    try {
      this.#host.supersede(this.id, offer, this.#session.peer!);
      const probed = await this.#host.probe(this.id, this.#session.peer!, offer);
      if (generation !== this.#generation || this.#over) {
        this.#host.forget(this.id);
        return;
      }
      this.tell({ kind: 'probed', ...probed });
      // What was made to be looked at is not needed for a question, or after a refusal.
      if (this.#plane === null) this.#host.forget(this.id);
    } catch (cause) {
      if (generation === this.#generation) this.tell({ kind: 'failed', failure: failureOf(cause) });
    }
  }

  /** What is loading goes on when the connection is lost. */
  async #load(): Promise<void> {
    try {
      await this.#plane!.load();
      if (!this.#over) this.tell({ kind: 'loaded' });
    } catch (cause) {
      if (!this.#over) this.tell({ kind: 'failed', failure: failureOf(cause) });
    }
  }

  async #write(record: OwnershipRecord): Promise<void> {
    const peer: JournalRecord = { kind: 'PEER', id: record.id, identity: record.peer, how: WAITS };
    const end = await this.#host.append(this.#peerKnown ? [record] : [peer, record]);
    if (end === 'durable') this.#peerKnown = true;
    this.log.add('journal', `${record.kind} ${record.epoch}: ${end}`);
    if (!this.#over) this.tell({ kind: 'written', end });
  }

  #say(message: Message): void {
    if (this.#line === null) return;
    this.log.add('says', textOf(message));
    this.#toSpeaker((speaker) => speaker.say(message));
  }

  /** A connection that does not take it is lost, and its listener sees that. */
  #toSpeaker(what: (speaker: Speaker) => Promise<unknown>): void {
    void this.#line?.speaker.then(what).catch(() => undefined);
  }

  async #hangUp(): Promise<void> {
    const line = this.#line;
    if (line === null) return;
    const limit = this.#wake.after(HANG_UP_MS, () => line.connection.reset());
    await line.speaker.then((speaker) => speaker.write((writer) => writer.end())).catch(() => undefined);
    await line.connection.close();
    limit();
  }
}
