/** What the two halves say in their frames. Numbers that JSON cannot hold travel as hexadecimal text. */
import type { PageBatch, VcpuState } from '../../machine.ts';
import type { BootPlan } from '../boot/plan.ts';
import type { DiskConfig, V86Config } from '../config.ts';
import { fromHex, toHex } from '../../../bytes/hex.ts';

/** Requests of the parent, by name. */
export const REQUESTS = [
  'create',
  'grant',
  'revoke',
  'resume',
  'pause',
  'readPages',
  'startScan',
  'scan',
  'markDirty',
  'endScan',
  'throttle',
  'prepareCapture',
  'capture',
  'readCapture',
  'releaseCapture',
  'captureDevices',
  'deviceState',
  'vcpus',
  'loadPages',
  'loadDeviceState',
  'writeConsole',
] as const;
export type RequestName = (typeof REQUESTS)[number];

/** Events of the child, by name. */
export const EVENTS = ['console', 'crashed', 'halted'] as const;

/** File descriptors of the child, beyond the standard ones. */
export const CHILD_FD = { control: 3, tmem: 4 } as const;

/** The tmem channel: what a request and an answer are, in bytes. The descriptor comes first, then the page, if any. */
export const TMEM_WIRE = {
  /** u32: whether a page follows; then the descriptor. */
  request: 4 + 64,
  /** i32 result; u32: whether a page follows; u32: what stands at offset 44 of the descriptor now. */
  answer: 12,
  page: 4096,
} as const;

/** Numbers and bytes of a batch as one frame carries them: u32 for each number, then the pages. */
export function encodeBatch({ pfns, bytes }: PageBatch): { json: { count: number }; bytes: Uint8Array[] } {
  return {
    json: { count: pfns.length },
    bytes: [new Uint8Array(pfns.buffer, pfns.byteOffset, pfns.byteLength), bytes],
  };
}

/** The inverse. The batch is views into `bytes`, which begins a buffer of its own. */
export function decodeBatch(json: Readonly<Record<string, unknown>>, bytes: Uint8Array): PageBatch {
  const count = Number(json['count']);
  return { pfns: new Uint32Array(bytes.buffer, bytes.byteOffset, count), bytes: bytes.subarray(4 * count) };
}

/** A configuration as JSON, and the bytes that it has in it. */
export function encodeConfig(config: V86Config): { json: object; bytes: Uint8Array[] } {
  const bytes: Uint8Array[] = [];
  const disks = Object.entries(config.disks ?? {}).map(([name, disk]) => {
    const content = disk.policy === 'in-blob' ? (disk.content ?? new Uint8Array(0)) : new Uint8Array(0);
    bytes.push(content);
    const digest = disk.policy === 'read-only' ? toHex(disk.digest) : '';
    return [name, { ...disk, content: content.byteLength, digest }];
  });
  return { json: { ...config, disks }, bytes };
}

/** The inverse: contents are taken from `bytes` in the order of the disks. */
export function decodeConfig(json: object, bytes: Uint8Array): V86Config {
  const { disks, ...rest } = json as V86Config & { disks: [string, Record<string, unknown>][] };
  let at = 0;
  const decoded = disks.map(([name, disk]) => {
    const content = bytes.subarray(at, (at += Number(disk['content'])));
    return [name, { ...disk, content, digest: fromHex(String(disk['digest'])) } as unknown as DiskConfig];
  });
  return { ...rest, disks: Object.fromEntries(decoded) as V86Config['disks'] & object };
}

/** A boot plan as JSON, and the bytes that it puts into memory. */
export function encodePlan({ writes, ...plan }: BootPlan): { json: object; bytes: Uint8Array[] } {
  const places = writes.map(({ address, bytes, what }) => ({ address, what, length: bytes.byteLength }));
  return { json: { ...plan, writes: places }, bytes: writes.map(({ bytes }) => bytes) };
}

/** The inverse; its bytes stand at the beginning, up to `end`. */
export function decodePlan(json: unknown, bytes: Uint8Array): { plan?: BootPlan; end: number } {
  if (json === null) return { end: 0 };
  const { writes, ...plan } = json as Omit<BootPlan, 'writes'> & {
    writes: { address: number; what: string; length: number }[];
  };
  let end = 0;
  const decoded = writes.map(({ address, what, length }) => {
    const from = end;
    end += length;
    return { address, what, bytes: bytes.subarray(from, end) };
  });
  return { plan: { ...plan, writes: decoded }, end };
}

const BIG = 'bigint:';

/** Processors as JSON: their registers have 64 bits, and FXSAVE images go into bytes. */
export function encodeVcpus(vcpus: readonly VcpuState[]): object[] {
  return vcpus.map(
    (vcpu) =>
      JSON.parse(
        JSON.stringify({ ...vcpu, fxsave: vcpu.fxsave === null ? null : toHex(vcpu.fxsave) }, (_key, value: unknown) =>
          typeof value === 'bigint' ? `${BIG}${value.toString(16)}` : value,
        ),
      ) as object,
  );
}

export function decodeVcpus(json: unknown): VcpuState[] {
  return (json as object[]).map((vcpu) => {
    const revived = JSON.parse(JSON.stringify(vcpu), (_key, value: unknown) =>
      typeof value === 'string' && value.startsWith(BIG) ? BigInt(`0x${value.slice(BIG.length)}`) : value,
    ) as Omit<VcpuState, 'fxsave'> & { fxsave: string | null };
    return { ...revived, fxsave: revived.fxsave === null ? null : fromHex(revived.fxsave) };
  });
}
