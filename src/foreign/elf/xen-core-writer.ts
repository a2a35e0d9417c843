/** Writing a core as `xl dump-core` does (spec/foreign/elf.md, section 4). */
import type { ByteSink } from '../../bytes/endpoints.ts';
import { ELF, ELF_SIZES, SECTION_TYPE, type ElfFile, type ElfSection } from './elf-file.ts';
import type { ElfShape } from './fields.ts';
import { ElfWriter } from './writer.ts';
import { encodeXenNotes, XEN_SECTION, type XenCoreHeader, type XenVersion } from './xen-notes.ts';
import { frameBits } from './xen-core.ts';

/** What must be known before the first page is written. */
export interface XenCoreDescription {
  /** {@link ELF_MACHINE}: of the guest, whatever the word size of the file. */
  readonly machine: number;
  /** The word size of the toolstack; 8 when it is not given. */
  readonly wordBytes?: 4 | 8;
  readonly domain: XenCoreHeader['domain'];
  readonly xenVersion: XenVersion | undefined;
  /** A context for each vCPU, all of one length. */
  readonly vcpus: readonly Uint8Array[];
  readonly sharedInfo: Uint8Array | undefined;
  readonly table: 'p2m' | 'pfn';
  /** How many pages will be written. */
  readonly pages: number;
  readonly pageBytes: number;
}

/**
 * Writes a core of Xen's shape: all pages, then the table that names them, then {@link end}. Its memory does not grow
 * with the guest. Pages or entries that are too many or too few are a defect of the caller, and a RangeError.
 */
export class XenCoreWriter {
  readonly #writer: ElfWriter;
  readonly #about: XenCoreDescription;
  readonly #start: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  readonly #pagesAt: number;
  readonly #tableAt: number;
  readonly #entryBytes: number;
  readonly #names: { readonly offset: number; readonly bytes: Uint8Array };
  #pages = 0;
  #entries = 0;

