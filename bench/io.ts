/**
 * How fast a connection carries bytes from one process to another on this machine, beside bare sockets of Node in the
 * same run.
 *
 *   node bench/io.ts [--mib 512] [--runs 5]
 *
 * Pieces of 1 MiB are written one after the other; the receiver counts them. Ratios, each with its aim: our TCP beside
 * a bare socket that receives into one buffer (0.9), and one that receives with `data` events (1.2); our TLS beside a
 * bare TLS socket of Node (0.9); our TCP with pieces of 4 KiB beside pieces of 1 MiB (0.3).
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, Socket, type AddressInfo, type Server } from 'node:net';
import { connect as connectSecure, createServer as createSecureServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeKeys } from '../src/io/certificate.ts';
import type { Connection } from '../src/io/connection.ts';
import { connectTcp, listenTcp } from '../src/io/tcp.ts';
import { connectTls, listenTls } from '../src/io/tls.ts';
import { median } from './support/measure.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    runs: { type: 'string', default: '5' },
    receive: { type: 'string' },
    pem: { type: 'string' },
  },
});
const PIECE_BYTES = 1024 * 1024;
const host = '127.0.0.1';
const WAYS = ['bareData', 'bareBuffer', 'ours', 'oursSmall', 'bareTls', 'oursTls'] as const;
type Way = (typeof WAYS)[number];

interface Pem {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: string;
}

/** Says that everything was read, by ending the way back. */
async function swallow(connection: Connection): Promise<void> {
  let bytes = 0;
  for await (const piece of connection.pieces()) bytes += piece.byteLength;
  await connection.write(Buffer.from(String(bytes)));
  await connection.close();
}

function swallowData(socket: Socket): void {
  let bytes = 0;
  socket.on('data', (piece: Buffer) => (bytes += piece.byteLength));
  socket.on('end', () => socket.end(String(bytes)));
}

/** As an accepted socket is received fastest: its handle in a socket with one static buffer. */
function swallowIntoBuffer(accepted: Socket): void {
  let bytes = 0;
  const inner = accepted as unknown as { _handle: object | null };
  const onread = {
    buffer: new Uint8Array(512 * 1024),
    callback: (length: number) => {
      bytes += length;
      return true;
    },
  };
  const options = { handle: inner._handle, onread, allowHalfOpen: true };
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  inner._handle = null;
  socket.on('end', () => socket.end(String(bytes)));
  socket.resume();
}

async function receive(way: Way, pem: Pem): Promise<number> {
  const bare = async (server: Server): Promise<number> => {
    server.listen(0, host);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const local = { host, port: 0 };
  if (way === 'bareData') return bare(createServer({ allowHalfOpen: true }, swallowData));
  if (way === 'bareBuffer') {
    return bare(createServer({ allowHalfOpen: true, pauseOnConnect: true }, swallowIntoBuffer));
  }
  if (way === 'bareTls') {
    const { certificate: cert, key } = pem;
    return bare(createSecureServer({ cert, key, allowHalfOpen: true, minVersion: 'TLSv1.3' }, swallowData));
  }
  if (way === 'oursTls') return (await listenTls(local, pem, swallow, { handshakeMs: 10_000 })).address.port;
  return (await listenTcp(local, swallow)).address.port;
}

async function sendBare(socket: Socket, bytes: number): Promise<number> {
  const piece = Buffer.alloc(PIECE_BYTES, 7);
  const start = performance.now();
  const answer = once(socket, 'data');
  for (let left = bytes; left > 0; left -= PIECE_BYTES) {
    if (!socket.write(piece)) await once(socket, 'drain');
  }
  socket.end();
  await answer;
  const ms = performance.now() - start;
  socket.destroy();
  return ms;
}

async function sendOurs(connection: Connection, bytes: number, pieceBytes: number): Promise<number> {
  const piece = Buffer.alloc(pieceBytes, 7);
  const start = performance.now();
  const under: Promise<void>[] = [];
  for (let left = bytes; left > 0; left -= pieceBytes) {
    under.push(connection.write(piece));
    if (under.length > 2) await under.shift();
  }
  await connection.end();
  let answer = '';
  for await (const text of connection.pieces()) answer += Buffer.from(text).toString();
  const ms = performance.now() - start;
  if (answer !== String(bytes)) throw new Error(`${answer} bytes arrived of ${bytes}`);
  await connection.close();
  return ms;
}

async function send(way: Way, port: number, pem: Pem, bytes: number): Promise<number> {
  const address = { host, port };
  if (way === 'ours') return sendOurs(await connectTcp(address), bytes, PIECE_BYTES);
  if (way === 'oursSmall') return sendOurs(await connectTcp(address), bytes, 4096);
  if (way === 'oursTls') return sendOurs(await connectTls(address, pem), bytes, PIECE_BYTES);
  const socket =
    way === 'bareTls' ? connectSecure({ ...address, ca: pem.authorities }) : connect({ ...address, noDelay: true });
  await once(socket, way === 'bareTls' ? 'secureConnect' : 'connect');
  return sendBare(socket, bytes);
}

if (values.receive !== undefined) {
  const port = await receive(values.receive as Way, JSON.parse(values.pem!) as Pem);
  process.send!(port);
  process.on('disconnect', () => process.exit(0));
} else {
  const serial = new Uint8Array(16).fill(1);
  const { certificate, key } = makeKeys({ names: [host], from: new Date(), days: 1, serial });
  const pem: Pem = { certificate, key, authorities: certificate };
  const children: ChildProcess[] = [];
  const ports = new Map<Way, number>();
  for (const way of WAYS) {
    const child = fork(fileURLToPath(import.meta.url), ['--receive', way, '--pem', JSON.stringify(pem)]);
    children.push(child);
    ports.set(way, ((await once(child, 'message')) as [number])[0]);
  }
  const bytes = Number(values.mib) * PIECE_BYTES;
  const found = new Map<Way, number[]>(WAYS.map((way) => [way, []]));
  // In turn, so that a change of the machine's speed falls on all alike; the first turn is not counted.
  for (let run = 0; run <= Number(values.runs); run++) {
    for (const way of WAYS) {
      const ms = await send(way, ports.get(way)!, pem, bytes);
      if (run > 0) found.get(way)!.push((Number(values.mib) * 1000) / ms);
    }
  }
  for (const child of children) child.disconnect();
  const rate = Object.fromEntries(WAYS.map((way) => [way, Math.round(median(found.get(way)!))])) as Record<Way, number>;
  const ratio = (one: Way, other: Way): number => Number((rate[one] / rate[other]).toFixed(2));
  const report = {
    mibPerSecond: rate,
    tcpToBareBuffer: ratio('ours', 'bareBuffer'),
    tcpToBareData: ratio('ours', 'bareData'),
    tlsToBareTls: ratio('oursTls', 'bareTls'),
    smallToLarge: ratio('oursSmall', 'ours'),
  };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}
