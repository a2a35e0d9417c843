/**
 * What this driver uses of an emulator object of npm's `v86`. Its own declarations cover the outside alone; these are
 * the inner parts, the same in all versions of versions.ts. A view that the emulator keeps on its WebAssembly memory
 * is a proxy that makes the array anew at each use: fine for a register, far too slow for pages.
 */

/** A register that lies in WebAssembly memory. */
export interface RegisterView {
  [index: number]: number;
  readonly byteOffset: number;
  readonly length: number;
}

export interface V86Cpu {
  readonly wasm_memory: { readonly buffer: ArrayBuffer };
  readonly mem8: RegisterView;
  readonly memory_size: RegisterView;
  readonly in_hlt: RegisterView;
  readonly flags: RegisterView;
  last_result: RegisterView;
  fpu_status_word: RegisterView;
  mxcsr: RegisterView;
  readonly io: V86Ports;
  readonly devices: V86Devices;
  pack_memory?: () => { packed_memory: Uint8Array; bitmap: { get_buffer(): ArrayBuffer } };
  unpack_memory?: (bitmap: unknown, packed: unknown) => void;
  /** Writes guest memory, and throws away what was compiled from it. */
  write_blob(bytes: Uint8Array, address: number): void;
  update_state_flags(): void;
  get_eflags(): number;
  jit_clear_cache(): void;
  full_clear_tlb(): void;
}

export interface V86Ports {
  register_read(port: number, device: object, r8?: PortRead, r16?: PortRead, r32?: PortRead): void;
  register_write(port: number, device: object, w8?: PortWrite, w16?: PortWrite, w32?: PortWrite): void;
}
type PortRead = () => number;
type PortWrite = (value: number) => void;

export interface V86Devices {
  readonly rtc: V86Rtc;
  readonly pit: { counter_start_time: Float64Array; counter_enabled: Uint8Array };
  readonly pci: { readonly devices: readonly (V86PciDevice | undefined)[] };
  readonly uart0?: V86Uart;
  readonly uart1?: V86Uart;
  readonly uart2?: V86Uart;
  readonly uart3?: V86Uart;
  /** The controller of newer versions. */
  readonly ide?: { readonly primary?: V86IdeChannel; readonly secondary?: V86IdeChannel };
  /** The channels of older ones. */
  readonly hda?: V86IdeChannel;
  readonly cdrom?: V86IdeChannel | V86IdeInterface;
}

export interface V86Rtc {
  rtc_time: number;
  last_update: number;
  next_interrupt: number;
  next_interrupt_alarm: number;
  update_interrupt_time: number;
}

export interface V86PciDevice {
  readonly pci_bars: (object | undefined)[];
}

export interface V86Uart {
  readonly input: number[];
}

export interface V86IdeChannel {
  readonly master?: V86IdeInterface;
  readonly slave?: V86IdeInterface;
  dma_status: number;
}

export interface V86IdeInterface {
  readonly buffer: unknown;
  readonly in_progress_io_ids?: { readonly size: number };
  /** The registers, as newer versions call them and as older ones do. The objects take no others. */
  error_reg?: number;
  status_reg?: number;
  error?: number;
  status?: number;
  current_command: number;
  push_irq(): void;
  cancel_io_operations(): void;
}

/** The loop that runs the processor in slices. */
export interface V86Loop {
  running: boolean;
  tick_counter: number;
  readonly cpu: V86Cpu;
  /** The inner end of the emulator's bus: what is sent here reaches its listeners. */
  readonly bus: { send(event: string): void };
  do_tick(): void;
  save_state(): ArrayBuffer;
  restore_state(state: Uint8Array | ArrayBuffer): void;
}

/** What `new V86(options)` gives. */
export interface V86Emulator {
  readonly v86: V86Loop;
  readonly bus: { send(event: string, value: unknown): void };
  run(): Promise<void>;
  destroy(): Promise<void>;
  add_listener(event: string, listener: (value: unknown) => void): void;
  remove_listener(event: string, listener: (value: unknown) => void): void;
}

/** A view of all of the guest's memory. To be made anew each time: WebAssembly memory moves when it grows. */
export function guestMemory(cpu: V86Cpu): Buffer {
  return Buffer.from(cpu.wasm_memory.buffer, cpu.mem8.byteOffset, cpu.memory_size[0]);
}

/** The disk channels, whatever the version calls them. */
export function ideChannels({ devices }: V86Cpu): V86IdeChannel[] {
  const found = devices.ide === undefined ? [devices.hda, devices.cdrom] : [devices.ide.primary, devices.ide.secondary];
  return found.filter((channel): channel is V86IdeChannel => channel !== undefined && 'master' in channel);
}
