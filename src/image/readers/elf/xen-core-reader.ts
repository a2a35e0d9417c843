import { isZeroRange } from '../../../codec/platform.ts';
import { elfError } from '../../../foreign/elf/elf-error.ts';
import { ELF_SIZES } from '../../../foreign/elf/elf-file.ts';
import { XenCore } from '../../../foreign/elf/xen-core.ts';
import { XEN_SECTION } from '../../../foreign/elf/xen-notes.ts';
import { BODY } from '../../../foreign/xen-libxc/constants.ts';
import { contextFrames } from '../../../foreign/xen-libxc/guest-context.ts';
import { LIMITS } from '../../../stream/limits.ts';
import { PAGE_CLASS, type PageRun } from '../../../stream/records/ram.ts';
import { ExtentLog } from '../../extent-log.ts';
import { DEVICE_FORMAT, type ImageEvent } from '../../model/event.ts';
import { fileDevice } from '../file-device.ts';
import { keepBytes, RandomInput } from '../random-input.ts';
import { blob } from '../xen/states.ts';
import { hvmEvents, pvContext, pvEvents } from './context-vcpus.ts';
import { checkShape, headOf, noPfn, versionOf, widthOf } from './xen-core-head.ts';
import { checkWhole, elfEnd, reportGaps, trailingOf } from './places.ts';
import { WholeReader } from '../whole-reader.ts';

/** Entries of the table that are read at once. */
const TABLE_STEP = 8192;
/** Bytes of pages that are read at once. */
const PAGES_BYTES = 1024 * 1024;

/** Lengths of contexts of a toolstack of 64 and of 32 bits (foreign/elf 4.2). */
const HVM_CONTEXT_BYTES: readonly number[] = [BODY.vcpuBasic64, BODY.vcpuBasic32];
/** Most bytes of contexts of vCPUs, which are held: 4,096 of them have 20 MiB. */
const CONTEXTS_BYTES = 64 * 1024 * 1024;

/** What a look through the table finds. */
interface TableLook {
  /** pfns of the frames that contexts name. */
  readonly wanted: ReadonlyMap<number, number>;
}

