/** Taking an emulator that a program made, for as long as it is saved or restored. */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import { configurationOfState } from '../../foreign/v86/configuration.ts';
import { releaseOfState } from '../../foreign/v86/release.ts';
import type { SaveState } from '../../foreign/v86/save-state.ts';
import type { MachineSource, MachineTarget } from '../machine.ts';
import { saveDevices } from './device-state.ts';
import { EmulatorMachine } from './emulator-machine.ts';
import type { V86Emulator } from './emulator.ts';
import { LocalMachine } from './local-machine.ts';
import { StagedTarget } from './staged-target.ts';

/** How much longer a device blob may be than that of the emulator as it is: transfer buffers of drives, firmware. */
const DEVICES_SLACK_BYTES = 160 * 1024 * 1024;

/** Emulators that are being saved or restored. */
const adopted = new WeakSet<object>();

export interface AdoptedSource {
  readonly machine: MachineSource;
  readonly running: boolean;
  /** What its state says of how it was configured. */
  readonly configuration: JsonObject;
  /** Gives the emulator back, as it is. */
  readonly release: () => void;
}

export interface AdoptedTarget {
  readonly machine: MachineTarget;
  readonly mostDeviceBytes: number;
  readonly release: () => void;
}

/**
 * @param version the exact version of v86; when absent it is told by the emulator's state.
 * @throws MACHINE_STATE for what is no loaded emulator, DRIVER_VERSION, GUEST_BUSY while it is adopted
 */
export function adoptSource(emulator: object, version?: string): AdoptedSource {
  const { loaded, state } = checked(emulator);
  const machine = LocalMachine.adopt(loaded, version ?? releaseOfState(state.tree.length), true);
  adopted.add(loaded);
  const release = (): void => {
    machine.release();
    adopted.delete(loaded);
  };
  return { machine, running: loaded.v86.running, configuration: configurationOfState(state), release };
}

/** As {@link adoptSource}, for what is restored into. */
export function adoptTarget(emulator: object, version?: string): AdoptedTarget {
  const { loaded, state } = checked(emulator);
  const facts = { version: version ?? releaseOfState(state.tree.length), tmem: false, disks: [] };
  const machine = new StagedTarget(new EmulatorMachine(loaded, facts));
  adopted.add(loaded);
  const release = (): void => {
    adopted.delete(loaded);
  };
  return { machine, mostDeviceBytes: state.totalBytes + DEVICES_SLACK_BYTES, release };
}

/** The emulator, and its devices as they are between two slices. */
function checked(emulator: object): { loaded: V86Emulator; state: SaveState } {
  const { v86 } = emulator as { v86?: Partial<V86Emulator['v86']> };
  if (typeof v86?.save_state !== 'function' || v86.cpu?.devices?.rtc === undefined) {
    throw new TransmigrateError('MACHINE_STATE', 'This is no emulator of v86 that is loaded', {
      next: "Wait for its event 'emulator-loaded' first.",
    });
  }
  if (adopted.has(emulator)) {
    throw new TransmigrateError('GUEST_BUSY', 'This emulator is being saved or restored already');
  }
  const loaded = emulator as V86Emulator;
  return { loaded, state: saveDevices(loaded).state };
}
