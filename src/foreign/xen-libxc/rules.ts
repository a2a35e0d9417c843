/** What may stand where in a libxc stream, as findings (foreign/xen-libxc 11). */
import { BODY, DOMAIN_TYPE, libxcTypeName } from './constants.ts';
import type { Findings, XenFindingCode } from './findings.ts';
import type { LibxcHeader } from './headers.ts';
import { repeatedPfn, type EntriesSeen } from './pages.ts';
import { libxcPath, type LibxcBody, type P2mFramesBody, type RecordFrame, type VcpuBody } from './records.ts';

/** Records that only one type of domain has (foreign/xen-libxc 11). */
const PV_ONLY = new Set([
  'X86_PV_INFO',
  'X86_PV_P2M_FRAMES',
  'X86_PV_VCPU_BASIC',
  'X86_PV_VCPU_EXTENDED',
  'X86_PV_VCPU_XSAVE',
  'X86_PV_VCPU_MSRS',
  'SHARED_INFO',
]);
const HVM_ONLY = new Set(['HVM_CONTEXT', 'HVM_PARAMS']);

/** Most vCPUs that are told apart: more than Xen gives a domain. */
const VCPUS_TOLD = 8192;

/** Follows one stream, from its header to its end, through all checkpoints. */
export class LibxcRules {
  readonly #findings: Findings;
  readonly #pv: boolean;
  readonly #version: number;
  #staticEnd: 'none' | 'inferred' | 'explicit' = 'none';
  #width: 0 | 4 | 8 = 0;
  #sawPvInfo = false;
  /** Highest pfn that P2M_FRAMES allows; -1 until there was one. */
  #lastPfn = -1;
  #memory = false;
  #context = false;
  #vcpuZero = false;
  /** Which state of which vCPU came since the last checkpoint: `type * VCPUS_TOLD + vcpu`. */
  readonly #vcpus = new Set<number>();

  constructor(header: LibxcHeader, findings: Findings) {
    this.#findings = findings;
    this.#pv = header.domainType === DOMAIN_TYPE.pv;
    this.#version = header.version;
  }

  /** Bytes of an unsigned long of the guest; 0 until X86_PV_INFO came. */
  get guestWidth(): 0 | 4 | 8 {
    return this.#width;
  }

