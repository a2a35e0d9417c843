/** QEMU's own migration between two processes of it: a guest that never ran, with given memory (bench/migrate.ts). */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';

const PROGRAM = 'qemu-system-x86_64';

/** How long a word to QEMU, and a migration, may take. */
const PATIENCE_MS = 120_000;
const POLL_MS = 5;

export interface QemuChoice {
  readonly multifd: boolean;
  readonly zstd: boolean;
}

export interface QemuRun {
  /** From the command to migrate until QEMU says that it is completed. */
  readonly wall: number;
  /** CPU seconds of both processes meanwhile. */
  readonly cpu: number;
  readonly downtimeMs: number;
}

/** What QEMU says it is, or null where it is not installed. */
export async function qemuVersion(): Promise<string | null> {
  try {
    const asked = spawn(PROGRAM, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let said = '';
    asked.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
    await once(asked, 'close');
    return /version (\S+)/.exec(said)?.[1] ?? null;
  } catch {
    return null;
  }
}

/** CPU seconds of a process so far, in all of its threads. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // utime and stime (proc(5)), in hundredths of a second.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

interface Answer {
  readonly return?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly desc: string };
}

/** A QEMU that stands still, and its monitor. */
class Qemu {
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  #text = '';

  private constructor(process: ChildProcess, socket: Socket) {
    this.#process = process;
    this.#socket = socket;
    socket.on('data', (bytes) => {
      this.#text += bytes.toString();
      const lines = this.#text.split('\n');
      this.#text = lines.pop()!;
      for (const line of lines) {
        const said = JSON.parse(line) as Record<string, unknown>;
        // The answer to the last word, which ends it, is nobody's.
        if (!('event' in said) && !('QMP' in said)) this.#waiting.shift()?.(said);
      }
    });
  }

  /** @param backend QEMU's own words for where its memory comes from, with the id `memory`. */
  static async start(path: string, mib: number, backend: string, more: readonly string[] = []): Promise<Qemu> {
    const machine = ['-M', 'q35,memory-backend=memory', '-accel', 'tcg', '-cpu', 'qemu64', '-m', String(mib)];
    const bare = ['-S', '-nodefaults', '-display', 'none', '-serial', 'none'];
    const monitor = ['-qmp', `unix:${path},server=on,wait=off`];
    const child = spawn(PROGRAM, [...machine, ...bare, ...monitor, '-object', backend, ...more], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        const socket = connect(path);
        await once(socket, 'connect');
        const qemu = new Qemu(child, socket);
        await qemu.ask('qmp_capabilities');
        return qemu;
      } catch (error) {
        if (performance.now() > end || child.exitCode !== null) throw error;
        await sleep(POLL_MS);
      }
    }
  }

  get cpu(): number {
    return cpuOf(this.#process.pid!);
  }

  async ask(execute: string, given: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.push(resolve);
      this.#socket.write(`${JSON.stringify({ execute, arguments: given })}\n`);
    });
    if (answer.error !== undefined) throw new Error(`QEMU, ${execute}: ${answer.error.desc}`);
    return answer.return!;
  }

  async prepare({ multifd, zstd }: QemuChoice): Promise<void> {
    if (!multifd) return;
    await this.ask('migrate-set-capabilities', { capabilities: [{ capability: 'multifd', state: true }] });
    await this.ask('migrate-set-parameters', {
      'multifd-channels': 2,
      'multifd-compression': zstd ? 'zstd' : 'none',
      ...(zstd && { 'multifd-zstd-level': 1 }),
    });
  }

  async stop(): Promise<void> {
    const gone = once(this.#process, 'exit');
    this.#socket.on('error', () => undefined);
    this.#socket.write(`${JSON.stringify({ execute: 'quit' })}\n`);
    await gone;
    this.#socket.destroy();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A port of loopback that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface QemuPlace {
  /** For its sockets. */
  readonly directory: string;
  /** A file with what the guest has in its memory; it is not changed. */
  readonly memory: string;
  readonly mib: number;
}

/**
 * One migration, between two QEMUs that are started for it.
 * @param through the port that the source is told instead of the destination's, when that is known.
 * @param into a file that becomes the destination's memory: slower than memory of its own, and can be looked at.
 */
export async function migrateQemu(
  { directory, memory, mib }: QemuPlace,
  choice: QemuChoice,
  through: (port: number) => Promise<number> = (port) => Promise.resolve(port),
  into?: string,
): Promise<QemuRun> {
  const paths = ['source', 'destination'].map((name) => join(directory, `qemu-${name}`));
  const size = `size=${mib}M`;
  // All of the guest's memory is there before, as in a guest that has run; that of the destination is new, as ours.
  const from = `memory-backend-file,id=memory,${size},mem-path=${memory},share=off,prealloc=on`;
  const there =
    into === undefined
      ? `memory-backend-ram,id=memory,${size}`
      : `memory-backend-file,id=memory,${size},mem-path=${into},share=on`;
  const source = await Qemu.start(paths[0], mib, from);
  const destination = await Qemu.start(paths[1], mib, there, ['-incoming', 'defer']);
  try {
    await source.prepare(choice);
    await destination.prepare(choice);
    // Without it QEMU sends 128 MiB/s at most.
    await source.ask('migrate-set-parameters', { 'max-bandwidth': 2 ** 40, 'downtime-limit': 300 });
    const port = await freePort();
    await destination.ask('migrate-incoming', { uri: `tcp:127.0.0.1:${port}` });
    const uri = `tcp:127.0.0.1:${await through(port)}`;
    const before = source.cpu + destination.cpu;
    const start = performance.now();
    await source.ask('migrate', { uri });
    for (;;) {
      const { status, downtime } = await source.ask('query-migrate');
      const wall = (performance.now() - start) / 1000;
      if (status === 'failed' || status === 'cancelled' || wall > PATIENCE_MS / 1000) {
        throw new Error(`QEMU's migration is ${String(status)} after ${wall.toFixed(1)} s`);
      }
      // The destination has it when it says so, too.
      if (status === 'completed' && (await destination.ask('query-migrate'))['status'] === 'completed') {
        const cpu = source.cpu + destination.cpu - before;
        return { wall: (performance.now() - start) / 1000, cpu, downtimeMs: Number(downtime) };
      }
      await sleep(POLL_MS);
    }
  } finally {
    await Promise.all([source.stop(), destination.stop()]);
    for (const path of paths) rmSync(path, { force: true });
  }
}

/** Passes connections on, and counts their bytes: what QEMU itself says of compressed ones is their size before. */
export async function countedQemu(place: QemuPlace, choice: QemuChoice, into: string): Promise<number> {
  let bytes = 0;
  let target = 0;
  const relay = createServer((socket) => {
    const onward = connect(target, '127.0.0.1');
    socket.on('data', (piece) => (bytes += piece.byteLength));
    for (const each of [socket, onward]) each.on('error', () => undefined);
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  try {
    await migrateQemu(
      place,
      choice,
      (port) => {
        target = port;
        return Promise.resolve((relay.address() as AddressInfo).port);
      },
      into,
    );
  } finally {
    relay.close();
  }
  return bytes;
}
