/**
 * The outside of an ELF core file (spec/foreign/elf.md, sections 1 and 2): its header and its tables, in both word
 * sizes and both byte orders. What stands in its segments and sections is for the other files of this folder.
 */
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { elfError } from './elf-error.ts';
import { FieldReader, FieldWriter, type ElfShape } from './fields.ts';

export const ELF_LIMITS = {
  /** Program headers. A dump of a guest's virtual memory has one a mapping. */
  segments: 262_144,
  sections: 65_536,
  /** Bytes of the table of section names. */
  nameBytes: 1024 * 1024,
  /** Bytes of the notes: a note a virtual processor, and a text of the kernel. */
  noteBytes: 16 * 1024 * 1024,
  /** Bytes from the start in which a reader that cannot go back wants both tables. */
  headBytes: 32 * 1024 * 1024,
} as const;

/** e_ident and e_type (foreign/elf 1). */
export const ELF = { magic: 0x7f454c46, class32: 1, class64: 2, little: 1, big: 2, version: 1, core: 4 } as const;
/** e_machine (foreign/elf 1). */
export const ELF_MACHINE = { i386: 3, x8664: 62 } as const;
/** Escapes for counts that do not fit their field (foreign/elf 1.1). */
const ESCAPE = 0xffff;
/** p_type and sh_type (foreign/elf 2). */
export const SEGMENT_TYPE = { load: 1, note: 4 } as const;
export const SECTION_TYPE = { null: 0, bits: 1, names: 3, note: 7, noBits: 8 } as const;

const IDENT_BYTES = 16;
/** Bytes of the header and of an entry of each table, by word size (foreign/elf 1, 2). */
export const ELF_SIZES = {
  4: { header: 52, segment: 32, section: 40 },
  8: { header: 64, segment: 56, section: 64 },
} as const;

/** The file's header as it stands there, escapes included. */
export interface ElfHeader extends ElfShape {
  /** The first 16 bytes. */
  readonly ident: Uint8Array;
  readonly type: number;
  readonly machine: number;
  readonly version: number;
  readonly entry: bigint;
  readonly segmentsAt: number;
  readonly sectionsAt: number;
  readonly flags: number;
  /** What the file says of its header's length: QEMU 7.2 says 8 where 64 is meant, so nothing relies on it. */
  readonly headerBytes: number;
  readonly segmentBytes: number;
  readonly segmentCount: number;
  readonly sectionBytes: number;
  readonly sectionCount: number;
  readonly namesIndex: number;
}

export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly virtualAddress: bigint;
  readonly physicalAddress: bigint;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

export interface ElfSection {
  /** Place of the name in the table of names. */
  readonly nameAt: number;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly bytes: number;
  readonly link: number;
  readonly info: number;
  readonly align: number;
  readonly entryBytes: number;
}

/** Header and tables. */
export interface ElfFile {
  readonly header: ElfHeader;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
}

/** Reads the header. @param bytes at least 64 from the start, or all there are. @throws NOT_AN_IMAGE, TRUNCATED ... */
export function parseElfHeader(bytes: Uint8Array): ElfHeader {
  const magic = [0x7f, 0x45, 0x4c, 0x46];
  for (const [i, byte] of magic.entries()) {
    if (i >= bytes.byteLength)
      throw elfError('TRUNCATED', 'The file ends in its header', bytes.byteLength, 'ident', '1');
    if (bytes[i] !== byte) throw elfError('NOT_AN_IMAGE', 'These bytes are not an ELF file', 0, 'ident', '1');
  }
  if (bytes.byteLength < IDENT_BYTES) {
    throw elfError('TRUNCATED', 'The file ends in its header', bytes.byteLength, 'ident', '1');
  }
  const [, , , , klass, order, version] = bytes;
  if (klass !== ELF.class32 && klass !== ELF.class64) {
    throw elfError('FIELD_VALUE', `The class is ${klass}, neither 1 (32 bit) nor 2 (64 bit)`, 4, 'ident/class', '1');
  }
  if (order !== ELF.little && order !== ELF.big) {
    throw elfError('FIELD_VALUE', `The byte order is ${order}, neither 1 (little) nor 2 (big)`, 5, 'ident/data', '1');
  }
  if (version !== ELF.version) {
    throw elfError('UNSUPPORTED_VERSION', `ELF of version ${version}`, 6, 'ident/version', '1');
  }
  const shape: ElfShape = { wordBytes: klass === ELF.class32 ? 4 : 8, littleEndian: order === ELF.little };
  if (bytes.byteLength < ELF_SIZES[shape.wordBytes].header) {
    throw elfError('TRUNCATED', 'The file ends in its header', bytes.byteLength, 'header', '1');
  }
  const read = new FieldReader(bytes, shape, 0, 'header', '1');
  read.seek(IDENT_BYTES);
  const header: ElfHeader = {
    ...shape,
    ident: bytes.slice(0, IDENT_BYTES),
    type: read.u16(),
    machine: read.u16(),
    version: read.u32(),
    entry: read.word(),
    segmentsAt: read.length('phoff'),
    sectionsAt: read.length('shoff'),
    flags: read.u32(),
    headerBytes: read.u16(),
    segmentBytes: read.u16(),
    segmentCount: read.u16(),
    sectionBytes: read.u16(),
    sectionCount: read.u16(),
    namesIndex: read.u16(),
  };
  checkEntrySizes(header);
  return header;
}

