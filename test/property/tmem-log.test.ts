/**
 * What a log reader sends leaves the destination with what the source has, whatever happens meanwhile (T3, T4): every
 * cause of removal, handles and slots that are used again, cuts at any step, one channel or several.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  CODEC,
  IncomingTmem,
  TmemEngine,
  TmemLog,
  TmemSnapshot,
  TransmigrateError,
  tmemStatistics,
  type LogStep,
} from '../../src/index.ts';
import { property } from './seeded.ts';
import { contentText, handleOf, operations, pageOf, perform, type Operation } from './tmem-operations.ts';

const MIB = 2 ** 20;

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
class Destination {
  readonly engine = new TmemEngine({ limitBytes: 256 * MIB });
  readonly #incoming = new IncomingTmem(this.engine, 1, {});
  readonly #ways: Sent[][];
  /** Step up to which each channel was applied. */
  readonly applied: number[];
  /** A pool is opened and closed once, when all channels have come to it; here they go in the order they were sent. */
  readonly #meetings = new Set<number>();
  readonly #opened = new Set<number>();
  /** What came to its end: a destination that has applied more than it could say hears of it again (protocol 6.5). */
  readonly #closed = new Set<number>();
  /** Handles that were ever sent, by incarnation: an invalidation names no other. */
  readonly #sent = new Set<string>();

  readonly #remembers: boolean;

  constructor(channels: number, remembers: boolean) {
    this.#remembers = remembers;
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

  run(): void {
    this.#incoming.run();
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

function contentsOf(engine: TmemEngine, client: number, slot: number): Map<string, string> {
  const found = new Map<string, string>();
  const out = new Uint8Array(4096);
  for (let object = 0; object < 8; object++) {
    for (let index = 0; index < 12; index++) {
      if (engine.get(client, slot, handleOf({ object, index }), out) !== 1) continue;
      found.set(`${object}/${index}`, contentText(out.subarray(0, engine.gotBytes)));
    }
  }
  return found;
}

/** Both hold the same, in the same slots. Asks with gets, so ephemeral pages are gone after it. */
function assertEqual(source: TmemEngine, destination: TmemEngine, ephemeral: boolean): void {
  const poolsOf = (engine: TmemEngine): Map<number, number> =>
    new Map(
      (tmemStatistics(engine).clients.find(({ client }) => client === 1)?.pools ?? [])
        .filter(({ persistent }) => persistent || ephemeral)
        .map(({ slot, flags }) => [slot, flags]),
    );
  const pools = poolsOf(source);
  assert.deepEqual(poolsOf(destination), pools);
  for (const [slot, flags] of pools) {
    // Shared ephemeral pools travel empty.
    if ((flags & 3) === 2) continue;
    assert.deepEqual(contentsOf(destination, 1, slot), contentsOf(source, 1, slot), `pool ${slot}`);
  }
}

type Event =
  | { readonly kind: 'operate'; readonly operation: Operation }
  | { readonly kind: 'send' | 'apply' | 'acknowledge'; readonly channel: number; readonly count: number }
  | { readonly kind: 'cut' | 'cut unsaid' | 'snapshot' | 'fill' };

const channel = fc.nat(15);
const events: fc.Arbitrary<Event[]> = operations([1, 1, 1, 2], 500).chain((all) =>
  fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.record({ kind: fc.constant('send' as const), channel, count: fc.nat(3) }) },
        { weight: 4, arbitrary: fc.record({ kind: fc.constant('apply' as const), channel, count: fc.nat(4) }) },
        { weight: 2, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), channel, count: fc.nat(0) }) },
        {
          weight: 1,
          arbitrary: fc.record({
            kind: fc.constantFrom('cut' as const, 'cut unsaid' as const, 'snapshot' as const, 'fill' as const),
          }),
        },
      ),
      { minLength: all.length >> 2, maxLength: (all.length >> 2) + 1, size: 'max' },
    )
    .map((others) =>
      all.flatMap((operation, i): Event[] =>
        i % 4 === 0 && others[i >> 2] !== undefined
          ? [others[i >> 2], { kind: 'operate', operation }]
          : [{ kind: 'operate', operation }],
      ),
    ),
);

