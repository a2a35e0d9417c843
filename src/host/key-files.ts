import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { TransmigrateError } from '../errors.ts';
import { makeKeys } from '../io/certificate.ts';

/** Where a pair goes, and what it says. */
export interface KeyFiles {
  readonly certificate: string;
  readonly key: string;
  /** Names and addresses of the host; this machine's when there are none. */
  readonly names: readonly string[];
  readonly days: number;
}

/** What was made. */
export interface MadeKeys {
  readonly certificate: string;
  readonly key: string;
  readonly names: readonly string[];
  /** SHA-256 of the public key: who the host is for its peers. */
  readonly identity: string;
}

/**
 * Makes a key pair with a certificate that it signs itself, in files that are not there yet.
 * @throws USAGE for names or days that a certificate can't have; WRITE_FAILED: then there is neither file
 */
export async function makeKeyFiles({ certificate, key, names: given, days }: KeyFiles): Promise<MadeKeys> {
  const names = given.length > 0 ? given : [hostname(), 'localhost', '127.0.0.1', '::1'];
  const pair = makeKeys({ names, from: new Date(), days, serial: new Uint8Array(randomBytes(16)) });
  await write(key, pair.key, 0o600);
  try {
    await write(certificate, pair.certificate, 0o644);
  } catch (error) {
    await rm(key, { force: true });
    throw error;
  }
  return { certificate, key, names, identity: pair.identity };
}

async function write(file: string, text: string, mode: number): Promise<void> {
  try {
    // A key that is there is not replaced: others may trust it.
    await writeFile(file, text, { mode, flag: 'wx' });
  } catch (cause) {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new TransmigrateError('WRITE_FAILED', exists ? `${file} is there already` : `Can't write ${file}`, {
      cause,
      data: { file },
    });
  }
}
