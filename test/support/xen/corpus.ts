/** Real images of Xen: small ones are fixtures, larger ones lie beside the checkout where somebody put them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';

const root = join(import.meta.dirname, '../../..');
const fixtures = join(root, 'test/fixtures/xen');

/** What `expected.json` says of an image. */
export interface Expected {
  readonly folder: string;
  readonly sha256: string;
  readonly size: number;
  readonly hex?: string;
  readonly memory?: { readonly final_pages: number; readonly final_memory_sha256: string };
  readonly xl?: { readonly mandatory: number; readonly optional: number; readonly optlen: number };
  readonly libxl?: readonly (readonly [type: string, length: number, offset: number])[];
  readonly libxc?: {
    readonly offset: number;
    readonly version: number;
    readonly domainType: number;
    readonly xen: string;
    readonly records: readonly (readonly [type: string, count: number, bytes: number, offset: number])[];
    readonly pageEntries: number;
    readonly pageTypes: Readonly<Record<string, number>>;
    readonly tsc: readonly number[];
    readonly pvInfo?: readonly number[];
    readonly p2mFrames?: readonly number[];
    readonly hvmContext?: readonly (readonly number[])[];
    readonly hvmParams?: readonly (readonly number[])[];
  };
  readonly trailing?: string;
  readonly checkpoints?: readonly { readonly end: number; readonly records: string[]; readonly memory: string }[];
  readonly cutIn?: number;
}

export const EXPECTED = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8')) as Readonly<
  Record<string, Expected>
>;

function pathOf(name: string): string | undefined {
  const { folder } = EXPECTED[name];
  const places = [join(fixtures, `${name}.zst`), join(root, '../shared/corpus', folder, `${name}.zst`)];
  return places.find((path) => existsSync(path));
}

/** Why tests of this image are skipped, or false. */
export function missing(name: string): string | false {
  return pathOf(name) === undefined && `${name} is not on this machine`;
}

/** The bytes of an image. */
export function imageBytes(name: string): Uint8Array {
  const path = pathOf(name);
  if (path === undefined) throw new Error(`${name} is not on this machine`);
  return new Uint8Array(zstdDecompressSync(readFileSync(path)));
}
