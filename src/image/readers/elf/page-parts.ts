/** Memory of a core with program headers as whole pages (spec/foreign/elf.md 5.1.1). */
import type { MemoryRange } from '../../../foreign/elf/program-core.ts';

/** Pages that stand whole in the file, one after the other. */
export interface FilePages {
  readonly firstPfn: number;
  readonly pages: number;
  readonly offset: number;
}

/** A page of which only parts stand in the file; the rest of it is zero. */
export interface JoinedPage {
  readonly pfn: number;
  readonly parts: readonly { readonly at: number; readonly offset: number; readonly bytes: number }[];
}

export interface PageParts {
  /** In the order of the file. */
  readonly file: readonly FilePages[];
  /** All zero, by pfn. */
  readonly zero: readonly { readonly firstPfn: number; readonly pages: number }[];
  readonly joined: readonly JoinedPage[];
  /** Pages of which the core has only a part, the rest is not known. */
  readonly partial: readonly { readonly pfn: number; readonly bytes: number; readonly offset: number }[];
}

interface Open {
  pfn: number;
  known: number;
  offset: number;
  parts: { at: number; offset: number; bytes: number }[];
}

/**
 * Divides ranges into pages.
 * @param ranges by address, none overlapping another: of {@link rangesApart}.
 */
export function pageParts(ranges: readonly MemoryRange[], pageBytes: number): PageParts {
  const file: FilePages[] = [];
  const zero: { firstPfn: number; pages: number }[] = [];
  const joined: JoinedPage[] = [];
  const partial: { pfn: number; bytes: number; offset: number }[] = [];
  let open: Open | undefined;
  const close = (): void => {
    if (open === undefined) return;
    const { pfn, known, offset, parts } = open;
    if (known < pageBytes) partial.push({ pfn, bytes: known, offset });
    else if (parts.length === 0) addZero(zero, pfn, 1);
    else joined.push({ pfn, parts });
    open = undefined;
  };
  for (const range of ranges) {
    const end = range.physical + range.memoryBytes;
    for (let at = range.physical; at < end;) {
      const pfn = Math.floor(at / pageBytes);
      const inside = at - range.physical;
      const stored = Math.max(0, range.fileBytes - inside);
      const whole =
        at % pageBytes === 0 ? Math.floor(Math.min(end - at, stored === 0 ? Infinity : stored) / pageBytes) : 0;
      if (whole > 0) {
        close();
        if (stored > 0) file.push({ firstPfn: pfn, pages: whole, offset: range.offset + inside });
        else addZero(zero, pfn, whole);
        at += whole * pageBytes;
        continue;
      }
      // A part of a page: with its neighbours it may become a whole one.
      if (open !== undefined && open.pfn !== pfn) close();
      open ??= { pfn, known: 0, offset: range.offset + Math.min(inside, range.fileBytes), parts: [] };
      const bytes = Math.min((pfn + 1) * pageBytes, end) - at;
      const fromFile = Math.min(bytes, stored);
      if (fromFile > 0) open.parts.push({ at: at - pfn * pageBytes, offset: range.offset + inside, bytes: fromFile });
      open.known += bytes;
      at += bytes;
    }
  }
  close();
  return { file: file.toSorted((a, b) => a.offset - b.offset || a.firstPfn - b.firstPfn), zero, joined, partial };
}

function addZero(zero: { firstPfn: number; pages: number }[], firstPfn: number, pages: number): void {
  const last = zero.at(-1);
  if (last !== undefined && last.firstPfn + last.pages === firstPfn) last.pages += pages;
  else zero.push({ firstPfn, pages });
}
