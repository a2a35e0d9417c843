/**
 * A guest that dirties memory and churns tmem moves to and fro between two host processes. Each time memory and tmem
 * at the pause are equal to those of the destination before it runs, and in the end the guest finds nothing wrong.
 * TIMES says how often.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HostClient } from '../../../../src/host/client.ts';
import {
  parseSmallGuestLine,
  SMALL_GUEST_COMMAND,
  type SmallGuestLine,
} from '../../../../src/machine/v86/boot/small-guest.ts';
import { until } from '../../../support/guest/machines.ts';
import { childrenOf } from '../../../support/host/daemon.ts';
import type { HeldStill } from '../../../support/host/digesting-host.ts';
import { scratch } from '../../../support/host/fake-host.ts';

const TIMES = Number(process.env['TIMES'] ?? 25);
const LINE_MS = 60_000;
const SCRIPT = fileURLToPath(new URL('../../../support/host/digesting-host.ts', import.meta.url));
const directory = scratch(after);

class SeenHost {
  readonly client: HostClient;
  readonly seen: HeldStill[] = [];
  readonly #child: ChildProcess;
  port = 0;

  private constructor(socket: string) {
    this.client = new HostClient(socket);
    this.#child = spawn(process.execPath, [SCRIPT, socket, `${socket}.state`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.seen.push(JSON.parse(line) as HeldStill));
  }

  static async start(name: string): Promise<SeenHost> {
    const host = new SeenHost(join(directory.path, name));
    await until('the host answers', () =>
      host.client.info().then(
        () => true,
        () => false,
      ),
    );
    ({ port: host.port } = await host.client.listen({ host: '127.0.0.1', port: 0 }));
    return host;
  }

  get guests(): number {
    return childrenOf(this.#child.pid!).length;
  }

  async line(wanted: (line: SmallGuestLine | undefined) => boolean): Promise<SmallGuestLine> {
    let left = '';
    for await (const bytes of this.client.console('one', true, AbortSignal.timeout(LINE_MS))) {
      const lines = (left + Buffer.from(bytes).toString('latin1')).split('\n');
      left = lines.pop()!;
      for (const text of lines) {
        const line = parseSmallGuestLine(text.trimEnd());
        if (wanted(line)) return line!;
      }
    }
    throw new Error('the guest ended without the line');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await gone;
  }
}

test(`${TIMES} migrations to and fro`, { timeout: 3_600_000 }, async (context) => {
  const hosts = [await SeenHost.start('a.sock'), await SeenHost.start('b.sock')];
  after(async () => {
    for (const host of hosts) await host.stop();
  });
  await hosts[0].client.create({ name: 'one', boot: { kind: 'small', pages: 256, ticks: 0 } });
  let { round } = (await hosts[0].line((line) => line?.kind === 'report' && line.round >= 3)) as { round: number };
  const digests = new Set<string>();
  const sums = { rounds: 0, ramPages: 0, tmemPages: 0, invalidations: 0 };
  for (let times = 0; times < TIMES; times++) {
    const [from, to] = times % 2 === 0 ? hosts : hosts.toReversed();
    const result = await from.client.migrate('one', { host: '127.0.0.1', port: to.port });
    for (const key of ['rounds', 'ramPages', 'tmemPages', 'invalidations'] as const) sums[key] += result[key];
    await until('both were seen', () => from.seen.length > 0 && to.seen.length > 0);
    const [before, there] = [from.seen.splice(0), to.seen.splice(0)];
    assert.deepEqual(
      [before.map(({ at }) => at), there.map(({ at }) => at)],
      [['pause'], ['resume']],
      `migration ${times}`,
    );
    assert.deepEqual(there[0].memory, before[0].memory, `memory after migration ${times}`);
    assert.deepEqual(there[0].tmem, before[0].tmem, `tmem after migration ${times}`);
    assert.ok(before[0].tmem.pages > 0 && before[0].memory.pages > 0);
    digests.add(before[0].memory.sha256 + before[0].tmem.sha256);
    assert.deepEqual(await from.client.list(), []);
    assert.deepEqual([from.guests, to.guests], [0, 1], 'processes of guests');
    // It has worked here before it moves on.
    const report = await to.line((line) => line?.kind === 'report' && line.round > round);
    assert.ok(report.kind === 'report' && report.bad === 0 && report.tmembad === 0, JSON.stringify(report));
    ({ round } = report);
  }
  // It was another state each time, or equal digests would say little.
  assert.equal(digests.size, TIMES);
  const home = hosts[TIMES % 2];
  const answer = home.line((line) => line?.kind === 'check');
  await home.client.type('one', new TextEncoder().encode(SMALL_GUEST_COMMAND.check));
  const check = await answer;
  assert.ok(check.kind === 'check' && check.pages > 0 && check.tmem > 0);
  assert.deepEqual([check.bad, check.tmembad], [0, 0]);
  context.diagnostic(JSON.stringify({ ...sums, checked: { memory: check.pages, tmem: check.tmem } }));
});
