/**
 * Multiboot images (Multiboot Specification 0.6.96): loaded by the addresses in their header, or, being ELF files, by
 * their segments. v86 has a loader of its own; this one hands out what it will do as data, loads modules anywhere,
 * and leaves no device behind that a destination would have to have too.
 */

import { isElf, readElf } from './elf32.ts';
import { bootFile, bootFileError, type BootFile } from './file.ts';
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

const HEADER_MAGIC = 0x1badb002;
/** The header lies in the first 8 KiB, on a multiple of four. */
const HEADER_WITHIN = 8192;
const BOOTED_BY_MULTIBOOT = 0x2badb002;

const HEADER_FLAG = {
  alignModules: 1,
  memory: 2,
  video: 4,
  addresses: 0x10000,
} as const;
/** Of the low 16 flags, those that must be refused where they are not known. */
const KNOWN_REQUIREMENTS = HEADER_FLAG.alignModules | HEADER_FLAG.memory;

const INFORMATION_FLAG = { memory: 1, commandLine: 4, modules: 8, memoryMap: 64, loaderName: 512 } as const;
const INFORMATION_BYTES = 120;
const MODULE_BYTES = 16;
/** An entry of the memory map: the size field, which does not count itself, and 20 bytes. */
const MAP_ENTRY_BYTES = 24;
const MODULES_LIMIT = 16;

export interface MultibootModule {
  readonly bytes: Uint8Array;
  readonly commandLine?: string;
}

export interface MultibootBoot {
  /** Not copied, only read. */
  readonly image: Uint8Array;
  readonly commandLine?: string;
  /** Files that are loaded behind the image, each on a page of its own. Not copied, only read. */
  readonly modules?: readonly MultibootModule[];
  readonly memoryBytes: number;
}

export function isMultiboot(bytes: Uint8Array): boolean {
  return headerAt(bytes) !== undefined;
}

/** Throws BOOT_FILE where the image is none, GUEST_MEMORY where it does not fit, USAGE for a command line. */
export function planMultiboot({ image, commandLine = '', modules = [], memoryBytes }: MultibootBoot): BootPlan {
  checkMemoryBytes(memoryBytes);
  const what = 'multiboot image';
  const header = headerAt(image);
  if (header === undefined) throw bootFileError(what, 0, 'has no multiboot header');
  const file = bootFile(image, what);
  const flags = file.u32(header + 4);
  if ((flags & 0xffff & ~KNOWN_REQUIREMENTS) !== 0) {
    throw bootFileError(what, header + 4, `wants more than memory of its loader (flags 0x${flags.toString(16)})`);
  }
  const loaded = (flags & HEADER_FLAG.addresses) !== 0 ? byAddresses(file, header) : bySegments(image, header);
  const { bytes: information, writes: moduleWrites } = describe(commandLine, modules, loaded.end, memoryBytes);
  const plan = {
    writes: [
      ...loaded.writes,
      ...moduleWrites,
      { address: LOW_MEMORY.information, bytes: information, what: 'boot information' },
    ],
    spaces: loaded.spaces,
    entry: loaded.entry,
    registers: {
      ...NO_REGISTERS,
      eax: BOOTED_BY_MULTIBOOT,
      ebx: LOW_MEMORY.information,
      esp: LOW_MEMORY.stackTop,
    },
    codeSelector: 0x10,
    dataSelector: 0x18,
  };
  return checkedPlan(plan, memoryBytes);
}

function headerAt(bytes: Uint8Array): number | undefined {
  const end = Math.min(bytes.length, HEADER_WITHIN) - 12;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at <= end; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true)) % 2 ** 32 === 0) return at;
  }
  return undefined;
}

interface Loaded {
  readonly entry: number;
  readonly writes: readonly BootWrite[];
  readonly spaces: readonly BootSpace[];
  readonly end: number;
}

