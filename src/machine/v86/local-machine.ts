/** A v86 machine in this thread: what a guest's own process has, and what a program makes of an emulator it holds. */
import { TransmigrateError } from '../../errors.ts';
import { SERIAL_INPUT_MOST } from '../../foreign/v86/extension.ts';
import {
  LEAST_SHARE,
  type CaptureReport,
  type DeviceReport,
  type DeviceState,
  type Machine,
  type MachineCapabilities,
  type MachineDisk,
  type MachineEvents,
  type MachineStatus,
  type PageBatch,
  type ScanBudget,
  type ScanSlice,
  type VcpuState,
} from '../machine.ts';
import { ConsoleBuffer } from './console-buffer.ts';
import type { SavedDevices } from './device-state.ts';
import { createEmulator, type CreateOptions } from './create.ts';
import type { Disk } from './disks/disk.ts';
import { EmulatorMachine } from './emulator-machine.ts';
import type { V86Emulator } from './emulator.ts';
import { serialPorts } from './mends/serial-input.ts';
import { copyPages, DirtyScan, MemoryCopy, PAGE_BYTES, PAGE_LIMITS } from './pages.ts';
import { Throttle } from './throttle.ts';

/** Whether the machine made its emulator, and where a crash of the guest goes. */
interface Ownership {
  readonly owned: boolean;
  readonly throwsCrash: boolean;
}

/** Memory that is touched at once before the guest gets its turn again. */
const TOUCH_BYTES = 4 * 1024 * 1024;

