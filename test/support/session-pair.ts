/** Two sessions that talk to each other, with everything that they ask for done at once. */
import { decodeHelloHead, decodeMessage, encodeMessage, type Message } from '../../src/migrate/protocol/messages.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/migrate/precopy/convergence.ts';
import type { SectionName } from '../../src/migrate/precopy/shares.ts';
import type { Left } from '../../src/migrate/precopy/predict.ts';
import {
  newReceiver,
  stepReceiver,
  type DestinationSession,
  type DestinationSessionEvent,
} from '../../src/migrate/session/destination.ts';
import type { DestinationEffect, SourceEffect } from '../../src/migrate/session/effects.ts';
import { stepSession } from '../../src/migrate/session/source.ts';
import {
  beginSession,
  type SourceRequest,
  type SourceSession,
  type SourceSessionEvent,
} from '../../src/migrate/session/source-state.ts';
import { DESTINATION_IDENTITY, helloOf, HOST, OFFER, PROBE, SECRET, SOURCE_IDENTITY } from './migration.ts';

const MIB = 2 ** 20;
export const ID: string = '1'.repeat(32);

type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;
export type SourceEvent = WithoutTime<SourceSessionEvent>;
export type ReceiverEvent = WithoutTime<DestinationSessionEvent>;

export interface PairOptions {
  readonly limits?: Partial<Limits>;
  readonly offer?: Partial<typeof OFFER>;
  readonly host?: Partial<typeof HOST>;
  readonly sourceHello?: Partial<ReturnType<typeof helloOf>>;
  readonly destinationHello?: Partial<ReturnType<typeof helloOf>>;
  /** Bytes that the guest dirties in each round. */
  readonly dirtyBytes?: number;
  /** Effects of either side that are not performed: their names, as in {@link Pair.log}. */
  readonly hold?: readonly string[];
}

export class Pair {
  nowMs = 1000;
  source: SourceSession;
  destination: DestinationSession;
  /** What was done and said, in order: `> OFFER`, `source pause`, `destination journal RUNNING` ... */
  readonly log: string[] = [];
  readonly messages: { readonly from: 'source' | 'destination'; readonly message: Message }[] = [];
  sourceFailure: unknown = undefined;
  wakeMs: number | null = null;
  connected = false;
  refuseConnections = false;
  readonly options: PairOptions;
  #queue: (() => void)[] = [];
  #seals = 0;
  #leg = 1;
  #left: Record<SectionName, number>;
  #unacknowledged: number[] = [];

  constructor(options: PairOptions = {}) {
    this.options = options;
    const offer = { ...OFFER, ...options.offer };
    const request: SourceRequest = {
      id: ID,
      hello: { ...helloOf(SOURCE_IDENTITY), ...options.sourceHello },
      offer,
      ownEpoch: 6,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
    };
    this.destination = newReceiver(ID, { ...helloOf(DESTINATION_IDENTITY), ...options.destinationHello });
    this.#left = { ram: offer.memory.bytes, tmem: offer.tmem?.persistent.carriedBytes ?? 0, own: 0 };
    const { state, effects } = beginSession(request, this.nowMs);
    this.source = state;
    this.#performSource(effects);
  }

  /** Goes on until nothing happens by itself, or until something was logged. */
  run(until?: string): this {
    for (let steps = 0; steps < 20_000; steps++) {
      if (until !== undefined && this.log.at(-1) === until) return this;
      const next = this.#queue.shift();
      if (next === undefined) return this;
      next();
    }
    throw new Error('it does not end');
  }

  /** Time goes by, and the source's wake comes. */
  wait(ms: number): this {
    const until = this.nowMs + ms;
    while (this.wakeMs !== null && this.wakeMs <= until) {
      this.nowMs = Math.max(this.wakeMs, this.nowMs);
      this.wakeMs = null;
      this.tellSource({ kind: 'tick' });
      this.run();
    }
    this.nowMs = until;
    return this;
  }

  cut(): this {
    this.#queue = [];
    this.connected = false;
    this.tellSource({ kind: 'disconnected' });
    this.tellDestination({ kind: 'disconnected' });
    return this;
  }

  /** The destination's host is another one, or was started again: it knows nothing. */
  forget(identity: string = DESTINATION_IDENTITY): this {
    this.destination = newReceiver(ID, helloOf(identity));
    return this;
  }

  tellSource(event: SourceEvent): void {
    const { state, effects } = stepSession(this.source, { ...event, nowMs: this.nowMs });
    this.source = state;
    this.#performSource(effects);
  }

  tellDestination(event: ReceiverEvent): void {
    const { state, effects } = stepReceiver(this.destination, { ...event, nowMs: this.nowMs });
    this.destination = state;
    this.#performDestination(effects);
  }

  /** How often something was logged. */
  count(entry: string): number {
    return this.log.filter((each) => each === entry).length;
  }

