/** What a destination makes of the records of a machine: it is loaded hidden, and nothing runs (protocol 6, 7). */
import { TransmigrateError } from '../../errors.ts';
import type { DecodedRecord } from '../../stream/decoder.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { Hidden } from '../restore/restore.ts';
import { DevicesLoader } from '../section/devices.ts';
import { MemoryLoader } from '../section/memory.ts';
import type { StateLoader } from '../section/section.ts';

interface Loaders {
  readonly hidden: Hidden;
  readonly memory: MemoryLoader;
  readonly devices: DevicesLoader;
  readonly all: readonly StateLoader[];
}

export class DestinationPlane {
  readonly #loaders: Promise<Loaders>;
  readonly #wallClockMs: () => number;
  /** Whether this connection brought the end of the machine. */
  #whole = false;
  #pages = 0;

  /**
   * @param hidden the machine, when it is made. @param wallClockMs the time of day for the guest (M6).
   * @param deviceBytes about how large its devices are.
   */
  constructor(hidden: Promise<Hidden>, wallClockMs: () => number, deviceBytes: number) {
    this.#wallClockMs = wallClockMs;
    this.#loaders = hidden.then((made) => {
      const memory = new MemoryLoader(made.machine);
      const devices = new DevicesLoader(made.machine, made.mostDeviceBytes, new Uint8Array(LIMITS.chunkBytes));
      devices.expect(deviceBytes);
      const all = [memory, devices, ...(made.tmem === null ? [] : [made.tmem]), ...(made.own ?? [])];
      return { hidden: made, memory, devices, all };
    });
    // Who waits for a record to be applied hears of it; so does whoever asked for the machine.
    this.#loaders.catch(() => undefined);
  }

  /** Pages of memory that are here. */
  get pages(): number {
    return this.#pages;
  }

  /** A connection takes the place of one that was cut: its end is yet to come. */
  newLeg(): void {
    this.#whole = false;
  }

  /** Applies a record. @throws what the loaders throw */
  async apply(decoded: DecodedRecord): Promise<void> {
    const { all, memory } = await this.#loaders;
    if (decoded.record.kind === 'CHECKPOINT') this.#whole = true;
    for (const loader of all) await loader.load(decoded);
    this.#pages = memory.pages;
  }

  /** Checks that all is there, and loads the devices. @throws what the loaders and the machine throw */
  async load(): Promise<void> {
    const { hidden, devices, all } = await this.#loaders;
    if (!this.#whole) throw new TransmigrateError('DEVICE_MISSING', 'The machine has not come to its end');
    for (const loader of all) await loader.complete();
    await hidden.machine.loadDeviceState(devices.state(), this.#wallClockMs());
  }
}
