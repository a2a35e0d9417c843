import { TransmigrateError } from '../../../errors.ts';
import { parseCpuStatus, parseQemuCpu, type CpuStatus, type QemuCpu } from '../../../foreign/elf/cpu-notes.ts';
import { elfError } from '../../../foreign/elf/elf-error.ts';
import { ELF_LIMITS, ELF_SIZES, readElfFile, SEGMENT_TYPE, type ElfFile } from '../../../foreign/elf/elf-file.ts';
import { encodeNotes, parseNotes, type ElfNote } from '../../../foreign/elf/note.ts';
import { isProgramCore, memoryRanges, rangesApart } from '../../../foreign/elf/program-core.ts';
import { LIMITS } from '../../../stream/limits.ts';
import { PAGE_CLASS, type PageRun } from '../../../stream/records/ram.ts';
import { DEVICE_FORMAT, MACHINE, type ImageEvent, type ImageHead, type PagesEvent } from '../../model/event.ts';
import { RandomInput } from '../random-input.ts';
import { blob } from '../xen/states.ts';
import { qemuVcpu, statusVcpu } from './note-vcpus.ts';
import { pageParts, type FilePages, type JoinedPage, type PageParts } from './page-parts.ts';
import { checkWhole, elfEnd, reportGaps, trailingOf } from './places.ts';
import { WholeReader } from '../whole-reader.ts';

const PAGE_BYTES = 4096;
/** Pages that are read at once. */
const STEP_PAGES = 256;
/** Most pages that a core says are zero without having them: 16 TiB. */
const ZERO_PAGES_MOST = 2 ** 32;
/** Zero pages of one event. */
const ZERO_STEP = 65_536;

