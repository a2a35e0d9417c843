/** A host as a process, with real guests: signals, kills and full disks in the middle of a save (M1). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { verifyImage, type Verification } from '../../src/image/verify.ts';
import { openFileSource } from '../../src/io/file.ts';
import { childrenOf, command, Daemon, lives } from '../support/host/daemon.ts';
import { code, scratch } from '../support/host/fake-host.ts';
import { until } from '../support/guest/machines.ts';

const directory = scratch(after);
let sockets = 0;
const daemons: Daemon[] = [];
after(async () => {
  for (const daemon of daemons) await daemon.stop();
});

async function started(options: readonly string[] = []): Promise<Daemon> {
  const daemon = await Daemon.start(join(directory.path, `${sockets++}.sock`), options);
  daemons.push(daemon);
  return daemon;
}

/** An empty directory for images. */
function place(name: string): string {
  const path = join(directory.path, name);
  mkdirSync(path);
  return path;
}

async function underWay(path: string): Promise<void> {
  await until('a save is being written', () => readdirSync(path).some((name) => name.endsWith('.partial')));
}

async function digests(path: string): Promise<Verification> {
  const source = await openFileSource(path);
  try {
    return await verifyImage([source], { digest: true });
  } finally {
    await source.close();
  }
}

/** A guest that was saved and comes back through a pipe, of which half has been written. */
async function halfRestored(daemon: Daemon, path: string): Promise<ReturnType<typeof command>> {
  await daemon.client.create({ name: 'g', boot: { kind: 'small' } });
  await daemon.client.save('g', { path, after: 'stop', codec: 'raw' });
  const image = readFileSync(path);
  const restore = command(['restore', '-'], daemon.socket);
  restore.child.stdin!.write(image.subarray(0, image.byteLength / 2));
  await until('its machine is made', () => daemon.guests().length === 1);
  return restore;
}

describe('a host that is told to end', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`by ${signal} ends its guests, removes its socket and answers 0`, async () => {
      const daemon = await started();
      await daemon.client.create({ name: 'a', boot: { kind: 'small' } });
      await daemon.client.create({ name: 'b', boot: { kind: 'small' }, paused: true });
      const guests = daemon.guests();
      assert.equal(guests.length, 2);
      const { status, err } = await daemon.kill(signal);
      assert.deepEqual([status, err], [0, '']);
      assert.ok(!existsSync(daemon.socket));
      assert.deepEqual(guests.filter(lives), []);
    });
  }

  it('while it saves leaves no file', async () => {
    const daemon = await started();
    const images = place('ended');
    await daemon.createFull('g');
    const saving = daemon.client.save('g', { path: join(images, 'g.tmig') });
    saving.catch(() => undefined);
    await underWay(images);
    assert.equal((await daemon.kill('SIGTERM')).status, 0);
    await assert.rejects(saving);
    assert.deepEqual(readdirSync(images), []);
  });
});

describe('a host that is killed', () => {
  it('in the middle of a save leaves no guest and no file that looks whole; its socket is taken over', async () => {
    const daemon = await started();
    const images = place('killed');
    const path = join(images, 'g.tmig');
    writeFileSync(path, 'the old one');
    await daemon.createFull('g');
    await daemon.client.create({ name: 'other', boot: { kind: 'small' } });
    const guests = daemon.guests();
    assert.equal(guests.length, 2);
    const saving = daemon.client.save('g', { path });
    saving.catch(() => undefined);
    await underWay(images);
    assert.equal((await daemon.kill('SIGKILL')).signal, 'SIGKILL');
    await assert.rejects(saving, code('HOST_UNREACHABLE'));
    await until('no guest is left', () => !guests.some(lives));
    assert.equal(statSync(path).size, 11);
    for (const name of readdirSync(images)) assert.ok(name === 'g.tmig' || name.endsWith('.partial'), name);
    assert.ok(existsSync(daemon.socket));
    const next = await Daemon.start(daemon.socket);
    daemons.push(next);
    assert.equal((await next.client.info()).pid, next.pid);
  });
});

describe('a host that is killed in the middle of a restore', () => {
  it('leaves no process', async () => {
    const daemon = await started();
    const { ended } = await halfRestored(daemon, join(place('killed restore'), 'g.tmig'));
    const guests = daemon.guests();
    await daemon.kill('SIGKILL');
    const { status, err } = await ended;
    assert.equal(status, 13, err);
    assert.match(err, /HOST_UNREACHABLE/);
    await until('no process is left', () => !guests.some(lives));
  });
});

