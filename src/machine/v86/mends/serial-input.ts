/**
 * The defect: what was sent to a serial port and not yet read by the guest is in no state of v86, although the port's
 * registers say that it is there. The guest then reads zeros in the place of what was typed.
 */
import { SERIAL_INPUT_MOST, type StateExtension } from '../../../foreign/v86/extension.ts';
import type { V86Cpu, V86Uart } from '../emulator.ts';

export function serialPorts({ devices }: V86Cpu): (V86Uart | undefined)[] {
  return [devices.uart0, devices.uart1, devices.uart2, devices.uart3];
}

/** What waits in each serial port. */
export function serialInputOf(cpu: V86Cpu): Uint8Array[] {
  return serialPorts(cpu).map((uart) => Uint8Array.from(uart?.input.slice(0, SERIAL_INPUT_MOST) ?? []));
}

/** Puts it back, in the place of what waits here. */
export function mendSerialInput(cpu: V86Cpu, saved: StateExtension | null): void {
  serialPorts(cpu).forEach((uart, port) => {
    if (uart === undefined) return;
    uart.input.length = 0;
    for (const byte of saved?.serialInput[port] ?? []) uart.input.push(byte);
  });
}