/** Reads a core of Xen's shape as events of the model. It goes back in the file: the table names pages before it. */
export class XenCoreReader extends WholeReader {
  readonly format = 'xen-core';
  /** By number: the order in which devices are named first. */
  #devices = 0;

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const input = new RandomInput(this.source, this.options);
    const core = await XenCore.open(input.random);
    checkShape(core);
    this.#listSections(core);
    const end = elfEnd(core.file);
    const contexts = await this.#contexts(core);
    const { wanted } = await this.#look(core, contexts);
    yield headOf(core);
    yield this.#named(await this.#notes(core, input));
    yield* this.#vcpus(core, contexts, wanted);
    const sharedInfo = await core.readSharedInfo();
    if (sharedInfo !== undefined) {
      yield this.#named(blob('shared-info', DEVICE_FORMAT.xenSharedInfo, versionOf(core), sharedInfo));
    }
    let tableDevice = -1;
    if (core.tableKind === 'p2m') {
      tableDevice = this.#devices;
      const { offset, bytes } = core.table;
      const part = { offset, bytes, path: 'ELF/xen_p2m', section: 'foreign/elf 4.3' };
      const device = { name: 'xen-p2m', format: DEVICE_FORMAT.xenP2m, version: versionOf(core) };
      yield this.#named(await fileDevice(input, device, part));
    }
    checkWhole(input, end);
    yield* this.#inOrder(core, input, end, tableDevice);
    await reportGaps(input, core.file, end, this.found);
    this.trailing = await trailingOf(input, end, this.found, 'foreign/elf 4');
    if (!input.container) await input.keep(this.options.origin, end, input.size);
    this.offset = input.size;
    yield { kind: 'end', bytes: end };
  }

  /** The pages, and for ORIGIN all that stands before, between and behind pages and table, in the file's order. */
  async *#inOrder(core: XenCore, input: RandomInput, end: number, tableDevice: number): AsyncGenerator<ImageEvent> {
    const { origin } = this.options;
    const pagesEnd = core.pagesAt + core.pageCount * core.pageBytes;
    const tableEnd = core.table.offset + core.table.bytes;
    const tableFirst = core.table.offset < core.pagesAt;
    let at = 0;
    if (tableFirst) {
      await input.keep(origin, 0, core.table.offset);
      await this.#keepTable(core, tableDevice);
      at = tableEnd;
    }
    await input.keep(origin, at, core.pagesAt);
    yield* this.#pages(core, input);
    at = pagesEnd;
    if (!tableFirst) {
      await input.keep(origin, at, core.table.offset);
      await this.#keepTable(core, tableDevice);
      at = tableEnd;
    }
    await input.keep(origin, at, end);
  }

  async *#pages(core: XenCore, input: RandomInput): AsyncGenerator<ImageEvent> {
    const { pageBytes, pageCount } = core;
    const step = PAGES_BYTES / pageBytes;
    const pfns = new Float64Array(step);
    const buffer = new Uint8Array(PAGES_BYTES);
    for (let first = 0; first < pageCount; first += step) {
      const count = await core.readTable(first, pfns);
      const bytes = buffer.subarray(0, count * pageBytes);
      const bytesOffset = core.pagesAt + first * pageBytes;
      await input.fill(bytesOffset, bytes, 'ELF/xen_pages', 'foreign/elf 4.3');
      this.offset = bytesOffset + bytes.byteLength;
      const entries = pfns.subarray(0, count);
      this.#keepPages(entries, bytes, pageBytes, bytesOffset);
      yield { kind: 'pages', bytesOffset, runs: () => entryRuns(entries, bytes, pageBytes) };
    }
  }

  /** Pages of entries that stand for none are no pages of the model, and zero, which is looked at. */
  #keepPages(pfns: Float64Array, bytes: Uint8Array, pageBytes: number, offset: number): void {
    const { origin } = this.options;
    for (let entry = 0; entry < pfns.length;) {
      let run = 1;
      while (entry + run < pfns.length && pfns[entry + run] < 0 === pfns[entry] < 0) run++;
      const part = bytes.subarray(entry * pageBytes, (entry + run) * pageBytes);
      if (pfns[entry] >= 0) origin?.pages(run);
      else {
        if (origin !== undefined) keepBytes(origin, part);
        if (!isZeroRange(part, 0, part.byteLength)) {
          const place = { offset: offset + entry * pageBytes, path: 'ELF/xen_pages', section: 'foreign/elf 4.3' };
          this.found.report('warning', 'ENTRY_CONTENT', 'a page without a number is not zero', place);
        }
      }
      entry += run;
    }
  }

  /** The table for ORIGIN: a p2m is a device, pfns alone are neighbours for the most part (foreign/origin 2.3). */
  async #keepTable(core: XenCore, device: number): Promise<void> {
    const { origin } = this.options;
    if (origin === undefined) return;
    if (device >= 0) {
      origin.device(device, 0, core.table.bytes);
      return;
    }
    const input = new RandomInput(this.source, this.options);
    const { offset, bytes } = core.table;
    for await (const step of input.steps(offset, offset + bytes, 'ELF/xen_pfn', 'foreign/elf 4.3')) {
      const copy = step.slice();
      origin.entries(new Uint32Array(copy.buffer), copy.byteLength / 8);
    }
  }

  /** Looks through the table once: are its pages in order, and which pfns have the frames that are wanted? */
  async #look(core: XenCore, contexts: readonly Uint8Array[]): Promise<TableLook> {
    const frames = new Set<number>();
    if (core.tableKind === 'p2m') {
      const width = widthOf(core);
      for (const entry of contexts) {
        const context = pvContext(entry, width);
        for (const frame of context === undefined ? [] : contextFrames(context, width)) frames.add(frame);
      }
    }
    const wanted = new Map<number, number>();
    const pfns = new Float64Array(TABLE_STEP);
    const others = new Float64Array(TABLE_STEP);
    const log = new ExtentLog();
    let [last, ascending, valid] = [-1, true, 0];
    for (let first = 0; first < core.pageCount; first += TABLE_STEP) {
      const count = await core.readTable(first, pfns, others);
      for (let i = 0; i < count; i++) {
        const pfn = pfns[i];
        if (pfn < 0) continue;
        if (pfn >= LIMITS.pfnEnd) throw noPfn(core, first + i);
        if (pfn <= last) ascending = false;
        last = pfn;
        valid++;
        log.add(pfn, 1, true, 0);
        if (frames.has(others[i])) wanted.set(others[i], pfn);
      }
    }
    const place = { offset: core.table.offset, path: `ELF/xen_${core.tableKind}`, section: 'foreign/elf 4.3' };
    if (!ascending) {
      this.found.report('strict', 'TABLE_ORDER', 'the pages are not in the order of their numbers', place);
      const twice = valid - log.countPresent();
      const data = { pages: twice };
      if (twice > 0) this.found.report('warning', 'PFN_TWICE', 'pages are there twice; the last counts', place, data);
    }
    return { wanted };
  }

  async #contexts(core: XenCore): Promise<Uint8Array[]> {
    const contexts: Uint8Array[] = [];
    const count = Math.min(core.vcpuCount, LIMITS.vcpus);
    if (count * core.vcpuBytes > CONTEXTS_BYTES) {
      const what = `Contexts of ${count * core.vcpuBytes} bytes, the limit is ${CONTEXTS_BYTES}`;
      throw elfError('LIMIT_EXCEEDED', what, core.vcpuAt(0), 'xen_prstatus', '4.2');
    }
    for (let vcpu = 0; vcpu < count; vcpu++) contexts.push(await core.readVcpu(vcpu));
    const { vcpus, pages } = core.notes.header;
    if (vcpus !== core.vcpuCount || pages !== core.pageCount) {
      const place = { offset: core.allNotes[0]?.offset ?? 0, path: 'ELF/notes/header', section: 'foreign/elf 4.1' };
      const data = { vcpus, contexts: core.vcpuCount, pages, entries: core.pageCount };
      this.found.report('strict', 'COUNT_MISMATCH', 'the header note counts otherwise than the sections', place, data);
    }
    return contexts;
  }

  *#vcpus(core: XenCore, contexts: readonly Uint8Array[], wanted: ReadonlyMap<number, number>): Generator<ImageEvent> {
    for (const [vcpu, entry] of contexts.entries()) {
      const place = { offset: core.vcpuAt(vcpu), path: `ELF/xen_prstatus[${vcpu}]`, section: 'foreign/elf 4.2' };
      const width = widthOf(core);
      const isPv = core.tableKind === 'p2m';
      const context = isPv ? pvContext(entry, width) : entry;
      if (context === undefined || (!isPv && !HVM_CONTEXT_BYTES.includes(entry.byteLength))) {
        this.found.report('warning', 'CONTEXT_INVALID', 'the context of a vCPU has another length', place);
      } else if (isPv) {
        const pfnOf = (frame: number): number => wanted.get(frame) ?? -1;
        const { events, lost } = pvEvents(vcpu, context, width, pfnOf, place);
        if (lost !== undefined) {
          const data = { frame: lost.frame, register: lost.what };
          this.found.report('warning', 'FRAME_UNKNOWN', 'a context names a frame that is no page', place, data);
        }
        yield* events;
      } else {
        yield* hvmEvents(vcpu, context, place);
      }
    }
    // What Xen leaves out of the contexts of such guests can't be made again from registers: they are kept too.
    if (core.tableKind === 'pfn' && contexts.length > 0) {
      const all = new Uint8Array(contexts.length * core.vcpuBytes);
      for (const [vcpu, context] of contexts.entries()) all.set(context, vcpu * core.vcpuBytes);
      yield this.#named(blob('xen-vcpu-contexts', DEVICE_FORMAT.xenContexts, versionOf(core), all));
    }
  }

  async #notes(core: XenCore, input: RandomInput): Promise<ImageEvent> {
    const { offset, bytes } = core.file.sections[core.names.indexOf(XEN_SECTION.notes)];
    const part = { offset, bytes, path: 'ELF/notes', section: 'foreign/elf 3' };
    return fileDevice(
      input,
      { name: 'xen-core-notes', format: DEVICE_FORMAT.xenCoreNotes, version: versionOf(core) },
      part,
    );
  }

  #named(event: ImageEvent): ImageEvent {
    this.#devices++;
    return event;
  }

  #listSections(core: XenCore): void {
    const { onNative } = this.options;
    if (onNative === undefined) return;
    const { sections, header } = core.file;
    const fields = { machine: header.machine, sections: sections.length, tableKind: core.tableKind };
    const bytes = ELF_SIZES[header.wordBytes].header;
    onNative({ layer: 'xen-core', name: 'HEADER', offset: 0, bytes, section: 'foreign/elf 1', fields });
    for (const [index, section] of sections.entries()) {
      if (index === 0) continue;
      const { offset, bytes: length, entryBytes } = section;
      const name = core.names[index];
      onNative({ layer: 'xen-core', name, offset, bytes: length, section: 'foreign/elf 4', fields: { entryBytes } });
    }
  }
}

/** Entries of the table and their pages as runs: neighbours that ascend. */
function* entryRuns(pfns: Float64Array, bytes: Uint8Array, pageBytes: number): Generator<PageRun> {
  const run: PageRun = { firstPfn: 0, pages: 0, pageClass: PAGE_CLASS.ordinary, source: bytes, at: 0 };
  for (let entry = 0; entry < pfns.length;) {
    let pages = 1;
    if (pfns[entry] >= 0) {
      while (entry + pages < pfns.length && pfns[entry + pages] === pfns[entry] + pages) pages++;
      run.firstPfn = pfns[entry];
      run.pages = pages;
      run.at = entry * pageBytes;
      yield run;
    }
    entry += pages;
  }
}
