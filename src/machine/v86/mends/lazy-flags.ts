/**
 * The defect: `set_state` of v86 puts arrays of its own in the place of three registers (last_result, fpu_status_word,
 * mxcsr) instead of writing through the views, so the processor goes on with what a fresh instance has there: the next
 * conditional jump goes wrong when the flags are still to be computed, and x87 status and MXCSR are lost. Versions
 * before December 2025 do not even save them.
 */
import type { StateExtension } from '../../../foreign/v86/extension.ts';
import type { V86Cpu } from '../emulator.ts';

const REGISTERS = ['last_result', 'fpu_status_word', 'mxcsr'] as const;

/** To be called before v86 restores; what it returns, after. */
export function keepFlagViews(cpu: V86Cpu): (extension: StateExtension | null) => void {
  const views = REGISTERS.map((name) => cpu[name]);
  return (extension) => {
    const saved = [extension?.lastResult, extension?.fpuStatusWord, extension?.mxcsr];
    REGISTERS.forEach((name, i) => {
      const restored = cpu[name];
      cpu[name] = views[i];
      const value = restored === views[i] ? saved[i] : restored[0];
      if (value !== undefined) views[i][0] = value;
    });
    cpu.update_state_flags();
  };
}
