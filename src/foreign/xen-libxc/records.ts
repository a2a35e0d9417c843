/** The bodies of libxc records as typed views, and back (foreign/xen-libxc 5 to 10). PAGE_DATA is in pages.ts. */
import { BODY, LIBXC_SECTION, libxcTypeName, OPTIONAL_RECORD } from './constants.ts';
import { Fields, FieldsOut, U64List, type Place } from './fields.ts';

/** Where a record stands and how it is framed; of the libxc and of the libxl stream. */
export interface RecordFrame {
  /** Its number in its stream, from 0. */
  readonly sequence: number;
  /** Stream offset of its header. */
  readonly offset: number;
  readonly type: number;
  /** Bytes of the body, without padding. */
  readonly length: number;
  /** Padding that is not zero, as it was; null for the usual zeros. */
  readonly padding: Uint8Array | null;
}

type VcpuKind = 'X86_PV_VCPU_BASIC' | 'X86_PV_VCPU_EXTENDED' | 'X86_PV_VCPU_XSAVE' | 'X86_PV_VCPU_MSRS';

/** A record without fields. `rest` is a body that should not be there. */
export interface EmptyBody {
  readonly kind: 'END' | 'VERIFY' | 'CHECKPOINT' | 'STATIC_DATA_END';
  readonly rest: Uint8Array;
}
export interface PvInfoBody {
  readonly kind: 'X86_PV_INFO';
  /** 4 or 8 bytes. */
  readonly guestWidth: number;
  /** 3 or 4. */
  readonly ptLevels: number;
  readonly reserved: readonly [u16: number, u32: number];
  readonly rest: Uint8Array;
}
export interface P2mFramesBody {
  readonly kind: 'X86_PV_P2M_FRAMES';
  readonly startPfn: number;
  readonly endPfn: number;
  /** The pfns of the guest's own table of frames. */
  readonly frames: U64List;
}
/** State of a vCPU: what it means is in pv-vcpu.ts. */
export interface VcpuBody {
  readonly kind: VcpuKind;
  readonly vcpu: number;
  readonly reserved: number;
  readonly context: Uint8Array;
}
export interface TscInfoBody {
  readonly kind: 'X86_TSC_INFO';
  readonly mode: number;
  readonly khz: number;
  readonly nsec: bigint;
  readonly incarnation: number;
  readonly reserved: number;
}
export interface HvmParamsBody {
  readonly kind: 'HVM_PARAMS';
  readonly count: number;
  readonly reserved: number;
  /** Index and value of each in turn, twice `count` numbers. */
  readonly params: U64List;
}
export interface DirtyPfnsBody {
  readonly kind: 'CHECKPOINT_DIRTY_PFN_LIST';
  readonly pfns: U64List;
}
/** A body that other readers take apart: hvm-context.ts, policy.ts; the shared info page is opaque. */
export interface BlobBody {
  readonly kind: 'SHARED_INFO' | 'HVM_CONTEXT' | 'TOOLSTACK' | 'X86_CPUID_POLICY' | 'X86_MSR_POLICY';
  readonly content: Uint8Array;
}
/** An optional record that is not known. */
export interface UnknownBody {
  readonly kind: 'UNKNOWN';
  readonly content: Uint8Array;
}

export type LibxcBody =
  | EmptyBody
  | PvInfoBody
  | P2mFramesBody
  | VcpuBody
  | TscInfoBody
  | HvmParamsBody
  | DirtyPfnsBody
  | BlobBody
  | UnknownBody;

/** A record as a reader hands it out. Its bytes are lent: valid until the next call of `read`. */
export type LibxcRecord = LibxcBody & { readonly layer: 'libxc'; readonly frame: RecordFrame };

/** `libxc record 3 (X86_PV_INFO)`: how paths in errors and findings begin. */
export function libxcPath(frame: Pick<RecordFrame, 'sequence' | 'type'>): string {
  return `libxc record ${frame.sequence} (${libxcTypeName(frame.type) ?? `type 0x${frame.type.toString(16)}`})`;
}

