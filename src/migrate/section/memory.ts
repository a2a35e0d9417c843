import { TransmigrateError } from '../../errors.ts';
import type { MachineSource, MachineTarget, PageBatch } from '../../machine/machine.ts';
import type { DecodedRecord } from '../../stream/decoder.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { PageRuns, RamBatch } from '../../stream/records/ram.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import { TYPE } from '../../stream/record-types.ts';
import { Collector } from './collector.ts';
import { writeRange } from './memory-pages.ts';
import type { StateLoader, StateWriter } from './section.ts';

/** Pages of one step. */
const STEP_PAGES = 256;

/** Writes the memory that {@link Machine.capture} copied. */
export class MemoryWriter implements StateWriter {
  readonly name = 'memory';
  readonly records = [TYPE.ram];
  readonly bytes: number;
  readonly #machine: MachineSource;

  constructor(machine: MachineSource) {
    this.#machine = machine;
    this.bytes = machine.capabilities.pages * machine.capabilities.pageBytes;
  }

  async *write(writer: StreamWriter): AsyncGenerator<number, void> {
    const { pages, pageBytes } = this.#machine.capabilities;
    const read = (first: number): Promise<PageBatch> => {
      const batch = this.#machine.readCapture(first, Math.min(STEP_PAGES, pages - first));
      // A failure is met where the pages are written; when nobody comes to that, it is nobody's.
      batch.catch(() => undefined);
      return batch;
    };
    let next = read(0);
    for (let first = 0; first < pages; first += STEP_PAGES) {
      const batch = await next;
      // The next pages are on their way while these are written.
      if (first + STEP_PAGES < pages) next = read(first + STEP_PAGES);
      const end = Math.min(first + STEP_PAGES, pages);
      await writeRange(writer, batch, first, end);
      yield (end - first) * pageBytes;
    }
  }
}

/** Puts memory into a machine whose memory is still zero. */
export class MemoryLoader implements StateLoader {
  readonly name = 'memory';
  readonly #machine: MachineTarget;
  readonly #scratch = new Uint8Array(LIMITS.unitBytes);
  /** One bit a page: named by the newest record as present; and: has bytes in the machine. */
  readonly #present: Uint8Array;
  readonly #written: Uint8Array;
  /** While the machine takes what is in one, the other is filled. */
  #collected: Collector;
  #spare: Collector;
  readonly #lends: boolean;
  /** The batch that the machine is taking. */
  #underWay: Promise<void> = Promise.resolve();
  /** Records of several channels may come at the same time: they are taken one after the other. */
  #turn: Promise<void> = Promise.resolve();
  /** Present pages, counted once. */
  pages = 0;

  constructor(machine: MachineTarget) {
    this.#machine = machine;
    const { pages, pageBytes } = machine.capabilities;
    this.#present = new Uint8Array(Math.ceil(pages / 8));
    this.#written = new Uint8Array(Math.ceil(pages / 8));
    // A machine of this process has taken the pages before anything else is done: nothing is gained by a copy.
    this.#lends = machine.pid === undefined;
    this.#collected = new Collector(pageBytes, this.#lends);
    this.#spare = new Collector(pageBytes, this.#lends);
  }

  load({ header, record }: DecodedRecord): Promise<void> {
    if (record.kind !== 'RAM') return Promise.resolve();
    const taken = this.#turn.then(() => this.#take(record, header.offset));
    this.#turn = taken.catch(() => undefined);
    return taken;
  }

  async #take(record: RamBatch, offset: number): Promise<void> {
    const last = record.extents - 1;
    const end = record.extentFirst(last) + record.extentPages(last);
    if (end > this.#machine.capabilities.pages) throw this.#tooLarge(end, offset);
    this.#collected.begin(record.dataPages - record.zeroPages, record.pages);
    record.visit(this.#runs, this.#scratch);
    // Batches are taken in order, and one at a time.
    await this.#underWay;
    this.#underWay = this.#machine.loadPages(this.#collected.batch());
    if (this.#lends) return this.#underWay;
    // What it fails with is thrown by whoever waits next; a restore that fails before that has its own reason.
    this.#underWay.catch(() => undefined);
    [this.#collected, this.#spare] = [this.#spare, this.#collected];
  }

  async complete(): Promise<void> {
    await this.#underWay;
    const { pages } = this.#machine.capabilities;
    if (this.pages === pages) return;
    const what = `The image has ${this.pages} pages of memory, and the machine needs ${pages}`;
    throw new TransmigrateError('MEMORY_MISMATCH', what, { data: { found: this.pages, needed: pages } });
  }

  readonly #runs: PageRuns = {
    data: (first, pages, _pageClass, source, at) => {
      for (let page = 0; page < pages; page++) {
        this.#mark(first + page, true);
        set(this.#written, first + page, true);
      }
      // What a codec made is overwritten by the next unit; what stands in the record is there until it is applied.
      this.#collected.add(first, pages, source, at, source.buffer !== this.#scratch.buffer);
    },
    zero: (first, pages) => this.#clear(first, pages, true),
    // A page without content is zero for a machine that has nothing else to give.
    absent: (first, pages) => this.#clear(first, pages, false),
  };

  /** Pages that are to be zero: only those that have had bytes before need work. */
  #clear(first: number, pages: number, present: boolean): void {
    for (let page = first; page < first + pages; page++) {
      this.#mark(page, present);
      if (!has(this.#written, page)) continue;
      set(this.#written, page, false);
      this.#collected.addZero(page);
    }
  }

  #mark(page: number, present: boolean): void {
    if (has(this.#present, page) === present) return;
    this.pages += present ? 1 : -1;
    set(this.#present, page, present);
  }

  #tooLarge(end: number, offset: number): TransmigrateError {
    const { pages } = this.#machine.capabilities;
    const what = `The image has memory up to page ${end - 1}, and the machine has ${pages} pages`;
    return new TransmigrateError('MEMORY_MISMATCH', what, { offset, data: { found: end, needed: pages } });
  }
}

function has(bits: Uint8Array, at: number): boolean {
  return (bits[at >> 3] & (1 << (at & 7))) !== 0;
}

function set(bits: Uint8Array, at: number, value: boolean): void {
  if (value) bits[at >> 3] |= 1 << (at & 7);
  else bits[at >> 3] &= ~(1 << (at & 7));
}
