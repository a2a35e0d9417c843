/**
 * The defect: `PCI.set_state` takes every base address register that a device's configuration space shows as one that
 * the device has. The disk controller shows four and has two of them when there is no first disk, and the restore ends
 * in an exception with half of the devices set.
 */
import type { V86Cpu } from '../emulator.ts';

/** Fills the holes with registers of no size, which v86 then moves from nowhere to nowhere. */
export function fillPciBars({ devices }: V86Cpu): void {
  for (const device of devices.pci.devices) {
    if (device === undefined) continue;
    for (let i = 0; i < device.pci_bars.length; i++) {
      device.pci_bars[i] ??= { size: 0, original_bar: 0, entries: [] };
    }
  }
}
