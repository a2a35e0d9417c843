import { TransmigrateError } from '../../../errors.ts';
import type { TmemService } from '../../machine.ts';
import { DISK_NAMES, type CheckedConfig, type DiskConfig, type DiskName } from '../config.ts';
import type { Disk } from './disk.ts';
import { FileDisk } from './file-disk.ts';
import { MemoryDisk } from './memory-disk.ts';
import { TmemDisk } from './tmem-disk.ts';

/** Opens the disks of a configuration. @throws MACHINE_CONFIG, DISK_MISMATCH, READ_FAILED; then none is left open. */
export async function openDisks(
  disks: CheckedConfig['disks'],
  tmem: TmemService | null,
): Promise<Partial<Record<DiskName, Disk>>> {
  const opened: Partial<Record<DiskName, Disk>> = {};
  try {
    for (const name of DISK_NAMES) {
      const disk = disks[name];
      if (disk !== undefined) opened[name] = await openDisk(name, disk, tmem);
    }
    return opened;
  } catch (error) {
    for (const disk of Object.values(opened)) disk.close();
    throw error;
  }
}

function openDisk(name: DiskName, disk: DiskConfig, tmem: TmemService | null): Disk | Promise<Disk> {
  switch (disk.policy) {
    case 'in-blob':
      return new MemoryDisk(name, disk.bytes, disk.content);
    case 'read-only':
      return FileDisk.readOnly(name, disk.path, disk.digest);
    case 'external':
      return FileDisk.external(name, disk.path);
    case 'tmem':
      if (tmem === null) {
        throw new TransmigrateError('MACHINE_CONFIG', `The disk ${name} is on tmem, and the machine has none`, {
          path: `disks/${name}`,
        });
      }
      return new TmemDisk(name, disk.bytes, tmem);
  }
}
