import { formatBytes, formatDuration, shorten } from './text/format.ts';

/** Work that ends sooner shows nothing. */
const QUIET_MS = 500;
const REWRITE_MS = 100;
const LINE_MS = 1000;
/** The rate is that of about this long, so that it follows a change without jumping. */
const RATE_WINDOW_MS = 5000;
const SAMPLE_MS = 250;

/** `line`: one line, rewritten; `lines`: a line a second; `none`: nothing. */
export type ProgressMode = 'line' | 'lines' | 'none';

/** What progress needs of its surroundings; all of it is handed in, so that nothing has to wait in a test. */
export interface ProgressSetting {
  readonly mode: ProgressMode;
  readonly write: (text: string) => void;
  /** Milliseconds that only grow. */
  readonly now: () => number;
  /** Columns of the terminal. */
  readonly columns: () => number;
  /** What is being done, e.g. `verify`; escaped. */
  readonly label: string;
}

/** Which kind of progress there is to be, for standard error and the options given. */
export function progressMode(isTerminal: boolean, options: { quiet?: boolean; progress?: boolean }): ProgressMode {
  if (options.quiet === true) return 'none';
  if (isTerminal) return 'line';
  return options.progress === true ? 'lines' : 'none';
}

interface Sample {
  readonly at: number;
  readonly done: number;
}

/** Shows how far something is. It has no timer: it writes when it is told of progress, and not too often. */
export class Progress {
  readonly #setting: ProgressSetting;
  readonly #start: number;
  #samples: Sample[];
  #shownAt: number | null = null;
  #ended = false;

  constructor(setting: ProgressSetting) {
    this.#setting = setting;
    this.#start = setting.now();
    this.#samples = [{ at: this.#start, done: 0 }];
  }

  /** Tells how many bytes are done, of how many; total is null when nobody knows. */
  readonly update = (done: number, total: number | null): void => {
    const { mode, now } = this.#setting;
    if (mode === 'none' || this.#ended) return;
    const at = now();
    this.#addSample({ at, done });
    if (at - this.#start < (mode === 'line' ? QUIET_MS : LINE_MS)) return;
    if (this.#shownAt !== null && at - this.#shownAt < (mode === 'line' ? REWRITE_MS : LINE_MS)) return;
    this.#shownAt = at;
    this.#show(done, total);
  };

  /** Takes a rewritten line away; more may follow. */
  clear(): void {
    if (this.#setting.mode === 'line' && this.#shownAt !== null) this.#setting.write('\r\x1b[K');
    this.#shownAt = null;
  }

  /** Takes a rewritten line away, so that what follows starts on a clean one; nothing is shown any more. */
  readonly finish = (): void => {
    this.clear();
    this.#ended = true;
  };

  #addSample(sample: Sample): void {
    const last = this.#samples.at(-1);
    // The newest sample moves until it is far enough from the one before it.
    const before = this.#samples.at(-2);
    if (last !== undefined && before !== undefined && last.at - before.at < SAMPLE_MS) this.#samples.pop();
    this.#samples.push(sample);
    while (this.#samples.length > 2 && sample.at - (this.#samples[1]?.at ?? 0) >= RATE_WINDOW_MS) this.#samples.shift();
  }

  #show(done: number, total: number | null): void {
    const { mode, write, columns, label } = this.#setting;
    const text = `${label}: ${progressText(done, total, this.#bytesPerSecond())}`;
    // The last column stays free: some terminals go to the next line when it is filled.
    write(mode === 'lines' ? `${text}\n` : `\r${shorten(text, columns() - 1)}\x1b[K`);
  }

  #bytesPerSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at <= first.at) return 0;
    return (Math.max(0, last.done - first.done) * 1000) / (last.at - first.at);
  }
}

/** `37%, 1.2 GiB of 3.3 GiB, 210.4 MiB/s, 10 s left`; without a total `1.2 GiB, 210.4 MiB/s`. */
export function progressText(done: number, total: number | null, bytesPerSecond: number): string {
  const rate = `${formatBytes(bytesPerSecond >= 1024 ? bytesPerSecond : Math.round(bytesPerSecond))}/s`;
  if (total === null || total <= 0) return `${formatBytes(done)}, ${rate}`;
  const percent = Math.floor((100 * Math.min(done, total)) / total);
  const left = bytesPerSecond > 0 ? `, ${formatDuration(Math.max(0, total - done) / bytesPerSecond)} left` : '';
  return `${percent}%, ${formatBytes(done)} of ${formatBytes(total)}, ${rate}${left}`;
}