export class LocalMachine implements Machine {
  readonly #machine: EmulatorMachine;
  readonly #opened: readonly Disk[];
  readonly #tick: () => void;
  readonly #throttle: Throttle;
  readonly #listeners: { [E in keyof MachineEvents]: MachineEvents[E][] } = {
    console: [],
    crashed: [],
    halted: [],
    closed: [],
  };
  readonly #console = new ConsoleBuffer((bytes, port) => {
    for (const listener of this.#listeners.console) listener(bytes, port);
  });
  #status: MachineStatus;
  /** The epoch under which the guest may run, and the highest that was ever granted. */
  #grant: number | null;
  #epoch = 0;
  #stoppedAt = performance.now();
  /** Whether the guest stands still although it may run: what it writes is not taken fast enough. */
  #held = false;
  #scan: DirtyScan | null = null;
  #copy: MemoryCopy | null = null;
  /** What was put on the emulator's bus. */
  readonly #onBus: [event: string, listener: (value: unknown) => void][] = [];
  readonly #throwsCrash: boolean;

  private constructor(machine: EmulatorMachine, opened: readonly Disk[], { owned, throwsCrash }: Ownership) {
    this.#machine = machine;
    this.#opened = opened;
    this.#throwsCrash = throwsCrash;
    this.#grant = owned ? null : 0;
    const { v86 } = machine.emulator;
    this.#status = v86.running ? 'running' : 'paused';
    this.#tick = v86.do_tick.bind(v86);
    this.#throttle = new Throttle(v86, this.#tick);
    this.#watch(machine.emulator);
  }

  /** Makes an emulator; the machine is paused, and has no grant. @throws as `createEmulator` does. */
  static async create(options: CreateOptions): Promise<LocalMachine> {
    const { machine, disks } = await createEmulator(options);
    return new LocalMachine(machine, disks, { owned: true, throwsCrash: false });
  }

  /**
   * Takes an emulator that the program made, and that is loaded; it may run. The program owns it, so it has its grant;
   * {@link release} and {@link close} give it back.
   * @param version the exact version of v86 that made it: an emulator does not know its own.
   * @param throwsCrash what a crash of the guest throws goes on to the program, as if nobody had been in between.
   * @throws DRIVER_VERSION
   */
  static adopt(emulator: object, version: string, throwsCrash = false): LocalMachine {
    const machine = new EmulatorMachine(emulator as V86Emulator, { version, tmem: false, disks: [] });
    return new LocalMachine(machine, [], { owned: false, throwsCrash });
  }

  get capabilities(): MachineCapabilities {
    return this.#machine.capabilities;
  }

  get disks(): readonly MachineDisk[] {
    return this.#machine.disks;
  }

  get status(): MachineStatus {
    return this.#status;
  }

  /** The copy of memory that was captured, or null. It changes with the next capture. */
  get captured(): Buffer | null {
    return this.#copy?.taken === true ? this.#copy.bytes : null;
  }

  async grant(epoch: number): Promise<void> {
    if (!Number.isSafeInteger(epoch) || epoch < this.#epoch) {
      throw new TransmigrateError('NOT_GRANTED', `Epoch ${epoch} is over: ${this.#epoch} was granted since`, {
        data: { asked: epoch, granted: this.#epoch },
      });
    }
    this.#epoch = epoch;
    this.#grant = epoch;
  }

  async revoke(): Promise<void> {
    this.#grant = null;
    await this.pause();
  }

  async resume(): Promise<void> {
    this.#resume();
  }

  async pause(): Promise<void> {
    if (this.#status === 'crashed') return;
    const machine = this.#present();
    if (this.#status === 'running') this.#stoppedAt = performance.now();
    machine.stop();
    this.#status = 'paused';
    this.#console.flush();
    await machine.drained();
  }

  /** Lets the guest stand still while `held`, and go on when it may run. For whoever takes what it writes. */
  hold(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    if (held) this.#machine.stop();
    else if (this.#status === 'running') this.#machine.resume();
  }

  async readPages(first: number, count: number): Promise<PageBatch> {
    this.checkRange(first, count);
    return copyPages(this.#present().memory(), first, count);
  }

  async startScan(): Promise<void> {
    this.#scan = new DirtyScan(this.#present().capabilities.pages);
  }

  async scan(first: number, budget: ScanBudget = {}): Promise<ScanSlice> {
    if (this.#scan === null) throw wrongState('No scan was started');
    const { pages = PAGE_LIMITS.scan, dirty = PAGE_LIMITS.dirty } = budget;
    const isSound = [first, pages, dirty].every(Number.isInteger) && first >= 0 && pages >= 1 && dirty >= 1;
    if (!isSound || dirty > PAGE_LIMITS.batch)
      throw wrongState(`A step of a scan from ${first} over ${pages} pages, to take ${dirty}`);
    const start = performance.now();
    const slice = this.#scan.step(this.#present().memory(), first, pages, dirty, budget.into);
    return { ...slice, stoppedMs: performance.now() - start };
  }

  async markDirty(pfns: Uint32Array): Promise<void> {
    const { pages } = this.capabilities;
    if (this.#scan === null) throw wrongState('No scan was started');
    if (pfns.some((pfn) => pfn >= pages)) throw wrongState(`A page to be taken again is beyond the ${pages} there are`);
    this.#scan.force(pfns);
  }

  async endScan(): Promise<void> {
    this.#scan = null;
  }

  async throttle(share: number): Promise<void> {
    if (!(share >= LEAST_SHARE && share <= 1)) throw wrongState(`A guest can't have ${share} of its time`);
    this.#present();
    this.#throttle.set(share);
  }

  async prepareCapture(): Promise<void> {
    const copy = this.#room();
    // In steps, so that the guest goes on meanwhile.
    while (copy.touch(TOUCH_BYTES)) await new Promise((resolve) => setImmediate(resolve));
  }

  async capture({ resume = false }: { readonly resume?: boolean } = {}): Promise<CaptureReport> {
    const machine = this.#still();
    const copy = this.#room();
    const start = performance.now();
    copy.take(machine.memory());
    const copied = performance.now();
    const saved = machine.saveDevices();
    const deviceMs = performance.now() - copied;
    if (resume) this.#resume();
    const stoppedMs = performance.now() - this.#stoppedAt;
    // What the guest need not wait for.
    const device = machine.deviceState(saved);
    return { device, vcpus: machine.vcpus(saved), copyMs: copied - start, deviceMs, stoppedMs };
  }

  async captureDevices(): Promise<DeviceReport> {
    const { saved, ...report } = this.saveDevices();
    return { device: this.#still().deviceState(saved), ...report };
  }

  /** The same for who needs the devices' state in one piece no more than v86 does. */
  saveDevices(): Omit<DeviceReport, 'device'> & { readonly saved: SavedDevices } {
    const machine = this.#still();
    const start = performance.now();
    const saved = machine.saveDevices();
    return { saved, vcpus: machine.vcpus(saved), deviceMs: performance.now() - start };
  }

  async readCapture(first: number, count: number): Promise<PageBatch> {
    this.checkRange(first, count);
    if (this.captured === null) throw wrongState('Nothing was captured');
    return copyPages(this.captured, first, count);
  }

  async releaseCapture(): Promise<void> {
    this.#copy = null;
  }

  async deviceState(): Promise<DeviceState> {
    return this.#still().deviceState();
  }

  async vcpus(): Promise<readonly VcpuState[]> {
    return this.#still().vcpus();
  }

  async loadPages(batch: PageBatch): Promise<void> {
    this.#still().loadPages(batch);
  }

  async loadDeviceState(state: DeviceState, wallClockMs: number): Promise<void> {
    const machine = this.#still();
    try {
      machine.loadDeviceState(state, wallClockMs);
    } catch (error) {
      if (error instanceof TransmigrateError && error.code === 'DRIVER_FAILED') this.crashed(error);
      throw error;
    }
  }

  async writeConsole(bytes: Uint8Array, port = 0): Promise<void> {
    const { emulator } = this.#present();
    const uart = serialPorts(emulator.v86.cpu)[port];
    if (uart === undefined) throw wrongState(`The machine has no serial port ${port}`);
    if (uart.input.length + bytes.byteLength > SERIAL_INPUT_MOST) {
      throw wrongState(`The guest does not read its serial port: ${uart.input.length} bytes wait there`);
    }
    for (const byte of bytes) emulator.bus.send(`serial${port}-input`, byte);
  }

  on<E extends keyof MachineEvents>(event: E, listener: MachineEvents[E]): void {
    this.#listeners[event].push(listener);
  }

  /** Gives up the machine. An emulator that was adopted is the program's again, paused. */
  async close(): Promise<void> {
    if (this.#status === 'closed') return;
    this.#machine.stop();
    this.release();
    for (const listener of this.#listeners.closed) listener('it was closed', true);
  }

  /** Gives the machine up, and leaves the guest as it is: an emulator that was adopted runs on if it runs. */
  release(): void {
    if (this.#status === 'closed') return;
    this.#console.flush();
    this.#status = 'closed';
    this.#copy = null;
    this.#scan = null;
    const { emulator } = this.#machine;
    // A slice that was put off is put off no more.
    this.#throttle.set(1);
    emulator.v86.do_tick = this.#tick;
    for (const [event, listener] of this.#onBus) emulator.remove_listener(event, listener);
    for (const disk of this.#opened) disk.close();
  }

  /** Something was thrown by what runs the guest. */
  crashed(error: unknown): void {
    if (this.#status === 'crashed' || this.#status === 'closed') return;
    this.#status = 'crashed';
    this.#machine.stop();
    this.#console.flush();
    const reason = error instanceof Error ? error.message : String(error);
    for (const listener of this.#listeners.crashed) listener(reason);
  }

  /** @throws MACHINE_STATE for pages that there are not, or too many at once. */
  checkRange(first: number, count: number): void {
    const { pages } = this.capabilities;
    const isSound = Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0;
    if (!isSound || first + count > pages) throw wrongState(`Pages ${first} to ${first + count} of ${pages}`);
    if (count > PAGE_LIMITS.batch) throw wrongState(`${count} pages at once, the limit is ${PAGE_LIMITS.batch}`);
  }

  #resume(): void {
    if (this.#status === 'crashed') throw new TransmigrateError('GUEST_CRASHED', 'A guest that crashed cannot go on');
    if (this.#grant === null) throw new TransmigrateError('NOT_GRANTED', 'Nothing was granted: the guest may not run');
    const machine = this.#present();
    if (this.#status !== 'paused') return;
    this.#status = machine.dead ? 'halted' : 'running';
    if (!this.#held) machine.resume();
  }

  #present(): EmulatorMachine {
    if (this.#status === 'closed') throw wrongState('The machine was closed');
    return this.#machine;
  }

  /** The machine while it stands still, crashed or not. */
  #still(): EmulatorMachine {
    if (this.#status === 'running' || this.#status === 'halted') throw wrongState('The machine is running');
    return this.#present();
  }

  #room(): MemoryCopy {
    this.#copy ??= new MemoryCopy(this.#present().capabilities.pages * PAGE_BYTES);
    this.#copy.taken = false;
    return this.#copy;
  }

  #watch(emulator: V86Emulator): void {
    serialPorts(emulator.v86.cpu).forEach((uart, port) => {
      if (uart === undefined) return;
      this.#listen(`serial${port}-output-byte`, (byte) => this.#console.push(port, byte as number));
    });
    this.#listen('cpu-event-halt', () => {
      if (this.#status !== 'running') return;
      this.#status = 'halted';
      for (const listener of this.#listeners.halted) listener();
    });
    // A guest's last fault comes out of the slice as an exception; here it is still known whose it is.
    const { v86 } = emulator;
    v86.do_tick = () => {
      try {
        this.#throttle.tick();
      } catch (error) {
        this.crashed(error);
        if (this.#throwsCrash) throw error;
      }
    };
  }

  #listen(event: string, listener: (value: unknown) => void): void {
    this.#onBus.push([event, listener]);
    this.#machine.emulator.add_listener(event, listener);
  }
}

function wrongState(what: string): TransmigrateError {
  return new TransmigrateError('MACHINE_STATE', what);
}
