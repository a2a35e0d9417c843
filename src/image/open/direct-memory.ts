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

/** What a tag of {@link DirectMemoryBuilder} stands for: where page 0 of its pages would be, and their class. */
interface Places {
  /** Byte of the image where pfn 0 would stand, if all pages stood in order; NaN: zero, without content, or held. */
  readonly bases: number[];
  readonly classes: number[];
  /** Pages that are held, by tag, and the pfn of the first of them. */
  readonly held: Map<number, { readonly firstPfn: number; readonly bytes: Uint8Array }>;
}

/** Gathers where the last copy of each page stands in an image whose pages stand in it as they are. */
export class DirectMemoryBuilder {
  readonly #pageSize: number;
  readonly #log = new ExtentLog();
  readonly #places: Places = { bases: [], classes: [], held: new Map() };
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
      const base = source === null ? NaN : event.bytesOffset + at - firstPfn * this.#pageSize;
      this.#log.add(firstPfn, pages, hasData(pageClass), this.#tag(base, pageClass));
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
    const { bases, classes, held } = this.#places;
    held.set(bases.length, { firstPfn, bytes });
    this.#log.add(firstPfn, pages, hasData(pageClass), bases.length);
    bases.push(NaN);
    classes.push(pageClass);
  }

  /** Pages that go on where the last ones ended have their tag too: an image in order has a handful. */
  #tag(base: number, pageClass: number): number {
    const { bases, classes } = this.#places;
    const last = bases.length - 1;
    const isSame = last >= 0 && Object.is(bases[last], base) && classes[last] === pageClass;
    if (isSame && !this.#places.held.has(last)) return last;
    bases.push(base);
    classes.push(pageClass);
    return last + 1;
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
    const base = this.#places.bases[tag];
    if (Number.isNaN(base)) return this.#withoutPlace(tag, pfn, page) ? 'data' : 'zero';
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
        if (Number.isNaN(base)) this.#withoutPlace(tag, first, bytes);
        else await this.#read(base + first * this.pageSize, bytes);
        yield { firstPfn: first, pages, pageClass, bytes };
      }
    }
  }

  /** Pages that are held, or zeros. @returns whether they are held */
  #withoutPlace(tag: number, firstPfn: number, into: Uint8Array): boolean {
    const held = this.#places.held.get(tag);
    const at = held === undefined ? 0 : (firstPfn - held.firstPfn) * this.pageSize;
    if (held === undefined) into.fill(0);
    else into.set(held.bytes.subarray(at, at + into.byteLength));
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
