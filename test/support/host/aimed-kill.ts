/** `kill -9` of a host at a chosen moment of a migration, and what comes of the guest when the host is there again. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostClient } from '../../../src/host/client.ts';
import type { JobInfo } from '../../../src/host/migration/jobs.ts';
import { SMALL_GUEST_COMMAND } from '../../../src/machine/v86/boot/small-guest.ts';
import { until } from '../guest/machines.ts';
import { childrenOf, command, Daemon, lineOf, lives } from './daemon.ts';
import type { Moment } from './holding-host.ts';

const SCRIPT = fileURLToPath(new URL('./holding-host.ts', import.meta.url));

export type Side = 'source' | 'destination';
const SIDES = ['source', 'destination'] as const;

export interface Aim {
  /** Who stops where. */
  readonly at: readonly [side: Side, moment: Moment];
  /** What `jobs` says on each side then: the phase of the session, and that of the handover. */
  readonly phases: Readonly<Record<Side, string>>;
  readonly victim: Side;
  /** The destination stands still as a process, while the source goes on and says what it has to say. */
  readonly unheard?: string;
  /** Who runs the guest in the end; null: it was on the host that was killed, and both say so. */
  readonly runs: Side | null;
  /** What an operator must decide for that, and where; absent: nothing. */
  readonly settle?: readonly [side: Side, choice: 'take' | 'abandon'];
}

/** One of the two hosts. */
class Held {
  readonly socket: string;
  readonly client: HostClient;
  readonly moment: Promise<unknown>;
  readonly #child: ChildProcess;
  port = 0;

  constructor(socket: string, moment: Moment | 'nowhere') {
    this.socket = socket;
    this.client = new HostClient(socket);
    this.#child = spawn(process.execPath, [SCRIPT, socket, `${socket}.state`, moment], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.moment = once(this.#child.stdout!, 'data');
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async ready(): Promise<void> {
    await until('the host answers', () =>
      this.client.info().then(
        () => true,
        () => false,
      ),
    );
    ({ port: this.port } = await this.client.listen({ host: '127.0.0.1', port: 0 }));
  }

  goOn(): void {
    this.#child.stdin!.write('\n');
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** Kills, starts again, and checks what came of it. @param directory an empty one */
export async function aimedKill(directory: string, { at, phases, victim, unheard, runs, settle }: Aim): Promise<void> {
  const [holder, moment] = at;
  const held: Record<Side, Held> = {
    source: new Held(join(directory, 's'), holder === 'source' ? moment : 'nowhere'),
    destination: new Held(join(directory, 'd'), holder === 'destination' ? moment : 'nowhere'),
  };
  let again: Daemon | null = null;
  const clients = { source: held.source.client, destination: held.destination.client };
  /** Where it runs, of the hosts that answer. */
  const running = async (): Promise<Side[]> => {
    const found: Side[] = [];
    for (const side of SIDES) {
      const guests = await clients[side].list();
      if (guests.some(({ state }) => state === 'running')) found.push(side);
    }
    assert.ok(found.length <= 1, 'it runs twice');
    return found;
  };
  const jobOf = async (side: Side): Promise<JobInfo | null> => (await clients[side].jobs())[0] ?? null;
  try {
    await held.source.ready();
    await held.destination.ready();
    await clients.source.create({ name: 'one', boot: { kind: 'small', pages: 64, ticks: 0 } });
    const to = { host: '127.0.0.1', port: held.destination.port };
    const moved = clients.source.migrate('one', to).then(
      () => 'moved',
      (error: unknown) => (error as { code: string }).code,
    );
    await held[holder].moment;
    const [{ id }] = await clients.source.jobs();
    if (unheard !== undefined) {
      // What is said now lies in the network.
      process.kill(held.destination.pid, 'SIGSTOP');
      held.source.goOn();
      await until('it was said', async () =>
        (await clients.source.job(id)).events.some(({ what, text }) => what === 'says' && text.startsWith(unheard)),
      );
    } else await running();
    for (const side of SIDES) {
      if (unheard !== undefined && side === 'destination') continue;
      let seen = '';
      await until(`the ${side} is ${phases[side]}`, async () => {
        const job = await jobOf(side);
        seen = job === null ? 'unknown' : `${job.phase}, ${job.handover ?? 'none'}`;
        return seen === phases[side];
      }).catch(() => assert.equal(seen, phases[side], `the moment that was aimed at, on the ${side}`));
    }
    const processes = childrenOf(held[victim].pid);
    assert.ok(processes.length > 0, 'it has no process that could be left');
    await held[victim].kill();
    // The other one goes on.
    if (unheard === undefined && victim !== holder) held[holder].goOn();
    if (unheard !== undefined && victim === 'source') process.kill(held.destination.pid, 'SIGCONT');
    again = await Daemon.start(held[victim].socket, ['--state', `${held[victim].socket}.state`]);
    for (const pid of processes) assert.ok(!lives(pid), `process ${pid} is left`);
    await again.client.listen({ host: '127.0.0.1', port: held[victim].port });
    if (settle !== undefined) {
      // Nobody decides by himself, and it is said that it is open.
      const [side, choice] = settle;
      await until('an operator must decide', async () => {
        const job = await jobOf(side);
        assert.deepEqual(await running(), []);
        return (
          job !== null && job.owner === 'unknown' && job.phase === 'asking' && (side === 'destination' || job.gone)
        );
      });
      // A destination can't ask; a source has heard that its guest is gone there.
      const { status, out } = await command(['owner', id], held[side].socket).ended;
      assert.deepEqual([status, /nobody knows|is no more/.test(out)], [side === 'destination' ? 16 : 0, true], out);
      await clients[side].settle(id, choice);
    }
    await until(`it runs ${runs === null ? 'nowhere' : `on the ${runs}`}`, async () => {
      const where = await running();
      const open = (await Promise.all(SIDES.map(jobOf))).some((job) => job?.owner === 'unknown');
      return !open && (runs === null ? where.length === 0 : where[0] === runs);
    });
    if (victim !== 'source') assert.equal((await moved) === 'moved', runs !== 'source', await moved);
    // Its fate is told where it is known, and it is one.
    const jobs = await Promise.all(SIDES.map(jobOf));
    const owners = await Promise.all(
      SIDES.flatMap((side, place) => (jobs[place] === null ? [] : [clients[side].owner(id)])),
    );
    const fates = owners.map(({ owner, gone }) => `${owner}${gone ? ', gone' : ''}`);
    assert.equal(fates[0], runs ?? `${victim}, gone`);
    // A destination that was left in the middle does not know that the source's guest is no more.
    assert.deepEqual(new Set(owners.map(({ owner }) => owner)), new Set([runs ?? victim]));
    assert.equal(await running().then((where) => where[0] ?? null), runs);
    if (runs === null) return;
    const answer = lineOf(clients[runs], 'one', (line) => line?.kind === 'check');
    await clients[runs].type('one', new TextEncoder().encode(SMALL_GUEST_COMMAND.check));
    const check = await answer;
    assert.ok(check.kind === 'check' && check.pages > 0 && check.tmem > 0);
    assert.deepEqual([check.bad, check.tmembad], [0, 0]);
  } finally {
    for (const side of SIDES) await held[side].kill();
    await again?.stop();
  }
}
