/** Sockets of this machine, with a name in a directory: who may connect is told by the rights of the file. */
import { chmod } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { cancelled, listenFailed } from './connection-errors.ts';
import { StreamConnection, type Connection } from './connection.ts';
import { fastInlet, moveAccepted } from './fast-receive.ts';
import { closed, handOver, listening, opened, type ConnectOptions, type ListenOptions } from './tcp.ts';

/** @throws CONNECT_FAILED, CANCELLED */
export async function connectUnix(path: string, options: ConnectOptions = {}): Promise<Connection> {
  if (options.signal?.aborted === true) throw cancelled(path);
  const receive = fastInlet();
  const socket = connect({ path, allowHalfOpen: true, onread: receive.onread });
  receive.attach(socket);
  await opened(socket, 'connect', path, options);
  socket.resume();
  return new StreamConnection({
    ...options,
    name: path,
    peer: null,
    readable: socket,
    writable: socket,
    inlet: receive.inlet,
  });
}

/**
 * Takes connections on a path that is not there yet; mode 0600. Closing removes it.
 * @throws LISTEN_FAILED
 */
export async function listenUnix(
  path: string,
  take: (connection: Connection) => Promise<void> | void,
  { connections, ...options }: ListenOptions = {},
): Promise<{ readonly path: string; close(): Promise<void> }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (accepted) => {
    const moved = moveAccepted(accepted);
    const socket = moved?.socket ?? accepted;
    const parts = { name: path, peer: null, readable: socket, writable: socket, inlet: moved?.inlet };
    const connection = new StreamConnection({ ...options, ...parts });
    socket.resume();
    handOver(connection, take);
  });
  if (connections !== undefined) server.maxConnections = connections;
  try {
    await listening(server, { path });
    await chmod(path, 0o600);
  } catch (cause) {
    await closed(server);
    throw listenFailed(path, cause);
  }
  return { path, close: () => closed(server) };
}
