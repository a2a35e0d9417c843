/**
 * A disk of a v86 machine: the object that v86 asks for sectors, with the names that v86 gives its methods. All of
 * ours answer before they return, so none ever has a request in flight when the machine pauses.
 */
import type { MachineDisk } from '../../machine.ts';
import { ideChannels, type V86Cpu } from '../emulator.ts';

/** What the guest's ATA registers say of a command that failed (ATA-6 7.15): aborted; ready, with error. */
const ATA = { aborted: 0x04, readyWithError: 0x41, dmaActive: 1, dmaError: 2, noCommand: -1 } as const;

export abstract class Disk {
  readonly byteLength: number;
  /** v86 sets it, and waits for the call. */
  onload: ((event: object) => void) | undefined;
  #cpu: V86Cpu | null = null;

  constructor(byteLength: number) {
    this.byteLength = byteLength;
  }

  /** What the record DISK says of it. */
  abstract describe(): MachineDisk;
  /** Fills `into` from `start`. False when that is not possible. */
  protected abstract read(start: number, into: Uint8Array): boolean;
  /** Takes the bytes, which belong to v86. False when that is not possible. */
  protected abstract write(start: number, bytes: Uint8Array): boolean;
  /** What of it goes into the device blob, besides its size. */
  protected abstract state(): unknown[];
  protected abstract restore(state: readonly unknown[]): void;
  close(): void {}

  /** To be called once the emulator is there: a failed command is reported through its registers. */
  attach(cpu: V86Cpu): void {
    this.#cpu = cpu;
  }

  load(): void {
    this.onload?.({});
  }

  get(start: number, length: number, done: (bytes: Uint8Array) => void): void {
    const bytes = new Uint8Array(length);
    if (this.#inside(start, length) && this.read(start, bytes)) done(bytes);
    else this.#fail();
  }

  set(start: number, bytes: Uint8Array, done: () => void): void {
    if (this.#inside(start, bytes.byteLength) && this.write(start, bytes)) done();
    else this.#fail();
  }

  get_and_cache(start: number, length: number, done: (bytes: Uint8Array) => void): void {
    this.get(start, length, done);
  }

  /** v86 looks at the partition table through this one. */
  get_from_cache(start: number, length: number): Uint8Array | undefined {
    const bytes = new Uint8Array(length);
    return this.#inside(start, length) && this.read(start, bytes) ? bytes : undefined;
  }

  get_buffer(done: (buffer?: ArrayBuffer) => void): void {
    done();
  }

  get_state(): unknown[] {
    return [this.byteLength, ...this.state()];
  }

  set_state(state: readonly unknown[]): void {
    this.restore(state.slice(1));
  }

  #inside(start: number, length: number): boolean {
    return start >= 0 && start + length <= this.byteLength;
  }

  /** Ends the guest's command with an error, as a drive does that cannot read or write. */
  #fail(): void {
    if (this.#cpu === null) return;
    for (const channel of ideChannels(this.#cpu)) {
      for (const drive of [channel.master, channel.slave]) {
        if (drive?.buffer !== this) continue;
        drive.cancel_io_operations();
        if (drive.error_reg === undefined) {
          drive.error = ATA.aborted;
          drive.status = ATA.readyWithError;
        } else {
          drive.error_reg = ATA.aborted;
          drive.status_reg = ATA.readyWithError;
        }
        drive.current_command = ATA.noCommand;
        channel.dma_status = (channel.dma_status & ~ATA.dmaActive) | ATA.dmaError;
        drive.push_irq();
      }
    }
  }
}
