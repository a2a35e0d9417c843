import type { RandomAccess } from '../../bytes/endpoints.ts';
import type { CodecId } from '../../codec/codec.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { Preamble } from '../../stream/preamble.ts';
import { RamPages } from '../../stream/ram-pages.ts';
import { RecordStore } from '../../stream/record-store.ts';
import { hasData, RamBatch } from '../../stream/records/ram.ts';
import { ExtentLog } from '../extent-log.ts';
import { LastRuns } from './last-runs.ts';
import type { AbsentRun, ImageMemory, MemoryBatch, PageContent } from './opened-image.ts';

const BATCH_PAGES = 256;

/** Gathers which RAM record of an image of ours has the last word on each page. */
export class TmigMemoryBuilder {
  readonly #log = new ExtentLog();
  /** Offsets of records and classes, by tag. */
  readonly #offsets: number[] = [];
  readonly #classes: number[] = [];
  readonly #codecs = new Set<CodecId>();

  /** Takes a record's head in. @param offset of its header in the image. */
  add(batch: RamBatch, offset: number): void {
    for (let extent = 0; extent < batch.extents; extent++) {
      const pageClass = batch.extentClass(extent);
      const first = batch.extentFirst(extent);
      this.#log.add(first, batch.extentPages(extent), hasData(pageClass), this.#tag(offset, pageClass));
    }
    for (let unit = 0; unit < batch.units; unit++) this.#codecs.add(batch.unitCodec(unit));
  }

  /** @param pfnOfFrame see {@link ImageMemory.pfnOfFrame}. */
  done(random: RandomAccess, preamble: Preamble, pfnOfFrame?: (frame: number) => number): ImageMemory {
    const store = new RecordStore(random, preamble.checksum, 4);
    const runs = new LastRuns(this.#log);
    const [offsets, classes] = [this.#offsets, this.#classes];
    return new TmigMemory(store, preamble.pageSize, runs, offsets, classes, this.#codecs, pfnOfFrame);
  }

  #tag(offset: number, pageClass: number): number {
    const last = this.#offsets.length - 1;
    if (last >= 0 && this.#offsets[last] === offset && this.#classes[last] === pageClass) return last;
    this.#offsets.push(offset);
    this.#classes.push(pageClass);
    return last + 1;
  }
}

/** Memory in RAM records: a page costs the head of its record, once, and the unit that it is in. */
class TmigMemory implements ImageMemory {
  readonly pageSize: number;
  readonly pfnOfFrame: ((frame: number) => number) | undefined;
  readonly #store: RecordStore;
  readonly #runs: LastRuns;
  readonly #offsets: readonly number[];
  readonly #classes: readonly number[];
  readonly #ram: RamPages;
  readonly codecs: ReadonlySet<CodecId>;

  constructor(
    store: RecordStore,
    pageSize: number,
    runs: LastRuns,
    offsets: readonly number[],
    classes: readonly number[],
    codecs: ReadonlySet<CodecId>,
    pfnOfFrame: ((frame: number) => number) | undefined,
  ) {
    this.codecs = codecs;
    this.pfnOfFrame = pfnOfFrame;
    this.#store = store;
    this.pageSize = pageSize;
    this.#runs = runs;
    this.#offsets = offsets;
    this.#classes = classes;
    this.#ram = new RamPages(store, pageSize);
  }

  get pages(): number {
    return this.#runs.pages;
  }

  get pfnEnd(): number {
    return this.#runs.pfnEnd;
  }

  pageClass(pfn: number): number | undefined {
    const run = this.#runs.find(pfn);
    return run < 0 ? undefined : this.#classes[this.#runs.tag(run)];
  }

  absent(): Iterable<AbsentRun> {
    return this.#runs.absent(this.#classes);
  }

  async readPage(pfn: number, into: Uint8Array): Promise<PageContent> {
    const page = into.subarray(0, this.pageSize);
    const run = this.#runs.find(pfn);
    if (run < 0 || !this.#runs.present(run)) {
      page.fill(0);
      return 'absent';
    }
    // The record names it: its head said so when the image was opened.
    return (await this.#ram.read(this.#offsets[this.#runs.tag(run)], pfn, page))!;
  }

  async *batches({ firstPfn = 0, batchPages = BATCH_PAGES } = {}): AsyncGenerator<MemoryBatch> {
    const scratch = new Uint8Array(LIMITS.unitBytes);
    for (let run = this.#runs.after(firstPfn); run < this.#runs.length; run++) {
      if (!this.#runs.present(run)) continue;
      const tag = this.#runs.tag(run);
      const { header, body } = await this.#store.fetch(this.#offsets[tag]);
      const batch = new RamBatch(body, body.byteLength, this.pageSize, {
        offset: header.offset,
        path: `record ${header.sequence} (RAM)`,
        section: '7',
      });
      const first = Math.max(firstPfn, this.#runs.first(run));
      yield* this.#part(batch, first, this.#runs.end(run), batchPages, scratch, this.#classes[tag]);
    }
  }

  /** The pages of a record from `first` to before `end`. */
  *#part(
    batch: RamBatch,
    first: number,
    end: number,
    batchPages: number,
    scratch: Uint8Array,
    pageClass: number,
  ): Generator<MemoryBatch> {
    for (const run of batch.runs(scratch)) {
      const from = Math.max(first, run.firstPfn);
      const to = Math.min(end, run.firstPfn + run.pages);
      for (let at = from; at < to; at += batchPages) {
        const pages = Math.min(batchPages, to - at);
        const start = run.at + (at - run.firstPfn) * this.pageSize;
        const bytes =
          run.source === null
            ? new Uint8Array(pages * this.pageSize)
            : run.source.subarray(start, start + pages * this.pageSize);
        yield { firstPfn: at, pages, pageClass, bytes };
      }
    }
  }
}
