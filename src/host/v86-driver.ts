import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Json, JsonObject } from '../bytes/bounded-json.ts';
import { fromHex, toHex } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import type { TmemService } from '../machine/machine.ts';
import { planLinux } from '../machine/v86/boot/linux.ts';
import { planMultiboot } from '../machine/v86/boot/multiboot.ts';
import type { BootPlan } from '../machine/v86/boot/plan.ts';
import { smallGuestImage } from '../machine/v86/boot/small-guest.ts';
import { checkConfig, type DiskConfig, type DiskName, type V86Config } from '../machine/v86/config.ts';
import { V86_VERSIONS } from '../machine/v86/versions.ts';
import { V86Process } from '../machine/v86/process.ts';
import type { ImageClaims } from '../migrate/restore/image-claims.ts';
import type { BootChoice, CreateChoice, DiskChoice } from './api.ts';
import type { Driver, Made } from './driver.ts';

/** v86's own device state is about 2 MiB; with it come video memory and disks inside it. */
const DEVICES_BYTES = 16 * 2 ** 20;

/** What the state of a machine's devices takes when it has no disks inside. */
const USUAL_DEVICES_BYTES = 3 * 2 ** 20;

/** Bytes of a page of an x86. */
const PAGE_BYTES = 4096;

/** ELF e_machine of a 32-bit x86. */
const EM_386 = 3;

const SHA256 = /^[0-9a-f]{64}$/i;

/** Makes v86 machines, each in a process of its own. */
export class V86Driver implements Driver {
  readonly kinds: Driver['kinds'] = [
    {
      name: 'v86',
      versions: V86_VERSIONS.map(({ version }) => version),
      pageBytes: PAGE_BYTES,
      deviceBytes: USUAL_DEVICES_BYTES,
      tmem: true,
    },
  ];

  async create(choice: CreateChoice, tmem: TmemService | null): Promise<Made> {
    const { driverVersion, memoryMiB, boot } = choice;
    const disks: Partial<Record<DiskName, DiskConfig>> = {};
    for (const disk of choice.disks) disks[disk.name] = await diskOf(disk);
    const config: V86Config = {
      memoryBytes: memoryMiB * 2 ** 20,
      disks,
      ...(driverVersion !== undefined && { version: driverVersion }),
    };
    return this.#make(config, tmem, await planOf(boot, config.memoryBytes));
  }

  async forImage(claims: ImageClaims, tmem: TmemService | null): Promise<Made> {
    if (claims.driver !== 'v86') {
      throw new TransmigrateError('DRIVER_VERSION', `The machine needs the driver ${claims.driver}`, {
        data: { driver: claims.driver, version: claims.driverVersion, carried: ['v86'] },
      });
    }
    const { architecture, byteOrder } = claims;
    if (architecture !== EM_386 || byteOrder !== 'little') {
      throw unfit(
        `v86 is an x86 of 32 bits, and the image is of a ${byteOrder}-endian machine of type ${architecture}`,
      );
    }
    const config = configOf(claims);
    try {
      checkConfig(config);
    } catch (error) {
      // It is the image that is wrong, not something that somebody typed.
      if (!(error instanceof TransmigrateError) || error.code !== 'MACHINE_CONFIG') throw error;
      throw unfit(`The image describes a machine that there can't be: ${error.message}`, error);
    }
    return this.#make(config, tmem);
  }

  async #make(config: V86Config, tmem: TmemService | null, boot?: BootPlan): Promise<Made> {
    const machine = await V86Process.create({
      config,
      ...(boot !== undefined && { boot }),
      ...(tmem !== null && { tmem }),
    });
    const { videoMemoryBytes, disks } = checkConfig(config);
    const inside = Object.values(disks).reduce((sum, disk) => sum + (disk.policy === 'in-blob' ? disk.bytes : 0), 0);
    return { machine, configuration: jsonOf(config), mostDeviceBytes: DEVICES_BYTES + videoMemoryBytes + inside };
  }
}