/**
 * Decodes a body.
 * @param body lent to the result.
 * @throws LENGTH_MISMATCH for a length that Xen's restorer refuses too; UNKNOWN_RECORD for a mandatory record that is
 * not known.
 */
export function decodeLibxcBody(frame: RecordFrame, body: Uint8Array, little: boolean): LibxcBody {
  const name = libxcTypeName(frame.type);
  const place: Place = { offset: frame.offset, path: libxcPath(frame), section: LIBXC_SECTION[name ?? 'UNKNOWN'] };
  const fields = new Fields(body, little, place);
  switch (name) {
    case undefined:
      if (frame.type < OPTIONAL_RECORD) {
        throw fields
          .error('UNKNOWN_RECORD', `A mandatory record that is not known: type 0x${frame.type.toString(16)}`)
          .with({ data: { type: frame.type } });
      }
      return { kind: 'UNKNOWN', content: body };
    case 'END':
    case 'VERIFY':
    case 'CHECKPOINT':
    case 'STATIC_DATA_END':
      return { kind: name, rest: body };
    case 'X86_PV_INFO': {
      const [guestWidth, ptLevels] = [fields.u8('guest_width'), fields.u8('pt_levels')];
      const reserved: [number, number] = [fields.u16('reserved'), fields.u32('reserved')];
      return { kind: name, guestWidth, ptLevels, reserved, rest: fields.rest() };
    }
    case 'X86_PV_P2M_FRAMES': {
      const [startPfn, endPfn] = [fields.u32('p2m_start_pfn'), fields.u32('p2m_end_pfn')];
      return { kind: name, startPfn, endPfn, frames: listOf(fields, 'p2m_pfn', little) };
    }
    case 'X86_PV_VCPU_BASIC':
    case 'X86_PV_VCPU_EXTENDED':
    case 'X86_PV_VCPU_XSAVE':
    case 'X86_PV_VCPU_MSRS': {
      const [vcpu, reserved] = [fields.u32('vcpu_id'), fields.u32('reserved')];
      const context = fields.rest();
      const wrong = vcpuLengthFault(name, context.byteLength);
      if (wrong !== '') throw fields.error('LENGTH_MISMATCH', wrong, 'context');
      return { kind: name, vcpu, reserved, context };
    }
    case 'SHARED_INFO':
      if (body.byteLength !== BODY.sharedInfo) throw exactly(fields, BODY.sharedInfo, body);
      return { kind: name, content: body };
    case 'X86_TSC_INFO': {
      if (body.byteLength !== BODY.tscInfo) throw exactly(fields, BODY.tscInfo, body);
      const [mode, khz, nsec] = [fields.u32('mode'), fields.u32('khz'), fields.u64('nsec')];
      return { kind: name, mode, khz, nsec, incarnation: fields.u32('incarnation'), reserved: fields.u32('reserved') };
    }
    case 'HVM_PARAMS': {
      const [count, reserved] = [fields.u32('count'), fields.u32('reserved')];
      const expected = BODY.hvmParamsHead + count * BODY.hvmParam;
      if (body.byteLength !== expected) throw exactly(fields, expected, body);
      return { kind: name, count, reserved, params: new U64List(fields.rest(), little) };
    }
    case 'CHECKPOINT_DIRTY_PFN_LIST':
      return { kind: name, pfns: listOf(fields, 'pfn', little) };
    case 'X86_CPUID_POLICY':
    case 'X86_MSR_POLICY': {
      const unit = name === 'X86_CPUID_POLICY' ? BODY.cpuidLeaf : BODY.msrEntry;
      if (body.byteLength === 0 || body.byteLength % unit !== 0) {
        throw fields.error('LENGTH_MISMATCH', `${body.byteLength} bytes are no entries of ${unit} bytes`);
      }
      return { kind: name, content: body };
    }
    case 'HVM_CONTEXT':
    case 'TOOLSTACK':
      return { kind: name, content: body };
    case 'PAGE_DATA':
      throw new RangeError('PAGE_DATA is read in parts');
  }
}

