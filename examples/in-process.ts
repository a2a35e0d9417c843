/** Saves a v86 emulator of this program's own into a file, and restores it into another. */
import { createReadStream, createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';
import { restore, save } from '../src/index.ts';

const options = { wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))), memory_size: 1 << 24 };
const [source, target] = [new V86(options), new V86(options)];
const loaded = (each: V86) => new Promise<void>((done) => each.add_listener('emulator-loaded', done));
await Promise.all([loaded(source), loaded(target)]);
const file = process.argv[2] ?? 'emulator.tmig';
const { bytes, pauseMs } = await save(source, createWriteStream(file, { mode: 0o600 }));
const { pages } = await restore(createReadStream(file), target);
console.log(`${bytes} bytes, paused for ${pauseMs.toFixed(1)} ms; ${pages} pages restored`);
process.exit(0); // Emulators keep a program alive.
