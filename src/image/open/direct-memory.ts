import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { hasData } from '../../stream/records/ram.ts';
import { ExtentLog } from '../extent-log.ts';
import type { PagesEvent } from '../model/event.ts';
import { LastRuns } from './last-runs.ts';
import type { AbsentRun, ImageMemory, MemoryBatch, PageContent } from './opened-image.ts';

/** Pages of a batch, when the caller names no number: 1 MiB. */
const BATCH_PAGES = 256;

/** Most bytes of pages that stand nowhere in the image as they are, and are held: parts of pages put together. */
const HELD_BYTES = 64 * 1024 * 1024;

/**
 * What a tag of {@link DirectMemoryBuilder} stands for: pages that stand in order, where one of them stands, and their
 * class. Where pfn 0 would stand is not kept: a pfn of 52 bits times the size of a page is no exact number.
 */
interface Places {
  readonly firsts: number[];
  /** Byte of the image where the page `firsts` stands; NaN: zero, without content, or held. */
  readonly offsets: number[];
  readonly classes: number[];
  /** Pages that are held, by tag. */
  readonly held: Map<number, Uint8Array>;
}

/** Gathers where the last copy of each page stands in an image whose pages stand in it as they are. */
export class DirectMemoryBuilder {
  readonly #pageSize: number;
  readonly #log = new ExtentLog();
  readonly #places: Places = { firsts: [], offsets: [], classes: [], held: new Map() };
  #heldBytes = 0;

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Takes pages in. What does not stand in the image as it is, is copied. @throws LIMIT_EXCEEDED */
  add(event: PagesEvent): void {
    for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
      if (source !== null && event.bytesOffset < 0) {
        this.#hold(firstPfn, pages, pageClass, source.slice(at, at + pages * this.#pageSize));
        continue;
      }
      const offset = source === null ? NaN : event.bytesOffset + at;
      this.#log.add(firstPfn, pages, hasData(pageClass), this.#tag(firstPfn, offset, pageClass));
    }
  }

  /** @param random the image. @param pfnOfFrame see {@link ImageMemory.pfnOfFrame}. */
  done(random: RandomAccess, pfnOfFrame?: (frame: number) => number): ImageMemory {
    return new DirectMemory(random, this.#pageSize, new LastRuns(this.#log), this.#places, pfnOfFrame);
  }

  #hold(firstPfn: number, pages: number, pageClass: number, bytes: Uint8Array): void {
    this.#heldBytes += bytes.byteLength;
    if (this.#heldBytes > HELD_BYTES) {
      throw new TransmigrateError('LIMIT_EXCEEDED', 'Too many pages are put together from parts of the image', {
        path: `page ${firstPfn}`,
        section: 'foreign/model 4',
        data: { bytes: this.#heldBytes, limit: HELD_BYTES },
      });
    }
    const { held, classes } = this.#places;
    held.set(classes.length, bytes);
    this.#log.add(firstPfn, pages, hasData(pageClass), this.#place(firstPfn, NaN, pageClass));
  }

  /** Pages that go on where the last ones ended have their tag too: an image in order has a handful. */
  #tag(first: number, offset: number, pageClass: number): number {
    const { firsts, offsets, classes, held } = this.#places;
    const last = classes.length - 1;
    if (last >= 0 && classes[last] === pageClass && !held.has(last)) {
      const expected = offsets[last] + (first - firsts[last]) * this.#pageSize;
      if (Object.is(expected, offset)) return last;
    }
    return this.#place(first, offset, pageClass);
  }

  #place(first: number, offset: number, pageClass: number): number {
    const { firsts, offsets, classes } = this.#places;
    firsts.push(first);
    offsets.push(offset);
    return classes.push(pageClass) - 1;
  }
}

/** Memory whose pages are read from where they stand in the image. */
class DirectMemory implements ImageMemory {
  readonly pageSize: number;
  readonly pfnOfFrame: ((frame: number) => number) | undefined;
  readonly #random: RandomAccess;
  readonly #runs: LastRuns;
  readonly #places: Places;

  constructor(
    random: RandomAccess,
    pageSize: number,
    runs: LastRuns,
    places: Places,
    pfnOfFrame: ((frame: number) => number) | undefined,
  ) {
    this.#random = random;
    this.pageSize = pageSize;
    this.#runs = runs;
    this.#places = places;
    this.pfnOfFrame = pfnOfFrame;
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
    const tag = this.#runs.tag(run);
    const offset = this.#offsetOf(tag, pfn);
    if (Number.isNaN(offset)) return this.#withoutPlace(tag, pfn, page) ? 'data' : 'zero';
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
        if (Number.isNaN(offset)) this.#withoutPlace(tag, first, bytes);
        else await this.#read(offset, bytes);
        yield { firstPfn: first, pages, pageClass, bytes };
      }
    }
  }

  /** Where a page stands; NaN for one that stands nowhere. */
  #offsetOf(tag: number, pfn: number): number {
    const { firsts, offsets } = this.#places;
    return offsets[tag] + (pfn - firsts[tag]) * this.pageSize;
  }

  /** Pages that are held, or zeros. @returns whether they are held */
  #withoutPlace(tag: number, firstPfn: number, into: Uint8Array): boolean {
    const held = this.#places.held.get(tag);
    const at = (firstPfn - this.#places.firsts[tag]) * this.pageSize;
    if (held === undefined) into.fill(0);
    else into.set(held.subarray(at, at + into.byteLength));
    return held !== undefined;
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
