/**
 * What saving costs a running v86 guest, beside what it cannot cost less than, all in one run.
 *
 *   node bench/machine.ts [--mib 64] [--runs 7] [--json]
 *
 * - how long the guest stands still for a save, beside 1.5 times one copy of its memory and v86's own device state;
 * - a scan of all of memory that finds nothing, beside one compare of all of it;
 * - what the guest gets done while a save is read out of its process, beside what it gets done alone.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createEmulator } from '../src/machine/v86/create.ts';
import { DirtyScan, MemoryCopy, PAGE_LIMITS } from '../src/machine/v86/pages.ts';
import { V86Process } from '../src/machine/v86/process.ts';
import { guestPlan } from '../test/support/guest/guest.ts';
import { lookInto } from '../test/support/guest/machines.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '64' },
    runs: { type: 'string', default: '7' },
    json: { type: 'boolean', default: false },
  },
});
const runs = Number(values.runs);
const memoryBytes = Number(values.mib) * 1024 * 1024;
/** How long the guest's speed is measured. */
const SPEED_MS = 1500;
/** The guest writes a window of half of memory as fast as it can. */
const parameters = [64, memoryBytes / 2 / 4096, 1_000_000, 0];

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
}

function timed(action: () => unknown): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface Floor {
  readonly copyMs: number;
  readonly compareMs: number;
  readonly deviceMs: number;
  readonly scanMs: number;
}

/** The floor: memory copied and compared in one call each, and v86's device state, in this process. */
async function floorOf(): Promise<() => Floor> {
  const { machine } = await createEmulator({
    config: { memoryBytes },
    boot: guestPlan('work', ...parameters),
  });
  machine.resume();
  await sleep(1000);
  machine.stop();
  const pages = machine.capabilities.pages;
  const copy = new MemoryCopy(memoryBytes);
  copy.take(machine.memory());
  const scan = new DirtyScan(pages);
  const pass = (): void => {
    for (let at = 0; at < pages;) at = scan.step(machine.memory(), at, PAGE_LIMITS.scan, PAGE_LIMITS.batch).next;
  };
  pass();
  const v86 = withoutMemory(machine.emulator.v86);
  return () => ({
    copyMs: timed(() => copy.take(machine.memory())),
    compareMs: timed(() => machine.memory().compare(copy.bytes)),
    scanMs: timed(pass),
    deviceMs: timed(() => v86.save_state()),
  });
}

function withoutMemory<T extends { cpu: object }>(v86: T): T {
  const empty = { packed_memory: new Uint8Array(0), bitmap: { get_buffer: () => new ArrayBuffer(0) } };
  Object.assign(v86.cpu, { pack_memory: () => empty });
  return v86;
}

async function speed(machine: V86Process, during: () => Promise<void>): Promise<number> {
  const from = (await lookInto(machine)).rounds;
  const start = performance.now();
  await during();
  return ((await lookInto(machine)).rounds - from) / (performance.now() - start);
}

interface Found {
  /** As the parent sees it, with the way to the guest's process and back. */
  readonly pauseMs: number;
  readonly stoppedMs: number;
  readonly savedCopyMs: number;
  readonly savedDeviceMs: number;
  readonly pauseToFloor: number;
  readonly scanToCompare: number;
  readonly speedWhileSaving: number;
}

async function measure(floor: () => Floor): Promise<{ rows: (Floor & Found)[]; rssMib: number }> {
  const machine = await V86Process.create({
    config: { memoryBytes },
    boot: guestPlan('work', ...parameters),
  });
  await machine.grant(1);
  await machine.resume();
  await sleep(1000);
  const status = readFileSync(`/proc/${machine.pid}/status`, 'utf8');
  const rssMib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  const rows: (Floor & Found)[] = [];
  for (let run = 0; run < runs; run++) {
    // Both stand still, so that the floor has the memory bus to itself as the guest's copy has.
    await machine.pause();
    const least = floor();
    await machine.resume();
    const alone = await speed(machine, () => sleep(SPEED_MS));
    await machine.prepareCapture();
    const start = performance.now();
    await machine.pause();
    const { copyMs, deviceMs, stoppedMs } = await machine.capture({ resume: true });
    const pauseMs = performance.now() - start;
    // A save that takes what comes at about 100 MB/s, as one that compresses does.
    const saving = await speed(machine, async () => {
      const end = performance.now() + SPEED_MS;
      for (let first = 0; performance.now() < end; first = (first + 256) % machine.capabilities.pages) {
        const { bytes } = await machine.readCapture(first, 256);
        await sleep(bytes.byteLength / 100_000);
      }
    });
    rows.push({
      ...least,
      pauseMs,
      stoppedMs,
      savedCopyMs: copyMs,
      savedDeviceMs: deviceMs,
      pauseToFloor: stoppedMs / (1.5 * least.copyMs + least.deviceMs),
      scanToCompare: least.scanMs / least.compareMs,
      speedWhileSaving: saving / alone,
    });
  }
  await machine.close();
  return { rows, rssMib };
}

const { rows, rssMib } = await measure(await floorOf());
const names = Object.keys(rows[0]) as (keyof Floor | keyof Found)[];
const medians = Object.fromEntries(
  names.map((name) => [name, Number(median(rows.map((row) => row[name])).toFixed(3))]),
);
process.stdout.write(
  `${JSON.stringify({ mib: Number(values.mib), runs, rssMib: Math.round(rssMib), medians }, null, 2)}\n`,
);
