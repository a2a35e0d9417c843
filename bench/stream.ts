/**
 * How fast the stream is, beside what else would be done with the same memory, all in one run.
 *
 *   npm run bench:stream [-- --mib 1024] [--runs 5] [--json] [--no-memory] [--check]
 *
 * Prints medians of wall and CPU seconds and the ratios that matter; --check ends with 1 when a ratio is missed.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  CODEC,
  FileSink,
  inspectImage,
  openFileSource,
  StreamDecoder,
  StreamWriter,
  type CodecId,
  type PageRuns,
} from '../src/index.ts';
import { command, measureInTurn, type Case } from './support/measure.ts';
import { PAGE, syntheticMemory } from './support/synthetic-memory.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: true },
    check: { type: 'boolean', default: false },
  },
  allowNegative: true,
});
const mib = Number(values.mib);
const runs = Number(values.runs);
const MIB = 1024 * 1024;

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tmig-bench-'));
const path = (name: string): string => join(directory, name);
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const memory = syntheticMemory(mib * MIB);
const pages = memory.byteLength / PAGE;
const zero = Buffer.alloc(PAGE);
const nonZero = gatherNonZero();

function gatherNonZero(): Uint8Array {
  const gathered = new Uint8Array(memory.byteLength);
  let at = 0;
  for (let page = 0; page < pages; page++) {
    const bytes = memory.subarray(page * PAGE, (page + 1) * PAGE);
    if (zero.equals(bytes)) continue;
    gathered.set(bytes, at);
    at += PAGE;
  }
  return gathered.subarray(0, at);
}

/** Writes bytes to a new file in calls of 1 MiB: what a plain copy does, with nothing else to do. */
function plainWrite(name: string, bytes: Uint8Array): void {
  const file = openSync(path(name), 'w');
  for (let at = 0; at < bytes.byteLength; at += MIB) writeSync(file, bytes, at, Math.min(MIB, bytes.byteLength - at));
  closeSync(file);
}

/** Reads a file into fresh memory: what a restore by plain copy does. */
function plainRead(name: string): void {
  const into = new Uint8Array(nonZero.byteLength);
  const file = openSync(path(name), 'r');
  for (let at = 0; at < into.byteLength; at += MIB) readSync(file, into, at, Math.min(MIB, into.byteLength - at), at);
  closeSync(file);
}

/** A plain copy of a file to a new one, by read and write through one buffer. */
function plainCopy(from: string, to: string): void {
  const buffer = new Uint8Array(MIB);
  const input = openSync(path(from), 'r');
  const output = openSync(path(to), 'w');
  for (let length = readSync(input, buffer); length > 0; length = readSync(input, buffer)) {
    writeSync(output, buffer, 0, length);
  }
  closeSync(input);
  closeSync(output);
}

async function encode(name: string, codec: CodecId, threads: number): Promise<void> {
  const sink = await FileSink.create(path(name), 'bench');
  const streamId = new Uint8Array(16).fill(1);
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'hvm',
      machine: 62,
      pageSize: PAGE,
      streamId,
      indexed: true,
    },
    { name: 'bench' },
    { codec, threads, level: 1 },
  );
  await writer.ram(0, pages, memory);
  await writer.checkpoint();
  await writer.end();
  await sink.commit();
}

/** Decodes a file, checking everything, and hands its pages to `runs`. */
async function decode(name: string, target: PageRuns): Promise<void> {
  const source = await openFileSource(path(name));
  const decoder = new StreamDecoder();
  for await (const piece of source.pieces()) {
    decoder.feed(piece);
    for (let next = decoder.read(); next !== undefined; next = decoder.read()) {
      if (next.record.kind === 'RAM') next.record.visit(target, decoder.scratch);
    }
  }
  decoder.finish();
  await source.close();
}

/** Decodes into fresh memory, as a restore does. */
async function decodeToMemory(name: string): Promise<Uint8Array> {
  const back = new Uint8Array(memory.byteLength);
  await decode(name, {
    data: (first, count, _class, source, at) => back.set(source.subarray(at, at + count * PAGE), first * PAGE),
    zero: () => undefined, // Fresh memory is zero.
    absent: () => undefined,
  });
  return back;
}

/** Decodes into a new sparse file of the whole memory. */
async function decodeToFile(name: string, to: string): Promise<void> {
  const file = openSync(path(to), 'w');
  await decode(name, {
    data: (first, count, _class, source, at) => {
      writeSync(file, source, at, count * PAGE, first * PAGE);
    },
    zero: () => undefined,
    absent: () => undefined,
  });
  closeSync(file);
}

const hasZstd = spawnSync('zstd', ['--version']).status === 0;
plainWrite('memory.raw', memory);
await encode('raw.tmig', CODEC.raw, 0);
await encode('zstd.tmig', CODEC.zstd, cpus().length);
if (!Buffer.from(await decodeToMemory('zstd.tmig')).equals(memory))
  throw new Error('zstd.tmig does not hold the memory');
if (!Buffer.from(await decodeToMemory('raw.tmig')).equals(memory)) throw new Error('raw.tmig does not hold the memory');
plainWrite('nonzero.raw', nonZero);
if (hasZstd) command(`zstd -q -f -1 -T1 ${path('memory.raw')} -o ${path('memory.zst')}`);

