/** What a core of Xen says of itself, and what of it no core has (spec/foreign/elf.md 4). */
import type { TransmigrateError } from '../../../errors.ts';
import { elfError } from '../../../foreign/elf/elf-error.ts';
import { ELF_MACHINE } from '../../../foreign/elf/elf-file.ts';
import type { XenCore } from '../../../foreign/elf/xen-core.ts';
import { MACHINE, type ImageHead } from '../../model/event.ts';

/** @throws UNSUPPORTED_FEATURE, FIELD_VALUE for what no core of Xen is */
export function checkShape(core: XenCore): void {
  if (!core.file.header.littleEndian) {
    throw elfError('UNSUPPORTED_FEATURE', 'A big-endian core of Xen, which none is', 5, 'ident/data', '4');
  }
  const pagesEnd = core.pagesAt + core.pageCount * core.pageBytes;
  const { offset, bytes } = core.table;
  if (bytes > 0 && offset < pagesEnd && core.pagesAt < offset + bytes) {
    const what = `The table of pages, from ${offset}, and the pages, from ${core.pagesAt}, overlap`;
    throw elfError('FIELD_VALUE', what, offset, `xen_${core.tableKind}`, '4.3');
  }
}

/** The error for an entry of the table whose pfn no guest has. */
export function noPfn(core: XenCore, entry: number): TransmigrateError {
  const offset = core.table.offset + entry * (core.tableKind === 'p2m' ? 16 : 8);
  return elfError('FIELD_VALUE', 'A pfn that no guest has', offset, `xen_${core.tableKind}[${entry}]`, '4.3');
}

/** Bytes of a word of a PV guest: the machine of the file is the guest's (foreign/elf 4). */
export function widthOf(core: XenCore): 4 | 8 {
  return core.file.header.machine === ELF_MACHINE.i386 ? 4 : 8;
}

/** The version of Xen that wrote it, empty where it does not say. */
export function versionOf(core: XenCore): string {
  const version = core.notes.xenVersion;
  return version === undefined ? '' : `${version.major}.${version.minor}`;
}

/** What is known before the first page. */
export function headOf(core: XenCore): ImageHead {
  const isPv = core.tableKind === 'p2m';
  const is32 = isPv && widthOf(core) === 4;
  const version = versionOf(core);
  return {
    kind: 'head',
    isCore: true,
    domainType: isPv ? 'pv' : 'hvm',
    byteOrder: 'little',
    wordBits: is32 ? 32 : 64,
    machine: is32 ? MACHINE.i386 : MACHINE.x8664,
    pageSize: core.pageBytes,
    about: { source: { hypervisor: 'xen', versions: version === '' ? {} : { xen: version } }, vcpus: core.vcpuCount },
  };
}