  constructor(sink: ByteSink, about: XenCoreDescription) {
    const shape: ElfShape = { wordBytes: about.wordBytes ?? 8, littleEndian: true };
    const { vcpus, pages, pageBytes, domain, xenVersion, sharedInfo } = about;
    const vcpuBytes = vcpus[0]?.byteLength ?? 0;
    if (vcpus.some((vcpu) => vcpu.byteLength !== vcpuBytes)) throw new RangeError('contexts of several lengths');
    this.#about = about;
    this.#entryBytes = about.table === 'p2m' ? 16 : 8;
    const notes = encodeXenNotes({ header: { domain, vcpus: vcpus.length, pages, pageBytes }, xenVersion }, shape);
    const names = sectionNames(sharedInfo !== undefined, about.table);
    const { header: headerBytes, section: sectionBytes } = ELF_SIZES[shape.wordBytes];
    const notesAt = headerBytes + (names.list.length + 1) * sectionBytes;
    const vcpusAt = aligned(notesAt + notes.byteLength, 8);
    const sharedAt = aligned(vcpusAt + vcpus.length * vcpuBytes, 8);
    this.#pagesAt = aligned(sharedAt + (sharedInfo?.byteLength ?? 0), pageBytes);
    this.#tableAt = this.#pagesAt + pages * pageBytes;
    const namesAt = this.#tableAt + pages * this.#entryBytes;
    this.#names = { offset: namesAt, bytes: names.bytes };
    const places: Readonly<
      Record<string, readonly [type: number, at: number, bytes: number, align: number, entry: number]>
    > = {
      [XEN_SECTION.names]: [SECTION_TYPE.names, namesAt, names.bytes.byteLength, 0, 0],
      [XEN_SECTION.notes]: [SECTION_TYPE.note, notesAt, notes.byteLength, 0, 0],
      [XEN_SECTION.prstatus]: [SECTION_TYPE.bits, vcpusAt, vcpus.length * vcpuBytes, 8, vcpuBytes],
      [XEN_SECTION.sharedInfo]: [
        SECTION_TYPE.bits,
        sharedAt,
        sharedInfo?.byteLength ?? 0,
        8,
        sharedInfo?.byteLength ?? 0,
      ],
      [XEN_SECTION.pages]: [SECTION_TYPE.bits, this.#pagesAt, pages * pageBytes, pageBytes, pageBytes],
      [`.xen_${about.table}`]: [SECTION_TYPE.bits, this.#tableAt, pages * this.#entryBytes, 8, this.#entryBytes],
    };
    const sections: ElfSection[] = [EMPTY_SECTION];
    for (const { name, at } of names.list) {
      const [type, offset, bytes, align, entryBytes] = places[name];
      sections.push({ ...EMPTY_SECTION, nameAt: at, type, offset, bytes, align, entryBytes });
    }
    this.#writer = new ElfWriter(sink, elfFile(shape, about.machine, sections));
    this.#start = [
      { offset: notesAt, bytes: notes },
      ...vcpus.map((bytes, i) => ({ offset: vcpusAt + i * vcpuBytes, bytes })),
      ...(sharedInfo === undefined ? [] : [{ offset: sharedAt, bytes: sharedInfo }]),
    ];
  }

  /** The next pages, whole. Resolves when the caller may change the bytes. */
  async pages(bytes: Uint8Array): Promise<void> {
    const count = bytes.byteLength / this.#about.pageBytes;
    if (!Number.isInteger(count) || this.#pages + count > this.#about.pages) {
      throw new RangeError(`${count} pages after ${this.#pages} of ${this.#about.pages}`);
    }
    await this.#begin();
    await this.#writer.put(this.#pagesAt + this.#pages * this.#about.pageBytes, bytes);
    this.#pages += count;
  }

  /** The pfns of the next pages, and of a `p2m` the machine's frames; -1 stands for no page. After all pages. */
  async table(pfns: Float64Array, frames?: Float64Array): Promise<void> {
    const paired = this.#about.table === 'p2m';
    if (this.#pages !== this.#about.pages) throw new RangeError('the table comes after the pages');
    if (this.#entries + pfns.length > this.#pages) throw new RangeError('more entries than pages');
    if (paired && frames?.length !== pfns.length) throw new RangeError('a p2m has a frame for each pfn');
    await this.#begin();
    const bytes = new Uint8Array(pfns.length * this.#entryBytes);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < pfns.length; i++) {
      putFrame(view, i * this.#entryBytes, pfns[i]);
      if (paired) putFrame(view, i * this.#entryBytes + 8, frames![i]);
    }
    await this.#writer.put(this.#tableAt + this.#entries * this.#entryBytes, bytes);
    this.#entries += pfns.length;
  }

  async end(): Promise<void> {
    if (this.#entries !== this.#about.pages) throw new RangeError(`${this.#entries} of ${this.#about.pages} entries`);
    await this.#begin();
    await this.#writer.put(this.#names.offset, this.#names.bytes);
    await this.#writer.end();
  }

  async #begin(): Promise<void> {
    if (this.#writer.position > 0) return;
    for (const { offset, bytes } of this.#start) await this.#writer.put(offset, bytes);
  }
}

function putFrame(view: DataView, at: number, frame: number): void {
  if (frame < 0 || !Number.isSafeInteger(frame)) return view.setBigUint64(at, frameBits(frame), true);
  view.setUint32(at, frame % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(frame / 2 ** 32), true);
}

const EMPTY_SECTION: ElfSection = {
  nameAt: 0,
  type: SECTION_TYPE.null,
  flags: 0n,
  address: 0n,
  offset: 0,
  bytes: 0,
  link: 0,
  info: 0,
  align: 0,
  entryBytes: 0,
};

/** Names in the order of the sections, and the table of them. */
function sectionNames(
  hasSharedInfo: boolean,
  table: 'p2m' | 'pfn',
): { list: readonly { name: string; at: number }[]; bytes: Uint8Array } {
  const { names, notes, prstatus, sharedInfo, pages } = XEN_SECTION;
  const all = [names, notes, prstatus, ...(hasSharedInfo ? [sharedInfo] : []), pages, XEN_SECTION[table]];
  let at = 1;
  const list = all.map((name) => {
    const entry = { name, at };
    at += name.length + 1;
    return entry;
  });
  const bytes = new Uint8Array(at);
  for (const entry of list) new TextEncoder().encodeInto(entry.name, bytes.subarray(entry.at));
  return { list, bytes };
}

function elfFile(shape: ElfShape, machine: number, sections: readonly ElfSection[]): ElfFile {
  const { header, segment, section } = ELF_SIZES[shape.wordBytes];
  const ident = new Uint8Array(16);
  // The ninth byte: Xen says version 1 of the ABI (foreign/elf 4).
  ident.set([0x7f, 0x45, 0x4c, 0x46, shape.wordBytes === 8 ? ELF.class64 : ELF.class32, ELF.little, ELF.version, 0, 1]);
  return {
    header: {
      ...shape,
      ident,
      type: ELF.core,
      machine,
      version: ELF.version,
      entry: 0n,
      segmentsAt: 0,
      sectionsAt: header,
      flags: 0,
      headerBytes: header,
      segmentBytes: segment,
      segmentCount: 0,
      sectionBytes: section,
      sectionCount: sections.length,
      namesIndex: 1,
    },
    segments: [],
    sections,
  };
}

function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}
