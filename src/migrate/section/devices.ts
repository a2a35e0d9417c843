import { allZero, equalBytes, toHex } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import {
  DISK_POLICY,
  type DeviceReport,
  type DeviceState,
  type Machine,
  type MachineTarget,
} from '../../machine/machine.ts';
import type { DecodedRecord } from '../../stream/decoder.ts';
import { TYPE } from '../../stream/record-types.ts';
import type { Device, DeviceData, Disk, DiskPolicy } from '../../stream/records/device.ts';
import { contentOf } from '../../stream/records/stored.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { StateLoader, StateWriter } from './section.ts';

/** Kind of VCPU_STATE for an FXSAVE image (stream 8.2). */
const FXSAVE = 1;

/** The one blob of a machine is its device 0. */
const MACHINE = 0;

/** What processors, devices and disks are written as. */
export const DEVICE_RECORDS: readonly number[] = [
  TYPE.vcpuX86,
  TYPE.vcpuState,
  TYPE.device,
  TYPE.deviceData,
  TYPE.disk,
];

/** Names of disk policies in records, by the machine's numbers (stream 9.3). */
const POLICIES: Readonly<Record<number, DiskPolicy>> = {
  [DISK_POLICY.inBlob]: 'inside-device',
  [DISK_POLICY.readOnly]: 'digest',
  [DISK_POLICY.tmem]: 'tmem',
  [DISK_POLICY.external]: 'shared',
};

/** Writes processors, the device blob and disks, as they were when the machine was captured. */
export class DevicesWriter implements StateWriter {
  readonly name = 'devices';
  readonly records = DEVICE_RECORDS;
  readonly bytes: number;
  readonly #machine: Pick<Machine, 'disks'>;
  readonly #captured: DeviceReport;

  constructor(machine: Pick<Machine, 'disks'>, captured: DeviceReport) {
    this.#machine = machine;
    this.#captured = captured;
    this.bytes = captured.device.bytes.byteLength;
  }

  async *write(writer: StreamWriter): AsyncGenerator<number, void> {
    const { device, vcpus } = this.#captured;
    for (const { fxsave, ...vcpu } of vcpus) {
      // The record has the same fields, and checks their names when it is encoded.
      await writer.vcpu(vcpu);
      if (fxsave !== null) await writer.vcpuState(vcpu.vcpu, FXSAVE, fxsave);
    }
    for (const [number, disk] of this.#machine.disks.entries()) {
      await writer.disk({
        disk: number,
        name: disk.name,
        policy: POLICIES[disk.policy],
        readOnly: disk.readOnly,
        bytes: BigInt(disk.bytes),
        sha256: disk.digest,
        format: 'raw',
        locator: disk.location,
      });
    }
    const { format, version, fingerprint } = device;
    await writer.device({ device: MACHINE, name: 'machine', format, version, fingerprint }, device.bytes);
    yield this.bytes;
  }
}

/** Most of a device blob's memory that is made before it comes. */
const MOST_TOUCHED = 64 * 1024 * 1024;

/**
 * Memory that is written to once: the system gives out a page when it is first written, which takes longer than to copy
 * it, and would be in a guest's pause.
 */
export function touched(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Math.min(bytes, MOST_TOUCHED)).fill(1);
}

/** Takes the device blob and compares disks. The blob is handed out by {@link state}, when all else is there. */
export class DevicesLoader implements StateLoader {
  readonly name = 'devices';
  readonly #machine: MachineTarget;
  readonly #scratch: Uint8Array;
  readonly #mostBytes: number;
  #device: Device | undefined;
  #blob: Uint8Array = new Uint8Array(0);
  #room = new Uint8Array(0);
  /** Disks that the image described, by number. */
  readonly #compared = new Set<number>();

  /**
   * @param mostBytes the largest blob that makes sense for this machine: more is refused before it is held.
   * @param scratch room for one chunk.
   */
  constructor(machine: MachineTarget, mostBytes: number, scratch: Uint8Array) {
    this.#machine = machine;
    this.#mostBytes = mostBytes;
    this.#scratch = scratch;
  }

  /** Says about how large the blob will be: memory for it is there before it comes. */
  expect(bytes: number): void {
    this.#room = touched(Math.min(bytes, this.#mostBytes));
  }

