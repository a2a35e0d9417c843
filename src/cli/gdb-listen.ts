import { once } from 'node:events';
import { createServer, isIPv4, type AddressInfo, type Socket } from 'node:net';
import { TransmigrateError } from '../errors.ts';
import type { DebugSession } from './library.ts';

/** Where to wait for debuggers. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const PORT_END = 65_536;

/**
 * `127.0.0.1:1234`, `localhost:1234`, `[::1]:1234`, or only a port. Whoever connects can read all of the image, so it
 * is never more than this machine.
 * @throws USAGE
 */
export function parseListen(text: string): ListenAddress {
  const [, bracketed, plain, digits = ''] = /^(?:(?:\[([^\]]*)\]|([^:]*)):)?(\d{1,5})$/.exec(text) ?? [];
  const name = bracketed ?? plain ?? '127.0.0.1';
  const host = name === 'localhost' ? '127.0.0.1' : name;
  const port = Number(digits);
  if (digits === '' || port >= PORT_END) {
    throw new TransmigrateError('USAGE', `'${text}' is not an address: give HOST:PORT, e.g. 127.0.0.1:1234`);
  }
  if (host !== '::1' && !(isIPv4(host) && host.startsWith('127.'))) {
    throw new TransmigrateError('USAGE', `'${text}' is not an address of this machine alone`, {
      next: 'Listen on 127.0.0.1. From elsewhere, go through ssh: `ssh -L 1234:127.0.0.1:1234 HOST`.',
    });
  }
  return { host, port };
}

/**
 * Serves one debugger after the other, until the signal.
 * @param onListening is told where.
 * @throws TransmigrateError READ_FAILED and others of a session; HOST_UNREACHABLE when the address is taken
 */
export async function listenForDebuggers(
  { host, port }: ListenAddress,
  session: DebugSession,
  signal: AbortSignal,
  onListening: (address: string) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  let failure: unknown;
  let last: Promise<void> = Promise.resolve();
  const server = createServer((socket) => {
    sockets.add(socket);
    // Without a listener the error of a debugger that was killed would end the process.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    last = last
      .then(() => serve(session, socket))
      .catch((error: unknown) => {
        failure ??= error;
        server.close();
      });
  });
  server.maxConnections = 8;
  try {
    server.listen(port, host);
    await once(server, 'listening', { signal });
    const { address, port: given } = server.address() as AddressInfo;
    await onListening(address.includes(':') ? `[${address}]:${given}` : `${address}:${given}`);
    await Promise.race([once(server, 'close'), once(signal, 'abort')]);
  } catch (error) {
    if (signal.aborted) return;
    const why = error instanceof Error ? error.message : String(error);
    throw new TransmigrateError('USAGE', `Can't listen on ${host}:${port}: ${why}`, {
      cause: error,
      next: 'Choose another port; with 0 the system chooses one.',
    });
  } finally {
    server.close();
    for (const socket of sockets) socket.destroy();
    await last;
  }
  if (failure !== undefined) throw failure as Error;
}

async function serve(session: DebugSession, socket: Socket): Promise<void> {
  const send = (bytes: Uint8Array): Promise<boolean> =>
    new Promise((resolve) => {
      if (socket.destroyed) resolve(false);
      else socket.write(bytes, (error) => resolve(error === null || error === undefined));
    });
  try {
    await session(socket as AsyncIterable<Uint8Array>, send);
  } catch (error) {
    // A connection that broke is that debugger's affair.
    if (error instanceof TransmigrateError) throw error;
  } finally {
    socket.end();
    socket.destroySoon();
  }
}
