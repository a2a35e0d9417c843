import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { checkTmemPolicy, type TmemPolicy } from '../tmem/policy.ts';
import { parse } from './api.ts';
import { Host } from './host.ts';
import { HostTmem } from './host-tmem.ts';
import { serve } from './server.ts';
import { V86Driver } from './v86-driver.ts';

export interface HostSettings {
  readonly socketPath: string;
  /** Memory for the tmem of all guests; 0: off. */
  readonly tmemBytes: number;
  /** What images may ask for (spec/host-api.md 6), yet to be checked; by default whatever they do. */
  readonly policy?: unknown;
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
  { socketPath, tmemBytes, policy, version }: HostSettings,
  signal: AbortSignal,
  listening: () => Promise<void>,
): Promise<void> {
  const seed = randomBytes(4).readUInt32LE();
  const tmem = new HostTmem(tmemBytes, seed, tmemPolicyOf(policy));
  const host = new Host({ version, driver: new V86Driver(), tmem });
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

/** @throws USAGE for what is no policy of a host. */
function tmemPolicyOf(policy: unknown): TmemPolicy {
  if (policy === undefined) return {};
  const fields = parse(z.strictObject({ tmem: z.unknown() }), policy);
  return fields.tmem === undefined ? {} : checkTmemPolicy(fields.tmem);
}
