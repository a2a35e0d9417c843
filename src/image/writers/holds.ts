/**
 * What each format can hold of the model (spec/foreign/model.md 5.3), as data: conversion compares an image with it,
 * and the table of docs/conversions.md is made from it. A constant a format; the table of all of them is in formats.ts.
 */
import type { DomainName } from '../../stream/preamble.ts';
import type { FormatName } from '../identify/layers.ts';
import { DEVICE_FORMAT, VCPU_STATE } from '../model/event.ts';

/** Device blobs that a format has a place for. */
export interface HeldDevices {
  /** The blobs' format, of model 3.1. */
  readonly format: string;
  /** Their names; one that ends in `*` stands for all that begin like it. Absent: any. */
  readonly names?: readonly string[];
  /** They come from another format, and take this one's form: an image of this format does not have them so named. */
  readonly becomes?: string;
}

/** What a format can hold. What is not named is lost in a conversion to it. */
export interface FormatHolds {
  readonly format: FormatName;
  /** Types of domains it can be an image of; null: of any. */
  readonly domains: readonly DomainName[] | null;
  /** Registers of vCPUs, in records or inside a blob of the format. */
  readonly vcpus: boolean;
  /** Kinds of vCPU states (stream 8.2); null: any. */
  readonly vcpuStates: readonly number[] | null;
  readonly cpuid: boolean;
  readonly msrs: boolean;
  /** Null: any device blob. */
  readonly devices: readonly HeldDevices[] | null;
  readonly disks: boolean;
  readonly tmem: boolean;
  /** Stream-local records of our own stream. */
  readonly ownRecords: boolean;
  /** Classes of pages (stream 7.1): `all`; `presence`, whether a page is there; `none`, what is not there is zeros. */
  readonly pageClasses: 'all' | 'presence' | 'none';
  /** More than one checkpoint. */
  readonly checkpoints: boolean;
  /** What ABOUT says of the machine that has a place of its own: of `name`, `uuid`, `configuration`. */
  readonly about: readonly string[];
  /** A blob without which an image can be written, and needs help to be restored: by its format, and which help. */
  readonly wants?: { readonly device: string; readonly why: string };
}

export const TMIG_HOLDS: FormatHolds = {
  format: 'tmig',
  domains: null,
  vcpus: true,
  vcpuStates: null,
  cpuid: true,
  msrs: true,
  devices: null,
  disks: true,
  tmem: true,
  ownRecords: true,
  pageClasses: 'all',
  checkpoints: true,
  about: ['name', 'uuid', 'configuration'],
};

/** Blobs that are records of a libxc stream. TOOLSTACK is none of them: Xen refuses it (foreign/xen-libxc 5.2). */
const LIBXC_DEVICES: readonly HeldDevices[] = [
  { format: DEVICE_FORMAT.xenPvInfo, names: ['pv-info'] },
  { format: DEVICE_FORMAT.xenP2mFrames, names: ['p2m-frames'] },
  { format: DEVICE_FORMAT.xenSharedInfo, names: ['shared-info'] },
  { format: DEVICE_FORMAT.xenTscInfo, names: ['tsc-info'] },
  { format: DEVICE_FORMAT.xenHvmContext, names: ['hvm-context'] },
  { format: DEVICE_FORMAT.xenHvmParams, names: ['hvm-params'] },
  { format: DEVICE_FORMAT.xenOptional, names: ['libxc-*'] },
];

const LIBXC_HOLDS = {
  domains: ['pv', 'hvm', 'pvh'],
  vcpus: true,
  vcpuStates: [
    VCPU_STATE.fxsave,
    VCPU_STATE.xenPvBasic,
    VCPU_STATE.xenPvExtended,
    VCPU_STATE.xenPvXsave,
    VCPU_STATE.xenPvMsrs,
  ],
  cpuid: true,
  msrs: true,
  devices: LIBXC_DEVICES,
  disks: false,
  tmem: false,
  ownRecords: false,
  pageClasses: 'all',
  checkpoints: false,
  about: [],
} as const satisfies Omit<FormatHolds, 'format'>;

export const XEN_LIBXC_HOLDS: FormatHolds = { ...LIBXC_HOLDS, format: 'xen-libxc' };

/** Version 2 has no policies (foreign/xen-libxc 10). */
export const XEN_LIBXC_V2_HOLDS: FormatHolds = { ...LIBXC_HOLDS, format: 'xen-libxc-v2', cpuid: false, msrs: false };

