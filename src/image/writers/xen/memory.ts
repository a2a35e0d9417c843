import { PAGE_TYPE, XEN_PAGE_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import { setEntry } from '../../../foreign/xen-libxc/pages.ts';
import type { LibxcWriter } from '../../../foreign/xen-libxc/writer.ts';
import type { ImageMemory } from '../../open/opened-image.ts';
import { typeOfClass } from '../../readers/xen/page-runs.ts';

/** Entries of a PAGE_DATA record that a writer makes (foreign/xen-libxc 4). */
export const BATCH_ENTRIES = 1024;

/** Makes PAGE_DATA records of pages in ascending pfn (foreign/xen-libxc 12.2). */
export class PageDataMaker {
  readonly #writer: LibxcWriter;
  readonly #flush: () => Promise<void>;
  readonly #words = new Uint32Array(2 * BATCH_ENTRIES);
  readonly #bytes = new Uint8Array(BATCH_ENTRIES * XEN_PAGE_BYTES);
  #count = 0;
  #used = 0;

  /** @param flush waits until the sink has what was written: it is called after each record. */
  constructor(writer: LibxcWriter, flush: () => Promise<void>) {
    this.#writer = writer;
    this.#flush = flush;
  }

  /**
   * Writes all of a guest's memory.
   * @param listedTo up to this pfn also pages that are not there are listed, which says nothing to Xen's restorer; what
   * is to be allocated or is broken always is. @returns pages with content
   */
  async write(memory: ImageMemory, listedTo: number, onPages: (done: number) => void): Promise<number> {
    const absent = memory.absent()[Symbol.iterator]();
    let next = absent.next();
    let pages = 0;
    for await (const batch of memory.batches({ batchPages: 256 })) {
      for (; next.done !== true && next.value.firstPfn < batch.firstPfn; next = absent.next()) {
        await this.#absent(next.value.firstPfn, next.value.pages, next.value.pageClass, listedTo);
      }
      await this.#present(batch.firstPfn, batch.pages, batch.pageClass, batch.bytes);
      pages += batch.pages;
      onPages(pages);
    }
    for (; next.done !== true; next = absent.next()) {
      await this.#absent(next.value.firstPfn, next.value.pages, next.value.pageClass, listedTo);
    }
    await this.#record();
    return pages;
  }

  async #present(first: number, pages: number, pageClass: number, bytes: Uint8Array): Promise<void> {
    const type = typeOfClass(pageClass);
    for (let done = 0; done < pages;) {
      const now = Math.min(pages - done, BATCH_ENTRIES - this.#count);
      this.#bytes.set(bytes.subarray(done * XEN_PAGE_BYTES, (done + now) * XEN_PAGE_BYTES), this.#used);
      this.#used += now * XEN_PAGE_BYTES;
      this.#entries(first + done, now, type);
      done += now;
      if (this.#count === BATCH_ENTRIES) await this.#record();
    }
  }

  async #absent(first: number, pages: number, pageClass: number, listedTo: number): Promise<void> {
    const type = typeOfClass(pageClass);
    const listed = type === PAGE_TYPE.invalid ? Math.min(pages, listedTo + 1 - first) : pages;
    for (let done = 0; done < listed;) {
      const now = Math.min(listed - done, BATCH_ENTRIES - this.#count);
      this.#entries(first + done, now, type);
      done += now;
      if (this.#count === BATCH_ENTRIES) await this.#record();
    }
  }

  #entries(first: number, pages: number, type: number): void {
    for (let page = 0; page < pages; page++) setEntry(this.#words, this.#count++, first + page, type);
  }

  async #record(): Promise<void> {
    if (this.#count === 0) return;
    this.#writer.pageEntries(this.#words, this.#count);
    this.#writer.pages(this.#bytes.subarray(0, this.#used));
    this.#count = 0;
    this.#used = 0;
    await this.#flush();
  }
}
