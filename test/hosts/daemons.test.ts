/** Two hosts as processes, the small guest in v86, and the commands: as somebody does it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SmallGuestCheck, SmallGuestReport } from '../../src/machine/v86/boot/small-guest.ts';
import { SMALL_GUEST_COMMAND } from '../../src/machine/v86/boot/small-guest.ts';
import { until } from '../support/guest/machines.ts';
import { childrenOf, command, Daemon, lives } from '../support/host/daemon.ts';
import { scratch } from '../support/host/fake-host.ts';

const directory = scratch(after);
let source: Daemon;
let destination: Daemon;
const ports = { source: 0, destination: 0 };

before(async () => {
  source = await Daemon.start(join(directory.path, 'a.sock'));
  destination = await Daemon.start(join(directory.path, 'b.sock'));
  ports.source = (await source.client.listen({ host: '127.0.0.1', port: 0 })).port;
  ports.destination = (await destination.client.listen({ host: '127.0.0.1', port: 0 })).port;
});
after(async () => {
  await source.stop();
  await destination.stop();
});

async function checked(host: Daemon, name: string): Promise<SmallGuestCheck> {
  const answer = host.line(name, (line) => line?.kind === 'check');
  await host.client.type(name, new TextEncoder().encode(SMALL_GUEST_COMMAND.check));
  return (await answer) as SmallGuestCheck;
}

async function worked(host: Daemon, name: string, rounds: number): Promise<SmallGuestReport> {
  // The destination's answer (RUNNING) may be heard a moment before its guest is in the list (spec/protocol.md 7.3).
  await until(`${name} is there`, async () => (await host.client.list()).some((guest) => guest.name === name));
  return (await host.line(name, (line) => line?.kind === 'report' && line.round >= rounds)) as SmallGuestReport;
}

describe('a guest in v86', () => {
  it('moves to and fro while it works, and finds all of its memory and tmem each time', async () => {
    await source.client.create({ name: 'one', boot: { kind: 'small', pages: 256, ticks: 0 } });
    let { round } = await worked(source, 'one', 3);
    for (let times = 0; times < 4; times++) {
      const [from, to, port] =
        times % 2 === 0 ? [source, destination, ports.destination] : [destination, source, ports.source];
      const { status, out, err } = await from.run(['migrate', 'one', `127.0.0.1:${port}`, '--json']);
      assert.equal(status, 0, `${out}${err}`);
      const result = JSON.parse(out) as { tmemPages: number; ramPages: number; epoch: number };
      assert.equal(result.epoch, times + 2);
      assert.ok(result.ramPages >= 4096 && result.tmemPages > 0, out);
      assert.deepEqual(await from.client.list(), []);
      const report = await worked(to, 'one', round + 1);
      ({ round } = report);
      const check = await checked(to, 'one');
      assert.deepEqual([report.bad, report.tmembad, check.bad, check.tmembad], [0, 0, 0, 0]);
      assert.ok(check.pages > 0 && check.tmem > 0);
    }
    await source.client.destroy('one');
  });

  it('is asked about, refused, and left alone', async () => {
    await source.client.create({ name: 'two', boot: { kind: 'small', pages: 64, ticks: 0 } });
    const where = `127.0.0.1:${ports.destination}`;
    const yes = await source.run(['check', 'two', where]);
    assert.equal(yes.status, 0, yes.err);
    assert.match(yes.out, /would take it/);
    await destination.client.create({ name: 'two', boot: { kind: 'small', pages: 8 } });
    const no = await source.run(['check', 'two', where]);
    assert.deepEqual([no.status, /NAME: another guest has the name/.test(no.out)], [12, true], no.out);
    const refused = await source.run(['migrate', 'two', where]);
    assert.equal(refused.status, 12);
    assert.match(refused.err, /NAME: another guest has the name/);
    assert.equal((await source.client.guest('two')).state, 'running');
    // What was made to be looked at is gone: only its own guest's process is there.
    await until('one process is left', () => childrenOf(destination.pid).length === 1);
    await destination.client.destroy('two');
    await source.client.destroy('two');
  });

  it('moves through a command that speaks for the other host', async () => {
    await source.client.create({ name: 'four', boot: { kind: 'small', pages: 64, ticks: 0 } });
    const { round } = await worked(source, 'four', 2);
    const nobody = await source.run(['migrate', 'four', '--', '/nowhere/at/all', 'x']);
    assert.deepEqual([nobody.status, (await source.client.guest('four')).state], [13, 'running'], nobody.err);
    const bin = fileURLToPath(new URL('../../bin/transmigrate', import.meta.url));
    const receive = [process.execPath, bin, 'receive', '--stdio', '--socket', destination.socket];
    const kept = join(directory.path, 'kept.tmig');
    const { status, out, err } = await source.run(['migrate', 'four', '--', ...receive, '--record', kept]);
    assert.equal(status, 0, `${out}${err}`);
    await until('what came is kept', () => existsSync(kept));
    const verified = await source.run(['verify', kept]);
    assert.equal(verified.status, 0, verified.out);
    await worked(destination, 'four', round + 1);
    const check = await checked(destination, 'four');
    assert.deepEqual([check.bad, check.tmembad], [0, 0]);
    await destination.client.destroy('four');
  });

  it('moves a guest that is paused, which goes on there when it is told to', async () => {
    await source.client.create({ name: 'five', boot: { kind: 'small', pages: 64, ticks: 0 } });
    const { round } = await worked(source, 'five', 2);
    await source.client.pause('five');
    const { status, out, err } = await source.run(['migrate', 'five', `127.0.0.1:${ports.destination}`]);
    assert.equal(status, 0, `${out}${err}`);
    assert.match(out, /it is paused, as it was/);
    assert.equal((await destination.client.guest('five')).state, 'paused');
    await destination.client.unpause('five');
    await worked(destination, 'five', round + 1);
    const check = await checked(destination, 'five');
    assert.deepEqual([check.bad, check.tmembad], [0, 0]);
    await destination.client.destroy('five');
  });

  it('Ctrl-C of the command leaves it running here', async () => {
    await source.createFull('three');
    const where = `127.0.0.1:${ports.destination}`;
    const run = command(['migrate', 'three', where, '--bandwidth', '2M'], source.socket);
    await until('pages move', async () => {
      const job = (await source.client.jobs()).find(({ name }) => name === 'three');
      return (job?.progress?.ramBytes ?? 0) > 1_000_000;
    });
    run.child.kill('SIGINT');
    const { status } = await run.ended;
    assert.equal(status, 130);
    assert.deepEqual(await destination.client.list(), []);
    const report = await worked(source, 'three', 2);
    assert.equal(report.bad, 0);
    const { id } = (await source.client.jobs()).find(({ name }) => name === 'three')!;
    const shown = await source.run(['jobs', 'show', id]);
    assert.match(shown.out, /CANCELLED/);
    const owner = await source.run(['owner', id]);
    assert.match(owner.out, /the source owns it/);
    assert.equal((await source.run(['settle', id, '--take'])).status, 2);
    await source.client.destroy('three');
    await until('no process is left', () => childrenOf(destination.pid).every((pid) => !lives(pid)));
  });
});
