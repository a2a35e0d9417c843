/** vCPUs of a core with program headers, from its notes (spec/foreign/elf.md 5.2, 5.3). */
import type { CpuStatus, QemuCpu, QemuSegment } from '../../../foreign/elf/cpu-notes.ts';
import type { RegisterName, Segment, SegmentName } from '../../../stream/records/vcpu.ts';
import type { VcpuEvent } from '../../model/event.ts';
import { assumedSegments } from './assumed-segments.ts';

const GENERAL = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ') as RegisterName[];
/** Registers of a status note of i386 that have another name there. */
const NAMES_32: Readonly<Record<string, string>> = { rflags: 'eflags', rip: 'eip' };
/** Where in a segment's flags the attributes of the VMCB stand (stream 8.1, foreign/elf 5.3). */
const FLAGS = { low: 8, high: 20 } as const;

/** A vCPU from QEMU's own note, which has the hidden parts of segments. */
export function qemuVcpu(vcpu: number, cpu: QemuCpu): VcpuEvent {
  const registers: Partial<Record<RegisterName, bigint>> = {};
  for (const name of GENERAL) registers[name] = cpu.registers[name];
  [registers.cr0, , registers.cr2, registers.cr3, registers.cr4] = cpu.control;
  const { es, cs, ss, ds, fs, gs, ldt, tr, gdt, idt } = cpu.segments;
  const segments: Record<SegmentName, Segment> = {
    es: segmentOf(es),
    cs: segmentOf(cs),
    ss: segmentOf(ss),
    ds: segmentOf(ds),
    fs: segmentOf(fs),
    gs: segmentOf(gs),
    ldtr: segmentOf(ldt),
    tr: segmentOf(tr),
  };
  const table = ({ base, limit }: QemuSegment): { base: bigint; limit: number } => ({ base, limit });
  return event(vcpu, registers, segments, { gdtr: table(gdt), idtr: table(idt) });
}

function segmentOf({ selector, limit, flags, base }: QemuSegment): Segment {
  const attributes = ((flags >>> FLAGS.low) & 0xff) | (((flags >>> FLAGS.high) & 0xf) << 8);
  return { selector: selector & 0xffff, attributes, limit, base };
}

/** A vCPU from a status note alone: its segments are taken to be flat. */
export function statusVcpu(vcpu: number, status: CpuStatus): VcpuEvent {
  const wide = status.registerBytes === 8;
  const value = (name: string): bigint => status.registers[name] ?? 0n;
  const registers: Partial<Record<RegisterName, bigint>> = {};
  for (const name of GENERAL) registers[name] = value(wide ? nameOf64(name) : (NAMES_32[name] ?? `e${name.slice(1)}`));
  const number = (name: string): number => Number(value(name) & 0xffffn);
  const selectors = {
    es: number('es'),
    cs: number('cs'),
    ss: number('ss'),
    ds: number('ds'),
    fs: number('fs'),
    gs: number('gs'),
  };
  const known = { selectors, fsBase: value('fs_base'), gsBase: value('gs_base') };
  return event(vcpu, registers, assumedSegments(known, wide ? 64 : 32), { gdtr: null, idtr: null });
}

function nameOf64(name: string): string {
  return name === 'rflags' ? 'eflags' : name;
}

function event(
  vcpu: number,
  registers: VcpuEvent['vcpu']['registers'],
  segments: Record<SegmentName, Segment>,
  tables: Pick<VcpuEvent['vcpu'], 'gdtr' | 'idtr'>,
): VcpuEvent {
  return { kind: 'vcpu', vcpu: { vcpu, online: true, halted: false, registers, segments, ...tables } };
}
