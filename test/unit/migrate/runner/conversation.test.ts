/** Sessions over real connections: every byte is a stream's, with its seals, chains and acknowledgements. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { toHex } from '../../../../src/bytes/hex.ts';
import { WritableSink } from '../../../../src/io/writable-sink.ts';
import { DEFAULT_LIMITS } from '../../../../src/migrate/precopy/convergence.ts';
import type { Left } from '../../../../src/migrate/precopy/predict.ts';
import { Unacknowledged } from '../../../../src/migrate/precopy/unacknowledged.ts';
import { answerTo, listen, Speaker, type Heard } from '../../../../src/migrate/runner/conversation.ts';
import {
  newReceiver,
  stepReceiver,
  type DestinationSessionEvent,
} from '../../../../src/migrate/session/destination.ts';
import type { DestinationEffect, SourceEffect } from '../../../../src/migrate/session/effects.ts';
import { stepSession } from '../../../../src/migrate/session/source.ts';
import { beginSession, type SourceSessionEvent } from '../../../../src/migrate/session/source-state.ts';
import type { StreamWriter } from '../../../../src/stream/writer.ts';
import {
  DESTINATION_IDENTITY,
  helloOf,
  HOST,
  OFFER,
  PROBE,
  SECRET,
  SOURCE_IDENTITY,
} from '../../../support/migration.ts';
import { random } from '../../../support/random.ts';
import { ID } from '../../../support/session-pair.ts';

const PAGE = 4096;
const PAGES = 300;
const LIMITS = { channels: 1, sealBytes: 65_536, unacknowledgedSeals: 4 };
type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;
const now = (): number => performance.now();

/** A machine of memory alone, on its source. */
class Source {
  readonly memory = random('conversation').scramble(new Uint8Array(PAGES * PAGE));
  readonly log: string[] = [];
  readonly ended: Promise<unknown>;
  #end: (failure: unknown) => void = () => undefined;
  readonly #port: number;
  /** Ends the first connection when so many pieces were sent. */
  #cutAfter: number;
  #state;
  #speaker: Speaker | null = null;
  #socket: Socket | null = null;
  #leg = 0;
  readonly #dirty = new Uint8Array(PAGES).fill(1);
  #cursor = 0;
  readonly #sent = new Unacknowledged(PAGES, 4);
  #last = { seal: 0, chain: '' };
  pagesSent = 0;

  constructor(port: number, cutAfter: number) {
    this.#port = port;
    this.#cutAfter = cutAfter;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    const hello = { ...helloOf(SOURCE_IDENTITY), limits: LIMITS };
    const memory = { bytes: PAGES * PAGE, pageBytes: PAGE, carriedBytes: PAGES * PAGE };
    const offer = { ...OFFER, memory, tmem: null };
    const begun = beginSession({ id: ID, hello, offer, ownEpoch: 6, limits: DEFAULT_LIMITS }, now());
    this.#state = begun.state;
    for (const effect of begun.effects) this.#perform(effect);
  }

