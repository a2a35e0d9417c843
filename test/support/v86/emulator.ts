/** v86 for tests of guests: each of the versions that are carried, without a BIOS, and the guest's serial port. */

import { fileURLToPath } from 'node:url';
import type { BootCpu } from '../../../src/machine/v86/boot/enter.ts';

export const V86_VERSIONS = ['v86', 'v86-0.5.278', 'v86-0.5.66'] as const;
export type V86Version = (typeof V86_VERSIONS)[number];

/** What tests use of v86's processor, beyond what starting a guest takes. */
export interface TestCpu extends BootCpu {
  readonly wasm_memory: { readonly buffer: ArrayBuffer };
  readonly mem8: Uint8Array;
  readonly in_hlt: Uint8Array;
  last_result: Int32Array;
  fpu_status_word: Uint16Array;
  mxcsr: Int32Array;
  readonly io: {
    register_read(port: number, device: object, read8: () => number, read16: () => number, read32: () => number): void;
    register_write(
      port: number,
      device: object,
      write8: (value: number) => void,
      write16: (value: number) => void,
      write32: (value: number) => void,
    ): void;
  };
  readonly devices: BootCpu['devices'] & {
    readonly pci: {
      readonly devices: readonly ({ readonly name?: string; readonly pci_bars: unknown[] } | undefined)[];
    };
    /** There with the option `acpi`. */
    readonly acpi?: {
      timer_last_value: number;
      timer_imprecision_offset: number;
      last_timer: number;
      get_timer(nowMs: number): number;
    };
  };
  readonly current_tsc: Uint32Array;
  store_current_tsc(): void;
  set_tsc(low: number, high: number): void;
}

export interface Emulator {
  readonly v86: { readonly cpu: TestCpu };
  add_listener(event: string, listener: (value: never) => void): void;
  run(): Promise<void>;
  stop(): Promise<void>;
  destroy(): Promise<void>;
  save_state(): Promise<ArrayBuffer>;
  restore_state(state: ArrayBuffer): Promise<void>;
  serial0_send(text: string): void;
}

interface V86Module {
  readonly V86: new (options: Record<string, unknown>) => Emulator;
}

export interface EmulatorOptions {
  readonly version?: V86Version;
  readonly memoryBytes: number;
  /** Further options of v86, e.g. `hda`. */
  readonly options?: Record<string, unknown>;
  /**
   * Another instance of the module, by a name, whose clock is this many milliseconds ahead: as another process's is,
   * or behind. v86 takes its clock when it is loaded.
   */
  readonly instance?: { readonly name: string; readonly aheadMs: number };
}

/** A stopped emulator with empty memory and no BIOS. */
export async function makeEmulator({
  version = 'v86',
  memoryBytes,
  options = {},
  instance,
}: EmulatorOptions): Promise<Emulator> {
  const url = import.meta.resolve(version);
  const module = (await (instance === undefined ? import(url) : instanceOf(url, instance))) as V86Module;
  const emulator = new module.V86({
    wasm_path: fileURLToPath(new URL('v86.wasm', url)),
    memory_size: memoryBytes,
    vga_memory_size: 1024 * 1024,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    autostart: false,
    fastboot: true,
    log_level: 0,
    ...options,
  });
  await new Promise<void>((resolve) => {
    emulator.add_listener('emulator-loaded', () => resolve());
  });
  return emulator;
}

async function instanceOf(url: string, { name, aheadMs }: { name: string; aheadMs: number }): Promise<unknown> {
  const { performance: ours } = globalThis;
  const theirs = { now: () => ours.now() + aheadMs };
  Object.defineProperty(globalThis, 'performance', { value: theirs, configurable: true, writable: true });
  try {
    return await import(`${url}?${name}`);
  } finally {
    Object.defineProperty(globalThis, 'performance', { value: ours, configurable: true, writable: true });
  }
}

/** Guest memory. Made anew at each use, since it moves when wasm memory grows. */
export function guestMemory({ v86: { cpu } }: Emulator): Uint8Array {
  return new Uint8Array(cpu.wasm_memory.buffer, cpu.mem8.byteOffset, cpu.memory_size[0]);
}

export interface Serial {
  /** Everything that came, in whole lines without their ends, and what came of the next line. */
  readonly lines: string[];
  readonly rest: () => string;
  /**
   * The first line from `from` on that answers true. Rejects, with the lines, when it takes longer than the limit,
   * which is there only for a guest that hangs.
   */
  line(wanted: (line: string) => boolean, from?: number, limitMs?: number): Promise<string>;
}

/** Collects what the guest writes to COM1. */
export function serialOf(emulator: Emulator): Serial {
  const lines: string[] = [];
  let rest = '';
  const waiting = new Set<() => void>();
  emulator.add_listener('serial0-output-byte', (byte: number) => {
    if (byte === 13) return;
    if (byte !== 10) {
      rest += String.fromCharCode(byte);
      return;
    }
    lines.push(rest);
    rest = '';
    for (const look of waiting) look();
  });
  return {
    lines,
    rest: () => rest,
    line: (wanted, from = 0, limitMs = 60_000) =>
      new Promise((resolve, reject) => {
        let at = from;
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no such line came; the last ones:\n${[...lines.slice(-20), rest].join('\n')}`));
        }, limitMs);
        const look = (): void => {
          for (; at < lines.length; at++) {
            if (!wanted(lines[at])) continue;
            clearTimeout(timer);
            waiting.delete(look);
            resolve(lines[at]);
            return;
          }
        };
        waiting.add(look);
        look();
      }),
  };
}
