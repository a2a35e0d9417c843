import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Where a host listens, and where commands look for it, when nobody says: TRANSMIGRATE_SOCKET, else in the user's
 * runtime directory, else in the home directory.
 */
export function defaultSocketPath(env: Readonly<Record<string, string | undefined>>): string {
  const named = env['TRANSMIGRATE_SOCKET'];
  if (named !== undefined && named !== '') return named;
  const runtime = env['XDG_RUNTIME_DIR'];
  return runtime === undefined || runtime === ''
    ? join(homedir(), '.transmigrate', 'host.sock')
    : join(runtime, 'transmigrate', 'host.sock');
}
