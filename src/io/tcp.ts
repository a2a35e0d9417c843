/** TCP: plain only to this machine itself, unless somebody allows more in words (N4). */
import { lookup } from 'node:dns/promises';
import { connect, createServer, isIP, type AddressInfo, type LookupFunction, type Server, type Socket } from 'node:net';
import { TransmigrateError } from '../errors.ts';
import { cancelled, connectFailed, listenFailed, lostBecause } from './connection-errors.ts';
import { StreamConnection, type Connection, type ConnectionOptions } from './connection.ts';
import { fastInlet, moveAccepted } from './fast-receive.ts';
import { systemTimers } from './timers.ts';

/**
 * Connections that a listener takes at one time when nobody says otherwise: more than a host has reservations, so that
 * who comes then is told BUSY, and who asks is answered.
 */
const MOST_CONNECTIONS = 128;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface ConnectOptions extends ConnectionOptions {
  /** Longest time until it is connected; without it, as long as the system tries. */
  readonly connectMs?: number | undefined;
}

export interface PlainOptions {
  /** Allows plain connections that leave the machine: who can listen on the way reads and changes everything. */
  readonly insecure?: boolean | undefined;
}

export interface ListenOptions extends ConnectionOptions {
  readonly connections?: number | undefined;
}

/** Somebody who takes connections, until it is closed. */
export interface Listener {
  /** What it listens on: with port 0 the system has chosen one. */
  readonly address: Address;
  /** Takes no more. Connections that were taken go on. */
  close(): Promise<void>;
}

/** Whether an address is one of this machine that no other reaches. */
export function isLoopback(address: string): boolean {
  if (isIP(address) === 4) return address.startsWith('127.');
  const plain = address.toLowerCase();
  return plain === '::1' || (plain.startsWith('::ffff:127.') && isIP(address) === 6);
}

export function nameOf({ host, port }: Address): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * @throws NOT_LOOPBACK before anything was sent, when any address of the host is not this machine's and that was not
 * allowed; CONNECT_FAILED, CANCELLED
 */
export async function connectTcp(address: Address, options: ConnectOptions & PlainOptions = {}): Promise<Connection> {
  const { insecure = false, signal } = options;
  const name = nameOf(address);
  if (signal?.aborted === true) throw cancelled(name);
  const addresses = await resolve(address, insecure).catch((cause: unknown) => {
    throw connectFailed(name, cause);
  });
  const receive = fastInlet();
  // The addresses that were looked at are those that are used: a name may mean another one when it is asked again.
  const found: LookupFunction = (_host, { all }, answer) =>
    all === true ? answer(null, addresses) : answer(null, addresses[0].address, addresses[0].family);
  const socket = connect({ ...address, lookup: found, allowHalfOpen: true, noDelay: true, onread: receive.onread });
  receive.attach(socket);
  await opened(socket, 'connect', name, options);
  socket.resume();
  return new StreamConnection({
    ...options,
    name,
    peer: null,
    readable: socket,
    writable: socket,
    inlet: receive.inlet,
    breakOff: () => void socket.resetAndDestroy(),
  });
}

/** Waits until a socket is open. @throws CONNECT_FAILED, PEER_UNTRUSTED, CANCELLED; then it is destroyed */
export async function opened(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  name: string,
  { connectMs, signal, timers = systemTimers }: Pick<ConnectOptions, 'connectMs' | 'signal' | 'timers'>,
): Promise<void> {
  let over = (): void => undefined;
  let cancel = (): void => undefined;
  try {
    await new Promise<void>((resolved, rejected) => {
      socket.once(event, resolved);
      socket.once('error', rejected);
      socket.once('close', () => rejected(new Error('it was closed')));
      if (connectMs !== undefined) {
        over = timers.after(connectMs, () => rejected(new Error(`not connected after ${connectMs} ms`)));
      }
      cancel = () => rejected(cancelled(name));
      signal?.addEventListener('abort', cancel, { once: true });
      if (signal?.aborted === true) cancel();
    });
  } catch (cause) {
    // A failure that comes behind the first is nobody's.
    socket.on('error', () => undefined);
    socket.destroy();
    throw connectFailed(name, cause);
  } finally {
    over();
    signal?.removeEventListener('abort', cancel);
  }
}

/**
 * Takes connections.
 * @param take is given each; what it throws breaks that connection off.
 * @throws NOT_LOOPBACK, LISTEN_FAILED
 */
export async function listenTcp(
  address: Address,
  take: (connection: Connection) => Promise<void> | void,
  options: ListenOptions & PlainOptions = {},
): Promise<Listener> {
  const { insecure = false, connections } = options;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (accepted) => {
    const moved = moveAccepted(accepted);
    const socket = moved?.socket ?? accepted;
    const connection = new StreamConnection({
      ...options,
      name: remoteName(socket),
      peer: null,
      readable: socket,
      writable: socket,
      inlet: moved?.inlet,
      breakOff: () => void socket.resetAndDestroy(),
    });
    socket.resume();
    handOver(connection, take);
  });
  let host: string;
  try {
    [{ address: host }] = await resolve(address, insecure);
  } catch (cause) {
    throw listenFailed(nameOf(address), cause);
  }
  return listenWith(server, { host, port: address.port }, connections);
}

/** Gives a connection to who wants it. */
export function handOver(connection: Connection, take: (connection: Connection) => Promise<void> | void): void {
  void (async () => {
    try {
      await take(connection);
    } catch (cause) {
      connection.reset(cause instanceof TransmigrateError ? cause : lostBecause(connection.name, String(cause), cause));
    }
  })();
}

export function remoteName({ remoteAddress = 'unknown', remotePort = 0 }: Socket): string {
  return nameOf({ host: remoteAddress, port: remotePort });
}

/** @throws LISTEN_FAILED */
export async function listenWith(server: Server, address: Address, connections = MOST_CONNECTIONS): Promise<Listener> {
  server.maxConnections = connections;
  try {
    await listening(server, { ...address });
  } catch (cause) {
    throw listenFailed(nameOf(address), cause);
  }
  const { address: host, port } = server.address() as AddressInfo;
  return { address: { host, port }, close: () => closed(server) };
}

export function listening(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolved, rejected) => {
    server.once('error', rejected);
    server.listen(where, () => {
      server.off('error', rejected);
      // A failure to accept one connection is that connection's.
      server.on('error', () => undefined);
      resolved();
    });
  });
}

/** Resolves when no more are taken; Node's own waits until all that were taken have ended. */
export function closed(server: Server): Promise<void> {
  server.close();
  return new Promise((resolved) => {
    setImmediate(resolved);
  });
}

/** All addresses of a host. @throws NOT_LOOPBACK, and what the system says */
async function resolve(address: Address, insecure: boolean): Promise<{ address: string; family: number }[]> {
  const found = await lookup(address.host, { all: true });
  const outside = found.find((each) => !isLoopback(each.address));
  if (outside === undefined || insecure) return found;
  throw new TransmigrateError(
    'NOT_LOOPBACK',
    `${nameOf(address)} is not this machine alone, and TLS was not asked for`,
    {
      data: { host: address.host, port: address.port, address: outside.address },
    },
  );
}
