/** A guest in its own process that is followed while it runs, and goes on in another process (M2, L1). */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { V86Process } from '../../../src/machine/v86/process.ts';
import { DevicesLoader } from '../../../src/migrate/section/devices.ts';
import { LiveDevices } from '../../../src/migrate/section/live-devices.ts';
import { LiveMemory } from '../../../src/migrate/section/live-memory.ts';
import { LiveTmem } from '../../../src/migrate/section/live-tmem.ts';
import { singleOutput, type LiveState } from '../../../src/migrate/section/live.ts';
import { MemoryLoader } from '../../../src/migrate/section/memory.ts';
import { TmemLoader } from '../../../src/migrate/section/tmem.ts';
import { takeTurns } from '../../../src/migrate/section/turns.ts';
import { decodePieces } from '../../../src/stream/decode-pieces.ts';
import { StreamDecoder } from '../../../src/stream/decoder.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { TmemEngine } from '../../../src/tmem/engine.ts';
import { TmemHypercall } from '../../../src/tmem/hypercall.ts';
import { IncomingTmem } from '../../../src/tmem/incoming.ts';
import { TmemLog } from '../../../src/tmem/log-reader.ts';
import type { TmemService } from '../../../src/machine/machine.ts';
import { guestPlan, type Mode } from '../../support/guest/guest.ts';
import { lookInto, MEMORY, until } from '../../support/guest/machines.ts';
import { code } from '../../support/host/fake-host.ts';
import { walk } from '../../support/migrate/walk.ts';
import { choice } from '../../support/streams.ts';

const open: V86Process[] = [];
afterEach(async () => {
  for (const machine of open.splice(0)) await machine.close();
});

async function started(mode: Mode | null, parameters: readonly number[], tmem?: TmemService): Promise<V86Process> {
  const machine = await V86Process.create({
    config: { memoryBytes: MEMORY },
    ...(mode !== null && { boot: guestPlan(mode, ...parameters) }),
    ...(tmem !== undefined && { tmem }),
  });
  open.push(machine);
  await machine.grant(1);
  return machine;
}

async function rounds(machine: V86Process, count: number): Promise<void> {
  const goal = (await lookInto(machine)).rounds + count;
  await until(`the guest did ${count} rounds`, async () => (await lookInto(machine)).rounds >= goal);
}

function serviceOf(engine: TmemEngine): TmemService {
  const hypercall = new TmemHypercall(engine);
  return (descriptor, page) => hypercall.execute(1, descriptor, page);
}

describe('a guest that is followed while it runs', () => {
  it('that writes without a pause goes on elsewhere, with all that it wrote', async () => {
    const source = await started('work', [32, 512, 1000, 1]);
    await source.resume();
    await rounds(source, 20);
    const sink = new MemorySink();
    const writer = await StreamWriter.open(sink, choice({ kind: 'migration', indexed: false }), {});
    const output = singleOutput(writer);
    const memory = new LiveMemory(source, () => performance.now());
    const devices = new LiveDevices(source, 0);
    await memory.begin();
    for (let round = 0; round < 4; round++) {
      await walk(memory.round(output));
      await writer.round();
      await rounds(source, 5);
    }
    assert.ok(memory.last!.pages > 0 && memory.last!.dirtyBytesPerSecond > 0);
    // Slowed down, it leaves less; it is slow as long as that is wanted, and it can be paused as ever.
    await source.throttle(0.05);
    await walk(memory.round(output));
    await source.pause();
    await walk(memory.final(output));
    await walk(devices.final(output));
    await writer.checkpoint();
    await writer.end();
    await memory.end();

    const target = await started(null, []);
    const loaders = [new MemoryLoader(target), new DevicesLoader(target, 2 ** 26, new Uint8Array(2 ** 18))] as const;
    for await (const record of decodePieces(memorySource(sink.bytes()).pieces(), new StreamDecoder())) {
      for (const loader of loaders) await loader.load(record);
    }
    for (const loader of loaders) await loader.complete();
    await target.loadDeviceState(loaders[1].state(), Date.now());
    const { rounds: there, bad } = await lookInto(target);
    assert.equal(there, (await lookInto(source)).rounds);
    assert.equal(bad, 0);
    await target.resume();
    await rounds(target, 50);
    assert.equal((await lookInto(target)).bad, 0);
    // The source is as it was, and has its full speed back.
    await source.throttle(1);
    await source.resume();
    await rounds(source, 50);
    assert.equal((await lookInto(source)).bad, 0);
  });

  it('that puts, gets and flushes all the time finds its tmem elsewhere', async () => {
    const engine = new TmemEngine({ limitBytes: 2 ** 24 });
    const source = await started('tmem', [1], serviceOf(engine));
    await source.resume();
    await rounds(source, 20);
    const sink = new MemorySink();
    const writer = await StreamWriter.open(sink, choice({ kind: 'migration', indexed: false }), {});
    const output = singleOutput(writer);
    const tmem = new LiveTmem(
      () => new TmemLog(engine, 1),
      () => ({ pages: 0, storedBytes: 0, needs: {} }),
    );
    const states: readonly LiveState[] = [
      new LiveMemory(source, () => performance.now()),
      tmem,
      new LiveDevices(source, 0),
    ];
    for (const state of states) await state.begin();
    const turns = (last: boolean): Promise<number> =>
      walk(
        takeTurns(
          states.map((state) => ({ name: state.name, steps: last ? state.final(output) : state.round(output) })),
        ),
      );
    for (let round = 0; round < 3; round++) {
      await turns(false);
      await writer.round();
      await rounds(source, 10);
    }
    await source.pause();
    await turns(true);
    await writer.checkpoint();
    await writer.end();
    for (const state of states) await state.end();
    assert.ok(tmem.sent.pages > 0);

    const elsewhere = new TmemEngine({ limitBytes: 2 ** 24 });
    const target = await started(null, [], serviceOf(elsewhere));
    const tmemLoader = new TmemLoader(() => new IncomingTmem(elsewhere, 1, {}));
    const devices = new DevicesLoader(target, 2 ** 26, new Uint8Array(2 ** 18));
    const loaders = [new MemoryLoader(target), devices, tmemLoader];
    for await (const record of decodePieces(memorySource(sink.bytes()).pieces(), new StreamDecoder())) {
      for (const loader of loaders) await loader.load(record);
    }
    tmemLoader.incoming!.run();
    await target.loadDeviceState(devices.state(), Date.now());
    await source.close();
    await target.resume();
    await rounds(target, 50);
    // It compares what it gets with what it put.
    assert.equal((await lookInto(target)).bad, 0);
  });

  it('and is killed in the middle of a round ends the round, and nothing is left', async () => {
    const source = await started('work', [32, 512, 1000, 1]);
    await source.resume();
    const memory = new LiveMemory(source, () => performance.now());
    const writer = await StreamWriter.open(new MemorySink(), choice({ kind: 'migration', indexed: false }), {});
    await memory.begin();
    const following = (async () => {
      for (;;) {
        await walk(memory.round(singleOutput(writer)));
        await writer.round();
      }
    })();
    setTimeout(() => process.kill(source.pid, 'SIGKILL'), 100);
    await assert.rejects(following, code('GUEST_GONE'));
    await memory.end();
    assert.equal(source.status, 'closed');
  });
});
