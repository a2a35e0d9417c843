/**
 * Guests that want to do harm, on a host that is full, with a model beside them: what a get gives is what was put last,
 * by somebody who shares the pool; what can't be kept is said; and nobody has more than is allowed (T1).
 */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  CODEC,
  IncomingTmem,
  TmemEngine,
  TmemHypercall,
  TmemLog,
  TmemSnapshot,
  TransmigrateError,
  tmemStatistics,
} from '../../src/index.ts';
import { property } from './seeded.ts';
import { TmemModel } from './tmem-model.ts';
import { contentText, handleOf, operations, pageOf, perform, uuidOf, type Operation } from './tmem-operations.ts';

const MIB = 2 ** 20;
const CLIENTS = [1, 2, 3];
/** Nobody has authorised it for anything. */
const STRANGER = 4;
const ALLOWANCE = 16;
const CAP = 30;
/** What each client has at first: persistent, ephemeral, and both kinds shared; more come and go. */
const POOLS = [1, 0, 3, 2].map((flags) => flags | 0x0100_0000);

/** Carries an operation out through descriptors, as a guest's driver does. */
class Guests {
  readonly #hypercall: TmemHypercall;
  readonly #descriptor = new Uint8Array(64);
  readonly #page = new Uint8Array(4096);

  constructor(engine: TmemEngine) {
    this.#hypercall = new TmemHypercall(engine);
  }

