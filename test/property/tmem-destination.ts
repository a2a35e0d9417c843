/** Where a log reader's steps go in tests: channels on which they lie until they are applied, or lost. */
import assert from 'node:assert/strict';
import { IncomingTmem, TmemEngine, type ClientSettings, type LogStep, type TmemOptions } from '../../src/index.ts';
import { PAGE } from '../../src/tmem/page-table.ts';

/** A step as it lies on the way: bodies are the reader's, so they are copied. */
interface Sent {
  readonly step: LogStep;
  readonly body: Uint8Array | undefined;
}

/** Handles of a body, as text. */
function handlesOf(body: Uint8Array, entryBytes: number): string[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const count = view.getUint32(entryBytes === 40 ? 8 : 12, true);
  return Array.from({ length: count }, (_, i) => {
    const at = 16 + entryBytes * i;
    return [0, 8, 16].map((word) => view.getBigUint64(at + word, true)).join('.') + `/${view.getUint32(at + 24, true)}`;
  });
}

/** A destination behind channels: what was sent lies on the way until it is applied or lost. */
export class Destination {
  readonly engine: TmemEngine;
  readonly #incoming: IncomingTmem;
  readonly #ways: Sent[][];
  /** Step up to which each channel was applied. */
  readonly applied: number[];
  /** A pool is opened and closed once, when all channels have come to it; here they go in the order they were sent. */
  readonly #meetings = new Set<number>();
  readonly #opened = new Set<number>();
  /** What came to its end: a destination that has applied more than it could say hears of it again (protocol 6.5). */
  readonly #closed = new Set<number>();
  readonly #remembers: boolean;
  /** Handles that were ever sent, by incarnation: an invalidation names no other. */
  readonly #sent = new Set<string>();

  constructor(channels: number, options: Partial<TmemOptions> = {}, remembers = false) {
    this.#remembers = remembers;
    // While a log is applied there can be more than the source has for a moment (spec/tmem.md 7.2).
    this.engine = new TmemEngine({ ...options, limitBytes: 256 * 2 ** 20 });
    this.#incoming = new IncomingTmem(this.engine, 1, {});
    this.#ways = Array.from({ length: channels }, () => []);
    this.applied = Array.from({ length: channels }, () => 0);
  }

  send(channel: number, step: LogStep): void {
    const sent: Sent = { step, body: 'body' in step ? step.body.slice() : undefined };
    if (step.kind === 'open' || step.kind === 'close') for (const way of this.#ways) way.push(sent);
    else this.#ways[channel].push(sent);
    if (step.kind === 'pages') {
      for (const handle of handlesOf(step.body, 40)) this.#sent.add(`${step.incarnation}/${handle}`);
    }
    if (step.kind === 'invalidate' && new DataView(step.body.buffer, step.body.byteOffset).getUint32(8, true) === 1) {
      for (const handle of handlesOf(step.body, 32)) {
        assert.ok(this.#sent.has(`${step.incarnation}/${handle}`), `${handle} was never sent`);
      }
    }
  }

  /** Applies what lies on a channel's way, up to so many steps, and no further than a meeting that others miss. */
  apply(channel: number, count: number): void {
    for (let left = count; left > 0 && this.#ways[channel].length > 0; left--) {
      const { step, body } = this.#ways[channel][0];
      if (step.kind === 'open' || step.kind === 'close') {
        if (this.#ways.some((way) => way[0]?.step !== step)) return;
        for (const [other, way] of this.#ways.entries()) {
          way.shift();
          this.applied[other] = step.step;
        }
        this.#meet(step, body);
        continue;
      }
      this.#ways[channel].shift();
      if (step.kind === 'pages') this.#incoming.loadPages(body!);
      else this.#incoming.invalidate(body!);
      this.applied[channel] = step.step;
    }
  }

  /** The connection is lost, with all that lies on the way. */
  cut(): void {
    for (const way of this.#ways) way.length = 0;
  }

  /** The client runs, with what an operator had set. */
  run(settings: Partial<ClientSettings> = {}): void {
    this.#incoming.run();
    this.engine.set(1, settings);
  }

  #meet(step: LogStep, body: Uint8Array | undefined): void {
    assert.ok(!this.#meetings.has(step.step));
    this.#meetings.add(step.step);
    if (step.kind === 'open') {
      if (this.#opened.has(step.pool.incarnation) || this.#closed.has(step.pool.incarnation)) return;
      this.#opened.add(step.pool.incarnation);
      this.#incoming.openPool(step.pool);
    } else if (step.kind === 'close' && this.#opened.has(step.incarnation)) {
      this.#opened.delete(step.incarnation);
      if (this.#remembers) this.#closed.add(step.incarnation);
      this.#incoming.invalidate(body!);
    }
  }
}

/** The pages of a client's private ephemeral pools, the oldest first: slot and handle. */
export function recencyOf(engine: TmemEngine, id: number): string[] {
  const client = engine.clients.get(id)!;
  const { table, pools } = engine.holdings;
  const handle = new Uint32Array(7);
  const found: string[] = [];
  for (let page = table.pages.get(client.own, PAGE.ownNext); page !== client.own;) {
    const pool = pools[table.poolOf(page)]!;
    table.handleOf(page, handle);
    if (!pool.shared) found.push(`${client.slotOf(pool)}/${handle.join('.')}`);
    page = table.pages.get(page, PAGE.ownNext);
  }
  return found;
}
