/** Devices and disks: stream 9. */
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { allZero } from '../../bytes/hex.ts';
import type { CodecId } from '../../codec/codec.ts';
import { LIMITS } from '../limits.ts';
import { checkStored, type Stored } from './stored.ts';

/** DEVICE (stream 9.1): what an opaque blob is. Its bytes follow in DEVICE_DATA. */
export interface Device {
  readonly kind: 'DEVICE';
  readonly device: number;
  readonly bytes: number;
  /** 32 bytes; zeros when there is none. */
  readonly fingerprint: Uint8Array;
  /** SHA-256 of the blob. */
  readonly sha256: Uint8Array;
  readonly name: string;
  readonly format: string;
  readonly version: string;
}

/** DEVICE_DATA (stream 9.2): a chunk of a blob. */
export interface DeviceData extends Stored {
  readonly kind: 'DEVICE_DATA';
  readonly device: number;
  /** Place of the chunk in the blob. */
  readonly offset: number;
}

const LONGEST = 80 + 3 * (2 + LIMITS.nameBytes);

export function encodeDevice(device: Omit<Device, 'kind'>): Uint8Array {
  if (device.device >= LIMITS.devices) throw new RangeError(`device ${device.device}`);
  if (device.bytes > LIMITS.deviceBytes) throw new RangeError(`a device blob of ${device.bytes} bytes`);
  return new ByteWriter(LONGEST)
    .u32(device.device)
    .zeros(4)
    .u64(device.bytes)
    .bytes(device.fingerprint)
    .bytes(device.sha256)
    .string(device.name, LIMITS.nameBytes)
    .string(device.format, LIMITS.nameBytes)
    .string(device.version, LIMITS.nameBytes)
    .done();
}

export function decodeDevice(body: ByteReader): Device {
  const device = numberBelow(body, 'device', LIMITS.devices);
  body.reserved(4);
  const bytes = body.u64('bytes');
  if (bytes > BigInt(LIMITS.deviceBytes)) {
    throw body.error('LIMIT_EXCEEDED', `A blob of ${bytes} bytes, the limit is ${LIMITS.deviceBytes}`, 'bytes');
  }
  const record: Device = {
    kind: 'DEVICE',
    device,
    bytes: Number(bytes),
    fingerprint: body.take(32, 'fingerprint').slice(),
    sha256: body.take(32, 'sha256').slice(),
    name: body.string('name', LIMITS.nameBytes),
    format: body.string('format', LIMITS.nameBytes),
    version: body.string('version', LIMITS.nameBytes),
  };
  body.end();
  return record;
}

/** The 24 bytes before the stored bytes of a chunk. */
export function encodeDeviceDataHead(
  device: number,
  codec: CodecId,
  offset: number,
  bytes: number,
  stored: number,
): Uint8Array {
  return new ByteWriter(24).u32(device).u8(codec).zeros(3).u64(offset).u32(bytes).u32(stored).done();
}

export function decodeDeviceData(body: ByteReader): DeviceData {
  const device = numberBelow(body, 'device', LIMITS.devices);
  const codec = body.u8('codec');
  body.reserved(3);
  const offset = body.count('offset');
  const bytes = chunkLength(body);
  const stored = body.u32('stored');
  const checked = checkStored(codec, bytes, stored, { offset: body.base, path: body.path, section: body.section });
  const piece = body.take(stored, 'stored');
  body.end();
  return { kind: 'DEVICE_DATA', device, codec: checked, offset, bytes, stored: piece };
}

/** Original length of a chunk of stream 9.2 or 11. */
export function chunkLength(body: ByteReader): number {
  const bytes = body.u32('bytes');
  if (bytes > LIMITS.chunkBytes) {
    throw body.error('LIMIT_EXCEEDED', `A chunk of ${bytes} bytes, the limit is ${LIMITS.chunkBytes}`, 'bytes');
  }
  if (bytes === 0) throw body.error('FIELD_VALUE', 'A chunk without bytes', 'bytes');
  return bytes;
}

/** How a disk's content is found again (stream 9.3). */
export const DISK_POLICY = { 'inside-device': 1, digest: 2, tmem: 3, shared: 4 } as const;
export type DiskPolicy = keyof typeof DISK_POLICY;

/** DISK (stream 9.3). */
export interface Disk {
  readonly kind: 'DISK';
  readonly disk: number;
  readonly policy: DiskPolicy;
  readonly readOnly: boolean;
  readonly bytes: bigint;
  /** SHA-256 of the content, or null when not known. */
  readonly sha256: Uint8Array | null;
  readonly name: string;
  readonly format: string;
  readonly locator: string;
}

export function encodeDisk(disk: Omit<Disk, 'kind'>): Uint8Array {
  if (disk.disk >= LIMITS.disks) throw new RangeError(`disk ${disk.disk}`);
  if (disk.policy === 'digest' && disk.sha256 === null) throw new RangeError('a disk found by digest needs one');
  return new ByteWriter(64 + 2 * LIMITS.nameBytes + LIMITS.diskLocatorBytes)
    .u32(disk.disk)
    .u8(DISK_POLICY[disk.policy])
    .u8(disk.readOnly ? 1 : 0)
    .zeros(2)
    .u64(disk.bytes)
    .bytes(disk.sha256 ?? new Uint8Array(32))
    .string(disk.name, LIMITS.nameBytes)
    .string(disk.format, LIMITS.nameBytes)
    .string(disk.locator, LIMITS.diskLocatorBytes)
    .done();
}

export function decodeDisk(body: ByteReader): Disk {
  const disk = numberBelow(body, 'disk', LIMITS.disks);
  const policyNumber = body.u8('policy');
  const policy = (Object.keys(DISK_POLICY) as DiskPolicy[]).find((name) => DISK_POLICY[name] === policyNumber);
  if (policy === undefined) throw body.error('FIELD_VALUE', `Disk policy ${policyNumber} does not exist`, 'policy');
  const flags = body.u8('flags');
  body.reserved(2);
  const bytes = body.u64('bytes');
  const digest = body.take(32, 'sha256');
  const sha256 = allZero(digest) ? null : digest.slice();
  if (policy === 'digest' && sha256 === null) {
    throw body.error('FIELD_VALUE', 'A disk that is found by its digest has none', 'sha256');
  }
  const record: Disk = {
    kind: 'DISK',
    disk,
    policy,
    readOnly: (flags & 1) !== 0,
    bytes,
    sha256,
    name: body.string('name', LIMITS.nameBytes),
    format: body.string('format', LIMITS.nameBytes),
    locator: body.string('locator', LIMITS.diskLocatorBytes),
  };
  body.end();
  return record;
}

function numberBelow(body: ByteReader, field: string, end: number): number {
  const number = body.u32(field);
  if (number >= end) throw body.error('FIELD_VALUE', `${field} ${number} is above ${end - 1}`, field);
  return number;
}
