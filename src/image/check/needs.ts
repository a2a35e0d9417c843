import type { Json, JsonObject } from '../../bytes/bounded-json.ts';
import { allZero, toHex } from '../../bytes/hex.ts';
import { codecName } from '../../codec/codec.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import type { OpenedImage } from '../open/opened-image.ts';

/** Device formats that describe a machine and are not loaded into one. */
const DESCRIPTIONS: ReadonlySet<string> = new Set([DEVICE_FORMAT.xlConfig, DEVICE_FORMAT.xenopsdSection]);

/** What an image needs of the host that it is to run on: spec/cli-json.md 14. All of it is JSON. */
export interface ImageNeeds {
  readonly name: string | null;
  readonly uuid: string | null;
  readonly driver: { readonly name: string; readonly version: string | null } | null;
  readonly fingerprint: string | null;
  readonly domainType: string;
  readonly machine: number;
  readonly pageSize: number;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly deviceFormats: readonly string[];
  readonly codecs: readonly string[];
  readonly tmem: {
    readonly pools: number;
    readonly pages: number;
    /** As the image carries them, and unpacked. */
    readonly storedBytes: number;
    readonly bytes: number;
    readonly pageSizes: readonly number[];
    /** Uuids of shared persistent pools. */
    readonly sharedPools: readonly string[];
  } | null;
  readonly disks: readonly {
    readonly name: string;
    readonly policy: string;
    readonly sha256: string | null;
    readonly locator: string;
  }[];
}

/** @throws the errors of damage in tmem, READ_FAILED */
export async function needsOf(image: OpenedImage): Promise<ImageNeeds> {
  const { about, head, memory, disks } = image;
  const driver = driverOf(image);
  const codecs = new Set([...(memory.codecs ?? [])].map(codecName));
  const tmem = await tmemOf(image, codecs);
  const stated = numberAt(objectAt(about, 'memory'), 'bytes');
  const fingerprint =
    textAt(objectAt(about, 'driver'), 'fingerprint') ??
    image.devices
      .map((device) => device.fingerprint)
      .filter((bytes) => !allZero(bytes))
      .map(toHex)[0];
  return {
    name: textAt(about, 'name'),
    uuid: textAt(about, 'uuid')?.toLowerCase() ?? null,
    driver,
    fingerprint: fingerprint ?? null,
    domainType: head.domainType,
    machine: head.machine,
    pageSize: memory.pageSize,
    memoryBytes: Math.max(stated ?? 0, memory.pages * memory.pageSize),
    vcpus: Math.max(numberAt(about, 'vcpus') ?? 0, image.vcpus.length),
    deviceFormats: [...new Set(image.devices.map(({ format }) => format))].filter((one) => !DESCRIPTIONS.has(one)),
    codecs: [...codecs],
    tmem,
    disks: disks.map(({ name, policy, sha256, locator }) => ({
      name,
      policy,
      sha256: sha256 === null ? null : toHex(sha256),
      locator,
    })),
  };
}

function driverOf({ about, format }: OpenedImage): ImageNeeds['driver'] {
  const stated = objectAt(about, 'driver');
  const name = textAt(stated, 'name');
  if (name !== null) return { name, version: textAt(stated, 'version') };
  const source = objectAt(about, 'source');
  const hypervisor = textAt(source, 'hypervisor');
  if (hypervisor !== null) return { name: hypervisor, version: textAt(objectAt(source, 'versions'), hypervisor) };
  return format === 'v86' ? { name: 'v86', version: null } : null;
}

async function tmemOf({ tmem, head }: OpenedImage, codecs: Set<string>): Promise<ImageNeeds['tmem']> {
  const pools = (await tmem?.pools()) ?? [];
  const persistent = pools.filter(({ ephemeral }) => !ephemeral);
  // A machine with the paravirtual interface needs it also when it holds nothing.
  if (persistent.length === 0 && head.domainType !== 'emulated-tmem') return null;
  let [pages, storedBytes, bytes] = [0, 0, 0];
  if (tmem !== null && tmem !== undefined) {
    for await (const page of tmem.pages()) {
      pages++;
      storedBytes += page.storedBytes;
      bytes += page.pool.precompressed ? page.storedBytes : page.pool.pageSize;
      codecs.add(codecName(page.codec));
    }
  }
  return {
    pools: persistent.length,
    pages,
    storedBytes,
    bytes,
    pageSizes: [...new Set(persistent.map(({ pageSize }) => pageSize))],
    sharedPools: persistent.filter(({ shared }) => shared).map(({ uuid }) => uuid),
  };
}

function objectAt(object: JsonObject, key: string): JsonObject {
  const value: Json | undefined = object[key];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

function textAt(object: JsonObject, key: string): string | null {
  const value = object[key];
  return typeof value === 'string' && value !== '' ? value : null;
}

function numberAt(object: JsonObject, key: string): number | null {
  const value = object[key];
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}
