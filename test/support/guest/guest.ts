/** The guest of the driver's tests (guest.asm), with its modes and its mailbox. */
import { planMultiboot } from '../../../src/machine/v86/boot/multiboot.ts';
import type { BootPlan } from '../../../src/machine/v86/boot/plan.ts';
import { GUEST_BASE64 } from './guest-bytes.ts';

export const MODE = { work: 0, flags: 1, clock: 2, echo: 3, triple: 4, halt: 5, tmem: 6, disk: 7, ring: 8 } as const;
export type Mode = keyof typeof MODE;

const PARAMETERS = 0x20;
const MAILBOX = 0x101000;
const FIELDS = ['rounds', 'bad', 'bad2', 'bad3', 'value1', 'value2', 'ticks', 'tscLow', 'tscHigh'] as const;
export type Mailbox = Record<(typeof FIELDS)[number], number>;

/** Where the mailbox is, in pages and bytes. */
export const MAILBOX_PFN = MAILBOX / 4096;
/** Where the descriptor of the modes tmem and ring is. */
export const DESCRIPTOR_ADDRESS = 0x101400;
/** Where the pages of the mode work start. */
export const WORK_BASE_PFN = 0x200;

/** The program with its parameters: p1 to p4 of the mode. */
export function guest(mode: Mode, ...parameters: readonly number[]): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(GUEST_BASE64.join(''), 'base64'));
  const view = new DataView(bytes.buffer);
  [MODE[mode], ...parameters].forEach((value, i) => view.setUint32(PARAMETERS + 4 * i, value, true));
  return bytes;
}

/** How a machine with at least 4 MiB starts with it. */
export function guestPlan(mode: Mode, ...parameters: readonly number[]): BootPlan {
  return planMultiboot({ image: guest(mode, ...parameters), memoryBytes: 4 * 1024 * 1024 });
}

/** Reads the mailbox out of memory, or of its page. */
export function mailbox(memory: Uint8Array, base = MAILBOX): Mailbox {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  return Object.fromEntries(FIELDS.map((name, i) => [name, view.getUint32(base + 4 * i, true)])) as Mailbox;
}

/** Writes a field of the mailbox. */
export function post(memory: Uint8Array, field: keyof Mailbox, value: number): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  view.setUint32(MAILBOX + 4 * FIELDS.indexOf(field), value, true);
}