interface Run {
  readonly all: readonly Event[];
  readonly before: readonly Operation[];
  readonly channels: number;
  readonly ephemeral: boolean;
  readonly sharing: boolean;
  readonly compress: boolean;
}

/** Runs one case. @returns whether it came to an end: a persistent pool that two share is refused. */
function replicate({ all, before, channels, ephemeral, sharing, compress }: Run): boolean {
  const engine = new TmemEngine({ limitBytes: MIB, client: { sharing, compress }, codec: CODEC.lz4 });
  engine.addClient(1);
  for (const step of before) perform(engine, step);
  let log: TmemLog;
  try {
    log = new TmemLog(engine, 1, { channels, ephemeral });
  } catch (error) {
    assert.ok(error instanceof TransmigrateError && error.code === 'TMEM_SHARED_POOL', String(error));
    return false;
  }
  const destination = new Destination(channels, !ephemeral);
  let snapshot: TmemSnapshot | undefined;
  let filled = 0;
  const said = Array.from({ length: channels }, () => 0);
  const send = (on: number): boolean => {
    const step = log.next(on);
    if (step !== undefined) destination.send(on, step);
    return step !== undefined;
  };
  try {
    for (const event of all) {
      const on = 'channel' in event ? event.channel % channels : 0;
      if (event.kind === 'operate') perform(engine, event.operation);
      else if (event.kind === 'send') for (let i = 0; i < event.count && send(on); i++);
      else if (event.kind === 'apply') destination.apply(on, event.count);
      else if (event.kind === 'acknowledge') {
        said[on] = destination.applied[on];
        log.acknowledge(on, said[on]);
      } else if (event.kind === 'cut' || (event.kind === 'cut unsaid' && ephemeral)) {
        // A shared ephemeral pool may be left and joined again, under one incarnation: then what is said must be exact.
        destination.cut();
        log.resume(destination.applied);
        for (const [at, step] of destination.applied.entries()) said[at] = step;
      } else if (event.kind === 'cut unsaid') {
        // The destination has applied more than it says: what lies behind its last seal does not count.
        destination.cut();
        log.resume(said);
      } else if (event.kind === 'snapshot') {
        snapshot?.close();
        snapshot = new TmemSnapshot(engine, 1, { ephemeral });
      } else {
        // Pages of another client, until memory is short and pages are evicted.
        engine.newPool(3, 0x0100_0000, new Uint8Array(16));
        const page = pageOf({ kind: 'random', seed: 1, length: 4096 });
        engine.set(3, { sharing: false });
        for (let i = 0; i < 150; i++) engine.put(3, 0, Uint32Array.of(9, 0, 0, 0, 0, 0, filled++), page);
      }
    }
    // The final pause: nothing changes any more.
    snapshot?.close();
    for (let on = 0; on < channels; on++) while (send(on));
    for (let on = 0; on < channels; on++) while (send(on));
    for (let round = 0; round < 1000; round++) for (let on = 0; on < channels; on++) destination.apply(on, 100);
  } catch (error) {
    assert.ok(error instanceof TransmigrateError && error.code === 'TMEM_SHARED_POOL', (error as Error).stack);
    snapshot?.close();
    log.close();
    assert.equal(tmemStatistics(engine).readers, 0);
    return false;
  }
  assert.deepEqual(log.backlog, { pages: 0, invalidations: 0, pools: 0 });
  log.close();
  assert.equal(tmemStatistics(engine).readers, 0);
  destination.run();
  assertEqual(engine, destination.engine, ephemeral);
  return true;
}

