/**
 * How long a guest stands still when it moves live to another host process, and that this does not grow with what it
 * keeps in tmem (L1): our small guest, churning, with few and with many pages in its pools, and Linux under a loop of
 * md5sum where it can be built.
 *
 *   node bench/downtime.ts [--runs 8] [--pages 100,100000] [--linux] [--json] [--check]
 *
 * Each guest goes to and fro, in turn, and stands still while the others do. Beside it what a pause can't do without,
 * measured alone: one last scan of memory, saving devices, and loading them in another process. The two fsyncs of the
 * handover are not counted in what is compared with that. --pages 2000000 takes some minutes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildLinux, CACHE } from '../guests/linux/build.ts';
import { linuxCommandLine } from '../guests/linux/guest.ts';
import type { JobStory } from '../src/host/migration/jobs.ts';
import { HostClient } from '../src/host/client.ts';
import { HostTmem, type TmemSeat } from '../src/host/host-tmem.ts';
import { Host } from '../src/host/host.ts';
import { HostJournal } from '../src/host/migration/host-journal.ts';
import { serve } from '../src/host/server.ts';
import { V86Driver } from '../src/host/v86-driver.ts';
import type { TmemService } from '../src/machine/machine.ts';
import { planMultiboot } from '../src/machine/v86/boot/multiboot.ts';
import { smallGuestImage } from '../src/machine/v86/boot/small-guest.ts';
import { V86Process } from '../src/machine/v86/process.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, OPERATION } from '../src/tmem/descriptor.ts';
import { GuestShell, RunningHost } from '../test/support/host/running-host.ts';
import { bootLinux } from './support/guests.ts';
import { followed } from './support/live.ts';
import { median } from './support/measure.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '8' },
    pages: { type: 'string', default: '100,100000' },
    linux: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const runs = Number(values.runs);
const LIMIT = 12 * 2 ** 30;
const MIB = 2 ** 20;
const SMALL_BYTES = 16 * MIB;
/** 16 pages of memory, and four operations of tmem, every 10 ms of its own time. */
const SMALL = { pages: 16, ticks: 1 };
const PAGE = 4096;
const PAGES_OF_OBJECT = 1024;

