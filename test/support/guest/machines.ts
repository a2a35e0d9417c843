/** Machines for the driver's tests, and waiting for what they do. */
import type { Machine, TmemService } from '../../../src/machine/machine.ts';
import { createEmulator, type CreatedMachine } from '../../../src/machine/v86/create.ts';
import type { V86Config } from '../../../src/machine/v86/config.ts';
import type { EmulatorMachine } from '../../../src/machine/v86/emulator-machine.ts';
import { guestPlan, mailbox, MAILBOX_PFN, type Mailbox, type Mode } from './guest.ts';

export const MEMORY = 4 * 1024 * 1024;
/** What nothing here should ever take. A test that waits longer has failed. */
const LIMIT_MS = 30_000;

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until the condition holds, looking every few milliseconds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > LIMIT_MS) throw new Error(`waited in vain until ${what}`);
    await sleep(5);
  }
}

export interface Started extends CreatedMachine {
  /** What the guest wrote to its first serial port. */
  output: string;
}

/** A machine in this process; with a mode it has the guest, and does not run yet. */
export async function emulator(
  mode: Mode | null,
  parameters: readonly number[] = [],
  config: Partial<V86Config> = {},
  tmem?: TmemService,
): Promise<Started> {
  const created = await createEmulator({
    config: { memoryBytes: MEMORY, ...config },
    ...(mode !== null && { boot: guestPlan(mode, ...parameters) }),
    ...(tmem !== undefined && { tmem }),
  });
  const started: Started = { ...created, output: '' };
  created.machine.emulator.add_listener('serial0-output-byte', (byte) => {
    started.output += String.fromCharCode(byte as number);
  });
  return started;
}

export function look(machine: EmulatorMachine): Mailbox {
  return mailbox(machine.memory());
}

/** Runs until the guest did so many more rounds, then stops it. */
export async function rounds(machine: EmulatorMachine, count: number): Promise<void> {
  const goal = look(machine).rounds + count;
  machine.resume();
  await until(`the guest did ${count} rounds`, () => look(machine).rounds >= goal);
  machine.stop();
}

/** Moves memory and devices from one machine to another. */
export function transplant(from: EmulatorMachine, to: EmulatorMachine, wallClockMs = Date.now()): void {
  to.memory().set(from.memory());
  to.loadDeviceState(from.deviceState(), wallClockMs);
}

/** The mailbox of a machine in another process. */
export async function lookInto(machine: Machine): Promise<Mailbox> {
  const { pfns, bytes } = await machine.readPages(MAILBOX_PFN, 1);
  return mailbox(pfns.length === 0 ? new Uint8Array(4096) : bytes, 0);
}

/** A service of tmem that keeps pages in a table: enough for one guest. */
export function simpleTmem(): { service: TmemService; pages: Map<string, Uint8Array>; requests: number[] } {
  const pages = new Map<string, Uint8Array>();
  const requests: number[] = [];
  let pools = 0;
  const service: TmemService = (descriptor, page) => {
    const view = new DataView(descriptor.buffer, descriptor.byteOffset, 64);
    const operation = view.getUint32(0, true);
    requests.push(operation);
    const object = [16, 24, 32].map((at) => view.getBigUint64(at, true)).join('.');
    const key = `${view.getUint32(12, true)}/${object}/${view.getUint32(40, true)}`;
    if (operation === 1) return pools++;
    if (operation === 3) {
      pages.set(key, page.slice());
      return 1;
    }
    const held = pages.get(key);
    if (operation === 4 && held !== undefined) page.set(held);
    if (operation === 5) return pages.delete(key) ? 1 : 0;
    return held === undefined ? 0 : 1;
  };
  return { service, pages, requests };
}
