/**
 * The page tables of PV guests, walked at the end of an image (spec/foreign/xen-libxc.md 11.6): what a table leads to
 * must be there. A table that was lost when it was saved is found by nothing else: Xen restores an empty page for it.
 */
import type { VcpuStateEvent, PagesEvent } from '../model/event.ts';
import type { ImageFinding } from '../model/reader.ts';
import { decodePvVcpu } from '../../foreign/xen-libxc/pv-vcpu.ts';
import { TransmigrateError } from '../../errors.ts';
import { PAGE_CLASS } from '../../stream/page-class.ts';

/** Pages of guests whose tables are walked: 256 GiB. A byte is kept for each, in chunks. */
const PFNS_MOST = 2 ** 26;
const CHUNK_SHIFT = 12;
const CHUNK_PAGES = 2 ** CHUNK_SHIFT;
/** Tables of level 2 and above that are kept: 128 MiB. */
const TABLES_MOST = 32_768;
/** What goes wrong that is named one by one. */
const NAMED_MOST = 8;
/** vCPUs whose registers are kept: as many as an image of ours may have (stream 8.1). */
const VCPUS_MOST = 8192;

const TABLE_BYTES = 4096;
const PRESENT = 1;
/** In an entry of level 2 or 3: it maps a large page, and leads to no table. */
const LARGE = 0x80;
/** No record named the page. */
const UNNAMED = 0xff;

/** Level of the page table that a page of this class is, 1 to 4; 0: it is none (stream 7.1). */
export function tableLevel(pageClass: number): number {
  const level = pageClass & 7;
  return (pageClass < 8 || (pageClass & 8) !== 0) && pageClass < 13 && level <= 4 ? level : 0;
}

/** An entry that leads where it must not. */
type Fault = { readonly table: number; readonly level: number; readonly entry: number; readonly pfn: number };

/** Pages that a vCPU names. */
interface VcpuPages {
  readonly tops: readonly (readonly [register: string, pfn: number])[];
  readonly gdt: readonly number[];
  readonly startInfo: number;
}

/** Descriptors in a page of the GDT. */
const DESCRIPTORS = 512;

/** Keeps what the walk needs, as it passes by. */
export class PageTableWalk {
  readonly #levels: 3 | 4;
  /** Of so many pages each; only of what was named. */
  readonly #classes: (Uint8Array | undefined)[] = [];
  readonly #tables = new Map<number, Uint8Array>();
  readonly #vcpus = new Map<number, VcpuPages>();
  readonly #findings: ImageFinding[] = [];
  #overflow: { readonly what: string; readonly limit: number } | undefined;

  /** @param wordBits of the guest. */
  constructor(wordBits: 32 | 64) {
    this.#levels = wordBits === 32 ? 3 : 4;
  }

  /** Takes pages in; of tables of level 2 and above a copy. */
  pages(event: PagesEvent): void {
    for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
      if (this.#overflow !== undefined) continue;
      if (firstPfn + pages > PFNS_MOST) {
        // A page without content, high up, is no memory.
        if (source === null && pageClass >= PAGE_CLASS.notPresent) continue;
        this.#overflow = { what: 'pages', limit: PFNS_MOST };
        this.#tables.clear();
        continue;
      }
      this.#classify(firstPfn, pages, pageClass);
      if (tableLevel(pageClass) < 2) continue;
      for (let page = 0; page < pages; page++) {
        this.#table(firstPfn + page, source, at + page * TABLE_BYTES);
      }
    }
  }