  #tell(event: WithoutTime<SourceSessionEvent>): void {
    const { state, effects } = stepSession(this.#state, { ...event, nowMs: now() });
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: SourceEffect): void {
    this.log.push(effect.kind === 'send' ? `> ${effect.message.kind}` : effect.kind);
    switch (effect.kind) {
      case 'connect':
        void this.#connect(effect.leg);
        break;
      case 'send':
        this.#speaker?.say(effect.message).catch(() => undefined);
        break;
      case 'journal':
        setImmediate(() => this.#tell({ kind: 'written', end: 'durable' }));
        break;
      case 'wake':
        setTimeout(() => this.#tell({ kind: 'tick' }), Math.max(effect.atMs - now(), 0)).unref();
        break;
      case 'work':
        this.#write(
          (writer) => this.#ram(writer, effect.bytes),
          (pages) => ({
            kind: 'worked',
            section: 'ram',
            bytes: pages * PAGE,
            pages,
            invalidations: 0,
            left: { ram: this.#left(this.#cursor), tmem: 0, own: 0 },
          }),
        );
        break;
      case 'seal':
        this.#write(
          (writer) => writer.seal(),
          () => ({ kind: 'sealed', waitingSeals: this.#sent.waiting }),
        );
        break;
      case 'endRound':
        this.#write(
          (writer) => writer.round(),
          () => ({ kind: 'roundEnded', left: this.#all(), scanMs: 1 }),
        );
        break;
      case 'pause':
        setImmediate(() => this.#tell({ kind: 'paused', left: this.#all() }));
        break;
      case 'finish':
        this.#write(
          async (writer) => {
            await writer.checkpoint();
            await writer.seal();
          },
          () => ({ kind: 'finished', channels: [this.#last] }),
        );
        break;
      case 'goBack': {
        const [{ seal, chain }] = effect.place.channels;
        if (effect.sameLeg) this.#sent.holds(seal, chain);
        for (const page of this.#sent.lost()) this.#dirty[page] = 1;
        this.#tell({ kind: 'resumed', left: this.#all() });
        break;
      }
      case 'hangUp':
        setTimeout(() => this.#socket?.end(), 20);
        break;
      case 'ended':
        this.#end(effect.failure);
        break;
      default:
        break;
    }
  }

  #left(from: number): number {
    return this.#dirty.subarray(from).reduce((sum, each) => sum + each, 0) * PAGE;
  }

  #all(): Left {
    this.#cursor = 0;
    return { dirtyBytes: this.#left(0), tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 0 };
  }

  async #ram(writer: StreamWriter, bytes: number): Promise<number> {
    let pages = 0;
    for (; this.#cursor < PAGES && pages * PAGE < bytes; this.#cursor++) {
      if (this.#dirty[this.#cursor] === 0) continue;
      this.#dirty[this.#cursor] = 0;
      await writer.ram(this.#cursor, 1, this.memory, this.#cursor * PAGE);
      this.#sent.sent(this.#cursor, 1);
      pages++;
    }
    this.pagesSent += pages;
    if (--this.#cutAfter === 0) this.#socket!.destroy();
    return pages;
  }

  #write<T>(what: (writer: StreamWriter) => Promise<T>, done: (result: T) => WithoutTime<SourceSessionEvent>): void {
    void this.#written(what, done);
  }

  async #written<T>(what: (writer: StreamWriter) => Promise<T>, done: (result: T) => unknown): Promise<void> {
    const leg = this.#leg;
    try {
      const event = done(await this.#speaker!.write(what)) as WithoutTime<SourceSessionEvent>;
      if (leg === this.#leg) this.#tell(event);
    } catch {
      // The connection is lost: its end tells of it.
    }
  }

  async #connect(leg: number): Promise<void> {
    const socket = connect(this.#port, '127.0.0.1');
    this.#socket = socket;
    this.#leg = leg;
    try {
      await once(socket, 'connect');
      this.#speaker = await Speaker.open(
        new WritableSink(socket),
        {
          kind: 'migration',
          byteOrder: 'little',
          wordBits: 32,
          domainType: 'emulated',
          machine: 3,
          pageSize: PAGE,
          streamId: new Uint8Array(16).fill(leg),
        },
        { name: 'one' },
        {
          onSeal: (seal, chain) => {
            this.#last = { seal, chain: toHex(chain) };
            this.#sent.sealed(seal, this.#last.chain);
          },
        },
      );
      this.#tell({ kind: 'connected' });
      for await (const heard of listen(socket)) this.#hear(heard);
    } catch {
      // A connection that ends is one kind of news, however it ends.
    }
    this.#leg = 0;
    this.#tell({ kind: 'disconnected' });
  }

  #hear(heard: Heard): void {
    if (heard.kind === 'hello' || heard.kind === 'message') this.#tell(heard);
    if (heard.kind !== 'acknowledged') return;
    this.#sent.acknowledge(heard.seal, heard.chain);
    this.#tell({ kind: 'acknowledged', waitingSeals: this.#sent.waiting });
  }
}

class Destination {
  readonly memory = new Uint8Array(PAGES * PAGE);
  readonly log: string[] = [];
  #state = newReceiver(ID, { ...helloOf(DESTINATION_IDENTITY), limits: LIMITS });
  #speaker: Speaker | null = null;
  #current: Socket | null = null;

  tell(event: WithoutTime<DestinationSessionEvent>): void {
    const { state, effects } = stepReceiver(this.#state, { ...event, nowMs: now() });
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  async serve(socket: Socket): Promise<void> {
    // What is said before the preamble of the source came waits for it.
    const sink = new WritableSink(socket);
    let opened: Promise<void> | undefined;
    const begun = (preamble: Parameters<typeof answerTo>[0]): void => {
      opened = Speaker.open(sink, answerTo(preamble), {}).then((speaker) => {
        this.#speaker = speaker;
      });
    };
    // A connection takes the place of the one before, of whose end nobody may have heard.
    if (this.#current !== null) this.tell({ kind: 'disconnected' });
    this.#current = socket;
    this.tell({ kind: 'connected' });
    const scratch = new Uint8Array(2 ** 18);
    try {
      for await (const heard of listen(socket, begun)) {
        await opened;
        if (this.#current !== socket) return;
        if (heard.kind === 'hello' || heard.kind === 'message') this.tell(heard);
        if (heard.kind !== 'state' && heard.kind !== 'seal') continue;
        if (!this.#state.legCame) this.tell({ kind: 'stateCame', chains: ['0'.repeat(64)] });
        if (heard.kind === 'seal') this.tell({ ...heard, kind: 'applied', channel: 0 });
        else if (heard.decoded.record.kind === 'RAM') {
          heard.decoded.record.visit(
            {
              data: (first, pages, _class, source, at) =>
                this.memory.set(source.subarray(at, at + pages * PAGE), first * PAGE),
              zero: (first, pages) => this.memory.fill(0, first * PAGE, (first + pages) * PAGE),
              absent: () => undefined,
            },
            scratch,
          );
        }
      }
    } catch {
      socket.destroy();
    }
    if (this.#current !== socket) return;
    this.#current = null;
    this.tell({ kind: 'disconnected' });
  }

  #perform(effect: DestinationEffect): void {
    this.log.push(effect.kind === 'send' ? `< ${effect.message.kind}` : effect.kind);
    if (effect.kind === 'send') this.#speaker?.say(effect.message).catch(() => undefined);
    else if (effect.kind === 'journal') setImmediate(() => this.tell({ kind: 'written', end: 'durable' }));
    else if (effect.kind === 'load') setImmediate(() => this.tell({ kind: 'loaded' }));
    else if (effect.kind === 'probe') {
      const measured = { deviceLoadMs: 1, fsyncMs: 1 };
      this.tell({ kind: 'probed', host: HOST, probe: PROBE, measured, secret: SECRET });
    } else if (effect.kind === 'acknowledge') {
      const { channel, seal, chain } = effect;
      this.#speaker?.write((writer) => writer.ack(channel, seal, Buffer.from(chain, 'hex'))).catch(() => undefined);
    }
  }
}

describe('a migration over TCP (H1 to H3, T4)', () => {
  let destination: Destination;
  const server = createServer((socket) => void destination.serve(socket));
  before(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => server.close());

  test('arrives, byte by byte, and each side knows who owns it', async () => {
    destination = new Destination();
    const source = new Source((server.address() as AddressInfo).port, -1);
    assert.equal(await source.ended, null);
    assert.deepEqual(destination.memory, source.memory);
    assert.equal(source.pagesSent, PAGES);
    assert.ok(destination.log.includes('run') && source.log.includes('free'));
  });

  for (const pieces of [1, 3, 9]) {
    test(`is cut after ${pieces} pieces, and goes on from what was acknowledged`, async () => {
      destination = new Destination();
      const source = new Source((server.address() as AddressInfo).port, pieces);
      assert.equal(await source.ended, null);
      assert.deepEqual(destination.memory, source.memory);
      assert.equal(destination.log.filter((each) => each === '< HOLDS').length, 1);
      assert.ok(source.pagesSent >= PAGES && source.pagesSent <= PAGES + 6 * 16, `${source.pagesSent} pages`);
    });
  }
});
