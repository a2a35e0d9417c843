/** Assembles the guests of this folder with nasm; `--check` writes nothing, and exits with 1 where they differ. */

import { readFileSync, writeFileSync } from 'node:fs';
import { assemble } from '../small/build.ts';

export const DEFECT_GUESTS = ['processor', 'pci', 'clock'] as const;
export type DefectGuest = (typeof DEFECT_GUESTS)[number];

export const defectSource = (guest: DefectGuest): URL => new URL(`${guest}.asm`, import.meta.url);
export const defectBinary = (guest: DefectGuest): URL => new URL(`${guest}.bin`, import.meta.url);

if (import.meta.main) {
  for (const guest of DEFECT_GUESTS) {
    const bytes = assemble(defectSource(guest));
    if (!process.argv.includes('--check')) {
      writeFileSync(defectBinary(guest), bytes);
      console.log(`guests/defects: ${guest}, ${bytes.length} bytes`);
    } else if (!readFileSync(defectBinary(guest)).equals(bytes)) {
      console.log(`guests/defects: ${guest} differs: build again`);
      process.exitCode = 1;
    }
  }
}
