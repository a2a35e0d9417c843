/** Faults that are planted into a copy of the library, to see that the fuzzer finds them. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { loadLibrary, type Library } from './library.ts';

interface Plant {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Each takes away one thing that the library checks or does. */
export const PLANTS = {
  'unchecked-length': {
    file: 'bytes/byte-reader.ts',
    find: 'if (length > this.bytes.byteLength - at) {',
    replace: 'if (length < 0) {',
  },
  'skipped-checksum': {
    file: 'stream/decoder.ts',
    find: 'if (crc32(padded) !== header.bodyChecksum) throw bodyChecksumError(header);',
    replace: '',
  },
  'forgotten-piece': {
    file: 'stream/decoder.ts',
    find: 'const wanted = Math.min(length - this.#splitUsed, input.byteLength);',
    replace: `if (this.#splitUsed === 7) this.#splitUsed = 0;
    const wanted = Math.min(length - this.#splitUsed, input.byteLength);`,
  },
  'trusted-length': {
    file: 'stream/decoder.ts',
    find: 'if (used > this.#split.byteLength) {',
    replace: `if (length > this.#split.byteLength) {
        const trusted = new Uint8Array(length);
        trusted.set(this.#split);
        this.#split = trusted;
      }
      if (used > this.#split.byteLength) {`,
  },
  'trusted-count': {
    file: 'stream/records/ram.ts',
    find: "this.#limit('pages', this.pages, LIMITS.ramPages);",
    replace: `const trusted = Math.min(Math.max(this.extents, this.units, this.pages), 400_000);
    Array.from({ length: trusted }, (_, i) => ({ i }));
    this.#limit('pages', this.pages, LIMITS.ramPages);`,
  },
  'slow-length': {
    file: 'stream/decoder.ts',
    find: 'checkType(header);',
    replace: `checkType(header);
    for (let i = 0; i < header.length * 4; i++) view.getUint8(i & 7);`,
  },
  'endless-loop': {
    file: 'stream/records/ram.ts',
    find: "if (count === 0) throw this.#error('FIELD_VALUE', path, 'an extent without pages');",
    replace: `if (count === 0) {
        extent--;
        continue;
      }`,
  },
  'lost-order-rule': {
    file: 'stream/order.ts',
    find: 'if (this.#previous !== TYPE.seal && this.#previous !== TYPE.barrier)',
    replace: 'if (this.#previous < 0)',
  },
  'lost-duplicate': {
    file: 'stream/order.ts',
    find: 'if (this.#disks.has(record.disk)) throw',
    replace: 'if (record.disk < 0) throw',
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof PLANTS;

/** Loads the library with a fault in it. Its files are gone when this resolves. */
export async function planted(name: PlantName): Promise<Library> {
  const { file, find, replace } = PLANTS[name];
  const directory = mkdtempSync(join(tmpdir(), 'planted-'));
  // Parts of the library are loaded when they are called for, so that it stays until the end.
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  cpSync(fileURLToPath(new URL('../../src', import.meta.url)), join(directory, 'src'), { recursive: true });
  const path = join(directory, 'src', file);
  const source = readFileSync(path, 'utf8');
  if (source.split(find).length !== 2) {
    throw new Error(`the plant ${name} has no hold any more: ${file} was changed; choose another place for it`);
  }
  writeFileSync(
    path,
    source.replace(find, () => replace),
  );
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  return loadLibrary(pathToFileURL(join(directory, 'src/')));
}
