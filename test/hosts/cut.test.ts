/** Connections that are cut, and hosts that end, in the middle of a migration (protocol 6.5, 7.5). */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { until } from '../support/guest/machines.ts';
import { CuttingProxy } from '../support/host/cutting-proxy.ts';
import { choiceOf, code, FakeTmem, scratch } from '../support/host/fake-host.ts';
import { FAKE_PAGE } from '../support/host/fake-machine.ts';
import { journaledHost, to, type JournaledHost } from '../support/host/two-hosts.ts';
import { random } from '../support/random.ts';

const directory = scratch(after);
let hosts = 0;
let source: JournaledHost;
let destination: JournaledHost;
let proxy: CuttingProxy;

beforeEach(async () => {
  source = await journaledHost(join(directory.path, `${++hosts}`));
  destination = await journaledHost(join(directory.path, `${++hosts}`));
  proxy = await CuttingProxy.start(destination.port);
});
afterEach(async () => {
  await proxy.close();
  await source.end();
  await destination.end();
});

/** A guest that was given, of which nothing is heard: the connection is cut when the destination writes RUNNING. */
async function given(
  written: boolean,
  paused = false,
): Promise<{ readonly id: string; readonly moved: Promise<unknown> }> {
  const { directory: where, port } = destination;
  await destination.end();
  const cut = Promise.withResolvers<void>();
  destination = await journaledHost(where, {
    port,
    before: async (records) => {
      if (!records.some(({ kind }) => kind === 'RUNNING')) return;
      proxy.open = false;
      proxy.cut();
      cut.resolve();
      if (!written) await new Promise(() => undefined);
    },
  });
  await source.host.create(choiceOf({ name: 'one' }));
  if (paused) await source.host.pause('one');
  const moved = source.host.migrations.migrate('one', to(proxy)).catch((thrown: unknown) => thrown);
  await cut.promise;
  if (written) await until('it runs there', () => destination.host.list().length === 1);
  return { id: source.host.migrations.jobs()[0].id, moved };
}

describe('a connection that is cut', () => {
  const seed = 'cut';
  const generator = random(seed);
  for (let times = 0; times < 6; times++) {
    const cuts = Array.from({ length: 1 + generator.below(3) }, () => 20_000 + generator.below(3_500_000));
    it(`is followed by another, which brings what was lost: after ${cuts.join(', ')} bytes`, async () => {
      proxy.cutAfter.push(...cuts);
      await source.host.create(choiceOf({ name: 'one' }));
      const machine = source.driver.last;
      const tmem = new FakeTmem(machine);
      const slot = tmem.fill('persistent', 300);
      let scans = 0;
      machine.before = (operation) => {
        if (operation !== 'scan' || machine.status !== 'running') return;
        const page = (scans++ * 37) % 1024;
        machine.memory.fill(scans & 0xff, page * FAKE_PAGE, (page + 1) * FAKE_PAGE);
        if (scans <= 60) tmem.flush(slot, 300 - scans);
      };
      const choice = to(proxy, { limits: { downtimeMs: 1, force: true, rounds: 6 } });
      const result = await source.host.migrations.migrate('one', choice);
      assert.ok(result.legs > 1 && result.legs === proxy.connections, `${result.legs} of ${proxy.connections}`);
      const there = destination.driver.last;
      assert.deepEqual(there.memory, machine.memory);
      new FakeTmem(there).check('persistent', slot, 300 - Math.min(scans, 60));
      assert.equal(destination.host.list().length, 1);
      assert.equal(source.host.list().length, 0);
    });
  }

  it('of a guest that is paused is followed by another, and it arrives paused', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    await source.host.pause('one');
    const machine = source.driver.last;
    let cuts = 0;
    machine.before = (operation) => {
      if (operation === 'captureDevices' && cuts++ === 0) proxy.cut();
    };
    const result = await source.host.migrations.migrate('one', to(proxy));
    assert.ok(result.legs > 1 && cuts > 1, `${result.legs}`);
    assert.deepEqual(
      destination.host.list().map(({ state }) => state),
      ['paused'],
    );
    assert.deepEqual(destination.driver.last.memory, machine.memory);
  });

  it('as source of a paused guest after GIVEN, which its destination never took: it stays paused', async () => {
    const { moved } = await given(false, true);
    const { directory: where, port } = destination;
    await destination.end();
    destination = await journaledHost(where, { port });
    proxy.open = true;
    assert.equal(((await moved) as { code: string }).code, 'MIGRATION_LOST');
    assert.deepEqual(source.kinds().slice(-2), ['GIVEN', 'TAKEN']);
    assert.equal(source.host.list()[0].state, 'paused');
    await source.host.unpause('one');
    assert.equal(source.driver.last.status, 'running');
  });

  it('while the destination is lost for good leaves the guest running', { timeout: 30_000 }, async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const machine = source.driver.last;
    machine.before = (operation) => {
      if (operation !== 'scan') return;
      proxy.open = false;
      proxy.cut();
    };
    const cancel = new AbortController();
    const moved = source.host.migrations.migrate('one', to(proxy), cancel.signal);
    moved.catch(() => undefined);
    await until('it tries again', () => source.host.migrations.jobs()[0].phase === 'connecting');
    cancel.abort();
    await assert.rejects(moved, code('CANCELLED'));
    assert.equal(machine.status, 'running');
    assert.equal(machine.scanned, false);
  });
});