/** libxl refuses optional records of its own stream (foreign/xen-libxl 3). */
export const LIBXL_HOLDS: FormatHolds = {
  ...LIBXC_HOLDS,
  format: 'libxl',
  devices: [
    ...LIBXC_DEVICES,
    { format: DEVICE_FORMAT.qemu, names: ['emulator-*'] },
    { format: DEVICE_FORMAT.xenXenstore, names: ['emulator-*'] },
    {
      format: DEVICE_FORMAT.xenopsdSection,
      names: ['xenopsd-QEMU_TRAD', 'xenopsd-QEMU_XEN'],
      becomes: 'emulator-2-0',
    },
  ],
};

export const XL_HOLDS: FormatHolds = {
  ...LIBXL_HOLDS,
  format: 'xl',
  devices: [...LIBXL_HOLDS.devices!, { format: DEVICE_FORMAT.xlConfig }],
  wants: {
    device: DEVICE_FORMAT.xlConfig,
    why: 'the image has no configuration, and xl must be given one: `xl restore CONFIG FILE`',
  },
};

/** The state of one emulator goes into QEMU_TRAD; xenstore's nodes have no place (foreign/xenopsd 2.1). */
export const XENOPSD_HOLDS: FormatHolds = {
  ...LIBXC_HOLDS,
  format: 'xenopsd',
  devices: [
    ...LIBXC_DEVICES,
    {
      format: DEVICE_FORMAT.xenopsdSection,
      names: ['XENOPS', 'VARSTORED', 'SWTPM0', 'SWTPM', 'QEMU_TRAD', 'QEMU_XEN'].map((tag) => `xenopsd-${tag}`),
    },
    { format: DEVICE_FORMAT.qemu, names: ['emulator-1-0', 'emulator-2-0'], becomes: 'xenopsd-QEMU_TRAD' },
  ],
};

/** What the formats have in common that are no streams of Xen: memory, and little else. */
const MEMORY_HOLDS = {
  domains: null,
  vcpus: false,
  vcpuStates: [],
  cpuid: false,
  msrs: false,
  devices: [],
  disks: false,
  tmem: false,
  ownRecords: false,
  pageClasses: 'presence',
  checkpoints: false,
  about: [],
} as const satisfies Omit<FormatHolds, 'format'>;

/** Memory, contexts of processors, and the shared info page (foreign/elf 4). */
export const XEN_CORE_HOLDS: FormatHolds = {
  ...MEMORY_HOLDS,
  format: 'xen-core',
  vcpus: true,
  vcpuStates: [VCPU_STATE.fxsave, VCPU_STATE.xenPvBasic],
  devices: [
    { format: DEVICE_FORMAT.xenSharedInfo },
    { format: DEVICE_FORMAT.xenP2m },
    { format: DEVICE_FORMAT.xenContexts },
    { format: DEVICE_FORMAT.xenCoreNotes },
  ],
};

/** Memory, registers of processors, and notes (foreign/elf 5). */
export const ELF_CORE_HOLDS: FormatHolds = {
  ...MEMORY_HOLDS,
  format: 'elf-core',
  vcpus: true,
  devices: [{ format: DEVICE_FORMAT.elfNotes }],
};

export const RAW_HOLDS: FormatHolds = { ...MEMORY_HOLDS, format: 'raw', pageClasses: 'none' };

/** The state of one v86 machine; its registers are in its blob (foreign/v86 2). */
export const V86_HOLDS: FormatHolds = {
  ...MEMORY_HOLDS,
  format: 'v86',
  domains: ['emulated'],
  vcpus: true,
  vcpuStates: [VCPU_STATE.fxsave],
  devices: [{ format: DEVICE_FORMAT.v86 }],
  pageClasses: 'none',
};

/** The domain in its own texts, and a stream of QEMU, which memory is in too (foreign/libvirt 2 and 3). */
export const LIBVIRT_HOLDS: FormatHolds = {
  ...MEMORY_HOLDS,
  format: 'libvirt',
  devices: [
    { format: DEVICE_FORMAT.libvirtXml },
    { format: DEVICE_FORMAT.libvirtCookie },
    ...['', '+gzip', '+bzip2', '+xz', '+zstd'].map((stored) => ({
      format: `${DEVICE_FORMAT.qemu}${stored}`,
      names: ['qemu-stream-*'],
    })),
  ],
  about: ['name', 'uuid'],
};

/**
 * What a format holds where its bytes are passed on as they are: all that is of its own layer, also what is not written
 * anew, and nothing that would have to take its form.
 */
export function passedHolds(holds: FormatHolds): FormatHolds {
  const own = (holds.devices ?? []).filter(({ becomes }) => becomes === undefined);
  const optional = holds.format === 'libxl' ? ['libxl-*'] : [];
  return {
    ...holds,
    checkpoints: true,
    devices: [...own, { format: DEVICE_FORMAT.xenToolstack }, { format: DEVICE_FORMAT.xenOptional, names: optional }],
  };
}