const remove = (name: string) => (): void => unlinkSync(path(name));
const cases: Case[] = [
  { name: 'plain write', run: () => plainWrite('out', nonZero), after: remove('out') },
  { name: 'encode raw', run: () => encode('out', CODEC.raw, 0), after: remove('out') },
  { name: 'encode zstd, 2 threads', run: () => encode('out', CODEC.zstd, 2), after: remove('out') },
  { name: 'encode zstd, 1 thread', run: () => encode('out', CODEC.zstd, 0), after: remove('out') },
  { name: 'plain read', run: () => plainRead('nonzero.raw') },
  { name: 'decode raw to memory', run: async () => void (await decodeToMemory('raw.tmig')) },
  { name: 'plain copy', run: () => plainCopy('nonzero.raw', 'out'), after: remove('out') },
  { name: 'decode raw to file', run: () => decodeToFile('raw.tmig', 'out'), after: remove('out') },
  { name: 'decode zstd to file', run: () => decodeToFile('zstd.tmig', 'out'), after: remove('out') },
];
if (hasZstd) {
  const [raw, packed, out] = [path('memory.raw'), path('memory.zst'), path('out')];
  cases.push(
    { name: 'zstd -1 -T1', run: () => command(`zstd -q -f -1 -T1 ${raw} -o ${out}`), after: remove('out') },
    { name: 'zstd -d', run: () => command(`zstd -q -f -d ${packed} -o ${out}`), after: remove('out') },
  );
}
const results = await measureInTurn(cases, runs);

interface Ratio {
  name: string;
  value: number;
  /** What it should be at least, or at most. */
  atLeast?: number;
  atMost?: number;
}
const speed = (fast: string, slow: string): number => results.get(slow)!.wall / results.get(fast)!.wall;
const ratios: Ratio[] = [
  { name: 'encode raw : plain write', value: speed('encode raw', 'plain write'), atLeast: 0.8 },
  { name: 'decode raw to memory : plain read', value: speed('decode raw to memory', 'plain read'), atLeast: 0.8 },
  { name: 'decode raw to file : plain copy', value: speed('decode raw to file', 'plain copy'), atLeast: 0.8 },
];
if (hasZstd) {
  const size = statSync(path('zstd.tmig')).size / statSync(path('memory.zst')).size;
  ratios.push(
    {
      name: 'encode zstd, 2 threads : zstd -1 -T1',
      value: speed('encode zstd, 2 threads', 'zstd -1 -T1'),
      atLeast: 2.5,
    },
    { name: 'size of zstd image / zstd -1', value: size, atMost: 1.02 },
    { name: 'decode zstd to file : zstd -d', value: speed('decode zstd to file', 'zstd -d'), atLeast: 0.8 },
  );
}
const inspected = await openFileSource(path('zstd.tmig'));
const inspection = await inspectImage(inspected);
await inspected.close();
if (!inspection.indexed || !inspection.ok) throw new Error('inspect did not use the index');
const readShare = inspection.bytesRead / statSync(path('zstd.tmig')).size;
ratios.push({ name: 'bytes that inspect reads / image', value: readShare, atMost: 0.01 });
if (values.memory) {
  for (const role of ['writer', 'decoder']) {
    const [small, large] = [1, 16].map((gib) => peak(role, gib));
    ratios.push(
      { name: `${role}: MiB beyond its input at 1 GiB`, value: small, atMost: 64 },
      { name: `${role}: MiB beyond its input at 16 GiB`, value: large, atMost: 64 },
      { name: `${role}: memory at 16 GiB / at 1 GiB`, value: large / small, atMost: 1.25 },
    );
  }
}

/** Peak memory in MiB that a writer or decoder of so much guest memory takes beyond what it started with. */
function peak(role: string, gib: number): number {
  const child = join(import.meta.dirname, 'stream-peak.ts');
  const { stdout, stderr, status } = spawnSync(process.execPath, [child, role, String(gib)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

const missed = ratios.filter(
  ({ value, atLeast, atMost }) =>
    value < (atLeast ?? Number.NEGATIVE_INFINITY) || value > (atMost ?? Number.POSITIVE_INFINITY),
);
if (values.json) {
  console.log(
    JSON.stringify(
      { mib, runs, nonZeroMib: nonZero.byteLength / MIB, results: [...results.values()], ratios },
      null,
      2,
    ),
  );
} else {
  console.log(`${mib} MiB of memory (${Math.round(nonZero.byteLength / MIB)} MiB not zero), medians of ${runs} runs`);
  for (const { name, wall, cpu } of results.values()) {
    const rate = String(Math.round(mib / wall)).padStart(6);
    const seconds = `${wall.toFixed(3)} s wall  ${cpu.toFixed(3)} s CPU`;
    console.log(`  ${name.padEnd(24)} ${seconds}  ${rate} guest MiB/s`);
  }
  for (const { name, value, atLeast, atMost } of ratios) {
    const wanted = atLeast === undefined ? `at most ${String(atMost)}` : `at least ${atLeast}`;
    const mark = missed.some((ratio) => ratio.name === name) ? 'MISSED' : 'ok';
    console.log(`  ${name.padEnd(40)} ${value.toFixed(4).padStart(9)}  (${wanted}) ${mark}`);
  }
}
if (values.check && missed.length > 0) process.exitCode = 1;
