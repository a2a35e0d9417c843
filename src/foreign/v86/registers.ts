/**
 * The processor in a v86 state, as a debugger wants it (S10). v86 computes most flags only when somebody asks, so a
 * state holds the last operation instead of them.
 */
import { extensionOf } from './extension.ts';
import { bufferIdOf, stateError, type SaveState } from './save-state.ts';

/** Flags by their bit (Intel SDM volume 1, 3.4.3). */
const FLAG = { carry: 1, parity: 4, adjust: 16, zero: 64, sign: 128, overflow: 2048 } as const;
const LAZY = FLAG.carry | FLAG.parity | FLAG.adjust | FLAG.zero | FLAG.sign | FLAG.overflow;

/** What v86 remembers of the last arithmetic instruction (foreign/v86 2.1). All are 32-bit, signed. */
export interface LazyFlags {
  readonly flags: number;
  /** Which flags are to be computed; bit 31: it was a subtraction. */
  readonly changed: number;
  readonly lastOp1: number;
  readonly lastResult: number;
  /** The highest bit of the operands: 7, 15 or 31. */
  readonly lastOpSize: number;
}

/** EFLAGS as the guest would see them. */
export function eflagsOf({ flags, changed, lastOp1, lastResult, lastOpSize }: LazyFlags): number {
  const subtracts = changed < 0;
  const op2 = subtracts ? (lastOp1 - lastResult) | 0 : (lastResult - lastOp1) | 0;
  const top = lastOpSize & 31;
  // A sum is below its first operand when it overflowed; a difference is above it when it borrowed.
  const carry = subtracts ? lastOp1 >>> 0 < lastResult >>> 0 : lastResult >>> 0 < lastOp1 >>> 0;
  const low = (lastResult ^ (lastResult >> 4)) & 15;
  // A sum overflows when it differs in sign from both operands; a difference when the operands differ, and it from the
  // first.
  const overflow = (lastOp1 ^ lastResult) & (subtracts ? lastOp1 ^ op2 : op2 ^ lastResult);
  const computed =
    (carry ? FLAG.carry : 0) |
    (((0x9669 << 2) >> low) & FLAG.parity) |
    ((lastOp1 ^ op2 ^ lastResult) & FLAG.adjust) |
    // Zero: all bits up to the top one, which a borrow from below it then sets.
    (((~lastResult & (lastResult - 1)) >> top) & 1 ? FLAG.zero : 0) |
    ((lastResult >> top) & 1 ? FLAG.sign : 0) |
    ((overflow >> top) & 1 ? FLAG.overflow : 0);
  const lazy = changed & LAZY;
  return (flags & ~lazy) | (computed & lazy);
}

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
const EXTENDED = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
/** What a processor without long mode does not have, and is zero. */
const LONG_MODE = ['efer', 'kernel_gs_base', 'star', 'lstar', 'cstar', 'sfmask'] as const;
/** v86's order: es cs ss ds fs gs, then the task and the local descriptor table. */
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'tr', 'ldtr'] as const;
export type V86SegmentName = (typeof SEGMENTS)[number];

