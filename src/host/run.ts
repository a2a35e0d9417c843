import { randomBytes } from 'node:crypto';
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

/** How long answers may take to get through when the host ends. */
const ANSWERS_MS = 500;

/**
 * Runs a host until `signal`; then its guests end, and the socket goes.
 * @param listening called when it can be reached.
 * @throws HOST_RUNNING, WRITE_FAILED, USAGE
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
    // Closing removes the socket; what is there later may be another host's.
    const closed = new Promise((resolve) => server.close(resolve));
    // Answers that are on their way get a moment.
    const limit = setTimeout(() => server.closeAllConnections(), ANSWERS_MS);
    server.closeIdleConnections();
    await closed;
    clearTimeout(limit);
  }
}
