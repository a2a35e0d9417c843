import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { z } from 'zod';
import { checkTmemPolicy, type TmemPolicy } from '../tmem/policy.ts';
import type { Address } from '../io/tcp.ts';
import type { OwnState } from '../migrate/section/own.ts';
import { parse } from './api.ts';
import { Host } from './host.ts';
import { HostTmem } from './host-tmem.ts';
import { HostJournal } from './migration/host-journal.ts';
import { serve } from './server.ts';
import { readTls, type TlsFiles } from './tls-files.ts';
import { V86Driver } from './v86-driver.ts';
import { packageVersion } from './version.ts';

/** What a host is to be. */
export interface HostSettings {
  /** Where it is asked for things (spec/host-api.md), by the command among others. */
  readonly socketPath: string;
  /** Memory for the tmem of all guests; 0: off. */
  readonly tmemBytes: number;
  /** What images may ask for (spec/host-api.md 6), yet to be checked; by default whatever they do. */
  readonly policy?: unknown;
  /** Where its journal is; beside the socket when absent. */
  readonly stateDirectory?: string | undefined;
  /** Where machines may come to; nowhere when absent. */
  readonly listen?: Address | undefined;
  /** How it is known to other hosts, and whom it believes; without it they are of this machine alone. */
  readonly tls?: TlsFiles | undefined;
  /** State of one's own that its guests have (M3). */
  readonly own?: readonly OwnState[] | undefined;
}

/** What the directory of a journal is called behind the socket's path. */
const STATE = '.state';

/** How long answers may take to get through when the host ends. */
const ANSWERS_MS = 500;

/**
 * Runs a host until `signal`; then its guests end, and the socket goes.
 * @param listening called when it can be reached, with where machines may come to, if anywhere.
 * @throws HOST_RUNNING, LISTEN_FAILED, NOT_LOOPBACK, WRITE_FAILED, USAGE; what is wrong with a state of one's own
 */
export async function runHost(
  { socketPath, tmemBytes, policy, stateDirectory, listen, tls: files, own }: HostSettings,
  signal: AbortSignal,
  listening: (migrations: Address | null) => Promise<void>,
): Promise<void> {
  const seed = randomBytes(4).readUInt32LE();
  const tmem = new HostTmem(tmemBytes, seed, tmemPolicyOf(policy));
  const tls = files === undefined ? undefined : await readTls(files);
  const journal = await HostJournal.open(stateDirectory ?? `${socketPath}${STATE}`);
  let host: Host;
  let server: Server;
  try {
    host = new Host({ version: packageVersion(), driver: new V86Driver(), tmem, own, journal, tls });
    server = await serve(host, socketPath);
  } catch (error) {
    await journal.close();
    throw error;
  }
  try {
    host.migrations.recover();
    await listening(listen === undefined ? null : await host.migrations.listen(listen));
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
    await journal.close();
  }
}

/** @throws USAGE for what is no policy of a host. */
function tmemPolicyOf(policy: unknown): TmemPolicy {
  if (policy === undefined) return {};
  const fields = parse(z.strictObject({ tmem: z.unknown() }), policy);
  return fields.tmem === undefined ? {} : checkTmemPolicy(fields.tmem);
}
