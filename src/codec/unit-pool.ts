import { startThread, type Thread } from './platform.ts';
import { storeUnits, type UnitJob } from './units.ts';

/** What goes to a thread and comes back. */
export interface UnitRequest extends UnitJob {
  readonly id: number;
}
export interface UnitReply {
  readonly id: number;
  readonly result?: Uint32Array;
  readonly error?: string;
}

/**
 * Jobs, mostly of a megabyte, that are done here before threads are started. To start two of them takes the time of
 * about 100 jobs on a core that they share, and saves a third of the rest (bench/README.md): what ends sooner is done
 * sooner without.
 */
const START_AFTER_JOBS = 96;

interface Waiting {
  readonly thread: number;
  resolve(result: Uint32Array): void;
  reject(error: Error): void;
}

/**
 * Threads that store compression units. With no threads the work is done where it is asked for. Buffers of jobs must be
 * shared memory when there are threads, so that only a few numbers travel.
 */
export class UnitPool {
  readonly #threads: Thread[] = [];
  readonly #wanted: number;
  #jobs = 0;
  readonly #load: number[] = [];
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  /** @param threads 0 to 64. They are started when there is enough to do to make that worth while. */
  constructor(threads: number) {
    this.#wanted = Math.min(threads, 64);
  }

  static readonly #shared = new Map<number, UnitPool>();

  /**
   * The pool of this process with so many threads, for all writers together: to start a thread costs as much as to
   * compress 50 MiB. Its threads do not keep the process alive.
   */
  static shared(threads: number): UnitPool {
    let pool = UnitPool.#shared.get(threads);
    if (pool === undefined) UnitPool.#shared.set(threads, (pool = new UnitPool(threads)));
    return pool;
  }

  /** How many jobs keep all threads busy. */
  get width(): number {
    return Math.max(1, this.#wanted);
  }

  get hasThreads(): boolean {
    return this.#wanted > 0;
  }

  /** {@link storeUnits}, on the thread with the least to do; here, as long as none has started. */
  run(job: UnitJob): Promise<Uint32Array> {
    if (++this.#jobs === START_AFTER_JOBS) this.#start();
    let thread = -1;
    for (const [i, { ready }] of this.#threads.entries()) {
      if (ready && (thread < 0 || this.#load[i] < this.#load[thread])) thread = i;
    }
    if (thread < 0) return Promise.resolve(storeUnits(job));
    const id = this.#next++;
    this.#load[thread]++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { thread, resolve, reject });
      this.#threads[thread].post({ id, ...job } satisfies UnitRequest);
    });
  }

  #start(): void {
    // The file has the ending of this one: the checkout runs TypeScript, the package JavaScript.
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const entry = new URL(`./unit-worker.${ending}`, import.meta.url);
    for (let i = 0; i < this.#wanted; i++) {
      this.#load.push(0);
      this.#threads.push(
        startThread(
          entry,
          (reply) => this.#done(reply as UnitReply),
          (error) => this.#failed(i, error),
        ),
      );
    }
  }

  #done(reply: UnitReply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    this.#waiting.delete(reply.id);
    this.#load[waiting.thread]--;
    if (reply.result !== undefined) waiting.resolve(reply.result);
    else waiting.reject(new Error(reply.error));
  }

  #failed(thread: number, error: Error): void {
    // A pool with a thread that died is not given out again.
    for (const [threads, pool] of UnitPool.#shared) if (pool === this) UnitPool.#shared.delete(threads);
    for (const [id, waiting] of this.#waiting) {
      if (waiting.thread !== thread) continue;
      this.#waiting.delete(id);
      waiting.reject(error);
    }
  }
}
