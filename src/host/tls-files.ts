import { readFile } from 'node:fs/promises';
import { readFailed } from '../io/read-failed.ts';
import type { TlsOptions } from '../io/tls.ts';

/** PEM files: what the host shows to others, and whom it believes. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: string;
}

/** @throws READ_FAILED. Whether they belong together shows when they are used. */
export async function readTls({ certificate, key, authorities }: TlsFiles): Promise<TlsOptions> {
  const [first, second, third] = await Promise.all([certificate, key, authorities].map(textOf));
  return { certificate: first, key: second, authorities: third };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw readFailed(file, cause);
  }
}
