import { configurationOfState } from '../../../foreign/v86/configuration.ts';
import { memoryBuffersOf, memoryOfState, V86_PAGE_BYTES, type StateMemory } from '../../../foreign/v86/memory.ts';
import { registersOf } from '../../../foreign/v86/registers.ts';
import { releaseOfState } from '../../../foreign/v86/release.ts';
import {
  layoutState,
  parseSaveState,
  parseStateHead,
  STATE_HEADER,
  stateError,
  stateHeadBytes,
  type SaveState,
  type StateHead,
} from '../../../foreign/v86/save-state.ts';
import type { Work } from '../../../io/work.ts';
import { PAGE_CLASS, type PageRun } from '../../../stream/records/ram.ts';
import {
  DEVICE_FORMAT,
  MACHINE,
  VCPU_STATE,
  type ImageEvent,
  type ImageHead,
  type PagesEvent,
} from '../../model/event.ts';
import type { ReaderOptions } from '../../model/reader.ts';
import { RandomInput } from '../random-input.ts';
import { blob } from '../xen/states.ts';
import { WholeReader } from '../whole-reader.ts';

/** Pages that are read at once: 1 MiB. */
const STEP_PAGES = 256;
/** Most bytes of what is not memory, which are held: of video memory for the most part. */
const DEVICES_BYTES = 256 * 1024 * 1024;
/** The one device of a state. */
const DEVICE = { number: 0, name: 'machine' } as const;
const SECTION = 'foreign/v86 1';

export interface V86ReaderOptions extends ReaderOptions, Work {
  /** The exact version of v86 that wrote the state; when absent it is told by the state (foreign/v86 2). */
  readonly version?: string | undefined;
}

/** A state without its pages. */
interface Split {
  readonly head: StateHead;
  readonly memory: StateMemory;
  /** The device blob (foreign/v86 6), and where in it each buffer stands. */
  readonly devices: Uint8Array;
  readonly offsets: readonly number[];
  readonly bitmap: number;
  readonly packed: number;
}

