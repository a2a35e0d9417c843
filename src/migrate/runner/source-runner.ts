/** Performs what a source session asks for (protocol 10): connections, journal, guest, stream. It decides nothing. */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { classOfCode, TransmigrateError } from '../../errors.ts';
import { CODEC } from '../../codec/codec.ts';
import type { Connection } from '../../io/connection.ts';
import { DOMAIN_TYPE, type Machine } from '../../machine/machine.ts';
import type { PreambleChoice } from '../../stream/preamble.ts';
import type { OwnershipRecord, WriteEnd } from '../handover/ownership.ts';
import type { JournalRecord, PeerHow } from '../journal/records.ts';
import { DEFAULT_LIMITS, type Limits } from '../precopy/convergence.ts';
import type { Message } from '../protocol/messages.ts';
import type { Failure, SourceEffect } from '../session/effects.ts';
import { stepSession } from '../session/source.ts';
import type { SourceSession, SourceSessionEvent } from '../session/source-state.ts';
import { listen, Speaker, type Heard } from './conversation.ts';
import { JobLog } from './job-log.ts';
import { SourcePlane, type SourceStates } from './source-plane.ts';
import { Wake } from './wake.ts';

/** A guest that moves. Null for a migration that the journal knows from before: its guest's process is no more. */
export interface SourceGuest {
  readonly machine: Machine;
  readonly states: SourceStates;
  /** The other side has it: it goes, with its memory and tmem. */
  free(): Promise<void>;
  /** It must not run any more here. */
  stop(): Promise<void>;
  /** It runs here under this epoch from now on. */
  granted(epoch: number): void;
}

export interface SourceParts {
  readonly guest: SourceGuest | null;
  /** How the destination is asked again (H4). */
  readonly how: PeerHow;
  readonly connect: () => Promise<Connection>;
  /** What ABOUT says of the machine (stream 6.1). */
  readonly about: JsonObject;
  readonly streamId: () => Uint8Array;
  readonly append: (records: readonly JournalRecord[]) => Promise<WriteEnd>;
  readonly codec: 'raw' | 'zstd';
  readonly threads: number;
  readonly nowMs: () => number;
  readonly guestTimeNs: () => bigint;
  /** After every step. */
  readonly onChange?: ((runner: SourceRunner) => void) | undefined;
}

/** What a migration came to. */
export interface SourceEnd {
  /** Null when the machine moved. */
  readonly failure: Failure | null;
}

/** Level of zstd on the way: a migration is as fast as its slowest part. */
const LEVEL = 1;

/** How long a peer may take to read what was said before the connection was closed. */
const HANG_UP_MS = 2000;

/** ELF e_machine of a 32-bit x86. */
const EM_386 = 3;

const MIB = 1024 * 1024;

interface Link {
  readonly connection: Connection;
  readonly speaker: Speaker;
}

type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;
export type SourceTold = WithoutTime<SourceSessionEvent>;

export class SourceRunner {
  readonly log: JobLog;
  /** Resolves when the migration has come to its end, whichever. */
  readonly ended: Promise<SourceEnd>;
  readonly #parts: SourceParts;
  readonly #plane: SourcePlane | null;
  readonly #wake: Wake;
  #end: (end: SourceEnd) => void = () => undefined;
  #session: SourceSession;
  #link: Link | null = null;
  #connecting = false;
  /** Why it could not be connected, when it never was. */
  #unreached: Failure | null = null;
  /** Of the first connection's certificate; null without TLS. */
  #peerKey: string | null | undefined;
  /** Goes up when a connection is lost: answers of what was under way then are dropped. */
  #generation = 0;
  /** Words to the guest go one after the other. */
  #guest: Promise<unknown> = Promise.resolve();
  #pausedHere = false;
  #pauseMs: number | null = null;
  #downtimeMs: number | null = null;
  #over = false;

