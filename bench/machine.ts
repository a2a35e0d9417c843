/**
 * What saving and restoring costs a running v86 guest, beside what it cannot cost less than, all in one run.
 *
 *   node bench/machine.ts [--mib 64] [--runs 7] [--small]
 *
 * The guest is Linux that computes without a pause, or with --small, and where Linux cannot be built, the guest of the
 * tests, which writes half of its memory without a pause. Ratios, each with its aim:
 *
 * - what the guest of the tests gets done while rounds follow each other without a pause : what it gets done alone;
 * - how long the guest stands still at the end of rounds : one compare of all of its memory and v86's device state;
 * - how long the guest stands still for a save : 1.5 copies of its memory and v86's own device state;
 * - a scan of all of memory that finds nothing : one compare of all of it;
 * - what the guest of the tests gets done while a save is written to a file : what it gets done alone;
 * - from a file to a guest that runs : reading the file and v86's own restore, in a process of its own as well.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openFileSource } from '../src/io/file.ts';
import { MemorySink } from '../src/io/memory.ts';
import { imageToV86State } from '../src/image/image-to-v86.ts';
import { DirtyScan, MemoryCopy, PAGE_LIMITS } from '../src/machine/v86/pages.ts';
import type { V86Process } from '../src/machine/v86/process.ts';
import { lookInto } from '../test/support/guest/machines.ts';
import { bootLinux, bootWriter, restoreFrom, restoreHere, saveTo, type Codec } from './support/guests.ts';
import { followed, type Mark } from './support/live.ts';
import { median } from './support/measure.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '64' },
    runs: { type: 'string', default: '7' },
    small: { type: 'boolean', default: false },
  },
});
const runs = Number(values.runs);
const memoryBytes = Number(values.mib) * 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'tmig-bench-'));
const files = { image: join(folder, 'image.tmig'), raw: join(folder, 'raw.tmig'), state: join(folder, 'v86.state') };

/** How long this process computes before something is measured in it. */
const SPIN_MS = 300;

function timed(action: () => unknown): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function residentMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
}

/** Milliseconds that the main thread of a process has had a processor. */
function cpuMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

interface Floor {
  readonly copyMs: number;
  readonly compareMs: number;
  readonly deviceMs: number;
  readonly scanMs: number;
}

/** The floor: the guest's memory copied and compared in one call each, and v86's device state, in this process. */
async function floorOf(image: string): Promise<() => Floor> {
  const machine = await restoreHere(image, memoryBytes);
  const { pages } = machine.capabilities;
  const copy = new MemoryCopy(memoryBytes);
  copy.take(machine.memory());
  const scan = new DirtyScan(pages);
  const pass = (): void => {
    for (let at = 0; at < pages;) at = scan.step(machine.memory(), at, PAGE_LIMITS.scan, PAGE_LIMITS.batch).next;
  };
  pass();
  const { v86 } = machine.emulator;
  const empty = { packed_memory: new Uint8Array(0), bitmap: { get_buffer: () => new ArrayBuffer(0) } };
  Object.assign(v86.cpu, { pack_memory: () => empty });
  // A guest that computes has had its share of the processors when it is to be saved, and so has this process then: on
  // a machine that others use, too, the system would prefer one that slept.
  const spin = (): void => {
    for (const end = performance.now() + SPIN_MS; performance.now() < end;);
  };
  return () => {
    spin();
    return {
      copyMs: timed(() => copy.take(machine.memory())),
      compareMs: timed(() => machine.memory().compare(copy.bytes)),
      scanMs: timed(pass),
      deviceMs: timed(() => v86.save_state()),
    };
  };
}

type Row = Record<string, number>;

async function pauses(machine: V86Process, floor: () => Floor): Promise<Row[]> {
  const rows: Row[] = [];
  for (let run = 0; run < runs; run++) {
    // Both stand still, so that the floor has the memory bus to itself as the guest's copy has.
    await machine.pause();
    const under = floor();
    await machine.resume();
    await sleep(200);
    const { pauseMs, copyMs, deviceMs } = await saveTo(machine, files.image, 'zstd');
    rows.push({
      ...under,
      pauseMs,
      savedCopyMs: copyMs,
      savedDeviceMs: deviceMs,
      pauseToFloor: pauseMs / (1.5 * under.copyMs + under.deviceMs),
      scanToCompare: under.scanMs / under.compareMs,
    });
  }
  return rows;
}

/** Where the guest of the tests is. */
async function markOf(machine: V86Process): Promise<Mark> {
  const { rounds } = await lookInto(machine);
  return { at: performance.now(), cpuMs: cpuMs(machine.pid), rounds };
}

/** A guest that is followed in rounds, beside one compare of all of its memory. */
async function lives(machine: V86Process, floor: () => Floor, counts: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for (let run = 0; run < runs; run++) {
    await machine.pause();
    const { compareMs, deviceMs } = floor();
    await machine.resume();
    await sleep(200);
    const row = await followed(machine, counts ? () => markOf(machine) : null);
    rows.push({
      ...row,
      compareMs,
      emptyScanToCompare: row['emptyScanStoppedMs'] / compareMs,
      pauseToFloor: row['pauseMs'] / (compareMs + deviceMs),
    });
  }
  return rows;
}

