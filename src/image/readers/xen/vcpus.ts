/** Registers of a processor of our model, from what Xen saves of it. */
import { hvmCpuExtras, decodeHvmCpu, type HvmContext } from '../../../foreign/xen-libxc/hvm-context.ts';
import type { PvVcpu } from '../../../foreign/xen-libxc/pv-vcpu.ts';
import type { RegisterName, Segment, SegmentName, VcpuX86 } from '../../../stream/records/vcpu.ts';

type Vcpu = Omit<VcpuX86, 'kind'>;

/**
 * Attributes of segments as Xen gives them to PV guests (stream 8.1): ring 3, present, 4 GiB. 0xFB and 0xF3 are code
 * and data of privilege 3; L, D/B and G stand above.
 */
const FLAT = { code64: 0xafb, code32: 0xcfb, data: 0xcf3 } as const;
const PAGE_SHIFT = 12n;

/** A vCPU of a PV guest (foreign/xen-libxc 7.1). Its segments are flat, as they are for all such guests. */
export function pvVcpu(vcpu: number, context: PvVcpu): Vcpu {
  const { width, controls, selectors, bases, inKernel } = context;
  const registers: Partial<Record<RegisterName, bigint>> = { ...context.registers };
  for (const name of ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const) registers[name] ??= 0n;
  registers.cr0 = controls[0];
  registers.cr2 = controls[2];
  registers.cr3 = BigInt(context.cr3Pfn) << PAGE_SHIFT;
  registers.cr4 = controls[4];
  const { debug } = context;
  for (const [i, name] of (['dr0', 'dr1', 'dr2', 'dr3'] as const).entries()) registers[name] = debug[i];
  registers.dr6 = debug[6];
  registers.dr7 = debug[7];
  const base: Partial<Record<SegmentName, bigint>> =
    bases === null ? {} : { fs: bases.fs, gs: inKernel ? bases.gsKernel : bases.gsUser };
  const segment = (name: 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs'): Segment => ({
    selector: selectors[name],
    attributes: name === 'cs' ? (width === 8 ? FLAT.code64 : FLAT.code32) : FLAT.data,
    limit: 0xffff_ffff,
    base: base[name] ?? 0n,
  });
  const none: Segment = { selector: 0, attributes: 0, limit: 0, base: 0n };
  return {
    vcpu,
    online: context.online,
    halted: false,
    registers,
    segments: {
      es: segment('es'),
      cs: segment('cs'),
      ss: segment('ss'),
      ds: segment('ds'),
      fs: segment('fs'),
      gs: segment('gs'),
      ldtr: none,
      tr: none,
    },
    gdtr: null,
    idtr: null,
  };
}

/** The vCPUs of an HVM context, and their FXSAVE images (foreign/xen-libxc 9.1). @throws LENGTH_MISMATCH */
export function hvmVcpus(context: HvmContext, offset: number, little: boolean): { vcpu: Vcpu; fxsave: Uint8Array }[] {
  const result: { vcpu: Vcpu; fxsave: Uint8Array }[] = [];
  for (const entry of context.entries) {
    if (entry.name !== 'CPU') continue;
    const cpu = decodeHvmCpu(entry, offset, little);
    const { apicBase, pat, xcr0 } = hvmCpuExtras(context, entry.instance, offset, little);
    // What VCPU_X86 has no place for is in the context, which is kept beside.
    const registers: Partial<Record<RegisterName, bigint>> = { ...cpu.registers };
    if (pat !== null) registers.pat = pat;
    if (xcr0 !== null) registers.xcr0 = xcr0;
    if (apicBase !== null) registers.apic_base = apicBase;
    result.push({
      vcpu: {
        vcpu: entry.instance,
        online: true,
        halted: false,
        registers,
        segments: cpu.segments,
        gdtr: cpu.gdtr,
        idtr: cpu.idtr,
      },
      fxsave: cpu.fpu,
    });
  }
  return result;
}