/** Reads a state that v86 saved: memory as pages, the processor, and all the rest as one device blob. */
export class V86Reader extends WholeReader<V86ReaderOptions> {
  readonly format = 'v86';

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const input = new RandomInput(this.source, this.options);
    const split = await this.#split(input);
    const { head, devices } = split;
    await this.#trailing(input, head);
    this.#list(head);
    const state = parseSaveState(devices);
    const release = this.options.version ?? releaseOfState(state.tree.length);
    const { halted, registers, segments, gdtr, idtr, fxsave } = registersOf(state);
    yield headOf(state, release, split.memory);
    yield { kind: 'vcpu', vcpu: { vcpu: 0, online: true, halted, registers: { ...registers }, segments, gdtr, idtr } };
    yield { kind: 'vcpu-state', vcpu: 0, stateKind: VCPU_STATE.fxsave, content: fxsave };
    yield blob(DEVICE.name, DEVICE_FORMAT.v86, release, devices);
    yield* this.#buffers(input, split);
    if (!input.container) await input.keep(this.options.origin, head.totalBytes, input.size);
    this.offset = input.size;
    yield { kind: 'end', bytes: head.totalBytes };
  }

  /** Everything but the pages. */
  async #split(input: RandomInput): Promise<Split> {
    const start = await this.#exactly(input, 0, STATE_HEADER.bytes);
    const head = parseStateHead(await this.#exactly(input, 0, stateHeadBytes(start)));
    if (head.totalBytes > input.size) {
      const what = `The header says ${head.totalBytes} bytes, and ${input.size} are there`;
      throw stateError('TRUNCATED', what, 8);
    }
    const { packed, bitmap } = memoryBuffersOf(head.tree);
    const held = head.buffers.reduce((sum, { length }, id) => (id === packed ? sum : sum + length), 0);
    if (held > DEVICES_BYTES) {
      const what = `Devices of ${held} bytes, the limit is ${DEVICES_BYTES}`;
      throw stateError('LIMIT_EXCEEDED', what, STATE_HEADER.bytes, 'buffer_infos');
    }
    const contents: Uint8Array[] = [];
    for (const [id, { offset, length }] of head.buffers.entries()) {
      contents.push(id === packed ? new Uint8Array(0) : await this.#exactly(input, offset, length));
    }
    const memory = memoryOfState(head, () => contents[bitmap]);
    contents[bitmap] = new Uint8Array(0);
    const lengths = contents.map((content) => content.byteLength);
    const { head: blobHead, offsets, totalBytes } = layoutState(head.info, lengths);
    const devices = new Uint8Array(totalBytes);
    devices.set(blobHead);
    for (const [id, content] of contents.entries()) devices.set(content, offsets[id]);
    return { head, memory, devices, offsets, bitmap, packed };
  }

  /** What the header says was not compared with the size before the first reads. */
  async #exactly(input: RandomInput, position: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, input.size - position)));
    await input.fill(position, bytes, 'v86 state', SECTION);
    if (bytes.byteLength === length) return bytes;
    throw stateError('TRUNCATED', `The v86 state ends at ${input.size}`, input.size);
  }

  /** v86 compares its length with that of what it is given, and refuses another. */
  async #trailing(input: RandomInput, { totalBytes }: StateHead): Promise<void> {
    const bytes = input.size - totalBytes;
    if (bytes === 0) return;
    this.trailing = { bytes, zero: await input.isZero(totalBytes, input.size) };
    if (input.container) return;
    const place = { offset: totalBytes, path: 'v86 state', section: SECTION };
    this.found.report('broken', 'TRAILING_DATA', 'bytes follow the state', place, { bytes });
  }

  /** The buffers in the file's order: the pages where they stand, and for ORIGIN where the others are in the blob. */
  async *#buffers(input: RandomInput, split: Split): AsyncGenerator<ImageEvent> {
    const { origin } = this.options;
    const { head, memory, offsets, bitmap, packed } = split;
    let at = 0;
    for (const [id, { offset, length }] of head.buffers.entries()) {
      await input.keep(origin, at, offset);
      at = offset + length;
      if (id === packed) yield* this.#pages(input, memory);
      else if (id === bitmap) await input.keep(origin, offset, at);
      else if (length > 0) origin?.device(DEVICE.number, offsets[id], length);
    }
    await input.keep(origin, at, head.totalBytes);
  }

  async *#pages(input: RandomInput, { bitmap, memoryBytes, packedOffset }: StateMemory): AsyncGenerator<ImageEvent> {
    const { origin } = this.options;
    const pages = memoryBytes / V86_PAGE_BYTES;
    const buffer = new Uint8Array(STEP_PAGES * V86_PAGE_BYTES);
    let at = packedOffset;
    for (let first = 0; first < pages;) {
      const present = has(bitmap, first);
      let length = 1;
      while (first + length < pages && has(bitmap, first + length) === present) length++;
      if (present) {
        length = Math.min(length, STEP_PAGES);
        const bytes = buffer.subarray(0, length * V86_PAGE_BYTES);
        await input.fill(at, bytes, 'v86 state/state[77]', 'foreign/v86 3');
        origin?.pages(length);
        yield pagesEvent(first, length, bytes, at);
        at += bytes.byteLength;
        this.offset = at;
      } else {
        origin?.skip(length);
        yield pagesEvent(first, length, null, -1);
      }
      first += length;
    }
  }

  #list({ buffers, totalBytes, tree }: StateHead): void {
    const { onNative } = this.options;
    const start = buffers[0]?.offset ?? totalBytes;
    const fields = { entries: tree.length, buffers: buffers.length };
    onNative?.({ layer: 'v86', name: 'HEADER', offset: 0, bytes: start, section: SECTION, fields });
    for (const [id, { offset, length, type }] of buffers.entries()) {
      const name = `buffer ${id}`;
      onNative?.({ layer: 'v86', name, offset, bytes: length, section: 'foreign/v86 2', fields: { type } });
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

function headOf(state: SaveState, release: string, { memoryBytes }: StateMemory): ImageHead {
  return {
    kind: 'head',
    isCore: false,
    domainType: 'emulated',
    byteOrder: 'little',
    wordBits: 32,
    machine: MACHINE.i386,
    pageSize: V86_PAGE_BYTES,
    about: {
      source: { hypervisor: 'v86', versions: { v86: release } },
      configuration: configurationOfState(state),
      driver: { name: 'v86', version: release },
      memory: { bytes: memoryBytes, pages: memoryBytes / V86_PAGE_BYTES },
      vcpus: 1,
    },
  };
}

function has(bits: Uint8Array, page: number): boolean {
  return (bits[page >> 3] & (1 << (page & 7))) !== 0;
}
