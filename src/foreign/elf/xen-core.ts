/** Reading what `xl dump-core` writes (spec/foreign/elf.md, section 4). */
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { elfError } from './elf-error.ts';
import {
  ELF_LIMITS,
  readElfFile,
  readPart,
  readSectionNames,
  sectionName,
  type ElfFile,
  type ElfSection,
} from './elf-file.ts';
import { parseNotes, type ElfNote } from './note.ts';
import { parseXenNotes, XEN_SECTION, type XenNotes } from './xen-notes.ts';

export const XEN_CORE_LIMITS = {
  /** Bytes of a vCPU's context: 5,168 of a 64-bit toolstack, 2,800 of a 32-bit one. */
  vcpuBytes: 65_536,
  vcpus: 8192,
  sharedInfoBytes: 65_536,
} as const;

/** Entries that are read at once where the table is searched. */
const TABLE_PIECE = 8192;
/** A pfn that stands for no page (foreign/elf 4.3). In arrays of pfns it is -1. */
const INVALID_PFN = 0xffff_ffff_ffff_ffffn;

/** What one look through the table of pages finds. */
export interface TableSummary {
  /** Entries that stand for a page. */
  readonly valid: number;
  readonly invalid: number;
  /** Valid pfns only ever grow, so that a page can be found by halving. */
  readonly ascending: boolean;
  /** -1 when there is none. */
  readonly highestPfn: number;
}

/**
 * A core of Xen's own shape. Its memory does not grow with the file: tables and pages are read when they are asked
 * for.
 */
export class XenCore {
  readonly file: ElfFile;
  /** Names of the sections, by index. */
  readonly names: readonly string[];
  readonly notes: XenNotes;
  readonly allNotes: readonly ElfNote[];
  readonly vcpuCount: number;
  readonly vcpuBytes: number;
  /** `p2m` has the machine's frame beside each pfn, of a PV guest; `pfn` has not, of HVM and PVH. */
  readonly tableKind: 'p2m' | 'pfn';
  /** Entries of the table, and pages: some may stand for none. */
  readonly pageCount: number;
  readonly pageBytes: number;
  readonly #input: RandomAccess;
  readonly #vcpus: ElfSection | undefined;
  readonly #sharedInfo: ElfSection | undefined;
  readonly #pages: ElfSection;
  readonly #table: ElfSection;

