/** What happened in a migration, for `jobs show`: every message, round, record and reason, with its time. */

/** A line of it. */
export interface JobEntry {
  /** Milliseconds since the migration began here. */
  readonly atMs: number;
  readonly what:
    | 'says'
    | 'hears'
    | 'state'
    | 'journal'
    | 'round'
    | 'guest'
    | 'connection'
    | 'recording'
    | 'report'
    | 'end';
  readonly text: string;
}

/** Most lines that are kept: the first ones, and the newest. */
const FIRST = 200;
const NEWEST = 800;

export class JobLog {
  readonly #nowMs: () => number;
  readonly #startMs: number;
  readonly #entries: JobEntry[] = [];
  #dropped = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#startMs = nowMs();
  }

  add(what: JobEntry['what'], text: string): void {
    this.#entries.push({ atMs: Math.round((this.#nowMs() - this.#startMs) * 10) / 10, what, text });
    if (this.#entries.length <= FIRST + NEWEST) return;
    this.#entries.splice(FIRST, 1);
    this.#dropped++;
  }

  get entries(): readonly JobEntry[] {
    return this.#entries;
  }

  /** Lines in between that were not kept. */
  get dropped(): number {
    return this.#dropped;
  }
}
