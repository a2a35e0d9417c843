/**
 * The half of the driver that sits beside one emulator object, in its thread: what a guest's own process runs, and what
 * a program uses that holds an emulator itself. Nothing here waits but for requests of disks that are not ours.
 */
import { createHash } from 'node:crypto';
import { TransmigrateError } from '../../errors.ts';
import { registersOf } from '../../foreign/v86/registers.ts';
import { shapeOf, type Shape } from '../../foreign/v86/shape.ts';
import {
  DOMAIN_TYPE,
  type DeviceState,
  type MachineCapabilities,
  type MachineDisk,
  type PageBatch,
  type VcpuState,
} from '../machine.ts';
import { hostClocks, restoreDevices, saveDevices, type SavedDevices } from './device-state.ts';
import { guestMemory, ideChannels, type V86Emulator } from './emulator.ts';
import { setWallClock } from './mends/clock.ts';
import { PAGE_BYTES, scatter } from './pages.ts';
import { v86Version } from './versions.ts';

export const V86_DRIVER = 'v86';
/** Name of the device blob's format in the record DEVICE (stream 9.1). */
export const V86_DEVICE_FORMAT = 'v86-state';

const INTERRUPTS_ON = 0x200;

/** How long requests of disks that are not ours may take to end after a pause. */
const DRAIN_LIMIT_MS = 10_000;

export interface EmulatorFacts {
  /** The exact version of v86 that made the emulator. */
  readonly version: string;
  /** Whether the guest has the tmem hypercall. */
  readonly tmem: boolean;
  readonly disks: readonly MachineDisk[];
}

export class EmulatorMachine {
  readonly emulator: V86Emulator;
  readonly capabilities: MachineCapabilities;
  readonly disks: readonly MachineDisk[];
  readonly #shape: Shape;

