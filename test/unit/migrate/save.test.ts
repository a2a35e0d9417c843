/** The save of a machine (M1, S13, T2, L1): what stands still, in which order, and who hears of failures. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ByteSink } from '../../../src/bytes/endpoints.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import type { StateWriter } from '../../../src/migrate/section/section.ts';
import { saveMachine, type SaveRequest, type TmemPin } from '../../../src/migrate/save/save.ts';
import { FakeMachine } from '../../support/host/fake-machine.ts';
import { code } from '../../support/host/fake-host.ts';
import { decoded } from '../../support/streams.ts';

async function running(pages = 2048): Promise<FakeMachine> {
  const machine = new FakeMachine({ pages, tmem: null }).fill('memory');
  await machine.grant();
  await machine.resume();
  machine.asked.length = 0;
  return machine;
}

function save(
  machine: FakeMachine,
  sink: ByteSink,
  changes: Partial<SaveRequest> = {},
): ReturnType<typeof saveMachine> {
  return saveMachine(
    {
      machine,
      running: machine.status === 'running',
      leavePaused: false,
      about: { name: 'g' },
      streamId: new Uint8Array(16).fill(1),
      codec: 'raw',
      threads: 0,
      pinTmem: () => null,
      guestTimeNs: () => 5n,
      ...changes,
    },
    sink,
  );
}

/** A section of tmem that writes nothing, and tells what is done with it. */
function pinOf(told: string[], steps = 3): TmemPin {
  const section: StateWriter = {
    name: 'tmem',
    bytes: steps,
    async *write() {
      try {
        for (let step = 0; step < steps; step++) {
          told.push('tmem');
          yield 1;
        }
      } finally {
        told.push('left');
      }
    },
  };
  return { section, pages: steps, release: () => void told.push('released') };
}

describe('a save', () => {
  it('pauses, pins, copies and lets go on, and only then writes', async () => {
    const machine = await running();
    const told: string[] = [];
    machine.before = (operation) => void told.push(operation);
    const sink = new MemorySink();
    await save(
      machine,
      {
        write: (bytes) => {
          assert.equal(machine.status, 'running');
          return sink.write(bytes);
        },
      },
      { pinTmem: () => (told.push('pin'), pinOf([])) },
    );
    assert.deepEqual(told.slice(0, 4), ['prepareCapture', 'pause', 'pin', 'capture']);
    assert.ok(!told.includes('resume'), 'it goes on with the copy, not with a request of its own');
    assert.equal(told.at(-1), 'releaseCapture');
    let pages = 0;
    decoded(sink.bytes(), ({ record }) => {
      if (record.kind === 'RAM') pages += record.pages;
      if (record.kind === 'CHECKPOINT') assert.equal(record.guestTimeNs, 5n);
    });
    assert.equal(pages, 2048);
    await machine.close();
  });

  it('writes tmem in turns with memory', async () => {
    const machine = await running();
    const told: string[] = [];
    machine.before = (operation) => {
      if (operation === 'readCapture') told.push('memory');
    };
    await save(machine, new MemorySink(), { pinTmem: () => pinOf(told) });
    const last = told.lastIndexOf('memory');
    assert.ok(told.indexOf('tmem') < last && told.filter((one) => one === 'tmem').length === 3);
    assert.ok(told.lastIndexOf('tmem') < last, told.join());
    assert.deepEqual(told.slice(-1), ['released']);
    await machine.close();
  });

  it('that fails lets go of what its sections hold', async () => {
    const machine = await running();
    const told: string[] = [];
    let bytes = 0;
    const sink: ByteSink = {
      write: (piece) => {
        bytes += piece.byteLength;
        return bytes > 3 * 2 ** 20 ? Promise.reject(new Error('full')) : Promise.resolve();
      },
    };
    await assert.rejects(save(machine, sink, { pinTmem: () => pinOf(told, 100) }), /full/);
    assert.deepEqual(told.slice(-2), ['left', 'released']);
    assert.equal(machine.captured, false);
    assert.equal(machine.status, 'running');
    await machine.close();
  });

  it('whose sink fails while its guest dies is one failure, not two', async () => {
    const machine = await running();
    let reads = 0;
    machine.before = (operation) => {
      if (operation === 'readCapture' && ++reads === 3) machine.die('signal SIGKILL');
    };
    const unhandled: unknown[] = [];
    const listener = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', listener);
    const sink: ByteSink = { write: () => (reads >= 3 ? Promise.reject(new Error('full')) : Promise.resolve()) };
    await assert.rejects(save(machine, sink));
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('unhandledRejection', listener);
    assert.deepEqual(unhandled, []);
  });

  it('whose pin is refused lets the guest go on', async () => {
    const machine = await running();
    const refused = save(machine, new MemorySink(), {
      pinTmem: () => {
        throw new Error('no room');
      },
    });
    await assert.rejects(refused, /no room/);
    assert.deepEqual([machine.status, machine.captured], ['running', false]);
    await machine.close();
  });

  it('that was cancelled before it began asks nothing of the machine', async () => {
    const machine = await running();
    await assert.rejects(save(machine, new MemorySink(), { signal: AbortSignal.abort() }), code('CANCELLED'));
    assert.deepEqual(machine.asked, []);
    await machine.close();
  });
});
