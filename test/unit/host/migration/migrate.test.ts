/** A guest that moves from one host to another while it runs: over TCP, with journals, with a real tmem engine. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { choiceOf, code, FakeTmem, scratch } from '../../../support/host/fake-host.ts';
import { FAKE_PAGE } from '../../../support/host/fake-machine.ts';
import { journaledHost, to, type JournaledHost } from '../../../support/host/two-hosts.ts';

const directory = scratch(after);
let hosts = 0;
let source: JournaledHost;
let destination: JournaledHost;

beforeEach(async () => {
  source = await journaledHost(join(directory.path, `${++hosts}`));
  destination = await journaledHost(join(directory.path, `${++hosts}`));
});
afterEach(async () => {
  await source.end();
  await destination.end();
});

describe('a guest moves while it runs', () => {
  it('with all of its memory, its devices and its tmem, and has one owner', async () => {
    const { uuid } = await source.host.create(choiceOf({ name: 'one' }));
    const before = source.driver.last;
    const tmem = new FakeTmem(before);
    const slot = tmem.fill('persistent', 200);
    const ephemeral = tmem.fill('ephemeral', 20);
    let rounds = 0;
    // It goes on writing, putting and flushing.
    before.before = (operation) => {
      if (operation !== 'scan' || before.status !== 'running') return;
      rounds++;
      before.memory.fill(rounds & 0xff, 100 * FAKE_PAGE, 101 * FAKE_PAGE);
      if (rounds < 50) tmem.flush(slot, 150 + rounds);
    };
    const memory = (): Uint8Array => before.memory.slice();
    const choice = to(destination, { limits: { downtimeMs: 1, force: true, rounds: 4 } });
    const result = await source.host.migrations.migrate('one', choice);
    const last = memory();
    assert.equal(result.name, 'one');
    assert.ok(result.rounds >= 2 && result.ramPages >= 1024 && result.tmemPages >= 200, JSON.stringify(result));
    assert.ok(result.invalidations > 0 && result.downtimeMs > 0);
    assert.deepEqual(source.host.list(), []);
    const [guest] = destination.host.list();
    assert.deepEqual([guest.name, guest.uuid, guest.state], ['one', uuid, 'running']);
    const there = destination.driver.last;
    assert.deepEqual(there.memory, last);
    assert.deepEqual(there.device, before.device);
    const moved = new FakeTmem(there);
    moved.check('persistent', slot, 151);
    moved.check('ephemeral', ephemeral, 20);
    assert.deepEqual(source.kinds(), ['HOST', 'PEER', 'BEGUN', 'GIVEN', 'DONE']);
    assert.deepEqual(destination.kinds(), ['HOST', 'PEER', 'RUNNING']);
    assert.equal(source.tmem.info()!.pages, 0);
    assert.equal(before.status, 'closed');
  });

  it('to and fro, each time under a higher epoch', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const epochs: number[] = [];
    for (let times = 0; times < 4; times++) {
      const [from, there] = times % 2 === 0 ? [source, destination] : [destination, source];
      epochs.push((await from.host.migrations.migrate('one', to(there))).epoch);
    }
    assert.deepEqual(epochs, [2, 3, 4, 5]);
    assert.equal(source.host.list().length, 1);
  });

  it('without tmem, with more seals than may wait for their acknowledgement', { timeout: 30_000 }, async () => {
    await source.host.create(choiceOf({ name: 'one', memoryMiB: 96, tmem: false }));
    const { memory } = source.driver.last;
    // Half of it has content: six seals of 8 MiB, of which four may wait.
    await source.host.migrations.migrate('one', to(destination));
    assert.ok(Buffer.compare(destination.driver.last.memory, memory) === 0);
  });

  it('compressed on the way, when that is asked for', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const memory = source.driver.last.memory.slice();
    await source.host.migrations.migrate('one', to(destination, { codec: 'zstd' }));
    assert.deepEqual(destination.driver.last.memory, memory);
  });
});

describe('a guest that is paused', () => {
  async function pausedGuest(): Promise<void> {
    await source.host.create(choiceOf({ name: 'one' }));
    await source.host.pause('one');
  }

  it('arrives paused, and runs there when it is told to', async () => {
    await pausedGuest();
    const here = source.driver.last;
    const slot = new FakeTmem(here).fill('persistent', 30);
    // A downtime that nothing can keep to is none of its matter.
    const result = await source.host.migrations.migrate('one', to(destination, { limits: { downtimeMs: 1 } }));
    assert.deepEqual([result.rounds, result.downtimeMs], [1, 0]);
    const there = destination.driver.last;
    assert.deepEqual([there.status, there.granted, there.asked.includes('resume')], ['paused', true, false]);
    assert.deepEqual(
      destination.host.list().map(({ name, state }) => [name, state]),
      [['one', 'paused']],
    );
    assert.deepEqual(there.memory, here.memory);
    assert.deepEqual(there.device, here.device);
    new FakeTmem(there).check('persistent', slot, 30);
    assert.deepEqual(destination.kinds(), ['HOST', 'PEER', 'RUNNING']);
    assert.deepEqual(source.host.list(), []);
    const { events } = destination.host.migrations.job(result.id);
    assert.ok(events.some(({ text }) => text === 'it is here, paused, under epoch 2'));

    // And back, still paused; then it runs, and moves as any other.
    await destination.host.migrations.migrate('one', to(source));
    assert.equal(source.host.list()[0].state, 'paused');
    await source.host.unpause('one');
    await source.host.migrations.migrate('one', to(destination));
    assert.equal(destination.host.list()[0].state, 'running');
  });

  it('stays paused where it is when that fails, at whatever point', async () => {
    await pausedGuest();
    destination.driver.version = '2.0';
    await assert.rejects(source.host.migrations.migrate('one', to(destination)), code('MIGRATION_REFUSED'));
    destination.driver.version = '1.0';
    const machine = source.driver.last;
    for (const at of ['scan', 'captureDevices'] as const) {
      machine.before = (operation) => {
        if (operation === at) throw new Error(`no ${at}`);
      };
      await assert.rejects(source.host.migrations.migrate('one', to(destination)));
      assert.deepEqual([machine.status, machine.scanned], ['paused', false], at);
      assert.deepEqual(
        source.host.list().map(({ state, busy }) => [state, busy]),
        [['paused', null]],
      );
    }
    assert.ok(!machine.asked.slice(machine.asked.indexOf('pause')).includes('resume'));
    machine.before = () => undefined;
    await source.host.migrations.migrate('one', to(destination));
    assert.equal(destination.host.list()[0].state, 'paused');
  });
});

describe('what goes wrong before GIVEN leaves the guest running where it is', () => {
  /** The guest runs here as before, and there is nothing of it there. */
  function untouched(): void {
    assert.deepEqual(
      source.host.list().map(({ state, busy }) => [state, busy]),
      [['running', null]],
    );
    assert.equal(source.driver.last.scanned, false);
    assert.equal(source.driver.last.share, 1);
  }

  it('a refusal, with all reasons and before any page', async () => {
    await destination.host.create(choiceOf({ name: 'one' }));
    await source.host.create(choiceOf({ name: 'one' }));
    destination.driver.version = '2.0';
    const error = await source.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
    const { reasons } = (error as { data: { reasons: { code: string }[] } }).data;
    assert.deepEqual(reasons.map((reason) => reason.code).toSorted(), ['FINGERPRINT', 'NAME']);
    assert.ok(!source.driver.last.asked.includes('startScan'));
    untouched();
    assert.equal(destination.host.list().length, 1);
    // An attempt that was begun and not given is the same as one that was kept.
    assert.deepEqual(source.kinds(), ['HOST', 'PEER', 'BEGUN']);
  });

  it('a host without tmem', async () => {
    const bare = await journaledHost(join(directory.path, `${++hosts}`), { tmemBytes: 0 });
    try {
      await source.host.create(choiceOf({ name: 'one' }));
      await assert.rejects(source.host.migrations.migrate('one', to(bare)), code('MIGRATION_REFUSED'));
      untouched();
    } finally {
      await bare.end();
    }
  });

  it('a cancellation', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const cancel = new AbortController();
    source.driver.last.before = (operation) => {
      if (operation === 'scan') cancel.abort();
    };
    await assert.rejects(source.host.migrations.migrate('one', to(destination), cancel.signal), code('CANCELLED'));
    untouched();
    assert.deepEqual(destination.host.list(), []);
    assert.equal((await source.host.migrations.owner(source.host.migrations.jobs()[0].id)).owner, 'source');
  });

  it('nobody who listens', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    await destination.end();
    const error = await source.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
    assert.equal((error as { code: string }).code, 'CONNECT_FAILED');
    untouched();
    destination = await journaledHost(join(directory.path, `${++hosts}`));
  });
});

