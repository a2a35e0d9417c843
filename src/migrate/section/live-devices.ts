import type { DeviceReport, LiveSource } from '../../machine/machine.ts';
import { DEVICE_RECORDS, DevicesWriter, touched } from './devices.ts';
import type { LiveOutput, LiveState, StateLeft, StateOffer } from './live.ts';

/** Processors, the device blob and disks: nothing before the pause, and all of it then. */
export class LiveDevices implements LiveState {
  readonly name = 'devices';
  readonly records = DEVICE_RECORDS;
  readonly #machine: LiveSource;
  #bytes: number;
  #captured: DeviceReport | null = null;
  /** Memory for the blob, which the system has given out before the pause. */
  #room = new Uint8Array(0);

  /** @param expectedBytes how large the blob will be, about: it is not made while the guest runs. */
  constructor(machine: LiveSource, expectedBytes: number) {
    this.#machine = machine;
    this.#bytes = expectedBytes;
  }

  /** What was written last. */
  get captured(): DeviceReport | null {
    return this.#captured;
  }

  offer(): StateOffer {
    const bytes = this.#bytes;
    return { name: this.name, mandatory: true, carriedBytes: bytes, unpackedBytes: bytes, needs: {} };
  }

  begin(): Promise<void> {
    this.#room = touched(this.#bytes);
    return Promise.resolve();
  }

  async *round(): AsyncGenerator<number, void> {
    // There is nothing that could be sent before the pause.
  }

  left(): StateLeft {
    return { bytes: this.#bytes, pages: 0, invalidations: 0 };
  }

  async *final({ channels }: LiveOutput): AsyncGenerator<number, void> {
    this.#captured = await this.#machine.captureDevices(this.#room);
    this.#bytes = this.#captured.device.bytes.byteLength;
    yield* new DevicesWriter(this.#machine, this.#captured).write(channels[0].writer);
  }

  acknowledged(): void {
    // All of it is sent again when a connection was cut.
  }

  resend(): Promise<void> {
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.#room = new Uint8Array(0);
    return Promise.resolve();
  }
}
