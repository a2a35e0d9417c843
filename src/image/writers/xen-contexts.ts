/** Contexts of vCPUs for a core of Xen (foreign/elf 4.2.1, 4.5). */
import { TransmigrateError } from '../../errors.ts';
import { BODY } from '../../foreign/xen-libxc/constants.ts';
import { cr3OfPfn, exchangeFrames, makeGuestContext } from '../../foreign/xen-libxc/guest-context.ts';
import type { RegisterName, VcpuX86 } from '../../stream/records/vcpu.ts';
import { DEVICE_FORMAT, VCPU_STATE } from '../model/event.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { contentOfDevice, findDevice } from './work.ts';

/** Bytes of a context of a 64-bit toolstack, whatever the guest. */
const ENTRY_BYTES = BODY.vcpuBasic64;
const FXSAVE_BYTES = 512;
/** The kernel's half of addresses: a PV guest runs both in ring 3. */
const KERNEL_HALF = 1n << 63n;

type Vcpu = Omit<VcpuX86, 'kind'>;

/**
 * A context of each vCPU, by number.
 * @param frameOf the frame of a pfn, or -1. @throws IMAGE_UNFIT, and the errors of the image
 */
export async function contextsOf(image: OpenedImage, frameOf: (pfn: number) => number): Promise<Uint8Array[]> {
  if (image.vcpus.length === 0) throw unfit('it has no processors');
  if (image.head.domainType === 'pv') return image.vcpus.map((vcpu) => pvEntry(image, vcpu, frameOf));
  const kept = findDevice(image, 'xen-vcpu-contexts', DEVICE_FORMAT.xenContexts);
  if (kept?.bytes === image.vcpus.length * ENTRY_BYTES) {
    const all = await contentOfDevice(kept);
    return image.vcpus.map((_, i) => all.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES));
  }
  return image.vcpus.map((vcpu) => hvmContext(image, vcpu));
}

function pvEntry(image: OpenedImage, vcpu: Vcpu, frameOf: (pfn: number) => number): Uint8Array {
  const width = image.head.wordBits === 32 ? 4 : 8;
  const saved = stateOf(image, vcpu.vcpu, VCPU_STATE.xenPvBasic);
  const bytes = width === 8 ? BODY.vcpuBasic64 : BODY.vcpuBasic32;
  if (saved === undefined) return pvContext(image, vcpu, width, frameOf);
  if (saved.byteLength !== bytes) throw unfit(`the context of vCPU ${vcpu.vcpu} has ${saved.byteLength} bytes`);
  const exchanged = exchangeFrames(saved, width, frameOf);
  if (exchanged.context === undefined) {
    throw unfit(`page ${exchanged.frame}, which ${exchanged.what} of vCPU ${vcpu.vcpu} names, has no frame`);
  }
  const entry = new Uint8Array(ENTRY_BYTES);
  entry.set(exchanged.context);
  return entry;
}

/** From registers alone: without the tables that a guest has told Xen of. */
function pvContext(image: OpenedImage, vcpu: Vcpu, width: 4 | 8, frameOf: (pfn: number) => number): Uint8Array {
  if (width === 4) throw unfit(`vCPU ${vcpu.vcpu} of a 32-bit guest has registers alone`);
  const { registers } = vcpu;
  const frame = registers.cr3 === undefined ? 0 : frameOf(Number(registers.cr3 >> 12n));
  if (frame < 0) throw unfit(`the page that cr3 of vCPU ${vcpu.vcpu} names has no frame`);
  const isKernel = (registers.rip ?? 0n) >= KERNEL_HALF;
  return made(image, vcpu, registers.cr3 === undefined ? 0n : cr3OfPfn(frame, width), isKernel, isKernel);
}

/** As Xen fills in the context of an HVM or PVH guest. */
function hvmContext(image: OpenedImage, vcpu: Vcpu): Uint8Array {
  const isRing0 = ((vcpu.segments?.ss.selector ?? 0) & 3) === 0;
  return made(image, vcpu, vcpu.registers.cr3 ?? 0n, isRing0, false);
}

function made(image: OpenedImage, vcpu: Vcpu, cr3: bigint, gsIsKernels: boolean, inKernel: boolean): Uint8Array {
  const { registers, segments, online } = vcpu;
  const value = (name: RegisterName): bigint => registers[name] ?? 0n;
  const selector = (name: 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs'): number => segments?.[name].selector ?? 0;
  const [gs, other] = [segments?.gs.base ?? 0n, value('kernel_gs_base')];
  const fpu = stateOf(image, vcpu.vcpu, VCPU_STATE.fxsave);
  return makeGuestContext({
    registers,
    selectors: {
      cs: selector('cs'),
      ss: selector('ss'),
      ds: selector('ds'),
      es: selector('es'),
      fs: selector('fs'),
      gs: selector('gs'),
    },
    controls: [value('cr0'), value('cr2'), cr3, value('cr4')],
    debug: [value('dr0'), value('dr1'), value('dr2'), value('dr3'), value('dr6'), value('dr7')],
    bases: { fs: segments?.fs.base ?? 0n, gsKernel: gsIsKernels ? gs : other, gsUser: gsIsKernels ? other : gs },
    fpu: fpu?.byteLength === FXSAVE_BYTES ? fpu : undefined,
    online,
    inKernel,
  });
}

function stateOf(image: OpenedImage, vcpu: number, stateKind: number): Uint8Array | undefined {
  return image.vcpuStates.find((state) => state.vcpu === vcpu && state.stateKind === stateKind)?.content;
}

function unfit(why: string): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', `The image can be no core of Xen: ${why}`, {
    section: 'foreign/elf 4.5',
    next: 'Choose elf-core or raw, which need less.',
  });
}