  /** The basic state of a vCPU of a PV guest (foreign/xen-libxc 7.1). */
  vcpu(event: VcpuStateEvent, little: boolean): void {
    if (event.vcpu >= VCPUS_MOST) return;
    const path = `vcpu ${event.vcpu}`;
    try {
      const place = { offset: 0, path, section: 'foreign/xen-libxc 7.1' };
      const { gdt, registers, width, cr3Pfn, userCr3Pfn } = decodePvVcpu(event.content, place, little);
      const frames = Math.min(gdt.frames.length, Math.ceil(Number(gdt.entries & 0xffffn) / DESCRIPTORS));
      this.#vcpus.set(event.vcpu, {
        tops: [['cr3', cr3Pfn], ...(userCr3Pfn === null ? [] : ([['cr1', userCr3Pfn]] as const))],
        gdt: gdt.frames.slice(0, frames).map(Number),
        startInfo: Number((registers.rdx ?? 0n) & (width === 4 ? 0xffff_ffffn : 0xf_ffff_ffff_ffffn)),
      });
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      this.#say('VCPU_CONTEXT', 'broken', 'the state of a vCPU is of no PV guest', path, { vcpu: event.vcpu });
    }
  }

  /** Whether a vCPU came. */
  get hasVcpus(): boolean {
    return this.#vcpus.size > 0;
  }

  /** Walks from all roots. To be called once, at the end. */
  findings(): readonly ImageFinding[] {
    if (this.#overflow !== undefined) {
      const { what, limit } = this.#overflow;
      const message = `the page tables were not walked: there are more than ${limit} ${what}`;
      this.#say('PAGE_TABLES_NOT_WALKED', 'warning', message, 'memory', { limit });
      return this.#findings;
    }
    const lost: Fault[] = [];
    const others: Fault[] = [];
    let [lostCount, otherCount] = [0, 0];
    for (const fault of this.#walk(this.#roots())) {
      if (this.#hasData(fault.pfn)) {
        if (otherCount++ < NAMED_MOST) others.push(fault);
      } else if (lostCount++ < NAMED_MOST) lost.push(fault);
    }
    if (lostCount > 0) this.#sayFaults('PAGE_TABLE_LOST', 'to pages that are not in the image', lost, lostCount);
    if (otherCount > 0) this.#sayFaults('PAGE_TABLE_CLASS', 'to pages that are no such tables', others, otherCount);
    return this.#findings;
  }

  /** Where the walk begins: what vCPUs run on, and what is pinned. Xen refuses a vCPU whose table is none. */
  #roots(): Map<number, number> {
    const roots = new Map<number, number>();
    for (const [vcpu, context] of this.#vcpus) {
      for (const [register, pfn] of context.tops) {
        if (tableLevel(this.#class(pfn)) === this.#levels) roots.set(pfn, this.#levels);
        else {
          const message = `the page table that ${register} of vCPU ${vcpu} names is no top page table of the image`;
          this.#say('VCPU_PAGE_TABLE', 'broken', message, `vcpu ${vcpu}/${register}`, { vcpu, register, pfn });
        }
      }
      this.#checkFrames(vcpu, context);
    }
    for (const pfn of this.#tables.keys()) {
      const pageClass = this.#class(pfn);
      if (pageClass >= PAGE_CLASS.pinned2 && pageClass <= PAGE_CLASS.pinned4) roots.set(pfn, tableLevel(pageClass));
    }
    return roots;
  }

  /** What else of a vCPU Xen looks up: the pages of its GDT, and the start info of the first. */
  #checkFrames(vcpu: number, { gdt, startInfo }: VcpuPages): void {
    for (const [i, pfn] of gdt.entries()) {
      if (this.#class(pfn) === PAGE_CLASS.ordinary) continue;
      const message = `a page of the GDT of vCPU ${vcpu} is no ordinary page of the image`;
      this.#say('VCPU_GDT', 'broken', message, `vcpu ${vcpu}/gdt_frames[${i}]`, { vcpu, frame: i, pfn });
      return;
    }
    if (vcpu === 0 && this.#class(startInfo) !== PAGE_CLASS.ordinary) {
      const message = 'the start info, which rdx of vCPU 0 names, is no ordinary page of the image';
      this.#say('START_INFO', 'broken', message, 'vcpu 0/rdx', { pfn: startInfo });
    }
  }

  *#walk(roots: ReadonlyMap<number, number>): Generator<Fault> {
    const seen = new Set<number>(roots.keys());
    const open = [...roots].map(([pfn, level]) => ({ pfn, level }));
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { pfn: table, level } = next;
      // A table of which there is no copy is all zero.
      const bytes = this.#tables.get(table);
      if (bytes === undefined) continue;
      const view = new DataView(bytes.buffer, bytes.byteOffset, TABLE_BYTES);
      // The top table of a 32-bit guest has four entries.
      const entries = this.#levels === 3 && level === 3 ? 4 : TABLE_BYTES / 8;
      for (let entry = 0; entry < entries; entry++) {
        const low = view.getUint32(8 * entry, true);
        if ((low & PRESENT) === 0 || (level < 4 && (low & LARGE) !== 0)) continue;
        const pfn = (low >>> 12) + (view.getUint32(8 * entry + 4, true) & 0xf_ffff) * 2 ** 20;
        const found = tableLevel(this.#class(pfn));
        if (found === level - 1) {
          if (found < 2 || seen.has(pfn)) continue;
          seen.add(pfn);
          open.push({ pfn, level: found });
        } else if (found !== level) {
          // A table that leads to one of its own level shows the guest its tables as memory.
          yield { table, level, entry, pfn };
        }
      }
    }
  }

  #sayFaults(code: string, where: string, faults: readonly Fault[], count: number): void {
    const [{ table, level, entry, pfn }] = faults;
    const hex = (value: number): string => `0x${value.toString(16)}`;
    const first = `entry ${entry} of the table of level ${level} in page ${hex(table)}, to page ${hex(pfn)}`;
    const message =
      count === 1
        ? `an entry of the page tables leads ${where}: ${first}`
        : `${count} entries of the page tables lead ${where}; the first: ${first}`;
    const next =
      'The guest will fail where it uses that memory, although it restores: save it again, if it still runs.';
    this.#say(code, 'warning', message, `page ${hex(table)}/entry ${entry}`, { count, entries: [...faults] }, next);
  }

  #say(
    code: string,
    level: ImageFinding['level'],
    message: string,
    path: string,
    data: ImageFinding['data'],
    next?: string,
  ): void {
    const section = 'foreign/xen-libxc 11.6';
    this.#findings.push({
      code,
      level,
      message,
      offset: null,
      path,
      section,
      data,
      ...(next !== undefined && { next }),
    });
  }

  #class(pfn: number): number {
    if (pfn >= PFNS_MOST) return UNNAMED;
    return this.#classes[pfn >>> CHUNK_SHIFT]?.[pfn & (CHUNK_PAGES - 1)] ?? UNNAMED;
  }

  #hasData(pfn: number): boolean {
    return this.#class(pfn) < PAGE_CLASS.notPresent;
  }

  #classify(firstPfn: number, pages: number, pageClass: number): void {
    for (let first = firstPfn, end = firstPfn + pages; first < end;) {
      const chunk = first >>> CHUNK_SHIFT;
      const last = Math.min(end, (chunk + 1) * CHUNK_PAGES);
      const classes = (this.#classes[chunk] ??= new Uint8Array(CHUNK_PAGES).fill(UNNAMED));
      classes.fill(pageClass, first - chunk * CHUNK_PAGES, last - chunk * CHUNK_PAGES);
      first = last;
    }
  }

  /** @param source null: it is all zero. */
  #table(pfn: number, source: Uint8Array | null, at: number): void {
    if (source === null) {
      this.#tables.delete(pfn);
      return;
    }
    const known = this.#tables.get(pfn);
    if (known !== undefined) {
      known.set(source.subarray(at, at + TABLE_BYTES));
    } else if (this.#tables.size < TABLES_MOST) {
      this.#tables.set(pfn, source.slice(at, at + TABLE_BYTES));
    } else {
      this.#overflow = { what: 'page tables', limit: TABLES_MOST };
      this.#tables.clear();
    }
  }
}