  /** Takes an emulator that is loaded and does not run. */
  constructor(emulator: V86Emulator, { version, tmem, disks }: EmulatorFacts) {
    v86Version(version);
    this.emulator = emulator;
    this.disks = disks;
    this.#shape = shapeOf(saveDevices(emulator).state);
    this.capabilities = {
      driver: V86_DRIVER,
      version,
      deviceFormat: V86_DEVICE_FORMAT,
      fingerprint: fingerprintOf(version, tmem, disks, this.#shape),
      pageBytes: PAGE_BYTES,
      pages: emulator.v86.cpu.memory_size[0] / PAGE_BYTES,
      vcpus: 1,
      domainType: tmem ? DOMAIN_TYPE.emulatedWithTmem : DOMAIN_TYPE.emulated,
      tmem,
      dirtyTracking: 'compare',
      postCopy: false,
    };
  }

  /** Whether the processor is halted with interrupts off, and will never go on. */
  get dead(): boolean {
    const { cpu } = this.emulator.v86;
    return cpu.in_hlt[0] !== 0 && (cpu.flags[0] & INTERRUPTS_ON) === 0;
  }

  /** All of the guest's memory, where it is now: not to be kept. */
  memory(): Buffer {
    return guestMemory(this.emulator.v86.cpu);
  }

  resume(): void {
    void this.emulator.run();
  }

  /** Stops the processor where it is. Requests of disks may still be in flight: see {@link drained}. */
  stop(): void {
    const { v86 } = this.emulator;
    if (v86.running) v86.bus.send('emulator-stopped');
    v86.running = false;
    // The slice that is due already finds that it is not meant any more.
    v86.tick_counter++;
  }

  /** Resolves when no request of a disk is in flight. @throws MACHINE_STATE when one does not end. */
  async drained(): Promise<void> {
    const start = performance.now();
    while (this.#inFlight() > 0) {
      if (performance.now() - start > DRAIN_LIMIT_MS) {
        throw new TransmigrateError('MACHINE_STATE', `A disk of the guest has not answered in ${DRAIN_LIMIT_MS} ms`, {
          data: { inFlight: this.#inFlight() },
        });
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Device state in pieces: for who writes it out, and needs it in one piece no more than v86 does. */
  saveDevices(): SavedDevices {
    return saveDevices(this.emulator);
  }

  deviceState({ pieces }: SavedDevices = this.saveDevices()): DeviceState {
    const { deviceFormat: format, version, fingerprint } = this.capabilities;
    const bytes = new Uint8Array(pieces[0].byteLength + pieces[1].byteLength);
    bytes.set(pieces[0], 0);
    bytes.set(pieces[1], pieces[0].byteLength);
    return { format, version, fingerprint, bytes };
  }

  vcpus({ state }: SavedDevices = this.saveDevices()): VcpuState[] {
    const { halted, registers, segments, gdtr, idtr, fxsave } = registersOf(state);
    return [{ vcpu: 0, online: true, halted, registers, segments, gdtr, idtr, fxsave }];
  }

  /** Checks the range of a batch and its lengths, then puts it in place. @throws MACHINE_STATE */
  loadPages(batch: PageBatch): void {
    checkBatch(batch, this.capabilities.pages);
    scatter(this.memory(), batch);
  }

  /** @throws DRIVER_VERSION, DEVICE_FINGERPRINT, DEVICE_SHAPE and what the reader of states throws. */
  loadDeviceState(state: DeviceState, wallClockMs: number): void {
    this.#checkOrigin(state);
    restoreDevices(this.emulator, state.bytes, this.#shape, wallClockMs);
  }

  setWallClock(wallClockMs: number): void {
    setWallClock(this.emulator.v86.cpu.devices.rtc, hostClocks(), wallClockMs);
  }

  #checkOrigin(state: DeviceState): void {
    const { deviceFormat, version, fingerprint } = this.capabilities;
    const data = { driver: V86_DRIVER, expected: version, found: state.version, format: state.format };
    if (state.format !== deviceFormat) {
      throw new TransmigrateError('DEVICE_FINGERPRINT', `Device state in the format ${state.format} is not for v86`, {
        data,
      });
    }
    if (state.version.split('+', 1)[0] !== version.split('+', 1)[0]) {
      throw new TransmigrateError(
        'DRIVER_VERSION',
        `Device state of v86 ${state.version}, this machine has ${version}`,
        { data },
      );
    }
    // All zero: not stated, as in an image that was converted from a state of v86's own. The shape decides then.
    if (state.fingerprint.every((byte) => byte === 0)) return;
    if (!Buffer.from(state.fingerprint).equals(fingerprint)) {
      throw new TransmigrateError('DEVICE_FINGERPRINT', 'Device state of a machine with another configuration', {
        data,
      });
    }
  }

  #inFlight(): number {
    let count = 0;
    for (const { master, slave } of ideChannels(this.emulator.v86.cpu)) {
      count += (master?.in_progress_io_ids?.size ?? 0) + (slave?.in_progress_io_ids?.size ?? 0);
    }
    return count;
  }
}

/** @throws MACHINE_STATE for a batch whose lengths differ, or with a page that there is not */
export function checkBatch(batch: PageBatch, pages: number): void {
  if (batch.bytes.byteLength === batch.pfns.length * PAGE_BYTES && !batch.pfns.some((pfn) => pfn >= pages)) return;
  throw new TransmigrateError('MACHINE_STATE', `A batch of ${batch.pfns.length} pages does not fit this machine`, {
    data: { pages, batch: batch.pfns.length, bytes: batch.bytes.byteLength },
  });
}

/** SHA-256 of everything that a device blob depends on. The shape has memory, devices and geometry in it. */
function fingerprintOf(version: string, tmem: boolean, disks: readonly MachineDisk[], shape: Shape): Uint8Array {
  const parts = disks.map(({ name, policy, readOnly, bytes }) => ({ name, policy, readOnly, bytes }));
  // Builds of one release are one version, and a program may not know which build it has.
  const [release] = version.split('+', 1);
  const text = JSON.stringify({ driver: V86_DRIVER, version: release, tmem, disks: parts, shape });
  return new Uint8Array(createHash('sha256').update(text).digest());
}
