/** vCPUs of a core of Xen: its contexts as the model has them (spec/foreign/elf.md 4.2). */
import { BODY } from '../../../foreign/xen-libxc/constants.ts';
import type { Place } from '../../../foreign/xen-libxc/fields.ts';
import { exchangeFrames, type Exchanged } from '../../../foreign/xen-libxc/guest-context.ts';
import { decodePvVcpu, type PvVcpu } from '../../../foreign/xen-libxc/pv-vcpu.ts';
import type { RegisterName } from '../../../stream/records/vcpu.ts';
import { VCPU_STATE, type ImageEvent, type VcpuEvent } from '../../model/event.ts';
import { pvVcpu } from '../xen/vcpus.ts';
import { assumedSegments } from './assumed-segments.ts';

const CR0_PROTECTED = 1n;
const CR0_PAGING = 1n << 31n;
const CR4_PAE = 1n << 5n;
const FOUR_GIB = 1n << 32n;

/**
 * The context of a PV guest without what an entry of a 64-bit toolstack has behind that of a 32-bit guest.
 * @returns undefined when the entry has no room for it
 */
export function pvContext(entry: Uint8Array, width: 4 | 8): Uint8Array | undefined {
  const bytes = width === 8 ? BODY.vcpuBasic64 : BODY.vcpuBasic32;
  return entry.byteLength < bytes ? undefined : entry.subarray(0, bytes);
}

/**
 * A vCPU of a PV guest, and its context as a libxc stream would have it.
 * @param pfnOf the pfn of a frame of the machine, or -1. @returns what could not be exchanged, if anything
 * @throws LENGTH_MISMATCH
 */
export function pvEvents(
  vcpu: number,
  context: Uint8Array,
  width: 4 | 8,
  pfnOf: (frame: number) => number,
  place: Place,
): { readonly events: readonly ImageEvent[]; readonly lost: Extract<Exchanged, { context: undefined }> | undefined } {
  const decoded = decodePvVcpu(context, place);
  const exchanged = exchangeFrames(context, width, pfnOf);
  const fxsave: ImageEvent = { kind: 'vcpu-state', vcpu, stateKind: VCPU_STATE.fxsave, content: decoded.fpu };
  if (exchanged.context === undefined) {
    const model = pvVcpu(vcpu, decoded);
    const registers: Partial<Record<RegisterName, bigint>> = { ...model.registers };
    delete registers.cr3;
    return { events: [{ kind: 'vcpu', vcpu: { ...model, registers } }, fxsave], lost: exchanged };
  }
  const { context: content } = exchanged;
  const state: ImageEvent = { kind: 'vcpu-state', vcpu, stateKind: VCPU_STATE.xenPvBasic, content };
  return {
    events: [{ kind: 'vcpu', vcpu: pvVcpu(vcpu, decodePvVcpu(content, place)) }, fxsave, state],
    lost: undefined,
  };
}

/** A vCPU of an HVM or PVH guest: Xen fills in only a part of the context. @throws LENGTH_MISMATCH */
export function hvmEvents(vcpu: number, context: Uint8Array, place: Place): ImageEvent[] {
  const decoded = decodePvVcpu(context, place);
  const { controls, debug } = decoded;
  const registers: Partial<Record<RegisterName, bigint>> = { ...decoded.registers };
  [registers.cr0, , registers.cr2, registers.cr3, registers.cr4] = controls;
  [registers.dr0, registers.dr1, registers.dr2, registers.dr3, , , registers.dr6, registers.dr7] = debug;
  const event: VcpuEvent = {
    kind: 'vcpu',
    vcpu: {
      vcpu,
      online: decoded.online,
      halted: false,
      registers,
      segments: assumedSegments(hvmSelectors(decoded), modeOf(decoded)),
      gdtr: null,
      idtr: null,
    },
  };
  return [event, { kind: 'vcpu-state', vcpu, stateKind: VCPU_STATE.fxsave, content: decoded.fpu }];
}

function hvmSelectors({ selectors, bases }: PvVcpu): Parameters<typeof assumedSegments>[0] {
  // Xen puts the base of GS under kernel's in ring 0, and under the user's elsewhere.
  const inRing0 = (selectors.ss & 3) === 0;
  const gsBase = inRing0 ? bases?.gsKernel : bases?.gsUser;
  return { selectors, fsBase: bases?.fs ?? 0n, gsBase: gsBase ?? 0n };
}

/** Whether code has 16, 32 or 64 bits: the last is told from registers that are longer. */
function modeOf({ controls, registers }: PvVcpu): 16 | 32 | 64 {
  if ((controls[0] & CR0_PROTECTED) === 0n) return 16;
  const mayBeLong = (controls[0] & CR0_PAGING) !== 0n && (controls[4] & CR4_PAE) !== 0n;
  const isLong = Object.values(registers).some((value) => value >= FOUR_GIB);
  return mayBeLong && isLong ? 64 : 32;
}