/** Reads a core with program headers as events of the model. */
export class ProgramCoreReader extends WholeReader {
  readonly format = 'elf-core';
  /** What of the file ORIGIN has already. */
  #kept = 0;

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const input = new RandomInput(this.source, this.options);
    const file = await readElfFile(input.random);
    if (!isProgramCore(file)) {
      throw elfError('NOT_AN_IMAGE', 'This ELF file is no core with program headers', 0, 'header/type', '5');
    }
    this.#listSegments(file);
    const parts = this.#parts(file);
    const notes = await this.#notes(file, input);
    const vcpus = isX86(file) ? this.#vcpus(notes, file) : [];
    yield headOf(file, vcpus.length);
    yield* vcpus;
    if (notes.length > 0) yield blob('elf-notes', DEVICE_FORMAT.elfNotes, '', encodeNotes(notes, file.header));
    const end = elfEnd(file);
    for (const pages of parts.file) yield* this.#filePages(pages, input);
    yield* this.#joinedPages(parts.joined, input);
    yield* this.#zeroPages(parts.zero);
    checkWhole(input, end);
    await this.#keepTo(input, end);
    await reportGaps(input, file, end, this.found);
    this.trailing = await trailingOf(input, end, this.found, 'foreign/elf 5');
    if (!input.container) await this.#keepTo(input, input.size);
    this.offset = input.size;
    yield { kind: 'end', bytes: end };
  }

  #parts(file: ElfFile): PageParts {
    const ranges = memoryRanges(file);
    const place = { offset: file.header.segmentsAt, path: 'ELF/segments', section: 'foreign/elf 5.1' };
    const lost = file.segments.filter(({ type }) => type === SEGMENT_TYPE.load).length - ranges.length;
    if (lost > 0) {
      this.found.report('warning', 'NO_ADDRESS', 'segments have no physical address', place, { segments: lost });
    }
    const apart = rangesApart(ranges);
    const bytesOf = (each: readonly { memoryBytes: number }[]): number =>
      each.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
    const overlap = bytesOf(ranges) - bytesOf(apart);
    if (overlap > 0) {
      const data = { bytes: overlap };
      this.found.report('strict', 'OVERLAP', 'segments overlap: the first one counts', place, data);
    }
    const parts = pageParts(apart, PAGE_BYTES);
    const zero = parts.zero.reduce((sum, { pages }) => sum + pages, 0);
    if (zero > ZERO_PAGES_MOST) {
      const what = `The core has ${zero} pages of zeros that are not in the file, the limit is ${ZERO_PAGES_MOST}`;
      throw elfError('LIMIT_EXCEEDED', what, file.header.segmentsAt, 'segments', '5.1.1');
    }
    for (const { pfn, bytes, offset } of parts.partial) {
      const where = { offset, path: `ELF/page ${pfn}`, section: 'foreign/elf 5.1.1' };
      this.found.report('warning', 'PARTIAL_PAGE', 'the core has only a part of a page', where, { pfn, bytes });
    }
    return parts;
  }

  /** Pages in the file's order. ORIGIN keeps what stands before them, and passes over bytes that it has already. */
  async *#filePages({ firstPfn, pages, offset }: FilePages, input: RandomInput): AsyncGenerator<ImageEvent> {
    const buffer = new Uint8Array(Math.min(STEP_PAGES, pages) * PAGE_BYTES);
    for (let first = 0; first < pages; first += STEP_PAGES) {
      const count = Math.min(STEP_PAGES, pages - first);
      const bytes = buffer.subarray(0, count * PAGE_BYTES);
      const bytesOffset = offset + first * PAGE_BYTES;
      await input.fill(bytesOffset, bytes, 'ELF/segments', 'foreign/elf 5.1');
      const again = Math.min(count, Math.max(0, Math.ceil((this.#kept - bytesOffset) / PAGE_BYTES)));
      this.options.origin?.skip(again);
      if (again < count) {
        await this.#keepTo(input, bytesOffset + again * PAGE_BYTES);
        this.options.origin?.pages(count - again);
        this.#kept = bytesOffset + bytes.byteLength;
      }
      this.offset = Math.max(this.offset, bytesOffset + bytes.byteLength);
      yield pagesEvent(firstPfn + first, count, bytes, bytesOffset);
    }
  }

  async *#joinedPages(joined: readonly JoinedPage[], input: RandomInput): AsyncGenerator<ImageEvent> {
    const page = new Uint8Array(PAGE_BYTES);
    for (const { pfn, parts } of joined) {
      page.fill(0);
      for (const { at, offset, bytes } of parts) {
        await input.fill(offset, page.subarray(at, at + bytes), 'ELF/segments', 'foreign/elf 5.1');
      }
      this.options.origin?.skip(1);
      yield pagesEvent(pfn, 1, page, -1);
    }
  }

  *#zeroPages(zero: PageParts['zero']): Generator<ImageEvent> {
    for (const { firstPfn, pages } of zero) {
      for (let first = 0; first < pages; first += ZERO_STEP) {
        const count = Math.min(ZERO_STEP, pages - first);
        this.options.origin?.skip(count);
        yield pagesEvent(firstPfn + first, count, null, -1);
      }
    }
  }

  async #keepTo(input: RandomInput, end: number): Promise<void> {
    if (end <= this.#kept) return;
    await input.keep(this.options.origin, this.#kept, end);
    this.#kept = end;
  }

  /** All notes that can be read. Memory can be read without them, so what is wrong with them is only told. */
  async #notes(file: ElfFile, input: RandomInput): Promise<ElfNote[]> {
    const notes: ElfNote[] = [];
    let total = 0;
    for (const { type, offset, fileBytes } of file.segments) {
      if (type !== SEGMENT_TYPE.note) continue;
      total += fileBytes;
      if (total > ELF_LIMITS.noteBytes) {
        const what = `Notes of ${total} bytes, the limit is ${ELF_LIMITS.noteBytes}`;
        throw elfError('LIMIT_EXCEEDED', what, offset, 'notes', '3');
      }
      if (offset + fileBytes > input.size) {
        throw elfError('TRUNCATED', `The file ends in its notes, at ${offset}`, input.size, 'notes', '3');
      }
      const bytes = new Uint8Array(fileBytes);
      await input.fill(offset, bytes, 'ELF/notes', 'foreign/elf 3');
      this.#readable('NOTES_INVALID', offset, () => notes.push(...parseNotes(bytes, file.header, offset)));
    }
    return notes;
  }

  #vcpus(notes: readonly ElfNote[], file: ElfFile): ImageEvent[] {
    const statuses: CpuStatus[] = [];
    const cpus: (QemuCpu | undefined)[] = [];
    for (const note of notes) {
      const status = parseCpuStatus(note, file.header);
      if (status !== undefined) statuses.push(status);
      if (note.name !== 'QEMU') continue;
      const cpu = this.#readable('NOTES_INVALID', note.offset, () => parseQemuCpu(note));
      if (cpu !== undefined || note.type === 0) cpus.push(cpu);
    }
    const events: ImageEvent[] = [];
    const count = Math.max(statuses.length, cpus.length);
    for (let vcpu = 0; vcpu < Math.min(count, LIMITS.vcpus); vcpu++) {
      const cpu = cpus[vcpu];
      if (cpu !== undefined) events.push(qemuVcpu(vcpu, cpu));
      else if (statuses[vcpu] !== undefined) events.push(statusVcpu(vcpu, statuses[vcpu]));
    }
    if (cpus.length > 0 && statuses.length > 0 && cpus.length !== statuses.length) {
      const place = { offset: notes[0].offset, path: 'ELF/notes', section: 'foreign/elf 5.2' };
      const data = { statuses: statuses.length, qemu: cpus.length };
      this.found.report('strict', 'COUNT_MISMATCH', "not every CPU has a status and a note of QEMU's", place, data);
    }
    return events;
  }

  /** What could be read, or undefined and a finding. */
  #readable<T>(code: string, offset: number, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      const { offset: at = offset, path = 'ELF/notes', section = 'foreign/elf 3' } = error;
      const place = { offset: at, path, section };
      this.found.report('warning', code, 'a note cannot be read', place, { code: error.code });
      return undefined;
    }
  }

  #listSegments({ header, segments }: ElfFile): void {
    const { onNative } = this.options;
    if (onNative === undefined) return;
    const fields = { machine: header.machine, segments: segments.length };
    const bytes = ELF_SIZES[header.wordBytes].header;
    onNative({ layer: 'elf-core', name: 'HEADER', offset: 0, bytes, section: 'foreign/elf 1', fields });
    for (const { type, offset, fileBytes, memoryBytes, physicalAddress } of segments) {
      const name = type === SEGMENT_TYPE.load ? 'LOAD' : type === SEGMENT_TYPE.note ? 'NOTE' : `type ${type}`;
      const section = type === SEGMENT_TYPE.note ? 'foreign/elf 3' : 'foreign/elf 5.1';
      const about = { physicalAddress: `0x${physicalAddress.toString(16)}`, memoryBytes };
      onNative({ layer: 'elf-core', name, offset, bytes: fileBytes, section, fields: about });
    }
  }
}

function pagesEvent(firstPfn: number, pages: number, source: Uint8Array | null, bytesOffset: number): PagesEvent {
  return {
    kind: 'pages',
    bytesOffset,
    *runs(): Generator<PageRun> {
      yield { firstPfn, pages, pageClass: PAGE_CLASS.ordinary, source, at: 0 };
    },
  };
}

function isX86({ header }: ElfFile): boolean {
  return header.machine === MACHINE.i386 || header.machine === MACHINE.x8664;
}

function headOf({ header }: ElfFile, vcpus: number): ImageHead {
  return {
    kind: 'head',
    isCore: true,
    domainType: 'unknown',
    byteOrder: header.littleEndian ? 'little' : 'big',
    wordBits: header.machine === MACHINE.i386 || header.wordBytes === 4 ? 32 : 64,
    machine: header.machine,
    pageSize: PAGE_BYTES,
    about: { source: { hypervisor: 'unknown', versions: {} }, vcpus },
  };
}