  private constructor(input: RandomAccess, file: ElfFile, names: readonly string[], notes: readonly ElfNote[]) {
    this.#input = input;
    this.file = file;
    this.names = names;
    this.allNotes = notes;
    this.notes = parseXenNotes(notes, file.header);
    const find = (name: string): ElfSection | undefined => {
      const index = names.indexOf(name);
      if (index < 0) return undefined;
      if (names.includes(name, index + 1)) throw fault('DUPLICATE', `There are two sections ${name}`, file, name);
      const section = file.sections[index];
      if (section.offset + section.bytes > input.size) {
        const what = `${name} has ${section.bytes} bytes from ${section.offset}, and the file has ${input.size}`;
        throw fault('TRUNCATED', what, file, name, input.size);
      }
      return section;
    };
    const [p2m, pfn] = [find(XEN_SECTION.p2m), find(XEN_SECTION.pfn)];
    const pages = find(XEN_SECTION.pages);
    const table = p2m ?? pfn;
    if (pages === undefined || table === undefined || (p2m !== undefined && pfn !== undefined)) {
      const what = 'There is not one .xen_pages with one of .xen_p2m and .xen_pfn';
      throw fault('FIELD_VALUE', what, file, 'sections', file.header.sectionsAt);
    }
    this.#pages = pages;
    this.#table = table;
    this.tableKind = p2m === undefined ? 'pfn' : 'p2m';
    this.pageBytes = this.notes.header.pageBytes;
    this.pageCount = pages.bytes / this.pageBytes;
    const entries = table.bytes / this.#entryBytes;
    if (!Number.isInteger(this.pageCount) || entries !== this.pageCount) {
      const what = `.xen_pages has ${this.pageCount} pages, and the table ${entries} entries`;
      throw fault('LENGTH_MISMATCH', what, file, 'xen_pages', pages.offset);
    }
    this.#vcpus = find(XEN_SECTION.prstatus);
    this.vcpuBytes = this.#vcpus?.entryBytes ?? 0;
    this.vcpuCount = this.#vcpus === undefined ? 0 : this.#vcpus.bytes / Math.max(1, this.vcpuBytes);
    if (
      !Number.isInteger(this.vcpuCount) ||
      this.vcpuCount > XEN_CORE_LIMITS.vcpus ||
      this.vcpuBytes > XEN_CORE_LIMITS.vcpuBytes
    ) {
      const what = `.xen_prstatus has ${this.#vcpus!.bytes} bytes in contexts of ${this.vcpuBytes}`;
      throw fault('LENGTH_MISMATCH', what, file, 'xen_prstatus', this.#vcpus!.offset);
    }
    this.#sharedInfo = find(XEN_SECTION.sharedInfo);
    if ((this.#sharedInfo?.bytes ?? 0) > XEN_CORE_LIMITS.sharedInfoBytes) {
      throw fault('LIMIT_EXCEEDED', '.xen_shared_info is too long', file, 'xen_shared_info', this.#sharedInfo!.offset);
    }
  }

  /**
   * @param input is read later too; it stays the caller's.
   * @throws NOT_AN_IMAGE for another kind of file, TRUNCATED, FIELD_VALUE, LENGTH_MISMATCH, LIMIT_EXCEEDED, DUPLICATE.
   */
  static async open(input: RandomAccess): Promise<XenCore> {
    const file = await readElfFile(input);
    const table = await readSectionNames(input, file);
    const names = file.sections.map((section) => sectionName(section, table));
    const section = file.sections[names.indexOf(XEN_SECTION.notes)];
    if (section === undefined) throw fault('NOT_AN_IMAGE', 'There is no section .note.Xen', file, 'note.Xen', 0);
    if (section.bytes > ELF_LIMITS.noteBytes) {
      throw fault('LIMIT_EXCEEDED', `Notes of ${section.bytes} bytes`, file, 'note.Xen', section.offset);
    }
    const bytes = await readPart(input, section.offset, section.bytes, '.note.Xen', '3');
    return new XenCore(input, file, names, parseNotes(bytes, file.header, section.offset));
  }

  /** Where the pages stand in the file. */
  get pagesAt(): number {
    return this.#pages.offset;
  }

  /** Where the table of pages stands in the file, and how long it is. */
  get table(): { readonly offset: number; readonly bytes: number } {
    return this.#table;
  }

  /** Where the context of a vCPU stands in the file. */
  vcpuAt(index: number): number {
    return this.#vcpus!.offset + index * this.vcpuBytes;
  }

  /** The context of a vCPU as the hypervisor gave it. New memory. */
  async readVcpu(index: number): Promise<Uint8Array> {
    if (!(index >= 0 && index < this.vcpuCount)) throw new RangeError(`vCPU ${index} of ${this.vcpuCount}`);
    return readPart(this.#input, this.#vcpus!.offset + index * this.vcpuBytes, this.vcpuBytes, '.xen_prstatus', '4.2');
  }

  /** The shared info page; undefined when the core has none. New memory. */
  async readSharedInfo(): Promise<Uint8Array | undefined> {
    const section = this.#sharedInfo;
    return section && readPart(this.#input, section.offset, section.bytes, '.xen_shared_info', '4.2');
  }

  /**
   * Reads entries of the table from entry `first` on: pfns, where -1 stands for no page, and, where they are wanted
   * and there, the machine's frames. @returns how many were read.
   */
  async readTable(first: number, pfns: Float64Array, frames?: Float64Array): Promise<number> {
    const count = Math.max(0, Math.min(pfns.length, this.pageCount - first));
    const bytes = await readPart(
      this.#input,
      this.#table.offset + first * this.#entryBytes,
      count * this.#entryBytes,
      `.xen_${this.tableKind}`,
      '4.3',
    );
    const view = new DataView(bytes.buffer);
    const little = this.file.header.littleEndian;
    for (let i = 0; i < count; i++) {
      const at = i * this.#entryBytes;
      pfns[i] = this.#frameNumber(view, at, little, first + i);
      if (frames !== undefined)
        frames[i] = this.tableKind === 'p2m' ? this.#frameNumber(view, at + 8, little, first + i) : -1;
    }
    return count;
  }

  /** Reads the pages of entries from `first` on, as many as fill `into`. @returns how many pages. */
  async readPages(first: number, into: Uint8Array): Promise<number> {
    const count = Math.max(0, Math.min(Math.floor(into.byteLength / this.pageBytes), this.pageCount - first));
    const part = into.subarray(0, count * this.pageBytes);
    const offset = this.#pages.offset + first * this.pageBytes;
    const found = count === 0 ? 0 : await this.#input.readAt(offset, part);
    if (found < part.byteLength)
      throw elfError('TRUNCATED', 'The file ends in .xen_pages', offset + found, 'xen_pages', '4.3');
    return count;
  }

  /** Looks through the whole table, a piece at a time. @throws FIELD_VALUE for a pfn that cannot be */
  async summarizeTable(): Promise<TableSummary> {
    const pfns = new Float64Array(TABLE_PIECE);
    let [valid, invalid, last, highest, ascending] = [0, 0, -1, -1, true];
    for (let first = 0; first < this.pageCount; first += TABLE_PIECE) {
      const count = await this.readTable(first, pfns);
      for (let i = 0; i < count; i++) {
        const pfn = pfns[i];
        if (pfn < 0) {
          invalid++;
          continue;
        }
        // One that stands behind an invalid entry could not be found by halving either.
        if (pfn <= last || invalid > 0) ascending = false;
        last = pfn;
        if (pfn > highest) highest = pfn;
        valid++;
      }
    }
    return { valid, invalid, ascending, highestPfn: highest };
  }

  /**
   * Where the page of a pfn is, or -1.
   * @param ascending what {@link summarizeTable} said: without it the table is read from its start.
   */
  async findPage(pfn: number, ascending: boolean): Promise<number> {
    return ascending ? this.#halve(pfn) : this.#search(pfn);
  }

  async #halve(pfn: number): Promise<number> {
    const one = new Float64Array(1);
    let [low, high] = [0, this.pageCount];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      await this.readTable(middle, one);
      if (one[0] === pfn) return middle;
      if (one[0] >= 0 && one[0] < pfn) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  async #search(pfn: number): Promise<number> {
    const pfns = new Float64Array(TABLE_PIECE);
    for (let first = 0; first < this.pageCount; first += TABLE_PIECE) {
      const count = await this.readTable(first, pfns);
      const at = pfns.subarray(0, count).indexOf(pfn);
      if (at >= 0) return first + at;
    }
    return -1;
  }

  get #entryBytes(): number {
    return this.tableKind === 'p2m' ? 16 : 8;
  }

  /** In two halves: a 64-bit number for every page would be an object for every page. */
  #frameNumber(view: DataView, at: number, little: boolean, entry: number): number {
    const low = view.getUint32(at + (little ? 0 : 4), little);
    const high = view.getUint32(at + (little ? 4 : 0), little);
    if (high < 0x20_0000) return high * 2 ** 32 + low;
    if (high === 0xffff_ffff && low === 0xffff_ffff) return -1;
    const offset = this.#table.offset + entry * this.#entryBytes;
    throw elfError(
      'FIELD_VALUE',
      'A frame number that no machine has',
      offset,
      `xen_${this.tableKind}[${entry}]`,
      '4.3',
    );
  }
}

function fault(
  code: Parameters<typeof elfError>[0],
  what: string,
  file: ElfFile,
  name: string,
  offset = file.header.sectionsAt,
): Error {
  return elfError(code, what, offset, name.replace(/^\./, ''), '4');
}

/** An entry of the table, for a writer: -1 stands for no page. */
export function frameBits(frame: number): bigint {
  return frame < 0 ? INVALID_PFN : BigInt(frame);
}
