/**
 * Cores with program headers, as QEMU's dump-guest-memory and Linux's /proc/vmcore have them (spec/foreign/elf.md,
 * 5).
 */
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { elfError } from './elf-error.ts';
import {
  ELF,
  ELF_LIMITS,
  ELF_SIZES,
  readElfFile,
  readPart,
  SECTION_TYPE,
  SEGMENT_TYPE,
  type ElfFile,
  type ElfSection,
  type ElfSegment,
} from './elf-file.ts';
import type { ElfShape } from './fields.ts';
import { encodeNotes, parseNotes, type ElfNote } from './note.ts';

/** A piece of the guest's memory. */
export interface MemoryRange {
  readonly physical: number;
  /** Where the guest had it; 0 when the writer did not know. */
  readonly virtual: bigint;
  /** Where it stands in the file. */
  readonly offset: number;
  readonly fileBytes: number;
  /** What goes beyond `fileBytes` is zero. */
  readonly memoryBytes: number;
}

/** An address that means "not known": Linux writes it for what has no physical place (foreign/elf 5.1). */
const NO_ADDRESS = { 4: 0xffff_ffffn, 8: 0xffff_ffff_ffff_ffffn } as const;

/** Memory of the segments that have a physical place, by address. @throws FIELD_VALUE for a place beyond 2^53 */
export function memoryRanges({ header, segments }: ElfFile): MemoryRange[] {
  const ranges: MemoryRange[] = [];
  for (const [index, segment] of segments.entries()) {
    const { type, physicalAddress, virtualAddress, offset, fileBytes, memoryBytes } = segment;
    if (type !== SEGMENT_TYPE.load || physicalAddress === NO_ADDRESS[header.wordBytes]) continue;
    const path = `segments[${index}]`;
    const at = header.segmentsAt + index * ELF_SIZES[header.wordBytes].segment;
    if (physicalAddress > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw elfError('FIELD_VALUE', `Memory at 0x${physicalAddress.toString(16)}`, at, `${path}/paddr`, '5.1');
    }
    if (Number(physicalAddress) + memoryBytes > Number.MAX_SAFE_INTEGER) {
      throw elfError('FIELD_VALUE', `Memory of ${memoryBytes} bytes, more than any has`, at, `${path}/memsz`, '5.1');
    }
    if (memoryBytes < fileBytes) {
      const what = `A segment of ${memoryBytes} bytes has ${fileBytes} in the file`;
      throw elfError('FIELD_VALUE', what, at, `${path}/memsz`, '5.1');
    }
    ranges.push({ physical: Number(physicalAddress), virtual: virtualAddress, offset, fileBytes, memoryBytes });
  }
  return ranges.toSorted((a, b) => a.physical - b.physical);
}

/** Whether these headers are of this shape: a core with program headers. */
export function isProgramCore({ header, segments }: ElfFile): boolean {
  return header.type === ELF.core && segments.length > 0;
}

/** A core with program headers, read where it is asked for. */
export class ProgramCore {
  readonly file: ElfFile;
  readonly notes: readonly ElfNote[];
  /** By physical address. */
  readonly ranges: readonly MemoryRange[];
  readonly #input: RandomAccess;
  /** The ranges without what an earlier one covers. */
  readonly #apart: readonly MemoryRange[];

  private constructor(input: RandomAccess, file: ElfFile, notes: readonly ElfNote[]) {
    this.#input = input;
    this.file = file;
    this.notes = notes;
    this.ranges = memoryRanges(file);
    this.#apart = rangesApart(this.ranges);
  }

  /** @throws NOT_AN_IMAGE for another kind of ELF file, TRUNCATED, FIELD_VALUE, LENGTH_MISMATCH, LIMIT_EXCEEDED. */
  static async open(input: RandomAccess): Promise<ProgramCore> {
    const file = await readElfFile(input);
    if (!isProgramCore(file)) {
      throw elfError('NOT_AN_IMAGE', 'This ELF file is no core with program headers', 0, 'header/type', '5');
    }
    const notes: ElfNote[] = [];
    let total = 0;
    for (const { type, offset, fileBytes } of file.segments) {
      if (type !== SEGMENT_TYPE.note) continue;
      total += fileBytes;
      if (total > ELF_LIMITS.noteBytes) {
        const what = `Notes of ${total} bytes, the limit is ${ELF_LIMITS.noteBytes}`;
        throw elfError('LIMIT_EXCEEDED', what, offset, 'notes', '3');
      }
      notes.push(...parseNotes(await readPart(input, offset, fileBytes, 'notes', '3'), file.header, offset));
    }
    return new ProgramCore(input, file, notes);
  }

  /**
   * Reads memory from a physical address on, up to where the core has none.
   * @returns how many bytes: 0 when the address is in no range. @throws TRUNCATED when the file ends in a range
   */
  async readPhysical(address: number, into: Uint8Array): Promise<number> {
    let done = 0;
    while (done < into.byteLength) {
      const range = this.#rangeOf(address + done);
      if (range === undefined) break;
      const inside = address + done - range.physical;
      const part = into.subarray(done, done + Math.min(into.byteLength - done, range.memoryBytes - inside));
      const stored = Math.max(0, Math.min(part.byteLength, range.fileBytes - inside));
      if (stored > 0) {
        const found = await this.#input.readAt(range.offset + inside, part.subarray(0, stored));
        if (found < stored) {
          throw elfError('TRUNCATED', 'The file ends in a segment', range.offset + inside + found, 'segments', '5.1');
        }
      }
      part.fill(0, stored);
      done += part.byteLength;
    }
    return done;
  }

