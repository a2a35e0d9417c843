/** A snapshot is the client at one moment, whatever it does after; a restored client answers as before (T2, T6). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  CODEC,
  IncomingTmem,
  TmemEngine,
  TmemSnapshot,
  TransmigrateError,
  tmemStatistics,
  type TmemOptions,
} from '../../src/index.ts';
import { property } from './seeded.ts';
import { contentText, handleOf, operations, pageOf, perform, type Operation } from './tmem-operations.ts';

const MIB = 2 ** 20;
const settings: fc.Arbitrary<TmemOptions> = fc.record({
  limitBytes: fc.constant(64 * MIB),
  seed: fc.integer(),
  codec: fc.constantFrom(CODEC.lz4, CODEC.lzo1x, CODEC.zstd),
  client: fc.record({ compress: fc.boolean(), sharing: fc.boolean() }),
});

/** Pages in a body of stream 10.3: handle as text with its order, and content as text. */
function pagesOf(body: Uint8Array): { key: string; index: number; codec: number }[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const count = view.getUint32(8, true);
  return Array.from({ length: count }, (_, i) => {
    const at = 16 + 40 * i;
    const words = [0, 8, 16].map((word) =>
      view
        .getBigUint64(at + word, true)
        .toString(16)
        .padStart(16, '0'),
    );
    return { key: words.join('.'), index: view.getUint32(at + 24, true), codec: view.getUint8(at + 36) };
  });
}

/** Every page that a client's engine holds in a slot, by asking for all handles there are: ephemeral ones go. */
function contentsOf(engine: TmemEngine, client: number, slots: readonly number[]): Map<string, string> {
  const found = new Map<string, string>();
  const out = new Uint8Array(4096);
  for (const slot of slots) {
    for (let object = 0; object < 8; object++) {
      for (let index = 0; index < 12; index++) {
        if (engine.get(client, slot, handleOf({ object, index }), out) !== 1) continue;
        found.set(`${slot}/${object}/${index}`, contentText(out.subarray(0, engine.gotBytes)));
      }
    }
  }
  return found;
}

/** Restores what a snapshot gives, all of it. */
function restored(snapshot: TmemSnapshot, options: TmemOptions, between: () => void = () => undefined): TmemEngine {
  const engine = new TmemEngine(options);
  const { authorised, ...granted } = snapshot.client;
  const incoming = new IncomingTmem(engine, 9, granted, authorised);
  for (const pool of snapshot.pools) incoming.openPool(pool);
  for (let step = snapshot.next(); step !== undefined; step = snapshot.next()) {
    incoming.loadPages(step.body);
    // What is applied twice changes nothing (T4).
    incoming.loadPages(step.body);
    assert.equal(engine.clients.size, 0, 'it is not seen before it runs');
    between();
  }
  incoming.run();
  return engine;
}

/** Only what makes pools that travel: nobody else shares them. */
const ownOperations = (maxLength: number): fc.Arbitrary<Operation[]> => operations([1], maxLength);

property(
  'T2: a snapshot holds what there was, and the guest does not notice it',
  100,
  fc.tuple(settings, ownOperations(300), ownOperations(300), fc.boolean()),
  ([options, before, after, ephemeral]) => {
    const [watched, alone] = [new TmemEngine(options), new TmemEngine(options)];
    for (const engine of [watched, alone]) {
      engine.addClient(1);
      for (const step of before) perform(engine, step);
    }
    const witness = new TmemEngine(options);
    witness.addClient(1);
    for (const step of before) perform(witness, step);
    const snapshots = [0, 1].map(() => new TmemSnapshot(watched, 1, { ephemeral }));
    const left = [...after];
    const some = (): void => {
      for (const step of left.splice(0, 40)) {
        assert.equal(perform(watched, step), perform(alone, step), JSON.stringify(step));
      }
    };
    some();
    const [first, second] = snapshots;
    const slots = first.pools.filter(({ persistent, shared }) => persistent || !shared).map(({ slot }) => slot);
    const copy = restored(first, options, some);
    while (left.length > 0) some();
    const other = restored(second, options);
    const expected = contentsOf(witness, 1, slots);
    assert.deepEqual(contentsOf(copy, 9, slots), expected);
    assert.deepEqual(contentsOf(other, 9, slots), expected);
    const { pinnedPages, readers } = tmemStatistics(watched);
    assert.deepEqual([pinnedPages, readers], [0, 0]);
    assert.equal(tmemStatistics(watched).chargedBytes, tmemStatistics(alone).chargedBytes);
    for (const engine of [watched, copy, other]) {
      engine.destroyClient(1);
      engine.destroyClient(9);
      const { chargedBytes, slabBytes, objects } = tmemStatistics(engine);
      assert.ok(slabBytes <= MIB);
      assert.deepEqual([chargedBytes, objects], [0, 0]);
    }
  },
);