describe('questions', () => {
  it('check says whether it would be taken, and holds nothing back', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const yes = await source.host.migrations.check('one', to(destination));
    assert.deepEqual(yes.reasons, []);
    assert.equal(yes.accepted?.reserved.name, 'one');
    assert.deepEqual(destination.host.migrations.jobs(), []);
    await destination.host.create(choiceOf({ name: 'one' }));
    const no = await source.host.migrations.check('one', to(destination));
    assert.deepEqual(
      no.reasons.map((reason) => reason.code),
      ['NAME'],
    );
  });

  it('jobs are remembered on both sides, with every message', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const { id } = await source.host.migrations.migrate('one', to(destination));
    const story = source.host.migrations.job(id);
    const said = story.events.map(({ what, text }) => `${what} ${text.split(' ', 1)[0]}`);
    for (const line of ['says HELLO', 'says OFFER', 'hears ACCEPT', 'journal GIVEN', 'hears RUNNING', 'says DONE']) {
      assert.ok(said.includes(line), line);
    }
    assert.equal(story.owner, 'destination');
    const there = destination.host.migrations.job(id);
    assert.deepEqual([there.side, there.owner, there.handover], ['destination', 'destination', 'running']);
    const owner = await source.host.migrations.owner(id);
    assert.deepEqual([owner.owner, owner.asked], ['destination', true]);
    assert.throws(() => source.host.migrations.job('0'.repeat(32)), code('MIGRATION_UNKNOWN'));
    assert.throws(() => source.host.migrations.settle(id, 'take'), code('MACHINE_STATE'));
  });
});
