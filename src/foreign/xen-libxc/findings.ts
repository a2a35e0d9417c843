/**
 * What is wrong with a saved image of Xen although it can be read (foreign/xen-libxc 11). Two readings: what Xen's own
 * restorer refuses, and what only the letter of the published specifications forbids.
 */

/** Each code: which reading it comes from, the section that states the rule, and what it means. */
export const XEN_FINDINGS = {
  // libxc: headers.
  BIG_ENDIAN: ['refused', 'foreign/xen-libxc 1', 'the stream is big-endian'],
  DOMAIN_TYPE: ['refused', 'foreign/xen-libxc 2', 'the domain is of a type that Xen does not restore'],
  RESERVED_FIELD: ['strict', 'foreign/xen-libxc 3.1', 'a reserved field is not zero'],
  PADDING: ['strict', 'foreign/xen-libxc 3.1', 'padding is not zero'],
  BODY_NOT_EMPTY: ['strict', 'foreign/xen-libxc 5', 'a record that has no fields has a body'],
  BODY_TOO_LONG: ['strict', 'foreign/xen-libxc 6', 'bytes stand after the last field'],
  // libxc: order.
  STATIC_DATA_END_MISSING: ['refused', 'foreign/xen-libxc 11.1', 'memory stands before STATIC_DATA_END'],
  STATIC_DATA_END_TWICE: ['refused', 'foreign/xen-libxc 11.1', 'STATIC_DATA_END stands twice, or after memory'],
  STATIC_DATA_END_IN_V2: ['strict', 'foreign/xen-libxc 11.1', 'a record of version 3 in a stream of version 2'],
  STATIC_DATA_LATE: ['strict', 'foreign/xen-libxc 11.1', 'static data stands after STATIC_DATA_END'],
  POLICY_IN_V2: ['strict', 'foreign/xen-libxc 10', 'a policy in a stream of version 2'],
  PV_INFO_TWICE: ['refused', 'foreign/xen-libxc 6', 'a second X86_PV_INFO'],
  PV_INFO_MISSING: ['refused', 'foreign/xen-libxc 6', 'a record that needs X86_PV_INFO stands before it'],
  PV_INFO_VALUES: ['refused', 'foreign/xen-libxc 6', 'width and levels of page tables do not fit together'],
  P2M_RANGE: ['refused', 'foreign/xen-libxc 6.1', 'the first pfn is after the last'],
  PFN_RANGE: ['refused', 'foreign/xen-libxc 4.1', 'a pfn is beyond what X86_PV_P2M_FRAMES said'],
  PFN_RESERVED_BITS: ['strict', 'foreign/xen-libxc 4', 'reserved bits of an entry of PAGE_DATA are set'],
  PFN_TWICE: ['strict', 'foreign/xen-libxc 4.1', 'a pfn stands twice in one record'],
  VCPU_BEFORE_MEMORY: ['strict', 'foreign/xen-libxc 11.2', 'a vCPU stands before memory'],
  VCPU_TWICE: ['strict', 'foreign/xen-libxc 7', 'the same state of a vCPU twice'],
  VCPU_EMPTY: ['strict', 'foreign/xen-libxc 7', 'a record of a vCPU without content'],
  VCPU_ZERO_MISSING: ['refused', 'foreign/xen-libxc 7', 'vCPU 0 has no basic state'],
  PARAMS_EMPTY: ['strict', 'foreign/xen-libxc 9.2', 'HVM_PARAMS without parameters'],
  PARAMS_AFTER_CONTEXT: ['strict', 'foreign/xen-libxc 11.2', 'HVM_PARAMS stands after HVM_CONTEXT, as Xen writes it'],
  PV_MEMORY_MISSING: ['refused', 'foreign/xen-libxc 11.3', 'there is no memory, and so no start info'],
  HVM_MEMORY_MISSING: ['strict', 'foreign/xen-libxc 11.3', 'there is no memory'],
  HVM_CONTEXT_MISSING: ['refused', 'foreign/xen-libxc 9', 'there is no HVM_CONTEXT'],
  WRONG_GUEST: ['refused', 'foreign/xen-libxc 11', 'a mandatory record that this type of domain does not have'],
  TOOLSTACK: ['refused', 'foreign/xen-libxc 5.2', 'a TOOLSTACK record, which Xen no longer takes'],
  BACK_CHANNEL_ONLY: ['refused', 'foreign/xen-libxc 5.3', 'a record of the back channel'],
  TRAILING_DATA: ['strict', 'foreign/xen-libxc 5', 'bytes stand after the end'],
  // libxl.
  LIBXC_CONTEXT_MISSING: ['refused', 'foreign/xen-libxl 4', 'there is no LIBXC_CONTEXT'],
  EMULATOR_OF_PV: ['refused', 'foreign/xen-libxl 5', 'state of an emulator, and the domain is not HVM'],
  EMULATOR_ID: ['strict', 'foreign/xen-libxl 5', 'an emulator of unknown kind'],
  XENSTORE_DATA: ['refused', 'foreign/xen-libxl 5.1', 'keys and values that libxl does not take'],
  OPTIONAL_RECORD_REFUSED: [
    'refused',
    'foreign/xen-libxl 3',
    'an optional record: libxl refuses what it does not know',
  ],
  // xl.
  XL_BYTE_ORDER: ['refused', 'foreign/xl 1', 'the header has the other byte order'],
  XL_OPTIONAL_FLAGS: ['strict', 'foreign/xl 1', 'unknown optional flags'],
  XL_NO_CONFIG: ['refused', 'foreign/xl 2', 'there is no configuration, and xl must be given one'],
  XL_CONFIG_LENGTH: ['refused', 'foreign/xl 2', 'the configuration is longer than the data that hold it'],
  XL_CONFIG_INVALID: ['refused', 'foreign/xl 2', 'the configuration is no JSON that can be read'],
  XL_OPTIONAL_DATA_LEFT: ['strict', 'foreign/xl 2', 'optional data that are not understood'],
  // xenopsd.
  XENOPSD_TAG_REFUSED: ['refused', 'foreign/xenopsd 2', 'a section that xenopsd knows and refuses'],
  XENOPSD_QEMU_SIZE: ['refused', 'foreign/xenopsd 2', 'the QEMU section is larger than xenopsd takes'],
  XENOPSD_LENGTH: ['strict', 'foreign/xenopsd 2', 'a section without a length of its own states one'],
  XENOPSD_NO_MEMORY: ['refused', 'foreign/xenopsd 2', 'there is no memory image'],
} as const satisfies Record<string, readonly [verdict: 'refused' | 'strict', section: string, meaning: string]>;

