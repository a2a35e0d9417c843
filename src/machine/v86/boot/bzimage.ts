/**
 * The setup header of a Linux bzImage, and the parts of such a file
 * (Linux, Documentation/arch/x86/boot.rst: "The Real-Mode Kernel Header", "Details of Header Fields").
 */

import { bootFile, bootFileError } from './file.ts';

export const SETUP_HEADER_START = 0x1f1;
const HEADER_MAGIC = 0x53726448;
const BOOT_FLAG = 0xaa55;
/** 2.08 of Linux 2.6.26 is the first that says where its payload is; 2.10 the first that says what memory it needs. */
const OLDEST_PROTOCOL = 0x0208;
const PROTOCOL_WITH_INIT_SIZE = 0x020a;
const LOADED_HIGH = 1;

export interface BzImage {
  /** The setup header as boot parameters take it: bytes 0x1f1 and on. Not copied. */
  readonly setupHeader: Uint8Array;
  /** What is loaded at 1 MiB and begun there. Not copied. */
  readonly protectedMode: Uint8Array;
  /** Version of the boot protocol, 0x020f for 2.15. */
  readonly protocol: number;
  /** The highest address that the last byte of the initrd may have. */
  readonly initrdAddressMax: number;
  readonly commandLineLimit: number;
  /** Where the kernel will unpack itself to, and how much memory it needs from there until it knows its memory. */
  readonly preferredAddress: number;
  readonly initBytes: number;
  /** The compressed kernel, an ELF file once it is unpacked. Not copied. */
  readonly payload: Uint8Array;
  readonly compression: Compression;
}

/** How a kernel can be packed: by the first bytes of the payload. */
export const COMPRESSION_MAGICS = {
  gzip: [0x1f, 0x8b],
  bzip2: [0x42, 0x5a, 0x68],
  lzma: [0x5d, 0x00, 0x00],
  xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a],
  lzo: [0x89, 0x4c, 0x5a, 0x4f],
  lz4: [0x02, 0x21, 0x4c, 0x18],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
  none: [0x7f, 0x45, 0x4c, 0x46],
} as const;

export type Compression = keyof typeof COMPRESSION_MAGICS | 'unknown';

export function isBzImage(bytes: Uint8Array): boolean {
  return bytes.length >= 0x206 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0x202, true) === HEADER_MAGIC;
}

/** Reads a bzImage. Throws BOOT_FILE where it is none, is too old (before Linux 2.6.26), or is cut. */
export function readBzImage(bytes: Uint8Array, what: string): BzImage {
  const file = bootFile(bytes, what);
  if (!isBzImage(bytes) || file.u16(0x1fe) !== BOOT_FLAG) throw bootFileError(what, 0x1fe, 'is not a bzImage');
  const protocol = file.u16(0x206);
  if (protocol < OLDEST_PROTOCOL) {
    throw bootFileError(what, 0x206, `has boot protocol ${protocol >> 8}.${protocol & 0xff}: before Linux 2.6.26`);
  }
  if ((file.u8(0x211) & LOADED_HIGH) === 0) throw bootFileError(what, 0x211, 'is a zImage, loaded low');
  // Zero stands for four sectors, and the boot sector comes on top.
  const setupBytes = ((file.u8(SETUP_HEADER_START) || 4) + 1) * 512;
  const protectedMode = file.part(setupBytes, bytes.length - setupBytes);
  // The header's end is given by the jump over it.
  const headerEnd = 0x202 + file.u8(0x201);
  const payload = file.part(setupBytes + file.u32(0x248), file.u32(0x24c));
  const known = protocol >= PROTOCOL_WITH_INIT_SIZE;
  return {
    setupHeader: file.part(SETUP_HEADER_START, headerEnd - SETUP_HEADER_START),
    protectedMode,
    protocol,
    initrdAddressMax: file.u32(0x22c),
    commandLineLimit: file.u32(0x238),
    preferredAddress: known ? file.u32(0x258) : 0x100000,
    initBytes: known ? file.u32(0x260) : protectedMode.length * 4,
    payload,
    compression: compressionOf(payload),
  };
}

function compressionOf(payload: Uint8Array): Compression {
  for (const [name, magic] of Object.entries(COMPRESSION_MAGICS)) {
    if (magic.every((byte, i) => payload[i] === byte)) return name as keyof typeof COMPRESSION_MAGICS;
  }
  return 'unknown';
}
