/** Each rule and each mended defect of the reference by itself (spec/tmem.md 3, 4, 10). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from '../../../src/codec/platform.ts';
import { TMEM_LIMITS } from '../../../src/tmem/constants.ts';
import { CODEC, RESULT, TmemEngine, TmemHypercall, tmemStatistics } from '../../../src/index.ts';

const MIB = 2 ** 20;
const PERSISTENT = 0x0100_0001;
const EPHEMERAL = 0x0100_0000;
const SHARED = 2;
const UUID = new Uint8Array(16).fill(7);

function handle(object: number, index: number): Uint32Array {
  return Uint32Array.of(object, 0, 0, 0, 0, 0, index);
}

function page(fill: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  for (let at = 0, state = fill + 1; at < 4096; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
    bytes[at] = state >> 16;
  }
  return bytes;
}

function got(engine: TmemEngine, client: number, slot: number, at: Uint32Array): Uint8Array | number {
  const bytes = new Uint8Array(4096);
  const result = engine.get(client, slot, at, bytes);
  return result === RESULT.done ? bytes.slice(0, engine.gotBytes) : result;
}

describe('old data is never read after a put that failed', () => {
  it('for lack of memory', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    engine.newPool(1, PERSISTENT, UUID);
    const zero = new Uint8Array(4096);
    // Pages that cost little, until nothing more fits.
    let count = 0;
    while (engine.put(1, 0, handle(0, count), zero) === 1) count++;
    assert.ok(count > 10_000);
    assert.equal(engine.put(1, 0, handle(0, 5), page(1)), RESULT.noSpace);
    assert.equal(got(engine, 1, 0, handle(0, 5)), 0);
    assert.equal(engine.put(1, 0, handle(1, 0), page(1)), RESULT.noMemory);
    assert.equal(tmemStatistics(engine).clients[0].pools[0].removedByPuts, 1);
  });

  it('because its page is not there, or its length wrong', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    engine.newPool(1, PERSISTENT, UUID);
    engine.newPool(1, PERSISTENT | 4, UUID);
    for (const slot of [0, 1]) assert.equal(engine.put(1, slot, handle(0, 0), page(1), 4096), 1);
    assert.equal(engine.putUnreadable(1, 0, handle(0, 0)), RESULT.badAddress);
    assert.equal(engine.put(1, 1, handle(0, 0), page(2), 4097), RESULT.invalid);
    for (const slot of [0, 1]) assert.equal(got(engine, 1, slot, handle(0, 0)), RESULT.empty);
  });
});

describe('freezing', () => {
  it('refuses new pages, and nothing else', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    engine.newPool(1, PERSISTENT, UUID);
    engine.put(1, 0, handle(0, 0), page(1));
    engine.put(1, 0, handle(0, 1), page(1));
    engine.set(1, { frozen: true });
    assert.equal(engine.put(1, 0, handle(0, 2), page(1)), RESULT.frozen);
    assert.equal(engine.put(1, 0, handle(0, 0), page(2)), RESULT.done);
    assert.deepEqual(got(engine, 1, 0, handle(0, 0)), page(2));
    assert.equal(engine.flushPage(1, 0, handle(0, 1)), RESULT.frozen);
    assert.equal(got(engine, 1, 0, handle(0, 1)), RESULT.none);
    assert.equal(engine.newPool(1, EPHEMERAL, UUID), 1);
    assert.equal(engine.destroyPool(1, 0), RESULT.done);
  });

  it('follows the owner of a shared pool', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    assert.equal(engine.newPool(1, EPHEMERAL | SHARED, UUID), 0);
    assert.equal(engine.newPool(2, PERSISTENT | SHARED, UUID), 0);
    engine.set(2, { frozen: true });
    assert.equal(engine.put(2, 0, handle(0, 0), page(1)), RESULT.done);
    engine.set(1, { frozen: true });
    engine.set(2, { frozen: false });
    assert.equal(engine.put(2, 0, handle(0, 1), page(1)), RESULT.frozen);
  });
});

describe('shared pools', () => {
  it('lose the pages of who leaves, and go on with another owner', () => {
    const engine = new TmemEngine({ limitBytes: MIB });
    for (const client of [1, 2]) engine.newPool(client, EPHEMERAL | SHARED, UUID);
    engine.put(1, 0, handle(1, 0), page(1));
    engine.put(2, 0, handle(2, 0), page(2));
    engine.put(1, 0, handle(3, 0), page(3));
    assert.deepEqual(got(engine, 2, 0, handle(3, 0)), page(3));
    engine.destroyClient(1);
    assert.equal(got(engine, 2, 0, handle(1, 0)), RESULT.none);
    assert.deepEqual(got(engine, 2, 0, handle(2, 0)), page(2));
    assert.deepEqual(got(engine, 2, 0, handle(3, 0)), page(3), 'who got it last keeps it');
    assert.equal(tmemStatistics(engine).clients[0].ephemeralPages, 2);
  });

  it('are private without the authorisation that is needed, and for a uuid of ones', () => {
    const engine = new TmemEngine({ limitBytes: MIB, sharedNeedsAuthorisation: true });
    assert.equal(engine.authorise(1, UUID, true), RESULT.invalid);
    engine.newPool(1, PERSISTENT | SHARED, UUID);
    assert.equal(engine.authorise(1, UUID, false), RESULT.none);
    assert.equal(engine.authorise(1, UUID, true), RESULT.done);
    engine.newPool(1, PERSISTENT | SHARED, UUID);
    engine.newPool(1, PERSISTENT | SHARED, new Uint8Array(16).fill(255));
    const { pools } = tmemStatistics(engine).clients[0];
    assert.deepEqual(
      pools.map(({ shared }) => shared),
      [false, true, false],
    );
    for (let i = 0; i < 15; i++) assert.equal(engine.authorise(1, new Uint8Array(16).fill(i + 20), true), RESULT.done);
    assert.equal(engine.authorise(1, new Uint8Array(16).fill(99), true), RESULT.noMemory);
  });
});

describe('limits', () => {
  it('hold a client to its allowance and its cap', () => {
    const engine = new TmemEngine({ limitBytes: 16 * MIB });
    engine.newPool(1, PERSISTENT, UUID);
    engine.newPool(1, EPHEMERAL, UUID);
    engine.set(1, { allowance: 10, cap: 25 });
    const answers = Array.from({ length: 12 }, (_, i) => engine.put(1, 0, handle(0, i), page(i)));
    assert.deepEqual(answers, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -12, -12]);
    for (let i = 0; i < 100; i++) assert.equal(engine.put(1, 1, handle(0, i), page(i)), 1);
    const [client] = tmemStatistics(engine).clients;
    assert.deepEqual([client.persistentPages, client.ephemeralPages], [10, 15]);
    assert.equal(got(engine, 1, 1, handle(0, 84)), RESULT.none);
    assert.deepEqual(got(engine, 1, 1, handle(0, 85)), page(85));
    assert.throws(() => engine.set(1, { cap: -1 }), { code: 'USAGE' });
  });

  it('are kept when they are lowered, and memory is flushed by amount', () => {
    const engine = new TmemEngine({ limitBytes: 8 * MIB });
    engine.newPool(1, EPHEMERAL, UUID);
    for (let i = 0; i < 1500; i++) engine.put(1, 0, handle(0, i), page(1));
    const before = tmemStatistics(engine);
    assert.ok(before.freeableBytes >= before.chargedBytes);
    const freed = engine.flushMemory(MIB);
    assert.ok(freed >= MIB && freed < MIB + 8192);
    engine.setLimit(2 * MIB);
    assert.ok(tmemStatistics(engine).chargedBytes <= 2 * MIB);
    assert.equal(got(engine, 1, 0, handle(0, 0)), RESULT.none);
    assert.deepEqual(got(engine, 1, 0, handle(0, 1499)), page(1));
  });

  it('are kept with pages of many sizes, in slabs too', () => {
    const engine = new TmemEngine({ limitBytes: 4 * MIB });
    engine.newPool(1, EPHEMERAL, UUID);
    const bytes = page(1);
    for (let i = 0; i < 60_000; i++) {
      const length = 64 + ((i * 2_654_435_761) % 4033);
      const cut = bytes.slice();
      cut.fill(0, length);
      if (length > 0) cut[length - 1] = 1;
      assert.equal(engine.put(1, 0, handle(i % 7, i), cut), RESULT.done);
      // Holes of all sizes, where long-lived pages keep spans open.
      if (i % 3 === 0) engine.flushPage(1, 0, handle((i - 50) % 7, i - 50));
    }
    const { slabBytes, chargedBytes } = tmemStatistics(engine);
    assert.ok(chargedBytes <= 4 * MIB && slabBytes <= 9 * MIB, `${chargedBytes}, ${slabBytes}`);
  });
});

it('records that a guest leaves idle count, and come back when it goes', () => {
  const engine = new TmemEngine({ limitBytes: 16 * MIB });
  engine.newPool(1, PERSISTENT, UUID);
  engine.newPool(2, EPHEMERAL, UUID);
  const zero = new Uint8Array(4096);
  let count = 0;
  while (engine.put(1, 0, handle(0, count), zero) === 1) count++;
  assert.ok(count > 250_000);
  for (let i = 0; i < count; i++) if (i % 2000 !== 0) engine.flushPage(1, 0, handle(0, i));
  const fill = (): void => {
    for (let i = 0; i < 5000; i++) assert.equal(engine.put(2, 0, handle(i, 0), page(i)), 1);
    const { slabBytes, tableBytes } = tmemStatistics(engine);
    assert.ok(slabBytes + tableBytes < 24 * MIB, `${slabBytes} and ${tableBytes}`);
  };
  fill();
  const crowded = tmemStatistics(engine).ephemeralPages;
  engine.destroyClient(1);
  fill();
  assert.ok(tmemStatistics(engine).ephemeralPages > 2 * crowded, `${crowded} pages before`);
});

describe('what costs nothing, or little', () => {
  it('zero pages and zeros at the end', () => {
    const engine = new TmemEngine({ limitBytes: 64 * MIB });
    engine.newPool(1, PERSISTENT, UUID);
    const ten = new Uint8Array(4096).fill(9, 0, 10);
    for (let i = 0; i < 1000; i++) engine.put(1, 0, handle(0, i), new Uint8Array(4096));
    assert.equal(tmemStatistics(engine).slabBytes, 0);
    for (let i = 1000; i < 2000; i++) engine.put(1, 0, handle(0, i), ten);
    assert.ok(tmemStatistics(engine).clients[0].pools[0].storedBytes <= 64_000);
    assert.deepEqual(got(engine, 1, 0, handle(0, 1500)), ten);
    assert.deepEqual(got(engine, 1, 0, handle(0, 500)), new Uint8Array(4096));
  });

  it('equal pages, where they are shared', () => {
    const engine = new TmemEngine({ limitBytes: 64 * MIB, client: { sharing: true } });
    engine.newPool(1, PERSISTENT, UUID);
    engine.newPool(2, EPHEMERAL, UUID);
    for (let i = 0; i < 1000; i++) {
      engine.put(1, 0, handle(0, i), page(i % 2));
      engine.put(2, 0, handle(0, i), page(i % 2));
    }
    assert.equal(tmemStatistics(engine).sharedContents, 2);
    engine.put(1, 0, handle(0, 0), page(5));
    assert.deepEqual(got(engine, 1, 0, handle(0, 2)), page(0));
    assert.deepEqual(got(engine, 1, 0, handle(0, 0)), page(5));
  });

  it('few of many different pages with one checksum, and each keeps its bytes', () => {
    const engine = new TmemEngine({ limitBytes: 64 * MIB, client: { sharing: true } });
    engine.newPool(1, PERSISTENT, UUID);
    // The polynomial of CRC-32 (IEEE 802.3), highest power first, added anywhere changes no checksum.
    const forged = (bit: number): Uint8Array => {
      const bytes = page(1);
      for (let term = 0; term < 33; term++) {
        if ((0x104c11db7n >> BigInt(32 - term)) & 1n) bytes[(bit + term) >> 3] ^= 1 << ((bit + term) & 7);
      }
      return bytes;
    };
    assert.equal(crc32(forged(1)), crc32(forged(30_000)));
    for (let i = 0; i < 100; i++) assert.equal(engine.put(1, 0, handle(0, i), forged(i)), 1);
    assert.equal(tmemStatistics(engine).sharedContents, TMEM_LIMITS.shareCandidates);
    for (let i = 0; i < 100; i++) assert.deepEqual(got(engine, 1, 0, handle(0, i)), forged(i));
    for (let i = 0; i < 100; i++) assert.equal(engine.put(1, 0, handle(0, i), forged(99 - i)), 1);
    for (let i = 0; i < 100; i++) assert.deepEqual(got(engine, 1, 0, handle(0, i)), forged(99 - i));
    for (let i = 0; i < 100; i++) engine.flushPage(1, 0, handle(0, i));
    const { chargedBytes, sharedContents } = tmemStatistics(engine);
    assert.deepEqual([chargedBytes, sharedContents], [0, 0]);
  });

  it('compressible pages', () => {
    for (const codec of [CODEC.lz4, CODEC.lzo1x, CODEC.zstd, CODEC.deflate]) {
      const engine = new TmemEngine({ limitBytes: 64 * MIB, codec, client: { compress: true } });
      engine.newPool(1, PERSISTENT, UUID);
      const half = page(1).fill(3, 2048);
      for (let i = 0; i < 100; i++) engine.put(1, 0, handle(0, i), half);
      const { pools, compressedPuts } = tmemStatistics(engine).clients[0];
      assert.equal(compressedPuts, 100);
      assert.ok(pools[0].storedBytes / 100 < 2200, `${codec}: ${pools[0].storedBytes / 100}`);
      assert.deepEqual(got(engine, 1, 0, handle(0, 50)), half);
    }
  });
});

describe('PRECOMPRESSED pools', () => {
  it('give back the bytes and their number, through the hypercall too', () => {
    const engine = new TmemEngine({ limitBytes: MIB, client: { compress: true } });
    const hypercall = new TmemHypercall(engine);
    const descriptor = new Uint8Array(64);
    const view = new DataView(descriptor.buffer);
    const call = (operation: number, pool: number, length = 0, memory = new Uint8Array(4096)): number => {
      descriptor.fill(0);
      view.setUint32(0, operation, true);
      view.setUint32(12, pool, true);
      view.setUint32(44, length, true);
      return hypercall.execute(1, descriptor, memory);
    };
    assert.equal(call(1, PERSISTENT | 4), 0);
    assert.equal(call(3, 0, 777, new Uint8Array(4096).fill(5)), 1);
    const into = new Uint8Array(4096);
    assert.equal(call(4, 0, 0, into), 1);
    assert.equal(view.getUint32(44, true), 777);
    assert.deepEqual(into.subarray(0, 777), new Uint8Array(777).fill(5));
    assert.equal(call(3, 0, 0), RESULT.invalid);
    assert.equal(call(4, 0), RESULT.empty);
    assert.equal(call(2, 0), RESULT.done);
    assert.equal(call(2, 99), RESULT.none);
    assert.equal(call(7, 0), RESULT.invalid);
    assert.equal(hypercall.execute(1, new Uint8Array(63), into), RESULT.badAddress);
  });

  it('are found by their address only where that is aligned', () => {
    const hypercall = new TmemHypercall(new TmemEngine({ limitBytes: MIB }));
    const descriptor = new Uint8Array(64);
    const view = new DataView(descriptor.buffer);
    view.setBigUint64(48, 0x1_0000_3000n, true);
    assert.equal(hypercall.pageAddress(descriptor), 0x1_0000_3000);
    assert.equal(hypercall.needsPage(descriptor), false);
    descriptor[0] = 3;
    assert.equal(hypercall.needsPage(descriptor), true);
    view.setBigUint64(48, 0x1_0000_3001n, true);
    assert.equal(hypercall.pageAddress(descriptor), -1);
    view.setBigUint64(48, 1n << 52n, true);
    assert.equal(hypercall.pageAddress(descriptor), -1);
  });
});

it('an engine that is off answers no device, and keeps what it has', () => {
  const engine = new TmemEngine({ limitBytes: MIB });
  engine.newPool(1, PERSISTENT, UUID);
  engine.put(1, 0, handle(0, 0), page(1));
  engine.enabled = false;
  assert.equal(engine.put(1, 0, handle(0, 0), page(2)), RESULT.noDevice);
  assert.equal(engine.newPool(1, PERSISTENT, UUID), RESULT.noDevice);
  assert.equal(got(engine, 1, 0, handle(0, 0)), RESULT.noDevice);
  engine.enabled = true;
  assert.deepEqual(got(engine, 1, 0, handle(0, 0)), page(1));
});

it('an engine is not made with a limit or a codec that makes no sense', () => {
  for (const limitBytes of [0, 1000, -1, Number.NaN, 1.5 * MIB + 0.5]) {
    assert.throws(() => new TmemEngine({ limitBytes }), { code: 'USAGE' });
  }
  assert.throws(() => new TmemEngine({ limitBytes: MIB, codec: CODEC.opaque }), { code: 'USAGE' });
});
