import { parseJsonObject, type Json, type JsonObject } from '../../bytes/bounded-json.ts';
import { toHex } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { Disk } from '../../stream/records/device.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import type { OpenedDevice, OpenedImage } from '../open/opened-image.ts';
import { diffBlobs, partOf } from './blob-diff.ts';
import { diffFacts, diffJson } from './json-keys.ts';
import type { DeviceDiff, DevicesDiff, DisksDiff, KeyList, VcpuStatesDiff } from './result.ts';

/** Longest content that is compared as JSON, and its depth: as ABOUT may have (stream 6.1). */
const JSON_BYTES = LIMITS.aboutBytes;
const JSON_DEPTH = LIMITS.aboutDepth;

/** Compares device blobs by name: what they are, and their content, which is opaque but for configurations in JSON. */
export async function diffDevices(a: OpenedImage, b: OpenedImage, most: number): Promise<DevicesDiff> {
  const inB = new Map(b.devices.map((device) => [device.name, device]));
  const inA = new Set(a.devices.map(({ name }) => name));
  const both: DeviceDiff[] = [];
  for (const device of a.devices) {
    const other = inB.get(device.name);
    if (other !== undefined) both.push(await diffDevice(device, other, most));
  }
  return {
    onlyA: a.devices.filter(({ name }) => !inB.has(name)).map(shown),
    onlyB: b.devices.filter(({ name }) => !inA.has(name)).map(shown),
    both,
  };
}

function shown({ name, format, bytes }: OpenedDevice): { name: string; format: string; bytes: number } {
  return { name, format, bytes };
}

async function diffDevice(a: OpenedDevice, b: OpenedDevice, most: number): Promise<DeviceDiff> {
  const blob = await diffBlobs(a.chunks(), b.chunks());
  const keys = blob.same ? null : await diffConfigs(a, b, most);
  return {
    name: a.name,
    ...blob,
    // Written in another way, JSON may still say the same.
    same: blob.same || keys?.count === 0,
    facts: diffFacts(factsOf(a), factsOf(b)),
    keys,
  };
}

function factsOf({ format, version, fingerprint }: OpenedDevice): Record<string, Json> {
  return { format, version, fingerprint: toHex(fingerprint) };
}

/** null unless both are configurations that can be read. */
async function diffConfigs(a: OpenedDevice, b: OpenedDevice, most: number): Promise<KeyList | null> {
  const [one, other] = [await configOf(a), await configOf(b)];
  return one === null || other === null ? null : diffJson(one, other, most);
}

async function configOf(device: OpenedDevice): Promise<JsonObject | null> {
  const { name, format, bytes } = device;
  if (format !== DEVICE_FORMAT.xlConfig || !name.endsWith('.json') || bytes > JSON_BYTES) return null;
  const content = new Uint8Array(bytes);
  let used = 0;
  for await (const part of device.chunks()) {
    content.set(part, used);
    used += part.byteLength;
  }
  // libxl's configuration ends with the zero of a C string.
  let end = used;
  while (end > 0 && content[end - 1] === 0) end--;
  try {
    return parseJsonObject(content.subarray(0, end), JSON_DEPTH, { offset: 0, path: name, section: 'foreign/xl' });
  } catch (error) {
    if (error instanceof TransmigrateError) return null;
    throw error;
  }
}

/** Compares processors' states in forms of their own, as bytes. */
export async function diffVcpuStates(a: OpenedImage, b: OpenedImage): Promise<VcpuStatesDiff> {
  const keyOf = ({ vcpu, stateKind }: { vcpu: number; stateKind: number }): string => `${vcpu} ${stateKind}`;
  const inB = new Map(b.vcpuStates.map((state) => [keyOf(state), state]));
  const inA = new Set(a.vcpuStates.map(keyOf));
  const result: { [Key in keyof VcpuStatesDiff]: VcpuStatesDiff[Key][number][] } = { onlyA: [], onlyB: [], both: [] };
  for (const state of a.vcpuStates) {
    const place = { vcpu: state.vcpu, kind: state.stateKind };
    const other = inB.get(keyOf(state));
    if (other === undefined) result.onlyA.push(place);
    else result.both.push({ ...place, ...(await diffBlobs(partOf(state.content), partOf(other.content))) });
  }
  for (const state of b.vcpuStates) {
    if (!inA.has(keyOf(state))) result.onlyB.push({ vcpu: state.vcpu, kind: state.stateKind });
  }
  return result;
}

/** Compares disks by the name that the guest sees. */
export function diffDisks(a: OpenedImage, b: OpenedImage): DisksDiff {
  const inB = new Map(b.disks.map((disk) => [disk.name, disk]));
  const inA = new Set(a.disks.map(({ name }) => name));
  return {
    onlyA: a.disks.filter(({ name }) => !inB.has(name)).map(({ name }) => name),
    onlyB: b.disks.filter(({ name }) => !inA.has(name)).map(({ name }) => name),
    both: a.disks.flatMap((disk) => {
      const other = inB.get(disk.name);
      return other === undefined ? [] : [{ name: disk.name, facts: diffFacts(diskFacts(disk), diskFacts(other)) }];
    }),
  };
}

function diskFacts(disk: Omit<Disk, 'kind'>): Record<string, Json> {
  const { policy, readOnly, bytes, sha256, format, locator } = disk;
  return { policy, readOnly, bytes: String(bytes), sha256: sha256 === null ? null : toHex(sha256), format, locator };
}
