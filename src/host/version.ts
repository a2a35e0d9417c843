import { readFileSync } from 'node:fs';

/** The version of this package. package.json stands two folders above, in a checkout and in the built package. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { version?: unknown };
  return typeof version === 'string' ? version : '?';
}
