/** Which parts of a machine an image can hold, by its format: what it has no place for is not missing in it. */
import type { FormatName } from '../identify/layers.ts';
import type { OpenedImage } from '../open/opened-image.ts';

/** Parts of an image that are compared, in the order of the report. */
export const PARTS = [
  'head',
  'memory',
  'classes',
  'vcpus',
  'vcpuStates',
  'cpuid',
  'msrs',
  'devices',
  'disks',
  'tmem',
] as const;
export type Part = (typeof PARTS)[number];

const XEN: readonly Part[] = ['head', 'memory', 'classes', 'vcpus', 'vcpuStates', 'cpuid', 'msrs', 'devices'];

/** spec/foreign/model.md 3 says what becomes of each format's records. */
const HELD: Readonly<Record<FormatName, readonly Part[]>> = {
  tmig: PARTS,
  'xen-libxc': XEN,
  'xen-libxc-v2': XEN.filter((part) => part !== 'cpuid' && part !== 'msrs'),
  libxl: XEN,
  xl: XEN,
  xenopsd: XEN,
  libvirt: ['devices'],
  v86: ['head', 'memory', 'vcpus', 'devices'],
  'xen-core': ['head', 'memory', 'vcpus'],
  'elf-core': ['memory', 'vcpus'],
  qemu: ['devices'],
  raw: ['memory'],
  'xl-back': [],
};

/** Whether an image can say what a part is: its format has a place for it, or it does say it. */
export function holds(image: OpenedImage, part: Part): boolean {
  const format = image.nesting.includes('xen-libxc-v2') ? 'xen-libxc-v2' : image.format;
  return HELD[format].includes(part) || says(image, part);
}

function says(image: OpenedImage, part: Part): boolean {
  switch (part) {
    case 'memory':
      return image.memory.pages > 0;
    case 'vcpus':
      return image.vcpus.length > 0;
    case 'vcpuStates':
      return image.vcpuStates.length > 0;
    case 'cpuid':
      return image.cpuid !== null;
    case 'msrs':
      return image.msrs !== null;
    case 'devices':
      return image.devices.length > 0;
    case 'disks':
      return image.disks.length > 0;
    case 'tmem':
      return (image.tmem ?? null) !== null;
    // That an image of a format without classes calls all of its pages ordinary says nothing.
    case 'classes':
    case 'head':
      return false;
  }
}
