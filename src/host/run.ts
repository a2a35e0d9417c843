import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { Host } from './host.ts';
import { HostTmem } from './host-tmem.ts';
import { serve } from './server.ts';
import { V86Driver } from './v86-driver.ts';

export interface HostSettings {
  readonly socketPath: string;
  /** Memory for the tmem of all guests; 0: off. */
  readonly tmemBytes: number;
  /** Of the package, for images. */
  readonly version: string;
}

/**
 * Runs a host until `signal`; then its guests end, and the socket goes.
 * @param listening called when it can be reached.
 * @throws HOST_RUNNING, WRITE_FAILED
 */
export async function runHost(
  { socketPath, tmemBytes, version }: HostSettings,
  signal: AbortSignal,
  listening: () => Promise<void>,
): Promise<void> {
  const seed = randomBytes(4).readUInt32LE();
  const host = new Host({ version, driver: new V86Driver(), tmem: new HostTmem(tmemBytes, seed) });
  const server = await serve(host, socketPath);
  try {
    await listening();
    if (!signal.aborted) {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
  } finally {
    // Who is told to end first ends the consoles that clients follow.
    await host.close();
    server.closeAllConnections();
    server.close();
    await unlink(socketPath).catch(() => undefined);
  }
}
