import { scanRoomBytes, type LiveSource, type ScanBudget, type ScanSlice } from '../../machine/machine.ts';
import { TYPE } from '../../stream/record-types.ts';
import type { LiveChannel, LiveOutput, LiveState, Lost, StateLeft, StateOffer } from './live.ts';
import { enterPages, writeChanged, writeRange } from './memory-pages.ts';

/** What one step looks at and takes while the guest runs: a standstill of about a millisecond, and a megabyte. */
const STEP = { pages: 2048, dirty: 256 };
/** While it is paused nobody is held up, and words to the guest's process and back are what costs. */
const LAST_STEP = { pages: 16_384, dirty: 512 };
type Budget = Required<Omit<ScanBudget, 'into'>>;

/** What one round over memory found. */
export interface MemoryRound {
  /** From 0; the last, while the guest stands still, counts too. */
  readonly round: number;
  /** Pages that had changed, and of these the ones that became zero. */
  readonly pages: number;
  readonly zeroPages: number;
  /** Bytes of the others. */
  readonly bytes: number;
  /** How long it took, and how long the guest stood still for it, all in all. */
  readonly ms: number;
  readonly stoppedMs: number;
  /** Bytes that the guest changes in a second: 0 for the first round, which finds what was there before. */
  readonly dirtyBytesPerSecond: number;
}

/** A slice that was asked for, and where it begins. */
interface Ahead {
  readonly first: number;
  readonly slice: Promise<ScanSlice>;
}

/** A running machine's memory, in rounds (M2, L1). */
export class LiveMemory implements LiveState {
  readonly name = 'memory';
  readonly records = [TYPE.ram];
  readonly #machine: LiveSource;
  readonly #nowMs: () => number;
  readonly #pages: number;
  readonly #pageBytes: number;
  #scanning = false;
  /** Below this every page was written once, as content or as zero. */
  #named = 0;
  #rounds = 0;
  #last: MemoryRound | null = null;
  /** Room for the pages of a slice that is written, and of the one that is asked for meanwhile. */
  #rooms: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)];
  /** What the round under way has found. */
  #found = { pages: 0, zeroPages: 0, stoppedMs: 0 };

  /** @param nowMs a clock that never goes back. */
  constructor(machine: LiveSource, nowMs: () => number) {
    this.#machine = machine;
    this.#nowMs = nowMs;
    this.#pages = machine.capabilities.pages;
    this.#pageBytes = machine.capabilities.pageBytes;
  }

  /** The last round that came to its end. */
  get last(): MemoryRound | null {
    return this.#last;
  }

  offer(): StateOffer {
    const bytes = this.#pages * this.#pageBytes;
    // Which pages are zero is not known before they are looked at.
    return { name: this.name, mandatory: true, carriedBytes: bytes, unpackedBytes: bytes, needs: {} };
  }

  async begin(): Promise<void> {
    await this.#machine.startScan();
    // What is never touched takes no memory; and in the pause none is asked for.
    const room = (): Uint8Array => new Uint8Array(scanRoomBytes(LAST_STEP.dirty, this.#pageBytes));
    this.#rooms = [room(), room()];
    this.#scanning = true;
    this.#named = 0;
  }

  round(output: LiveOutput): AsyncGenerator<number, void> {
    return this.#pass(output, STEP);
  }

  final(output: LiveOutput): AsyncGenerator<number, void> {
    return this.#pass(output, LAST_STEP);
  }

  /** Of the first round, what it has not come to; of later ones, what the last one found: the next finds as much. */
  left(): StateLeft {
    const unseen = this.#pages - this.#named;
    const again = this.#last === null ? 0 : this.#last.pages - this.#last.zeroPages;
    const pages = Math.min(unseen + again, this.#pages);
    return { bytes: pages * this.#pageBytes, pages, invalidations: 0 };
  }

  acknowledged(): void {
    // Pages are asked for again by their numbers, which the ledger has.
  }

  async resend({ pages }: Lost): Promise<void> {
    if (pages.length > 0) await this.#machine.markDirty(pages);
  }

  async end(): Promise<void> {
    if (!this.#scanning) return;
    this.#scanning = false;
    this.#rooms = [new Uint8Array(0), new Uint8Array(0)];
    // Of a guest that is no more there is nothing to give back.
    await this.#machine.endScan().catch(() => undefined);
  }

  async *#pass({ channels }: LiveOutput, budget: Budget): AsyncGenerator<number, void> {
    const start = this.#nowMs();
    this.#found = { pages: 0, zeroPages: 0, stoppedMs: 0 };
    let turn = 0;
    let ahead: Ahead | null = this.#ask(0, budget);
    try {
      while (ahead !== null) {
        const { first } = ahead;
        const slice: ScanSlice = await ahead.slice;
        // The next pages are on their way while these are written.
        ahead = slice.next < this.#pages ? this.#ask(slice.next, budget) : null;
        yield await this.#write(channels[turn++ % channels.length], first, slice);
      }
      this.#finish(this.#nowMs() - start);
    } finally {
      if (ahead !== null) await this.#giveBack(ahead);
    }
  }

  #ask(first: number, { pages, dirty }: Budget): Ahead {
    // What was written once and what was not are written differently, so no slice has both.
    const most = first < this.#named ? this.#named - first : this.#pages - first;
    const slice = this.#machine.scan(first, { pages: Math.min(pages, most), dirty, into: this.#room() });
    // A failure is met where the slice is waited for.
    slice.catch(() => undefined);
    return { first, slice };
  }

  /** The room that the last slice but one was in: it is written by now. */
  #room(): Uint8Array {
    const [next, other] = this.#rooms;
    this.#rooms = [other, next];
    return next;
  }

  async #write({ writer, ledger }: LiveChannel, first: number, slice: ScanSlice): Promise<number> {
    const { dirty, zero, next, stoppedMs } = slice;
    this.#found.pages += dirty.pfns.length + zero.length;
    this.#found.zeroPages += zero.length;
    this.#found.stoppedMs += stoppedMs;
    // From here on the ledger answers for them: what is cut while it is written is lost as a whole.
    if (first >= this.#named) {
      ledger?.pages(first, next - first);
      this.#named = next;
      await writeRange(writer, dirty, first, next);
      return (next - first) * this.#pageBytes;
    }
    enterPages(ledger, dirty.pfns);
    enterPages(ledger, zero);
    await writeChanged(writer, dirty, zero);
    return (dirty.pfns.length + zero.length) * this.#pageBytes;
  }

  /** What the guest's side counts as handed over, and nobody will write, is to be handed over again. */
  async #giveBack({ slice }: Ahead): Promise<void> {
    try {
      const { dirty, zero } = await slice;
      if (!this.#scanning) return;
      if (dirty.pfns.length > 0) await this.#machine.markDirty(dirty.pfns);
      if (zero.length > 0) await this.#machine.markDirty(zero);
    } catch {
      // The guest is no more, or does not answer: then nothing of it will be written.
    }
  }

  #finish(ms: number): void {
    const { pages, zeroPages, stoppedMs } = this.#found;
    const bytes = (pages - zeroPages) * this.#pageBytes;
    // A page was looked at some time in the round before, and again some time in this one: half of both lie between.
    const between = this.#last === null ? 0 : (this.#last.ms + ms) / 2;
    const dirtyBytesPerSecond = between <= 0 ? 0 : (pages * this.#pageBytes * 1000) / between;
    this.#last = { round: this.#rounds++, pages, zeroPages, bytes, ms, stoppedMs, dirtyBytesPerSecond };
  }
}
