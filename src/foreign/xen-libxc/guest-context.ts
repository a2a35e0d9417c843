/** Making contexts of vCPUs, and the frame numbers in them (foreign/xen-libxc 7.1). */
import { BODY } from './constants.ts';
import { FieldsOut } from './fields.ts';
import { pfnOfCr3, PV_FLAG, type PvRegister, type PvSelector } from './pv-vcpu.ts';

/** Where frame numbers stand in a context, by the bytes of a word: the frames of the GDT, their number, cr0. */
const PLACES = {
  8: { gdtFrames: 4832, gdtEntries: 4960, controls: 4984 },
  4: { gdtFrames: 2640, gdtEntries: 2704, controls: 2716 },
} as const;
/** Descriptors on a frame of the GDT, and frames at most. */
const GDT = { entries: 512, frames: 16 } as const;

/** The cr3 of a top page table (foreign/xen-libxc 7.1): the inverse of {@link pfnOfCr3}. */
export function cr3OfPfn(pfn: number, width: 4 | 8): bigint {
  if (width === 8) return BigInt(pfn) << 12n;
  return BigInt(((pfn << 12) | (pfn >>> 20)) >>> 0);
}

/** A context of which frames have been exchanged, or what could not be. */
export type Exchanged =
  | { readonly context: Uint8Array }
  | { readonly context: undefined; readonly frame: number; readonly what: string };

/** The frames that a context names: those of the page tables and of the GDT. */
export function contextFrames(context: Uint8Array, width: 4 | 8): number[] {
  const frames: number[] = [];
  exchangeFrames(context, width, (frame) => {
    frames.push(frame);
    return frame;
  });
  return frames;
}

/**
 * Exchanges the frames in a context of a PV guest, little-endian: pfns for frames of the machine, or the other way
 * round.
 * @param context 5,168 bytes of a 64-bit guest, 2,800 of a 32-bit one; copied.
 * @param other the number that stands for one; -1 when there is none.
 */
export function exchangeFrames(context: Uint8Array, width: 4 | 8, other: (frame: number) => number): Exchanged {
  const result = context.slice();
  const view = new DataView(result.buffer);
  const { gdtFrames, gdtEntries, controls } = PLACES[width];
  const get = (at: number): bigint => (width === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  const set = (at: number, value: bigint): void =>
    width === 8 ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(value & 0xffff_ffffn), true);
  const used = Math.min(GDT.frames, Math.ceil(Number(get(gdtEntries)) / GDT.entries));
  for (let i = 0; i < used; i++) {
    const frame = Number(get(gdtFrames + i * width));
    const exchanged = other(frame);
    if (exchanged < 0) return { context: undefined, frame, what: `gdt_frames[${i}]` };
    set(gdtFrames + i * width, BigInt(exchanged));
  }
  // cr3, and in cr1 the user's page tables of a 64-bit guest, where it has some.
  for (const control of width === 8 ? [3, 1] : [3]) {
    const at = controls + control * width;
    if (control === 1 && get(at) === 0n) continue;
    const frame = pfnOfCr3(get(at), width);
    const exchanged = other(frame);
    if (exchanged < 0) return { context: undefined, frame, what: control === 3 ? 'cr3' : 'cr1' };
    set(at, cr3OfPfn(exchanged, width));
  }
  return { context: result };
}

/** What a context is made from. All that is not named is zero. */
export interface ContextChoice {
  readonly registers: Readonly<Partial<Record<PvRegister, bigint>>>;
  readonly selectors: Readonly<Record<PvSelector, number>>;
  /** cr0, cr2, cr3 and cr4, as the context has them. */
  readonly controls: readonly [cr0: bigint, cr2: bigint, cr3: bigint, cr4: bigint];
  /** dr0 to dr3, dr6 and dr7. */
  readonly debug: readonly [bigint, bigint, bigint, bigint, bigint, bigint];
  readonly bases: { readonly fs: bigint; readonly gsKernel: bigint; readonly gsUser: bigint };
  /** 512 bytes as FXSAVE writes them; undefined when they are not known. */
  readonly fpu: Uint8Array | undefined;
  readonly online: boolean;
  readonly inKernel: boolean;
}

const ORDER = 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi'.split(' ') as readonly PvRegister[];
/** Bytes of what is not made: 256 traps of 16 bytes, LDT, GDT, kernel stack; callbacks and the assistance. */
const TRAPS_BYTES = 256 * 16;
const TABLES_BYTES = 2 * 8 + 17 * 8 + 2 * 8;
const CALLBACKS_BYTES = 4 * 8;

/** A context of a 64-bit guest, 5,168 bytes, little-endian. */
export function makeGuestContext(choice: ContextChoice): Uint8Array {
  const { registers, selectors, controls, debug, bases, fpu, online, inKernel } = choice;
  const flags =
    (fpu === undefined ? 0 : PV_FLAG.fpuValid) | (inKernel ? PV_FLAG.inKernel : 0) | (online ? PV_FLAG.online : 0);
  const out = new FieldsOut(BODY.vcpuBasic64, true).put(fpu ?? new Uint8Array(512)).u64(BigInt(flags));
  for (const name of ORDER) out.u64(registers[name] ?? 0n);
  out.u64(0n).u64(registers.rip ?? 0n);
  out.u64(BigInt(selectors.cs));
  out.u64(registers.rflags ?? 0n).u64(registers.rsp ?? 0n);
  for (const name of ['ss', 'es', 'ds', 'fs', 'gs'] as const) out.u64(BigInt(selectors[name]));
  out.put(new Uint8Array(TRAPS_BYTES)).put(new Uint8Array(TABLES_BYTES));
  const [cr0, cr2, cr3, cr4] = controls;
  for (const control of [cr0, 0n, cr2, cr3, cr4, 0n, 0n, 0n]) out.u64(control);
  const [dr0, dr1, dr2, dr3, dr6, dr7] = debug;
  for (const register of [dr0, dr1, dr2, dr3, 0n, 0n, dr6, dr7]) out.u64(register);
  out.put(new Uint8Array(CALLBACKS_BYTES));
  return out.u64(bases.fs).u64(bases.gsKernel).u64(bases.gsUser).done();
}
