/**
 * `kill -9` of either daemon at random moments of a migration: never two running, no process left, and nothing lost
 * but with the host that ran it. KILLS says how often, SEED which moments.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobInfo } from '../../../../src/host/migration/jobs.ts';
import { until } from '../../../support/guest/machines.ts';
import { Daemon, lives } from '../../../support/host/daemon.ts';
import { scratch } from '../../../support/host/fake-host.ts';
import { random } from '../../../support/random.ts';

const KILLS = Number(process.env['KILLS'] ?? 10);
const SEED = process.env['SEED'] ?? String(Date.now());
const directory = scratch(after);
const sockets = { a: join(directory.path, 'a.sock'), b: join(directory.path, 'b.sock') };
type Side = keyof typeof sockets;
const ports: Record<Side, number> = { a: 0, b: 0 };
const daemons = {} as Record<Side, Daemon>;

after(async () => {
  for (const daemon of Object.values(daemons)) await daemon.stop();
});

async function start(side: Side): Promise<void> {
  const daemon = await Daemon.start(sockets[side]);
  daemons[side] = daemon;
  ports[side] = (await daemon.client.listen({ host: '127.0.0.1', port: ports[side] })).port;
}

/** Where the guest runs now. */
async function running(): Promise<Side[]> {
  const found: Side[] = [];
  for (const side of ['a', 'b'] as const) {
    const guests = await daemons[side].client.list();
    if (guests.some(({ state }) => state === 'running')) found.push(side);
  }
  return found;
}

test(`kill -9, ${KILLS} times, seed ${SEED}`, { timeout: 3_600_000 }, async (context) => {
  const generator = random(SEED);
  const ends = new Map<string, number>();
  await start('a');
  await start('b');
  let home: Side = 'a';
  let alive = false;
  for (let kill = 0; kill < KILLS; kill++) {
    const what = `kill ${kill} of seed ${SEED}`;
    if (!alive) {
      await daemons[home].client.create({ name: 'one', boot: { kind: 'small', pages: 512, ticks: 0 } });
      await daemons[home].line('one', (line) => line?.kind === 'report' && line.round >= 1);
    }
    const other: Side = home === 'a' ? 'b' : 'a';
    const target = { host: '127.0.0.1', port: ports[other], limits: { bytesPerSecond: 20_000_000 } };
    const moved = daemons[home].client.migrate('one', target).then(
      () => 'moved',
      (error: unknown) => (error as { code: string }).code,
    );
    await sleep(generator.below(1800));
    const victim: Side = generator.below(2) === 0 ? home : other;
    const processes = daemons[victim].guests();
    await daemons[victim].kill('SIGKILL');
    await start(victim);
    for (const pid of processes) await until(`${what}: process ${pid} is gone`, () => !lives(pid));
    if (victim === home) await moved;
    // What was given is asked about until it is settled, or an operator must.
    let jobs: JobInfo[] = [];
    await until(`${what}: it is settled`, async () => {
      assert.ok((await running()).length <= 1, `${what}: it runs twice`);
      jobs = await daemons[home].client.jobs();
      return jobs.every((job) => job.phase === 'ended' || job.side !== 'source' || job.gone);
    });
    const open = jobs.find((job) => job.side === 'source' && job.phase !== 'ended');
    if (open !== undefined) await daemons[home].client.settle(open.id, 'take').catch(() => undefined);
    await moved;
    await until(`${what}: nothing is done any more`, async () => {
      const guests = [...(await daemons[home].client.list()), ...(await daemons[other].client.list())];
      return guests.every(({ busy }) => busy === null);
    });
    const where = await running();
    assert.ok(where.length <= 1, `${what}: it runs twice`);
    // A guest is lost only with the host that it ran on: never while the source has a copy.
    const done = jobs.some((job) => job.side === 'source' && job.handover === 'done');
    if (where.length === 0)
      assert.ok(victim === home || done, `${what}: it is nowhere, though its host was not killed`);
    const end = `${victim === home ? 'source' : 'destination'} killed, ${where.length === 0 ? 'lost with it' : 'runs'}`;
    ends.set(end, (ends.get(end) ?? 0) + 1);
    alive = where.length === 1;
    if (alive) [home] = where;
    if (alive) {
      const line = await daemons[home].line('one', (one) => one?.kind === 'report');
      assert.ok(line.kind === 'report' && line.bad === 0 && line.tmembad === 0, what);
    }
  }
  context.diagnostic(JSON.stringify(Object.fromEntries(ends)));
});
