/** Guests of bench/machine.ts, in processes of their own, and saving and restoring them as a host does. */
import { randomBytes } from 'node:crypto';
import { buildLinux, LinuxUnavailable, type LinuxGuest } from '../../guests/linux/build.ts';
import { LINUX_READY, linuxCommandLine } from '../../guests/linux/guest.ts';
import type { ByteSink } from '../../src/bytes/endpoints.ts';
import { openFileSource } from '../../src/io/file.ts';
import { FileSink } from '../../src/io/file-sink.ts';
import type { MachineTarget } from '../../src/machine/machine.ts';
import { planLinux } from '../../src/machine/v86/boot/linux.ts';
import { createEmulator, type CreatedMachine } from '../../src/machine/v86/create.ts';
import { V86Process } from '../../src/machine/v86/process.ts';
import { restoreMachine } from '../../src/migrate/restore/restore.ts';
import { saveMachine, type Saved } from '../../src/migrate/save/save.ts';
import { guestPlan } from '../../test/support/guest/guest.ts';

export type Codec = 'raw' | 'zstd';

/** A Linux that works without a pause, or null where its packages are not to be had; then it says so. */
export async function bootLinux(memoryBytes: number): Promise<V86Process | null> {
  let linux: LinuxGuest;
  try {
    linux = buildLinux();
  } catch (error) {
    if (!(error instanceof LinuxUnavailable)) throw error;
    process.stderr.write(`Linux can't be built here, the small guest takes its place: ${error.message}\n`);
    return null;
  }
  const { vmlinux: kernel, initrd } = linux;
  const boot = planLinux({ kernel, initrd, commandLine: linuxCommandLine(), memoryBytes });
  const machine = await V86Process.create({ config: { memoryBytes }, boot });
  const ready = new Promise<void>((resolve) => {
    let text = '';
    machine.on('console', (bytes) => {
      text = (text + new TextDecoder('latin1').decode(bytes)).slice(-200);
      if (text.includes(LINUX_READY)) resolve();
    });
  });
  await machine.grant(1);
  await machine.resume();
  await ready;
  await machine.writeConsole(new TextEncoder().encode('while :; do md5sum /bin/busybox >/tmp/sum; done &\n'));
  return machine;
}

/** The guest of the tests, which writes a window of half of memory as fast as it can and counts its rounds. */
export async function bootWriter(memoryBytes: number): Promise<V86Process> {
  const boot = guestPlan('work', 64, memoryBytes / 2 / 4096, 1_000_000, 0);
  const machine = await V86Process.create({ config: { memoryBytes }, boot });
  await machine.grant(1);
  await machine.resume();
  return machine;
}

/** Saves a guest that runs, as a host does. @param seen is called before the first page is written, and at the end. */
export async function saveTo(
  machine: V86Process,
  path: string,
  codec: Codec,
  seen: () => Promise<void> = () => Promise.resolve(),
): Promise<Saved> {
  const file = await FileSink.create(path, randomBytes(6).toString('hex'));
  let begun = false;
  const sink: ByteSink = {
    write: async (bytes) => {
      if (!begun) {
        begun = true;
        await seen();
      }
      await file.write(bytes);
    },
  };
  const saved = await saveMachine(
    {
      machine,
      running: true,
      leavePaused: false,
      about: {},
      streamId: randomBytes(16),
      codec,
      threads: 1,
      pinTmem: () => null,
      guestTimeNs: () => BigInt(Date.now()) * 1_000_000n,
    },
    sink,
  );
  await seen();
  await file.commit();
  return saved;
}

/** Restores an image into a process of its own, as a host does. @returns the machine, running */
export async function restoreFrom(path: string, memoryBytes: number): Promise<V86Process> {
  const source = await openFileSource(path);
  try {
    const { machine } = await restoreMachine<V86Process>(source, {
      make: async ({ driverVersion: version }) => ({
        machine: await V86Process.create({ config: { memoryBytes, version } }),
        tmem: null,
        mostDeviceBytes: 2 ** 26,
      }),
      discard: ({ machine: made }) => made.close(),
      wallClockMs: () => Date.now(),
    });
    await machine.grant(1);
    await machine.resume();
    return machine;
  } finally {
    await source.close();
  }
}

/** The same guest in this process, standing still: for what everything is measured against. */
export async function restoreHere(path: string, memoryBytes: number): Promise<CreatedMachine['machine']> {
  const { machine } = await createEmulator({ config: { memoryBytes } });
  const target: MachineTarget = {
    capabilities: machine.capabilities,
    disks: machine.disks,
    loadPages: (batch) => Promise.resolve(machine.loadPages(batch)),
    loadDeviceState: (state, wallClockMs) => Promise.resolve(machine.loadDeviceState(state, wallClockMs)),
  };
  const source = await openFileSource(path);
  try {
    await restoreMachine<MachineTarget>(source, {
      make: () => Promise.resolve({ machine: target, tmem: null, mostDeviceBytes: 2 ** 26 }),
      discard: () => Promise.resolve(),
      wallClockMs: () => Date.now(),
    });
  } finally {
    await source.close();
  }
  return machine;
}
