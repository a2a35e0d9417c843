/**
 * Assembles guest.asm with nasm into guest.bin, and writes the same bytes as a TypeScript file for the package.
 * `--check` writes nothing, and exits with 1 where the committed files differ.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const SOURCE = new URL('./guest.asm', import.meta.url);
export const BINARY = new URL('./guest.bin', import.meta.url);
export const TYPESCRIPT = new URL('../../src/machine/v86/boot/small-guest-bytes.ts', import.meta.url);

/** The bytes that nasm makes of an assembly file. Throws where there is no nasm, or it finds a mistake. */
export function assemble(source: URL): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'small-guest-'));
  try {
    const out = join(folder, 'guest.bin');
    const include = fileURLToPath(new URL('.', source));
    execFileSync('nasm', ['-f', 'bin', '-Werror', '-i', include, fileURLToPath(source), '-o', out], { stdio: 'pipe' });
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether nasm can be called. */
export function hasNasm(): boolean {
  try {
    execFileSync('nasm', ['-v'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The TypeScript file that holds these bytes. */
export function typescriptOf(bytes: Uint8Array): string {
  const lines = (
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,112}/g) ?? []
  ).map((line) => `  '${line}',`);
  return [
    '/** guests/small/guest.bin in base64, so that the package carries it. Made by guests/small/build.ts. */',
    'export const SMALL_GUEST_BASE64: string = [',
    ...lines,
    "].join('');",
    '',
  ].join('\n');
}

if (import.meta.main) {
  const bytes = assemble(SOURCE);
  if (process.argv.includes('--check')) {
    const same =
      readFileSync(BINARY).equals(bytes) && readFileSync(TYPESCRIPT, 'utf8') === typescriptOf(readFileSync(BINARY));
    console.log(
      same ? 'guests/small: the bytes are those of the source' : 'guests/small: the bytes differ: build again',
    );
    process.exitCode = same ? 0 : 1;
  } else {
    writeFileSync(BINARY, bytes);
    writeFileSync(TYPESCRIPT, typescriptOf(bytes));
    console.log(`guests/small: ${bytes.length} bytes`);
  }
}