  /** @param begun what `beginSession` or `recoverSession` gave. */
  constructor(begun: { readonly state: SourceSession; readonly effects: readonly SourceEffect[] }, parts: SourceParts) {
    this.#parts = parts;
    this.#session = begun.state;
    this.log = new JobLog(parts.nowMs);
    this.ended = new Promise((resolve) => (this.#end = resolve));
    const { guest, nowMs } = parts;
    this.#wake = new Wake(nowMs, () => this.tell({ kind: 'tick' }));
    if (guest === null) this.#plane = null;
    else {
      const { pages, pageBytes } = guest.machine.capabilities;
      this.#plane = new SourcePlane(guest.states, pages, pageBytes, nowMs);
      guest.machine.on('crashed', () => this.#gone());
      guest.machine.on('closed', (_reason, expected) => {
        if (!expected) this.#gone();
      });
    }
    for (const effect of begun.effects) this.#perform(effect);
  }

  get session(): SourceSession {
    return this.#session;
  }

  /** How long the guest stood still, until the destination said that it runs; null before, and when it was paused. */
  get downtimeMs(): number | null {
    return this.#downtimeMs;
  }

  cancel(): void {
    this.tell({ kind: 'cancel' });
  }

  set(limits: Partial<Limits>): void {
    const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
    this.tell({ kind: 'set', limits: { ...DEFAULT_LIMITS, ...this.#session.limits, ...given } });
  }

  /** @throws MACHINE_STATE when there is nothing to decide. */
  settle(choice: 'take' | 'abandon'): void {
    this.tell({ kind: 'settle', choice });
  }

  tell(event: SourceTold): void {
    const before = this.#session;
    const { state, effects } = stepSession(before, { ...event, nowMs: this.#parts.nowMs() });
    this.#session = state;
    if (state.common !== before.common && state.common !== null) this.#agreed(state.common.records);
    if (state.phase !== before.phase || state.handover?.phase !== before.handover?.phase) {
      this.log.add('state', `${state.phase}, ${state.handover?.phase ?? 'no handover yet'}`);
    }
    for (const effect of effects) this.#perform(effect);
    this.#parts.onChange?.(this);
  }

  /** The daemon ends: nothing more is done about it until the journal is read again. */
  async close(): Promise<void> {
    this.#over = true;
    const given = this.#session.phase === 'asking';
    // Of what has ended already this is not heard.
    this.#end({
      failure: given
        ? { code: 'OWNERSHIP_UNKNOWN', message: 'The host ended before the destination said that it runs the guest' }
        : { code: 'CANCELLED', message: 'The host ended' },
    });
    this.#wake.clear();
    this.#link?.connection.reset();
    await this.#plane?.end();
  }

  #agreed(records: readonly string[]): void {
    const stays = this.#plane?.agree(records) ?? [];
    if (stays.length > 0) this.log.add('guest', `not known there, and left here: ${stays.join(', ')}`);
  }

  #gone(): void {
    if (!this.#over && this.#session.phase !== 'ended') this.tell({ kind: 'guestGone' });
  }

  #perform(effect: SourceEffect): void {
    const plane = this.#plane;
    switch (effect.kind) {
      case 'connect':
        void this.#connect();
        break;
      case 'send':
        this.#say(effect.message);
        break;
      case 'journal':
        void this.#write(effect.record);
        break;
      case 'wake':
        this.#wake.at(effect.atMs);
        break;
      case 'work':
        this.#answer(plane!.work(effect.section, effect.bytes), (done) => ({
          kind: 'worked',
          section: effect.section,
          ...done,
        }));
        break;
      case 'seal':
        this.#answer(plane!.seal(), () => ({ kind: 'sealed', waitingSeals: plane!.waitingSeals }));
        break;
      case 'endRound':
        this.#answer(plane!.endRound(), (done) => this.#roundEnded(done));
        break;
      case 'throttle':
        this.log.add('guest', effect.percent === 0 ? 'full speed' : `slower by ${effect.percent} %`);
        this.#do((guest) => guest.machine.throttle(1 - effect.percent / 100));
        break;
      case 'pause':
        this.#do((guest) => this.#pause(guest));
        break;
      case 'finish':
        this.#answer(plane!.finish(this.#parts.guestTimeNs()), (channels) => ({ kind: 'finished', channels }));
        break;
      case 'goBack':
        this.#answer(plane!.goBack(effect.place, effect.sameLeg), (left) => ({ kind: 'resumed', left }));
        break;
      case 'resume':
        this.#do((guest) => this.#resume(guest, effect.epoch));
        break;
      case 'stop':
        this.log.add('guest', 'it is stopped');
        this.#do((guest) => guest.stop());
        break;
      case 'free':
        this.log.add('guest', 'its copy is given back');
        this.#do((guest) => guest.free());
        break;
      case 'report':
        this.log.add('report', JSON.stringify(effect.report));
        break;
      case 'hangUp':
        void this.#hangUp();
        break;
      case 'ended':
        this.#finished(effect.failure);
        break;
      case 'later':
        // The session asks again by itself.
        break;
      case 'run':
      case 'discard':
        throw new TransmigrateError('INTERNAL', `A source is asked to ${effect.kind}`);
    }
  }

  /** Tells how something ended, unless the connection that it was for is lost. */
  #answer<T>(work: Promise<T>, event: (result: T) => SourceTold): void {
    const generation = this.#generation;
    const link = this.#link;
    const wanted = (): boolean => generation === this.#generation && this.#session.phase !== 'ended' && !this.#over;
    work.then(
      (result) => {
        if (wanted()) this.tell(event(result));
      },
      (cause: unknown) => {
        if (!wanted()) return;
        const failure = failureOf(cause);
        if (classOfCode(failure.code) === 'transport' && link !== null) this.#lost(link, failure.message);
        else this.tell({ kind: 'failed', failure });
      },
    );
  }

