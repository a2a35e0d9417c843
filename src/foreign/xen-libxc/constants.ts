/** Numbers of the libxc migration stream, versions 2 and 3 (spec/foreign/xen-libxc.md). */

/** Image header (foreign/xen-libxc 1). */
export const IMAGE_HEADER = { bytes: 24, id: 0x58454e46, versions: [2, 3], bigEndian: 1 } as const;
/** Domain header (foreign/xen-libxc 2). */
export const DOMAIN_HEADER = { bytes: 16, pageShift: 12 } as const;
export const HEADERS_BYTES = IMAGE_HEADER.bytes + DOMAIN_HEADER.bytes;

/** Kinds of domain (foreign/xen-libxc 2). Xen restores the first two. */
export const DOMAIN_TYPE = { pv: 1, hvm: 2, pvh: 3, arm: 4 } as const;

/** Record header, and what bodies are padded to (foreign/xen-libxc 3). */
export const RECORD_HEADER_BYTES = 8;
export const RECORD_ALIGN = 8;
/** Set in the type of a record that a reader may ignore (foreign/xen-libxc 3). */
export const OPTIONAL_RECORD = 0x8000_0000;

/** Types of records (foreign/xen-libxc 3). */
export const LIBXC_TYPE = {
  END: 0x0,
  PAGE_DATA: 0x1,
  X86_PV_INFO: 0x2,
  X86_PV_P2M_FRAMES: 0x3,
  X86_PV_VCPU_BASIC: 0x4,
  X86_PV_VCPU_EXTENDED: 0x5,
  X86_PV_VCPU_XSAVE: 0x6,
  SHARED_INFO: 0x7,
  X86_TSC_INFO: 0x8,
  HVM_CONTEXT: 0x9,
  HVM_PARAMS: 0xa,
  TOOLSTACK: 0xb,
  X86_PV_VCPU_MSRS: 0xc,
  VERIFY: 0xd,
  CHECKPOINT: 0xe,
  CHECKPOINT_DIRTY_PFN_LIST: 0xf,
  STATIC_DATA_END: 0x10,
  X86_CPUID_POLICY: 0x11,
  X86_MSR_POLICY: 0x12,
} as const;

export type LibxcTypeName = keyof typeof LIBXC_TYPE;

const NAMES = new Map<number, LibxcTypeName>(
  Object.entries(LIBXC_TYPE).map(([name, type]) => [type, name as LibxcTypeName]),
);

/** The name of a record type, or undefined where there is none. */
export function libxcTypeName(type: number): LibxcTypeName | undefined {
  return NAMES.get(type);
}

/** The section of spec/foreign/xen-libxc.md that describes a record type. */
export const LIBXC_SECTION: Readonly<Record<LibxcTypeName | 'UNKNOWN', string>> = {
  END: 'foreign/xen-libxc 5',
  PAGE_DATA: 'foreign/xen-libxc 4',
  X86_PV_INFO: 'foreign/xen-libxc 6',
  X86_PV_P2M_FRAMES: 'foreign/xen-libxc 6.1',
  X86_PV_VCPU_BASIC: 'foreign/xen-libxc 7',
  X86_PV_VCPU_EXTENDED: 'foreign/xen-libxc 7',
  X86_PV_VCPU_XSAVE: 'foreign/xen-libxc 7',
  X86_PV_VCPU_MSRS: 'foreign/xen-libxc 7',
  SHARED_INFO: 'foreign/xen-libxc 8',
  X86_TSC_INFO: 'foreign/xen-libxc 8.1',
  HVM_CONTEXT: 'foreign/xen-libxc 9',
  HVM_PARAMS: 'foreign/xen-libxc 9.2',
  TOOLSTACK: 'foreign/xen-libxc 5.2',
  VERIFY: 'foreign/xen-libxc 5',
  CHECKPOINT: 'foreign/xen-libxc 5.1',
  CHECKPOINT_DIRTY_PFN_LIST: 'foreign/xen-libxc 5.3',
  STATIC_DATA_END: 'foreign/xen-libxc 5',
  X86_CPUID_POLICY: 'foreign/xen-libxc 10',
  X86_MSR_POLICY: 'foreign/xen-libxc 10.1',
  UNKNOWN: 'foreign/xen-libxc 3',
};

export const LIBXC_LIMITS = {
  /** Bytes of a body: what Xen's reader takes since 4.10 (foreign/xen-libxc 3). */
  recordBytes: 128 * 1024 * 1024,
} as const;

/** Bytes of a page: the only size there is (foreign/xen-libxc 2). */
export const XEN_PAGE_BYTES = 4096;

/** Kinds of pages, bits 60 to 63 of an entry of PAGE_DATA (foreign/xen-libxc 4). */
export const PAGE_TYPE = {
  normal: 0x0,
  l1: 0x1,
  l2: 0x2,
  l3: 0x3,
  l4: 0x4,
  l1Pinned: 0x9,
  l2Pinned: 0xa,
  l3Pinned: 0xb,
  l4Pinned: 0xc,
  broken: 0xd,
  allocateOnly: 0xe,
  /** No page is here; in a live stream also a page that could not be sent this time. */
  invalid: 0xf,
} as const;

/** Sizes that bodies must have (foreign/xen-libxc 7 and 8). */
export const BODY = {
  pvInfo: 8,
  p2mFramesHead: 8,
  vcpuHead: 8,
  vcpuBasic64: 0x1430,
  vcpuBasic32: 0xaf0,
  vcpuExtendedMost: 128,
  vcpuXsaveLeast: 16,
  vcpuMsr: 16,
  sharedInfo: 4096,
  tscInfo: 24,
  hvmParamsHead: 8,
  hvmParam: 16,
  cpuidLeaf: 24,
  msrEntry: 16,
} as const;
