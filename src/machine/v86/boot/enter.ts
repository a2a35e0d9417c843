/** Performs a boot plan on a v86 emulator that was made without a BIOS and does not run yet. */

import { TransmigrateError } from '../../../errors.ts';
import { GDT_BYTES, LOW_MEMORY, type BootPlan } from './plan.ts';

/** What is used of v86's `CPU` object, views into wasm memory and a few functions: equal from 0.5.66 to 0.5.462. */
export interface BootCpu {
  readonly memory_size: Int32Array;
  readonly reg32: Int32Array;
  readonly cr: Int32Array;
  readonly flags: Int32Array;
  readonly protected_mode: Int32Array;
  readonly is_32: Int32Array;
  readonly stack_size_32: Int32Array;
  readonly sreg: Uint16Array;
  readonly segment_is_null: Uint8Array;
  readonly segment_offsets: Int32Array;
  readonly segment_limits: Uint32Array;
  readonly segment_access_bytes: Uint8Array;
  readonly gdtr_offset: Int32Array;
  readonly gdtr_size: Int32Array;
  readonly instruction_pointer: Int32Array;
  readonly devices: {
    readonly pci?: {
      readonly devices: readonly ({ readonly name?: string } | undefined)[];
      readonly device_spaces: readonly (Int32Array | undefined)[];
    };
  };
  write_blob(bytes: Uint8Array, address: number): void;
  update_state_flags(): void;
}

const CODE_SEGMENT = 1;
/** Flat segments of ring 0, present and accessed: code that can be read, data that can be written. */
const CODE_ACCESS = 0x9b;
const DATA_ACCESS = 0x93;
/** Limit 4 GiB in pages, 32 bits. */
const FLAT_HIGH = 0x00cf0000;

/**
 * Writes memory and sets the registers. The bytes of the plan are copied into the guest.
 * Throws GUEST_MEMORY where the emulator has less memory than the plan was made for.
 */
export function enterPlan(cpu: BootCpu, plan: BootPlan): void {
  const memoryBytes = cpu.memory_size[0] >>> 0;
  for (const { address, bytes, what } of plan.writes) {
    if (address + bytes.length > memoryBytes) {
      throw new TransmigrateError('GUEST_MEMORY', `The ${what} does not fit into the emulator's memory`, {
        data: { what, address, memoryBytes },
      });
    }
    cpu.write_blob(bytes, address);
  }
  enterProtectedMode(cpu, plan);
  enableIde(cpu);
}

function enterProtectedMode(cpu: BootCpu, plan: BootPlan): void {
  const gdt = new DataView(new ArrayBuffer(GDT_BYTES));
  for (const [selector, access] of [
    [plan.codeSelector, CODE_ACCESS],
    [plan.dataSelector, DATA_ACCESS],
  ]) {
    gdt.setUint32(selector, 0x0000ffff, true);
    gdt.setUint32(selector + 4, FLAT_HIGH | (access << 8), true);
  }
  cpu.write_blob(new Uint8Array(gdt.buffer), LOW_MEMORY.gdt);
  cpu.gdtr_offset[0] = LOW_MEMORY.gdt;
  cpu.gdtr_size[0] = GDT_BYTES - 1;

  cpu.cr[0] = 1;
  cpu.protected_mode[0] = 1;
  // Bit 1 is always set; interrupts are off.
  cpu.flags[0] = 2;
  cpu.is_32[0] = 1;
  cpu.stack_size_32[0] = 1;
  for (let segment = 0; segment < 6; segment++) {
    cpu.segment_is_null[segment] = 0;
    cpu.segment_offsets[segment] = 0;
    cpu.segment_limits[segment] = 0xffffffff;
    cpu.segment_access_bytes[segment] = segment === CODE_SEGMENT ? CODE_ACCESS : DATA_ACCESS;
    cpu.sreg[segment] = segment === CODE_SEGMENT ? plan.codeSelector : plan.dataSelector;
  }
  const { eax, ecx, edx, ebx, esp, ebp, esi, edi } = plan.registers;
  for (const [i, value] of [eax, ecx, edx, ebx, esp, ebp, esi, edi].entries()) cpu.reg32[i] = value;
  cpu.instruction_pointer[0] = plan.entry;
  cpu.update_state_flags();
}

/** PIIX, IDETIM of both channels: "IDE decode enable". Linux's ata_piix skips a port that no BIOS has enabled. */
const IDE_TIMING_REGISTER = 0x40;
const IDE_DECODE_BOTH = 0x80008000;

function enableIde({ devices: { pci } }: BootCpu): void {
  const index = pci?.devices.findIndex((device) => device?.name === 'ide') ?? -1;
  const space = pci?.device_spaces[index];
  if (space !== undefined) space[IDE_TIMING_REGISTER >> 2] = IDE_DECODE_BOTH | 0;
}
