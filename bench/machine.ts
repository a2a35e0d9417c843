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

/** The floor: memory copied and compared in one call each, and v86's device state, in this process. */
async function floor(): Promise<{ copyMs: number; compareMs: number; deviceMs: number; scanMs: number }> {
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
  const rows = Array.from({ length: runs }, () => ({
    copyMs: timed(() => copy.take(machine.memory())),
    compareMs: timed(() => machine.memory().compare(copy.bytes)),
    scanMs: timed(pass),
    deviceMs: timed(() => machine.emulator.v86.save_state.call(withoutMemory(machine.emulator.v86))),
  }));
  const of = (key: keyof (typeof rows)[0]): number => median(rows.map((row) => row[key]));
  return { copyMs: of('copyMs'), compareMs: of('compareMs'), deviceMs: of('deviceMs'), scanMs: of('scanMs') };
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
  readonly copyMs: number;
  readonly deviceMs: number;
  readonly speedRatio: number;
}

async function inProcess(): Promise<Found & { rssMib: number }> {
  const machine = await V86Process.create({
    config: { memoryBytes },
    boot: guestPlan('work', ...parameters),
  });
  await machine.grant(1);
  await machine.resume();
  await sleep(1000);
  const status = readFileSync(`/proc/${machine.pid}/status`, 'utf8');
  const rssMib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  const rows: Found[] = [];
  for (let run = 0; run < runs; run++) {
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
    rows.push({ pauseMs, stoppedMs, copyMs, deviceMs, speedRatio: saving / alone });
  }
  await machine.close();
  const of = (key: keyof Found): number => median(rows.map((row) => row[key]));
  return {
    pauseMs: of('pauseMs'),
    stoppedMs: of('stoppedMs'),
    copyMs: of('copyMs'),
    deviceMs: of('deviceMs'),
    speedRatio: of('speedRatio'),
    rssMib,
  };
}

const least = await floor();
const found = await inProcess();
const result = {
  memoryMib: memoryBytes / 1024 / 1024,
  floor: least,
  found,
  ratios: {
    pauseToFloor: found.stoppedMs / (1.5 * least.copyMs + least.deviceMs),
    scanToCompare: least.scanMs / least.compareMs,
    speedWhileSaving: found.speedRatio,
  },
};
process.stdout.write(
  `${JSON.stringify(result, (_key, value: unknown) => (typeof value === 'number' ? Number(value.toFixed(3)) : value), 2)}\n`,
);
