/**
 * Linux by its 32-bit boot protocol, without a BIOS
 * (Linux, Documentation/arch/x86/boot.rst: "32-bit Boot Protocol"; zero-page.rst: the boot parameters).
 *
 * The kernel is a bzImage, which unpacks itself in the guest, or a vmlinux, which somebody unpacked outside: in an
 * emulator that saves ten seconds of processor time.
 */

import { isBzImage, readBzImage, SETUP_HEADER_START } from './bzimage.ts';
import { isElf, readElf } from './elf32.ts';
import { bootFileError } from './file.ts';
import {
  checkedPlan,
  checkMemoryBytes,
  commandLineBytes,
  LOW_MEMORY,
  NO_REGISTERS,
  ONE_MIB,
  PAGE,
  type BootPlan,
  type BootSpace,
  type BootWrite,
} from './plan.ts';

/** The selectors that the protocol asks for: __BOOT_CS and __BOOT_DS. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;

/** Offsets in the page of boot parameters. */
const PARAMETER = {
  e820Entries: 0x1e8,
  videoMode: 0x1fa,
  bootFlag: 0x1fe,
  header: 0x202,
  version: 0x206,
  loaderType: 0x210,
  loadFlags: 0x211,
  initrdAddress: 0x218,
  initrdBytes: 0x21c,
  commandLine: 0x228,
  initrdAddressMax: 0x22c,
  commandLineLimit: 0x238,
  e820Table: 0x2d0,
} as const;

const E820_ENTRY_BYTES = 20;
const E820_RAM = 1;
const E820_RESERVED = 2;
const LOADER_UNREGISTERED = 0xff;
const VIDEO_NORMAL = 0xffff;
const LOADED_HIGH = 1;
/** Where a bzImage or vmlinux of a 32-bit kernel puts its initrd at most: what the header of recent kernels says. */
const INITRD_ADDRESS_MAX = 0x7fffffff;
/** A vmlinux makes its first page tables behind its end, before it looks at its memory. */
const EARLY_BYTES = 0x100000;
/** The last page stays free: some kernels and v86's own tables do not like an initrd that ends with memory. */
const TOP_BYTES = 0x10000;

export interface LinuxBoot {
  /** A bzImage or a vmlinux for a 32-bit x86. Not copied, only read. */
  readonly kernel: Uint8Array;
  /** A cpio archive, packed in a way that the kernel knows or not at all. Not copied, only read. */
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  readonly memoryBytes: number;
}

interface Kernel {
  readonly entry: number;
  readonly writes: readonly BootWrite[];
  readonly spaces: readonly BootSpace[];
  readonly setupHeader: Uint8Array | undefined;
  readonly initrdAddressMax: number;
  /** Nothing else may lie below. */
  readonly end: number;
}

/** Throws BOOT_FILE where the kernel is none, GUEST_MEMORY where it does not fit, USAGE for the command line. */
export function planLinux({ kernel: file, initrd, commandLine, memoryBytes }: LinuxBoot): BootPlan {
  checkMemoryBytes(memoryBytes);
  const kernel = readKernel(file);
  const commands = commandLineBytes(commandLine);
  const writes: BootWrite[] = [...kernel.writes];
  const parameters = bootParameters(kernel, memoryBytes);
  const view = new DataView(parameters.buffer);
  view.setUint32(PARAMETER.commandLine, LOW_MEMORY.commandLine, true);
  if (initrd !== undefined) {
    const top = Math.min(memoryBytes - TOP_BYTES, kernel.initrdAddressMax + 1);
    // Rounded down, it may come to lie in the kernel or below zero: then the check of the plan refuses it.
    const address = Math.max(0, Math.floor((top - initrd.length) / PAGE) * PAGE);
    view.setUint32(PARAMETER.initrdAddress, address, true);
    view.setUint32(PARAMETER.initrdBytes, initrd.length, true);
    writes.push({ address, bytes: initrd, what: 'initrd' });
  }
  writes.push({ address: LOW_MEMORY.information, bytes: parameters, what: 'boot parameters' });
  writes.push({ address: LOW_MEMORY.commandLine, bytes: commands, what: 'command line' });
  const plan = {
    writes,
    spaces: kernel.spaces,
    entry: kernel.entry,
    registers: { ...NO_REGISTERS, esi: LOW_MEMORY.information, esp: LOW_MEMORY.stackTop },
    codeSelector: BOOT_CS,
    dataSelector: BOOT_DS,
  };
  return checkedPlan(plan, memoryBytes);
}

function readKernel(file: Uint8Array): Kernel {
  if (isElf(file)) {
    const { entry, writes, spaces, end } = readElf(file, 'kernel');
    return {
      entry,
      writes,
      spaces: [...spaces, { address: end, byteLength: EARLY_BYTES, what: 'kernel' }],
      setupHeader: undefined,
      initrdAddressMax: INITRD_ADDRESS_MAX,
      end,
    };
  }
  if (!isBzImage(file)) throw bootFileError('kernel', 0, 'is neither a bzImage nor a vmlinux');
  const image = readBzImage(file, 'kernel');
  const write = { address: ONE_MIB, bytes: image.protectedMode, what: 'kernel' };
  // It unpacks itself to its preferred address, or where it lies if that is higher.
  const loadedEnd = ONE_MIB + image.protectedMode.length;
  const end = Math.max(image.preferredAddress, ONE_MIB) + image.initBytes;
  const spaces =
    end > loadedEnd ? [{ address: loadedEnd, byteLength: end - loadedEnd, what: 'memory the kernel needs' }] : [];
  return {
    entry: ONE_MIB,
    writes: [write],
    spaces,
    setupHeader: image.setupHeader,
    initrdAddressMax: image.initrdAddressMax,
    end,
  };
}

/** The page of boot parameters, but for what depends on the initrd and the command line. */
function bootParameters(kernel: Kernel, memoryBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PAGE);
  const view = new DataView(bytes.buffer);
  if (kernel.setupHeader === undefined) {
    // A vmlinux has no header; these are the fields that the kernel itself looks at.
    view.setUint16(PARAMETER.bootFlag, 0xaa55, true);
    view.setUint32(PARAMETER.header, 0x53726448, true);
    view.setUint16(PARAMETER.version, 0x020f, true);
    view.setUint32(PARAMETER.initrdAddressMax, INITRD_ADDRESS_MAX, true);
    view.setUint32(PARAMETER.commandLineLimit, 2047, true);
  } else {
    bytes.set(kernel.setupHeader, SETUP_HEADER_START);
  }
  view.setUint16(PARAMETER.videoMode, VIDEO_NORMAL, true);
  view.setUint8(PARAMETER.loaderType, LOADER_UNREGISTERED);
  view.setUint8(PARAMETER.loadFlags, view.getUint8(PARAMETER.loadFlags) | LOADED_HIGH);
  const map = [
    [0, LOW_MEMORY.end, E820_RAM],
    [LOW_MEMORY.end, ONE_MIB - LOW_MEMORY.end, E820_RESERVED],
    [ONE_MIB, memoryBytes - ONE_MIB, E820_RAM],
  ];
  for (const [i, [address, byteLength, type]] of map.entries()) {
    const at = PARAMETER.e820Table + i * E820_ENTRY_BYTES;
    view.setUint32(at, address, true);
    view.setUint32(at + 8, byteLength, true);
    view.setUint32(at + 16, type, true);
  }
  view.setUint8(PARAMETER.e820Entries, map.length);
  return bytes;
}
