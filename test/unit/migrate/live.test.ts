/** Live rounds of memory and tmem: how they share the way, what they say of themselves, and how they end (L1, M2). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import { LiveDevices } from '../../../src/migrate/section/live-devices.ts';
import { LiveMemory } from '../../../src/migrate/section/live-memory.ts';
import { LiveTmem } from '../../../src/migrate/section/live-tmem.ts';
import { bytesOf, singleOutput, type LiveOutput, type LiveState } from '../../../src/migrate/section/live.ts';
import { MemoryLoader } from '../../../src/migrate/section/memory.ts';
import { leastSent, takeTurns } from '../../../src/migrate/section/turns.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { TmemEngine } from '../../../src/tmem/engine.ts';
import { TmemLog } from '../../../src/tmem/log-reader.ts';
import { code } from '../../support/host/fake-host.ts';
import { FAKE_PAGE, FakeMachine } from '../../support/host/fake-machine.ts';
import { random } from '../../support/random.ts';
import { walk } from '../../support/migrate/walk.ts';
import { choice, decoded } from '../../support/streams.ts';

async function running(pages: number): Promise<FakeMachine> {
  const machine = new FakeMachine({ pages, tmem: null });
  await machine.grant();
  await machine.resume();
  return machine;
}

async function stream(options: object = {}): Promise<{ output: LiveOutput; writer: StreamWriter; sink: MemorySink }> {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice({ kind: 'migration', indexed: false }), {}, options);
  return { output: singleOutput(writer), writer, sink };
}

/** A client with pages that do not compress. */
function filled(pages: number): { engine: TmemEngine; tmem: LiveTmem } {
  const engine = new TmemEngine({ limitBytes: 64 * 2 ** 20 });
  const generator = random('pages');
  const page = new Uint8Array(4096);
  engine.newPool(1, 0x0100_0001, new Uint8Array(16));
  for (let i = 0; i < pages; i++) engine.put(1, 0, Uint32Array.of(1, 0, 0, 0, 0, 0, i), generator.scramble(page));
  const tmem = new LiveTmem(
    () => new TmemLog(engine, 1),
    () => ({ pages, storedBytes: pages * 4096, needs: { pools: 1 } }),
  );
  return { engine, tmem };
}

async function all(steps: AsyncGenerator<number, void>): Promise<number> {
  let sum = 0;
  for await (const bytes of steps) sum += bytes;
  return sum;
}

describe('memory and tmem in the first round (L1)', () => {
  for (const codec of ['raw', 'zstd'] as const) {
    it(`have at least a quarter of the bytes each, while both have any; memory ${codec}`, async () => {
      const machine = await running(8192);
      const generator = random('text');
      // Text-like, so that zstd makes something of it: 6 of 8 bits are the same.
      generator.scramble(machine.memory);
      for (let i = 0; i < machine.memory.length; i++) machine.memory[i] = 0x60 | (machine.memory[i] & 3);
      const { tmem } = filled(3000);
      const { output } = await stream({ codec: CODEC[codec] });
      const memory = new LiveMemory(machine, () => 0);
      const states: readonly LiveState[] = [memory, tmem];
      for (const state of states) await state.begin();
      const takers = states.map((state) => ({
        name: state.name,
        steps: state.round(output),
        sent: () => bytesOf(state, output),
      }));
      let looked = 0;
      await walk(takeTurns(takers), () => {
        const [ram, pages] = states.map((state) => bytesOf(state, output));
        // A few batches are in hand at any time.
        if (ram + pages < 8 * 2 ** 20 || tmem.left().bytes === 0 || memory.left().pages === 0) return;
        looked++;
        assert.ok(ram / (ram + pages) >= 0.25, `memory has ${ram}, tmem ${pages}`);
        assert.ok(pages / (ram + pages) >= 0.25, `memory has ${ram}, tmem ${pages}`);
      });
      assert.ok(looked > 3, 'both were under way for a while');
      assert.equal(memory.left().bytes, 8192 * FAKE_PAGE);
      assert.equal(tmem.left().bytes, 0);
      for (const state of states) await state.end();
      await machine.close();
    });
  }

  it('turns go to who has sent least, until each is done', async () => {
    async function* steps(name: string, count: number, bytes: number): AsyncGenerator<number, void> {
      for (let i = 0; i < count; i++) {
        told += name;
        yield bytes;
      }
    }
    let told = '';
    await all(
      takeTurns([
        { name: 'a', steps: steps('a', 3, 10) },
        { name: 'b', steps: steps('b', 7, 5) },
        { name: 'c', steps: steps('c', 0, 5) },
      ]),
    );
    assert.equal(told, 'abbabbabbb');
    assert.equal(leastSent([{ name: 'x', sent: 3 }]), 0);
  });
});

