/**
 * Builds the Linux guest from Debian's i386 packages: the kernel, unpacked here because an emulator takes ten seconds
 * for it; an initrd of busybox and the disk's modules; and a disk with a swap area and a file system.
 *
 *     node guests/linux/build.ts [folder]       # .cache/linux; nothing is done again that is there
 *
 * Ends with 3, or throws LinuxUnavailable, where packages or tools are not to be had. Nothing of it is committed.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';

import { readBzImage } from '../../src/machine/v86/boot/bzimage.ts';
import { archive, MODE, type ArchiveEntry } from './archive.ts';
import { makeDisk } from './disk.ts';

export interface LinuxGuest {
  /** The kernel as Debian packs it, and unpacked. */
  readonly bzImage: Uint8Array;
  readonly vmlinux: Uint8Array;
  readonly initrd: Uint8Array;
  readonly disk: Uint8Array;
  /** E.g. `6.1.0-50-686`. */
  readonly release: string;
}

/** Packages or tools are not to be had here: not a defect, and a test that needs them is skipped. */
export class LinuxUnavailable extends Error {
  override readonly name = 'LinuxUnavailable';
}

export const CACHE = fileURLToPath(new URL('../../.cache/linux', import.meta.url));

/** In the order in which they must be loaded. Those that a kernel has built in or does not know are left out. */
const MODULES = [
  'scsi_common',
  'crct10dif_common',
  'crc-t10dif',
  'scsi_mod',
  'libata',
  'ata_piix',
  'crc64',
  'crc64-rocksoft',
  't10-pi',
  'sd_mod',
  'minix',
];

const APPLETS = `awk cat cmp cp cut date dd df dmesg echo env false free grep head hexdump hostname insmod kill ls lsmod
  md5sum mkdir mknod mkswap mount mv od poweroff printf ps rm rmmod sed seq setsid sh sha256sum sleep sort
  stat stty swapoff swapon sync tail tar tee test top touch tr true umount uname uniq uptime wc xargs yes`
  .split(/\s+/)
  .filter((name) => name !== '');

/** What the guest has of Linux, built where it is not there yet. Throws LinuxUnavailable where that can't be. */
export function buildLinux(folder: string = CACHE): LinuxGuest {
  const files = {
    bzImage: join(folder, 'bzImage'),
    vmlinux: join(folder, 'vmlinux'),
    initrd: join(folder, 'initrd.cpio'),
    disk: join(folder, 'disk.img'),
    release: join(folder, 'release'),
  };
  if (!existsSync(files.bzImage)) fetchPackages(folder);
  const root = join(folder, 'root');
  const release = readFileSync(files.release, 'utf8').trim();
  keep(files.bzImage, () => readFileSync(join(root, 'boot', `vmlinuz-${release}`)));
  const bzImage = readFileSync(files.bzImage);
  keep(files.vmlinux, () => unpackKernel(bzImage));
  // The recipe may have changed since: these two are quick.
  writeWhole(files.initrd, makeInitrd(root, release));
  writeWhole(files.disk, makeDisk());
  const [vmlinux, initrd, disk] = [files.vmlinux, files.initrd, files.disk].map((path) => readFileSync(path));
  return { bzImage, vmlinux, initrd, disk, release };
}

function fetchPackages(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const script = fileURLToPath(new URL('./fetch.sh', import.meta.url));
  const { status, stderr, error } = spawnSync('bash', [script, folder], { encoding: 'utf8', timeout: 600_000 });
  if (error !== undefined) throw new LinuxUnavailable(`fetch.sh can't be run: ${error.message}`);
  const last = stderr.trim().split('\n').at(-1) ?? '';
  if (status === 3) throw new LinuxUnavailable(last);
  if (status !== 0) throw new Error(`fetch.sh ended with ${String(status)}: ${last}`);
}

/** The ELF file in a bzImage. */
function unpackKernel(bzImage: Uint8Array): Uint8Array {
  const { payload, compression } = readBzImage(bzImage, 'kernel');
  switch (compression) {
    case 'none':
      return payload;
    case 'gzip':
      return gunzipSync(payload.subarray(0, payload.length - 4));
    case 'zstd':
      return zstdDecompressSync(payload.subarray(0, payload.length - 4));
    case 'xz':
    case 'lzma': {
      // Behind the packed kernel stands its unpacked size.
      const packed = payload.subarray(0, payload.length - 4);
      try {
        return execFileSync('xz', ['-dc', `--format=${compression}`], { input: packed, maxBuffer: 256 * 1024 * 1024 });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        throw new LinuxUnavailable(`the kernel is packed by ${compression}, and there is no xz here`);
      }
    }
    default:
      throw new LinuxUnavailable(`the kernel is packed by ${compression}`);
  }
}

function makeInitrd(root: string, release: string): Uint8Array {
  const modules = new Map(
    readdirSync(join(root, 'lib/modules', release, 'kernel'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [basename(path, '.ko'), join(root, 'lib/modules', release, 'kernel', path)]),
  );
  const present = MODULES.filter((name) => modules.has(name));
  const folders = ['bin', 'dev', 'mnt', 'modules', 'proc', 'sys', 'tmp'];
  const entries: ArchiveEntry[] = [
    ...folders.map((path) => ({ path, mode: MODE.folder })),
    { path: 'init', mode: MODE.program, content: readFileSync(new URL('./init.sh', import.meta.url)) },
    { path: 'bin/busybox', mode: MODE.program, content: readFileSync(join(root, 'bin/busybox')) },
    ...APPLETS.map((name) => ({ path: `bin/${name}`, mode: MODE.link, content: 'busybox' })),
    ...present.map((name) => ({
      path: `modules/${name}.ko`,
      mode: MODE.file,
      content: readFileSync(modules.get(name)!),
    })),
    { path: 'modules/order', mode: MODE.file, content: present.map((name) => `${name}\n`).join('') },
  ];
  return archive(entries);
}

function keep(path: string, make: () => Uint8Array): void {
  if (!existsSync(path)) writeWhole(path, make());
}

/** Beside its name and then renamed: what is there is whole. */
function writeWhole(path: string, bytes: Uint8Array): void {
  writeFileSync(`${path}.part`, bytes);
  renameSync(`${path}.part`, path);
}

if (import.meta.main) {
  try {
    const folder = process.argv[2] ?? CACHE;
    const { release, vmlinux, initrd, disk } = buildLinux(folder);
    console.log(
      `Linux ${release} in ${folder}: vmlinux ${vmlinux.length}, initrd ${initrd.length}, disk ${disk.length}`,
    );
  } catch (error) {
    if (!(error instanceof LinuxUnavailable)) throw error;
    console.error(`skipped: ${error.message}`);
    process.exitCode = 3;
  }
}
