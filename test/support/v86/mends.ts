/**
 * What a restore of v86 0.5.462 must mend, as little as makes the guests of guests/defects pass. The driver has mends
 * of its own; these show that each is needed and enough, one at a time.
 */

import type { Emulator } from './emulator.ts';

/** v86's time stamp counter counts this much in a millisecond of its clock. */
const TSC_PER_MS = 1_000_000;

/** What is known beside the state of v86: a driver keeps it in the image. */
export interface SavedClock {
  /** v86's own clock, `performance.now()` where its module was loaded, when the state was made. */
  readonly microtickMs: number;
  /** The host's time when the state was made. */
  readonly hostMs: number;
}

/** A mend: what is done before v86 takes the state, and, once it has, what it returned. */
export type Mend = (emulator: Emulator, clock: SavedClock, microtick: () => number) => () => void;

/**
 * `CPU.set_state` puts the numbers of the state, `state[86]` to `state[88]`, where its views into wasm memory were, so
 * they arrive nowhere, and nothing that is done later arrives either. The views are kept, and the values written
 * through them.
 */
export const mendViews: Mend = ({ v86: { cpu } }) => {
  const { last_result: result, fpu_status_word: status, mxcsr } = cpu;
  return () => {
    const put = <T extends Int32Array | Uint16Array>(view: T, now: T): T => {
      if (now !== view) view[0] = now[0];
      return view;
    };
    cpu.last_result = put(result, cpu.last_result);
    cpu.fpu_status_word = put(status, cpu.fpu_status_word);
    cpu.mxcsr = put(mxcsr, cpu.mxcsr);
    cpu.update_state_flags();
  };
};

/**
 * `PCI.set_state` asks every base address register of a device for its `original_bar`, and the IDE controller has holes
 * in their list where no disk is. The holes are filled with registers of size 0.
 */
export const mendPci: Mend = ({ v86: { cpu } }) => {
  for (const device of cpu.devices.pci.devices) {
    for (let i = 0; i < (device?.pci_bars.length ?? 0); i++) {
      device!.pci_bars[i] ??= { size: 0, original_bar: 0, entries: [] };
    }
  }
  return () => {};
};

/**
 * The time stamp counter goes on from where it was, so a guest that keeps its time by it is late by as long as it was
 * stored: it is set on by that. The power management timer of ACPI is not in the state at all, and goes on from the
 * age of the new process, which may be back: it is computed from the old clock. (The RTC is the host's time by itself.)
 */
export const mendClock: Mend = ({ v86: { cpu } }, clock, microtick) => {
  return () => {
    const storedMs = Math.max(0, Date.now() - clock.hostMs);
    // `set_tsc(n)` takes n from what the counter shows, and not from the clock below it, so that it comes out wrong by
    // the offset that was there before: the clock less what is shown.
    cpu.store_current_tsc();
    const shown = BigInt(cpu.current_tsc[0]) + (BigInt(cpu.current_tsc[1]) << 32n);
    const offset = BigInt(Math.round(microtick() * TSC_PER_MS)) - shown;
    const tsc = BigInt.asUintN(64, shown + BigInt(storedMs * TSC_PER_MS) - offset);
    cpu.set_tsc(Number(tsc & 0xffffffffn), Number(tsc >> 32n));
    const { acpi } = cpu.devices;
    if (acpi === undefined) return;
    const aheadMs = clock.microtickMs + storedMs - microtick();
    const getTimer = acpi.get_timer.bind(acpi);
    acpi.timer_last_value = 0;
    acpi.timer_imprecision_offset = 0;
    acpi.get_timer = (now) => getTimer(now + aheadMs);
    acpi.last_timer = acpi.get_timer(microtick());
  };
};

export const MENDS = { views: mendViews, pci: mendPci, clock: mendClock } as const;
export type MendName = keyof typeof MENDS;
