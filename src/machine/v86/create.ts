/** Making an emulator from a configuration. */
import { TransmigrateError } from '../../errors.ts';
import type { TmemService } from '../machine.ts';
import { enterPlan, type BootCpu } from './boot/enter.ts';
import type { BootPlan } from './boot/plan.ts';
import { DISK_NAMES, checkConfig, type CheckedConfig, type V86Config } from './config.ts';
import { openDisks } from './disks/open.ts';
import type { Disk } from './disks/disk.ts';
import { EmulatorMachine } from './emulator-machine.ts';
import type { V86Emulator } from './emulator.ts';
import { attachTmemPort } from './tmem-port.ts';
import { loadV86, v86Version } from './versions.ts';

/** How long v86 may take to load. */
const LOAD_LIMIT_MS = 60_000;

export interface CreateOptions {
  readonly config: V86Config;
  /** What the guest starts with; none for a machine that an image is restored into. */
  readonly boot?: BootPlan;
  /** The guest's tmem; without it the guest has none. */
  readonly tmem?: TmemService;
}

/** A machine in this process, which does not run yet. */
export interface CreatedMachine {
  readonly machine: EmulatorMachine;
  readonly disks: readonly Disk[];
}

/** @throws MACHINE_CONFIG, DRIVER_VERSION, DRIVER_FAILED, DISK_MISMATCH, READ_FAILED */
export async function createEmulator({ config, boot, tmem }: CreateOptions): Promise<CreatedMachine> {
  const checked = checkConfig(config);
  const module = await loadV86(v86Version(checked.version));
  const opened = await openDisks(checked.disks, tmem ?? null);
  const disks = DISK_NAMES.flatMap((name) => opened[name] ?? []);
  try {
    const emulator = await started(new module.V86({ ...optionsFor(checked), ...opened, wasm_path: module.wasmPath }));
    const { cpu } = emulator.v86;
    if (cpu.memory_size[0] !== checked.memoryBytes) {
      throw new TransmigrateError('DRIVER_FAILED', `v86 made ${cpu.memory_size[0]} bytes of memory`, {
        data: { expected: checked.memoryBytes },
      });
    }
    for (const disk of disks) disk.attach(cpu);
    if (tmem !== undefined) attachTmemPort(cpu, tmem);
    if (boot !== undefined) enterPlan(cpu as unknown as BootCpu, boot);
    const facts = { version: module.version, tmem: tmem !== undefined, disks: disks.map((disk) => disk.describe()) };
    return { machine: new EmulatorMachine(emulator, facts), disks };
  } catch (error) {
    for (const disk of disks) disk.close();
    throw error;
  }
}

/** Options of `new V86`. What a machine in a process of its own has no use for is off. */
function optionsFor(config: CheckedConfig): object {
  return {
    memory_size: config.memoryBytes,
    vga_memory_size: config.videoMemoryBytes,
    net_device: { type: config.network },
    uart1: config.serialPorts > 1,
    uart2: config.serialPorts > 2,
    uart3: config.serialPorts > 3,
    acpi: false,
    autostart: false,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    fastboot: true,
    log_level: 0,
  };
}

function started(emulator: V86Emulator): Promise<V86Emulator> {
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => {
      reject(new TransmigrateError('DRIVER_FAILED', `v86 has not loaded in ${LOAD_LIMIT_MS} ms`));
    }, LOAD_LIMIT_MS);
    emulator.add_listener('emulator-loaded', () => {
      clearTimeout(limit);
      resolve(emulator);
    });
  });
}
