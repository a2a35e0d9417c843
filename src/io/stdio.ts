/** A pair of pipes as a connection: standard input and output, or those of a command that was started (H4). */
import type { Readable, Writable } from 'node:stream';
import { StreamConnection, type Connection, type ConnectionOptions } from './connection.ts';

/**
 * What is read from one stream and written to the other. Both belong to the connection from now on. A pipe knows no
 * sudden end: the peer of one that was reset reads an end.
 */
export function pipeConnection(
  readable: Readable,
  writable: Writable,
  name: string,
  options: ConnectionOptions = {},
): Connection {
  return new StreamConnection({ ...options, name, peer: null, readable, writable });
}