/** A segment register; attributes as in the VMCB (stream 8.1). */
export interface V86Segment {
  readonly selector: number;
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

/** A processor of v86: the fields of the record VCPU_X86, and the x87 and SSE state. */
export interface V86Registers {
  readonly halted: boolean;
  /** By the names of stream 8.1. What v86 does not have (PAT, XCR0, the local APIC's base) is absent. */
  readonly registers: Readonly<Record<string, bigint>>;
  readonly segments: Readonly<Record<V86SegmentName, V86Segment>>;
  readonly gdtr: { readonly base: bigint; readonly limit: number };
  readonly idtr: { readonly base: bigint; readonly limit: number };
  /** 512 bytes as FXSAVE writes them. */
  readonly fxsave: Uint8Array;
  /** Whether the lazy flags are lost: a state that v86 made alone before December 2025. */
  readonly flagsAreLost: boolean;
}

const ATTRIBUTE = { present: 1 << 7, bits32: 1 << 10, granular: 1 << 11 } as const;
/** Types of a system segment: a busy task of 16 or 32 bits, and a local descriptor table. */
const SYSTEM = { task16: 3, task32: 11, table: 2 } as const;

/** Reads the processor out of a state. @throws FIELD_VALUE for a tree that is not of a processor. */
export function registersOf(state: SaveState): V86Registers {
  const { tree } = state;
  const extension = extensionOf(state.info);
  const number = (place: number): number => {
    const value = tree[place];
    if (typeof value === 'boolean') return value ? 1 : 0;
    if (typeof value !== 'number') throw stateError('FIELD_VALUE', 'There is no number here', 16, `state[${place}]`);
    return value;
  };
  const array = (place: number, bytes: number): DataView => {
    const id = bufferIdOf(tree[place]);
    const content = id === undefined ? undefined : state.contents[id];
    if (content === undefined || content.byteLength < bytes) {
      throw stateError('FIELD_VALUE', `There are no ${bytes} bytes here`, 16, `state[${place}]`);
    }
    return new DataView(content.buffer, content.byteOffset, content.byteLength);
  };
  const wide = (value: number): bigint => BigInt(value >>> 0);
  const saved = (place: number, bytes: number): DataView | null =>
    bufferIdOf(tree[place] ?? null) === undefined ? null : array(place, bytes);

  const lastResult = saved(86, 4)?.getInt32(0, true) ?? extension?.lastResult;
  const flags = number(26);
  const eflags =
    lastResult === undefined
      ? flags
      : eflagsOf({ flags, changed: number(27), lastOp1: number(28), lastResult, lastOpSize: number(30) });

  const registers: Record<string, bigint> = {};
  const reg32 = array(39, 32);
  GENERAL.forEach((name, i) => (registers[name] = wide(reg32.getUint32(4 * i, true))));
  for (const name of [...EXTENDED, ...LONG_MODE]) registers[name] = 0n;
  const bases = array(2, 32);
  // The instruction pointer of v86 is linear: the base of the code segment is in it.
  registers['rip'] = wide(number(37) - bases.getInt32(4, true));
  registers['rflags'] = wide(eflags);
  const cr = array(10, 20);
  for (const i of [0, 2, 3, 4]) registers[`cr${i}`] = wide(cr.getUint32(4 * i, true));
  registers['sysenter_cs'] = wide(number(22));
  registers['sysenter_eip'] = wide(number(23));
  registers['sysenter_esp'] = wide(number(24));
  const tsc = array(43, 8);
  registers['tsc'] = tsc.getBigUint64(0, true);
  const dreg = array(41, 32);
  for (const i of [0, 1, 2, 3, 6, 7]) registers[`dr${i}`] = wide(dreg.getUint32(4 * i, true));

  const selectors = array(40, 16);
  const limits = array(3, 32);
  const hidden = array(1, 16);
  const wideSegments = { cs: number(13) !== 0, ss: number(16) !== 0, task: number(64) !== 0 };
  const segments = Object.fromEntries(
    SEGMENTS.map((name, i): [V86SegmentName, V86Segment] => {
      const limit = limits.getUint32(4 * i, true);
      const isNull = hidden.getUint8(i) !== 0;
      const attributes = isNull ? 0 : attributesOf(name, hidden.getUint8(8 + i), limit, wideSegments);
      return [
        name,
        { selector: selectors.getUint16(2 * i, true), attributes, limit, base: wide(bases.getUint32(4 * i, true)) },
      ];
    }),
  ) as Record<V86SegmentName, V86Segment>;

  return {
    halted: number(17) !== 0,
    registers,
    segments,
    gdtr: { base: wide(number(7)), limit: number(8) & 0xffff },
    idtr: { base: wide(number(5)), limit: number(6) & 0xffff },
    fxsave: fxsave(number, array, {
      status: saved(87, 2)?.getUint16(0, true) ?? extension?.fpuStatusWord ?? 0,
      mxcsr: saved(88, 4)?.getUint32(0, true) ?? extension?.mxcsr ?? 0x1f80,
    }),
    flagsAreLost: lastResult === undefined,
  };
}

function attributesOf(
  name: V86SegmentName,
  access: number,
  limit: number,
  wide: { cs: boolean; ss: boolean; task: boolean },
): number {
  const granular = limit > 0xf_ffff ? ATTRIBUTE.granular : 0;
  // v86 keeps no access byte of these two.
  if (name === 'tr') return ATTRIBUTE.present | (wide.task ? SYSTEM.task32 : SYSTEM.task16) | granular;
  if (name === 'ldtr') return ATTRIBUTE.present | SYSTEM.table | granular;
  // It keeps the width of code and stack alone; data segments of a 32-bit code segment are taken to be as wide.
  const is32 = name === 'ss' ? wide.ss : wide.cs;
  return access | granular | (is32 ? ATTRIBUTE.bits32 : 0);
}

/** The image that FXSAVE writes in 32-bit mode (Intel SDM volume 1, 10.5.1). */
function fxsave(
  number: (place: number) => number,
  array: (place: number, bytes: number) => DataView,
  { status, mxcsr }: { status: number; mxcsr: number },
): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  const top = number(69) & 7;
  view.setUint16(0, number(70), true);
  view.setUint16(2, (status & ~(7 << 11)) | (top << 11), true);
  view.setUint8(4, ~number(68) & 0xff);
  view.setUint16(6, number(75) & 0x7ff, true);
  view.setUint32(8, number(71) >>> 0, true);
  view.setUint16(12, number(72) & 0xffff, true);
  view.setUint32(16, number(73) >>> 0, true);
  view.setUint16(20, number(74) & 0xffff, true);
  view.setUint32(24, mxcsr, true);
  view.setUint32(28, 0xffff, true);
  const stack = array(67, 128);
  for (let i = 0; i < 8; i++) {
    // The registers of the image count from the top of the stack; v86's are where they physically are, 16 bytes each.
    for (let byte = 0; byte < 10; byte++) image[32 + 16 * i + byte] = stack.getUint8(16 * ((top + i) & 7) + byte);
  }
  const xmm = array(66, 128);
  for (let byte = 0; byte < 128; byte++) image[160 + byte] = xmm.getUint8(byte);
  return image;
}
