/**
 * What an image is restored into when the emulator is somebody's: everything is kept beside it until all was checked,
 * so that an image that is cut, damaged or for another machine changes nothing.
 */
import { TransmigrateError } from '../../errors.ts';
import type { DeviceState, MachineCapabilities, MachineDisk, MachineTarget, PageBatch } from '../machine.ts';
import { checkBatch, type EmulatorMachine } from './emulator-machine.ts';
import { PAGE_BYTES, scatter } from './pages.ts';

export class StagedTarget implements MachineTarget {
  readonly #machine: EmulatorMachine;
  /** Room for all of the guest's memory; the system gives it out as it is filled. */
  readonly #memory: Buffer;

  constructor(machine: EmulatorMachine) {
    this.#machine = machine;
    this.#memory = Buffer.alloc(machine.capabilities.pages * PAGE_BYTES);
  }

  get capabilities(): MachineCapabilities {
    return this.#machine.capabilities;
  }

  get disks(): readonly MachineDisk[] {
    return this.#machine.disks;
  }

  loadPages(batch: PageBatch): Promise<void> {
    checkBatch(batch, this.capabilities.pages);
    scatter(this.#memory, batch);
    return Promise.resolve();
  }

  /**
   * Puts everything in place, in one go between two slices of the guest, which goes on with what is new if it runs.
   * @throws as `EmulatorMachine.loadDeviceState`: then the emulator is as it was, but for DRIVER_FAILED, after which it
   * stands still and is of no use.
   */
  async loadDeviceState(state: DeviceState, wallClockMs: number): Promise<void> {
    const machine = this.#machine;
    const { v86 } = machine.emulator;
    const wasRunning = v86.running;
    machine.stop();
    try {
      // A disk that answers later would write into the new guest's memory.
      await machine.drained();
      machine.loadDeviceState(state, wallClockMs);
      const memory = machine.memory();
      this.#memory.copy(memory);
      // What was compiled from the old content, and where pages were, is forgotten.
      v86.cpu.jit_clear_cache();
      v86.cpu.full_clear_tlb();
    } catch (error) {
      if (error instanceof TransmigrateError && error.code === 'DRIVER_FAILED') throw error;
      if (wasRunning) machine.resume();
      throw error;
    }
    if (wasRunning) machine.resume();
  }
}
