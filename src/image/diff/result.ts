/** What a comparison of two images says: spec/cli-json.md 13. All of it is JSON. */
import type { Json } from '../../bytes/bounded-json.ts';
import type { FormatName } from '../identify/layers.ts';
import type { Part } from './parts.ts';

/** One of the two images. */
export type Side = 'a' | 'b';

/** Pages that follow each other. */
export interface PageRange {
  readonly firstPfn: number;
  readonly pages: number;
}

/** How many pages and ranges there are, and the first of the ranges. */
export interface RangeList<Range extends PageRange = PageRange> {
  readonly pages: number;
  readonly ranges: number;
  readonly first: readonly Range[];
}

/** Pages of one image only; of them zero pages. */
export interface OnlyPages extends RangeList {
  readonly zeroPages: number;
}

/** Pages that both images name, as something else: numbers of stream 7.1. */
export interface ClassRange extends PageRange {
  readonly a: number;
  readonly b: number;
}

/** Where a page differs: its first places. */
export interface PageBytes {
  readonly pfn: number;
  /** How many bytes differ. */
  readonly bytes: number;
  readonly spans: readonly { readonly offset: number; readonly bytes: number }[];
}

export interface MemoryDiff {
  readonly pages: Readonly<Record<Side, number>>;
  readonly same: number;
  readonly different: RangeList;
  readonly onlyA: OnlyPages;
  readonly onlyB: OnlyPages;
  readonly classes: RangeList<ClassRange> | null;
  /**
   * Set where page tables of one image name frames of the machine, and those of the other pfns: how they were compared.
   */
  readonly pageTables: {
    readonly framesIn: Side;
    /** Pages that were taken for page tables. */
    readonly pages: number;
    /** Entries whose frame was put as a pfn. */
    readonly mapped: number;
    /** Entries of the hypervisor's own slots, which a save does not hold. */
    readonly hypervisor: number;
  } | null;
  readonly bytes?: readonly PageBytes[];
}

/** A register, or a field beside the registers, that differs: hexadecimal digits, or true and false. */
export interface RegisterDiff {
  readonly name: string;
  readonly a: string | boolean;
  readonly b: string | boolean;
}

export interface VcpuDiff {
  readonly vcpu: number;
  /** How many registers both know. */
  readonly compared: number;
  readonly registers: readonly RegisterDiff[];
  /** Groups of stream 8.1 that only one image knows. */
  readonly onlyA: readonly string[];
  readonly onlyB: readonly string[];
}

export interface VcpusDiff {
  readonly onlyA: readonly number[];
  readonly onlyB: readonly number[];
  readonly both: readonly VcpuDiff[];
}

/** Content that is opaque. */
export interface BlobDiff {
  readonly same: boolean;
  readonly bytes: Readonly<Record<Side, number>>;
  readonly sha256: Readonly<Record<Side, string>>;
  /** First byte that differs, or the end of the shorter one; null when they are the same. */
  readonly offset: number | null;
}

/** State of a processor in a form of its own. */
export interface VcpuStateDiff extends BlobDiff {
  readonly vcpu: number;
  readonly kind: number;
}

export interface VcpuStatesDiff {
  readonly onlyA: readonly { readonly vcpu: number; readonly kind: number }[];
  readonly onlyB: readonly { readonly vcpu: number; readonly kind: number }[];
  readonly both: readonly VcpuStateDiff[];
}

/** A register of a leaf that differs; 8 hexadecimal digits. */
export interface CpuidDiff {
  readonly leaf: string;
  readonly subleaf: string;
  readonly register: 'eax' | 'ebx' | 'ecx' | 'edx';
  readonly a: string;
  readonly b: string;
  /** Of a register of features: the bits that one of them has alone. */
  readonly bits: readonly { readonly bit: number; readonly name: string | null; readonly in: Side }[];
}

export interface CpuidPolicyDiff {
  readonly leaves: Readonly<Record<Side, number>>;
  readonly onlyA: readonly string[];
  readonly onlyB: readonly string[];
  readonly different: readonly CpuidDiff[];
}

export interface MsrPolicyDiff {
  readonly msrs: Readonly<Record<Side, number>>;
  readonly onlyA: readonly string[];
  readonly onlyB: readonly string[];
  readonly different: readonly {
    readonly index: string;
    readonly name: string | null;
    readonly a: string;
    readonly b: string;
  }[];
}

/** Something that an object of JSON says differently; absent on the side that does not say it. */
export interface KeyDiff {
  readonly path: string;
  readonly a?: Json;
  readonly b?: Json;
}

/** A list of facts that differ, and how many there are. */
export interface KeyList {
  readonly count: number;
  readonly first: readonly KeyDiff[];
}

export interface DeviceDiff extends BlobDiff {
  readonly name: string;
  /** Facts beside the content that differ: format, version, fingerprint. */
  readonly facts: readonly KeyDiff[];
  /** Set where the content is JSON on both sides, and is compared as that. */
  readonly keys: KeyList | null;
}

export interface DevicesDiff {
  readonly onlyA: readonly { readonly name: string; readonly format: string; readonly bytes: number }[];
  readonly onlyB: readonly { readonly name: string; readonly format: string; readonly bytes: number }[];
  readonly both: readonly DeviceDiff[];
}

export interface DisksDiff {
  readonly onlyA: readonly string[];
  readonly onlyB: readonly string[];
  readonly both: readonly { readonly name: string; readonly facts: readonly KeyDiff[] }[];
}

/** A page of tmem: pool, object words in decimal digits, index. */
export interface TmemHandleJson {
  readonly pool: number;
  readonly object: readonly [string, string, string];
  readonly index: number;
}

export interface TmemPagesList {
  readonly pages: number;
  readonly first: readonly TmemHandleJson[];
}

export interface TmemDiff {
  /** What the clients say differently. */
  readonly client: readonly KeyDiff[];
  /** Pools, by slot, whose kind differs, or which only one image has. */
  readonly pools: readonly { readonly pool: number; readonly facts: readonly KeyDiff[] }[];
  /** Persistent pages. */
  readonly same: number;
  readonly different: TmemPagesList;
  readonly onlyA: TmemPagesList;
  readonly onlyB: TmemPagesList;
}

/** What is said of one of the images. */
export interface DiffSide {
  readonly format: FormatName;
  readonly nesting: readonly string[];
  readonly name: string | null;
  readonly uuid: string | null;
}

/** The result of {@link diffImages}: spec/cli-json.md 13. */
export interface ImageDiff {
  /** Whether nothing that was compared differs. */
  readonly same: boolean;
  readonly a: DiffSide;
  readonly b: DiffSide;
  /** The parts that differ. */
  readonly differing: readonly Part[];
  /** Parts that were not compared, because one image has no place for them. */
  readonly notCompared: readonly { readonly part: Part; readonly in: Side | 'both'; readonly why: string }[];
  readonly head: readonly KeyDiff[];
  readonly memory: MemoryDiff | null;
  readonly vcpus: VcpusDiff | null;
  readonly vcpuStates: VcpuStatesDiff | null;
  readonly cpuid: CpuidPolicyDiff | null;
  readonly msrs: MsrPolicyDiff | null;
  readonly devices: DevicesDiff | null;
  readonly disks: DisksDiff | null;
  readonly tmem: TmemDiff | null;
  /** Name and uuid where they differ: who it is, and not what it is; it does not count. */
  readonly about: readonly KeyDiff[];
}
