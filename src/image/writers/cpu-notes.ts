/** Notes of processors for cores with program headers (foreign/elf 5.2, 5.3). */
import { CPU_NOTE, encodeCpuStatus, encodeQemuCpu, type QemuSegment } from '../../foreign/elf/cpu-notes.ts';
import type { ElfNote } from '../../foreign/elf/note.ts';
import { knownGroups, type RegisterName, type Segment, type VcpuX86 } from '../../stream/records/vcpu.ts';

type Vcpu = Omit<VcpuX86, 'kind'>;
type Note = Omit<ElfNote, 'offset'>;

const QEMU_GENERAL = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ');
const SELECTORS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const;
/** What of a segment's limit stands among its flags, as in a descriptor. */
const LIMIT = { shift: 16, mask: 0xf } as const;
const GRANULAR = 0x800;

/**
 * A status for each processor, and a note of QEMU's for each where all are known as well as that one tells.
 * @param wide 64-bit registers.
 */
export function cpuNotes(vcpus: readonly Vcpu[], wide: boolean): Note[] {
  const status = vcpus.map((vcpu, i) => statusNote(vcpu, i + 1, wide));
  const isKnown = (vcpu: Vcpu): boolean => {
    const groups = knownGroups(vcpu);
    return groups.includes('general') && groups.includes('segments') && groups.includes('control');
  };
  return vcpus.every((vcpu) => isKnown(vcpu)) ? [...status, ...vcpus.map((vcpu) => qemuNote(vcpu))] : status;
}

function statusNote({ registers, segments }: Vcpu, process: number, wide: boolean): Note {
  const named: Record<string, bigint> = {};
  for (const [name, value] of Object.entries(registers)) {
    if (wide) named[name] = value;
    else named[name.replace(/^r(?=[a-z])/, 'e')] = value & 0xffff_ffffn;
  }
  named['eflags'] = registers.rflags ?? 0n;
  for (const name of SELECTORS) named[name] = BigInt(segments?.[name].selector ?? 0);
  named['fs_base'] = segments?.fs.base ?? 0n;
  named['gs_base'] = segments?.gs.base ?? 0n;
  const content = encodeCpuStatus({ registerBytes: wide ? 8 : 4, process, registers: named });
  return { ...CPU_NOTE.status, content };
}

function qemuNote({ registers, segments, gdtr, idtr }: Vcpu): Note {
  const value = (name: RegisterName): bigint => registers[name] ?? 0n;
  const { es, cs, ss, ds, fs, gs, ldtr, tr } = segments!;
  const table = (register: Vcpu['gdtr']): QemuSegment => ({
    selector: 0,
    flags: 0,
    limit: register?.limit ?? 0,
    base: register?.base ?? 0n,
  });
  const content = encodeQemuCpu({
    registers: Object.fromEntries(QEMU_GENERAL.map((name) => [name, value(name as RegisterName)])),
    segments: {
      cs: segmentOf(cs),
      ds: segmentOf(ds),
      es: segmentOf(es),
      fs: segmentOf(fs),
      gs: segmentOf(gs),
      ss: segmentOf(ss),
      ldt: segmentOf(ldtr),
      tr: segmentOf(tr),
      gdt: table(gdtr),
      idt: table(idtr),
    },
    control: [value('cr0'), 0n, value('cr2'), value('cr3'), value('cr4')],
    kernelGsBase: value('kernel_gs_base'),
  });
  return { ...CPU_NOTE.qemu, content };
}

function segmentOf({ selector, attributes, limit, base }: Segment): QemuSegment {
  const pages = (attributes & GRANULAR) === 0 ? limit : limit >>> 12;
  const high = ((pages >>> LIMIT.shift) & LIMIT.mask) << LIMIT.shift;
  const flags = ((attributes & 0xff) << 8) | ((attributes & 0xf00) << 12) | high;
  return { selector, limit, flags, base };
}
