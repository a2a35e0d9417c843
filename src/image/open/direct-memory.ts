import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { hasData } from '../../stream/records/ram.ts';
import { ExtentLog } from '../extent-log.ts';
import type { PagesEvent } from '../model/event.ts';
import { LastRuns } from './last-runs.ts';
import type { AbsentRun, ImageMemory, MemoryBatch, PageContent } from './opened-image.ts';

/** Pages of a batch, when the caller names no number: 1 MiB. */
const BATCH_PAGES = 256;

/** What a tag of {@link DirectMemoryBuilder} stands for: where page 0 of its pages would be, and their class. */
interface Places {
  /** Byte of the image where pfn 0 would stand, if all pages stood in order; NaN: zero, or without content. */
  readonly bases: number[];
  readonly classes: number[];
}

/** Gathers where the last copy of each page stands in an image whose pages stand in it as they are. */
export class DirectMemoryBuilder {
  readonly #pageSize: number;
  readonly #log = new ExtentLog();
  readonly #places: Places = { bases: [], classes: [] };

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Takes pages in. They must stand in the image as they are. */
  add(event: PagesEvent): void {
    for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
      const base = source === null ? NaN : event.bytesOffset + at - firstPfn * this.#pageSize;
      this.#log.add(firstPfn, pages, hasData(pageClass), this.#tag(base, pageClass));
    }
  }

  /** @param random the image. */
  done(random: RandomAccess): ImageMemory {
    return new DirectMemory(random, this.#pageSize, new LastRuns(this.#log), this.#places);
  }

  /** Pages that go on where the last ones ended have their tag too: an image in order has a handful. */
  #tag(base: number, pageClass: number): number {
    const { bases, classes } = this.#places;
    const last = bases.length - 1;
    if (last >= 0 && Object.is(bases[last], base) && classes[last] === pageClass) return last;
    bases.push(base);
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
    const base = this.#places.bases[this.#runs.tag(run)];
    if (Number.isNaN(base)) {
      page.fill(0);
      return 'zero';
    }
    await this.#read(base + pfn * this.pageSize, page);
    return 'data';
  }

  async *batches({ firstPfn = 0, batchPages = BATCH_PAGES } = {}): AsyncGenerator<MemoryBatch> {
    const buffer = new Uint8Array(batchPages * this.pageSize);
    for (let run = this.#runs.after(firstPfn); run < this.#runs.length; run++) {
      if (!this.#runs.present(run)) continue;
      const tag = this.#runs.tag(run);
      const [base, pageClass] = [this.#places.bases[tag], this.#places.classes[tag]];
      const end = this.#runs.end(run);
      for (let first = Math.max(firstPfn, this.#runs.first(run)); first < end; first += batchPages) {
        const pages = Math.min(batchPages, end - first);
        const bytes = buffer.subarray(0, pages * this.pageSize);
        if (Number.isNaN(base)) bytes.fill(0);
        else await this.#read(base + first * this.pageSize, bytes);
        yield { firstPfn: first, pages, pageClass, bytes };
      }
    }
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
