/**
 * How fast saved images are verified, converted and looked into, beside what else would be done with the same files,
 * all in one run. Everything that is a command is measured as a whole process, as the package ships it.
 *
 *   npm run bench:image [-- --runs 5] [--json] [--no-memory] [--check] [--verifier DIRECTORY]
 *
 * The images are those of a corpus beside the checkout. `--verifier` is where Debian's xen-utils-4.17 was unpacked.
 */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import {
  CODEC,
  convertImage,
  FileSink,
  IndexedImage,
  MemorySink,
  memorySource,
  openFileSource,
  openImage,
  StreamWriter,
  verifyImage,
} from '../src/index.ts';
import { findBytes } from '../src/image/memory/find.ts';
import { corpusFile } from '../test/support/corpus.ts';
import { measureInTurn, median, type Case } from './support/measure.ts';
import { PAGE, syntheticMemory } from './support/synthetic-memory.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: true },
    check: { type: 'boolean', default: false },
    verifier: { type: 'string' },
  },
  allowNegative: true,
});
const runs = Number(values.runs);
const ROOT = join(import.meta.dirname, '..');
const MIB = 1024 * 1024;

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tmig-bench-'));
const path = (name: string): string => join(directory, name);
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** The package as it is installed: built, and without the sources. */
function install(): string {
  const home = path('package');
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const build = spawnSync(process.execPath, [
    tsc,
    '-p',
    join(ROOT, 'tsconfig.build.json'),
    '--outDir',
    join(home, 'dist'),
  ]);
  if (build.status !== 0) throw new Error(build.stdout.toString());
  cpSync(join(ROOT, 'bin'), join(home, 'bin'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(home, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(home, 'node_modules'));
  return join(home, 'bin/transmigrate');
}

const transmigrate = install();

/** Runs a program to its end. */
function run(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${String(stderr)}`);
}

function tmig(...args: string[]): () => void {
  return () => run(process.execPath, transmigrate, ...args);
}

function image(name: string): string {
  const { path: packed, skip } = corpusFile(name);
  if (skip !== false) throw new Error(skip);
  const target = path(name.split('/').at(-1)!);
  writeFileSync(target, zstdDecompressSync(readFileSync(packed)));
  return target;
}

const pv = image('xen/xen-4.17-pv-linux-128m.xl');
const hvm = image('xen/xen-4.17-hvm-seabios-16m.xl');
const verifier =
  values.verifier === undefined ? undefined : join(values.verifier, 'usr/lib/xen-4.17/bin/verify-stream-v2');

if (values.verifier !== undefined) {
  process.env['PYTHONPATH'] = join(values.verifier, 'usr/lib/xen-4.17/lib/python');
}

/** What a random page costs beside unpacking the unit that it is in, in one process. */
async function randomPages(): Promise<{ page: number; unit: number }> {
  const memory = syntheticMemory(256 * MIB);
  const sink = new MemorySink();
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'hvm',
      machine: 62,
      pageSize: PAGE,
      streamId: new Uint8Array(16),
      indexed: true,
    },
    {},
    { codec: CODEC.zstd, threads: 2 },
  );
  await writer.ram(0, memory.byteLength / PAGE, memory);
  await writer.checkpoint();
  await writer.end();
  const source = memorySource(sink.bytes());
  const indexed = await IndexedImage.open(source.random!);
  const into = new Uint8Array(PAGE);
  // One page of each megabyte, so that no unit is met twice, in an order that is no order.
  const order = Array.from({ length: 256 }, (_, i) => ((i * 97) % 256) * 256 + 60);
  const texts = order.filter((pfn) => zstdCompressSync(memory.subarray(pfn * PAGE, (pfn + 1) * PAGE)).length < 3000);
  const unit = zstdCompressSync(memory.subarray(texts[0] * PAGE, texts[0] * PAGE + 256 * 1024));
  const pages: number[] = [];
  const units: number[] = [];
  for (const pfn of texts) {
    const start = performance.now();
    await indexed.readPage(pfn, into);
    const middle = performance.now();
    zstdDecompressSync(unit, { maxOutputLength: 256 * 1024 });
    pages.push(middle - start);
    units.push(performance.now() - middle);
  }
  return { page: median(pages), unit: median(units) };
}

/** What the system says of a process; empty when it is no more. */
function statusOf(pid: number): string {
  const file = `/proc/${String(pid)}/status`;
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

/** The most memory that a command held while a generated image of so many GiB came through its standard input. */
async function peakMib(gib: number, ...args: string[]): Promise<number> {
  const source = spawn(process.execPath, [join(ROOT, 'bench/generated-image.ts'), String(gib)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const child = spawn(process.execPath, [transmigrate, ...args], { stdio: [source.stdout, 'ignore', 'inherit'] });
  let peak = 0;
  const look = setInterval(() => {
    const status = statusOf(child.pid!);
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  }, 20);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(look);
  source.kill();
  if (code !== 0) throw new Error(`transmigrate ${args.join(' ')} ended with ${String(code)}`);
  return peak;
}

const zst = path('pv.xl.zst');
const ours = path('pv.tmig');
const raw = path('pv.raw');
run('zstd', '-q', '-1', '-T1', '-f', '-o', zst, pv);
tmig('convert', pv, ours, '--to', 'tmig', '--codec', 'zstd')();
tmig('memory', pv, 'export', raw, '--force')();
const needle = 'Linux version';

/** The same work in this process, where nothing has to be loaded: what it costs beyond the start of a command. */
const inProcess: Case[] = [
  { name: 'verify pv, library', run: () => verified(pv) },
  { name: 'verify hvm, library', run: () => verified(hvm) },
  { name: 'convert, library', run: () => converted(pv, path('library.tmig'), 'tmig') },
  { name: 'convert back, library', run: () => converted(ours, path('library.xl'), 'xl') },
  { name: 'memory find, library', run: () => found(pv) },
];

async function verified(file: string): Promise<void> {
  const source = await openFileSource(file);
  const { verdict } = await verifyImage([source]);
  await source.close();
  if (verdict !== 'sound') throw new Error(`${file} is ${verdict}`);
}

async function converted(from: string, to: string, format: 'tmig' | 'xl'): Promise<void> {
  const sink = await FileSink.create(to, 'bench');
  await convertImage(await openFileSource(from), sink, {
    to: format,
    codec: CODEC.zstd,
    threads: 2,
    streamId: new Uint8Array(16).fill(1),
    time: '2026-01-01T00:00:00Z',
  });
  await sink.commit();
}

async function found(file: string): Promise<void> {
  const opened = await openImage(await openFileSource(file));
  let places = 0;
  for await (const address of findBytes(opened.memory, new TextEncoder().encode(needle))) {
    void address;
    places++;
  }
  await opened.close();
  if (places === 0) throw new Error('nothing was found');
}

const cases: Case[] = [
  ...inProcess,
  { name: 'node', run: () => run(process.execPath, '-e', '0') },
  { name: 'command', run: tmig('--version') },
  { name: 'cksum', run: () => run('cksum', pv) },
  { name: 'verify pv', run: tmig('verify', pv) },
  { name: 'verify hvm', run: tmig('verify', hvm) },
  { name: 'zstd -1', run: () => run('zstd', '-q', '-1', '-T1', '-f', '-o', path('again.zst'), pv) },
  { name: 'convert', run: tmig('convert', pv, path('again.tmig'), '--to', 'tmig', '--codec', 'zstd') },
  { name: 'zstd -d', run: () => run('zstd', '-q', '-d', '-f', '-o', path('again.xl'), zst) },
  { name: 'convert back', run: tmig('convert', ours, path('back.xl'), '--to', 'xl') },
  { name: 'grep -c', run: () => run('grep', '-c', '-a', needle, raw) },
  { name: 'memory find', run: tmig('memory', pv, 'find', '--text', needle, '--count') },
  ...(verifier === undefined
    ? []
    : [{ name: 'verify-stream-v2', run: () => run('/usr/bin/python3', verifier, '-q', '-f', 'xl', '-i', hvm) }]),
];

const measured = await measureInTurn(cases, runs);
const wall = (name: string): number => measured.get(name)?.wall ?? NaN;
const { page, unit } = await randomPages();

interface Row {
  readonly what: string;
  readonly aim: number;
  readonly atMost: boolean;
  readonly value: number;
}

/** Of the library in this process, which is what the aims are about, and of the whole command. */
const rows: Row[] = [];
for (const [of, aimed, start] of [
  ['', ', library', 0],
  [' (command)', '', wall('node')],
] as const) {
  rows.push(
    {
      what: `verify of pv-linux-128m : cksum${of}`,
      aim: 1.5,
      atMost: true,
      value: (wall(`verify pv${aimed}`) - start) / wall('cksum'),
    },
    {
      what: `verify of hvm-16m : verify-stream-v2${of}`,
      aim: 0.5,
      atMost: true,
      value: wall(`verify hvm${aimed}`) / wall('verify-stream-v2'),
    },
    {
      what: `speed of xl to ours with zstd : zstd -1 -T1${of}`,
      aim: 2,
      atMost: false,
      value: wall('zstd -1') / wall(`convert${aimed}`),
    },
    {
      what: `speed of ours to xl : zstd -d${of}`,
      aim: 0.8,
      atMost: false,
      value: wall('zstd -d') / wall(`convert back${aimed}`),
    },
    {
      what: `speed of memory find : grep -c${of}`,
      aim: 0.5,
      atMost: false,
      value: wall('grep -c') / wall(`memory find${aimed}`),
    },
  );
}
rows.push(
  {
    what: 'size of ours : that of zstd -1',
    aim: 1.02,
    atMost: true,
    value: statSync(path('again.tmig')).size / statSync(zst).size,
  },
  { what: 'a random page : unpacking of its unit', aim: 2, atMost: true, value: page / unit },
);
if (values.memory) {
  for (const [what, ...args] of [
    ['verify', 'verify', '-'],
    ['convert', 'convert', '-', '-', '--to', 'tmig'],
  ] as const) {
    const small = await peakMib(4, ...args);
    const large = await peakMib(16, ...args);
    rows.push({
      what: `MiB that ${what} holds for 16 GiB (${small.toFixed(0)} for 4)`,
      aim: 256,
      atMost: true,
      value: large,
    });
  }
}

if (values.json) {
  console.log(JSON.stringify({ measured: [...measured.values()], rows }));
} else {
  for (const { name, wall: seconds } of measured.values())
    console.log(`${name.padEnd(20)} ${(seconds * 1000).toFixed(0).padStart(6)} ms`);
  for (const { what, aim, atMost, value } of rows) {
    const met = atMost ? value <= aim : value >= aim;
    const bound = `${atMost ? 'at most' : 'at least'} ${aim}`;
    console.log(`${what.padEnd(64)} ${value.toFixed(2).padStart(8)}  ${bound}${met ? '' : '  MISSED'}`);
  }
}
const missed = rows.some(({ aim, atMost, value }) => !(atMost ? value <= aim : value >= aim));
if (values.check && missed) process.exitCode = 1;
