/** The small guest, booted in an emulator of a test. */

import { enterPlan } from '../../../src/machine/v86/boot/enter.ts';
import { planMultiboot } from '../../../src/machine/v86/boot/multiboot.ts';
import {
  parseSmallGuestLine,
  SMALL_GUEST_COMMAND,
  smallGuestImage,
  type SmallGuestCheck,
  type SmallGuestLine,
  type SmallGuestParameters,
  type SmallGuestReport,
} from '../../../src/machine/v86/boot/small-guest.ts';
import { makeEmulator, serialOf, type Emulator, type EmulatorOptions, type Serial } from './emulator.ts';
import { offerTmem, type TmemHost } from './tmem-host.ts';

export const SMALL_GUEST_MEMORY_BYTES = 8 * 1024 * 1024;
/** Where its pages begin, and the table of what was written to each: guests/small/README.md. */
export const SMALL_GUEST_PAGES_AT = 0x400000;
export const SMALL_GUEST_TABLE_AT = 0x200000;

export interface SmallGuest {
  readonly emulator: Emulator;
  readonly serial: Serial;
  readonly tmem: TmemHost | undefined;
  /** Has it checked everything, and answers with its count. */
  check(): Promise<SmallGuestCheck>;
  /** A report that is made now. */
  report(): Promise<SmallGuestReport>;
  /** The first report for which this holds, from now on. */
  until(wanted: (report: SmallGuestReport) => boolean): Promise<SmallGuestReport>;
  send(command: string): void;
}

export interface SmallGuestOptions extends Partial<EmulatorOptions> {
  readonly parameters?: Partial<SmallGuestParameters>;
  /** Whether there is tmem; a function says when a request is done. */
  readonly tmem?: boolean | ((complete: () => void) => void);
}

/** Starts it. The caller stops the emulator. */
export async function startSmallGuest({
  parameters,
  tmem = false,
  memoryBytes = SMALL_GUEST_MEMORY_BYTES,
  ...options
}: SmallGuestOptions = {}): Promise<SmallGuest> {
  const emulator = await makeEmulator({ memoryBytes, ...options });
  const host = tmem === false ? undefined : offerTmem(emulator, tmem === true ? undefined : tmem);
  enterPlan(emulator.v86.cpu, planMultiboot({ image: smallGuestImage(parameters), memoryBytes }));
  const guest = smallGuestIn(emulator, host);
  await emulator.run();
  return guest;
}

/** Speaks with a small guest that an emulator holds, or will hold once its state is restored. */
export function smallGuestIn(emulator: Emulator, tmem?: TmemHost): SmallGuest {
  const serial = serialOf(emulator);
  const next = async <Kind extends SmallGuestLine['kind']>(
    kind: Kind,
    wanted: (line: SmallGuestLine & { kind: Kind }) => boolean,
  ): Promise<SmallGuestLine & { kind: Kind }> => {
    const parsed = (text: string): (SmallGuestLine & { kind: Kind }) | undefined => {
      const line = parseSmallGuestLine(text);
      return line?.kind === kind ? (line as SmallGuestLine & { kind: Kind }) : undefined;
    };
    const text = await serial.line((line) => {
      const found = parsed(line);
      return found !== undefined && wanted(found);
    }, serial.lines.length);
    return parsed(text)!;
  };
  const ask = async <T>(command: string, answer: Promise<T>): Promise<T> => {
    emulator.serial0_send(command);
    return answer;
  };
  return {
    emulator,
    serial,
    tmem,
    check: async () =>
      ask(
        SMALL_GUEST_COMMAND.check,
        next('check', () => true),
      ),
    report: async () =>
      ask(
        SMALL_GUEST_COMMAND.report,
        next('report', () => true),
      ),
    until: async (wanted) => next('report', wanted),
    send: (command) => {
      emulator.serial0_send(command);
    },
  };
}
