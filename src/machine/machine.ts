/**
 * What every driver of machines offers (M1): a machine is pages in batches, one opaque device blob, the state of its
 * processors, disks, a binding to tmem, and being paused and resumed. Whoever saves or migrates uses this and knows no
 * driver. A guest may run in another process, so everything that touches it is asynchronous.
 */

/** What a guest of a driver is, as the preamble numbers it (stream 2). */
export const DOMAIN_TYPE = { emulatedWithTmem: 4, emulated: 5 } as const;
export type DomainType = (typeof DOMAIN_TYPE)[keyof typeof DOMAIN_TYPE];

/** What a driver can do, as data: compared before anything moves (N1). */
export interface MachineCapabilities {
  /** Name of the driver, e.g. `v86`. */
  readonly driver: string;
  /** The exact version of the program that runs the guest, and writes its device blob. */
  readonly version: string;
  /** Name of the blob's format, for the record DEVICE (stream 9.1). */
  readonly deviceFormat: string;
  /** SHA-256 of everything that the device blob depends on: version, memory, devices, disks. 32 bytes. */
  readonly fingerprint: Uint8Array;
  readonly pageBytes: number;
  readonly pages: number;
  readonly vcpus: number;
  readonly domainType: DomainType;
  /** Whether the guest has the tmem hypercall or a swap disk on tmem. */
  readonly tmem: boolean;
  /** How written pages are found: compared with a copy, or marked by the hypervisor. */
  readonly dirtyTracking: 'compare' | 'marked';
  readonly postCopy: boolean;
}

/**
 * - `paused`: made, or stopped; everything may be read and loaded.
 * - `running`.
 * - `halted`: its processor stands still for ever, with interrupts off. May be paused, and saved.
 * - `crashed`: may be read, and can't be resumed.
 * - `closed`: it is no more.
 */
export type MachineStatus = 'paused' | 'running' | 'halted' | 'crashed' | 'closed';

/** Some pages, with their bytes. The receiver owns both arrays. */
export interface PageBatch {
  /** Page numbers, rising. */
  readonly pfns: Uint32Array;
  /** The pages, one after the other, in the order of `pfns`. */
  readonly bytes: Uint8Array;
}

/**
 * One step of a round over memory. The receiver owns all of it: it is a copy of what the guest had at one moment, made
 * in new memory or in the room that was given for it.
 */
export interface ScanSlice {
  /** Pages that changed since the last round looked at them, and are not zero. */
  readonly dirty: PageBatch;
  /** Numbers, rising, of the pages that changed and are zero now: they do not cross. */
  readonly zero: Uint32Array;
  /** Where to go on; the number of pages when the round is over. */
  readonly next: number;
  /** Milliseconds that the guest stood still for it. */
  readonly stoppedMs: number;
}

/** How much one step may do. Each has a default of the driver. */
export interface ScanBudget {
  /** Pages to look at. */
  readonly pages?: number;
  /** Pages to take, zero ones too. At most 4,096. */
  readonly dirty?: number;
  /**
   * Room for a slice ({@link scanRoomBytes}); its start is a multiple of four. A machine may put there what it hands
   * out, and the slice then lies in it: new memory for each slice costs more than the copy.
   */
  readonly into?: Uint8Array;
}

/** Bytes that a slice takes at most: a page, and its number, for each that it may take. */
export function scanRoomBytes(dirty: number, pageBytes: number): number {
  return dirty * (pageBytes + 4);
}

/** A guest's devices as the driver wrote them. */
export interface DeviceState {
  readonly format: string;
  readonly version: string;
  readonly fingerprint: Uint8Array;
  readonly bytes: Uint8Array;
}

/** One processor, with the fields of the record VCPU_X86 (stream 8.1). What the driver cannot know is absent. */
export interface VcpuState {
  readonly vcpu: number;
  readonly online: boolean;
  readonly halted: boolean;
  readonly registers: Readonly<Record<string, bigint>>;
  readonly segments: Readonly<Record<string, VcpuSegment>> | null;
  readonly gdtr: VcpuTable | null;
  readonly idtr: VcpuTable | null;
  /** 512 bytes as FXSAVE writes them, or null. */
  readonly fxsave: Uint8Array | null;
}

