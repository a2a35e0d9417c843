/** A host's disk with its journal: writes that are full, fail, tear, or were never synced when the host ended. */
import { encodeEntry, journalHead, readJournal, type JournalEnd } from '../../src/migrate/journal/entries.ts';
import { recover, type Recovered } from '../../src/migrate/journal/recover.ts';
import type { JournalRecord } from '../../src/migrate/journal/records.ts';
import type { WriteEnd } from '../../src/migrate/handover/ownership.ts';
import type { VirtualClock } from './clock.ts';
import type { Scenario } from './scenario.ts';

interface Write {
  readonly records: readonly JournalRecord[];
  readonly done: (end: WriteEnd) => void;
}

export class SimDisk {
  readonly #clock: VirtualClock;
  readonly #scenario: Scenario;
  /** What is on the disk for sure. */
  #bytes: Uint8Array;
  #end: JournalEnd;
  /** Written and not synced. */
  #unsynced: Uint8Array = new Uint8Array(0);
  readonly #queue: Write[] = [];
  #busy = false;
  /** Writes of a host that crashed end nowhere. */
  #life = 0;
  /** Nothing goes wrong any more. */
  healed = false;

  constructor(clock: VirtualClock, scenario: Scenario, first: readonly JournalRecord[]) {
    this.#clock = clock;
    this.#scenario = scenario;
    const head = journalHead();
    let end: JournalEnd = { length: head.end.length, durable: head.end.length };
    const pieces = [head.bytes];
    for (const record of first) {
      const entry = encodeEntry(record, end);
      pieces.push(entry.bytes);
      end = { length: entry.end.length, durable: entry.end.length };
    }
    this.#bytes = new Uint8Array(Buffer.concat(pieces));
    this.#end = end;
  }

  /** Appends and syncs; the writes of a host go one after the other. */
  write(records: readonly JournalRecord[], done: (end: WriteEnd) => void): void {
    this.#queue.push({ records, done });
    this.#next();
  }

  /** The host ends: what was not synced is on the disk, or not, or in part. */
  crash(): void {
    this.#life++;
    this.#queue.length = 0;
    this.#busy = false;
    const { random } = this.#scenario;
    const tail = this.#unsynced.slice();
    const cut = random.below(tail.byteLength + 1);
    switch (random.below(5)) {
      case 0:
        this.#bytes = join(this.#bytes, tail);
        break;
      case 1:
        this.#bytes = join(this.#bytes, tail.subarray(0, cut));
        break;
      case 2:
        tail.fill(0, 0, cut);
        this.#bytes = join(this.#bytes, tail);
        break;
      case 3:
        if (tail.byteLength > 0) tail[random.below(tail.byteLength)] ^= 0x10;
        this.#bytes = join(this.#bytes, tail);
        break;
      default:
        break;
    }
    this.#unsynced = new Uint8Array(0);
  }

  /** What a host that starts finds. The journal is cut behind its last whole entry. */
  recover(): Recovered {
    const { records, end } = readJournal(this.#bytes);
    this.#bytes = this.#bytes.slice(0, end.length);
    this.#end = end;
    return recover(records);
  }

  get records(): readonly JournalRecord[] {
    return readJournal(this.#bytes).records;
  }

  #next(): void {
    const write = this.#queue[0];
    if (this.#busy || write === undefined) return;
    this.#busy = true;
    const { random, diskFaults, fsyncMs, fault } = this.#scenario;
    let end = this.#end;
    const pieces = write.records.map((record) => {
      const entry = encodeEntry(record, end);
      ({ end } = entry);
      return entry.bytes;
    });
    const bytes = new Uint8Array(Buffer.concat(pieces));
    const life = this.#life;
    const finish = (result: WriteEnd): void => {
      if (life !== this.#life) return;
      this.#queue.shift();
      this.#busy = false;
      write.done(result);
      if (life === this.#life) this.#next();
    };
    if (!this.healed && random.below(10_000) < diskFaults) {
      const doubtful = random.below(3) === 0;
      // In doubt it may be there when the host starts again; the next write goes to the same place.
      if (doubtful && random.below(2) === 0) this.#unsynced = bytes;
      this.#clock.after(fsyncMs, () => finish(doubtful ? 'doubtful' : 'notWritten'));
      return;
    }
    this.#unsynced = bytes;
    const sync = (): void => {
      this.#bytes = join(this.#bytes.subarray(0, this.#end.durable), bytes);
      this.#end = { length: end.length, durable: end.length };
      this.#unsynced = new Uint8Array(0);
    };
    if (fault === 'acts before its fsync') {
      this.#clock.after(fsyncMs, () => {
        if (life !== this.#life) return;
        sync();
        this.#queue.shift();
        this.#busy = false;
        this.#next();
      });
      write.done('durable');
      return;
    }
    this.#clock.after(fsyncMs * (0.5 + random.below(100) / 100), () => {
      if (life === this.#life) sync();
      finish('durable');
    });
  }
}

function join(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.byteLength + other.byteLength);
  both.set(one);
  both.set(other, one.byteLength);
  return both;
}