export type XenFindingCode = keyof typeof XEN_FINDINGS;

/** `refused`: Xen does not restore it. `strict`: Xen does, and the letter of the specification forbids it. */
export type XenVerdict = 'refused' | 'strict';

/** One finding, as data. */
export interface XenFinding {
  readonly code: XenFindingCode;
  readonly verdict: XenVerdict;
  /** Stream offset of the record or header that it is about. */
  readonly offset: number;
  readonly path: string;
  /** Section of our specification that states the rule. */
  readonly section: string;
  readonly data: Readonly<Record<string, number | string>>;
}

/** Most findings of one code that are kept; the others are counted. */
export const FINDINGS_KEPT = 32;

/** Collects findings with bounded memory. */
export class Findings {
  readonly #kept: XenFinding[] = [];
  readonly #counts = new Map<XenFindingCode, number>();

  report(code: XenFindingCode, offset: number, path: string, data: XenFinding['data'] = {}): void {
    const count = (this.#counts.get(code) ?? 0) + 1;
    this.#counts.set(code, count);
    if (count > FINDINGS_KEPT) return;
    const [verdict, section] = XEN_FINDINGS[code];
    this.#kept.push({ code, verdict, offset, path, section, data });
  }

  /** The first of each code, up to {@link FINDINGS_KEPT}, in the order of the stream. */
  get kept(): readonly XenFinding[] {
    return this.#kept;
  }

  /** How often each code was found. */
  get counts(): ReadonlyMap<XenFindingCode, number> {
    return this.#counts;
  }

  /** The worst of them, or undefined where there are none. */
  get worst(): XenVerdict | undefined {
    if (this.#counts.size === 0) return undefined;
    return [...this.#counts.keys()].some((code) => XEN_FINDINGS[code][0] === 'refused') ? 'refused' : 'strict';
  }
}
