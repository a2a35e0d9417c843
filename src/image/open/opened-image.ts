/** An image that is open: what is in it at its end, at any place (spec/foreign/model.md 4). */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { CodecId } from '../../codec/codec.ts';
import type { KindName } from '../../stream/preamble.ts';
import type { Disk } from '../../stream/records/device.ts';
import type { CpuidLeaf, Msr, VcpuX86 } from '../../stream/records/vcpu.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageHead } from '../model/event.ts';
import type { OpenedTmem } from './opened-tmem.ts';

/** What a page is at the end: with content, all zero, or not present. */
export type PageContent = 'data' | 'zero' | 'absent';

/** Pages that follow each other, with their bytes, zeros too. Lent until the next batch is asked for. */
export interface MemoryBatch {
  readonly firstPfn: number;
  readonly pages: number;
  readonly pageClass: number;
  /** `pages` pages. */
  readonly bytes: Uint8Array;
}

/** Pages that follow each other and are not present. */
export interface AbsentRun {
  readonly firstPfn: number;
  readonly pages: number;
  readonly pageClass: number;
}

/** Guest memory as it is at the end of the image: the newest of each page. */
export interface ImageMemory {
  readonly pageSize: number;
  /** Pages that are present. */
  readonly pages: number;
  /** One above the highest pfn that is present; 0 when none is. */
  readonly pfnEnd: number;
  /**
   * Reads a page. @param into takes it: at least a page; of one that is absent it is cleared.
   * @throws the errors of damage where the page is damaged, READ_FAILED
   */
  readPage(pfn: number, into: Uint8Array): Promise<PageContent>;
  /** The class of a page (stream 7.1), also of one that is absent; undefined when the image does not name it. */
  pageClass(pfn: number): number | undefined;
  /** The pages that are present, in ascending pfn, in batches of at most `batchPages`. */
  batches(options?: { readonly firstPfn?: number; readonly batchPages?: number }): AsyncGenerator<MemoryBatch>;
  /** Pages that the image names and that are not present, in ascending pfn: of which class (stream 7.1). */
  absent(): Iterable<AbsentRun>;
  /**
   * Page tables of this image name frames of the machine, and not pfns (cores of PV domains), though cr3 of its vCPUs
   * names a pfn: the pfn of a frame, or -1. Undefined where they name pfns.
   */
  readonly pfnOfFrame?: ((frame: number) => number) | undefined;
  /** How the content of pages is stored, where that is known: codecs of stream 7.4. */
  readonly codecs?: ReadonlySet<CodecId> | undefined;
}

/** A device blob. */
export interface OpenedDevice {
  readonly name: string;
  readonly format: string;
  readonly version: string;
  readonly fingerprint: Uint8Array;
  readonly bytes: number;
  /** Its content in order, a part at a time; each is lent until the next. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** State of a processor in a form of its own. */
export interface OpenedVcpuState {
  readonly vcpu: number;
  readonly stateKind: number;
  readonly content: Uint8Array;
}

/** An image of any format. */
export interface OpenedImage {
  readonly format: FormatName;
  /** All layers, outermost first. */
  readonly nesting: readonly string[];
  /** Of an image of ours: what it is for (stream 2). */
  readonly kind?: KindName | undefined;
  readonly head: ImageHead;
  readonly about: JsonObject;
  readonly memory: ImageMemory;
  /** By number. */
  readonly vcpus: readonly Omit<VcpuX86, 'kind'>[];
  readonly vcpuStates: readonly OpenedVcpuState[];
  readonly cpuid: readonly CpuidLeaf[] | null;
  readonly msrs: readonly Msr[] | null;
  readonly devices: readonly OpenedDevice[];
  readonly disks: readonly Omit<Disk, 'kind'>[];
  /** null or absent when the image has none. */
  readonly tmem?: OpenedTmem | null | undefined;
  close(): Promise<void>;
}
