/** Ends a process whose run does not end, and says which it was: code that hangs cannot say so itself. */
import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

interface Watched {
  /** Number of the run that is going on, below 2^31. */
  readonly run: Int32Array;
  readonly seed: string;
  readonly limitMs: number;
}

/** Watches from a thread of its own. @returns what to call with the number of each run that begins. */
export function watch(seed: string, limitMs: number): (run: number) => void {
  const run = new Int32Array(new SharedArrayBuffer(4)).fill(-1);
  const watched: Watched = { run, seed, limitMs };
  new Worker(new URL(import.meta.url), { workerData: watched }).unref();
  return (number) => Atomics.store(run, 0, number);
}

function guard({ run, seed, limitMs }: Watched): void {
  let last = -1;
  setInterval(() => {
    const now = Atomics.load(run, 0);
    if (now === last && now >= 0) {
      // The main thread prints nothing any more: write past it.
      writeSync(2, `seed ${seed}, run ${now}: does not end; again: npm run fuzz -- --seed ${seed} --run ${now}\n`);
      process.kill(process.pid, 'SIGKILL');
    }
    last = now;
  }, limitMs);
}

if (!isMainThread) guard(workerData as Watched);