describe('a round over memory', () => {
  it('counts what it found, and tells what is left', async () => {
    const machine = await running(128);
    machine.memory.fill(1, 0, 100 * FAKE_PAGE);
    let clock = 0;
    const memory = new LiveMemory(machine, () => (clock += 500));
    const { output, writer } = await stream();
    assert.equal(memory.left().pages, 128);
    await memory.begin();
    assert.equal(await all(memory.round(output)), 128 * FAKE_PAGE);
    const first = { round: 0, pages: 100, zeroPages: 0, bytes: 100 * FAKE_PAGE, ms: 500, stoppedMs: 0 };
    assert.deepEqual(memory.last, { ...first, dirtyBytesPerSecond: 0 });
    assert.deepEqual(memory.left(), { bytes: 100 * FAKE_PAGE, pages: 100, invalidations: 0 });
    machine.memory.fill(2, 0, 10 * FAKE_PAGE);
    machine.memory.fill(0, 90 * FAKE_PAGE, 95 * FAKE_PAGE);
    await writer.round();
    assert.equal(await all(memory.round(output)), 15 * FAKE_PAGE);
    assert.deepEqual(memory.last, {
      round: 1,
      pages: 15,
      zeroPages: 5,
      bytes: 10 * FAKE_PAGE,
      ms: 500,
      stoppedMs: 0,
      dirtyBytesPerSecond: 15 * FAKE_PAGE * 2,
    });
    assert.equal(memory.left().pages, 10);
    await machine.pause();
    assert.equal(await all(memory.final(output)), 0);
    await memory.end();
    await machine.close();
  });

  it('sends zero pages as bits, the first time all of them and later those that became zero', async () => {
    const machine = await running(128);
    machine.memory.fill(1, 30 * FAKE_PAGE, 60 * FAKE_PAGE);
    const memory = new LiveMemory(machine, () => 0);
    const { output, writer, sink } = await stream();
    await memory.begin();
    await all(memory.round(output));
    await writer.round();
    machine.memory.fill(0, 40 * FAKE_PAGE, 45 * FAKE_PAGE);
    await all(memory.round(output));
    await writer.checkpoint();
    await writer.end();
    const found: [pages: number, zero: number][] = [];
    decoded(sink.bytes(), ({ record }) => {
      if (record.kind === 'RAM') found.push([record.pages, record.zeroPages]);
    });
    const sum = (at: 0 | 1): number => found.reduce((total, each) => total + each[at], 0);
    assert.equal(sum(0), 128 + 5);
    assert.equal(sum(1), 98 + 5);
    assert.deepEqual(found.at(-1), [5, 5]);
    await machine.close();
  });

  it('that is left gives back what it had taken, and lets the guest go at once', async () => {
    const machine = await running(256);
    machine.memory.fill(1);
    const memory = new LiveMemory(machine, () => 0);
    const { output } = await stream();
    await memory.begin();
    await walk(memory.round(output), () => false);
    assert.equal(memory.last, null, 'it did not come to its end');
    assert.ok(machine.asked.includes('markDirty'));
    await memory.end();
    assert.equal(machine.scanned, false);
    await machine.close();
  });

  it('whose guest is killed fails with that, and ends cleanly', async () => {
    const machine = await running(256);
    machine.memory.fill(1);
    const memory = new LiveMemory(machine, () => 0);
    const { output } = await stream();
    await memory.begin();
    const killed = walk(memory.round(output), (_bytes, step) => {
      if (step === 2) machine.die('killed');
    });
    await assert.rejects(killed, code('GUEST_GONE'));
    await memory.end();
    await memory.end();
  });

  it('whose sink fails gives back what it had asked for ahead', async () => {
    const machine = await running(256);
    machine.memory.fill(1);
    const memory = new LiveMemory(machine, () => 0);
    let bytes = 0;
    const writer = await StreamWriter.open(
      {
        write: (piece) => {
          bytes += piece.byteLength;
          return bytes > 300_000 ? Promise.reject(new Error('full')) : Promise.resolve();
        },
      },
      choice({ kind: 'migration', indexed: false }),
      {},
    );
    await memory.begin();
    await assert.rejects(
      walk(memory.round(singleOutput(writer)), async () => void (await writer.seal())),
      /full/,
    );
    assert.equal(machine.asked.at(-1), 'markDirty');
    await memory.end();
    await machine.close();
  });
});

