/** The notes of Xen's cores (spec/foreign/elf.md, section 4.1). */
import { elfError } from './elf-error.ts';
import { FieldReader, FieldWriter, type ElfShape } from './fields.ts';
import { encodeNotes, type ElfNote } from './note.ts';

/** Names of the sections (foreign/elf 4). */
export const XEN_SECTION = {
  names: '.shstrtab',
  notes: '.note.Xen',
  prstatus: '.xen_prstatus',
  sharedInfo: '.xen_shared_info',
  pages: '.xen_pages',
  p2m: '.xen_p2m',
  pfn: '.xen_pfn',
} as const;

/** Types of the notes whose name is `Xen` (foreign/elf 4.1). */
export const XEN_NOTE = {
  none: 0x200_0000,
  header: 0x200_0001,
  xenVersion: 0x200_0002,
  formatVersion: 0x200_0003,
} as const;
export const XEN_NOTE_NAME = 'Xen';
/** The header note says by its magic what the guest is (foreign/elf 4.1). */
export const XEN_MAGIC = { pv: 0xf00febedn, hvm: 0xf00febeen } as const;
/** The one version there is (foreign/elf 4.1). */
export const XEN_FORMAT_VERSION = 1;

const HEADER_NOTE_BYTES = 32;
/** Texts of the version note, with their lengths, after two numbers (foreign/elf 4.1). */
const TEXTS = [
  ['extraVersion', 16],
  ['compiler', 64],
  ['compileBy', 16],
  ['compileDomain', 32],
  ['compileDate', 32],
  ['capabilities', 1024],
  ['changeset', 64],
] as const;
const TEXT_BYTES = TEXTS.reduce((sum, [, length]) => sum + length, 0);

/** Sizes of a page that an x86, Arm or Itanium guest can have. */
const PAGE_BYTES = { least: 4096, most: 65_536 } as const;

export interface XenCoreHeader {
  readonly domain: 'pv' | 'hvm';
  readonly vcpus: number;
  /** As the note says: of HVM and PVH guests more than there are pages that hold something. */
  readonly pages: number;
  readonly pageBytes: number;
}

/** What the hypervisor says of itself. */
export interface XenVersion {
  readonly major: number;
  readonly minor: number;
  readonly extraVersion: string;
  readonly compiler: string;
  readonly compileBy: string;
  readonly compileDomain: string;
  readonly compileDate: string;
  readonly capabilities: string;
  readonly changeset: string;
  readonly virtualStart: bigint;
  readonly pageBytes: bigint;
}

export interface XenNotes {
  readonly header: XenCoreHeader;
  /** Undefined when the core has no such note, or one of another length. */
  readonly xenVersion: XenVersion | undefined;
}

/** @throws FIELD_VALUE, UNSUPPORTED_VERSION */
export function parseXenNotes(notes: readonly ElfNote[], shape: ElfShape): XenNotes {
  const find = (type: number): ElfNote | undefined =>
    notes.find((note) => note.name === XEN_NOTE_NAME && note.type === type);
  const header = find(XEN_NOTE.header);
  if (header === undefined || header.content.byteLength !== HEADER_NOTE_BYTES) {
    throw elfError(
      'FIELD_VALUE',
      'There is no note with the header of the core',
      notes[0]?.offset ?? 0,
      'notes',
      '4.1',
    );
  }
  const format = find(XEN_NOTE.formatVersion);
  if (format !== undefined && format.content.byteLength >= 8) {
    const version = new FieldReader(format.content, shape, format.offset, 'notes', '4.1').u64();
    if (version !== BigInt(XEN_FORMAT_VERSION)) {
      throw elfError('UNSUPPORTED_VERSION', `A core of version ${version}`, format.offset, 'notes/version', '4.1');
    }
  }
  const version = find(XEN_NOTE.xenVersion);
  return { header: parseHeader(header, shape), xenVersion: version && parseVersion(version.content, shape) };
}

function parseHeader({ content, offset }: ElfNote, shape: ElfShape): XenCoreHeader {
  const read = new FieldReader(content, { ...shape, wordBytes: 8 }, offset, 'notes/header', '4.1');
  const magic = read.u64();
  const [vcpus, pages, pageBytes] = [read.length('nr_vcpus'), read.length('nr_pages'), read.length('page_size')];
  if (magic !== XEN_MAGIC.pv && magic !== XEN_MAGIC.hvm) {
    throw elfError(
      'FIELD_VALUE',
      `The magic 0x${magic.toString(16)} is of no guest`,
      offset,
      'notes/header/magic',
      '4.1',
    );
  }
  if (pageBytes < PAGE_BYTES.least || pageBytes > PAGE_BYTES.most || (pageBytes & (pageBytes - 1)) !== 0) {
    throw elfError('FIELD_VALUE', `Pages of ${pageBytes} bytes`, offset, 'notes/header/page_size', '4.1');
  }
  return { domain: magic === XEN_MAGIC.pv ? 'pv' : 'hvm', vcpus, pages, pageBytes };
}

/** The two last numbers are as wide as a word of the toolstack, so the length says which that was. */
function parseVersion(content: Uint8Array, shape: ElfShape): XenVersion | undefined {
  const wordBytes = content.byteLength === 16 + TEXT_BYTES + 16 ? 8 : 4;
  if (content.byteLength !== 16 + TEXT_BYTES + 2 * wordBytes) return undefined;
  const read = new FieldReader(content, { ...shape, wordBytes }, 0, 'notes/version', '4.1');
  const [major, minor] = [Number(read.u64()), Number(read.u64())];
  let at = 16;
  const texts = {} as Record<(typeof TEXTS)[number][0], string>;
  for (const [name, length] of TEXTS) {
    texts[name] = String.fromCharCode(...content.subarray(at, at + length)).replace(/\0[^]*$/, '');
    at += length;
  }
  read.seek(at);
  return { major, minor, ...texts, virtualStart: read.word(), pageBytes: read.word() };
}

/** Writes the four notes. */
export function encodeXenNotes({ header, xenVersion }: XenNotes, shape: ElfShape): Uint8Array {
  const content = (length: number): FieldWriter => new FieldWriter(length, shape);
  const notes: { type: number; content: Uint8Array }[] = [{ type: XEN_NOTE.none, content: new Uint8Array(0) }];
  const { domain, vcpus, pages, pageBytes } = header;
  const head = content(HEADER_NOTE_BYTES).u64(XEN_MAGIC[domain]).u64(BigInt(vcpus)).u64(BigInt(pages));
  notes.push({ type: XEN_NOTE.header, content: head.u64(BigInt(pageBytes)).bytes });
  if (xenVersion !== undefined) {
    const write = content(16 + TEXT_BYTES + 2 * shape.wordBytes);
    write.u64(BigInt(xenVersion.major)).u64(BigInt(xenVersion.minor));
    let at = 16;
    for (const [name, length] of TEXTS) {
      const text = Uint8Array.from(xenVersion[name], (character) => character.charCodeAt(0));
      if (text.byteLength >= length)
        throw new RangeError(`${name} of the hypervisor has more than ${length - 1} bytes`);
      write.seek(at).raw(text);
      at += length;
    }
    write.seek(at).word(xenVersion.virtualStart).word(xenVersion.pageBytes);
    notes.push({ type: XEN_NOTE.xenVersion, content: write.bytes });
  }
  notes.push({ type: XEN_NOTE.formatVersion, content: content(8).u64(BigInt(XEN_FORMAT_VERSION)).bytes });
  return encodeNotes(
    notes.map((note) => ({ name: XEN_NOTE_NAME, ...note })),
    shape,
  );
}
