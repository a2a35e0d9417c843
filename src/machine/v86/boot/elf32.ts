/**
 * As much of a 32-bit ELF executable as loading it takes (System V ABI, chapter 4 and 5, and its i386 supplement):
 * the entry and the segments of type PT_LOAD.
 */

import { bootFile, bootFileError } from './file.ts';
import type { BootSpace, BootWrite } from './plan.ts';

const ELF_MAGIC = 0x464c457f;
const CLASS_32 = 1;
const LITTLE_ENDIAN = 1;
const TYPE_EXECUTABLE = 2;
const MACHINE_386 = 3;
const HEADER_BYTES = 52;
const PROGRAM_HEADER_BYTES = 32;
const PT_LOAD = 1;
/** Real kernels have three to ten. */
const PROGRAM_HEADERS_LIMIT = 64;

export interface ElfKernel {
  /** Physical address of the entry. */
  readonly entry: number;
  readonly writes: readonly BootWrite[];
  /** What the segments hold beyond their bytes in the file, zero at the start. */
  readonly spaces: readonly BootSpace[];
  /** Where the highest segment ends. */
  readonly end: number;
}

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Reads an ELF file. Throws BOOT_FILE where it is not an executable for a 32-bit PC, or is damaged. */
export function readElf(bytes: Uint8Array, what: string): ElfKernel {
  const file = bootFile(bytes, what);
  if (file.u32(0) !== ELF_MAGIC) throw bootFileError(what, 0, 'is not an ELF file');
  if (file.u8(4) !== CLASS_32) throw bootFileError(what, 4, 'is not for a 32-bit processor');
  if (file.u8(5) !== LITTLE_ENDIAN) throw bootFileError(what, 5, 'is not little-endian');
  if (file.u16(16) !== TYPE_EXECUTABLE) throw bootFileError(what, 16, 'is an ELF file, but not an executable');
  if (file.u16(18) !== MACHINE_386) throw bootFileError(what, 18, 'is not for an x86 processor');
  const virtualEntry = file.u32(24);
  const headersAt = file.u32(28);
  if (file.u16(40) < HEADER_BYTES || file.u16(42) !== PROGRAM_HEADER_BYTES) {
    throw bootFileError(what, 40, 'has headers of unknown sizes');
  }
  const count = file.u16(44);
  if (count === 0 || count > PROGRAM_HEADERS_LIMIT) throw bootFileError(what, 44, `has ${count} program headers`);

  const writes: BootWrite[] = [];
  const spaces: BootSpace[] = [];
  let entry = virtualEntry;
  let end = 0;
  for (let i = 0; i < count; i++) {
    const at = headersAt + i * PROGRAM_HEADER_BYTES;
    if (file.u32(at) !== PT_LOAD) continue;
    const offset = file.u32(at + 4);
    const virtual = file.u32(at + 8);
    const physical = file.u32(at + 12);
    const fileBytes = file.u32(at + 16);
    const memoryBytes = file.u32(at + 20);
    if (fileBytes > memoryBytes) throw bootFileError(what, at, 'has a segment that is larger than its memory');
    if (fileBytes > 0) writes.push({ address: physical, bytes: file.part(offset, fileBytes), what });
    if (memoryBytes > fileBytes) {
      spaces.push({ address: physical + fileBytes, byteLength: memoryBytes - fileBytes, what });
    }
    // Linux states its entry as a physical address, others as a virtual one.
    if (virtualEntry >= virtual && virtualEntry < virtual + memoryBytes) entry = virtualEntry - virtual + physical;
    end = Math.max(end, physical + memoryBytes);
  }
  if (writes.length === 0) throw bootFileError(what, headersAt, 'has nothing to load');
  const inside = writes.some(({ address, bytes: { length } }) => entry >= address && entry < address + length);
  if (!inside) throw bootFileError(what, 24, 'has its entry outside of what is loaded');
  return { entry, writes, spaces, end };
}
