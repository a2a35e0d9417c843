import { createHash } from 'node:crypto';

/** What happened, for a digest, for a chart, and for whoever looks for the cause of a failure. */
export interface Entry {
  readonly atMs: number;
  readonly who: 'source' | 'destination' | 'network' | 'operator';
  readonly what: 'message' | 'state' | 'journal' | 'guest' | 'crash' | 'start' | 'effect' | 'end';
  readonly text: string;
  /** Of a message that arrived: when it was sent. */
  readonly sentMs?: number;
}

/** Most entries that are kept; the digest is over all. */
const KEPT = 20_000;

export class Trace {
  readonly entries: Entry[] = [];
  readonly #hash = createHash('sha256');

  add(entry: Entry): void {
    this.#hash.update(`${entry.atMs.toFixed(3)} ${entry.who} ${entry.what} ${entry.text}\n`);
    if (this.entries.length < KEPT) this.entries.push(entry);
  }

  digest(): string {
    return this.#hash.copy().digest('hex');
  }
}
