/**
 * A start without a BIOS, as data: what lies where in a fresh guest's memory, and how its one processor begins.
 * The boot protocols of multiboot and of Linux both end in this; `enter.ts` performs it on a v86 processor.
 */

import { TransmigrateError } from '../../../errors.ts';

/** Bytes that are put into guest memory. They belong to the file they come from and are only read. */
export interface BootWrite {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** What it is, for messages. */
  readonly what: string;
}

/** Memory that must be zero: a fresh guest's is, so it only has to be free. */
export interface BootSpace {
  readonly address: number;
  readonly byteLength: number;
  readonly what: string;
}

export interface BootRegisters {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
  readonly esp: number;
  readonly ebp: number;
  readonly esi: number;
  readonly edi: number;
}

/** A processor in flat 32-bit protected mode without paging, interrupts off, and memory filled. */
export interface BootPlan {
  readonly writes: readonly BootWrite[];
  readonly spaces: readonly BootSpace[];
  /** Physical address of the first instruction. */
  readonly entry: number;
  readonly registers: BootRegisters;
  readonly codeSelector: number;
  readonly dataSelector: number;
}

export const NO_REGISTERS: BootRegisters = { eax: 0, ebx: 0, ecx: 0, edx: 0, esp: 0, ebp: 0, esi: 0, edi: 0 };

/** Places in low memory, which neither protocol uses for anything else. Conventional memory ends at 0x9fc00. */
export const LOW_MEMORY = {
  /** Downwards from here: a stack for a kernel that forgets to bring its own. */
  stackTop: 0x8000,
  gdt: 0x9000,
  /** Linux: the page of boot parameters. Multiboot: the information structure and what it points to. */
  information: 0x10000,
  commandLine: 0x20000,
  end: 0x9fc00,
  /** From here to 1 MiB a PC has other things than memory. */
  hole: 0xa0000,
} as const;

/** The descriptors of a plan's two selectors, and the null descriptor. */
export const GDT_BYTES = 32;

/** Where kernels of a PC begin. */
export const ONE_MIB = 0x100000;

export const PAGE = 4096;

/** Longer than this, a command line reaches kernels cut off: Linux takes 2,047 characters on x86. */
export const COMMAND_LINE_LIMIT = 2047;

/** The most memory a v86 guest can have below the addresses of its devices. */
export const MEMORY_LIMIT_BYTES = 0xe0000000;

/** The bytes of a command line, ended by a zero. Throws USAGE where it is too long or holds a zero itself. */
export function commandLineBytes(commandLine: string): Uint8Array {
  const bytes = new TextEncoder().encode(`${commandLine}\0`);
  if (bytes.indexOf(0) !== bytes.length - 1) {
    throw new TransmigrateError('USAGE', 'The kernel command line holds a zero character.');
  }
  if (bytes.length - 1 > COMMAND_LINE_LIMIT) {
    throw new TransmigrateError('USAGE', `The kernel command line has ${bytes.length - 1} bytes`, {
      data: { found: bytes.length - 1, limit: COMMAND_LINE_LIMIT },
      next: `Shorten it to ${COMMAND_LINE_LIMIT} bytes.`,
    });
  }
  return bytes;
}

/**
 * Checks that a plan fits into `memoryBytes`: nothing outside, nothing in the hole below 1 MiB, nothing twice.
 * Throws GUEST_MEMORY otherwise. Returns the plan.
 */
export function checkedPlan(plan: BootPlan, memoryBytes: number): BootPlan {
  const ranges = [
    { address: LOW_MEMORY.gdt, end: LOW_MEMORY.gdt + GDT_BYTES, what: 'descriptor table' },
    ...plan.writes.map(({ address, bytes, what }) => ({ address, end: address + bytes.length, what })),
    ...plan.spaces.map(({ address, byteLength, what }) => ({ address, end: address + byteLength, what })),
  ]
    .filter(({ address, end }) => end > address)
    .sort((a, b) => a.address - b.address);
  let before: (typeof ranges)[number] | undefined;
  for (const range of ranges) {
    const { address, end, what } = range;
    if (end > memoryBytes) {
      throw new TransmigrateError('GUEST_MEMORY', `The ${what} does not fit into the guest's memory`, {
        data: { what, address, end, memoryBytes },
      });
    }
    if (address < ONE_MIB && end > LOW_MEMORY.end) {
      throw new TransmigrateError('GUEST_MEMORY', `The ${what} would lie where a PC has no memory`, {
        data: { what, address, end },
      });
    }
    if (before !== undefined && address < before.end) {
      throw new TransmigrateError('GUEST_MEMORY', `The ${what} and the ${before.what} would overlap`, {
        data: { what, address, other: before.what, otherEnd: before.end },
      });
    }
    before = range;
  }
  return plan;
}

/** Throws GUEST_MEMORY where a machine cannot have this much memory. */
export function checkMemoryBytes(memoryBytes: number): void {
  if (!Number.isInteger(memoryBytes) || memoryBytes < 2 * ONE_MIB || memoryBytes > MEMORY_LIMIT_BYTES) {
    throw new TransmigrateError('GUEST_MEMORY', `A guest can't have ${memoryBytes} bytes of memory`, {
      data: { memoryBytes, least: 2 * ONE_MIB, most: MEMORY_LIMIT_BYTES },
      next: 'Give it between 2 and 3,584 MiB.',
    });
  }
}
