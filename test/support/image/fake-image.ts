/** An open image that is a few pages in memory: for tests of what looks into one. */
import { TransmigrateError } from '../../../src/errors.ts';
import type { ImageHead } from '../../../src/image/model/event.ts';
import type {
  AbsentRun,
  ImageMemory,
  MemoryBatch,
  OpenedImage,
  OpenedVcpuState,
  PageContent,
} from '../../../src/image/open/opened-image.ts';
import { SEGMENTS, type RegisterName, type Segment, type VcpuX86 } from '../../../src/stream/records/vcpu.ts';

export const PAGE = 4096;
const ZEROS = new Uint8Array(PAGE);

/** Guest memory by pfn. Pages are made as they are written. */
export class FakeMemory implements ImageMemory {
  readonly pageSize = PAGE;
  readonly content = new Map<number, Uint8Array>();
  /** Pages that can't be read. */
  readonly damaged = new Set<number>();
  /** How often a page was read by its number. */
  reads = 0;
  pfnOfFrame: ((frame: number) => number) | undefined;

  get pages(): number {
    return this.content.size;
  }

  get pfnEnd(): number {
    return Math.max(-1, ...this.content.keys(), ...this.damaged) + 1;
  }

  page(pfn: number): Uint8Array {
    const found = this.content.get(pfn) ?? new Uint8Array(PAGE);
    this.content.set(pfn, found);
    return found;
  }

  /** Puts bytes at a physical address, over as many pages as it takes. */
  put(address: number, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) this.page(Math.floor((address + i) / PAGE))[(address + i) % PAGE] = byte;
  }

  put32(address: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.put(address, bytes);
  }

  put64(address: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.put(address, bytes);
  }

  *absent(): Generator<AbsentRun> {}

  readPage(pfn: number, into: Uint8Array): Promise<PageContent> {
    this.reads += 1;
    if (this.damaged.has(pfn)) return Promise.reject(new TransmigrateError('UNIT_CHECKSUM', `page ${pfn}`));
    const found = this.content.get(pfn);
    into.set(found ?? ZEROS);
    return Promise.resolve(found === undefined ? 'absent' : found.every((byte) => byte === 0) ? 'zero' : 'data');
  }

  pageClass(pfn: number): number | undefined {
    return this.content.has(pfn) ? 0 : undefined;
  }

  async *batches(options: { firstPfn?: number; batchPages?: number } = {}): AsyncGenerator<MemoryBatch> {
    const { firstPfn = 0, batchPages = 16 } = options;
    const pfns = [...this.content.keys()].filter((pfn) => pfn >= firstPfn).sort((a, b) => a - b);
    for (let at = 0; at < pfns.length;) {
      let pages = 1;
      while (pages < batchPages && pfns[at + pages] === pfns[at] + pages) pages += 1;
      const bytes = new Uint8Array(pages * PAGE);
      for (let i = 0; i < pages; i++) bytes.set(this.content.get(pfns[at + i])!, i * PAGE);
      yield { firstPfn: pfns[at], pages, pageClass: 0, bytes };
      // It was lent.
      bytes.fill(0xee);
      at += pages;
    }
  }
}

export const HEAD_64: ImageHead = {
  kind: 'head',
  isCore: false,
  domainType: 'hvm',
  byteOrder: 'little',
  wordBits: 64,
  machine: 62,
  pageSize: PAGE,
  about: {},
};

/** A vCPU with the registers that are given, and segments that are flat. */
export function fakeVcpu(
  registers: Partial<Record<RegisterName, bigint>>,
  changes: Partial<Omit<VcpuX86, 'kind'>> & { readonly csAttributes?: number } = {},
): Omit<VcpuX86, 'kind'> {
  const { csAttributes = 0xc9b, ...rest } = changes;
  const segments = Object.fromEntries(
    SEGMENTS.map((name): [string, Segment] => [
      name,
      { selector: 0x10, attributes: name === 'cs' ? csAttributes : 0xc93, limit: 0xffff_ffff, base: 0n },
    ]),
  ) as NonNullable<VcpuX86['segments']>;
  return { vcpu: 0, online: true, halted: false, registers, segments, gdtr: null, idtr: null, ...rest };
}

export interface FakeImageOptions {
  readonly head?: Partial<ImageHead>;
  readonly vcpus?: OpenedImage['vcpus'];
  readonly vcpuStates?: readonly OpenedVcpuState[];
}

/** An open image of fake memory; `closed` counts. */
export function fakeImage(memory: ImageMemory, options: FakeImageOptions = {}): OpenedImage & { closed: number } {
  return {
    format: 'tmig',
    nesting: ['tmig'],
    head: { ...HEAD_64, ...options.head },
    about: {},
    memory,
    vcpus: options.vcpus ?? [],
    vcpuStates: options.vcpuStates ?? [],
    cpuid: null,
    msrs: null,
    devices: [],
    disks: [],
    closed: 0,
    close() {
      this.closed += 1;
      return Promise.resolve();
    },
  };
}