/** The guest's rounds in a millisecond, while a save is written, and in the same time alone. */
async function speeds(codec: Codec): Promise<Row[]> {
  const machine = await bootWriter(memoryBytes);
  await sleep(1000);
  const rows: Row[] = [];
  for (let run = 0; run < runs; run++) {
    const marks: Mark[] = [];
    const mark = async (): Promise<void> => void marks.push(await markOf(machine));
    await saveTo(machine, files.raw, codec, mark);
    await mark();
    await sleep(Math.max(marks[1].at - marks[0].at, 500));
    await mark();
    const [first, end, alone, after] = marks;
    const writeMs = end.at - first.at;
    const done = end.rounds - first.rounds;
    const doneAlone = after.rounds - alone.rounds;
    rows.push({
      writeMs,
      speedWhileSaving: done / writeMs / (doneAlone / (after.at - alone.at)),
      // What other processes take away from the guest is left out of this one.
      speedByProcessor: done / (end.cpuMs - first.cpuMs) / (doneAlone / (after.cpuMs - alone.cpuMs)),
    });
  }
  await machine.close();
  return rows;
}

interface OwnRestore {
  readonly readMs: number;
  readonly madeMs: number;
  readonly restoreMs: number;
}

/** v86's own restore, in a process that is started for it. */
function ownRestore(version: string): Promise<{ ownMs: number; steps: OwnRestore }> {
  const script = fileURLToPath(new URL('./support/v86-restore.ts', import.meta.url));
  const start = performance.now();
  return new Promise((resolve, reject) => {
    let text = '';
    let ownMs = 0;
    const child = spawn(process.execPath, [script, files.state, version, String(memoryBytes)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.on('data', (piece: Buffer) => {
      text += piece.toString();
      ownMs = performance.now() - start;
    });
    child.on('close', (code) => {
      if (code === 0) resolve({ ownMs, steps: JSON.parse(text) as OwnRestore });
      else reject(new Error(`v86's own restore ended with ${String(code)}`));
    });
  });
}

async function restores(version: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (let run = 0; run < runs; run++) {
    const row: Row = {};
    for (const [name, path] of [
      ['ours', files.image],
      ['oursRaw', files.raw],
    ] as const) {
      const start = performance.now();
      const machine = await restoreFrom(path, memoryBytes);
      row[`${name}Ms`] = performance.now() - start;
      await machine.close();
    }
    const { ownMs, steps } = await ownRestore(version);
    rows.push({
      ...row,
      ownMs,
      ...steps,
      restoreToOwn: row['oursMs'] / ownMs,
      restoreRawToOwn: row['oursRawMs'] / ownMs,
    });
  }
  return rows;
}

function medians(rows: readonly Row[]): Row {
  const names = Object.keys(rows[0]);
  return Object.fromEntries(names.map((name) => [name, Number(median(rows.map((row) => row[name])).toFixed(3))]));
}

/** The least of each over all runs: what nobody else's work lies in. */
function least(rows: Row[], name: string): number {
  return Math.min(...rows.map((row) => row[name]));
}

try {
  const linux = values.small ? null : await bootLinux(memoryBytes);
  const machine = linux ?? (await bootWriter(memoryBytes));
  await sleep(1000);
  const residentMibFound = Math.round(residentMib(machine.pid));
  await saveTo(machine, files.image, 'zstd');
  const floor = await floorOf(files.image);
  const pause = await pauses(machine, floor);
  const live = await lives(machine, floor, linux === null);
  await saveTo(machine, files.image, 'zstd');
  await saveTo(machine, files.raw, 'raw');
  const { version } = machine.capabilities;
  await machine.close();
  const sink = new MemorySink();
  const source = await openFileSource(files.image);
  await imageToV86State(source, sink);
  await source.close();
  writeFileSync(files.state, sink.bytes());
  const sizes = { imageBytes: statSync(files.image).size, stateBytes: statSync(files.state).size };
  const restore = await restores(version);
  // What a guest gets done that counts its rounds, where the one above does not.
  let small: Row[] | null = null;
  if (linux !== null) {
    const writer = await bootWriter(memoryBytes);
    await sleep(1000);
    small = await lives(writer, floor, true);
    await writer.close();
  }
  const zstd = await speeds('zstd');
  const raw = await speeds('raw');
  const report = {
    guest: linux === null ? 'small' : 'Linux',
    mib: Number(values.mib),
    runs,
    residentMib: residentMibFound,
    ...sizes,
    save: medians(pause),
    pauseToFloorOfLeast: Number(
      (least(pause, 'pauseMs') / (1.5 * least(pause, 'copyMs') + least(pause, 'deviceMs'))).toFixed(3),
    ),
    live: medians(live),
    liveOfSmall: small === null ? null : medians(small),
    restore: medians(restore),
    speedZstd: medians(zstd),
    speedRaw: medians(raw),
  };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
