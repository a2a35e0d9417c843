/** The engine and the model give the same answers (T1); its limits hold whatever guests do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { CODEC, TmemEngine, TmemHypercall, tmemStatistics, type TmemOptions } from '../../src/index.ts';
import { property } from './seeded.ts';
import { TmemModel } from './tmem-model.ts';
import { handleOf, operations, pageOf, perform, performOnModel } from './tmem-operations.ts';

const CLIENTS = [1, 2, 70_000];
const MIB = 2 ** 20;

const settings: fc.Arbitrary<TmemOptions> = fc.record({
  limitBytes: fc.constant(64 * MIB),
  seed: fc.integer(),
  codec: fc.constantFrom(CODEC.lz4, CODEC.lzo1x, CODEC.zstd, CODEC.deflate, CODEC.raw),
  client: fc.record({ compress: fc.boolean(), sharing: fc.boolean() }),
});

/** What is held, counted once more from what can be seen. */
function assertSound(engine: TmemEngine): void {
  const all = tmemStatistics(engine);
  const pools = new Map(all.clients.flatMap((client) => client.pools).map((pool) => [pool.incarnation, pool]));
  const sum = (of: (pool: (typeof all.clients)[0]['pools'][0]) => number): number =>
    [...pools.values()].reduce((total, pool) => total + of(pool), 0);
  assert.equal(
    sum(({ pages }) => pages),
    all.pages,
    'pages',
  );
  assert.equal(
    sum(({ persistent, pages }) => (persistent ? 0 : pages)),
    all.ephemeralPages,
    'ephemeral pages',
  );
  assert.equal(
    all.clients.reduce((total, client) => total + client.ephemeralPages + client.persistentPages, 0),
    all.pages,
    'pages of clients',
  );
  assert.ok(all.chargedBytes <= all.limitBytes, `${all.chargedBytes} of ${all.limitBytes}`);
  assert.ok(all.slabBytes <= all.limitBytes + 6 * MIB, `slabs of ${all.slabBytes}`);
  assert.ok(all.freeableBytes >= 0 && all.pinnedPages >= 0);
}

property(
  'the engine answers as the model does',
  150,
  fc.tuple(settings, operations(CLIENTS, 600)),
  ([options, steps]) => {
    const engine = new TmemEngine(options);
    const model = new TmemModel();
    for (const [number, step] of steps.entries()) {
      assert.equal(perform(engine, step), performOnModel(model, step), `step ${number}: ${JSON.stringify(step)}`);
    }
    assertSound(engine);
    for (const id of CLIENTS) engine.destroyClient(id);
    const { chargedBytes, slabBytes, pages, objects, sharedContents } = tmemStatistics(engine);
    assert.ok(slabBytes <= MIB, `${slabBytes} bytes of slabs are kept`);
    assert.deepEqual([chargedBytes, pages, objects, sharedContents], [0, 0, 0, 0]);
  },
);

test('a put under pressure is read back, or not at all, and the limit holds', () => {
  for (const sharing of [false, true]) {
    const engine = new TmemEngine({ limitBytes: MIB, client: { compress: true, sharing, allowance: 100 } });
    engine.newPool(1, 0x0100_0000, new Uint8Array(16));
    engine.newPool(1, 0x0100_0001, new Uint8Array(16));
    const handle = new Uint32Array(7);
    const last = new Map<number, number>();
    const out = new Uint8Array(4096);
    let found = 0;
    for (let step = 0; step < 20_000; step++) {
      const name = (step * 7919) % 2503;
      const kind = (['random', 'half', 'repeating', 'zero', 'head'] as const)[step % 5];
      const slot = name % 2;
      handle[0] = name;
      if (step % 3 !== 0) {
        const result = engine.put(1, slot, handle, pageOf({ kind, seed: step, length: 4096 }));
        assert.ok(result === 1 || (slot === 1 && (result === -12 || result === -28)), `${result} in ${slot}`);
        if (result === 1) last.set(name, step);
        else last.delete(name);
      } else if (engine.get(1, slot, handle, out) === 1) {
        const put = last.get(name);
        assert.ok(put !== undefined, 'a page that a put had removed');
        const kindThen = (['random', 'half', 'repeating', 'zero', 'head'] as const)[put % 5];
        assert.deepEqual(out, pageOf({ kind: kindThen, seed: put, length: 4096 }));
        found++;
      }
      if (step % 100 === 0) assertSound(engine);
    }
    assert.ok(found > 150, `only ${found} pages were found`);
    const { evictions } = tmemStatistics(engine);
    assert.ok(evictions > 500, `only ${evictions} evictions`);
    assert.ok(tmemStatistics(engine).clients[0].persistentPages <= 100);
  }
});