it('records of several channels may come at the same time', async () => {
  const machine = new FakeMachine({ pages: 64, tmem: null });
  const loader = new MemoryLoader(machine);
  const images = await Promise.all(
    [1, 2, 3].map(async (value) => {
      const { writer, sink } = await stream();
      await writer.ram(value * 16, 16, new Uint8Array(16 * FAKE_PAGE).fill(value));
      await writer.checkpoint();
      await writer.end();
      return sink.bytes();
    }),
  );
  const loads: Promise<void>[] = [];
  for (const image of images) decoded(image, (record) => void loads.push(loader.load(record)));
  await Promise.all(loads);
  await loader.complete().catch(() => undefined);
  for (let pfn = 0; pfn < 64; pfn++) assert.equal(machine.memory[pfn * FAKE_PAGE], pfn >> 4);
  await machine.close();
});

describe('tmem while its guest goes on', () => {
  it('ends a round though the guest puts without pause, and says what is left', async () => {
    const { engine, tmem } = filled(1000);
    assert.deepEqual(tmem.offer(), {
      name: 'tmem',
      mandatory: true,
      carriedBytes: 1000 * 4096,
      unpackedBytes: 1000 * 4096,
      needs: { pools: 1 },
    });
    assert.equal(tmem.left().pages, 1000);
    const { output, writer } = await stream();
    await tmem.begin();
    const page = new Uint8Array(4096).fill(7);
    let puts = 0;
    await walk(tmem.round(output), () => {
      for (let i = 0; i < 500; i++) engine.put(1, 0, Uint32Array.of(2, 0, 0, 0, 0, 0, puts++), page);
      engine.flushPage(1, 0, Uint32Array.of(1, 0, 0, 0, 0, 0, puts % 1000));
    });
    assert.ok(tmem.left().pages > 0);
    await writer.round();
    await all(tmem.final(output));
    assert.deepEqual(tmem.left(), { bytes: 0, pages: 0, invalidations: 0 });
    assert.ok(tmem.sent.invalidations > 0);
    await tmem.end();
  });

  it('closes a pool again after a cut, also when what comes before that is acknowledged at once', async () => {
    const { engine, tmem } = filled(1);
    await tmem.begin();
    const first = await stream();
    await all(tmem.round(first.output));
    engine.destroyPool(1, 0);
    await all(tmem.round(first.output));
    // Nothing arrived. The log counts on: 1 to 3 opened it, put its page, and closed it, and 4 opens it again.
    await tmem.resend({ steps: [0], pages: new Uint32Array(0) });
    const second = await stream();
    await walk(tmem.final(second.output), () => tmem.acknowledged(0, 4));
    await second.writer.checkpoint();
    await second.writer.end();
    let kinds = '';
    decoded(second.sink.bytes(), ({ record }) => void (kinds += `${record.kind} `));
    assert.match(kinds, /TMEM_CLIENT TMEM_POOL TMEM_INVALIDATE /);
    await tmem.end();
  });
});

it('devices are written at the pause, all of them', async () => {
  const machine = await running(4);
  const devices = new LiveDevices(machine, 1000);
  const { output, writer, sink } = await stream();
  assert.equal(devices.offer().carriedBytes, 1000);
  await devices.begin();
  assert.equal(await all(devices.round()), 0);
  await assert.rejects(all(devices.final(output)), code('MACHINE_STATE'));
  await machine.pause();
  assert.equal(await all(devices.final(output)), 8);
  assert.equal(devices.left().bytes, 8);
  await writer.checkpoint();
  await writer.end();
  let kinds = '';
  decoded(sink.bytes(), ({ record }) => void (kinds += `${record.kind} `));
  assert.match(kinds, /DEVICE DEVICE_DATA /);
  await devices.end();
  await machine.close();
});
