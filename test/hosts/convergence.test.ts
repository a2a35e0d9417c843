/**
 * Guests that change faster than a limited link carries (L2): two hosts as processes. Whether a guest is slowed down is
 * seen by what its process gets beside a twin that nobody moves.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobStory } from '../../src/host/migration/jobs.ts';
import { SMALL_GUEST_COMMAND, smallGuestCommand } from '../../src/machine/v86/boot/small-guest.ts';
import { until } from '../support/guest/machines.ts';
import { Daemon } from '../support/host/daemon.ts';
import { code, scratch } from '../support/host/fake-host.ts';

const directory = scratch(after);
let source: Daemon;
let destination: Daemon;
let target: { readonly host: string; readonly port: number };

before(async () => {
  source = await Daemon.start(join(directory.path, 'a.sock'));
  destination = await Daemon.start(join(directory.path, 'b.sock'));
  target = await destination.client.listen({ host: '127.0.0.1', port: 0 });
});
after(async () => {
  await source.stop();
  await destination.stop();
});

/** A guest that works as fast as it can. @returns its process */
async function flood(name: string): Promise<number> {
  const known = new Set(source.guests());
  // All of what 8 MiB leave it, again and again: far more each second than any limit here.
  await source.client.create({ name, memoryMiB: 8, boot: { kind: 'small', pages: 700, ticks: 0 } });
  await source.line(name, (line) => line?.kind === 'report' && line.round >= 2);
  return source.guests().find((pid) => !known.has(pid))!;
}

/** Time of the processor that a process had, in ticks. */
function ticksOf(pid: number): number {
  const [, rest = ''] = /^\d+ \(.*\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
  const fields = rest.split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** What one process gets while another gets 1, over a second: a loaded machine is the same to both. */
async function shareOf(pid: number, twin: number): Promise<number> {
  const [mine, its] = [ticksOf(pid), ticksOf(twin)];
  await sleep(1000);
  return (ticksOf(pid) - mine) / Math.max(ticksOf(twin) - its, 1);
}

/** What happened to the guest, in order. */
function saidOf({ events }: JobStory): string[] {
  return events.flatMap(({ what, text }) => (what === 'guest' ? [text] : []));
}

async function checked(host: Daemon, name: string): Promise<void> {
  const answer = host.line(name, (line) => line?.kind === 'check');
  await host.client.type(name, new TextEncoder().encode(SMALL_GUEST_COMMAND.check));
  const check = await answer;
  assert.ok(check.kind === 'check' && check.pages > 0);
  assert.deepEqual([check.bad, check.tmembad], [0, 0]);
}

/** No pause is short enough for it. */
const NEVER = { downtimeMs: 1, bytesPerSecond: 9_000_000 } as const;

describe('a guest that changes faster than the link carries', () => {
  let guest: number;
  let twin: number;
  before(async () => {
    twin = await flood('twin');
    guest = await flood('one');
  });

  it('is slowed down more and more, and in the end goes on here at full speed', { timeout: 60_000 }, async () => {
    await assert.rejects(source.client.migrate('one', { ...target, limits: NEVER }), code('NOT_CONVERGING'));
    const job = (await source.client.jobs()).find(({ name }) => name === 'one')!;
    assert.equal(job.owner, 'source');
    const said = saidOf(await source.client.job(job.id));
    assert.deepEqual(
      said.filter((line) => /slower|speed|still/.test(line)),
      [20, 45, 70, 95].map((percent) => `slower by ${percent} %`).concat('full speed'),
    );
    const share = await shareOf(guest, twin);
    assert.ok(share > 0.5, `it gets ${share} of what its twin gets`);
    await checked(source, 'one');
    assert.deepEqual(await destination.client.list(), []);
  });

  it('is moved all the same when that is asked for, and has its full speed there', { timeout: 60_000 }, async () => {
    const moved = source.client.migrate('one', { ...target, limits: { ...NEVER, rounds: 1000 } });
    moved.catch(() => undefined);
    let id = '';
    await until('it is slowed down', async () => {
      const job = (await source.client.jobs()).find(({ phase, side }) => side === 'source' && phase === 'rounds');
      id = job?.id ?? id;
      return (job?.progress?.throttle ?? 0) >= 45;
    });
    // Asked for while it runs (L3).
    const { status, err } = await source.run(['set', id, '--force']);
    assert.equal(status, 0, err);
    const { downtimeMs, rounds } = await moved;
    assert.ok(downtimeMs > NEVER.downtimeMs && rounds > 2, `${downtimeMs} ms, ${rounds} rounds`);
    const [there] = destination.guests();
    const share = await shareOf(there, twin);
    assert.ok(share > 0.5, `it gets ${share} of what its twin gets`);
    await checked(destination, 'one');
    await destination.client.destroy('one');
    await source.client.destroy('twin');
  });
});

describe('a guest that only churns its tmem', () => {
  it('converges, and stands still for no longer than it may', { timeout: 60_000 }, async () => {
    await source.client.create({ name: 'churn', boot: { kind: 'small', pages: 1, ticks: 0 } });
    const settings = [
      ['pagesPerRound', 0],
      ['tmemPages', 1024],
      ['tmemOperations', 400],
    ] as const;
    for (const [name, value] of settings) {
      await source.client.type('churn', new TextEncoder().encode(smallGuestCommand(name, value)));
    }
    await source.line('churn', (line) => line?.kind === 'report' && line.puts > 5000);
    // It changes more of its 12 MB in a second than the link carries: only slower it fits, and nobody forces it.
    const limits = { downtimeMs: 1200, bytesPerSecond: 5_000_000 };
    const result = await source.client.migrate('churn', { ...target, limits });
    assert.ok(result.invalidations > 0 && result.tmemPages > 1024, JSON.stringify(result));
    const job = await source.client.job(result.id);
    assert.ok(job.progress!.pauseMs! <= limits.downtimeMs, JSON.stringify(job.progress));
    assert.deepEqual(await source.client.list(), []);
    await checked(destination, 'churn');
    await destination.client.destroy('churn');
  });
});
