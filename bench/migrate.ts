/**
 * How fast a machine moves to another process, beside a bare socket that carries the pages that are not zero, and where
 * QEMU is installed its own migration of a guest with the same memory, all in one run.
 *
 *   npm run bench:migrate [-- --mib 1024] [--runs 5] [--only WORDS] [--json] [--check]
 *
 * Prints medians and the ratios that matter; --check ends with 1 when a ratio is missed; --only takes the cases whose
 * names have the words in them (a regular expression).
 */
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { parseArgs } from 'node:util';
import { createSchema, parse } from '../src/host/api.ts';
import { makeKeyFiles } from '../src/host/key-files.ts';
import { migrateSchema, type MigrateResult } from '../src/host/migration/jobs.ts';
import { readTls, type TlsFiles } from '../src/host/tls-files.ts';
import type { Order } from './support/migrate-destination.ts';
import { measureInTurn, median, warmMemory, type Case } from './support/measure.ts';
import { countedQemu, migrateQemu, qemuVersion, type QemuChoice } from './support/qemu.ts';
import { SyntheticMachine, syntheticHost } from './support/synthetic-machine.ts';
import { PAGE, syntheticMemory } from './support/synthetic-memory.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const mib = Number(values.mib);
const runs = Number(values.runs);
const MIB = 1024 * 1024;
const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tmig-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const at = (name: string): string => join(directory, name);

const memory = syntheticMemory(mib * MIB);
const memorySum = createHash('sha256').update(memory).digest('hex');
const nonZero = gatherNonZero();

function gatherNonZero(): Uint8Array {
  const zero = Buffer.alloc(PAGE);
  const gathered = new Uint8Array(memory.byteLength);
  let end = 0;
  for (let page = 0; page < memory.byteLength; page += PAGE) {
    const bytes = memory.subarray(page, page + PAGE);
    if (zero.equals(bytes)) continue;
    gathered.set(bytes, end);
    end += PAGE;
  }
  return gathered.subarray(0, end);
}

const child = fork(join(import.meta.dirname, 'support', 'migrate-destination.ts'));

function order(what: Order): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', ({ answer, error }: { answer: unknown; error?: string }) => {
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    });
    child.send(what);
  });
}

const keys = (name: string): { certificate: string; key: string } => ({
  certificate: at(`${name}.crt`),
  key: at(`${name}.key`),
});
for (const name of ['source', 'destination']) await makeKeyFiles({ ...keys(name), names: ['127.0.0.1'], days: 2 });
const sourceTls: TlsFiles = { ...keys('source'), authorities: keys('destination').certificate };
const destinationTls: TlsFiles = { ...keys('destination'), authorities: keys('source').certificate };

const plain = await syntheticHost(at('plain'), undefined);
const secure = await syntheticHost(at('secure'), await readTls(sourceTls));
const ports = {
  plain: (await order({ kind: 'host', directory: at('plain-there') })) as number,
  secure: (await order({ kind: 'host', directory: at('secure-there'), tls: destinationTls })) as number,
};

/** What each case says of itself beyond its time, of all counted runs. */
interface Fact {
  readonly downtimeMs: number;
  /** On the wire; null where only another run can tell. */
  readonly bytes: number | null;
}
const facts = new Map<string, Fact[]>();
const note = (name: string, fact: Fact): void => {
  facts.set(name, [...(facts.get(name) ?? []), fact]);
};

async function childCpu(): Promise<number> {
  return (await order({ kind: 'cpu' })) as number;
}

/** Returns CPU seconds of both processes. */
async function withCpu(work: () => Promise<void>, before: number): Promise<number> {
  const mine = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(mine);
  return (user + system) / 1e6 + ((await childCpu()) - before);
}

/** Cases are timed by themselves: what they prepare, and what is checked afterwards, does not count. */
const times = new Map<string, { wall: number; cpu: number }[]>();
async function timed(name: string, work: () => Promise<void>): Promise<void> {
  const before = await childCpu();
  let wall = 0;
  const cpu = await withCpu(async () => {
    const start = performance.now();
    await work();
    wall = (performance.now() - start) / 1000;
  }, before);
  times.set(name, [...(times.get(name) ?? []), { wall, cpu }]);
}

let sent: SyntheticMachine | null = null;

