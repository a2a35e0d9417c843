/** Registers in the notes of cores that QEMU and Linux write, for x86 (spec/foreign/elf.md, section 5.2). */
import type { Json } from '../../bytes/bounded-json.ts';
import { elfError } from './elf-error.ts';
import { FieldReader, FieldWriter, type ElfShape } from './fields.ts';
import type { ElfNote } from './note.ts';

/** Names and types of notes (foreign/elf 5.2). */
export const CPU_NOTE = {
  status: { name: 'CORE', type: 1 },
  qemu: { name: 'QEMU', type: 0 },
  vmcoreInfo: { name: 'VMCOREINFO', type: 0 },
} as const;

/** Registers of a status note, in its order (foreign/elf 5.2). */
const STATUS_64 = (
  'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax ' +
  'rip cs eflags rsp ss fs_base gs_base ds es fs gs'
).split(' ');
const STATUS_32 = 'ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss'.split(' ');
/** Length of a status note, place of the process number, and of the registers, by their size (foreign/elf 5.2). */
const STATUS = {
  8: { bytes: 336, processAt: 32, registersAt: 112, names: STATUS_64 },
  4: { bytes: 144, processAt: 24, registersAt: 72, names: STATUS_32 },
} as const;

/** Registers by name, as the kernel numbers them in a status note. */
export interface CpuStatus {
  /** 8 for x86-64, 4 for i386. */
  readonly registerBytes: 4 | 8;
  /** The number of the thread: of QEMU the number of the CPU from 1. */
  readonly process: number;
  readonly registers: Readonly<Record<string, bigint>>;
}

/** @returns undefined for a note of another kind or machine. */
export function parseCpuStatus(note: ElfNote, shape: ElfShape): CpuStatus | undefined {
  if (note.name !== CPU_NOTE.status.name || note.type !== CPU_NOTE.status.type) return undefined;
  const { byteLength } = note.content;
  const registerBytes = byteLength === STATUS[8].bytes ? 8 : byteLength === STATUS[4].bytes ? 4 : undefined;
  if (registerBytes === undefined) return undefined;
  const { processAt, registersAt, names } = STATUS[registerBytes];
  const read = new FieldReader(note.content, { ...shape, wordBytes: registerBytes }, note.offset, 'notes', '5.2');
  read.seek(processAt);
  const process = read.u32();
  read.seek(registersAt);
  const registers: Record<string, bigint> = {};
  for (const name of names) registers[name] = read.word();
  return { registerBytes, process, registers };
}

/** The content of a status note. Registers that are not given are zero. */
export function encodeCpuStatus({ registerBytes, process, registers }: CpuStatus): Uint8Array {
  const { bytes, processAt, registersAt, names } = STATUS[registerBytes];
  const write = new FieldWriter(bytes, { wordBytes: registerBytes, littleEndian: true });
  write.seek(processAt).u32(process).seek(registersAt);
  for (const name of names) write.word(registers[name] ?? 0n);
  return write.bytes;
}

/** General registers of QEMU's note, in its order (foreign/elf 5.3). */
const QEMU_REGISTERS = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ');
const QEMU_SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'ldt', 'tr', 'gdt', 'idt'] as const;
const QEMU_NOTE = { version: 1, bytes: 440 } as const;

export interface QemuSegment {
  readonly selector: number;
  readonly limit: number;
  /** As a descriptor has them: bits 8 to 23 of its upper half. */
  readonly flags: number;
  readonly base: bigint;
}

/** What QEMU knows of an x86 CPU beyond a status note: segments and control registers. */
export interface QemuCpu {
  readonly registers: Readonly<Record<string, bigint>>;
  readonly segments: Readonly<Record<(typeof QEMU_SEGMENTS)[number], QemuSegment>>;
  /** cr0 to cr4. */
  readonly control: readonly bigint[];
  readonly kernelGsBase: bigint;
}

/** @returns undefined for a note of another kind. @throws LENGTH_MISMATCH, UNSUPPORTED_VERSION */
export function parseQemuCpu(note: ElfNote): QemuCpu | undefined {
  if (note.name !== CPU_NOTE.qemu.name || note.type !== CPU_NOTE.qemu.type) return undefined;
  const { content, offset } = note;
  const shape: ElfShape = { wordBytes: 8, littleEndian: true };
  const read = new FieldReader(content, shape, offset, 'notes/QEMU', '5.3');
  if (content.byteLength < 8)
    throw elfError('LENGTH_MISMATCH', "QEMU's note is too short", offset, 'notes/QEMU', '5.3');
  const version = read.u32();
  if (version !== QEMU_NOTE.version) {
    throw elfError('UNSUPPORTED_VERSION', `QEMU's note has version ${version}`, offset, 'notes/QEMU', '5.3');
  }
  const bytes = read.u32();
  if (bytes !== content.byteLength || bytes < QEMU_NOTE.bytes - 8) {
    const what = `QEMU's note says it has ${bytes} bytes, and has ${content.byteLength}`;
    throw elfError('LENGTH_MISMATCH', what, offset, 'notes/QEMU', '5.3');
  }
  const registers: Record<string, bigint> = {};
  for (const name of QEMU_REGISTERS) registers[name] = read.u64();
  const segments = {} as Record<(typeof QEMU_SEGMENTS)[number], QemuSegment>;
  for (const name of QEMU_SEGMENTS) {
    const [selector, limit, flags] = [read.u32(), read.u32(), read.u32()];
    read.u32();
    segments[name] = { selector, limit, flags, base: read.u64() };
  }
  const control = Array.from({ length: 5 }, () => read.u64());
  // The base of the kernel's GS came later, under the same version (foreign/elf 5.3).
  const kernelGsBase = bytes >= QEMU_NOTE.bytes ? read.u64() : 0n;
  return { registers, segments, control, kernelGsBase };
}

/** The content of QEMU's note. */
export function encodeQemuCpu({ registers, segments, control, kernelGsBase }: QemuCpu): Uint8Array {
  const write = new FieldWriter(QEMU_NOTE.bytes, { wordBytes: 8, littleEndian: true });
  write.u32(QEMU_NOTE.version).u32(QEMU_NOTE.bytes);
  for (const name of QEMU_REGISTERS) write.u64(registers[name]);
  for (const name of QEMU_SEGMENTS) {
    const { selector, limit, flags, base } = segments[name];
    write.u32(selector).u32(limit).u32(flags).u32(0).u64(base);
  }
  for (let i = 0; i < 5; i++) write.u64(control[i] ?? 0n);
  return write.u64(kernelGsBase).bytes;
}

/** `KEY=VALUE` lines of Linux's VMCOREINFO note, as an object. @returns undefined when there is none. */
export function parseVmcoreInfo(notes: readonly ElfNote[]): Readonly<Record<string, Json>> | undefined {
  const note = notes.find(({ name, type }) => name === CPU_NOTE.vmcoreInfo.name && type === CPU_NOTE.vmcoreInfo.type);
  if (note === undefined) return undefined;
  const entries: [string, string][] = [];
  for (const line of new TextDecoder('latin1').decode(note.content.slice()).split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) entries.push([line.slice(0, at), line.slice(at + 1).replace(/\0+$/, '')]);
  }
  return Object.fromEntries(entries);
}
