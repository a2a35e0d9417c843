import type { SourceStates } from '../../migrate/runner/source-plane.ts';
import { LiveDevices } from '../../migrate/section/live-devices.ts';
import { LiveMemory } from '../../migrate/section/live-memory.ts';
import { deviceBytesOf, type Driver } from '../driver.ts';
import type { Guest } from '../guest.ts';
import type { HostTmem } from '../host-tmem.ts';

/**
 * All of a guest's state, as it travels in rounds while the guest runs.
 * @param codecs that who gets it knows, asked when the rounds begin; absent: all.
 */
export function liveStates(
  { machine, tmemClient, own }: Guest,
  { tmem, driver }: { readonly tmem: HostTmem; readonly driver: Driver },
  codecs?: () => readonly string[],
): SourceStates {
  // A guest that has not used its tmem yet is made known.
  tmem.client(tmemClient);
  return {
    memory: new LiveMemory(machine, () => performance.now()),
    tmem: tmemClient === null ? null : tmem.live(tmemClient, codecs),
    own: own.live(),
    devices: new LiveDevices(machine, deviceBytesOf(driver, machine)),
  };
}
