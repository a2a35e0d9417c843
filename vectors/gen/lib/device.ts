// DEVICE, DEVICE_DATA, DISK (section 9) and ORIGIN (section 11).
import { cat, hex, sha256, string, u16, u32, u64, u8, zeros } from './bytes.ts';
import { known } from './channel.ts';
import type { Rec } from './channel.ts';
import { codecNumber } from './content.ts';
import type { Packed } from './content.ts';

export type DeviceFields = {
  device: number;
  bytes: number;
  fingerprint: Buffer;
  sha256: Buffer;
  name: string | Buffer;
  format: string | Buffer;
  version: string | Buffer;
  reserved: number;
  tail: Buffer;
};

const shown = (text: string | Buffer): string => (typeof text === 'string' ? text : '');

export function device(blob: Buffer, fields: Partial<DeviceFields> = {}): Rec {
  const f: DeviceFields = {
    device: 0,
    bytes: blob.length,
    fingerprint: zeros(32),
    sha256: sha256(blob),
    name: 'machine',
    format: 'v86-state',
    version: '0.5.319',
    reserved: 0,
    tail: zeros(0),
    ...fields,
  };
  return {
    ...known('DEVICE'),
    body: cat(
      u32(f.device),
      u32(f.reserved),
      u64(f.bytes),
      f.fingerprint,
      f.sha256,
      string(f.name),
      string(f.format),
      string(f.version),
      f.tail,
    ),
    fields: {
      device: f.device,
      name: shown(f.name),
      format: shown(f.format),
      version: shown(f.version),
      bytes: f.bytes,
      fingerprint: hex(f.fingerprint),
      sha256: hex(f.sha256),
    },
  };
}

export type ChunkPatch = { codec?: number; original?: number; stored?: number; reserved?: number; tail?: Buffer };

export function deviceData(number: number, offset: number, chunk: Packed, patch: ChunkPatch = {}): Rec {
  return {
    ...known('DEVICE_DATA'),
    body: cat(
      u32(number),
      u8(patch.codec ?? codecNumber[chunk.codec]),
      Buffer.alloc(3, patch.reserved ?? 0),
      u64(offset),
      u32(patch.original ?? chunk.content.length),
      u32(patch.stored ?? chunk.stored.length),
      chunk.stored,
      patch.tail ?? zeros(0),
    ),
    fields: {
      device: number,
      codec: chunk.codec,
      offset,
      bytes: chunk.content.length,
      stored: chunk.stored.length,
    },
    tally: { deviceBytes: chunk.content.length },
  };
}

export type DiskFields = {
  disk: number;
  policy: number;
  flags: number;
  reserved: number;
  bytes: bigint;
  sha256: Buffer | null;
  name: string | Buffer;
  format: string | Buffer;
  locator: string | Buffer;
  tail: Buffer;
};

export function disk(fields: Partial<DiskFields> = {}): Rec {
  const f: DiskFields = {
    disk: 0,
    policy: 1,
    flags: 0,
    reserved: 0,
    bytes: 1n << 20n,
    sha256: null,
    name: 'hda',
    format: 'raw',
    locator: '',
    tail: zeros(0),
    ...fields,
  };
  return {
    ...known('DISK'),
    body: cat(
      u32(f.disk),
      u8(f.policy),
      u8(f.flags),
      u16(f.reserved),
      u64(f.bytes),
      f.sha256 ?? zeros(32),
      string(f.name),
      string(f.format),
      string(f.locator),
      f.tail,
    ),
    fields: {
      disk: f.disk,
      name: shown(f.name),
      policy: ['', 'inside-device', 'digest', 'tmem', 'shared'][f.policy] ?? '',
      readOnly: (f.flags & 1) === 1,
      bytes: String(f.bytes),
      sha256: f.sha256 === null ? null : hex(f.sha256),
      format: shown(f.format),
      locator: shown(f.locator),
    },
  };
}

export function origin(part: number, chunk: Packed, patch: ChunkPatch & { format?: string | Buffer } = {}): Rec {
  const format = patch.format ?? 'xl';
  return {
    ...known('ORIGIN'),
    body: cat(
      u32(part),
      u8(patch.codec ?? codecNumber[chunk.codec]),
      Buffer.alloc(3, patch.reserved ?? 0),
      u32(patch.original ?? chunk.content.length),
      u32(patch.stored ?? chunk.stored.length),
      string(format),
      chunk.stored,
      patch.tail ?? zeros(0),
    ),
    fields: {
      part,
      codec: chunk.codec,
      bytes: chunk.content.length,
      stored: chunk.stored.length,
      format: shown(format),
    },
  };
}