function checkEntrySizes(header: ElfHeader): void {
  const { segment, section } = ELF_SIZES[header.wordBytes];
  if (header.segmentCount > 0 && header.segmentBytes !== segment) {
    const what = `Program headers of ${header.segmentBytes} bytes, where ${segment} are right`;
    throw elfError('FIELD_VALUE', what, 0, 'header/phentsize', '1');
  }
  if (header.sectionsAt !== 0 && header.sectionBytes !== section) {
    const what = `Section headers of ${header.sectionBytes} bytes, where ${section} are right`;
    throw elfError('FIELD_VALUE', what, 0, 'header/shentsize', '1');
  }
}

export function encodeElfHeader(header: ElfHeader): Uint8Array {
  return new FieldWriter(ELF_SIZES[header.wordBytes].header, header)
    .raw(header.ident)
    .u16(header.type)
    .u16(header.machine)
    .u32(header.version)
    .word(header.entry)
    .word(header.segmentsAt)
    .word(header.sectionsAt)
    .u32(header.flags)
    .u16(header.headerBytes)
    .u16(header.segmentBytes)
    .u16(header.segmentCount)
    .u16(header.sectionBytes)
    .u16(header.sectionCount)
    .u16(header.namesIndex).bytes;
}

/** The table of sections, from its bytes. */
export function parseSections(header: ElfHeader, bytes: Uint8Array): ElfSection[] {
  const size = ELF_SIZES[header.wordBytes].section;
  const sections: ElfSection[] = [];
  for (let i = 0; (i + 1) * size <= bytes.byteLength; i++) {
    const at = header.sectionsAt + i * size;
    const read = new FieldReader(bytes.subarray(i * size, (i + 1) * size), header, at, `sections[${i}]`, '2');
    const [nameAt, type, flags, address] = [read.u32(), read.u32(), read.word(), read.word()];
    const offset = read.length('offset');
    const length = read.length('size');
    const [link, info] = [read.u32(), read.u32()];
    const align = read.length('addralign');
    const entryBytes = read.length('entsize');
    sections.push({ nameAt, type, flags, address, offset, bytes: length, link, info, align, entryBytes });
  }
  return sections;
}

export function encodeSections(shape: ElfShape, sections: readonly ElfSection[]): Uint8Array {
  const write = new FieldWriter(sections.length * ELF_SIZES[shape.wordBytes].section, shape);
  for (const section of sections) {
    write.u32(section.nameAt).u32(section.type).word(section.flags).word(section.address);
    write.word(section.offset).word(section.bytes).u32(section.link).u32(section.info);
    write.word(section.align).word(section.entryBytes);
  }
  return write.bytes;
}

/** The table of program headers, from its bytes. */
export function parseSegments(header: ElfHeader, bytes: Uint8Array): ElfSegment[] {
  const size = ELF_SIZES[header.wordBytes].segment;
  const wide = header.wordBytes === 8;
  const segments: ElfSegment[] = [];
  for (let i = 0; (i + 1) * size <= bytes.byteLength; i++) {
    const at = header.segmentsAt + i * size;
    const read = new FieldReader(bytes.subarray(i * size, (i + 1) * size), header, at, `segments[${i}]`, '2');
    const type = read.u32();
    const early = wide ? read.u32() : 0;
    const offset = read.length('offset');
    const [virtualAddress, physicalAddress] = [read.word(), read.word()];
    const fileBytes = read.length('filesz');
    const memoryBytes = read.length('memsz');
    const flags = wide ? early : read.u32();
    const align = read.length('align');
    segments.push({ type, flags, offset, virtualAddress, physicalAddress, fileBytes, memoryBytes, align });
  }
  return segments;
}

export function encodeSegments(shape: ElfShape, segments: readonly ElfSegment[]): Uint8Array {
  const wide = shape.wordBytes === 8;
  const write = new FieldWriter(segments.length * ELF_SIZES[shape.wordBytes].segment, shape);
  for (const segment of segments) {
    write.u32(segment.type);
    if (wide) write.u32(segment.flags);
    write.word(segment.offset).word(segment.virtualAddress).word(segment.physicalAddress);
    write.word(segment.fileBytes).word(segment.memoryBytes);
    if (!wide) write.u32(segment.flags);
    write.word(segment.align);
  }
  return write.bytes;
}