async function migration(name: string, tls: boolean, codec: 'raw' | 'zstd'): Promise<void> {
  const { host, driver } = tls ? secure : plain;
  sent ??= new SyntheticMachine(memory.byteLength);
  sent.memory.set(memory);
  sent.status = 'paused';
  driver.next = sent;
  await host.create(parse(createSchema, { name: 'one', boot: { kind: 'small' }, memoryMiB: mib, tmem: false }));
  // Where others want the processors, a journal's fsync alone may take longer than the guest is to stand still.
  const choice = parse(migrateSchema, {
    host: '127.0.0.1',
    port: tls ? ports.secure : ports.plain,
    codec,
    limits: { force: true },
  });
  let result: MigrateResult;
  await timed(name, async () => void (result = await host.migrations.migrate('one', choice)));
  const { downtimeMs, ramBytes } = result!;
  note(name, { downtimeMs, bytes: ramBytes });
  if ((await order({ kind: 'digest', tls })) !== memorySum) throw new Error(`${name}: other memory has arrived`);
  await order({ kind: 'drop', tls });
}

async function bare(name: string, tls: boolean): Promise<void> {
  const done = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const take = (socket: Socket): void => {
    begun.resolve();
    socket.on('error', done.reject);
    socket.on('data', () => done.resolve());
    void (async () => {
      for (let from = 0; from < nonZero.byteLength; from += MIB) {
        const piece = nonZero.subarray(from, from + MIB);
        if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve));
      }
    })();
  };
  const { certificate, key, authorities } = sourceTls;
  const server: Server = tls
    ? createTlsServer(
        {
          cert: readFileSync(certificate),
          key: readFileSync(key),
          ca: readFileSync(authorities),
          requestCert: true,
          minVersion: 'TLSv1.3',
        },
        take,
      )
    : createServer({ noDelay: true }, take);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  let received: Promise<unknown> = Promise.resolve();
  const before = await childCpu();
  const start = performance.now();
  const mine = process.cpuUsage();
  received = order({
    kind: 'receive',
    port,
    bytes: nonZero.byteLength,
    ...(tls && { tls: destinationTls }),
  });
  await Promise.race([begun.promise, received]);
  await done.promise;
  const wall = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(mine);
  await received;
  times.set(name, [...(times.get(name) ?? []), { wall, cpu: (user + system) / 1e6 + ((await childCpu()) - before) }]);
  server.close();
}

const qemu = await qemuVersion();
const place = { directory, memory: at('memory'), mib };
const qemuCases: readonly [string, QemuChoice][] = [
  ['QEMU tcp', { multifd: false, zstd: false }],
  ['QEMU multifd x 2', { multifd: true, zstd: false }],
  ['QEMU multifd zstd', { multifd: true, zstd: true }],
];

async function qemuMigration(name: string, choice: QemuChoice): Promise<void> {
  const { wall, cpu, downtimeMs } = await migrateQemu(place, choice);
  times.set(name, [...(times.get(name) ?? []), { wall, cpu }]);
  note(name, { downtimeMs, bytes: null });
}

/** Bytes of one more migration by QEMU, and that the same memory arrives: which of its cases do the same as ours. */
async function bytesOfQemu(name: string, choice: QemuChoice): Promise<number> {
  const into = at('memory-there');
  writeFileSync(into, '');
  truncateSync(into, statSync(place.memory).size);
  const bytes = await countedQemu(place, choice, into);
  const arrived = readFileSync(into);
  let other = 0;
  for (let page = 0; page < memory.byteLength; page += PAGE) {
    if (arrived.compare(memory, page, page + PAGE, page, page + PAGE) !== 0) other++;
  }
  rmSync(into);
  // Its firmware puts a few pages of its own into memory before anything runs.
  if (other > 256) throw new Error(`${name}: ${other} pages of other memory have arrived`);
  return bytes;
}

const wanted = new RegExp(values.only);
const cases: Case[] = [
  { name: 'migrate raw', run: () => migration('migrate raw', false, 'raw') },
  { name: 'bare socket', run: () => bare('bare socket', false) },
  { name: 'migrate zstd', run: () => migration('migrate zstd', false, 'zstd') },
  { name: 'migrate raw, TLS', run: () => migration('migrate raw, TLS', true, 'raw') },
  { name: 'bare TLS socket', run: () => bare('bare TLS socket', true) },
  ...(qemu === null ? [] : qemuCases).map(([name, choice]) => ({ name, run: () => qemuMigration(name, choice) })),
]
  .filter(({ name }) => wanted.test(name))
  .map(({ name, run }) => ({
    name,
    run: () => {
      warmMemory(2 * memory.byteLength);
      return run();
    },
  }));
