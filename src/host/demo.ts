import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TransmigrateError } from '../errors.ts';
import { inspectImage } from '../image/inspect.ts';
import { verifyImage, type Verification } from '../image/verify.ts';
import { openFileSource } from '../io/file.ts';
import {
  parseSmallGuestLine,
  SMALL_GUEST_COMMAND,
  type SmallGuestCheck,
  type SmallGuestReport,
} from '../machine/v86/boot/small-guest.ts';
import { HostClient, type ClientWork } from './client.ts';

/** What one step of the demonstration did. */
export interface DemoStep {
  readonly title: string;
  readonly ok: boolean;
  /** What there is to see, a line each. */
  readonly lines: readonly string[];
  /** The same as data. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** How long anything of it may take before it counts as failed. */
const PATIENCE_MS = 20_000;
const COMMAND = fileURLToPath(new URL('../../bin/transmigrate', import.meta.url));
const NAME = 'demo';

/**
 * The main job, as a user would do it: boots the small guest on a host, saves it while it runs, checks the file,
 * restores it on another host, has the guest check all of its memory and tmem, and moves it to a third host while it
 * works. Leaves nothing behind.
 * @param onProgress told how far the move is: bytes that were sent.
 * @returns each step when it is done; the first that is not `ok` is the last.
 */
export async function* demonstrate(
  signal?: AbortSignal,
  onProgress?: ClientWork['onProgress'],
): AsyncGenerator<DemoStep> {
  const directory = await mkdtemp(join(tmpdir(), 'transmigrate-demo-'));
  const hosts: DemoHost[] = [];
  const newHost = async (name: string): Promise<DemoHost> => {
    const host = await DemoHost.start(join(directory, `${name}.sock`), signal);
    hosts.push(host);
    return host;
  };
  const stop = (): void => {
    for (const host of hosts) void host.stop();
  };
  signal?.addEventListener('abort', stop, { once: true });
  try {
    yield* steps(directory, newHost, onProgress);
  } catch (error) {
    // What failed then failed because its host was ended.
    throw signal?.aborted === true ? new TransmigrateError('CANCELLED', 'cancelled', { cause: error }) : error;
  } finally {
    signal?.removeEventListener('abort', stop);
    await Promise.all(hosts.map((host) => host.stop()));
    await rm(directory, { recursive: true, force: true });
  }
}

async function* steps(
  directory: string,
  newHost: (name: string) => Promise<DemoHost>,
  onProgress?: ClientWork['onProgress'],
): AsyncGenerator<DemoStep> {
  const file = join(directory, `${NAME}.tmig`);
  const source = await newHost('source');
  const created = await source.client.create({
    name: NAME,
    boot: { kind: 'small', pages: 64, ticks: 1 },
    memoryMiB: 16,
  });
  const first = await source.report(({ puts, gets }) => puts >= 100 && gets >= 20);
  yield step('A guest boots, works, and uses tmem', isSound(first), [reportLine(first)], {
    guest: created,
    report: first,
  });

  const saved = await source.client.save(NAME, { path: file });
  const after = await source.report(({ round }) => round > first.round);
  const { size } = await stat(file);
  yield step(
    'It is saved while it runs',
    saved.state === 'running' && isSound(after),
    [
      `${saved.pages} pages of memory and ${saved.tmemPages} pages of tmem in ${size} bytes`,
      `it stood still for ${saved.pauseMs.toFixed(1)} ms, and goes on: ${reportLine(after)}`,
    ],
    { saved, bytes: size, report: after },
  );

  const image = await digests(file);
  const about = await inspected(file);
  yield step(
    'The file is inspected and verified',
    image.verdict === 'sound' && image.tmem !== null,
    [
      ...about,
      `verdict ${image.verdict}`,
      `memory ${image.memory!.pages} pages, sha256 ${image.memory!.sha256}`,
      `tmem ${image.tmem!.pages} pages in ${image.tmem!.pools} pools, sha256 ${image.tmem!.sha256}`,
    ],
    { verdict: image.verdict, memory: image.memory, tmem: image.tmem },
  );

  await source.client.destroy(NAME);
  await source.stop();
  const destination = await newHost('destination');
  const restored = await destination.client.restore({ path: file, paused: true });
  const again = join(directory, 'again.tmig');
  await destination.client.save(NAME, { path: again, after: 'pause' });
  const copy = await digests(again);
  const same = JSON.stringify([copy.memory, copy.tmem]) === JSON.stringify([image.memory, image.tmem]);
  yield step(
    'It is restored in a new process, and holds the same before it runs',
    same,
    [`memory sha256 ${copy.memory!.sha256}`, `tmem   sha256 ${copy.tmem!.sha256}`],
    { guest: restored.guest, memory: copy.memory, tmem: copy.tmem },
  );

  await destination.client.unpause(NAME);
  const goneOn = await destination.report(({ round }) => round > first.round);
  const check = await destination.check();
  const pools = await destination.client.guest(NAME);
  yield step(
    'It goes on where it was, and finds all of its memory and tmem',
    isSound(goneOn) && check.bad === 0 && check.tmembad === 0 && check.pages > 0 && check.tmem > 0,
    [
      reportLine(goneOn),
      `checked ${check.pages} pages of memory: ${check.bad} wrong; ${check.tmem} pages of tmem: ${check.tmembad} wrong`,
    ],
    { report: goneOn, check, tmem: pools.tmem },
  );
  yield await moved(destination, await newHost('third'), goneOn, onProgress);
}

/** Moves the guest while it works, and has it check everything where it came to. */
async function moved(
  from: DemoHost,
  to: DemoHost,
  before: SmallGuestReport,
  onProgress?: ClientWork['onProgress'],
): Promise<DemoStep> {
  const address = await to.client.listen({ host: '127.0.0.1', port: 0 });
  const result = await from.client.migrate(NAME, address, onProgress === undefined ? {} : { onProgress });
  const left = await from.client.list();
  await from.stop();
  const report = await to.report(({ round }) => round > before.round);
  const check = await to.check();
  const { rounds, ramPages, tmemPages, invalidations, downtimeMs, totalMs } = result;
  const wrong = check.bad + check.tmembad;
  return step(
    'It moves to a third process while it works, and finds everything there',
    left.length === 0 && isSound(report) && wrong === 0 && check.pages > 0 && check.tmem > 0 && tmemPages > 0,
    [
      `${rounds} rounds in ${totalMs.toFixed(0)} ms, and it stood still for ${downtimeMs.toFixed(1)} ms`,
      `${ramPages} pages of memory, ${tmemPages} pages of tmem and ${invalidations} invalidations were sent`,
      `it goes on: ${reportLine(report)}`,
      `checked ${check.pages} pages of memory: ${check.bad} wrong; ${check.tmem} pages of tmem: ${check.tmembad} wrong`,
    ],
    { migration: result, report, check },
  );
}

function step(title: string, ok: boolean, lines: readonly string[], facts: Record<string, unknown>): DemoStep {
  return { title, ok, lines, facts };
}

function isSound({ bad, tmembad }: SmallGuestReport): boolean {
  return bad === 0 && tmembad === 0;
}

function reportLine(report: SmallGuestReport): string {
  const { round, pages, puts, gets, bad, tmembad } = report;
  return `round ${round}, ${pages} pages written, ${puts} tmem puts, ${gets} gets, ${bad + tmembad} wrong`;
}

async function digests(file: string): Promise<Verification> {
  const source = await openFileSource(file);
  try {
    return await verifyImage([source], { digest: true });
  } finally {
    await source.close();
  }
}

async function inspected(file: string): Promise<string[]> {
  const source = await openFileSource(file);
  try {
    const { preamble, about } = await inspectImage(source);
    const { name, driver } = about as { name: string; driver: { name: string; version: string } };
    const { kind, domainType } = preamble!;
    return [`a ${kind} of ${name}: ${driver.name} ${driver.version}, ${domainType}`];
  } finally {
    await source.close();
  }
}

/** A host in a process of its own, and its guest `demo`. */
class DemoHost {
  readonly client: HostClient;
  readonly #process: ChildProcess;
  readonly #signal: AbortSignal | undefined;

