/** A machine without a guest in it, for tests of those who save, restore and host machines. */
import { createHash } from 'node:crypto';
import { TransmigrateError } from '../../../src/errors.ts';
import {
  DOMAIN_TYPE,
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
  type TmemService,
  type VcpuState,
} from '../../../src/machine/machine.ts';
import { random } from '../random.ts';

export const FAKE_PAGE = 4096;

type Operation = Exclude<
  { [K in keyof Machine]: Machine[K] extends (...args: never[]) => Promise<unknown> ? K : never }[keyof Machine],
  undefined
>;

export interface FakeChoice {
  readonly pages: number;
  readonly tmem: TmemService | null;
  readonly disks?: readonly MachineDisk[];
  readonly version?: string;
}

/** How many fake machines are open: what a test must find as it was. */
export const open = new Set<FakeMachine>();

export class FakeMachine implements Machine {
  readonly capabilities: MachineCapabilities;
  readonly disks: readonly MachineDisk[];
  readonly memory: Uint8Array;
  readonly tmem: TmemService | null;
  /** The device blob: eight bytes, of which the first is 0x42, or it does not have the right shape. */
  device: Uint8Array = Uint8Array.of(0x42, 1, 2, 3, 4, 5, 6, 7);
  status: MachineStatus = 'paused';
  granted = false;
  /** Operations that were asked for, in order. */
  readonly asked: Operation[] = [];
  /** Called before an operation is done; what it throws, the operation throws. */
  before: (operation: Operation, machine: FakeMachine) => Promise<void> | void = () => undefined;
  typed = '';
  /** The part of its time that the guest gets. */
  share = 1;
  /** What the receiver of rounds has, while there are rounds, and pages that it is to get again. */
  #shadow: Uint8Array | null = null;
  readonly #again = new Set<number>();
  #copy: Uint8Array | null = null;
  readonly #listeners: { [E in keyof MachineEvents]: MachineEvents[E][] } = {
    console: [],
    crashed: [],
    halted: [],
    closed: [],
  };

  constructor({ pages, tmem, disks = [], version = '1.0' }: FakeChoice) {
    this.memory = new Uint8Array(pages * FAKE_PAGE);
    this.tmem = tmem;
    this.disks = disks;
    this.capabilities = {
      driver: 'fake',
      version,
      deviceFormat: 'fake-state',
      fingerprint: new Uint8Array(createHash('sha256').update(`${version} ${pages}`).digest()),
      pageBytes: FAKE_PAGE,
      pages,
      vcpus: 1,
      domainType: tmem === null ? DOMAIN_TYPE.emulated : DOMAIN_TYPE.emulatedWithTmem,
      tmem: tmem !== null,
      dirtyTracking: 'compare',
      postCopy: false,
    };
    open.add(this);
  }

  /** Fills half of its pages. */
  fill(seed: string): this {
    const generator = random(seed);
    for (let at = 0; at < this.memory.byteLength; at += 2 * FAKE_PAGE) {
      generator.scramble(this.memory.subarray(at, at + FAKE_PAGE));
    }
    return this;
  }

  emit<E extends keyof MachineEvents>(event: E, ...args: Parameters<MachineEvents[E]>): void {
    for (const listener of this.#listeners[event] as ((...all: unknown[]) => void)[]) listener(...args);
  }

  crash(reason: string): void {
    this.status = 'crashed';
    this.emit('crashed', reason);
  }

  /** Its process is killed. */
  die(reason: string): void {
    this.status = 'closed';
    open.delete(this);
    this.emit('closed', reason, false);
  }

  /** Whether a copy for a save is held. */
  get captured(): boolean {
    return this.#copy !== null;
  }

  async #do<T>(operation: Operation, work: () => T): Promise<T> {
    this.asked.push(operation);
    await new Promise((resolve) => setImmediate(resolve));
    await this.before(operation, this);
    if (this.status === 'closed') throw new TransmigrateError('GUEST_GONE', 'The process of this guest ended');
    return work();
  }

  grant(): Promise<void> {
    return this.#do('grant', () => void (this.granted = true));
  }

  revoke(): Promise<void> {
    return this.#do('revoke', () => void (this.granted = false));
  }

  resume(): Promise<void> {
    return this.#do('resume', () => this.#resume());
  }

  #resume(): void {
    if (this.status === 'crashed') throw new TransmigrateError('GUEST_CRASHED', 'A guest that crashed cannot go on');
    if (!this.granted) throw new TransmigrateError('NOT_GRANTED', 'Nothing was granted');
    this.status = 'running';
  }

  pause(): Promise<void> {
    return this.#do('pause', () => {
      if (this.status === 'running') this.status = 'paused';
    });
  }

  readPages(first: number, count: number): Promise<PageBatch> {
    return this.#do('readPages', () => batch(this.memory, first, count));
  }

  /** Whether rounds are under way. */
  get scanned(): boolean {
    return this.#shadow !== null;
  }

  startScan(): Promise<void> {
    return this.#do('startScan', () => {
      this.#shadow = new Uint8Array(this.memory.byteLength);
      this.#again.clear();
    });
  }

  /** However much it may do, a step is small: there are few pages, and rounds are to have many steps. */
  scan(first: number, budget: ScanBudget = {}): Promise<ScanSlice> {
    const pages = Math.min(budget.pages ?? 64, 64);
    const dirty = Math.min(budget.dirty ?? 16, 16);
    return this.#do('scan', () => {
      const shadow = this.#shadow;
      if (shadow === null) throw new TransmigrateError('MACHINE_STATE', 'No scan was started');
      const taken: number[] = [];
      const zero: number[] = [];
      const end = Math.min(first + pages, this.capabilities.pages);
      let pfn = first;
      for (; pfn < end && taken.length + zero.length < dirty; pfn++) {
        const now = page(this.memory, pfn);
        if (!this.#again.delete(pfn) && Buffer.compare(now, page(shadow, pfn)) === 0) continue;
        page(shadow, pfn).set(now);
        (now.every((byte) => byte === 0) ? zero : taken).push(pfn);
      }
      const bytes = new Uint8Array(taken.length * FAKE_PAGE);
      taken.forEach((each, i) => bytes.set(page(shadow, each), i * FAKE_PAGE));
      return { dirty: { pfns: Uint32Array.from(taken), bytes }, zero: Uint32Array.from(zero), next: pfn, stoppedMs: 0 };
    });
  }

  markDirty(pfns: Uint32Array): Promise<void> {
    return this.#do('markDirty', () => {
      if (this.#shadow === null) throw new TransmigrateError('MACHINE_STATE', 'No scan was started');
      if (pfns.some((pfn) => pfn >= this.capabilities.pages)) throw new TransmigrateError('MACHINE_STATE', 'No page');
      for (const pfn of pfns) this.#again.add(pfn);
    });
  }

  endScan(): Promise<void> {
    return this.#do('endScan', () => void (this.#shadow = null));
  }

  throttle(share: number): Promise<void> {
    return this.#do('throttle', () => {
      if (!(share >= LEAST_SHARE && share <= 1)) throw new TransmigrateError('MACHINE_STATE', `Share ${share}`);
      this.share = share;
    });
  }

  prepareCapture(): Promise<void> {
    return this.#do('prepareCapture', () => void (this.#copy = new Uint8Array(this.memory.byteLength)));
  }

  capture({ resume = false }: { readonly resume?: boolean } = {}): Promise<CaptureReport> {
    return this.#do('capture', () => {
      if (this.status === 'running') throw new TransmigrateError('MACHINE_STATE', 'The machine is running');
      this.#copy = this.memory.slice();
      const report = { device: this.#deviceState(), vcpus: [], copyMs: 1, deviceMs: 1, stoppedMs: 2 };
      if (resume) this.#resume();
      // A guest that runs changes its memory at once.
      if (resume) this.memory.fill(0xee, 0, FAKE_PAGE);
      return report;
    });
  }

  readCapture(first: number, count: number): Promise<PageBatch> {
    return this.#do('readCapture', () => batch(this.#copy!, first, count));
  }

  releaseCapture(): Promise<void> {
    return this.#do('releaseCapture', () => void (this.#copy = null));
  }

  captureDevices(): Promise<DeviceReport> {
    return this.#do('captureDevices', () => {
      if (this.status === 'running') throw new TransmigrateError('MACHINE_STATE', 'The machine is running');
      return { device: this.#deviceState(), vcpus: [], deviceMs: 1 };
    });
  }

  deviceState(): Promise<DeviceState> {
    return this.#do('deviceState', () => this.#deviceState());
  }

  vcpus(): Promise<readonly VcpuState[]> {
    return this.#do('vcpus', () => []);
  }

  loadPages({ pfns, bytes }: PageBatch): Promise<void> {
    return this.#do('loadPages', () =>
      pfns.forEach((pfn, i) => this.memory.set(bytes.subarray(i * FAKE_PAGE, (i + 1) * FAKE_PAGE), pfn * FAKE_PAGE)),
    );
  }

  loadDeviceState({ bytes }: DeviceState): Promise<void> {
    return this.#do('loadDeviceState', () => {
      if (bytes.byteLength !== 8 || bytes[0] !== 0x42) throw new TransmigrateError('DEVICE_SHAPE', 'Another shape');
      this.device = bytes.slice();
    });
  }

  writeConsole(bytes: Uint8Array): Promise<void> {
    return this.#do('writeConsole', () => {
      this.typed += Buffer.from(bytes).toString('latin1');
      this.emit('console', bytes, 0);
    });
  }

  on<E extends keyof MachineEvents>(event: E, listener: MachineEvents[E]): void {
    this.#listeners[event].push(listener);
  }

  close(): Promise<void> {
    if (open.delete(this)) {
      this.status = 'closed';
      this.emit('closed', 'it was closed', true);
    }
    return Promise.resolve();
  }

  #deviceState(): DeviceState {
    const { version, fingerprint } = this.capabilities;
    return { format: 'fake-state', version, fingerprint, bytes: this.device.slice() };
  }
}

/** A view. */
function page(memory: Uint8Array, pfn: number): Uint8Array {
  return memory.subarray(pfn * FAKE_PAGE, (pfn + 1) * FAKE_PAGE);
}

function batch(memory: Uint8Array, first: number, count: number): PageBatch {
  const pfns: number[] = [];
  for (let pfn = first; pfn < first + count; pfn++) {
    if (memory.subarray(pfn * FAKE_PAGE, (pfn + 1) * FAKE_PAGE).some((byte) => byte !== 0)) pfns.push(pfn);
  }
  const bytes = new Uint8Array(pfns.length * FAKE_PAGE);
  pfns.forEach((pfn, i) => bytes.set(memory.subarray(pfn * FAKE_PAGE, (pfn + 1) * FAKE_PAGE), i * FAKE_PAGE));
  return { pfns: Uint32Array.from(pfns), bytes };
}