  /** A record other than PAGE_DATA. */
  record(frame: RecordFrame, body: LibxcBody): void {
    const { kind } = body;
    if (frame.padding !== null) this.#say('PADDING', frame);
    if (this.#pv ? HVM_ONLY.has(kind) : PV_ONLY.has(kind)) {
      this.#say('WRONG_GUEST', frame, { record: kind });
      return;
    }
    switch (kind) {
      case 'STATIC_DATA_END':
        this.#empty(frame, body.rest);
        if (this.#version < 3) this.#say('STATIC_DATA_END_IN_V2', frame);
        if (this.#staticEnd === 'none') this.#staticEnd = 'explicit';
        else this.#say('STATIC_DATA_END_TWICE', frame);
        break;
      case 'VERIFY':
        this.#empty(frame, body.rest);
        break;
      case 'CHECKPOINT':
        this.#empty(frame, body.rest);
        this.#vcpus.clear();
        break;
      case 'END':
        this.#empty(frame, body.rest);
        if (this.#pv && !this.#vcpuZero) this.#say('VCPU_ZERO_MISSING', frame);
        if (!this.#pv && !this.#context) this.#say('HVM_CONTEXT_MISSING', frame);
        if (!this.#memory) this.#say(this.#pv ? 'PV_MEMORY_MISSING' : 'HVM_MEMORY_MISSING', frame);
        break;
      case 'X86_PV_INFO': {
        const { guestWidth, ptLevels } = body;
        if (this.#sawPvInfo) this.#say('PV_INFO_TWICE', frame);
        if (this.#staticEnd !== 'none') this.#say('STATIC_DATA_LATE', frame);
        if ((guestWidth === 8 && ptLevels === 4) || (guestWidth === 4 && ptLevels === 3)) this.#width = guestWidth;
        else this.#say('PV_INFO_VALUES', frame, { width: guestWidth, levels: ptLevels });
        this.#reserved(frame, ...body.reserved);
        if (body.rest.byteLength > 0) this.#say('BODY_TOO_LONG', frame, { bytes: body.rest.byteLength });
        this.#sawPvInfo = true;
        break;
      }
      case 'X86_CPUID_POLICY':
      case 'X86_MSR_POLICY':
        if (this.#version < 3) this.#say('POLICY_IN_V2', frame);
        if (this.#staticEnd !== 'none') this.#say('STATIC_DATA_LATE', frame);
        break;
      case 'X86_PV_P2M_FRAMES':
        this.#p2mFrames(frame, body);
        break;
      case 'X86_PV_VCPU_BASIC':
      case 'X86_PV_VCPU_EXTENDED':
      case 'X86_PV_VCPU_XSAVE':
      case 'X86_PV_VCPU_MSRS':
        this.#vcpu(frame, body);
        break;
      case 'SHARED_INFO':
        if (!this.#sawPvInfo) this.#say('PV_INFO_MISSING', frame);
        break;
      case 'X86_TSC_INFO':
        this.#reserved(frame, body.reserved);
        break;
      case 'HVM_CONTEXT':
        // Xen takes the record, and finds at the end that there is nothing in it.
        this.#context = body.content.byteLength > 0;
        break;
      case 'HVM_PARAMS':
        this.#reserved(frame, body.reserved);
        if (body.count === 0) this.#say('PARAMS_EMPTY', frame);
        if (this.#context) this.#say('PARAMS_AFTER_CONTEXT', frame);
        break;
      case 'TOOLSTACK':
        this.#say('TOOLSTACK', frame);
        break;
      case 'CHECKPOINT_DIRTY_PFN_LIST':
        this.#say('BACK_CHANNEL_ONLY', frame);
        break;
      case 'UNKNOWN':
        break;
    }
  }

  /** The entries of a PAGE_DATA record. */
  pages(frame: RecordFrame, reserved: number, words: Uint32Array, count: number, seen: EntriesSeen): void {
    this.#memoryBegins(frame);
    this.#memory = true;
    this.#reserved(frame, reserved);
    if (seen.reserved > 0) {
      this.#say('PFN_RESERVED_BITS', frame, { entries: seen.reserved, first: seen.firstReserved });
    }
    if (this.#pv && seen.highestPfn > this.#lastPfn) {
      this.#say('PFN_RANGE', frame, { pfn: seen.highestPfn, last: this.#lastPfn });
    }
    if (seen.ascending) return;
    const pfn = repeatedPfn(words, count);
    if (pfn >= 0) this.#say('PFN_TWICE', frame, { pfn });
  }

  #p2mFrames(frame: RecordFrame, body: P2mFramesBody): void {
    this.#memoryBegins(frame);
    const { startPfn, endPfn } = body;
    if (!this.#sawPvInfo) this.#say('PV_INFO_MISSING', frame);
    if (startPfn > endPfn) this.#say('P2M_RANGE', frame, { first: startPfn, last: endPfn });
    this.#lastPfn = Math.max(this.#lastPfn, endPfn);
  }

  #vcpu(frame: RecordFrame, body: VcpuBody): void {
    this.#reserved(frame, body.reserved);
    if (!this.#memory) this.#say('VCPU_BEFORE_MEMORY', frame);
    const { vcpu, context, kind } = body;
    if (context.byteLength === 0) {
      this.#say('VCPU_EMPTY', frame, { vcpu });
      return;
    }
    if (vcpu === 0 && kind === 'X86_PV_VCPU_BASIC') this.#vcpuZero = true;
    if (vcpu >= VCPUS_TOLD) return;
    const key = frame.type * VCPUS_TOLD + vcpu;
    if (this.#vcpus.has(key)) this.#say('VCPU_TWICE', frame, { vcpu });
    this.#vcpus.add(key);
  }

  /** Static data end here at the latest: version 2 has no record for it (foreign/xen-libxc 11.1). */
  #memoryBegins(frame: RecordFrame): void {
    if (this.#staticEnd !== 'none') return;
    if (this.#version >= 3) this.#say('STATIC_DATA_END_MISSING', frame);
    this.#staticEnd = 'inferred';
  }

  #empty(frame: RecordFrame, rest: Uint8Array): void {
    if (rest.byteLength > 0) this.#say('BODY_NOT_EMPTY', frame, { bytes: rest.byteLength });
  }

  #reserved(frame: RecordFrame, ...values: number[]): void {
    for (const value of values) if (value !== 0) this.#say('RESERVED_FIELD', frame, { value });
  }

  #say(code: XenFindingCode, frame: RecordFrame, data: Record<string, number | string> = {}): void {
    this.#findings.report(code, frame.offset, libxcPath(frame), data);
  }
}

/**
 * What the length of P2M_FRAMES or of the basic state of a vCPU must be for a guest of this width, or undefined where
 * the width says nothing (foreign/xen-libxc 6.1 and 7).
 */
export function lengthForWidth(frame: RecordFrame, body: LibxcBody, width: 0 | 4 | 8): number | undefined {
  // Where X86_PV_INFO is missing Xen takes a vCPU of its own width; that is a finding, not another length.
  if (width === 0) return undefined;
  if (body.kind === 'X86_PV_VCPU_BASIC' && body.context.byteLength > 0) {
    return BODY.vcpuHead + (width === 8 ? BODY.vcpuBasic64 : BODY.vcpuBasic32);
  }
  if (libxcTypeName(frame.type) !== 'X86_PV_P2M_FRAMES' || body.kind !== 'X86_PV_P2M_FRAMES') return undefined;
  if (body.startPfn > body.endPfn) return undefined;
  const perFrame = 4096 / width;
  const frames = Math.floor(body.endPfn / perFrame) - Math.floor(body.startPfn / perFrame) + 1;
  return BODY.p2mFramesHead + 8 * frames;
}
