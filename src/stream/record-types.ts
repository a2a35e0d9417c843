import { LIMITS } from './limits.ts';

/** Bit 31 of a type: a reader that does not know the record skips it (stream 3.3). */
export const OPTIONAL = 0x8000_0000;
/** First and last number of stream-local records (stream 3.3, 12). */
export const LOCAL_FIRST = 0x4000;
export const LOCAL_LAST = 0x7fff;

/** How the rows of the record table read in code (stream 3.5). */
export interface RecordTypeInfo {
  readonly name: string;
  readonly section: string;
  /** The most bytes of a body. */
  readonly limit: number;
  /** Written on every channel, and all channels meet at it (stream 14.1). */
  readonly meeting?: true;
}

/** Types of stream 3.5, by name. The ephemeral forms of tmem records have bit 31 set. */
export const TYPE = {
  about: 0x01,
  dictionary: 0x02,
  seal: 0x03,
  barrier: 0x04,
  round: 0x05,
  checkpoint: 0x06,
  end: 0x07,
  index: 0x8000_0008,
  indexRoot: 0x8000_0009,
  ack: 0x0a,
  ram: 0x10,
  vcpuX86: 0x20,
  vcpuState: 0x21,
  cpuid: 0x22,
  msr: 0x23,
  device: 0x30,
  deviceData: 0x31,
  disk: 0x32,
  tmemClient: 0x40,
  tmemPool: 0x41,
  tmemPages: 0x42,
  tmemInvalidate: 0x43,
  ephemeralPool: 0x8000_0041,
  ephemeralPages: 0x8000_0042,
  ephemeralInvalidate: 0x8000_0043,
  origin: 0x8000_0050,
} as const;

const MAX = LIMITS.recordBody;
const pool: RecordTypeInfo = { name: 'TMEM_POOL', section: '10.2', limit: 48, meeting: true };
const pages: RecordTypeInfo = { name: 'TMEM_PAGES', section: '10.3', limit: MAX };
// Only scope "pool" makes an invalidate a meeting, which its body decides: the order rules look there.
const invalidate: RecordTypeInfo = { name: 'TMEM_INVALIDATE', section: '10.4', limit: MAX };

/** The record table (stream 3.5). */
export const RECORDS: ReadonlyMap<number, RecordTypeInfo> = new Map<number, RecordTypeInfo>([
  [TYPE.about, { name: 'ABOUT', section: '6.1', limit: LIMITS.aboutBytes }],
  [TYPE.dictionary, { name: 'DICTIONARY', section: '12', limit: LIMITS.dictionaryBytes }],
  [TYPE.seal, { name: 'SEAL', section: '5.3', limit: 48 }],
  [TYPE.barrier, { name: 'BARRIER', section: '6.2', limit: 16 + 32 * LIMITS.channels }],
  [TYPE.round, { name: 'ROUND', section: '6.3', limit: 16, meeting: true }],
  [TYPE.checkpoint, { name: 'CHECKPOINT', section: '6.4', limit: 16, meeting: true }],
  [TYPE.end, { name: 'END', section: '6.5', limit: 64 + 32 * LIMITS.channels, meeting: true }],
  [TYPE.index, { name: 'INDEX', section: '13.1', limit: 8 + 48 * LIMITS.indexEntries }],
  [TYPE.indexRoot, { name: 'INDEX_ROOT', section: '13.2', limit: MAX }],
  [TYPE.ack, { name: 'ACK', section: '6.6', limit: 48 }],
  [TYPE.ram, { name: 'RAM', section: '7', limit: MAX }],
  [TYPE.vcpuX86, { name: 'VCPU_X86', section: '8.1', limit: 512 }],
  [TYPE.vcpuState, { name: 'VCPU_STATE', section: '8.2', limit: MAX }],
  [TYPE.cpuid, { name: 'X86_CPUID', section: '8.3', limit: 8 + 24 * LIMITS.cpuidLeaves }],
  [TYPE.msr, { name: 'X86_MSR', section: '8.4', limit: 8 + 16 * LIMITS.msrs }],
  [TYPE.device, { name: 'DEVICE', section: '9.1', limit: 80 + 3 * (2 + LIMITS.nameBytes) }],
  [TYPE.deviceData, { name: 'DEVICE_DATA', section: '9.2', limit: 24 + LIMITS.chunkBytes }],
  [TYPE.disk, { name: 'DISK', section: '9.3', limit: 48 + 2 * (2 + LIMITS.nameBytes) + 2 + LIMITS.diskLocatorBytes }],
  [TYPE.tmemClient, { name: 'TMEM_CLIENT', section: '10.1', limit: 24 + 16 * LIMITS.tmemAuthorised, meeting: true }],
  [TYPE.tmemPool, pool],
  [TYPE.ephemeralPool, pool],
  [TYPE.tmemPages, pages],
  [TYPE.ephemeralPages, pages],
  [TYPE.tmemInvalidate, invalidate],
  [TYPE.ephemeralInvalidate, invalidate],
  [TYPE.origin, { name: 'ORIGIN', section: '11', limit: MAX }],
]);

/** The number of a type without its bit 31. */
export function numberOf(type: number): number {
  return type & 0x7fff_ffff;
}

export function isOptional(type: number): boolean {
  return type >= OPTIONAL;
}

export function isLocal(type: number): boolean {
  const number = numberOf(type);
  return number >= LOCAL_FIRST && number <= LOCAL_LAST;
}

/** Whether the type is one of section 10. */
export function isTmem(type: number): boolean {
  const number = numberOf(type);
  return number >= 0x40 && number <= 0x43;
}

/** Name for messages: from the table, or the number in hex. */
export function typeName(type: number): string {
  return RECORDS.get(type)?.name ?? `type 0x${type.toString(16).padStart(8, '0')}`;
}