describe('the demonstration', () => {
  it('cut by Ctrl-C at any moment leaves no process and no file', async () => {
    const scratchPlace = place('demo');
    for (const ms of [300, 900, 1500, 2500]) {
      const { child, ended } = command(['demo'], '/no/such', { TMPDIR: scratchPlace });
      await new Promise((resolve) => setTimeout(resolve, ms));
      const hosts = childrenOf(child.pid!);
      const guests = hosts.flatMap(childrenOf);
      child.kill('SIGINT');
      const { status, signal, err } = await ended;
      // Before the command has begun to listen, the signal ends the process as it ends any other.
      assert.ok(status === 130 || signal === 'SIGINT', `${ms}: ${String(status)} ${err}`);
      await until('all have ended', () => ![...hosts, ...guests].some(lives));
      assert.deepEqual(readdirSync(scratchPlace), [], String(ms));
    }
  });
});

describe('on one host', () => {
  let daemon: Daemon;
  before(async () => {
    daemon = await started();
    await daemon.createFull('g');
  });

  it('a second one is refused', async () => {
    const { status, err } = await daemon.run(['host', 'run']);
    assert.equal(status, 12);
    assert.match(err, /HOST_RUNNING/);
    assert.equal((await daemon.client.list()).length, 1);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    for (const option of signal === 'SIGTERM' ? [[]] : [[], ['--pause'], ['--stop']]) {
      it(`${signal} of save ${option.join('')} leaves a guest that runs, and no file`, async () => {
        const images = place(`cancel ${signal} ${option.join('')}`);
        const { child, ended } = command(['save', ...option, 'g', join(images, 'g.tmig')], daemon.socket);
        await underWay(images);
        child.kill(signal);
        const { status, out, err } = await ended;
        assert.deepEqual([status, out, err], [130, '', 'transmigrate: cancelled (CANCELLED). Nothing was changed.\n']);
        // It is over when it says so.
        assert.deepEqual(readdirSync(images), []);
        const { state, busy } = await daemon.client.guest('g');
        assert.deepEqual([state, busy], ['running', null]);
      });
    }
  }

  it('the killed command is cancelled too', async () => {
    const images = place('cancel by SIGKILL');
    const { child, ended } = command(['save', '--stop', 'g', join(images, 'g.tmig')], daemon.socket);
    await underWay(images);
    child.kill('SIGKILL');
    await ended;
    await until('the save is over', async () => (await daemon.client.guest('g')).busy === null);
    assert.deepEqual(readdirSync(images), []);
    assert.equal((await daemon.client.guest('g')).state, 'running');
  });

  it('a reader who goes away ends a save into a pipe', async () => {
    const { child, ended } = command(['save', '--stop', 'g', '-'], daemon.socket);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    child.stdout!.destroy();
    const { status, err } = await ended;
    assert.equal(status, 15, err);
    assert.match(err, /WRITE_FAILED/);
    await until('the save is over', async () => (await daemon.client.guest('g')).busy === null);
    await until('it runs', async () => (await daemon.client.guest('g')).state === 'running');
  });

  it('a full disk is said, and leaves a guest that runs and no file', async (t) => {
    const small = place('small disk');
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]).status !== 0) {
      return t.skip('no tmpfs can be mounted here');
    }
    try {
      for (const option of [[], ['--pause'], ['--stop']]) {
        const { status, err } = await daemon.run(['save', ...option, 'g', join(small, 'g.tmig')]);
        assert.equal(status, 15);
        assert.match(err, /the disk is full \(WRITE_FAILED\)/);
        assert.deepEqual(readdirSync(small), []);
        assert.equal((await daemon.client.guest('g')).state, 'running');
      }
    } finally {
      spawnSync('umount', [small]);
    }
  });

  it('its process killed in the middle of a save is a crash with a reason, and no file', async () => {
    const images = place('guest killed');
    const saving = daemon.client.save('g', { path: join(images, 'g.tmig'), after: 'stop' });
    saving.catch(() => undefined);
    await underWay(images);
    for (const pid of daemon.guests()) process.kill(pid, 'SIGKILL');
    await assert.rejects(saving, code('GUEST_GONE'));
    assert.deepEqual(readdirSync(images), []);
    const { state, reason } = await daemon.client.guest('g');
    assert.equal(state, 'crashed');
    assert.match(reason!, /SIGKILL/);
    await assert.rejects(daemon.client.save('g', { path: join(images, 'g.tmig') }), code('GUEST_CRASHED'));
    assert.match((await daemon.run(['console', '--no-follow', 'g'])).out, /small-guest version=1/);
    await daemon.client.destroy('g');
    const { tmem } = await daemon.client.info();
    assert.equal(tmem!.pages, 0);
  });
});