  load({ header, record }: DecodedRecord): Promise<void> {
    if (record.kind === 'DEVICE') this.#begin(record, header.offset);
    if (record.kind === 'DEVICE_DATA') this.#add(record, header.offset);
    if (record.kind === 'DISK') this.#compareDisk(record, header.offset);
    return Promise.resolve();
  }

  complete(): Promise<void> {
    if (this.#device === undefined) {
      return Promise.reject(new TransmigrateError('DEVICE_MISSING', 'The image has no device state'));
    }
    for (const [number, { name }] of this.#machine.disks.entries()) {
      if (this.#compared.has(number)) continue;
      const what = `The machine has a disk ${name}, which the image does not describe`;
      return Promise.reject(new TransmigrateError('DISK_MISMATCH', what, { section: '9.3', data: { disk: number } }));
    }
    return Promise.resolve();
  }

  /** The whole blob, as the machine takes it. */
  state(): DeviceState {
    const { format, version, fingerprint } = this.#device!;
    return { format, version, fingerprint, bytes: this.#blob };
  }

  /** Refuses early, before any of the blob is held, what the machine would refuse. */
  #begin(device: Device, offset: number): void {
    const { capabilities } = this.#machine;
    const refused = (code: 'DRIVER_VERSION' | 'DEVICE_FINGERPRINT', what: string, found: string, needed: string) =>
      new TransmigrateError(code, what, { offset, section: '9.1', data: { found, needed } });
    if (device.device !== MACHINE) {
      throw refused('DRIVER_VERSION', 'The image has more than one device', String(device.device), String(MACHINE));
    }
    if (device.format !== capabilities.deviceFormat || release(device.version) !== release(capabilities.version)) {
      const found = `${device.format} ${device.version}`;
      const needed = `${capabilities.deviceFormat} ${capabilities.version}`;
      throw refused('DRIVER_VERSION', `Its devices are ${found}, and the machine's are ${needed}`, found, needed);
    }
    // Zeros: not stated, as in an image that was converted; the blob's own shape decides then (stream 9.1).
    if (!allZero(device.fingerprint) && !equalBytes(device.fingerprint, capabilities.fingerprint)) {
      const what = 'Its devices are configured in another way than the machine that the image describes';
      throw refused('DEVICE_FINGERPRINT', what, toHex(device.fingerprint), toHex(capabilities.fingerprint));
    }
    if (device.bytes > this.#mostBytes) {
      const what = `Device state of ${device.bytes} bytes, where at most ${this.#mostBytes} make sense`;
      throw new TransmigrateError('DEVICE_SHAPE', what, { offset, section: '9.1' });
    }
    this.#device = device;
    // Its parts are all of it, in order, and its digest is checked: what was there before is overwritten. After a cut
    // it comes again, to other memory: somebody may still have the first.
    const fits = device.bytes <= this.#room.byteLength;
    this.#blob = fits ? this.#room.subarray(0, device.bytes) : new Uint8Array(device.bytes);
    this.#room = new Uint8Array(0);
  }

  #add(data: DeviceData, offset: number): void {
    this.#blob.set(contentOf(data, this.#scratch, { offset, section: '9.2' }), data.offset);
  }

  #compareDisk(record: Disk, offset: number): void {
    const disk = this.#machine.disks[record.disk];
    const differs =
      disk === undefined
        ? 'the machine has no such disk'
        : disk.name !== record.name || POLICIES[disk.policy] !== record.policy
          ? `the machine's is ${disk.name}, ${POLICIES[disk.policy]}`
          : BigInt(disk.bytes) !== record.bytes
            ? `the machine's has ${disk.bytes} bytes`
            : record.policy === 'digest' && !equalBytes(disk.digest ?? new Uint8Array(), record.sha256!)
              ? `the content of ${disk.location} is another one`
              : '';
    if (differs === '') {
      this.#compared.add(record.disk);
      return;
    }
    const what = `Disk ${record.name} of the image (${record.policy}, ${record.bytes} bytes): ${differs}`;
    throw new TransmigrateError('DISK_MISMATCH', what, { offset, section: '9.3', data: { disk: record.disk } });
  }
}

/** A version without the build behind it: builds of one release are one version. */
function release(version: string): string {
  return version.split('+', 1)[0];
}