  /** A word to the guest. What fails then is the guest's end. */
  #do(what: (guest: SourceGuest) => Promise<unknown>): void {
    const { guest } = this.#parts;
    if (guest === null) return;
    this.#guest = this.#guest
      .then(() => what(guest))
      .catch((cause: unknown) => {
        this.log.add('guest', failureOf(cause).message);
        this.#gone();
      });
  }

  async #pause({ machine }: SourceGuest): Promise<void> {
    // A session that has ended meanwhile lets the guest go on behind this.
    if (!this.#session.request.offer.paused) {
      this.#pauseMs = this.#parts.nowMs();
      await machine.pause();
      this.#pausedHere = true;
    }
    this.log.add('guest', 'it stands still');
    const left = await this.#plane!.beginFinal();
    if (this.#session.phase !== 'ended') this.tell({ kind: 'paused', left });
  }

  async #resume(guest: SourceGuest, epoch: number): Promise<void> {
    const { machine } = guest;
    await machine.grant(epoch);
    guest.granted(epoch);
    if (!this.#pausedHere || machine.status !== 'paused') return;
    this.#pausedHere = false;
    await machine.resume();
    this.log.add('guest', `it goes on here, under epoch ${epoch}`);
  }

  #roundEnded({ left, scanMs }: Awaited<ReturnType<SourcePlane['endRound']>>): SourceTold {
    const { bytesPerSecond } = this.#plane!;
    if (bytesPerSecond > 0) this.tell({ kind: 'measured', costs: { bytesPerSecond } });
    const number = this.#session.convergence.rounds;
    this.log.add(
      'round',
      `round ${number} ends: ${left.dirtyBytes} bytes of memory, ${left.tmemBytes} of tmem, ` +
        `${left.invalidations} invalidations` +
        (left.ownBytes > 0 ? `, ${left.ownBytes} of one's own left` : ' left'),
    );
    return { kind: 'roundEnded', left, scanMs };
  }

  async #write(record: OwnershipRecord): Promise<void> {
    const { append, how, nowMs } = this.#parts;
    const peer: JournalRecord = { kind: 'PEER', id: record.id, identity: record.peer, how };
    const start = nowMs();
    const end = await append(record.kind === 'BEGUN' ? [peer, record] : [record]);
    this.log.add('journal', `${record.kind} ${record.epoch}: ${end}`);
    if (this.#over) return;
    if (end === 'durable') this.tell({ kind: 'measured', costs: { sourceFsyncMs: nowMs() - start } });
    this.tell({ kind: 'written', end });
  }

  async #connect(): Promise<void> {
    // It is asked for again while it is tried; one attempt is enough.
    if (this.#connecting || this.#link !== null) return;
    this.#connecting = true;
    let link: Link;
    try {
      link = await this.#open();
    } catch (cause) {
      this.#connecting = false;
      this.#unreached = failureOf(cause);
      this.log.add('connection', this.#unreached.message);
      if (!this.#over) this.tell({ kind: 'disconnected' });
      return;
    }
    this.#connecting = false;
    if (this.#over || this.#session.phase === 'ended') {
      link.connection.reset();
      return;
    }
    const { peer } = link.connection;
    if (this.#peerKey !== undefined && this.#peerKey !== peer) {
      // Another key than the migration began with (N4): somebody else answers there.
      link.connection.reset();
      this.log.add('connection', 'another certificate than before');
      this.tell({ kind: 'disconnected' });
      return;
    }
    this.#peerKey = peer;
    this.#link = link;
    this.#unreached = null;
    this.#plane?.attach(link.speaker);
    this.log.add('connection', `connected to ${link.connection.name}`);
    this.tell({ kind: 'connected' });
    await this.#listen(link);
  }

  async #open(): Promise<Link> {
    const { connect, about, codec, threads } = this.#parts;
    const connection = await connect();
    const plane = this.#plane;
    try {
      const speaker = await Speaker.open(connection, this.#preamble(), about, {
        codec: CODEC[codec],
        threads: codec === 'raw' ? 0 : threads,
        ...(codec === 'zstd' && { level: LEVEL }),
        ...(plane !== null && { onSeal: plane.sealed }),
      });
      return { connection, speaker };
    } catch (cause) {
      connection.reset();
      throw cause;
    }
  }

  #preamble(): PreambleChoice {
    const { guest, streamId } = this.#parts;
    const tmem = guest?.machine.capabilities.domainType === DOMAIN_TYPE.emulatedWithTmem;
    return {
      kind: 'migration',
      byteOrder: 'little',
      wordBits: 32,
      domainType: guest === null ? 'unknown' : tmem ? 'emulated-tmem' : 'emulated',
      machine: EM_386,
      pageSize: guest?.machine.capabilities.pageBytes ?? 4096,
      streamId: streamId(),
    };
  }

  async #listen(link: Link): Promise<void> {
    let why = 'the other side hung up';
    try {
      for await (const heard of listen(link.connection.pieces())) {
        if (this.#link !== link || this.#over) return;
        this.#hear(heard);
      }
    } catch (cause) {
      if (this.#link !== link || this.#over) return;
      const failure = failureOf(cause);
      why = failure.message;
      // What is no stream of a migration does not become one over another connection.
      if (classOfCode(failure.code) === 'format' && failure.code !== 'TRUNCATED')
        this.tell({ kind: 'failed', failure });
    }
    this.#lost(link, why);
  }

  #hear(heard: Heard): void {
    switch (heard.kind) {
      case 'hello':
        this.log.add('hears', 'HELLO');
        this.tell(heard);
        break;
      case 'message':
        this.log.add('hears', textOf(heard.message));
        if (heard.message.kind === 'RUNNING' && this.#pauseMs !== null) {
          this.#downtimeMs ??= this.#parts.nowMs() - this.#pauseMs;
        }
        this.tell(heard);
        break;
      case 'acknowledged': {
        const plane = this.#plane;
        if (plane === null || this.#session.phase === 'asking' || this.#session.phase === 'ended') break;
        plane.acknowledge(heard.seal, heard.chain);
        this.tell({ kind: 'acknowledged', waitingSeals: plane.waitingSeals });
        break;
      }
      case 'seal':
      case 'state':
        // The destination's own seals are its own; it has no state to send.
        break;
    }
  }

  #lost(link: Link, why: string): void {
    if (this.#link !== link) return;
    this.#link = null;
    this.#generation++;
    link.connection.reset();
    this.log.add('connection', `lost: ${why}`);
    if (!this.#over) this.tell({ kind: 'disconnected' });
  }

  #say(message: Message): void {
    const link = this.#link;
    if (link === null) return;
    this.log.add('says', textOf(message));
    // A connection that does not take it is lost, and its listener sees that.
    link.speaker.say(message).catch(() => undefined);
  }

  /** SEAL and END where the order lets them be, and the end of the connection (6.4). */
  async #hangUp(): Promise<void> {
    const link = this.#link;
    if (link === null) return;
    const limit = this.#wake.after(HANG_UP_MS, () => link.connection.reset());
    await link.speaker.write((writer) => writer.end()).catch(() => undefined);
    await link.connection.close();
    limit();
  }

  #finished(ended: Failure | null): void {
    // Who never got there is told why, and not that a connection was lost.
    const { accepted } = this.#session;
    const failure = ended?.code === 'MIGRATION_LOST' && accepted === null ? (this.#unreached ?? ended) : ended;
    this.log.add('end', failure === null ? 'the machine has moved' : `${failure.code}: ${failure.message}`);
    this.#wake.clear();
    // What is done with the guest is done, and nothing follows it any more, before anybody hears of the end.
    void this.#guest
      .then(() => this.#plane?.end())
      .then(() => this.#guest)
      .then(() => this.#end({ failure }));
  }
}

/** What a message says, in a line. */
export function textOf(message: Message): string {
  switch (message.kind) {
    case 'REFUSE':
      return `REFUSE ${message.reasons.map(({ code }) => code).join(', ')}`;
    case 'FAILED':
      return `FAILED ${message.error.code}: ${message.error.message}`;
    case 'OFFER':
      return `OFFER ${message.machine.name}, epoch ${message.epoch}, ${Math.round(message.memory.bytes / MIB)} MiB`;
    default:
      return 'epoch' in message ? `${message.kind} ${message.epoch}` : message.kind;
  }
}

export function failureOf(cause: unknown): Failure {
  if (cause instanceof TransmigrateError) return { code: cause.code, message: cause.message };
  return { code: 'INTERNAL', message: cause instanceof Error ? cause.message : String(cause) };
}
