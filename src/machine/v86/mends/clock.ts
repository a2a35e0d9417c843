/**
 * The defect: a state holds points in time of the process that saved it. The clock chip shows the time of the save
 * until its timer runs, and then the time of this process; the interval timer counts from a start in another process's
 * past or future. The time-stamp counter alone goes on from where it was.
 *
 * After a move the clock chip shows the time that is handed in, and counters go on without a jump back (M6).
 */
import type { StateExtension } from '../../../foreign/v86/extension.ts';
import type { V86Cpu } from '../emulator.ts';

/** The clocks of this process, which v86 uses too. */
export interface HostClocks {
  /** Milliseconds from an arbitrary start; what v86 calls microtick. */
  readonly microtickMs: number;
  readonly wallClockMs: number;
}

/** To be called after v86 restored. @param wallClockMs what the guest's clock chip shall show. */
export function mendClocks(
  { devices: { rtc, pit } }: V86Cpu,
  saved: StateExtension | null,
  now: HostClocks,
  wallClockMs: number,
): void {
  // Interrupts of the chip come at points of the host's clock; those that lie ahead stay as far ahead.
  const shift = now.wallClockMs - (saved?.wallClockMs ?? rtc.last_update);
  if (rtc.next_interrupt !== 0) rtc.next_interrupt += shift;
  if (rtc.update_interrupt_time !== 0) rtc.update_interrupt_time += shift;
  // An alarm is for a time of day.
  if (rtc.next_interrupt_alarm !== 0) rtc.next_interrupt_alarm += now.wallClockMs - wallClockMs;
  setWallClock(rtc, now, wallClockMs);

  for (let i = 0; i < pit.counter_start_time.length; i++) {
    // Of a state that v86 made alone it is not known how far into its period a counter was: it starts a new one.
    const start = saved === null ? now.microtickMs : pit.counter_start_time[i] + now.microtickMs - saved.microtickMs;
    pit.counter_start_time[i] = start;
  }
}

/** Sets what the clock chip shows. */
export function setWallClock(rtc: V86Cpu['devices']['rtc'], now: HostClocks, wallClockMs: number): void {
  rtc.rtc_time = wallClockMs;
  rtc.last_update = now.wallClockMs;
}