  #rangeOf(address: number): MemoryRange | undefined {
    let [low, high] = [0, this.#apart.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#apart[middle].physical <= address) low = middle + 1;
      else high = middle;
    }
    const range = this.#apart[low - 1];
    return range !== undefined && address < range.physical + range.memoryBytes ? range : undefined;
  }
}

/**
 * Ranges by address without what an earlier one covers: a dump of virtual memory names a page that is mapped twice in
 * two ranges, and then the first one counts.
 */
export function rangesApart(ranges: readonly MemoryRange[]): MemoryRange[] {
  const result: MemoryRange[] = [];
  let covered = 0;
  for (const range of ranges) {
    const skip = Math.max(0, covered - range.physical);
    if (skip >= range.memoryBytes) continue;
    const { physical, virtual, offset, fileBytes, memoryBytes } = range;
    result.push({
      physical: physical + skip,
      virtual: virtual + BigInt(skip),
      offset: offset + skip,
      fileBytes: Math.max(0, fileBytes - skip),
      memoryBytes: memoryBytes - skip,
    });
    covered = physical + memoryBytes;
  }
  return result;
}

/** What a core with program headers is made of. */
export interface ProgramCoreDescription extends ElfShape {
  readonly machine: number;
  readonly notes: readonly Omit<ElfNote, 'offset'>[];
  readonly ranges: readonly Omit<MemoryRange, 'offset'>[];
  /** Ranges start at multiples of this; 1 when it is not given, as QEMU does. */
  readonly align?: number;
}

/** A core that is laid out: for {@link ElfWriter}, which writes the file, and is to be given notes and ranges. */
export interface ProgramCoreLayout {
  readonly file: ElfFile;
  readonly notes: { readonly offset: number; readonly bytes: Uint8Array };
  /** Where each range's bytes go, in the order they were given. */
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** Lays out header, program headers, notes and ranges, in this order. */
export function layoutProgramCore(about: ProgramCoreDescription): ProgramCoreLayout {
  const { header: headerBytes, segment: segmentBytes, section: sectionBytes } = ELF_SIZES[about.wordBytes];
  const count = about.ranges.length + 1;
  if (count > ELF_LIMITS.segments) throw new RangeError(`${count} program headers`);
  const shape: ElfShape = { wordBytes: about.wordBytes, littleEndian: about.littleEndian };
  const align = about.align ?? 1;
  const notes = encodeNotes(about.notes, shape);
  const escaped = count >= ESCAPED;
  const notesAt = headerBytes + count * segmentBytes;
  let at = notesAt + notes.byteLength;
  const sectionsAt = escaped ? at : 0;
  if (escaped) at += sectionBytes;
  const segments: ElfSegment[] = [
    {
      type: SEGMENT_TYPE.note,
      flags: 0,
      offset: notesAt,
      virtualAddress: 0n,
      physicalAddress: 0n,
      fileBytes: notes.byteLength,
      memoryBytes: notes.byteLength,
      align: 0,
    },
  ];
  const offsets = about.ranges.map(({ physical, virtual, fileBytes, memoryBytes }) => {
    at = Math.ceil(at / align) * align;
    const offset = at;
    at += fileBytes;
    segments.push({
      type: SEGMENT_TYPE.load,
      flags: 0,
      offset,
      virtualAddress: virtual,
      physicalAddress: BigInt(physical),
      fileBytes,
      memoryBytes,
      align: align === 1 ? 0 : align,
    });
    return offset;
  });
  const ident = new Uint8Array(16);
  const [klass, order] = [about.wordBytes === 8 ? ELF.class64 : ELF.class32, about.littleEndian ? ELF.little : ELF.big];
  ident.set([0x7f, 0x45, 0x4c, 0x46, klass, order, ELF.version]);
  const sections: ElfSection[] = escaped ? [countSection(count)] : [];
  return {
    file: {
      header: {
        ...shape,
        ident,
        type: ELF.core,
        machine: about.machine,
        version: ELF.version,
        entry: 0n,
        segmentsAt: headerBytes,
        sectionsAt,
        flags: 0,
        headerBytes,
        segmentBytes,
        segmentCount: escaped ? ESCAPED : count,
        sectionBytes: escaped ? sectionBytes : 0,
        sectionCount: sections.length,
        namesIndex: 0,
      },
      segments,
      sections,
    },
    notes: { offset: notesAt, bytes: notes },
    offsets,
    bytes: at,
  };
}

/** From so many program headers on their number stands in the first section (foreign/elf 1.1). */
const ESCAPED = 0xffff;

function countSection(count: number): ElfSection {
  const zero = { nameAt: 0, flags: 0n, address: 0n, offset: 0, bytes: 0, link: 0, align: 0, entryBytes: 0 };
  return { ...zero, type: SECTION_TYPE.null, info: count };
}