  private constructor(child: ChildProcess, socket: string, signal: AbortSignal | undefined) {
    this.#process = child;
    this.#signal = signal;
    this.client = new HostClient(socket);
  }

  static async start(socket: string, signal: AbortSignal | undefined): Promise<DemoHost> {
    const args = [COMMAND, 'host', 'run', '--quiet', '--socket', socket];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const host = new DemoHost(child, socket, signal);
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await host.client.info();
        return host;
      } catch (error) {
        const over = performance.now() > deadline || child.exitCode !== null || signal?.aborted === true;
        if (!over) await new Promise((resolve) => setTimeout(resolve, 20));
        else {
          await host.stop();
          throw error;
        }
      }
    }
  }

  /** The first report of the guest that is good enough. */
  report(enough: (report: SmallGuestReport) => boolean): Promise<SmallGuestReport> {
    return this.#line((line) => (line?.kind === 'report' && enough(line) ? line : undefined));
  }

  /** Has the guest check everything. */
  async check(): Promise<SmallGuestCheck> {
    const answer = this.#line((line) => (line?.kind === 'check' ? line : undefined));
    // Where the host is gone both fail.
    await Promise.all([answer, this.client.type(NAME, new TextEncoder().encode(SMALL_GUEST_COMMAND.check))]);
    return answer;
  }

  /** The first line that is wanted, of what the guest writes from now on. */
  async #line<T>(wanted: (line: ReturnType<typeof parseSmallGuestLine>) => T | undefined): Promise<T> {
    const timeout = AbortSignal.timeout(PATIENCE_MS);
    const signal = this.#signal === undefined ? timeout : AbortSignal.any([timeout, this.#signal]);
    let left = '';
    for await (const bytes of this.client.console(NAME, true, signal)) {
      const lines = (left + new TextDecoder().decode(bytes)).split('\n');
      left = lines.pop()!;
      for (const line of lines) {
        const found = wanted(parseSmallGuestLine(line.trimEnd()));
        if (found !== undefined) return found;
      }
    }
    throw new TransmigrateError('GUEST_CRASHED', 'The guest said nothing more');
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGTERM');
    await gone;
  }
}