function exactly(fields: Fields, expected: number, body: Uint8Array): Error {
  return fields.error('LENGTH_MISMATCH', `A body of ${body.byteLength} bytes, and it must have ${expected}`);
}

function listOf(fields: Fields, field: string, little: boolean): U64List {
  if (fields.left % 8 !== 0) throw fields.error('LENGTH_MISMATCH', `${fields.left} bytes are no list of u64`, field);
  return new U64List(fields.rest(), little);
}

/** What Xen has against the length of a context, or ''. Empty ones are taken (foreign/xen-libxc 7). */
function vcpuLengthFault(kind: VcpuKind, length: number): string {
  if (length === 0) return '';
  switch (kind) {
    case 'X86_PV_VCPU_BASIC':
      return length === BODY.vcpuBasic64 || length === BODY.vcpuBasic32
        ? ''
        : `A context of ${length} bytes, neither ${BODY.vcpuBasic64} nor ${BODY.vcpuBasic32}`;
    case 'X86_PV_VCPU_EXTENDED':
      return length <= BODY.vcpuExtendedMost ? '' : `A context of ${length} bytes, more than ${BODY.vcpuExtendedMost}`;
    case 'X86_PV_VCPU_XSAVE':
      return length >= BODY.vcpuXsaveLeast ? '' : `A context of ${length} bytes, less than ${BODY.vcpuXsaveLeast}`;
    case 'X86_PV_VCPU_MSRS':
      return length % BODY.vcpuMsr === 0 ? '' : `${length} bytes are no entries of ${BODY.vcpuMsr} bytes`;
  }
}

/** The bytes of a body. Those of blobs are the caller's own. */
export function encodeLibxcBody(body: LibxcBody, little: boolean): Uint8Array {
  switch (body.kind) {
    case 'END':
    case 'VERIFY':
    case 'CHECKPOINT':
    case 'STATIC_DATA_END':
      return body.rest;
    case 'X86_PV_INFO': {
      const out = new FieldsOut(BODY.pvInfo + body.rest.byteLength, little).u8(body.guestWidth).u8(body.ptLevels);
      return out.u16(body.reserved[0]).u32(body.reserved[1]).put(body.rest).done();
    }
    case 'X86_PV_P2M_FRAMES': {
      const out = new FieldsOut(BODY.p2mFramesHead + body.frames.bytes.byteLength, little);
      return out.u32(body.startPfn).u32(body.endPfn).put(body.frames.bytes).done();
    }
    case 'X86_PV_VCPU_BASIC':
    case 'X86_PV_VCPU_EXTENDED':
    case 'X86_PV_VCPU_XSAVE':
    case 'X86_PV_VCPU_MSRS': {
      const out = new FieldsOut(BODY.vcpuHead + body.context.byteLength, little);
      return out.u32(body.vcpu).u32(body.reserved).put(body.context).done();
    }
    case 'X86_TSC_INFO': {
      const out = new FieldsOut(BODY.tscInfo, little).u32(body.mode).u32(body.khz).u64(body.nsec);
      return out.u32(body.incarnation).u32(body.reserved).done();
    }
    case 'HVM_PARAMS': {
      const out = new FieldsOut(BODY.hvmParamsHead + body.params.bytes.byteLength, little);
      return out.u32(body.count).u32(body.reserved).put(body.params.bytes).done();
    }
    case 'CHECKPOINT_DIRTY_PFN_LIST':
      return body.pfns.bytes;
    case 'SHARED_INFO':
    case 'HVM_CONTEXT':
    case 'TOOLSTACK':
    case 'X86_CPUID_POLICY':
    case 'X86_MSR_POLICY':
    case 'UNKNOWN':
      return body.content;
  }
}
