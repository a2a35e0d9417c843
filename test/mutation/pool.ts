/** A process that tries mutants, seen from the run: it is ended when a test takes too long, and begun anew. */
import { fork, type ChildProcess } from 'node:child_process';
import type { Candidate } from './candidates.ts';
import type { Answer, Measured, Order } from './worker.ts';

export interface Verdict {
  readonly kind: 'killed' | 'by time' | 'survived';
  /** The step that noticed; undefined when none did, or the process as a whole failed. */
  readonly by?: Measured;
  readonly why: string;
}

/** How much slower than in the unchanged tree a test may be before it counts as hanging. */
const PATIENCE = 20;
const PATIENCE_MS = 4000;
/** The whole of the unchanged tests, measured. */
const MEASURE_MS = 600_000;
/** Each mutant leaves its modules behind; after so many the process is begun anew. */
const MUTANTS_EACH = 120;
/** Property tests are the same in every run, and short: a case that fails is not made smaller. */
const ENVIRONMENT = { PROPERTY_SEED: '1', PROPERTY_RUNS: '25', PROPERTY_SHRINK: '0' };

/** A mutant that hangs must not outlive the run. */
const running = new Set<ChildProcess>();

export function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** What an order came to: the last answer, or at which step the time was up. */
type Reply = Answer | { readonly kind: 'late'; readonly step: number };

export class Trier {
  readonly #patienceMs: number;
  #child: ChildProcess | undefined;
  #tried = 0;

  /** @param patienceMs what a test is given beside a multiple of its own time. */
  constructor(patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
  }

  /** Ends the process; the next order begins another. */
  end(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    this.#tried = 0;
  }

  async measure(files: readonly string[], mutants: readonly Candidate[]): Promise<readonly Measured[]> {
    const reply = await this.#ask({ kind: 'measure', files, mutants }, () => MEASURE_MS);
    this.end();
    if (reply.kind !== 'measured') throw new Error(`the tests fail without any mutant: ${JSON.stringify(reply)}`);
    return reply.steps;
  }

  /** Tries a mutant with the steps in their order. */
  async try(mutant: Candidate, steps: readonly Measured[]): Promise<Verdict> {
    const first = this.#tried === 0;
    const order = steps.map(({ file, name }) => ({ file, name }));
    const reply = await this.#ask({ kind: 'try', mutant, steps: order }, (step) =>
      step < 0 ? PATIENCE_MS : this.#patienceMs + PATIENCE * steps[step].ms,
    );
    this.#tried++;
    if (reply.kind === 'survived') {
      if (this.#tried >= MUTANTS_EACH) this.end();
      return { kind: 'survived', why: '' };
    }
    if (reply.kind === 'measured' || reply.kind === 'at') throw new Error('an answer to another order');
    if (reply.kind === 'late' || reply.step < 0 || this.#tried >= MUTANTS_EACH) this.end();
    // Something that went wrong beside the tests may be what the mutant before left behind.
    if (reply.step < 0 && !first) return this.try(mutant, steps);
    const by = steps[reply.step];
    const why = reply.kind === 'late' ? 'does not end' : reply.why;
    return { kind: reply.kind === 'late' ? 'by time' : 'killed', why, ...(by !== undefined && { by }) };
  }

  #ask(order: Order, limitOf: (step: number) => number): Promise<Reply> {
    const child = (this.#child ??= begin());
    return new Promise((resolve) => {
      let at = -1;
      let timer: NodeJS.Timeout | undefined;
      const settle = (reply: Reply): void => {
        clearTimeout(timer);
        child.removeAllListeners('message').removeAllListeners('exit');
        resolve(reply);
      };
      const wait = (): void => {
        clearTimeout(timer);
        timer = setTimeout(() => settle({ kind: 'late', step: at }), limitOf(at));
      };
      child.on('message', (answer: Answer) => {
        if (answer.kind !== 'at') {
          settle(answer);
          return;
        }
        at = answer.step;
        wait();
      });
      child.on('exit', (code, signal) => settle({ kind: 'killed', step: -1, why: `ended with ${code ?? signal}` }));
      child.send(order);
      wait();
    });
  }
}

function begin(): ChildProcess {
  const child = fork(new URL('./worker.ts', import.meta.url), {
    execArgv: ['--max-old-space-size=1024', '--disable-warning=ExperimentalWarning'],
    env: { ...process.env, ...ENVIRONMENT },
    // What tests and mutants print is of no use here.
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}