const withQemu = cases.some(({ name }) => name.startsWith('QEMU'));
if (withQemu) writeFileSync(place.memory, memory);
await measureInTurn(cases, runs);
const bytesByQemu = new Map<string, number>();
for (const [name, choice] of qemuCases) {
  if (cases.some((each) => each.name === name)) bytesByQemu.set(name, await bytesOfQemu(name, choice));
}

interface Row {
  readonly name: string;
  readonly wall: number;
  /** Of both processes. */
  readonly cpu: number;
  readonly guestMibPerSecond: number;
  readonly downtimeMs: number | null;
  readonly bytes: number;
}
// The first turn does not count.
const counted = <T>(all: readonly T[] | undefined): T[] => (all ?? []).slice(1);
const rows: Row[] = cases.map(({ name }) => {
  const own = counted(times.get(name));
  const wall = median(own.map((each) => each.wall));
  const said = counted(facts.get(name));
  return {
    name,
    wall,
    cpu: median(own.map((each) => each.cpu)),
    guestMibPerSecond: mib / wall,
    downtimeMs: said.length > 0 ? median(said.map((each) => each.downtimeMs)) : null,
    bytes: said.at(-1)?.bytes ?? bytesByQemu.get(name) ?? nonZero.byteLength,
  };
});

interface Ratio {
  readonly name: string;
  readonly value: number;
  readonly atLeast: number;
}
/** How many times as much of something the second has: of its time, or of its bytes. */
function compared(what: 'wall' | 'bytes', one: string, other: string, atLeast: number): Ratio[] {
  const [mine, theirs] = [one, other].map((name) => rows.find((each) => each.name === name));
  if (mine === undefined || theirs === undefined) return [];
  if (what === 'bytes') return [{ name: `bytes of ${other} : ${one}`, value: theirs.bytes / mine.bytes, atLeast }];
  // Of each turn by itself: both have met the machine as it was then.
  const [walls, others] = [one, other].map((name) => counted(times.get(name)).map(({ wall }) => wall));
  return [{ name: `${one} : ${other}`, value: median(walls.map((wall, turn) => others[turn] / wall)), atLeast }];
}
const ratios: Ratio[] = [
  ...compared('wall', 'migrate raw', 'bare socket', 0.7),
  ...compared('wall', 'migrate raw', 'QEMU tcp', 1),
  ...compared('wall', 'migrate zstd', 'QEMU multifd zstd', 1),
  ...compared('bytes', 'migrate zstd', 'QEMU multifd zstd', 1),
  ...compared('wall', 'migrate raw, TLS', 'bare TLS socket', 0.8),
];
const missed = ratios.filter(({ value, atLeast }) => value < atLeast);
const nonZeroMib = nonZero.byteLength / MIB;
if (values.json) console.log(JSON.stringify({ mib, runs, nonZeroMib, qemu, rows, ratios }, null, 2));
else {
  const peer = `QEMU ${qemu ?? 'not there'}`;
  console.log(`${mib} MiB of memory (${Math.round(nonZeroMib)} MiB not zero), medians of ${runs} runs, ${peer}`);
  for (const { name, wall, cpu, guestMibPerSecond, downtimeMs, bytes } of rows) {
    const used = cpu.toFixed(3).padStart(6);
    const down = downtimeMs === null ? '' : `  ${downtimeMs.toFixed(1)} ms down`;
    const rate = String(Math.round(guestMibPerSecond)).padStart(6);
    const wire = String(Math.round(bytes / MIB)).padStart(5);
    console.log(`  ${name.padEnd(18)} ${wall.toFixed(3)} s ${used} s CPU ${rate} guest MiB/s ${wire} MiB sent${down}`);
  }
  for (const { name, value, atLeast } of ratios) {
    const mark = missed.some((ratio) => ratio.name === name) ? 'MISSED' : 'ok';
    console.log(`  ${name.padEnd(40)} ${value.toFixed(3).padStart(7)}  (at least ${atLeast}) ${mark}`);
  }
}
child.disconnect();
await plain.host.close();
await secure.host.close();
if (values.check && missed.length > 0) process.exitCode = 1;
