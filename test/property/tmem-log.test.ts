/**
 * What a log reader sends leaves the destination with what the source has, whatever happens meanwhile (T3, T4): every
 * cause of removal, handles and slots that are used again, cuts at any step, one channel or several.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  CODEC,
  TmemEngine,
  TmemLog,
  TmemSnapshot,
  TransmigrateError,
  tmemStatistics,
  type LogStep,
} from '../../src/index.ts';
import { property } from './seeded.ts';
import { Destination, recencyOf } from './tmem-destination.ts';
import { contentText, handleOf, operations, pageOf, perform, type Operation } from './tmem-operations.ts';

const MIB = 2 ** 20;

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
  const destination = new Destination(channels, {}, !ephemeral);
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
  if (ephemeral) assert.deepEqual(recencyOf(destination.engine, 1), recencyOf(engine, 1), 'order of eviction');
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

property(
  'a client that a log carried answers as the original, at its limit too',
  60,
  fc.record({
    before: operations([1], 200),
    meanwhile: operations([1], 300),
    after: operations([1], 500),
    channels: fc.constantFrom(1, 2),
    sharing: fc.boolean(),
    compress: fc.boolean(),
    cutAt: fc.nat(300),
    seed: fc.nat(3),
  }),
  ({ before, meanwhile, after, channels, sharing, compress, cutAt, seed }) => {
    const options = { limitBytes: MIB, client: { sharing, compress }, codec: CODEC.lz4, seed } as const;
    const source = new TmemEngine(options);
    source.addClient(1);
    for (const step of before) perform(source, step);
    const log = new TmemLog(source, 1, { channels, ephemeral: true });
    const destination = new Destination(channels, options);
    const send = (on: number): boolean => {
      const step = log.next(on);
      if (step !== undefined) destination.send(on, step);
      return step !== undefined;
    };
    let filled = 0;
    for (const [number, step] of meanwhile.entries()) {
      perform(source, step);
      // More than there is room for, in whatever ephemeral pools there are.
      for (let i = 0; i < 3; i++, filled++) {
        const page = pageOf({ kind: filled % 3 === 0 ? 'half' : 'random', seed: filled, length: 4096 });
        source.put(1, (filled + seed) % 4, Uint32Array.of(100 + (filled % 17), 0, 0, 0, 0, 0, filled), page);
      }
      const on = number % channels;
      if (number % 5 === 0) send(on);
      if (number % 7 === 0) destination.apply(on, 2);
      if (number % 11 === 0) log.acknowledge(on, destination.applied[on]);
      if (number === cutAt) {
        destination.cut();
        log.resume(destination.applied);
      }
    }
    for (let twice = 0; twice < 2; twice++) for (let on = 0; on < channels; on++) while (send(on));
    for (let round = 0; round < 1000; round++) for (let on = 0; on < channels; on++) destination.apply(on, 100);
    const { weight, cap, allowance, frozen } = log.client;
    log.close();
    const copy = destination.engine;
    destination.run({ weight, cap, allowance, frozen, compress });
    copy.setLimit(MIB);
    // A shared pool travels empty.
    if (source.clients.get(1)!.pools.some((pool) => pool?.shared === true)) return;
    assert.deepEqual(recencyOf(copy, 1), recencyOf(source, 1));
    assert.equal(tmemStatistics(copy).chargedBytes, tmemStatistics(source).chargedBytes);
    for (const [number, step] of after.entries()) {
      assert.equal(perform(copy, step), perform(source, step), `step ${number}: ${JSON.stringify(step)}`);
      const handle = Uint32Array.of(200, 0, 0, 0, 0, 0, number);
      const page = pageOf({ kind: 'random', seed: number, length: 4096 });
      for (const slot of [0, 1, 2]) {
        const expected = source.put(1, slot, handle, page);
        assert.equal(copy.put(1, slot, handle, page), expected, `put ${number} in ${slot}`);
      }
    }
    assert.deepEqual(recencyOf(copy, 1), recencyOf(source, 1));
  },
);

property('T3: source and destination are equal after each settle', 150, run, (each) => void replicate(each));

/** Fills a pool of client 1 with pages that are named by `index`. */
function putEach(engine: TmemEngine, slot: number, indexes: readonly number[]): void {
  for (const index of indexes) {
    const page = pageOf({ kind: 'head', seed: index, length: 4096 });
    assert.equal(engine.put(1, slot, Uint32Array.of(0, 0, 0, 0, 0, 0, index), page), 1);
  }
}

for (const leaves of ['a get of another client', 'the owner'] as const) {
  test(`the order holds where the page that was sent last is moved by ${leaves}`, () => {
    const engine = new TmemEngine({ limitBytes: 64 * MIB });
    const uuid = new Uint8Array(16).fill(3);
    assert.equal(engine.newPool(1, 0x0100_0000, new Uint8Array(16)), 0);
    assert.equal(engine.newPool(1, 0x0100_0002, uuid), 1);
    assert.equal(engine.newPool(2, 0x0100_0002, uuid), 0);
    const log = new TmemLog(engine, 1, { ephemeral: true, channels: 2 });
    const destination = new Destination(2);
    const settle = (): void => {
      for (let on = 0; on < 2; on++) {
        for (let step = log.next(on); step !== undefined; step = log.next(on)) destination.send(on, step);
      }
      for (let round = 0; round < 9; round++) for (let on = 0; on < 2; on++) destination.apply(on, 100);
    };
    putEach(engine, 0, [5, 1]);
    const shared = Uint8Array.from({ length: 4096 }, () => 7);
    assert.equal(engine.put(2, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, 7), shared), 1);
    settle();
    putEach(engine, 0, [9]);
    // The shared page, which is the last that was passed, goes from its place while others wait to be sent.
    if (leaves === 'the owner') engine.destroyPool(1, 1);
    else assert.equal(engine.get(2, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, 7), new Uint8Array(4096)), 1);
    putEach(engine, 0, [2, 8]);
    settle();
    assert.deepEqual(log.backlog, { pages: 0, invalidations: 0, pools: 0 });
    log.close();
    destination.run();
    assert.deepEqual(
      recencyOf(engine, 1).map((name) => name.split('.').at(-1)),
      ['5', '1', '9', '2', '8'],
    );
    assert.deepEqual(recencyOf(destination.engine, 1), recencyOf(engine, 1));
  });
}

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
