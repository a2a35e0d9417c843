/** How a processor finds memory: the kind of its page tables, and where they begin (debug 2.1). */
import type { RegisterName, VcpuX86 } from '../../stream/records/vcpu.ts';
import type { ImageHead } from '../model/event.ts';

/** Kinds of paging, by their tables. */
export const PAGING_MODES = ['none', '32-bit', 'pae', '4-level', '5-level'] as const;
export type PagingMode = (typeof PAGING_MODES)[number];

/** What it takes to walk. */
export interface Paging {
  readonly mode: PagingMode;
  /** Where the top table is. */
  readonly root: bigint;
  /** Whether a PDE of 32-bit paging may map 4 MiB (cr4.PSE). */
  readonly largePages: boolean;
}

/** The image does not say enough. */
export interface PagingUnknown {
  readonly mode: null;
  /** Names of the registers that are missing. */
  readonly registers: readonly string[];
}

/** What the user says in place of the image. */
export interface PagingChoice {
  readonly cr3?: bigint | undefined;
  readonly mode?: PagingMode | undefined;
}

/** Bits of control registers (debug 2.1). */
const BIT = {
  cr0Paging: 1n << 31n,
  cr4Pse: 1n << 4n,
  cr4Pae: 1n << 5n,
  cr4La57: 1n << 12n,
  eferLma: 1n << 10n,
  /** Of segment attributes (stream 8.1). */
  codeLong: 1 << 9,
} as const;

const WORD_32 = 2n ** 32n;

/** What of cr3 is the address of the top table. */
const ROOT_MASK: Readonly<Record<PagingMode, bigint>> = {
  none: 0n,
  '32-bit': 0xffff_f000n,
  pae: 0xffff_ffe0n,
  '4-level': 0xf_ffff_ffff_f000n,
  '5-level': 0xf_ffff_ffff_f000n,
};

/**
 * The paging of a vCPU.
 * @param vcpu undefined where the image has none: then only what is chosen, and the size of its words, is known.
 */
export function pagingOf(
  head: Pick<ImageHead, 'domainType' | 'wordBits'>,
  vcpu: Omit<VcpuX86, 'kind'> | undefined,
  choice: PagingChoice = {},
): Paging | PagingUnknown {
  const registers = vcpu?.registers ?? {};
  const isPv = head.domainType === 'pv';
  const mode = choice.mode ?? (isPv ? pvMode(head) : modeOf(vcpu));
  if (typeof mode !== 'string') return { mode: null, registers: mode };
  if (mode === 'none') return { mode, root: 0n, largePages: false };
  const cr3 = choice.cr3 ?? registers.cr3;
  if (cr3 === undefined) return { mode: null, registers: ['cr3'] };
  // The pfn of a PV domain's top table may need more bits than a cr3 of 32 bits has.
  const mask = isPv ? ROOT_MASK['4-level'] : ROOT_MASK[mode];
  // Chosen by hand where no processor says it, 32-bit tables are those of every system since the Pentium.
  const largePages = registers.cr4 === undefined || (registers.cr4 & BIT.cr4Pse) !== 0n;
  return { mode, root: cr3 & mask, largePages };
}

function pvMode({ wordBits }: Pick<ImageHead, 'wordBits'>): PagingMode {
  return wordBits === 64 ? '4-level' : 'pae';
}

/** The mode, or which registers are missing to tell. */
function modeOf(vcpu: Omit<VcpuX86, 'kind'> | undefined): PagingMode | readonly string[] {
  const { cr0, cr4 } = vcpu?.registers ?? {};
  if (vcpu === undefined || cr0 === undefined) return ['cr0', 'cr3', 'cr4'];
  if ((cr0 & BIT.cr0Paging) === 0n) return 'none';
  if (cr4 === undefined) return ['cr4'];
  if ((cr4 & BIT.cr4Pae) === 0n) return '32-bit';
  if (!longModeOf(vcpu)) return 'pae';
  return (cr4 & BIT.cr4La57) === 0n ? '4-level' : '5-level';
}

/** Where else a processor in long mode shows it: registers that hold addresses. */
const ADDRESSES: readonly RegisterName[] = ['rip', 'rsp'];

/**
 * Whether a vCPU, of a domain that is not PV, is in long mode. Some formats know all but efer: then its code segment
 * and its addresses tell.
 */
export function longModeOf(vcpu: Omit<VcpuX86, 'kind'>): boolean {
  const { registers, segments, gdtr, idtr } = vcpu;
  if (registers.efer !== undefined) return (registers.efer & BIT.eferLma) !== 0n;
  if (((registers.cr4 ?? 0n) & BIT.cr4Pae) === 0n || ((registers.cr0 ?? 0n) & BIT.cr0Paging) === 0n) return false;
  if (segments !== null && (segments.cs.attributes & BIT.codeLong) !== 0) return true;
  const bases = [...Object.values(segments ?? {}), gdtr, idtr].map((one) => one?.base ?? 0n);
  return [...bases, ...ADDRESSES.map((name) => registers[name] ?? 0n)].some((address) => address >= WORD_32);
}
