import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { hasData } from '../../stream/records/ram.ts';
import { ExtentLog } from '../extent-log.ts';
import type { PagesEvent } from '../model/event.ts';
import { LastRuns } from './last-runs.ts';
import type { AbsentRun, ImageMemory, MemoryBatch, PageContent } from './opened-image.ts';

/** Pages of a batch, when the caller names no number: 1 MiB. */
const BATCH_PAGES = 256;

/**
 * What a tag of {@link DirectMemoryBuilder} stands for: pages that stand in order, where one of them stands, and their
 * class. Where pfn 0 would stand is not kept: a pfn of 52 bits times the size of a page is no exact number.
 */
interface Places {
  readonly firsts: number[];
  /** Byte of the image where the page `firsts` stands; NaN: zero, or without content. */
  readonly offsets: number[];
  readonly classes: number[];
}

/** Gathers where the last copy of each page stands in an image whose pages stand in it as they are. */
export class DirectMemoryBuilder {
  readonly #pageSize: number;
  readonly #log = new ExtentLog();
  readonly #places: Places = { firsts: [], offsets: [], classes: [] };

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Takes pages in. They must stand in the image as they are. */
  add(event: PagesEvent): void {
    for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
      const offset = source === null ? NaN : event.bytesOffset + at;
      this.#log.add(firstPfn, pages, hasData(pageClass), this.#tag(firstPfn, offset, pageClass));
    }
  }

  /** @param random the image. */
  done(random: RandomAccess): ImageMemory {
    return new DirectMemory(random, this.#pageSize, new LastRuns(this.#log), this.#places);
  }

  /** Pages that go on where the last ones ended have their tag too: an image in order has a handful. */
  #tag(first: number, offset: number, pageClass: number): number {
    const { firsts, offsets, classes } = this.#places;
    const last = classes.length - 1;
    if (last >= 0 && classes[last] === pageClass) {
      const expected = offsets[last] + (first - firsts[last]) * this.#pageSize;
      if (Object.is(expected, offset)) return last;
    }
    firsts.push(first);
    offsets.push(offset);
    classes.push(pageClass);
    return last + 1;
  }
}

/** Memory whose pages are read from where they stand in the image. */
class DirectMemory implements ImageMemory {
  readonly pageSize: number;
  readonly #random: RandomAccess;
  readonly #runs: LastRuns;
  readonly #places: Places;

  constructor(random: RandomAccess, pageSize: number, runs: LastRuns, places: Places) {
    this.#random = random;
    this.pageSize = pageSize;
    this.#runs = runs;
    this.#places = places;
  }

  get pages(): number {
    return this.#runs.pages;
  }

  get pfnEnd(): number {
    return this.#runs.pfnEnd;
  }

  pageClass(pfn: number): number | undefined {
    const run = this.#runs.find(pfn);
    return run < 0 ? undefined : this.#places.classes[this.#runs.tag(run)];
  }

  absent(): Iterable<AbsentRun> {
    return this.#runs.absent(this.#places.classes);
  }

  async readPage(pfn: number, into: Uint8Array): Promise<PageContent> {
    const page = into.subarray(0, this.pageSize);
    const run = this.#runs.find(pfn);
    if (run < 0 || !this.#runs.present(run)) {
      page.fill(0);
      return 'absent';
    }
    const offset = this.#offsetOf(this.#runs.tag(run), pfn);
    if (Number.isNaN(offset)) {
      page.fill(0);
      return 'zero';
    }
    await this.#read(offset, page);
    return 'data';
  }

  async *batches({ firstPfn = 0, batchPages = BATCH_PAGES } = {}): AsyncGenerator<MemoryBatch> {
    const buffer = new Uint8Array(batchPages * this.pageSize);
    for (let run = this.#runs.after(firstPfn); run < this.#runs.length; run++) {
      if (!this.#runs.present(run)) continue;
      const tag = this.#runs.tag(run);
      const pageClass = this.#places.classes[tag];
      const end = this.#runs.end(run);
      for (let first = Math.max(firstPfn, this.#runs.first(run)); first < end; first += batchPages) {
        const pages = Math.min(batchPages, end - first);
        const bytes = buffer.subarray(0, pages * this.pageSize);
        const offset = this.#offsetOf(tag, first);
        if (Number.isNaN(offset)) bytes.fill(0);
        else await this.#read(offset, bytes);
        yield { firstPfn: first, pages, pageClass, bytes };
      }
    }
  }

  /** Where a page stands; NaN for zeros. */
  #offsetOf(tag: number, pfn: number): number {
    const { firsts, offsets } = this.#places;
    return offsets[tag] + (pfn - firsts[tag]) * this.pageSize;
  }

  async #read(offset: number, into: Uint8Array): Promise<void> {
    const found = await this.#random.readAt(offset, into);
    if (found === into.byteLength) return;
    throw new TransmigrateError('TRUNCATED', `${this.#random.name} has become shorter while it was read`, {
      offset: offset + found,
      path: 'memory',
    });
  }
}