/** Where the two tables stand, and how many entries they really have (foreign/elf 1.1). */
export interface ElfTables {
  readonly segmentsAt: number;
  readonly segmentBytes: number;
  readonly sectionsAt: number;
  readonly sectionBytes: number;
}

/** Whether the first section's header must be read before the sizes of the tables are known (foreign/elf 1.1). */
export function countsAreEscaped(header: ElfHeader): boolean {
  return header.segmentCount === ESCAPE || (header.sectionsAt !== 0 && header.sectionCount === 0);
}

/** @param first the first section, where {@link countsAreEscaped}. @throws LIMIT_EXCEEDED, FIELD_VALUE */
export function elfTables(header: ElfHeader, first: ElfSection | undefined): ElfTables {
  if (header.segmentCount === ESCAPE && first === undefined) {
    throw elfError('FIELD_VALUE', 'The number of program headers is nowhere', 0, 'header/phnum', '1.1');
  }
  const segments = header.segmentCount === ESCAPE ? first!.info : header.segmentCount;
  const sections = header.sectionsAt === 0 ? 0 : header.sectionCount === 0 ? (first?.bytes ?? 0) : header.sectionCount;
  if (segments > ELF_LIMITS.segments) {
    const what = `${segments} program headers, the limit is ${ELF_LIMITS.segments}`;
    throw elfError('LIMIT_EXCEEDED', what, 0, 'header/phnum', '1.1');
  }
  if (sections > ELF_LIMITS.sections) {
    const what = `${sections} sections, the limit is ${ELF_LIMITS.sections}`;
    throw elfError('LIMIT_EXCEEDED', what, 0, 'header/shnum', '1.1');
  }
  const { segment, section } = ELF_SIZES[header.wordBytes];
  return {
    segmentsAt: header.segmentsAt,
    segmentBytes: segments * segment,
    sectionsAt: header.sectionsAt,
    sectionBytes: sections * section,
  };
}

/** Reads header and tables from a file. @throws NOT_AN_IMAGE, TRUNCATED, FIELD_VALUE, LIMIT_EXCEEDED */
export async function readElfFile(input: RandomAccess): Promise<ElfFile> {
  const head = new Uint8Array(ELF_SIZES[8].header);
  const found = await input.readAt(0, head);
  const header = parseElfHeader(head.subarray(0, found));
  const sectionSize = ELF_SIZES[header.wordBytes].section;
  let first: ElfSection | undefined;
  if (countsAreEscaped(header) && header.sectionsAt !== 0) {
    [first] = parseSections(header, await readPart(input, header.sectionsAt, sectionSize, 'section headers', '2'));
  }
  const tables = elfTables(header, first);
  const segments = await readPart(input, tables.segmentsAt, tables.segmentBytes, 'program headers', '2');
  const sections = await readPart(input, tables.sectionsAt, tables.sectionBytes, 'section headers', '2');
  return { header, segments: parseSegments(header, segments), sections: parseSections(header, sections) };
}

/** Reads exactly these bytes. The caller has bounded `length`. @throws TRUNCATED */
export async function readPart(
  input: RandomAccess,
  offset: number,
  length: number,
  path: string,
  section: string,
): Promise<Uint8Array> {
  // Asked before anything is allocated: a length that lies costs nothing.
  if (offset + length > input.size) {
    const what = `${path} need ${length} bytes from ${offset}, the file has ${input.size}`;
    throw elfError('TRUNCATED', what, input.size, path, section);
  }
  const bytes = new Uint8Array(length);
  const found = length === 0 ? 0 : await input.readAt(offset, bytes);
  if (found < length) throw elfError('TRUNCATED', `The file ends in ${path}`, offset + found, path, section);
  return bytes;
}

/** The name of a section, from the table of names; empty where it has none. */
export function sectionName(section: ElfSection, names: Uint8Array): string {
  const end = names.indexOf(0, section.nameAt);
  const bytes = names.subarray(section.nameAt, end < 0 ? names.byteLength : end);
  return String.fromCharCode(...bytes.subarray(0, 64));
}

/** The table of names as the file says where it is; empty where there is none. @throws TRUNCATED, LIMIT_EXCEEDED */
export async function readSectionNames(input: RandomAccess, { header, sections }: ElfFile): Promise<Uint8Array> {
  const index = header.namesIndex === ESCAPE ? sections[0]?.link : header.namesIndex;
  const section = index === undefined || index === 0 ? undefined : sections[index];
  if (section === undefined) return new Uint8Array(0);
  if (section.bytes > ELF_LIMITS.nameBytes) {
    const what = `Section names of ${section.bytes} bytes, the limit is ${ELF_LIMITS.nameBytes}`;
    throw elfError('LIMIT_EXCEEDED', what, section.offset, 'section names', '2');
  }
  return readPart(input, section.offset, section.bytes, 'section names', '2');
}
