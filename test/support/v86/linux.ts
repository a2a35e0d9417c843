/** The Linux guest in an emulator of a test, and its shell. */

import type { LinuxGuest } from '../../../guests/linux/build.ts';
import { LINUX_READY, linuxCommandLine } from '../../../guests/linux/guest.ts';
import type { DiskBuffer } from './disk-buffer.ts';
import { enterPlan } from '../../../src/machine/v86/boot/enter.ts';
import { planLinux } from '../../../src/machine/v86/boot/linux.ts';
import { makeEmulator, serialOf, type Emulator, type Serial, type V86Version } from './emulator.ts';

/** For a guest that hangs; an emulator on a busy machine may take a minute to start Linux. */
const BOOT_LIMIT_MS = 300_000;
const COMMAND_LIMIT_MS = 180_000;

export interface LinuxShell {
  readonly emulator: Emulator;
  readonly serial: Serial;
  /** Runs a command, and gives the lines that it wrote. Rejects where it ends with another status than 0. */
  run(command: string): Promise<string[]>;
}

export interface LinuxOptions {
  readonly guest: LinuxGuest;
  readonly kernel?: Uint8Array;
  readonly version?: V86Version;
  readonly memoryBytes?: number;
  readonly disk?: DiskBuffer;
}

/** Starts it, and resolves when its shell is there. */
export async function startLinux({
  guest,
  kernel = guest.vmlinux,
  version = 'v86',
  memoryBytes = 64 * 1024 * 1024,
  disk,
}: LinuxOptions): Promise<LinuxShell> {
  const emulator = await makeEmulator({ version, memoryBytes, options: disk === undefined ? {} : { hda: disk } });
  const commandLine = linuxCommandLine({ disk: disk !== undefined });
  enterPlan(emulator.v86.cpu, planLinux({ kernel, initrd: guest.initrd, commandLine, memoryBytes }));
  const shell = linuxShell(emulator);
  await emulator.run();
  await shell.serial.line((line) => line.startsWith(LINUX_READY), 0, BOOT_LIMIT_MS);
  return shell;
}

/** The shell of a Linux guest that an emulator holds, or will hold once its state is restored. */
export function linuxShell(emulator: Emulator): LinuxShell {
  const serial = serialOf(emulator);
  let commands = 0;
  return {
    emulator,
    serial,
    run: async (command) => {
      const mark = `done-${++commands}-`;
      const from = serial.lines.length;
      // The quotes keep an echo of the command from looking like its end.
      emulator.serial0_send(`${command}\necho; echo "done"-${commands}-$?\n`);
      const end = await serial.line((line) => line.startsWith(mark), from, COMMAND_LIMIT_MS);
      const lines = serial.lines.slice(from, serial.lines.indexOf(end, from));
      if (end !== `${mark}0`) throw new Error(`${command} ended with ${end.slice(mark.length)}:\n${lines.join('\n')}`);
      return lines.filter((line) => line !== '');
    },
  };
}