  /** @param broken a put whose page is nowhere, or whose length is not possible. */
  ask(client: number, operation: Operation, precompressed: boolean, broken?: 'page' | 'length'): number | string {
    const view = new DataView(this.#descriptor.buffer);
    this.#descriptor.fill(0);
    const number = { newPool: 1, destroyPool: 2, put: 3, get: 4, flushPage: 5, flushObject: 6 } as const;
    const { op } = operation;
    if (op === 'freeze' || op === 'thaw' || op === 'destroyClient') throw new Error('not for guests');
    view.setUint32(0, number[op], true);
    if (operation.op === 'newPool') {
      view.setUint32(12, operation.flags, true);
      this.#descriptor.set(uuidOf(operation.uuid), 16);
    } else {
      view.setUint32(12, operation.slot, true);
      if ('at' in operation) {
        for (const [half, value] of handleOf(operation.at).entries()) view.setUint32(16 + 4 * half, value, true);
      }
    }
    if (operation.op === 'put') {
      this.#page.set(pageOf(operation.page));
      if (precompressed) view.setUint32(44, operation.page.length, true);
    } else {
      this.#page.fill(0x5a);
    }
    if (broken === 'length') view.setUint32(44, precompressed ? 4097 : 1, true);
    const result = this.#hypercall.execute(client, this.#descriptor, broken === 'page' ? undefined : this.#page);
    if (op !== 'get' || result !== 1) return result;
    return contentText(this.#page.subarray(0, precompressed ? view.getUint32(44, true) : 4096));
  }

  /** Bytes that mean nothing, from somebody who has nothing. */
  nonsense(bytes: readonly number[], page: Uint8Array | undefined): void {
    this.#descriptor.fill(0);
    this.#descriptor.set(bytes.slice(0, 64));
    // Half of them are at least some operation.
    if ((bytes[0] ?? 0) % 2 === 0) this.#descriptor.set([((bytes[1] ?? 0) % 6) + 1, 0, 0, 0]);
    const result = this.#hypercall.execute(STRANGER, this.#descriptor, page);
    assert.ok(Number.isInteger(result) && result >= -1001 && result < 16, String(result));
  }
}

type Step =
  | { readonly kind: 'operate'; readonly operation: Operation }
  | { readonly kind: 'nonsense'; readonly bytes: readonly number[]; readonly page: boolean }
  | { readonly kind: 'broken'; readonly operation: Operation; readonly how: 'page' | 'length' }
  | { readonly kind: 'destroy'; readonly client: number }
  | { readonly kind: 'flush' | 'fill'; readonly amount: number };

/** The same among few pages, so that most are met again; and who is frozen is so for a short time. */
function crowded(operation: Operation): Operation {
  if (operation.op === 'freeze' && operation.slot !== 0) return { ...operation, op: 'thaw' };
  if (!('at' in operation)) return operation;
  return { ...operation, at: { object: operation.at.object % 3, index: operation.at.index % 7 } };
}

const steps: fc.Arbitrary<Step[]> = operations(CLIENTS, 900).chain((all) =>
  fc
    .array(
      fc.oneof(
        {
          weight: 6,
          arbitrary: fc.record({
            kind: fc.constant('nonsense' as const),
            bytes: fc.array(fc.oneof(fc.nat(3), fc.nat(255)), { minLength: 1, maxLength: 64 }),
            page: fc.boolean(),
          }),
        },
        {
          weight: 1,
          arbitrary: fc.record({ kind: fc.constant('destroy' as const), client: fc.constantFrom(1, 2, 3) }),
        },
        {
          weight: 6,
          arbitrary: fc.record({ kind: fc.constantFrom('flush' as const, 'fill' as const), amount: fc.nat(60) }),
        },
      ),
      { minLength: all.length >> 3, maxLength: (all.length >> 3) + 1, size: 'max' },
    )
    .map((others) =>
      all.flatMap((any, i): Step[] => {
        const other = i % 8 === 0 ? others[i >> 3] : undefined;
        const operation = crowded(any);
        const step: Step =
          operation.op === 'put' && i % 11 === 0
            ? { kind: 'broken', operation, how: i % 2 === 0 ? 'page' : 'length' }
            : { kind: 'operate', operation };
        return other === undefined ? [step] : [other, step];
      }),
    ),
);

/** What the engine answered must be what the model expects, or what memory that ran out explains. */
function compare(model: TmemModel, operation: Operation, answer: number | string): void {
  const { client } = operation;
  const what = JSON.stringify(operation);
  switch (operation.op) {
    case 'newPool':
      assert.equal(
        answer,
        model.newPool(client, operation.flags, Buffer.from(uuidOf(operation.uuid)).toString('hex')),
        what,
      );
      return;
    case 'destroyPool':
      assert.equal(answer, model.destroyPool(client, operation.slot), what);
      return;
    case 'flushPage':
      assert.equal(answer, model.flushPage(client, operation.slot, String(operation.at.object), operation.at.index));
      return;
    case 'flushObject':
      assert.equal(answer, model.flushObject(client, operation.slot, String(operation.at.object)), what);
      return;
    case 'put':
    case 'get':
      comparePage(model, operation, answer, what);
      return;
    default:
      throw new Error('not for guests');
  }
}

function comparePage(
  model: TmemModel,
  operation: Extract<Operation, { op: 'put' | 'get' | 'flushPage' | 'flushObject' }>,
  answer: number | string,
  what: string,
  failure?: number,
): void {
  const { client, slot, at } = operation;
  const object = String(at.object);
  const pool = model.client(client).pools[slot];
  const held = pool?.objects.get(object)?.pages.get(at.index);
  const forget = (): void => void (held !== undefined && model.flushPage(client, slot, object, at.index));
  if (operation.op !== 'put') {
    if (typeof answer === 'string') assert.equal(answer, model.get(client, slot, object, at.index), what);
    else if (pool === undefined) assert.equal(answer, -19);
    else if (held === undefined) assert.ok(answer === 0 || answer === -1001, what);
    else {
      // It was there: only an ephemeral page may be gone without a word.
      assert.ok(!pool.persistent && (answer === 0 || answer === -1001), `${what}: ${answer}`);
      forget();
    }
    return;
  }
  if (pool === undefined) {
    assert.equal(answer, -19, what);
    return;
  }
  const frozen = model.client(pool.owner).frozen;
  const bytes = pageOf(operation.page).subarray(0, pool.precompressed ? operation.page.length : 4096);
  // An ephemeral page that the model holds may be gone: then this is a new one.
  const expected = new Set([
    1,
    ...(held !== undefined ? [-28] : []),
    ...(held === undefined || !pool.persistent ? [-12] : []),
  ]);
  if (frozen && (held === undefined || !pool.persistent)) expected.add(-1000);
  if (frozen && held === undefined) assert.equal(answer, -1000, what);
  if (failure !== undefined) {
    expected.delete(1);
    expected.delete(-12);
    expected.delete(-28);
    if (!frozen || held !== undefined) expected.add(failure);
  }
  assert.ok(expected.has(Number(answer)), `${what}: ${answer}`);
  const wasFrozen = model.client(pool.owner).frozen;
  model.client(pool.owner).frozen = false;
  if (answer === 1) model.put(client, slot, object, at.index, contentText(bytes));
  else forget();
  model.client(pool.owner).frozen = wasFrozen;
}

property(
  'hostile guests on a full host read what was put last by those who share a pool, or nothing',
  80,
  fc.record({ all: steps, compress: fc.boolean(), sharing: fc.boolean(), seed: fc.integer() }),
  ({ all, compress, sharing, seed }) => {
    const engine = new TmemEngine({
      limitBytes: MIB,
      seed,
      codec: CODEC.lz4,
      sharedNeedsAuthorisation: true,
      client: { compress, sharing, allowance: ALLOWANCE, cap: CAP },
    });
    const guests = new Guests(engine);
    const model = new TmemModel();
    const authorise = (client: number): void => {
      engine.addClient(client);
      for (const uuid of [0, 1]) engine.authorise(client, uuidOf(uuid), true);
    };
    for (const client of CLIENTS) authorise(client);
    // Somebody who fills the host, so that pages are evicted.
    engine.newPool(5, 0x0100_0000, new Uint8Array(16));
    engine.set(5, { cap: 0 });
    const open = (client: number): void => {
      for (const [uuid, flags] of POOLS.entries()) {
        const operation: Operation = { op: 'newPool', client, flags, uuid: uuid % 2 };
        compare(model, operation, guests.ask(client, operation, false));
      }
    };
    for (const client of CLIENTS) open(client);
    let filled = 0;
    for (const step of all) {
      if (step.kind === 'nonsense') {
        guests.nonsense(step.bytes, step.page ? pageOf({ kind: 'random', seed: filled, length: 4096 }) : undefined);
      } else if (step.kind === 'destroy') {
        engine.destroyClient(step.client);
        model.destroyClient(step.client);
        authorise(step.client);
        open(step.client);
      } else if (step.kind === 'broken') {
        const { operation, how } = step;
        if (operation.op !== 'put') continue;
        const pool = model.client(operation.client).pools[operation.slot];
        const answer = guests.ask(operation.client, operation, pool?.precompressed === true, how);
        comparePage(model, operation, answer, `${how} of ${JSON.stringify(operation)}`, how === 'page' ? -14 : -22);
      } else if (step.kind === 'flush') {
        engine.flushMemory(step.amount * 1000);
      } else if (step.kind === 'fill') {
        for (let i = 0; i < step.amount; i++, filled++) {
          const page = pageOf({ kind: 'random', seed: filled % 97, length: 4096 });
          engine.put(5, 0, Uint32Array.of(9, 0, 0, 0, 0, 0, filled), page);
        }
      } else if (step.kind === 'operate') {
        const { operation } = step;
        if (operation.op === 'freeze' || operation.op === 'thaw') {
          perform(engine, operation);
          model.client(operation.client).frozen = operation.op === 'freeze';
          continue;
        }
        const slot = 'slot' in operation ? operation.slot : 0;
        const precompressed = model.client(operation.client).pools[slot]?.precompressed === true;
        compare(model, operation, guests.ask(operation.client, operation, precompressed));
      }
    }
    const { clients, chargedBytes, limitBytes } = tmemStatistics(engine);
    assert.ok(chargedBytes <= limitBytes);
    // Who inherits a shared pool has its pages too (spec/tmem.md 6.4).
    for (const { client, persistentPages, ephemeralPages } of clients) {
      if (client === 5) continue;
      const [allowance, cap] = model.inherited ? [ALLOWANCE * CLIENTS.length, CAP * CLIENTS.length] : [ALLOWANCE, CAP];
      assert.ok(persistentPages <= allowance, `${persistentPages} persistent pages`);
      assert.ok(persistentPages + ephemeralPages <= cap, `${persistentPages + ephemeralPages} pages`);
    }
  },
);

property(
  'a client is destroyed at any moment: snapshots go on, logs end, and nothing is left',
  60,
  fc.record({ before: operations([1, 2], 200), after: operations([1, 2], 100), readFirst: fc.nat(3) }),
  ({ before, after, readFirst }) => {
    const engine = new TmemEngine({ limitBytes: 64 * MIB, client: { compress: true, sharing: true } });
    for (const client of [1, 2]) engine.addClient(client);
    for (const step of before) perform(engine, step);
    const readers: { close: () => void }[] = [];
    const expected: Uint8Array[] = [];
    let snapshot: TmemSnapshot;
    try {
      const witness = new TmemSnapshot(engine, 1, { ephemeral: true });
      for (let step = witness.next(); step !== undefined; step = witness.next()) expected.push(step.body.slice());
      readers.push((snapshot = new TmemSnapshot(engine, 1, { ephemeral: true })));
      readers.push(new TmemLog(engine, 1, { ephemeral: true, channels: 2 }));
      readers.push(new TmemLog(engine, 1, { channels: 2 }));
    } catch (error) {
      // A persistent pool that two share does not travel.
      assert.ok(error instanceof TransmigrateError && error.code === 'TMEM_SHARED_POOL');
      for (const reader of readers) reader.close();
      return;
    }
    const found: Uint8Array[] = [];
    const read = (): boolean => {
      const step = snapshot.next();
      if (step !== undefined) found.push(step.body.slice());
      return step !== undefined;
    };
    const logs = readers.filter((reader) => reader instanceof TmemLog);
    for (let i = 0; i < readFirst; i++) {
      read();
      for (const log of logs) log.next(0);
    }
    engine.destroyClient(1);
    // Its number is used again, by another guest.
    for (const step of after) perform(engine, step);
    while (read());
    assert.deepEqual(found, expected);
    for (const log of logs) {
      for (let on = 0; on < 2; on++) {
        for (let step = log.next(on); step !== undefined; step = log.next(on)) assert.notEqual(step.kind, 'pages');
      }
      assert.deepEqual(log.backlog, { pages: 0, invalidations: 0, pools: 0 });
    }
    for (const reader of readers) reader.close();
    const incoming = new IncomingTmem(engine, 3, {});
    incoming.openPool({ incarnation: 1, slot: 0, flags: 0x0100_0001, uuid: '00000000-0000-0000-0000-000000000000' });
    incoming.rollback();
    for (const client of [1, 2]) engine.destroyClient(client);
    const {
      chargedBytes,
      pages,
      pinnedPages,
      objects,
      sharedContents,
      slabBytes,
      readers: open,
    } = tmemStatistics(engine);
    assert.deepEqual([chargedBytes, pages, pinnedPages, objects, sharedContents, open], [0, 0, 0, 0, 0, 0]);
    assert.ok(slabBytes <= MIB);
  },
);
