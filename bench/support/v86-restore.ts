/**
 * What a program does that restores a state with v86 alone: reads the file, makes an emulator, has it take the state,
 * and lets it run. Started by bench/machine.ts in a process of its own; writes how long each step took.
 */
import { readFileSync } from 'node:fs';
import { fillPciBars } from '../../src/machine/v86/mends/pci-bars.ts';
import { loadV86, v86Version } from '../../src/machine/v86/versions.ts';

const [path, version, memoryBytes] = process.argv.slice(2);
const start = performance.now();
const bytes = readFileSync(path);
const readMs = performance.now() - start;
const { V86, wasmPath } = await loadV86(v86Version(version));
const emulator = new V86({
  wasm_path: wasmPath,
  memory_size: Number(memoryBytes),
  vga_memory_size: 2 ** 20,
  net_device: { type: 'none' },
  acpi: false,
  autostart: false,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  fastboot: true,
  log_level: 0,
});
await new Promise<void>((resolve) => emulator.add_listener('emulator-loaded', () => resolve()));
const madeMs = performance.now() - start - readMs;
// Without it v86 fails on its own state when there is no disk.
fillPciBars(emulator.v86.cpu);
emulator.v86.restore_state(Uint8Array.from(bytes).buffer);
await emulator.run();
const restoreMs = performance.now() - start - readMs - madeMs;
process.stdout.write(JSON.stringify({ readMs, madeMs, restoreMs }), () => process.exit(0));