property(
  'persistent pages come in ascending order, pool by pool',
  50,
  fc.tuple(settings, ownOperations(400)),
  ([options, before]) => {
    const engine = new TmemEngine(options);
    engine.addClient(1);
    for (const step of before) perform(engine, step);
    const snapshot = new TmemSnapshot(engine, 1, { codecs: [] });
    let previous = '';
    let count = 0;
    for (let step = snapshot.next(); step !== undefined; step = snapshot.next()) {
      const slot = snapshot.pools.find(({ incarnation }) => incarnation === step.incarnation)!.slot;
      for (const { key, index, codec } of pagesOf(step.body)) {
        const here = `${slot}/${key}/${String(index).padStart(10, '0')}`;
        assert.ok(here > previous, `${here} after ${previous}`);
        assert.ok(codec === CODEC.zero || codec === CODEC.raw || codec === CODEC.opaque, 'a codec that is not known');
        previous = here;
        count++;
      }
    }
    assert.equal(count, tmemStatistics(engine).clients[0].persistentPages);
  },
);

property(
  'T6: a restored client gives the same answers as the original, at its limit too',
  40,
  fc.tuple(settings, ownOperations(300), ownOperations(600), fc.nat(3)),
  ([options, before, after, seed]) => {
    const small = { ...options, limitBytes: MIB };
    const source = new TmemEngine(small);
    source.addClient(1);
    for (const step of before) perform(source, step);
    // More than there is room for, in whatever ephemeral pools there are.
    for (let i = 0; i < 600; i++) {
      const handle = Uint32Array.of(100 + (i % 17), 0, 0, 0, 0, 0, i);
      source.put(
        1,
        (i + seed) % 4,
        handle,
        pageOf({ kind: i % 3 === 0 ? 'half' : 'random', seed: i, length: 4096 }),
        4096,
      );
    }
    if (source.clients.get(1)!.pools.some((pool) => pool?.shared === true)) return;
    // The list that a snapshot needs can cost pages too: taken before, it costs the copy nothing.
    const snapshot = new TmemSnapshot(source, 1, { ephemeral: true });
    const copy = restored(snapshot, small);
    const as9 = (step: Operation): Operation => ({ ...step, client: 9 });
    for (const [number, step] of after.entries()) {
      assert.equal(perform(copy, as9(step)), perform(source, step), `step ${number}: ${JSON.stringify(step)}`);
      if (number % 10 !== 0) continue;
      const handle = Uint32Array.of(200, 0, 0, 0, 0, 0, number);
      const page = pageOf({ kind: 'random', seed: number, length: 4096 });
      for (const slot of [0, 1, 2]) {
        const expected = source.put(1, slot, handle, page);
        assert.equal(copy.put(9, slot, handle, page), expected);
      }
    }
    assert.equal(tmemStatistics(copy).chargedBytes, tmemStatistics(source).chargedBytes);
  },
);

test('a save is given up when a guest needs what it holds; the put goes on', () => {
  const engine = new TmemEngine({ limitBytes: 2 * MIB });
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  const page = (seed: number): Uint8Array => pageOf({ kind: 'random', seed, length: 4096 });
  for (let i = 0; i < 400; i++) assert.equal(engine.put(1, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, i), page(i)), 1);
  const snapshot = new TmemSnapshot(engine, 1);
  for (let i = 0; i < 400; i++) assert.equal(engine.put(1, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, i), page(i + 1)), 1);
  assert.throws(
    () => snapshot.next(),
    (error) => error instanceof TransmigrateError && error.code === 'TMEM_SAVE_GIVEN_UP',
  );
  const { pinnedPages, readers, pages } = tmemStatistics(engine);
  assert.deepEqual([pinnedPages, readers, pages], [0, 0, 400]);
  const out = new Uint8Array(4096);
  for (let i = 0; i < 400; i++) {
    assert.equal(engine.get(1, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, i), out), 1);
    assert.deepEqual(out, page(i + 1));
  }
});

test('a save is given up before it costs all ephemeral pages', () => {
  const engine = new TmemEngine({ limitBytes: 4 * MIB });
  engine.newPool(1, 0x0100_0000, new Uint8Array(16));
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  const page = pageOf({ kind: 'random', seed: 1, length: 4096 });
  for (let i = 0; i < 900; i++) engine.put(1, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, i), page);
  const before = tmemStatistics(engine).ephemeralPages;
  const snapshot = new TmemSnapshot(engine, 1, { ephemeral: true });
  for (let i = 0; i < 150; i++) assert.equal(engine.put(1, 1, Uint32Array.of(0, 0, 0, 0, 0, 0, i), page), 1);
  assert.throws(() => snapshot.next(), { code: 'TMEM_SAVE_GIVEN_UP' });
  assert.ok(tmemStatistics(engine).ephemeralPages > before - 300, 'more went than was needed');
});