const descriptors = fc.array(
  fc.record({
    client: fc.nat(3),
    operation: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 6 }) }, { weight: 1, arbitrary: fc.nat() }),
    pool: fc.oneof({ weight: 9, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.nat() }),
    flags: fc.constantFrom(0, 1, 2, 3, 4, 5).map((f) => f | 0x0100_0000),
    object: fc.nat(5),
    index: fc.nat(40),
    length: fc.constantFrom(0, 0, 0, 1, 4096, 4097, 0xffff_ffff),
    junk: fc.option(fc.tuple(fc.nat(63), fc.nat(255)), { freq: 8 }),
    page: fc.constantFrom('page', 'page', 'page', 'none', 'short'),
    content: fc.nat(50),
  }),
  { maxLength: 2000, size: 'max' },
);

property(
  'whatever a guest writes into descriptors, the answer is a number and the limit holds',
  60,
  descriptors,
  (all) => {
    const engine = new TmemEngine({ limitBytes: MIB, client: { compress: true } });
    const hypercall = new TmemHypercall(engine);
    const answers = new Set([1, 0, -1, -12, -14, -19, -22, -28, -1000, -1001]);
    for (const { client, operation, pool, flags, object, index, length, junk, page, content } of all) {
      const descriptor = new Uint8Array(64);
      const view = new DataView(descriptor.buffer);
      view.setUint32(0, operation, true);
      view.setUint32(12, operation === 1 ? flags : pool, true);
      view.setUint32(16, object, true);
      view.setUint32(40, operation === 1 ? 0 : index, true);
      view.setUint32(44, operation === 1 ? 0 : length, true);
      if (junk !== null) [descriptor[junk[0]]] = [junk[1]];
      const bytes = page === 'none' ? undefined : pageOf({ kind: 'random', seed: content, length: 4096 });
      const result = hypercall.execute(client, descriptor, page === 'short' ? bytes?.subarray(1) : bytes);
      assert.ok(answers.has(result) || (result >= 0 && result < 16), String(result));
      assert.equal(view.getInt32(8, true), result);
    }
    assertSound(engine);
  },
);

test('a hog beside a quiet client of equal weight leaves it its share', () => {
  for (const hogFirst of [true, false]) {
    const engine = new TmemEngine({ limitBytes: 8 * MIB });
    for (const client of [1, 2]) engine.newPool(client, 0x0100_0000, new Uint8Array(16));
    const page = pageOf({ kind: 'random', seed: 1, length: 4096 });
    let name = 0;
    const put = (client: number, count: number): void => {
      for (let i = 0; i < count; i++) engine.put(client, 0, handleOf({ object: 0, index: 0 }).fill(name++, 6, 7), page);
    };
    if (hogFirst) put(1, 5000);
    // The quiet one puts one page for a hundred of the hog, until it has put what its share would hold.
    for (let i = 0; i < 1500; i++) {
      put(2, 1);
      put(1, 100);
    }
    const [hog, quiet] = tmemStatistics(engine).clients.map(({ ephemeralPages }) => ephemeralPages);
    assert.ok(quiet >= 0.95 * 0.5 * (hog + quiet), `hog ${hog}, quiet ${quiet}`);
  }
});

test('quotas follow weights', () => {
  const engine = new TmemEngine({ limitBytes: 8 * MIB });
  const weights = new Map([
    [1, 100],
    [2, 300],
    [3, 600],
  ]);
  for (const [client, weight] of weights) {
    engine.newPool(client, 0x0100_0000, new Uint8Array(16));
    engine.set(client, { weight });
  }
  const page = pageOf({ kind: 'random', seed: 1, length: 4096 });
  for (let i = 0; i < 20_000; i++) {
    for (const client of weights.keys()) engine.put(client, 0, Uint32Array.of(i, 0, 0, 0, 0, 0, 0), page);
  }
  const { clients, ephemeralPages } = tmemStatistics(engine);
  for (const client of clients) {
    const share = client.ephemeralPages / ephemeralPages;
    assert.ok(Math.abs(share - client.weight / 1000) < 0.01, `${client.weight}: ${share}`);
  }
});
