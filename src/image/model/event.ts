/**
 * What every saved image is, whatever its format: events in the order in which they stand in it. Readers of formats
 * make them, and conversion, verification and all that looks into images are built on them. A page, a vCPU, a device
 * and a policy mean the same whatever the source: they are those of our own stream (stream 7 to 10).
 */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteOrderName, DomainName } from '../../stream/preamble.ts';
import type { Device, Disk } from '../../stream/records/device.ts';
import type { PageRun } from '../../stream/records/ram.ts';
import type { StreamRecord } from '../../stream/records/record.ts';
import type { TmemClient, TmemInvalidate, TmemPages, TmemPool } from '../../stream/records/tmem.ts';
import type { CpuidLeaf, Msr, VcpuX86 } from '../../stream/records/vcpu.ts';

/** What is known before the first page: what our preamble and ABOUT say (stream 2 and 6.1). Comes first, and once. */
export interface ImageHead {
  readonly kind: 'head';
  /** A core shows a machine, and is no save of one: nothing restores it (stream 2). */
  readonly isCore: boolean;
  readonly domainType: DomainName;
  readonly byteOrder: ByteOrderName;
  readonly wordBits: 32 | 64;
  /** An ELF machine number. */
  readonly machine: number;
  readonly pageSize: number;
  readonly about: JsonObject;
}

/**
 * Pages, as they come. The newest naming of a pfn counts. Everything is lent until the next event is asked for.
 */
export interface PagesEvent {
  readonly kind: 'pages';
  /**
   * Where in the image, without what is wrapped around it, the byte stands that a run's `at` of 0 names; -1 when the
   * bytes do not stand there as they are: of a compressed unit.
   */
  readonly bytesOffset: number;
  /** The runs; each is the same object. To be gone through once. */
  runs(): Iterable<PageRun>;
}

/**
 * The same pages once more, for comparison: after VERIFY (foreign/xen-libxc 5). Memory does not change by them. Only
 * with {@link ReaderOptions.again}.
 */
export interface PagesAgainEvent extends Omit<PagesEvent, 'kind'> {
  readonly kind: 'pages-again';
}

/** The registers of a processor, as far as the image has them (stream 8.1). */
export interface VcpuEvent {
  readonly kind: 'vcpu';
  readonly vcpu: Omit<VcpuX86, 'kind'>;
}

/** State of a processor in a form of its own (stream 8.2); kinds of foreign formats are in {@link VCPU_STATE}. */
export interface VcpuStateEvent {
  readonly kind: 'vcpu-state';
  readonly vcpu: number;
  readonly stateKind: number;
  readonly content: Uint8Array;
}

/** The policies that the guest was given (stream 8.3 and 8.4). */
export interface CpuidEvent {
  readonly kind: 'cpuid';
  readonly leaves: readonly CpuidLeaf[];
}
export interface MsrsEvent {
  readonly kind: 'msrs';
  readonly msrs: readonly Msr[];
}

/** A device blob, whole (stream 9.1). A later one of the same name replaces it. The content is lent. */
export interface DeviceEvent {
  readonly kind: 'device';
  readonly name: string;
  readonly format: string;
  readonly version: string;
  /** Of the device configuration; zeros when it is not known. */
  readonly fingerprint: Uint8Array;
  readonly content: Uint8Array;
}

/** The same, too long to be held: its content is fetched in parts. `read` is to be called in order. */
export interface LongDeviceEvent {
  readonly kind: 'long-device';
  readonly device: Omit<Device, 'kind' | 'device'>;
  chunks(): AsyncIterable<Uint8Array>;
}

export interface DiskEvent {
  readonly kind: 'disk';
  readonly disk: Omit<Disk, 'kind'>;
}

/** Transcendent memory, as its records in our stream (stream 10). */
export interface TmemEvent {
  readonly kind: 'tmem';
  readonly record: TmemClient | TmemPool | TmemPages | TmemInvalidate;
}

/** Records of our own stream that say something of their own: dictionary, stream-local, unknown optional ones. */
export interface OwnRecordEvent {
  readonly kind: 'own-record';
  readonly record: Extract<StreamRecord, { kind: 'DICTIONARY' | 'LOCAL' | 'UNKNOWN' }>;
}

/**
 * A part of what an image of ours keeps of the framing of the foreign one that it was made from (stream 11). It says
 * nothing about the machine: it is carried on into another image of ours. The content is lent.
 */
export interface OriginEvent {
  readonly kind: 'origin';
  readonly format: string;
  readonly content: Uint8Array;
}

/** The source scanned everything once more. */
export interface RoundEvent {
  readonly kind: 'round';
}

/** All before it is a consistent machine. The last is what counts. */
export interface CheckpointEvent {
  readonly kind: 'checkpoint';
  /** The guest's clock, in nanoseconds since 1970; 0 when it is not known. */
  readonly guestTimeNs: bigint;
  /** Bytes of the image up to here. */
  readonly end: number;
}

/** The image is whole. Nothing follows. */
export interface EndEvent {
  readonly kind: 'end';
  /** Bytes of the image, without what follows it in a larger container. */
  readonly bytes: number;
}

export type ImageEvent =
  | ImageHead
  | PagesEvent
  | PagesAgainEvent
  | VcpuEvent
  | VcpuStateEvent
  | CpuidEvent
  | MsrsEvent
  | DeviceEvent
  | LongDeviceEvent
  | DiskEvent
  | TmemEvent
  | OwnRecordEvent
  | OriginEvent
  | RoundEvent
  | CheckpointEvent
  | EndEvent;

/** Kinds of VCPU_STATE (stream 8.2): our own, and from 0x100 those of Xen's PV records (foreign/xen-libxc 7). */
export const VCPU_STATE = {
  fxsave: 1,
  xsave: 2,
  msrs: 3,
  xenPvBasic: 0x100,
  xenPvExtended: 0x101,
  xenPvXsave: 0x102,
  xenPvMsrs: 0x103,
} as const;

/** Formats of device blobs that come from foreign images (spec/foreign/model.md 3). */
export const DEVICE_FORMAT = {
  v86: 'v86-state',
  qemu: 'qemu-savevm',
  libvirtXml: 'libvirt-xml',
  libvirtCookie: 'libvirt-cookie',
  elfNotes: 'elf-notes',
  xenP2m: 'xen-p2m',
  xenContexts: 'xen-vcpu-contexts',
  xenCoreNotes: 'xen-core-notes',
  xlConfig: 'xl-config',
  xenPvInfo: 'xen-pv-info',
  xenP2mFrames: 'xen-pv-p2m-frames',
  xenSharedInfo: 'xen-shared-info',
  xenTscInfo: 'xen-tsc-info',
  xenHvmContext: 'xen-hvm-context',
  xenHvmParams: 'xen-hvm-params',
  xenToolstack: 'xen-toolstack',
  xenXenstore: 'xen-emulator-xenstore',
  xenOptional: 'xen-optional-record',
  xenopsdSection: 'xenopsd-section',
} as const;

/** ELF machine numbers. */
export const MACHINE = { none: 0, i386: 3, x8664: 62 } as const;