describe('a guest', () => {
  let daemon: Daemon;
  before(async () => {
    daemon = await started();
  });

  it('that crashes is said to have, and others go on', async () => {
    await daemon.client.create({ name: 'bad', boot: { kind: 'small' } });
    await daemon.client.create({ name: 'good', boot: { kind: 'small', ticks: 1 } });
    await daemon.line('bad', (line) => line?.kind === 'report');
    await daemon.client.type('bad', Buffer.from('k\n'));
    await until('it crashed', async () => (await daemon.client.guest('bad')).state === 'crashed');
    assert.ok(((await daemon.client.guest('bad')).reason ?? '').length > 0);
    const { out } = await daemon.run(['list']);
    assert.match(out, /bad +crashed /);
    assert.match((await daemon.run(['console', '--no-follow', 'bad'])).out, /round=/);
    let rounds = -1;
    await daemon.line('good', (line) => {
      if (line?.kind !== 'report') return false;
      if (rounds < 0) rounds = line.round;
      return line.round > rounds + 5;
    });
    await daemon.client.destroy('bad');
    await daemon.client.destroy('good');
    assert.deepEqual(daemon.guests(), []);
  });

  it('restored and saved again before it ran is the same; then it finds everything, also in a clone', async () => {
    const images = place('round trip');
    const [first, second] = [join(images, 'first.tmig'), join(images, 'second.tmig')];
    const created = await daemon.client.create({ name: 'g', boot: { kind: 'small', pages: 64, ticks: 1 } });
    await daemon.line('g', (line) => line?.kind === 'report' && line.puts > 60 && line.gets > 10);
    await daemon.client.save('g', { path: first });
    const { guest } = await daemon.client.restore({ path: first, name: 'copy', paused: true });
    assert.notEqual(guest.uuid, created.uuid);
    assert.equal(guest.state, 'paused');
    assert.equal((await daemon.client.save('copy', { path: second })).state, 'paused');
    const [one, two] = [await digests(first), await digests(second)];
    assert.equal(one.verdict, 'sound');
    assert.deepEqual([two.memory, two.tmem], [one.memory, one.tmem]);
    await daemon.client.unpause('copy');
    for (const name of ['copy', 'g']) {
      await daemon.client.type(name, Buffer.from('c\n'));
      const check = await daemon.line(name, (line) => line?.kind === 'check');
      assert.ok(check.kind === 'check' && check.pages > 0 && check.tmem > 0);
      assert.deepEqual([check.bad, check.tmembad], [0, 0]);
    }
    await assert.rejects(daemon.client.restore({ path: first, name: 'x', sameIdentity: true }), code('IDENTITY_TAKEN'));
    await daemon.client.destroy('g');
    const { guest: again } = await daemon.client.restore({ path: first, sameIdentity: true });
    assert.deepEqual([again.uuid, again.name], [created.uuid, 'g']);
    for (const { name } of await daemon.client.list()) await daemon.client.destroy(name);
  });

  it('whose image is refused leaves no process', async () => {
    const images = place('refused');
    const path = join(images, 'g.tmig');
    await daemon.client.create({ name: 'g', boot: { kind: 'small' }, memoryMiB: 8 });
    await daemon.client.save('g', { path, after: 'stop', codec: 'raw' });
    const image = readFileSync(path);
    for (const share of [0.999, 0.7, 0.3, 0.01]) {
      truncateSync(path, Math.floor(image.byteLength * share));
      await assert.rejects(daemon.client.restore({ path }), code('TRUNCATED'));
      assert.deepEqual(daemon.guests(), []);
      writeFileSync(path, image);
    }
    const off = await started(['--tmem', 'off']);
    await assert.rejects(off.client.restore({ path }), code('TMEM_DISABLED'));
    await assert.rejects(off.client.create({ boot: { kind: 'small' } }), code('TMEM_DISABLED'));
    assert.deepEqual(off.guests(), []);
    assert.deepEqual((await daemon.client.info()).tmem!.pages, 0);
  });

  it('through a pipe from one host to another', async () => {
    const other = await started();
    await daemon.client.create({ name: 'moved', boot: { kind: 'small', ticks: 1 } });
    await daemon.line('moved', (line) => line?.kind === 'report' && line.puts > 10);
    const save = command(['save', '--stop', 'moved', '-'], daemon.socket);
    const restore = command(['restore', '-'], other.socket);
    save.child.stdout!.pipe(restore.child.stdin!);
    const [saved, restored] = [await save.ended, await restore.ended];
    assert.deepEqual([saved.status, restored.status], [0, 0], saved.err + restored.err);
    assert.match(saved.err, /is now destroyed/);
    assert.deepEqual(await daemon.client.list(), []);
    await other.client.type('moved', Buffer.from('c\n'));
    const check = await other.line('moved', (line) => line?.kind === 'check');
    assert.ok(check.kind === 'check' && check.bad === 0 && check.tmembad === 0);
  });

  it('whose restore from a pipe is cut by Ctrl-C leaves nothing', async () => {
    const images = place('cut restore');
    const path = join(images, 'g.tmig');
    const { child, ended } = await halfRestored(daemon, path);
    child.kill('SIGINT');
    const { status, err } = await ended;
    assert.equal(status, 130, err);
    assert.deepEqual(daemon.guests(), []);
    assert.deepEqual(await daemon.client.list(), []);
    await daemon.client.restore({ path });
    await daemon.client.destroy('g');
  });
});