describe('a host that ends', () => {
  it('as destination before GIVEN: a new one holds nothing, and the guest runs on', async () => {
    await source.host.create(choiceOf({ name: 'one' }));
    const machine = source.driver.last;
    const { directory: where, port } = destination;
    let ended: Promise<void> | null = null;
    machine.before = async (operation) => {
      if (operation !== 'scan' || ended !== null) return;
      ended = destination.end().then(async () => {
        destination = await journaledHost(where, { port });
      });
      await ended;
    };
    const error = await source.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
    assert.equal((error as { code: string }).code, 'MIGRATION_LOST');
    assert.equal(machine.status, 'running');
    assert.deepEqual(destination.host.list(), []);
  });

  it('as source after GIVEN: it asks when it is there again, and that ends it', async () => {
    const { id, moved } = await given(true);
    const there = destination.driver.last;
    assert.equal(source.driver.last.status, 'paused');
    assert.equal((await source.host.migrations.owner(id)).owner, 'unknown');
    await assert.rejects(source.host.destroy('one'), code('GUEST_BUSY'));
    const { directory: where } = source;
    await source.end();
    assert.equal(((await moved) as { code: string }).code, 'OWNERSHIP_UNKNOWN');
    proxy.open = true;
    source = await journaledHost(where);
    await until('it is done', () => source.kinds().includes('DONE'));
    assert.equal((await source.host.migrations.owner(id)).owner, 'destination');
    assert.equal(there.status, 'running');
    assert.deepEqual(source.host.list(), []);
  });

  it('as destination before RUNNING: a new one has abandoned it, and the source takes it back', async () => {
    const { id, moved } = await given(false);
    const { directory: where, port } = destination;
    await destination.end();
    destination = await journaledHost(where, { port });
    proxy.open = true;
    assert.equal(((await moved) as { code: string }).code, 'MIGRATION_LOST');
    assert.deepEqual(source.kinds().slice(-2), ['GIVEN', 'TAKEN']);
    assert.deepEqual(destination.kinds().slice(-2), ['PEER', 'ABANDONED']);
    assert.equal(source.driver.last.status, 'running');
    assert.equal((await source.host.migrations.owner(id)).owner, 'source');
    // The next attempt is above all of these.
    assert.equal((await source.host.migrations.migrate('one', to(proxy))).epoch, 4);
  });

  it('as destination after RUNNING: nobody decides but an operator', async () => {
    const { id, moved } = await given(true);
    const { directory: where, port } = destination;
    await destination.end();
    destination = await journaledHost(where, { port });
    proxy.open = true;
    await until('the source hears that it is gone', async () => (await source.host.migrations.owner(id)).gone);
    assert.equal(source.driver.last.status, 'paused');
    source.host.migrations.settle(id, 'take');
    assert.equal(((await moved) as { code: string }).code, 'MIGRATION_LOST');
    assert.equal(source.driver.last.status, 'running');
    assert.deepEqual(source.kinds().slice(-2), ['GIVEN', 'TAKEN']);
    assert.equal((await source.host.migrations.owner(id)).owner, 'source');
  });
});
