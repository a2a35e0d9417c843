import { spawnSync } from 'node:child_process';

/** One measured thing: medians over its runs. */
export interface Measured {
  name: string;
  /** Wall seconds. */
  wall: number;
  /** CPU seconds of all threads. */
  cpu: number;
  runs: number;
}

/** A thing to measure: does the work once. What it returns is CPU seconds, when it knows them better (a command). */
export interface Case {
  name: string;
  run(): Promise<number | void> | number | void;
  /** Done after each run, not measured. */
  after?(): void;
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs all cases in turn, over and over, so that a change of the machine's speed falls on all of them alike; the first
 * turn is not counted.
 */
export async function measureInTurn(cases: readonly Case[], runs: number): Promise<Map<string, Measured>> {
  const walls = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  const cpus = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  for (let turn = 0; turn <= runs; turn++) {
    for (const each of cases) {
      const cpuBefore = process.cpuUsage();
      const before = performance.now();
      const stated = await each.run();
      const wall = (performance.now() - before) / 1000;
      const used = process.cpuUsage(cpuBefore);
      each.after?.();
      if (turn === 0) continue;
      walls.get(each.name)!.push(wall);
      cpus.get(each.name)!.push(typeof stated === 'number' ? stated : (used.user + used.system) / 1e6);
    }
  }
  return new Map(
    cases.map(({ name }) => [name, { name, wall: median(walls.get(name)!), cpu: median(cpus.get(name)!), runs }]),
  );
}

/**
 * Touches so much memory, and gives it back: to the system, which gives it to whoever asks next, or to the C library
 * where that keeps it for this process. A virtual machine gives what was free for seconds back to its host, and getting
 * that again takes several times as long: without this, which case meets such memory is a matter of chance.
 */
export function warmMemory(bytes: number): void {
  const most = 2 ** 26;
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let left = bytes; left > 0; left -= most) pieces.push(new Uint8Array(Math.min(left, most)).fill(1));
  for (const { buffer } of pieces) buffer.transfer(0);
}

/** Runs a shell command; returns its CPU seconds. */
export function command(line: string): number {
  const { status, stderr } = spawnSync('bash', ['-c', `TIMEFORMAT='%U %S'; time ${line}`], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${line}: ${stderr}`);
  const [user, system] = stderr.trim().split('\n').at(-1)!.split(' ').map(Number);
  return user + system;
}
