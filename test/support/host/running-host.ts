/** A host in a process of its own, driven by the command as a user drives it, and a shell in one of its guests. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LINUX_READY } from '../../../guests/linux/guest.ts';
import { HostClient } from '../../../src/host/client.ts';

export const COMMAND = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const START_LIMIT_MS = 60_000;
/** For a guest that hangs; Linux may take minutes to start on a busy machine. */
const LINE_LIMIT_MS = 300_000;

const run = promisify(execFile);

/** Runs the command. @returns what it printed; rejects with both outputs when it ends with another status than 0. */
export async function transmigrate(...words: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [COMMAND, ...words], { encoding: 'utf8', maxBuffer: 2 ** 26 });
  return stdout;
}

export class RunningHost {
  readonly client: HostClient;
  readonly socket: string;
  readonly #process: ChildProcess;

  private constructor(socket: string, child: ChildProcess) {
    this.socket = socket;
    this.client = new HostClient(socket);
    this.#process = child;
  }

  static async start(socket: string, ...words: string[]): Promise<RunningHost> {
    const args = [COMMAND, 'host', 'run', '--quiet', '--socket', socket, ...words];
    const host = new RunningHost(socket, spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] }));
    const deadline = performance.now() + START_LIMIT_MS;
    for (;;) {
      try {
        await host.client.info();
        return host;
      } catch (error) {
        if (performance.now() > deadline || host.#process.exitCode !== null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  /** Runs the command on this host, and reads its JSON. */
  async command(...words: string[]): Promise<unknown> {
    return JSON.parse(await transmigrate(...words, '--json', '--socket', this.socket)) as unknown;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGTERM');
    await gone;
  }
}

/** The shell of a Linux guest on its serial port (guests/linux/init.sh). */
export class GuestShell {
  readonly #client: HostClient;
  readonly #guest: string;
  readonly #end = new AbortController();
  readonly #lines: string[] = [];
  #rest = '';
  #arrived: (() => void)[] = [];
  #commands = 0;

  constructor(client: HostClient, guest: string) {
    this.#client = client;
    this.#guest = guest;
    void this.#follow();
  }

  async #follow(): Promise<void> {
    try {
      for await (const bytes of this.#client.console(this.#guest, true, this.#end.signal)) {
        const lines = (this.#rest + new TextDecoder('latin1').decode(bytes).replaceAll('\r', '')).split('\n');
        this.#rest = lines.pop()!;
        this.#lines.push(...lines);
        for (const wake of this.#arrived.splice(0)) wake();
      }
    } catch {
      // The guest, its host or this shell ended: who waits for a line says so.
    }
  }

  /** The place of the first line from `from` on that starts so. */
  async #line(start: string, from: number): Promise<number> {
    const deadline = performance.now() + LINE_LIMIT_MS;
    for (;;) {
      const found = this.#lines.findIndex((line, i) => i >= from && line.startsWith(start));
      if (found >= 0) return found;
      if (performance.now() > deadline) {
        throw new Error(
          `no line '${start}' came; the last ones:\n${[...this.#lines.slice(-20), this.#rest].join('\n')}`,
        );
      }
      await new Promise<void>((resolve) => {
        this.#arrived.push(resolve);
        setTimeout(resolve, 1000);
      });
    }
  }

  /** Resolves when the guest that boots has its shell. */
  async ready(): Promise<void> {
    await this.#line(LINUX_READY, 0);
  }

  /** Types a command. @returns where its answer will begin. */
  async start(command: string): Promise<{ from: number; mark: string }> {
    const mark = `done-${++this.#commands}-`;
    const from = this.#lines.length;
    // The quotes keep an echo of the command from looking like its end.
    await this.#client.type(
      this.#guest,
      new TextEncoder().encode(`${command}\necho; echo "done"-${this.#commands}-$?\n`),
    );
    return { from, mark };
  }

  /** Runs a command, and gives the lines that it wrote. Rejects where it ends with another status than 0. */
  async run(command: string): Promise<string[]> {
    const { from, mark } = await this.start(command);
    const end = await this.#line(mark, from);
    const lines = this.#lines.slice(from, end);
    if (this.#lines[end] !== `${mark}0`) {
      throw new Error(`${command} ended with ${this.#lines[end].slice(mark.length)}:\n${lines.join('\n')}`);
    }
    return lines.filter((line) => line !== '');
  }

  end(): void {
    this.#end.abort();
  }
}
