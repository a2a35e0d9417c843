/** TLS 1.3 with a certificate on each side: who the peer is, is the key in its certificate (H4, N4). */
import { isIP } from 'node:net';
import {
  connect,
  createSecureContext,
  createServer,
  type ConnectionOptions as TlsConnect,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { TransmigrateError } from '../errors.ts';
import { identityOf } from './certificate.ts';
import { cancelled, connectFailed, untrusted } from './connection-errors.ts';
import { StreamConnection, type Connection, type ConnectionOptions } from './connection.ts';
import {
  handOver,
  listenWith,
  nameOf,
  opened,
  remoteName,
  type Address,
  type ConnectOptions,
  type Listener,
  type ListenOptions,
} from './tcp.ts';

/** What this host shows, and whom it believes. There must be authorities, or peers, or both, which then both count. */
export interface TlsOptions {
  /** PEM: a certificate, with those that lead to its authority behind it, and its private key. */
  readonly certificate: string;
  readonly key: string;
  /** PEM: certificates of authorities, or of peers that signed their own. */
  readonly authorities?: string | undefined;
  /** Identities of peers (certificate.ts). A peer that is named so need not have a name, nor an authority. */
  readonly peers?: readonly string[] | undefined;
}

export interface TlsListenOptions extends ListenOptions {
  /** Longest time for the beginning of TLS: who sends nothing is let go after it. */
  readonly handshakeMs: number;
  /** Told of those that were not taken. */
  readonly onRefused?: ((error: TransmigrateError) => void) | undefined;
}

/** @throws USAGE for keys that are none; CONNECT_FAILED, PEER_UNTRUSTED, CANCELLED */
export async function connectTls(address: Address, tls: TlsOptions, options: ConnectOptions = {}): Promise<Connection> {
  const context = contextOf(tls);
  const name = nameOf(address);
  if (options.signal?.aborted === true) throw cancelled(name);
  const { host, port } = address;
  const wanted: TlsConnect & { allowHalfOpen: boolean } = {
    ...context,
    host,
    port,
    ...(isIP(host) === 0 && { servername: host }),
    allowHalfOpen: true,
    rejectUnauthorized: tls.authorities !== undefined,
    // The name is how a peer is told from others of its authority; one that is told by its key needs none.
    ...(tls.peers !== undefined && { checkServerIdentity: () => undefined }),
  };
  const socket = connect(wanted);
  await opened(socket, 'secureConnect', name, options);
  const peer = peerOf(socket, tls, name);
  if (peer instanceof TransmigrateError) {
    letGo(socket);
    throw peer;
  }
  return connectionOver(socket, name, peer, options);
}

/**
 * Takes connections of peers that are trusted. In TLS 1.3 a peer may think that it is connected before it was judged:
 * one that is not trusted reads an end at once.
 * @throws USAGE, LISTEN_FAILED
 */
export async function listenTls(
  address: Address,
  tls: TlsOptions,
  take: (connection: Connection) => Promise<void> | void,
  { handshakeMs, onRefused = () => undefined, connections, ...options }: TlsListenOptions,
): Promise<Listener> {
  const server = createServer({
    ...contextOf(tls),
    allowHalfOpen: true,
    requestCert: true,
    // Peers are judged below, not by Node, which would not say why.
    rejectUnauthorized: false,
    handshakeTimeout: handshakeMs,
  });
  server.on('tlsClientError', (cause, socket) => {
    const error = connectFailed(remoteName(socket), cause);
    // Node leaves it open.
    letGo(socket);
    onRefused(error);
  });
  server.on('secureConnection', (socket) => {
    const name = remoteName(socket);
    const peer = peerOf(socket, tls, name);
    if (peer instanceof TransmigrateError) {
      letGo(socket);
      onRefused(peer);
      return;
    }
    handOver(connectionOver(socket, name, peer, options), take);
  });
  return listenWith(server, address, connections);
}

/** Ends what nobody will use. */
function letGo(socket: TLSSocket): void {
  socket.on('error', () => undefined);
  socket.destroy();
}

function connectionOver(socket: TLSSocket, name: string, peer: string, options: ConnectionOptions): Connection {
  socket.setNoDelay(true);
  return new StreamConnection({ ...options, name, peer, readable: socket, writable: socket });
}

/** The identity of a peer that is trusted, or why it is not. */
function peerOf(socket: TLSSocket, { authorities, peers }: TlsOptions, name: string): string | TransmigrateError {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return untrusted(name, 'it shows no certificate');
  const identity = identityOf(certificate);
  if (authorities !== undefined && !socket.authorized) {
    return untrusted(name, `its certificate is not trusted (${String(socket.authorizationError)})`);
  }
  if (peers !== undefined && !peers.includes(identity)) return untrusted(name, `its identity is ${identity}`);
  return identity;
}

/** Options for both ends. @throws USAGE */
function contextOf({ certificate: cert, key, authorities: ca, peers }: TlsOptions): SecureContextOptions {
  if (ca === undefined && peers === undefined) {
    throw new TransmigrateError('USAGE', 'TLS without authorities and without peers would believe anybody', {
      next: 'Name the certificate of the other host, or of who signed it.',
    });
  }
  const options: SecureContextOptions = {
    cert,
    key,
    ...(ca !== undefined && { ca }),
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
  };
  try {
    createSecureContext(options);
    return options;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TransmigrateError('USAGE', `Certificate and key for TLS can't be used: ${why}`, {
      cause,
      next: 'Give PEM files that belong together; `transmigrate keys make` makes a pair.',
    });
  }
}
