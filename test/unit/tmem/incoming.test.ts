/** Restoring from bytes that are not trusted (T5, T7; spec/tmem.md 7.3). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODEC, IncomingTmem, TmemEngine, TmemSnapshot, tmemStatistics, type ErrorCode } from '../../../src/index.ts';
import { lz4Compress } from '../../../src/codec/lz4.ts';

const MIB = 2 ** 20;
const NIL = '00000000-0000-0000-0000-000000000000';
const PERSISTENT = 0x0100_0001;

interface Entry {
  index?: number;
  original: number;
  codec: number;
  stored: Uint8Array;
  storedLength?: number;
}

function body(incarnation: number, entries: readonly Entry[], tail = 0): Uint8Array {
  const stored = entries.reduce((sum, { stored: bytes }) => sum + bytes.length, 0);
  const bytes = new Uint8Array(16 + 40 * entries.length + stored + tail);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(incarnation), true);
  view.setUint32(8, entries.length, true);
  let at = 16 + 40 * entries.length;
  for (const [i, entry] of entries.entries()) {
    view.setUint32(16 + 40 * i + 24, entry.index ?? i, true);
    view.setUint32(16 + 40 * i + 28, entry.original, true);
    view.setUint32(16 + 40 * i + 32, entry.storedLength ?? entry.stored.length, true);
    view.setUint8(16 + 40 * i + 36, entry.codec);
    bytes.set(entry.stored, at);
    at += entry.stored.length;
  }
  return bytes;
}

function loading(flags = PERSISTENT, granted = {}): { engine: TmemEngine; incoming: IncomingTmem } {
  const engine = new TmemEngine({ limitBytes: MIB });
  const incoming = new IncomingTmem(engine, 1, granted);
  incoming.openPool({ incarnation: 5, slot: 3, flags, uuid: NIL });
  return { engine, incoming };
}

const raw = (length: number): Entry => ({ original: length, codec: CODEC.raw, stored: new Uint8Array(length).fill(1) });

it('clients that are being restored count among those there may be', () => {
  const engine = new TmemEngine({ limitBytes: MIB });
  const all = Array.from({ length: 1024 }, (_, i) => new IncomingTmem(engine, i, {}));
  assert.throws(() => new IncomingTmem(engine, 5000, {}), { code: 'TMEM_NO_MEMORY' });
  assert.equal(engine.addClient(5000), false);
  all[3].rollback();
  all[7].run();
  assert.equal(engine.addClient(5000), true);
  assert.equal(engine.addClient(5001), false);
  for (const incoming of all) incoming.rollback();
  assert.equal(engine.addClient(5001), true);
});

describe('pages of a stream are refused by name', () => {
  const compressed = new Uint8Array(200);
  const length = lz4Compress(new Uint8Array(1000).fill(7), compressed);
  const lz4 = compressed.slice(0, length);
  const flipped = lz4.slice();
  flipped[0] ^= 0xff;
  const cases: readonly [what: string, code: ErrorCode, bytes: Uint8Array, flags?: number][] = [
    ['no head', 'LENGTH_MISMATCH', new Uint8Array(15)],
    ['no such pool', 'TMEM_UNKNOWN_POOL', body(6, [raw(10)])],
    ['no pages', 'FIELD_VALUE', body(5, [])],
    ['too few bytes', 'LENGTH_MISMATCH', body(5, [raw(10)]).subarray(0, -1)],
    ['too many bytes', 'LENGTH_MISMATCH', body(5, [raw(10)], 1)],
    ['a page that is too long', 'LENGTH_MISMATCH', body(5, [raw(4097)])],
    ['a raw page of no bytes', 'LENGTH_MISMATCH', body(5, [raw(0)])],
    ['a raw page of two lengths', 'LENGTH_MISMATCH', body(5, [{ ...raw(10), original: 11 }])],
    ['zero with bytes', 'LENGTH_MISMATCH', body(5, [{ original: 0, codec: CODEC.zero, stored: new Uint8Array(1) }])],
    ['a codec that is none', 'UNSUPPORTED_CODEC', body(5, [{ ...raw(10), codec: 77 }])],
    ['opaque in an ordinary pool', 'FIELD_VALUE', body(5, [{ ...raw(10), codec: CODEC.opaque }])],
    ['raw in a PRECOMPRESSED pool', 'FIELD_VALUE', body(5, [raw(10)]), PERSISTENT | 4],
    ['damaged content', 'CODEC_DATA', body(5, [{ original: 1000, codec: CODEC.lz4, stored: flipped }])],
    ['content that is longer', 'CODEC_DATA', body(5, [{ original: 999, codec: CODEC.lz4, stored: lz4 }])],
    ['content that is shorter', 'CODEC_DATA', body(5, [{ original: 1001, codec: CODEC.lz4, stored: lz4 }])],
    [
      'stored not below original',
      'LENGTH_MISMATCH',
      body(5, [{ original: lz4.length, codec: CODEC.lz4, stored: lz4 }]),
    ],
    ['a length beyond the body', 'LENGTH_MISMATCH', body(5, [{ ...raw(10), storedLength: 4000, original: 4000 }])],
  ];
  for (const [what, code, bytes, flags] of cases) {
    it(what, () => {
      const { engine, incoming } = loading(flags);
      assert.throws(() => incoming.loadPages(bytes), { code });
      incoming.rollback();
      assert.equal(tmemStatistics(engine).chargedBytes, 0);
    });
  }

  it('and what is right is taken', () => {
    const { engine, incoming } = loading();
    incoming.loadPages(body(5, [{ original: 1000, codec: CODEC.lz4, stored: lz4 }, raw(10)]));
    incoming.run();
    const out = new Uint8Array(4096);
    assert.equal(engine.get(1, 3, new Uint32Array(7), out), 1);
    assert.deepEqual(out, new Uint8Array(4096).fill(7, 0, 1000));
  });
});

describe('a client that is restored', () => {
  it('is not seen before it runs, and is gone after a rollback', () => {
    const { engine, incoming } = loading();
    incoming.loadPages(body(5, [raw(100), raw(200)]));
    assert.equal(engine.settings(1), undefined);
    assert.equal(tmemStatistics(engine).clients.length, 0);
    incoming.rollback();
    assert.deepEqual([tmemStatistics(engine).pages, tmemStatistics(engine).chargedBytes], [0, 0]);
    incoming.rollback();
    assert.throws(() => incoming.run(), { code: 'TMEM_CLIENT_EXISTS' });
  });

  it('does not take another client’s number, or the uuid of a shared pool', () => {
    const uuid = '01010101-0101-0101-0101-010101010101';
    const engine = new TmemEngine({ limitBytes: MIB });
    engine.addClient(2);
    assert.throws(() => new IncomingTmem(engine, 2, {}), { code: 'TMEM_CLIENT_EXISTS' });
    const incoming = new IncomingTmem(engine, 1, {});
    incoming.openPool({ incarnation: 1, slot: 0, flags: PERSISTENT | 2, uuid });
    assert.throws(() => incoming.openPool({ incarnation: 2, slot: 0, flags: PERSISTENT, uuid: NIL }), {
      code: 'TMEM_POOL_REFUSED',
    });
    assert.throws(() => incoming.openPool({ incarnation: 1, slot: 1, flags: PERSISTENT, uuid: NIL }), {
      code: 'DUPLICATE',
    });
    // The incoming pool is not there for others: they make their own, and then this one can't run.
    assert.equal(engine.newPool(2, PERSISTENT | 2, new Uint8Array(16).fill(1)), 0);
    assert.equal(tmemStatistics(engine).clients[0].pools[0].clients.length, 1);
    assert.throws(() => incoming.run(), { code: 'TMEM_POOL_REFUSED' });
    engine.destroyClient(2);
    incoming.run();
    assert.equal(engine.newPool(3, PERSISTENT | 2, new Uint8Array(16).fill(1)), 0);
    assert.deepEqual(tmemStatistics(engine).clients[0].pools[0].clients, [1, 3]);
    assert.throws(() => new TmemSnapshot(engine, 1), { code: 'TMEM_SHARED_POOL' });
  });

  it('is held to the limit and to its allowance', () => {
    const many = Array.from({ length: 300 }, () => raw(4096));
    const first = loading();
    assert.throws(() => first.incoming.loadPages(body(5, many)), { code: 'TMEM_NO_MEMORY' });
    const second = loading(PERSISTENT, { allowance: 10 });
    assert.throws(() => second.incoming.loadPages(body(5, many)), { code: 'TMEM_NO_MEMORY' });
    assert.equal(second.incoming.loaded, 10);
  });

  it('takes room from ephemeral pages of others, not from its own', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    engine.newPool(2, 0x0100_0000, new Uint8Array(16));
    for (let i = 0; i < 300; i++)
      engine.put(2, 0, Uint32Array.of(0, 0, 0, 0, 0, 0, i), new Uint8Array(4096).fill(i + 1));
    const incoming = new IncomingTmem(engine, 1, {});
    incoming.openPool({ incarnation: 5, slot: 0, flags: 0x0100_0000, uuid: NIL });
    incoming.loadPages(
      body(
        5,
        Array.from({ length: 200 }, () => raw(4096)),
      ),
    );
    const put = engine.put(2, 0, Uint32Array.of(1, 0, 0, 0, 0, 0, 0), new Uint8Array(4096).fill(1));
    assert.equal(put, 1);
    incoming.run();
    assert.equal(tmemStatistics(engine).clients[0].ephemeralPages, 200);
  });

  it('refuses pools of a kind that is not supported', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    const incoming = new IncomingTmem(engine, 1, {});
    for (const flags of [0, 0x0200_0000, 0x0100_0010, 0x0100_0008, 0x0180_0000]) {
      assert.throws(() => incoming.openPool({ incarnation: 9, slot: 1, flags, uuid: NIL }), {
        code: 'TMEM_POOL_REFUSED',
      });
    }
    assert.throws(() => incoming.openPool({ incarnation: 9, slot: 16, flags: PERSISTENT, uuid: NIL }), {
      code: 'TMEM_POOL_REFUSED',
    });
  });
});

describe('invalidations of a stream', () => {
  const invalidation = (scope: number, count: number, length = 16 + 32 * count): Uint8Array => {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 5, true);
    view.setUint32(8, scope, true);
    view.setUint32(12, count, true);
    return bytes;
  };

  it('are checked', () => {
    const { incoming } = loading();
    const refused = (bytes: Uint8Array, code: ErrorCode): void => {
      assert.throws(() => incoming.invalidate(bytes), { code });
    };
    refused(invalidation(0, 1), 'FIELD_VALUE');
    refused(invalidation(4, 1), 'FIELD_VALUE');
    refused(invalidation(3, 1), 'FIELD_VALUE');
    refused(invalidation(1, 0), 'FIELD_VALUE');
    refused(invalidation(1, 70_000, 100), 'LIMIT_EXCEEDED');
    refused(invalidation(1, 2, 16 + 32), 'LENGTH_MISMATCH');
    refused(new Uint8Array(3), 'LENGTH_MISMATCH');
  });

  it('remove a page, an object, a pool; what is not there is ignored', () => {
    const { engine, incoming } = loading();
    incoming.loadPages(body(5, [raw(1), raw(2), raw(3)]));
    incoming.invalidate(invalidation(1, 1));
    incoming.invalidate(invalidation(1, 1));
    assert.equal(tmemStatistics(engine).pages, 2);
    incoming.invalidate(invalidation(2, 1));
    assert.equal(tmemStatistics(engine).pages, 0);
    incoming.invalidate(invalidation(3, 0));
    assert.throws(() => incoming.loadPages(body(5, [raw(1)])), { code: 'TMEM_UNKNOWN_POOL' });
    incoming.openPool({ incarnation: 6, slot: 3, flags: PERSISTENT, uuid: NIL });
  });
});