async function planOf(boot: BootChoice, memoryBytes: number): Promise<BootPlan> {
  switch (boot.kind) {
    case 'small': {
      const { pages, ticks } = boot;
      const image = smallGuestImage({
        ...(pages !== undefined && { pagesPerRound: pages }),
        ...(ticks !== undefined && { paceTicks: ticks }),
      });
      return planMultiboot({ image, memoryBytes });
    }
    case 'multiboot':
      return planMultiboot({ image: await bytesOf(boot.image), memoryBytes });
    case 'linux': {
      const { kernel, initrd, commandLine } = boot;
      return planLinux({
        kernel: await bytesOf(kernel),
        commandLine,
        memoryBytes,
        ...(initrd !== undefined && { initrd: await bytesOf(initrd) }),
      });
    }
  }
}

async function diskOf(choice: DiskChoice): Promise<DiskConfig> {
  const { policy, path, bytes } = choice;
  if (policy === 'tmem') {
    if (bytes === undefined) throw new TransmigrateError('USAGE', `Disk ${choice.name} on tmem needs a size`);
    return { policy: 'tmem', bytes };
  }
  if (path === undefined) throw new TransmigrateError('USAGE', `Disk ${choice.name} needs a file`);
  if (policy === 'shared') return { policy: 'external', path };
  if (policy === 'digest') return { policy: 'read-only', path, digest: await sha256Of(path) };
  const content = await bytesOf(path);
  return { policy: 'in-blob', bytes: Math.ceil(content.byteLength / 4096) * 4096, content };
}

/** The configuration as ABOUT holds it; the content of disks inside the device blob is in the blob. */
function jsonOf(config: V86Config): JsonObject {
  const { memoryBytes, videoMemoryBytes, network, serialPorts, disks = {} } = config;
  const shown: Record<string, Json> = {};
  for (const [name, disk] of Object.entries(disks)) {
    if (disk.policy === 'in-blob') shown[name] = { policy: disk.policy, bytes: disk.bytes };
    else if (disk.policy === 'read-only') shown[name] = { ...disk, digest: toHex(disk.digest) };
    else shown[name] = { ...disk };
  }
  return {
    memoryBytes,
    ...(videoMemoryBytes !== undefined && { videoMemoryBytes }),
    ...(network !== undefined && { network }),
    ...(serialPorts !== undefined && { serialPorts }),
    disks: shown,
  };
}

/** The configuration that an image claims; `checkConfig` judges the numbers, the device fingerprint all of it. */
function configOf({ configuration, memoryBytes, driverVersion }: ImageClaims): V86Config {
  const { videoMemoryBytes, network, serialPorts } = configuration;
  const disks: Partial<Record<DiskName, DiskConfig>> = {};
  for (const [name, disk] of Object.entries(objectOf(configuration['disks'] ?? {}) ?? { disks: null })) {
    disks[name as DiskName] = claimedDisk(name, disk);
  }
  return {
    version: driverVersion,
    memoryBytes,
    disks,
    ...(typeof videoMemoryBytes === 'number' && { videoMemoryBytes }),
    ...((network === 'none' || network === 'ne2k') && { network }),
    ...(typeof serialPorts === 'number' && { serialPorts }),
  };
}

function claimedDisk(name: string, claimed: Json): DiskConfig {
  const { policy, bytes, path, digest } = objectOf(claimed) ?? {};
  if ((policy === 'in-blob' || policy === 'tmem') && typeof bytes === 'number') return { policy, bytes };
  if (policy === 'external' && typeof path === 'string') return { policy, path };
  if (policy === 'read-only' && typeof path === 'string' && typeof digest === 'string' && SHA256.test(digest)) {
    return { policy, path, digest: fromHex(digest) };
  }
  throw unfit(`The image describes disk ${name} in a way that is not known here`);
}

function objectOf(value: Json): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

function unfit(what: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', what, {
    path: 'record 0 (ABOUT)',
    ...(cause !== undefined && { cause }),
  });
}

async function bytesOf(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new TransmigrateError('READ_FAILED', `Can't read ${path}`, { cause, data: { file: path } });
  }
}

async function sha256Of(path: string): Promise<Uint8Array> {
  const hash = createHash('sha256');
  try {
    for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  } catch (cause) {
    throw new TransmigrateError('READ_FAILED', `Can't read ${path}`, { cause, data: { file: path } });
  }
  return hash.digest();
}
