/** Hosts and commands in processes of their own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HostClient } from '../../../src/host/client.ts';
import { parseSmallGuestLine, type SmallGuestLine } from '../../../src/machine/v86/boot/small-guest.ts';
import { until } from '../guest/machines.ts';

const BIN = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));

/** Whether a process still does anything. One that ended and that nobody has waited for does not. */
export function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Processes that a process started. */
export function childrenOf(pid: number): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [, parent] = /^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
      if (Number(parent) === pid) found.push(Number(name));
    } catch {
      // It ended while its turn came.
    }
  }
  return found;
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the command; `child` is there from the start. */
export function command(
  args: readonly string[],
  socket: string,
  env: Readonly<Record<string, string>> = {},
): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...process.env, TRANSMIGRATE_SOCKET: socket, ...env },
    stdio: 'pipe',
    detached: true,
  });
  let out = '';
  let err = '';
  // Left as bytes: another stream may be fed from it.
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString('latin1')));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close').then(([status, signal]) => ({
    status: status as number | null,
    signal: signal as NodeJS.Signals | null,
    out,
    err,
  }));
  return { child, ended };
}

/** The first line that a small guest writes, or has written, and that is wanted. */
export async function lineOf(
  client: HostClient,
  name: string,
  wanted: (line: SmallGuestLine | undefined) => boolean,
): Promise<SmallGuestLine> {
  let left = '';
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), 60_000);
  try {
    for await (const bytes of client.console(name, true, stop.signal)) {
      const lines = (left + Buffer.from(bytes).toString('latin1')).split('\n');
      left = lines.pop()!;
      for (const text of lines) {
        const line = parseSmallGuestLine(text.trimEnd());
        if (wanted(line)) return line!;
      }
    }
  } finally {
    clearTimeout(limit);
  }
  throw new Error(`${name} ended without the line`);
}

/** A host, until `stop`. */
export class Daemon {
  readonly client: HostClient;
  readonly socket: string;
  readonly pid: number;
  readonly ended: Promise<Ended>;

  private constructor(socket: string, pid: number, ended: Promise<Ended>) {
    this.client = new HostClient(socket);
    this.socket = socket;
    this.pid = pid;
    this.ended = ended;
  }

  static async start(socket: string, options: readonly string[] = []): Promise<Daemon> {
    const { child, ended } = command(['host', 'run', ...options], socket);
    let over = false;
    void ended.then(() => (over = true));
    await until('the host listens', () => over || existsSync(socket));
    if (over) throw new Error(`the host ended: ${(await ended).err}`);
    const daemon = new Daemon(socket, child.pid!, ended);
    await until('the host answers', () =>
      daemon.client.info().then(
        () => true,
        () => false,
      ),
    );
    return daemon;
  }

  run(args: readonly string[]): Promise<Ended> {
    const { child, ended } = command(args, this.socket);
    child.stdin?.end();
    return ended;
  }

  /** Processes of its guests. */
  guests(): number[] {
    return childrenOf(this.pid);
  }

  /** A small guest whose memory is full, so that a save of it takes its time. */
  async createFull(name: string): Promise<void> {
    await this.client.create({ name, memoryMiB: 64, boot: { kind: 'small', pages: 16_000, ticks: 0 } });
    await this.line(name, (line) => line?.kind === 'report' && line.round >= 1);
  }

  /** The first wanted line of a guest. */
  line(name: string, wanted: (line: SmallGuestLine | undefined) => boolean): Promise<SmallGuestLine> {
    return lineOf(this.client, name, wanted);
  }

  kill(signal: NodeJS.Signals): Promise<Ended> {
    process.kill(this.pid, signal);
    return this.ended;
  }

  async stop(): Promise<void> {
    if (lives(this.pid)) await this.kill('SIGTERM');
  }
}
