/**
 * Fuzzes the stream's readers, and with every fourth input `verify` and `inspect` of images of others.
 *
 *   npm run fuzz -- [--seconds 60 | --runs N] [--seed S] [--run R] [--input FILE] [--plant NAME] [--hang-seconds 20]
 *
 * Ends with 1 at the first finding, and prints the command that shows it again. `--run` tries one run only, `--input` a
 * file; `--plant` plants a fault first, to see that it is found. The work is done in a thread, so that a run that never
 * ends is a finding, too: one that has used so many seconds of processor, or waits for ten times as long.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { fuzzOnce, seeds, shrunk, withSeeds } from './fuzz.ts';
import { planted, PLANTS, type PlantName } from './plants.ts';
import { damagedImage, imageFaultIn, imageSeeds } from './images.ts';
import { decoderOf, faultIn, ownSubject, type Input, type Tried } from './subject.ts';

/** Every so many runs an image of others is tried. */
const IMAGES_EVERY = 4;

/** How much longer than it may compute a run may wait: what else the machine does takes no processor from it. */
const WAITING = 10;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    runs: { type: 'string' },
    seed: { type: 'string' },
    run: { type: 'string' },
    input: { type: 'string' },
    plant: { type: 'string' },
    'hang-seconds': { type: 'string', default: '20' },
  },
});

interface Job {
  readonly seed: string;
  /** The run that is being tried; -1 when none is. */
  readonly progress: Int32Array;
}

function again(seed: string, run: number): string {
  const plant = values.plant === undefined ? '' : ` --plant ${values.plant}`;
  return `npm run fuzz -- --seed ${seed} --run ${run}${plant}`;
}

async function subject(): Promise<Tried> {
  const own = await ownSubject();
  if (values.plant === undefined) return own;
  if (!Object.hasOwn(PLANTS, values.plant)) throw new Error(`plants are ${Object.keys(PLANTS).join(', ')}`);
  const library = await planted(values.plant as PlantName);
  return { ...own, library, subject: decoderOf(library) };
}

function show(bytes: Uint8Array, path: string): void {
  writeFileSync(path, bytes);
  console.error(`the input, ${bytes.byteLength} bytes, is in ${path}`);
  if (bytes.byteLength <= 1024) console.error(`in base64: ${Buffer.from(bytes).toString('base64')}`);
}

async function work({ seed, progress }: Job): Promise<void> {
  const inputs = await seeds();
  const images = imageSeeds();
  const tried = withSeeds(await subject(), inputs);
  const counted = values.runs !== undefined || values.run !== undefined;
  const end = counted ? Number.POSITIVE_INFINITY : performance.now() + 1000 * Number(values.seconds);
  const first = Number(values.run ?? 0);
  const last = values.run === undefined ? Number(values.runs ?? Number.POSITIVE_INFINITY) : first + 1;
  let run = first;
  for (; run < last && performance.now() < end; run++) {
    Atomics.store(progress, 0, run);
    if (values.plant === undefined && run % IMAGES_EVERY === IMAGES_EVERY - 1) {
      const bytes = damagedImage(images, seed, run);
      const fault = await imageFaultIn(bytes, `${seed} ${run}`);
      if (fault === undefined) continue;
      Atomics.store(progress, 0, -1);
      console.error(`seed ${seed}, run ${run}: an image of others: ${fault.kind}: ${fault.what}`);
      console.error(`again: ${again(seed, run)}`);
      show(bytes, join(tmpdir(), `fuzz-${seed}-${run}.image`));
      process.exitCode = 1;
      return;
    }
    const finding = await fuzzOnce(inputs, seed, run, tried);
    if (finding === undefined) continue;
    Atomics.store(progress, 0, -1);
    console.error(`seed ${seed}, run ${run}: ${finding.what}`);
    console.error(`again: ${again(seed, run)}`);
    show(await shrunk(finding, seed, tried), join(tmpdir(), `fuzz-${seed}-${run}.tmig`));
    process.exitCode = 1;
    return;
  }
  Atomics.store(progress, 0, -1);
  const from = `${inputs.length} streams and ${images.length} images of others`;
  console.log(`${run - first} inputs from ${from}, seed ${seed}: nothing found`);
}

async function tryFile(path: string): Promise<void> {
  const input: Input = { bytes: new Uint8Array(readFileSync(path)), repaired: true };
  const fault = await faultIn(input, values.seed ?? '', await subject());
  console.log(fault === undefined ? 'nothing found' : fault.what);
  if (fault !== undefined) process.exitCode = 1;
}

function hung(seed: string, run: number, after: string): never {
  console.error(`seed ${seed}, run ${run}: does not end within ${after}`);
  console.error(`again: ${again(seed, run)}`);
  process.exit(1);
}

function watch(): void {
  const seed = values.seed ?? String(Date.now());
  const progress = new Int32Array(new SharedArrayBuffer(4)).fill(-1);
  const worker = new Worker(new URL(import.meta.url), {
    argv: process.argv.slice(2),
    workerData: { seed, progress } satisfies Job,
  });
  const hangMs = 1000 * Number(values['hang-seconds']);
  let [seen, since, cpuMs] = [-1, performance.now(), 0];
  const look = async (): Promise<void> => {
    const run = Atomics.load(progress, 0);
    const { user, system } = await worker.cpuUsage();
    const nowMs = (user + system) / 1000;
    if (run !== seen || run < 0) {
      [seen, since, cpuMs] = [run, performance.now(), nowMs];
      return;
    }
    if (nowMs - cpuMs >= hangMs) hung(seed, run, `${(nowMs - cpuMs) / 1000} seconds of processor`);
  };
  const timer = setInterval(() => {
    if (seen >= 0 && performance.now() - since > WAITING * hangMs)
      hung(seed, seen, `${(WAITING * hangMs) / 1000} seconds`);
    // A thread that has just ended can't be asked any more.
    look().catch(() => undefined);
  }, 500);
  worker.on('error', (error) => {
    console.error(error);
    process.exitCode = 1;
  });
  worker.on('exit', (code) => {
    clearInterval(timer);
    if (code !== 0) process.exitCode = code;
  });
}

if (!isMainThread) await work(workerData as Job);
else if (values.input === undefined) watch();
else await tryFile(values.input);