const directory = mkdtempSync(join(tmpdir(), 'tmig-downtime-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Hands out the newest guest's requests, so that pages can be put in its name. */
class SeenTmem extends HostTmem {
  service: TmemService | null = null;

  override seat(): TmemSeat {
    const seat = super.seat();
    this.service = seat.service;
    return seat;
  }
}

interface Place {
  readonly client: HostClient;
  readonly port: number;
}

const tmem = new SeenTmem(LIMIT, 1);
const journal = await HostJournal.open(join(directory, 'here.state'));
const host = new Host({ version: '0.0.0', driver: new V86Driver(), tmem, journal });
await serve(host, join(directory, 'here.sock'));
const here = await placeOf(new HostClient(join(directory, 'here.sock')));
const state = ['--state', join(directory, 'there.state')];
const other = await RunningHost.start(join(directory, 'there.sock'), '--tmem', String(LIMIT), ...state);
const there = await placeOf(other.client);

async function placeOf(client: HostClient): Promise<Place> {
  const { port } = await client.listen({ host: '127.0.0.1', port: 0 });
  return { client, port };
}

/** Puts pages into a persistent pool of the guest's own, of which each is another one and compresses well. */
function fill(service: TmemService, pages: number): void {
  const descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  const fields = new DataView(descriptor.buffer);
  const page = new Uint8Array(PAGE);
  const words = new Uint32Array(page.buffer);
  fields.setUint32(DESCRIPTOR.operation, OPERATION.newPool, true);
  // Persistent, of version 1 (stream 10.2); not shared.
  fields.setUint32(DESCRIPTOR.pool, 0x0100_0001, true);
  const pool = service(descriptor, page);
  if (pool < 0) throw new Error(`a pool for the pages: ${pool}`);
  for (let number = 0; number < pages; number++) {
    descriptor.fill(0);
    fields.setUint32(DESCRIPTOR.operation, OPERATION.put, true);
    fields.setUint32(DESCRIPTOR.pool, pool, true);
    fields.setUint32(DESCRIPTOR.object, Math.floor(number / PAGES_OF_OBJECT), true);
    fields.setUint32(DESCRIPTOR.index, number % PAGES_OF_OBJECT, true);
    words.fill(number);
    const done = service(descriptor, page);
    if (done !== 1) throw new Error(`page ${number}: ${done}`);
  }
}

interface Moved {
  readonly downtimeMs: number;
  /** Of that, both fsyncs. */
  readonly fsyncMs: number;
  /** From when it stands still until all was written, until the other side has loaded it, until it runs. */
  readonly partsMs: readonly [number, number, number];
  readonly totalMs: number;
  readonly rounds: number;
  readonly tmemPages: number;
}

/** Milliseconds from one line of a story to another. */
function between({ events }: JobStory, from: string, to: string): number {
  const at = (text: string): number => events.find((each) => each.text.startsWith(text))?.atMs ?? NaN;
  return at(to) - at(from);
}

/** Rounds go on as long as each leaves less than the one before. */
const SHORTEST = { downtimeMs: 1, throttlePercent: 0, force: true };

async function move(name: string, from: Place, to: Place): Promise<Moved> {
  const result = await from.client.migrate(name, { host: '127.0.0.1', port: to.port, limits: SHORTEST });
  const [source, destination] = [await from.client.job(result.id), await to.client.job(result.id)];
  const fsyncMs =
    between(source, 'asking, giving', `GIVEN ${result.epoch}: durable`) +
    between(destination, `GIVEN ${result.epoch}`, `RUNNING ${result.epoch}: durable`);
  const { downtimeMs, totalMs, rounds, tmemPages } = result;
  const partsMs = [
    between(source, 'it stands still', 'FINAL'),
    between(source, 'FINAL', 'CONFIRM'),
    between(source, 'CONFIRM', 'RUNNING'),
  ] as const;
  return { downtimeMs, fsyncMs, partsMs, totalMs, rounds, tmemPages };
}

/** What a pause can't do without, of a machine that runs and nobody else follows. */
async function alone(machine: V86Process, memoryBytes: number): Promise<number> {
  const row = await followed(machine, null);
  await machine.pause();
  const devices = await machine.deviceState();
  const target = await V86Process.create({ config: { memoryBytes } });
  try {
    const start = performance.now();
    await target.loadDeviceState(devices, Date.now());
    const loadMs = performance.now() - start;
    await machine.resume();
    return row['finalScanMs'] + row['finalDeviceMs'] + loadMs;
  } finally {
    await target.close();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function aloneOf(machine: V86Process, memoryBytes: number): Promise<number[]> {
  const found: number[] = [];
  await machine.resume().catch(() => undefined);
  for (let run = 0; run < runs; run++) {
    await sleep(300);
    found.push(await alone(machine, memoryBytes));
  }
  await machine.close();
  return found;
}

interface Case {
  readonly name: string;
  readonly guest: string;
  readonly moved: Moved[];
  readonly alone: () => Promise<number[]>;
}

async function smallAlone(): Promise<number[]> {
  const image = smallGuestImage({ pagesPerRound: SMALL.pages, paceTicks: SMALL.ticks });
  const boot = planMultiboot({ image, memoryBytes: SMALL_BYTES });
  const machine = await V86Process.create({ config: { memoryBytes: SMALL_BYTES }, boot });
  await machine.grant(1);
  await machine.resume();
  return aloneOf(machine, SMALL_BYTES);
}

const cases: Case[] = [];
for (const text of values.pages.split(',')) {
  const guest = `pages-${text}`;
  await here.client.create({ name: guest, memoryMiB: SMALL_BYTES / MIB, boot: { kind: 'small', ...SMALL } });
  fill(tmem.service!, Number(text));
  await here.client.pause(guest);
  cases.push({ name: `small guest, ${text} pages of tmem`, guest, moved: [], alone: smallAlone });
}
const LINUX_BYTES = 64 * MIB;
if (values.linux) {
  buildLinux();
  const boot = { kernel: join(CACHE, 'vmlinux'), initrd: join(CACHE, 'initrd.cpio'), commandLine: linuxCommandLine() };
  await here.client.create({
    name: 'linux',
    memoryMiB: LINUX_BYTES / MIB,
    tmem: false,
    boot: { kind: 'linux', ...boot },
  });
  const shell = new GuestShell(here.client, 'linux');
  await shell.ready();
  await shell.run('while :; do md5sum /bin/busybox >/tmp/sum; done &');
  shell.end();
  await here.client.pause('linux');
  const linuxAlone = async (): Promise<number[]> => aloneOf((await bootLinux(LINUX_BYTES))!, LINUX_BYTES);
  cases.push({ name: 'Linux, 64 MiB, md5sum', guest: 'linux', moved: [], alone: linuxAlone });
}

for (let run = 0; run <= runs; run++) {
  const [from, to] = run % 2 === 0 ? [here, there] : [there, here];
  for (const { guest, moved } of cases) {
    await from.client.unpause(guest);
    await sleep(500);
    const result = await move(guest, from, to);
    // The first does not count.
    if (run > 0) moved.push(result);
    await to.client.pause(guest);
  }
}
for (const { guest } of cases) await (runs % 2 === 0 ? there : here).client.destroy(guest);
const measuredAlone = new Map<Case['alone'], number>();
for (const each of cases) {
  if (!measuredAlone.has(each.alone)) measuredAlone.set(each.alone, median(await each.alone()));
}

const rows = cases.map(({ name, moved, alone: by }) => {
  const of = (what: (each: Moved) => number): number => median(moved.map(what));
  return {
    name,
    downtimeMs: of(({ downtimeMs }) => downtimeMs),
    withoutFsyncMs: of(({ downtimeMs, fsyncMs }) => downtimeMs - fsyncMs),
    aloneMs: measuredAlone.get(by)!,
    partsMs: [0, 1, 2].map((part) => of(({ partsMs }) => partsMs[part])),
    totalMs: of(({ totalMs }) => totalMs),
    rounds: of(({ rounds }) => rounds),
    tmemPages: of(({ tmemPages }) => tmemPages),
  };
});
const ratios = rows.map(({ name, withoutFsyncMs, aloneMs }) => {
  return {
    name: `${name}: downtime without fsyncs : scan and devices alone`,
    value: withoutFsyncMs / aloneMs,
    most: 1.5,
  };
});
const small = rows.filter(({ name }) => name.startsWith('small'));
if (small.length > 1) {
  const value = small.at(-1)!.withoutFsyncMs / small[0].withoutFsyncMs;
  ratios.push({ name: 'downtime without fsyncs, most : fewest pages of tmem', value, most: 1.05 });
}
if (values.json) console.log(JSON.stringify({ runs, rows, ratios }, null, 2));
else {
  console.log(`medians of ${runs} migrations`);
  for (const { name, downtimeMs, withoutFsyncMs, aloneMs, partsMs, totalMs, rounds, tmemPages } of rows) {
    const ms = [downtimeMs, withoutFsyncMs, aloneMs, totalMs].map((each) => each.toFixed(1).padStart(8));
    console.log(
      `  ${name.padEnd(36)}${ms[0]} ms down${ms[1]} without fsyncs${ms[2]} alone${ms[3]} in all, ` +
        `${rounds} rounds, ${tmemPages} pages of tmem; ` +
        `written ${partsMs.map((each) => each.toFixed(1)).join(', loaded ')}`.replace(/, loaded ([^,]*)$/, ', runs $1'),
    );
  }
  for (const { name, value, most } of ratios) {
    console.log(`  ${name.padEnd(80)} ${value.toFixed(3)} (at most ${most}) ${value > most ? 'MISSED' : 'ok'}`);
  }
}
await other.stop();
await host.close();
await journal.close();
if (values.check && ratios.some(({ value, most }) => value > most)) process.exitCode = 1;
// The server of this process would go on.
process.exit();
