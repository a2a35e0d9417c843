/** State of a Xen domain beside its memory, as events of the model (spec/foreign/model.md 3). */
import { decodeCpuidPolicy, decodeMsrPolicy } from '../../../foreign/xen-libxc/policy.ts';
import { LIBXC_SECTION } from '../../../foreign/xen-libxc/constants.ts';
import type { Place } from '../../../foreign/xen-libxc/fields.ts';
import { parseHvmContext } from '../../../foreign/xen-libxc/hvm-context.ts';
import { decodePvVcpu } from '../../../foreign/xen-libxc/pv-vcpu.ts';
import { encodeLibxcBody, libxcPath, type LibxcRecord, type VcpuBody } from '../../../foreign/xen-libxc/records.ts';
import type { LibxlRecord } from '../../../foreign/xen-libxl/records.ts';
import { LIMITS } from '../../../stream/limits.ts';
import { DEVICE_FORMAT, VCPU_STATE, type DeviceEvent, type ImageEvent } from '../../model/event.ts';
import { hvmVcpus, pvVcpu } from './vcpus.ts';

const NO_FINGERPRINT = new Uint8Array(32);

/** Kinds of VCPU_STATE, by record (stream 8.2). */
const STATE_KIND = {
  X86_PV_VCPU_BASIC: VCPU_STATE.xenPvBasic,
  X86_PV_VCPU_EXTENDED: VCPU_STATE.xenPvExtended,
  X86_PV_VCPU_XSAVE: VCPU_STATE.xenPvXsave,
  X86_PV_VCPU_MSRS: VCPU_STATE.xenPvMsrs,
} as const;

/** A device blob without a fingerprint: no configuration of devices is known. */
export function blob(name: string, format: string, version: string, content: Uint8Array): DeviceEvent {
  return { kind: 'device', name, format, version, fingerprint: NO_FINGERPRINT, content };
}

/**
 * What a record of libxc says, as events. Their bytes are those of the record.
 * @param version of the hypervisor. @throws LENGTH_MISMATCH, LIMIT_EXCEEDED, FIELD_VALUE for what the record holds
 */
export function* libxcState(record: LibxcRecord, version: string, little: boolean): Generator<ImageEvent> {
  const { offset } = record.frame;
  switch (record.kind) {
    case 'X86_PV_INFO':
      yield blob('pv-info', DEVICE_FORMAT.xenPvInfo, version, encodeLibxcBody(record, little));
      break;
    case 'X86_PV_P2M_FRAMES':
      yield blob('p2m-frames', DEVICE_FORMAT.xenP2mFrames, version, encodeLibxcBody(record, little));
      break;
    case 'X86_PV_VCPU_BASIC':
    case 'X86_PV_VCPU_EXTENDED':
    case 'X86_PV_VCPU_XSAVE':
    case 'X86_PV_VCPU_MSRS':
      yield* pvState(record, { ...placeOf(record), offset }, little);
      break;
    case 'SHARED_INFO':
      yield blob('shared-info', DEVICE_FORMAT.xenSharedInfo, version, record.content);
      break;
    case 'X86_TSC_INFO':
      yield blob('tsc-info', DEVICE_FORMAT.xenTscInfo, version, encodeLibxcBody(record, little));
      break;
    case 'HVM_CONTEXT':
      if (record.content.byteLength === 0) break;
      for (const { vcpu, fxsave } of hvmVcpus(parseHvmContext(record.content, offset, little), offset, little)) {
        if (vcpu.vcpu >= LIMITS.vcpus) continue;
        yield { kind: 'vcpu', vcpu };
        yield { kind: 'vcpu-state', vcpu: vcpu.vcpu, stateKind: VCPU_STATE.fxsave, content: fxsave };
      }
      yield blob('hvm-context', DEVICE_FORMAT.xenHvmContext, version, record.content);
      break;
    case 'HVM_PARAMS':
      yield blob('hvm-params', DEVICE_FORMAT.xenHvmParams, version, encodeLibxcBody(record, little));
      break;
    case 'TOOLSTACK':
      yield blob('toolstack', DEVICE_FORMAT.xenToolstack, version, record.content);
      break;
    case 'X86_CPUID_POLICY':
      yield { kind: 'cpuid', leaves: decodeCpuidPolicy(record.content, placeOf(record), little) };
      break;
    case 'X86_MSR_POLICY':
      yield { kind: 'msrs', msrs: decodeMsrPolicy(record.content, placeOf(record), little) };
      break;
    case 'UNKNOWN': {
      const name = `libxc-${record.frame.type.toString(16)}`;
      yield blob(name, DEVICE_FORMAT.xenOptional, version, record.content);
      break;
    }
    default:
      break;
  }
}

function placeOf(record: LibxcRecord): Place {
  const section = record.kind === 'UNKNOWN' ? LIBXC_SECTION.UNKNOWN : LIBXC_SECTION[record.kind];
  return { offset: record.frame.offset, path: libxcPath(record.frame), section };
}

/** A context as registers, where it has some, and as it is. An empty one says nothing (foreign/xen-libxc 7). */
function* pvState(record: VcpuBody, place: Place, little: boolean): Generator<ImageEvent> {
  const { vcpu, context, kind } = record;
  if (context.byteLength === 0 || vcpu >= LIMITS.vcpus) return;
  if (kind === 'X86_PV_VCPU_BASIC') {
    const decoded = decodePvVcpu(context, place, little);
    yield { kind: 'vcpu', vcpu: pvVcpu(vcpu, decoded) };
    yield { kind: 'vcpu-state', vcpu, stateKind: VCPU_STATE.fxsave, content: decoded.fpu };
  }
  yield { kind: 'vcpu-state', vcpu, stateKind: STATE_KIND[kind], content: context };
}

/** What a record of libxl says. */
export function* libxlState(record: LibxlRecord, version: string): Generator<ImageEvent> {
  switch (record.kind) {
    case 'EMULATOR_CONTEXT':
      yield blob(`emulator-${record.emulator}-${record.index}`, DEVICE_FORMAT.qemu, version, record.content);
      break;
    case 'EMULATOR_XENSTORE_DATA':
      yield blob(
        `emulator-${record.emulator}-${record.index}-xenstore`,
        DEVICE_FORMAT.xenXenstore,
        version,
        record.content,
      );
      break;
    case 'UNKNOWN':
      yield blob(`libxl-${record.frame.type.toString(16)}`, DEVICE_FORMAT.xenOptional, version, record.content);
      break;
    default:
      break;
  }
}
