import { PAGE_TYPE, XEN_PAGE_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import { pageTypeHasData, type PageBatch } from '../../../foreign/xen-libxc/pages.ts';
import { PAGE_CLASS } from '../../../stream/page-class.ts';
import type { PageRun } from '../../../stream/records/ram.ts';

/** Classes of pages without data, by Xen's type (stream 7.1, foreign/xen-libxc 4). Those with data are the same. */
const CLASS_OF: Readonly<Record<number, number>> = {
  [PAGE_TYPE.broken]: PAGE_CLASS.broken,
  [PAGE_TYPE.allocateOnly]: PAGE_CLASS.allocated,
  [PAGE_TYPE.invalid]: PAGE_CLASS.notPresent,
};

/** The class of a page of Xen's type. */
export function classOfType(type: number): number {
  return CLASS_OF[type] ?? type;
}

/** Xen's type for a class; a page that the guest gave back is one that is not there. */
export function typeOfClass(pageClass: number): number {
  if (pageClass < 0x80) return pageClass;
  if (pageClass === PAGE_CLASS.broken) return PAGE_TYPE.broken;
  return pageClass === PAGE_CLASS.allocated ? PAGE_TYPE.allocateOnly : PAGE_TYPE.invalid;
}

/** A part of a PAGE_DATA record as runs: neighbours of one type. */
export function* pageRuns(batch: PageBatch): Generator<PageRun> {
  const run: PageRun = { firstPfn: 0, pages: 0, pageClass: 0, source: null, at: 0 };
  const { words, end, bytes } = batch;
  let at = 0;
  for (let entry = batch.first; entry < end;) {
    const high = words[2 * entry + 1];
    const low = words[2 * entry];
    let pages = 1;
    // Reserved bits are part of what is compared: an entry that has some stands alone.
    while (
      entry + pages < end &&
      words[2 * (entry + pages) + 1] === high &&
      words[2 * (entry + pages)] === low + pages
    ) {
      pages++;
    }
    const type = high >>> 28;
    run.firstPfn = (high & 0xf_ffff) * 4_294_967_296 + low;
    run.pages = pages;
    run.pageClass = CLASS_OF[type] ?? type;
    run.source = null;
    if (pageTypeHasData(type)) {
      run.source = bytes;
      run.at = at;
      at += pages * XEN_PAGE_BYTES;
    }
    yield run;
    entry += pages;
  }
}
