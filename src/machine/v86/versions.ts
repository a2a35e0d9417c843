/**
 * The versions of v86 that stand side by side (M4). Every release of v86 writes another state under the same version
 * number of its layout, so an image names the exact version that it was made with, and that one is loaded.
 */
import { readFile } from 'node:fs/promises';
import { TransmigrateError } from '../../errors.ts';
import type { V86Emulator } from './emulator.ts';

export interface V86Version {
  /** As npm has it; an image may name a build of it with `+` and a commit behind. */
  readonly version: string;
  /** The name under which package.json installs it. */
  readonly packageName: string;
  /** Day of the commit that it was built from. */
  readonly date: string;
  /** How many entries the list has that its processor saves: what tells an emulator's version (foreign/v86 2). */
  readonly stateEntries: number;
  /** What `save_state` of this version leaves out by itself. Our driver keeps it beside (foreign/v86 5). */
  readonly losses: readonly string[];
}

const BEFORE_DECEMBER_2025 = ['lazy arithmetic flags', 'x87 status word', 'MXCSR'];

/** Newest first. An entry is never taken out: images of it must go on to restore. */
export const V86_VERSIONS: readonly V86Version[] = [
  { version: '0.5.462', packageName: 'v86', date: '2026-09-21', stateEntries: 92, losses: [] },
  {
    version: '0.5.278',
    packageName: 'v86-0.5.278',
    date: '2025-11-26',
    stateEntries: 86,
    losses: BEFORE_DECEMBER_2025,
  },
  { version: '0.5.66', packageName: 'v86-0.5.66', date: '2025-06-04', stateEntries: 85, losses: BEFORE_DECEMBER_2025 },
];

/** The version that new machines get. */
export const V86_NEWEST = V86_VERSIONS[0].version;

/** The entry of a version, with or without the commit behind it. @throws DRIVER_VERSION */
export function v86Version(version: string): V86Version {
  const plain = version.split('+', 1)[0];
  const entry = V86_VERSIONS.find((known) => known.version === plain);
  if (entry !== undefined) return entry;
  const carried = V86_VERSIONS.map((known) => known.version);
  throw new TransmigrateError('DRIVER_VERSION', `This build carries no v86 ${version}, but ${carried.join(', ')}`, {
    data: { driver: 'v86', version, carried },
  });
}

/**
 * The version whose states have so many entries. Releases between those that are carried may have as many as one of
 * them: whoever uses one says which.
 * @throws DRIVER_VERSION
 */
export function versionOfState(entries: number): V86Version {
  const entry = V86_VERSIONS.find(({ stateEntries }) => stateEntries === entries);
  if (entry !== undefined) return entry;
  const carried = V86_VERSIONS.map((known) => known.version);
  const what = `A state with ${entries} entries is of no version of v86 that is known: ${carried.join(', ')}`;
  throw new TransmigrateError('DRIVER_VERSION', what, { data: { driver: 'v86', entries, carried } });
}

/** A loaded version of v86. */
export interface V86Module {
  readonly V86: new (options: object) => V86Emulator;
  readonly wasmPath: string;
  /** With the commit behind it. */
  readonly version: string;
}

/** Loads one of {@link V86_VERSIONS}. @throws DRIVER_VERSION when it is not installed, or another is in its place. */
export async function loadV86(entry: V86Version): Promise<V86Module> {
  try {
    const main = import.meta.resolve(entry.packageName);
    const manifest = JSON.parse(await readFile(new URL('../package.json', main), 'utf8')) as { version: string };
    if (manifest.version.split('+', 1)[0] !== entry.version) {
      throw new TransmigrateError(
        'DRIVER_VERSION',
        `v86 ${manifest.version} is installed in the place of ${entry.version}`,
        {
          data: { driver: 'v86', version: entry.version, installed: manifest.version },
        },
      );
    }
    const loaded = (await import(main)) as { V86: V86Module['V86'] };
    const { pathname } = new URL('v86.wasm', main);
    return { V86: loaded.V86, wasmPath: decodeURIComponent(pathname), version: manifest.version };
  } catch (cause) {
    if (cause instanceof TransmigrateError) throw cause;
    throw new TransmigrateError('DRIVER_VERSION', `v86 ${entry.version} is not installed`, {
      data: { driver: 'v86', version: entry.version },
      cause,
    });
  }
}
