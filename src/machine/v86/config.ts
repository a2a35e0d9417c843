/** What a v86 machine is made of, as data that can go to another process. */
import { TransmigrateError } from '../../errors.ts';
import { V86_NEWEST } from './versions.ts';

/** A disk by where its content is (stream 9.3). */
export type DiskConfig =
  | { readonly policy: 'in-blob'; readonly bytes: number; readonly content?: Uint8Array }
  /** A file that is never written. Its SHA-256 is checked when the machine is made. */
  | { readonly policy: 'read-only'; readonly path: string; readonly digest: Uint8Array }
  /** On pages of a persistent pool of its own: for swap. */
  | { readonly policy: 'tmem'; readonly bytes: number }
  /** A file that others may have open too; a machine with one may not run in two places (M6). */
  | { readonly policy: 'external'; readonly path: string };

export const DISK_NAMES = ['hda', 'hdb'] as const;
export type DiskName = (typeof DISK_NAMES)[number];

export interface V86Config {
  /** Which version of v86; the newest when absent. */
  readonly version?: string;
  /** A multiple of 128 KiB, from 1 MiB to below 2 GiB. */
  readonly memoryBytes: number;
  /** A power of two from 1 to 256 MiB; 1 MiB when absent. */
  readonly videoMemoryBytes?: number;
  /** `ne2k` is a card that is connected to nothing. */
  readonly network?: 'none' | 'ne2k';
  /** 1 to 4; 1 when absent. */
  readonly serialPorts?: number;
  readonly disks?: Readonly<Partial<Record<DiskName, DiskConfig>>>;
}

export type CheckedConfig = Required<V86Config>;

export const CONFIG_LIMITS = {
  memoryUnit: 128 * 1024,
  memoryLeast: 1024 * 1024,
  memoryMost: 0x8000_0000 - 128 * 1024,
  videoLeast: 1024 * 1024,
  videoMost: 256 * 1024 * 1024,
  serialPorts: 4,
  /** What a disk inside the blob may have: the blob is held in memory, and limited to 1 GiB (stream 9.1). */
  blobDiskBytes: 512 * 1024 * 1024,
  /** The index of a page of tmem has 32 bits; ATA counts sectors in 28 here. */
  diskBytes: 128 * 1024 * 1024 * 1024,
} as const;

/** Fills defaults in. @throws MACHINE_CONFIG with the path of what is wrong. */
export function checkConfig(config: V86Config): CheckedConfig {
  const { memoryBytes, version = V86_NEWEST, videoMemoryBytes = CONFIG_LIMITS.videoLeast } = config;
  const { network = 'none', serialPorts = 1, disks = {} } = config;
  const { memoryUnit, memoryLeast, memoryMost, videoLeast, videoMost } = CONFIG_LIMITS;
  if (!isMultiple(memoryBytes, memoryUnit, memoryLeast, memoryMost)) {
    throw wrong(
      'memoryBytes',
      `Memory of ${memoryBytes} bytes: v86 has multiples of 128 KiB from 1 MiB to below 2 GiB`,
    );
  }
  if (!isMultiple(videoMemoryBytes, 1, videoLeast, videoMost) || (videoMemoryBytes & (videoMemoryBytes - 1)) !== 0) {
    throw wrong('videoMemoryBytes', `Video memory of ${videoMemoryBytes} bytes: a power of two from 1 to 256 MiB`);
  }
  if (network !== 'none' && network !== 'ne2k') throw wrong('network', 'There are the networks none and ne2k');
  if (!isMultiple(serialPorts, 1, 1, CONFIG_LIMITS.serialPorts))
    throw wrong('serialPorts', 'There are 1 to 4 serial ports');
  for (const name of Object.keys(disks)) {
    if (!DISK_NAMES.some((known) => known === name))
      throw wrong(`disks/${name}`, `There are the disks ${DISK_NAMES.join(' and ')}`);
  }
  if (disks.hdb !== undefined && disks.hda === undefined)
    throw wrong('disks/hdb', 'v86 has no second disk without a first');
  for (const name of DISK_NAMES) {
    const disk = disks[name];
    if (disk !== undefined) checkDisk(disk, `disks/${name}`);
  }
  return { memoryBytes, version, videoMemoryBytes, network, serialPorts, disks };
}

function checkDisk(disk: DiskConfig, path: string): void {
  if (disk.policy === 'in-blob' || disk.policy === 'tmem') {
    const most = disk.policy === 'tmem' ? CONFIG_LIMITS.diskBytes : CONFIG_LIMITS.blobDiskBytes;
    if (!isMultiple(disk.bytes, 4096, 4096, most)) {
      throw wrong(path, `A disk of ${disk.bytes} bytes: here they are multiples of 4096 up to ${most}`);
    }
    if (disk.policy === 'in-blob' && disk.content !== undefined && disk.content.byteLength > disk.bytes) {
      throw wrong(path, `A disk of ${disk.bytes} bytes with ${disk.content.byteLength} bytes of content`);
    }
  } else if (disk.policy === 'read-only' && disk.digest.byteLength !== 32) {
    throw wrong(path, 'A read-only disk is found by the 32 bytes of its SHA-256');
  }
}

function isMultiple(value: number, unit: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value % unit === 0 && value >= least && value <= most;
}

function wrong(path: string, what: string): TransmigrateError {
  return new TransmigrateError('MACHINE_CONFIG', what, { path });
}
