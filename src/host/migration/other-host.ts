/** Where a machine goes to: an address, or a command that speaks for the other host (protocol 2.5). */
import { spawn } from 'node:child_process';
import { TransmigrateError } from '../../errors.ts';
import type { Connection } from '../../io/connection.ts';
import { pipeConnection } from '../../io/stdio.ts';
import { connectTcp, nameOf, type Address } from '../../io/tcp.ts';
import { connectTls, type TlsOptions } from '../../io/tls.ts';
import type { PeerHow } from '../../migrate/journal/records.ts';

/** Such as `ssh HOST transmigrate receive --stdio`: its standard input and output are the connection. */
export interface Command {
  readonly command: readonly string[];
}

export type OtherHost = Address | Command;

/** How long a connection may take to be made, and the beginning of TLS on one that comes. */
export const CONNECT_MS = 10_000;

/** @throws USAGE for neither or both */
export function otherHost(choice: {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly command?: readonly string[] | undefined;
}): OtherHost {
  const { host, port, command } = choice;
  if (command !== undefined && host === undefined && port === undefined) return { command };
  if (command === undefined && host !== undefined && port !== undefined) return { host, port };
  throw new TransmigrateError('USAGE', 'Where to is a host and a port, or a command: one of them');
}

export function otherName(other: OtherHost): string {
  return 'command' in other ? other.command.join(' ') : nameOf(other);
}

/** How it is asked again (protocol 8.2). */
export function howOf(other: OtherHost, tls: boolean): PeerHow {
  if ('command' in other) return { transport: 'stdio', command: [...other.command] };
  return { transport: tls ? 'tls' : 'tcp', host: other.host, port: other.port };
}

/** The same, of what the journal says; null for one that must come by itself. */
export function ofHow(how: PeerHow): OtherHost | null {
  if (how.transport === 'stdio') return { command: how.command };
  return how.transport === 'waits' ? null : { host: how.host, port: how.port };
}

/** @throws CONNECT_FAILED, NOT_LOOPBACK, PEER_UNTRUSTED */
export function connectOther(other: OtherHost, tls: TlsOptions | undefined): Promise<Connection> {
  if ('command' in other) return started(other);
  const { host, port } = other;
  const options = { connectMs: CONNECT_MS };
  return tls === undefined ? connectTcp({ host, port }, options) : connectTls({ host, port }, tls, options);
}

/** Starts a command. It ends when its pipes do. */
async function started({ command }: Command): Promise<Connection> {
  const name = command.join(' ');
  const [file, ...args] = command;
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => {
      const what = `${name} can't be started`;
      reject(new TransmigrateError('CONNECT_FAILED', what, { cause, data: { command: [...command] } }));
    });
  });
  child.on('error', () => undefined);
  child.stdout.once('close', () => child.kill());
  return pipeConnection(child.stdout, child.stdin, name);
}