export interface VcpuSegment {
  readonly selector: number;
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

export interface VcpuTable {
  readonly base: bigint;
  readonly limit: number;
}

/** Where a disk's content is, as the record DISK numbers it (stream 9.3). */
export const DISK_POLICY = { inBlob: 1, readOnly: 2, tmem: 3, external: 4 } as const;
export type DiskPolicy = (typeof DISK_POLICY)[keyof typeof DISK_POLICY];

export interface MachineDisk {
  /** The name the guest sees, e.g. `hda`. */
  readonly name: string;
  readonly policy: DiskPolicy;
  readonly readOnly: boolean;
  readonly bytes: number;
  /** SHA-256 of the content, for a disk that is found by it. */
  readonly digest: Uint8Array | null;
  /** Where it is, for people and for disks outside. */
  readonly location: string;
}

/** Devices and processors of one moment. */
export interface DeviceReport {
  readonly device: DeviceState;
  readonly vcpus: readonly VcpuState[];
  /** Milliseconds for the devices. */
  readonly deviceMs: number;
}

/** A consistent copy of a machine at one moment. Its pages are read while the guest goes on. */
export interface CaptureReport extends DeviceReport {
  /** Milliseconds for the copy of memory, and since the machine was paused. */
  readonly copyMs: number;
  readonly stoppedMs: number;
}

/** What happens in a machine by itself. */
export interface MachineEvents {
  /** Bytes that the guest wrote to a serial port. */
  console(bytes: Uint8Array, port: number): void;
  /** The guest did what its processor cannot go on after; memory can still be read. */
  crashed(reason: string): void;
  /** Its processor halted with interrupts off: it will do nothing more. */
  halted(): void;
  /** The machine is no more. `expected` when it was asked to end. */
  closed(reason: string, expected: boolean): void;
}

/** A request of a guest to tmem, with its answer: spec/hypercall.md 2. */
export type TmemService = (descriptor: Uint8Array, page: Uint8Array) => number;

/** What an image is restored into: a machine of a driver, or somebody's emulator. */
export type MachineTarget = Pick<Machine, 'capabilities' | 'disks' | 'pid' | 'loadPages' | 'loadDeviceState'>;

/** What an image is saved of. */
export type MachineSource = Pick<
  Machine,
  | 'capabilities'
  | 'disks'
  | 'status'
  | 'pause'
  | 'resume'
  | 'prepareCapture'
  | 'capture'
  | 'readCapture'
  | 'releaseCapture'
>;

/** What is followed in rounds while it runs, and sent. */
export type LiveSource = Pick<
  Machine,
  | 'capabilities'
  | 'disks'
  | 'status'
  | 'pause'
  | 'resume'
  | 'startScan'
  | 'scan'
  | 'markDirty'
  | 'endScan'
  | 'throttle'
  | 'captureDevices'
>;

/** The least part of its speed that a guest can be slowed down to. */
export const LEAST_SHARE = 0.01;

/** A guest, in this process or another. Methods reject with TransmigrateError. */
export interface Machine {
  readonly capabilities: MachineCapabilities;
  readonly disks: readonly MachineDisk[];
  readonly status: MachineStatus;
  /** Number of the process that runs the guest; absent when that is this one. */
  readonly pid?: number | undefined;

  /**
   * Lets the machine run under this epoch; it does not start it. Epochs never go back.
   * @throws NOT_GRANTED for an epoch below one that was granted before.
   */
  grant(epoch: number): Promise<void>;
  /** Takes the grant away, and pauses. */
  revoke(): Promise<void>;

  /** @throws NOT_GRANTED, GUEST_CRASHED */
  resume(): Promise<void>;
  /** Stops the guest at once, then lets its requests in flight finish. Nothing of it changes until it is resumed. */
  pause(): Promise<void>;

  /** Copies of `count` pages from `first` that are not zero. @throws MACHINE_STATE for pages that there are not. */
  readPages(first: number, count: number): Promise<PageBatch>;

  /**
   * Begins rounds against an empty memory: the first finds every page that is not zero. Where written pages are found
   * by comparing, this takes as much memory again as the guest has, until {@link endScan}.
   */
  startScan(): Promise<void>;
  /**
   * One step from `first`: from now on these pages count as handed over. Between steps the guest runs; when it is
   * paused, a round from page 0 gives what is left, and only that. Nothing is taken that was not asked for, so who
   * wants to go slower asks later.
   * @throws MACHINE_STATE when no scan was started.
   */
  scan(first: number, budget?: ScanBudget): Promise<ScanSlice>;
  /**
   * The next round takes these pages whether they changed or not: they were lost on the way (M2).
   * @throws MACHINE_STATE for pages that there are not, or when no scan was started.
   */
  markDirty(pfns: Uint32Array): Promise<void>;
  /** Gives the copy back that rounds compare with. */
  endScan(): Promise<void>;

  /**
   * Lets the guest have a part of its time only, until something else is said: 1 is full speed, at once.
   * @throws MACHINE_STATE for less than {@link LEAST_SHARE}, or more than 1.
   */
  throttle(share: number): Promise<void>;

  /** Makes room for a copy of memory, while the guest runs, so that the pause is spent on copying alone. */
  prepareCapture(): Promise<void>;
  /**
   * Copies memory and devices of a paused machine. What the guest does after being resumed does not touch the copy.
   * @param options `resume`: lets the guest go on at once, before the answer is on its way.
   */
  capture(options?: { readonly resume?: boolean }): Promise<CaptureReport>;
  /** As `readPages`, from the copy. */
  readCapture(first: number, count: number): Promise<PageBatch>;
  /** Gives the copy back. */
  releaseCapture(): Promise<void>;

  /**
   * Only while paused, as everything below it: devices and processors in one step.
   * @param into room for the devices' bytes, which a machine may put there if it is enough. @throws MACHINE_STATE
   */
  captureDevices(into?: Uint8Array): Promise<DeviceReport>;
  deviceState(): Promise<DeviceState>;
  vcpus(): Promise<readonly VcpuState[]>;
  /** Puts pages in place. The bytes may be used again when it resolves. */
  loadPages(batch: PageBatch): Promise<void>;
  /**
   * Puts device state in place, after everything was checked.
   * @param wallClockMs what time of day it is for the guest from now on, in milliseconds since 1970 (M6).
   * @throws DRIVER_VERSION, DEVICE_FINGERPRINT, DEVICE_SHAPE, and what the format's reader throws.
   */
  loadDeviceState(state: DeviceState, wallClockMs: number): Promise<void>;

  /** Bytes for the guest's serial port, as if typed. */
  writeConsole(bytes: Uint8Array, port?: number): Promise<void>;
  on<E extends keyof MachineEvents>(event: E, listener: MachineEvents[E]): void;

  /** Ends the machine, and its process. Never rejects. */
  close(): Promise<void>;
}