function byAddresses(file: BootFile, header: number): Loaded {
  const { bytes, what } = file;
  const [headerAddress, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((field) => file.u32(header + field));
  const from = header - (headerAddress - load);
  if (headerAddress < load || from < 0) throw bootFileError(what, header + 12, 'is loaded from before its beginning');
  // Zero stands for all of the file, and for no memory behind it.
  const byteLength = loadEnd === 0 ? bytes.length - from : loadEnd - load;
  const part = file.part(from, byteLength);
  const end = Math.max(load + byteLength, bssEnd);
  if (entry < load || entry >= load + byteLength) throw bootFileError(what, header + 28, 'has its entry outside');
  const space = { address: load + byteLength, byteLength: end - load - byteLength, what };
  return { entry, writes: [{ address: load, bytes: part, what }], spaces: [space], end };
}

function bySegments(image: Uint8Array, header: number): Loaded {
  if (!isElf(image)) throw bootFileError('multiboot image', header + 4, 'states no addresses and is not an ELF file');
  return readElf(image, 'multiboot image');
}

/** The information structure, its strings, modules and memory map, and where the modules themselves go. */
function describe(
  commandLine: string,
  modules: readonly MultibootModule[],
  imageEnd: number,
  memoryBytes: number,
): { bytes: Uint8Array; writes: BootWrite[] } {
  if (modules.length > MODULES_LIMIT) throw bootFileError('list of modules', 0, `has more than ${MODULES_LIMIT}`);
  const commands = commandLineBytes(commandLine);
  const loader = commandLineBytes('transmigrate');
  const names = modules.map((module) => commandLineBytes(module.commandLine ?? ''));
  const map = [
    [0, LOW_MEMORY.end, 1],
    [LOW_MEMORY.end, ONE_MIB - LOW_MEMORY.end, 2],
    [ONE_MIB, memoryBytes - ONE_MIB, 1],
  ];
  const modulesAt = INFORMATION_BYTES;
  const mapAt = modulesAt + modules.length * MODULE_BYTES;
  let textAt = mapAt + map.length * MAP_ENTRY_BYTES;
  const size = [commands, loader, ...names].reduce((sum, { length }) => sum + length, textAt);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const base = LOW_MEMORY.information;
  const text = (content: Uint8Array): number => {
    bytes.set(content, textAt);
    textAt += content.length;
    return base + textAt - content.length;
  };

  const { memory, commandLine: withCommands, modules: withModules, memoryMap, loaderName } = INFORMATION_FLAG;
  view.setUint32(0, memory | withCommands | (modules.length > 0 ? withModules : 0) | memoryMap | loaderName, true);
  view.setUint32(4, LOW_MEMORY.end >>> 10, true);
  view.setUint32(8, (memoryBytes - ONE_MIB) >>> 10, true);
  view.setUint32(16, text(commands), true);
  view.setUint32(20, modules.length, true);
  view.setUint32(24, base + modulesAt, true);
  view.setUint32(44, map.length * MAP_ENTRY_BYTES, true);
  view.setUint32(48, base + mapAt, true);
  view.setUint32(64, text(loader), true);

  const writes: BootWrite[] = [];
  let address = Math.max(ONE_MIB, Math.ceil(imageEnd / PAGE) * PAGE);
  for (const [i, module] of modules.entries()) {
    const at = modulesAt + i * MODULE_BYTES;
    view.setUint32(at, address, true);
    view.setUint32(at + 4, address + module.bytes.length, true);
    view.setUint32(at + 8, text(names[i]), true);
    writes.push({ address, bytes: module.bytes, what: `module ${i}` });
    address = Math.ceil((address + module.bytes.length) / PAGE) * PAGE;
  }
  for (const [i, [start, byteLength, type]] of map.entries()) {
    const at = mapAt + i * MAP_ENTRY_BYTES;
    view.setUint32(at, MAP_ENTRY_BYTES - 4, true);
    view.setUint32(at + 4, start, true);
    view.setUint32(at + 12, byteLength, true);
    view.setUint32(at + 20, type, true);
  }
  return { bytes, writes };
}