  #later(what: () => void): void {
    this.#queue.push(what);
  }

  #answer(event: SourceEvent): void {
    this.#later(() => this.tellSource(event));
  }

  #say(from: 'source' | 'destination', message: Message): void {
    this.log.push(`${from === 'source' ? '>' : '<'} ${message.kind}`);
    this.messages.push({ from, message });
    const body = encodeMessage(message);
    if (!this.connected) return;
    this.#later(() => {
      const read = decodeMessage(message.kind, body);
      const event =
        read.kind === 'HELLO'
          ? ({ kind: 'hello', head: decodeHelloHead(body), message: read, body } as const)
          : ({ kind: 'message', message: read, body } as const);
      if (from === 'source') this.tellDestination(event);
      else this.tellSource(event);
    });
  }

  #chain(seal: number): string {
    return `${this.#leg}`.padStart(2, '0') + `${seal}`.padStart(62, '0');
  }

  #stateGoes(): void {
    this.#later(() => {
      if (!this.destination.legCame) this.tellDestination({ kind: 'stateCame', chains: [this.#chain(0)] });
    });
  }

  #seal(): { readonly seal: number; readonly chain: string } {
    const seal = ++this.#seals;
    const chain = this.#chain(seal);
    this.#unacknowledged.push(seal);
    this.#stateGoes();
    this.#later(() => this.tellDestination({ kind: 'applied', channel: 0, seal, chain }));
    return { seal, chain };
  }

  #leftNow(): Left {
    const dirtyBytes = this.options.dirtyBytes ?? 0;
    const speed = 1 - this.source.throttle / 100;
    this.#left = { ram: Math.round(dirtyBytes * speed), tmem: 0, own: 0 };
    return { dirtyBytes: this.#left.ram, tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 20_000 };
  }

  #held(entry: string): boolean {
    this.log.push(entry);
    return this.options.hold?.includes(entry) === true;
  }

  #performSource(effects: readonly SourceEffect[]): void {
    for (const effect of effects) {
      const { kind } = effect;
      if (kind === 'send') this.#say('source', effect.message);
      else if (kind === 'wake') this.wakeMs = effect.atMs;
      else if (kind === 'journal') {
        if (this.#held(`source journal ${effect.record.kind}`)) continue;
        this.#answer({ kind: 'written', end: 'durable' });
      } else if (!this.#held(`source ${kind}`)) this.#doSource(effect);
    }
  }

  #doSource(effect: SourceEffect): void {
    switch (effect.kind) {
      case 'connect':
        this.#later(() => {
          if (this.refuseConnections) {
            this.tellSource({ kind: 'disconnected' });
            return;
          }
          this.connected = true;
          this.#leg = effect.leg;
          this.tellDestination({ kind: 'connected' });
          this.tellSource({ kind: 'connected' });
        });
        break;
      case 'hangUp':
        this.#later(() => (this.connected = false));
        break;
      case 'work': {
        const bytes = Math.min(effect.bytes, this.#left[effect.section]);
        this.#left = { ...this.#left, [effect.section]: this.#left[effect.section] - bytes };
        this.nowMs += bytes / (MIB / 10);
        this.#stateGoes();
        const { section } = effect;
        this.#answer({ kind: 'worked', section, bytes, pages: bytes >> 12, invalidations: 0, left: this.#left });
        break;
      }
      case 'seal':
        this.#seal();
        this.#answer({ kind: 'sealed', waitingSeals: this.#unacknowledged.length });
        break;
      case 'endRound':
        this.#answer({ kind: 'roundEnded', left: this.#leftNow(), scanMs: 1 });
        break;
      case 'pause':
        this.#answer({ kind: 'paused', left: this.#leftNow() });
        break;
      case 'finish':
        this.#answer({ kind: 'finished', channels: [this.#seal()] });
        break;
      case 'goBack':
        this.#seals = 0;
        this.#unacknowledged = [];
        this.#left = { ...this.#left, ram: this.#left.ram + MIB };
        this.#answer({
          kind: 'resumed',
          left: {
            dirtyBytes: this.#left.ram,
            tmemBytes: this.#left.tmem,
            invalidations: 0,
            ownBytes: 0,
            deviceBytes: 20_000,
          },
        });
        break;
      case 'ended':
        this.sourceFailure = effect.failure;
        break;
      default:
        break;
    }
  }

  #performDestination(effects: readonly DestinationEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send') this.#say('destination', effect.message);
      else if (effect.kind === 'journal') {
        if (this.#held(`destination journal ${effect.record.kind}`)) continue;
        this.#later(() => this.tellDestination({ kind: 'written', end: 'durable' }));
      } else if (effect.kind === 'acknowledge') {
        if (this.#held('destination acknowledge')) continue;
        const { seal } = effect;
        this.#later(() => {
          this.#unacknowledged = this.#unacknowledged.filter((each) => each > seal);
          this.tellSource({ kind: 'acknowledged', waitingSeals: this.#unacknowledged.length });
        });
      } else if (!this.#held(`destination ${effect.kind}`)) this.#doDestination(effect);
    }
  }

  #doDestination(effect: DestinationEffect): void {
    if (effect.kind === 'probe') {
      const host = { ...HOST, ...this.options.host };
      const measured = { deviceLoadMs: 5, fsyncMs: 2 };
      this.#later(() => this.tellDestination({ kind: 'probed', host, probe: PROBE, measured, secret: SECRET }));
    } else if (effect.kind === 'load') {
      this.#later(() => this.tellDestination({ kind: 'loaded' }));
    }
  }
}
