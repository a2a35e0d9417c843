/** Real images: small ones in test/fixtures, the larger in a corpus beside the checkout, where there is one. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync, constants } from 'node:zlib';

const root = join(import.meta.dirname, '../..');
const UNPACK = { params: { [constants.ZSTD_d_windowLogMax]: 27 } };

/** A fixture `FORMAT/NAME.zst`, unpacked. */
export function fixture(name: string): Uint8Array {
  return unpacked(join(root, 'test/fixtures', `${name}.zst`));
}

/** Where a file of the corpus is, compressed; or why its test is skipped. */
export function corpusFile(name: string): { readonly path: string; readonly skip: string | false } {
  const path = join(root, '../shared/corpus', `${name}.zst`);
  return { path, skip: existsSync(path) ? false : `SKIPPED: no ../shared/corpus/${name}.zst beside the checkout` };
}

/** A file of the corpus, unpacked. */
export function corpus(name: string): Uint8Array {
  return unpacked(corpusFile(name).path);
}

/** As a plain array: the `slice` of a Buffer would be a view. */
function unpacked(path: string): Uint8Array {
  return new Uint8Array(zstdDecompressSync(readFileSync(path), UNPACK));
}
