import { equalBytes } from '../../bytes/hex.ts';
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { Sha256 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { Preamble } from '../../stream/preamble.ts';
import { RecordStore } from '../../stream/record-store.ts';
import { decodeDeviceData, type Device, type DeviceData, type Disk } from '../../stream/records/device.ts';
import { bodyReader, type StreamRecord } from '../../stream/records/record.ts';
import { contentOf } from '../../stream/records/stored.ts';
import { decodeVcpuState, type CpuidLeaf, type Msr, type VcpuX86 } from '../../stream/records/vcpu.ts';
import type { StreamWriter } from '../../stream/writer.ts';

/** A device blob that is not whole, and so was left out. */
export interface LostDevice {
  readonly name: string;
  readonly format: string;
  readonly bytes: number;
  /** How many of its bytes were there. */
  readonly found: number;
}

/** Lost devices that are named. */
const LOST_MOST = 4096;

interface OpenDevice {
  readonly device: Device;
  readonly hash: Sha256;
  readonly chunks: number[];
  used: number;
  broken: boolean;
}

/**
 * The newest of each state of a damaged image: small ones as they are, large ones by their places. A device blob counts
 * only when all of it is there and its SHA-256 holds.
 */
export class StateSalvage {
  readonly #store: RecordStore;
  readonly #scratch = new Uint8Array(LIMITS.chunkBytes);
  readonly #vcpus = new Map<number, VcpuX86>();
  /** Offsets of VCPU_STATE records. */
  readonly #states = new Map<string, number>();
  readonly #open = new Map<number, OpenDevice>();
  readonly #whole = new Map<string, OpenDevice>();
  readonly #lost = new Map<string, LostDevice>();
  readonly #disks = new Map<number, Disk>();
  #cpuid: readonly CpuidLeaf[] | null = null;
  #msrs: readonly Msr[] | null = null;

  constructor(random: RandomAccess, preamble: Preamble) {
    this.#store = new RecordStore(random, preamble.checksum, 1);
  }

  /** Takes a record in, when it is one of a state. @returns whether it is */
  add(record: StreamRecord, offset: number): boolean {
    switch (record.kind) {
      case 'VCPU_X86':
        this.#vcpus.set(record.vcpu, record);
        return true;
      case 'VCPU_STATE':
        this.#states.set(`${record.vcpu} ${record.state}`, offset);
        return true;
      case 'X86_CPUID':
        this.#cpuid = record.leaves;
        return true;
      case 'X86_MSR':
        this.#msrs = record.msrs;
        return true;
      case 'DISK':
        this.#disks.set(record.disk, record);
        return true;
      case 'DEVICE':
        this.#begin(record);
        return true;
      case 'DEVICE_DATA':
        this.#chunk(record, offset);
        return true;
      default:
        return false;
    }
  }

  #begin(device: Device): void {
    const before = this.#open.get(device.device);
    if (before !== undefined) this.#giveUp(before);
    const open = { device, hash: new Sha256(), chunks: [], used: 0, broken: false };
    this.#open.set(device.device, open);
    if (device.bytes === 0) this.#finish(open);
  }

  #chunk(data: DeviceData, offset: number): void {
    const open = this.#open.get(data.device);
    if (open === undefined) {
      this.#orphan(data);
      return;
    }
    if (data.offset !== open.used || data.offset + data.bytes > open.device.bytes) open.broken = true;
    open.used += data.bytes;
    if (!open.broken) {
      try {
        open.hash.update(contentOf(data, this.#scratch, { offset, section: '9.2' }));
        open.chunks.push(offset);
      } catch (error) {
        if (!(error instanceof TransmigrateError)) throw error;
        open.broken = true;
      }
    }
    if (data.offset + data.bytes >= open.device.bytes) this.#finish(open);
  }

  /** What the device is was lost: a state of it from before would not fit to the memory. */
  #orphan({ device, offset, bytes }: DeviceData): void {
    const before = [...this.#whole.values()].find((one) => one.device.device === device);
    if (before !== undefined) this.#whole.delete(before.device.name);
    const { name = `device ${device}`, format = '' } = before?.device ?? {};
    this.#lose({ name, format, bytes: offset + bytes, found: offset + bytes });
  }

  #finish(open: OpenDevice): void {
    const { device } = open;
    const room = this.#whole.has(device.name) || this.#whole.size < LIMITS.devices;
    if (!room || open.broken || open.used !== device.bytes || !equalBytes(open.hash.digest(), device.sha256)) {
      this.#giveUp(open);
      return;
    }
    this.#open.delete(device.device);
    this.#whole.set(device.name, open);
    this.#lost.delete(device.name);
  }

  #giveUp({ device, used }: OpenDevice): void {
    this.#open.delete(device.device);
    const { name, format, bytes } = device;
    this.#lose({ name, format, bytes, found: Math.min(used, bytes) });
    // An older state of it would not fit to the memory.
    this.#whole.delete(name);
  }

  #lose(device: LostDevice): void {
    if (this.#lost.has(device.name) || this.#lost.size < LOST_MOST) this.#lost.set(device.name, device);
  }

  /** Writes all of it, and says which devices there are, and which are lost. @throws READ_FAILED, the sink's errors */
  async write(writer: StreamWriter): Promise<{ kept: string[]; lost: LostDevice[]; vcpus: number }> {
    for (const open of this.#open.values()) this.#giveUp(open);
    for (const vcpu of this.#vcpus.values()) await writer.vcpu(vcpu);
    for (const offset of this.#states.values()) {
      const { header, body } = await this.#store.fetch(offset);
      const { vcpu, state, bytes } = decodeVcpuState(bodyReader(header, body));
      await writer.vcpuState(vcpu, state, bytes);
    }
    if (this.#cpuid !== null) await writer.cpuid(this.#cpuid);
    if (this.#msrs !== null) await writer.msrs(this.#msrs);
    let number = 0;
    for (const { device, chunks } of this.#whole.values()) {
      await writer.longDevice({ ...device, device: number++ }, this.#content(chunks));
    }
    for (const disk of this.#disks.values()) await writer.disk(disk);
    return { kept: [...this.#whole.keys()], lost: [...this.#lost.values()], vcpus: this.#vcpus.size };
  }

  async *#content(offsets: readonly number[]): AsyncGenerator<Uint8Array> {
    for (const offset of offsets) {
      const { header, body } = await this.#store.fetch(offset);
      const data = decodeDeviceData(bodyReader(header, body));
      yield contentOf(data, this.#scratch, { offset, section: '9.2' });
    }
  }
}