const run = fc.record({
  all: events,
  before: operations([1, 2], 100),
  channels: fc.constantFrom(1, 2, 2, 5),
  ephemeral: fc.boolean(),
  sharing: fc.boolean(),
  compress: fc.boolean(),
});

property('T3: source and destination are equal after each settle', 150, run, (each) => void replicate(each));

test('T4: content is sent once, and after a cut only what was not held', () => {
  const engine = new TmemEngine({ limitBytes: 64 * MIB });
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  const handle = new Uint32Array(7);
  const put = (index: number, seed: number): void => {
    handle[6] = index;
    assert.equal(engine.put(1, 0, handle, pageOf({ kind: 'random', seed, length: 4096 })), 1);
  };
  for (let i = 0; i < 1000; i++) put(i, i);
  const log = new TmemLog(engine, 1);
  const steps: LogStep[] = [];
  const drain = (): number => {
    const before = log.sent.pages;
    for (let step = log.next(0); step !== undefined; step = log.next(0)) steps.push(step);
    return log.sent.pages - before;
  };
  assert.equal(drain(), 1000);
  assert.equal(drain(), 0);
  for (let i = 0; i < 10; i++) put(5, 2000 + i);
  assert.equal(drain(), 1, 'only the last version is sent');
  // Held up to the second batch: what came after it is sent again.
  const batches = steps.filter((step) => step.kind === 'pages');
  log.acknowledge(0, batches[1].step);
  log.resume([batches[1].step]);
  const lost = batches.slice(2).reduce((sum, { count }) => sum + count, 0);
  assert.equal(drain(), lost);
  log.acknowledge(0, steps.at(-1)!.step);
  log.resume([steps.at(-1)!.step]);
  assert.equal(drain(), 0);
  // A page that was never sent is not invalidated; one that was is, once.
  put(5000, 1);
  engine.flushPage(1, 0, handle);
  assert.deepEqual(log.backlog, { pages: 0, invalidations: 0, pools: 0 });
  handle[6] = 7;
  engine.flushPage(1, 0, handle);
  engine.flushPage(1, 0, handle);
  assert.equal(log.backlog.invalidations, 1);
  // An object that goes is one invalidation, and a pool none but its own.
  engine.flushObject(1, 0, handle);
  assert.equal(log.backlog.invalidations, 2);
  put(1, 1);
  drain();
  engine.destroyPool(1, 0);
  assert.deepEqual(log.backlog, { pages: 0, invalidations: 0, pools: 1 });
  log.close();
});

test('the lists of a log reader do not grow while a guest changes one page and nobody reads', () => {
  const engine = new TmemEngine({ limitBytes: 64 * MIB });
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  const log = new TmemLog(engine, 1);
  const handle = new Uint32Array(7);
  const page = pageOf({ kind: 'half', seed: 1, length: 4096 });
  engine.put(1, 0, handle, page);
  while (log.next(0) !== undefined);
  const before = log.bytes;
  for (let i = 0; i < 20_000; i++) {
    engine.put(1, 0, handle, page);
    if (i % 2 === 0) engine.flushPage(1, 0, handle);
  }
  assert.equal(log.bytes, before);
  assert.deepEqual(log.backlog, { pages: 1, invalidations: 1, pools: 0 });
});

test('so many readers, and no more', () => {
  const engine = new TmemEngine({ limitBytes: 64 * MIB });
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  const readers = Array.from({ length: 8 }, (_, i) =>
    i % 2 === 0 ? new TmemLog(engine, 1) : new TmemSnapshot(engine, 1),
  );
  assert.throws(() => new TmemLog(engine, 1), { code: 'TMEM_READERS' });
  assert.throws(() => new TmemSnapshot(engine, 1), { code: 'TMEM_READERS' });
  readers[3].close();
  readers[3].close();
  new TmemLog(engine, 1).close();
  for (const reader of readers) reader.close();
  assert.equal(tmemStatistics(engine).readers, 0);
});
