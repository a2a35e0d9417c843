/** Saving and restoring an emulator's devices without its memory, and with what v86 forgets. */
import { TransmigrateError } from '../../errors.ts';
import { extensionOf, withExtension, type StateExtension } from '../../foreign/v86/extension.ts';
import { layoutState, parseSaveState, type SaveState } from '../../foreign/v86/save-state.ts';
import { checkShape, type Shape } from '../../foreign/v86/shape.ts';
import type { V86Cpu, V86Emulator } from './emulator.ts';
import { mendClocks, type HostClocks } from './mends/clock.ts';
import { keepFlagViews } from './mends/lazy-flags.ts';
import { fillPciBars } from './mends/pci-bars.ts';
import { mendSerialInput, serialInputOf } from './mends/serial-input.ts';

const NO_MEMORY = {
  packed_memory: new Uint8Array(0),
  bitmap: { get_buffer: (): ArrayBuffer => new ArrayBuffer(0) },
};

/** The clocks that v86 reads too. */
export function hostClocks(): HostClocks {
  return { microtickMs: performance.now(), wallClockMs: Date.now() };
}

/** Device state as it was saved: the two pieces, one after the other, are the blob. The receiver owns them. */
export interface SavedDevices {
  readonly pieces: readonly [head: Uint8Array, buffers: Uint8Array];
  /** The same, read. */
  readonly state: SaveState;
}

/** The state of everything but memory, in v86's layout. The emulator must not run. */
export function saveDevices({ v86 }: V86Emulator): SavedDevices {
  const { cpu } = v86;
  // A property of the object hides the method of its class until it is taken away again.
  cpu.pack_memory = () => NO_MEMORY;
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(v86.save_state());
  } finally {
    delete cpu.pack_memory;
  }
  const state = parseSaveState(bytes);
  const info = withExtension(state.info, extensionFor(cpu));
  const { head } = layoutState(
    info,
    state.buffers.map(({ length }) => length),
  );
  // The buffers stay where v86 wrote them: the guest stands still for every copy of them.
  const buffers = bytes.subarray(state.buffers[0]?.offset ?? bytes.byteLength);
  return { pieces: [head, buffers], state: { ...state, info } };
}

/** Whether an array is all of its buffer. */
function fills(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
}

function extensionFor(cpu: V86Cpu): StateExtension {
  return {
    ...hostClocks(),
    lastResult: cpu.last_result[0],
    fpuStatusWord: cpu.fpu_status_word[0],
    mxcsr: cpu.mxcsr[0],
    serialInput: serialInputOf(cpu),
  };
}

/**
 * Puts device state in place; memory stays as it is. v86 sees the state only when its shape is that of this emulator
 * (M5).
 *
 * @param wallClockMs what the guest's clock chip shall show.
 * @throws DEVICE_SHAPE and what the reader of states throws: then nothing was changed. DRIVER_FAILED: then the
 * emulator is of no use.
 */
export function restoreDevices(emulator: V86Emulator, bytes: Uint8Array, shape: Shape, wallClockMs: number): void {
  const state = parseSaveState(bytes);
  checkShape(shape, state);
  const extension = extensionOf(state.info);
  const { v86 } = emulator;
  const { cpu } = v86;
  try {
    fillPciBars(cpu);
    const mendFlags = keepFlagViews(cpu);
    cpu.unpack_memory = () => {};
    try {
      // v86 reads all of the buffer that it is given.
      v86.restore_state(fills(bytes) ? bytes.buffer : new Uint8Array(bytes).buffer);
    } finally {
      delete cpu.unpack_memory;
    }
    mendFlags(extension);
    mendSerialInput(cpu, extension);
    mendClocks(cpu, extension, hostClocks(), wallClockMs);
  } catch (cause) {
    throw new TransmigrateError(
      'DRIVER_FAILED',
      'v86 could not take the device state, although it has the right shape',
      {
        cause,
      },
    );
  }
}
