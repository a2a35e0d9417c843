/** Stands between two hosts, and cuts connections. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';

export class CuttingProxy {
  readonly port: number;
  /** Connections so far. */
  connections = 0;
  /** After so many bytes from the source the connection is cut; each connection takes the first of the list. */
  readonly cutAfter: number[] = [];
  /** While false nobody gets through. */
  open = true;
  readonly #server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: ReturnType<typeof createServer>, to: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (source) => this.#take(source, to));
  }

  static async start(to: number): Promise<CuttingProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new CuttingProxy(server, to);
  }

  #take(source: Socket, to: number): void {
    source.on('error', () => undefined);
    if (!this.open) {
      source.destroy();
      return;
    }
    this.connections++;
    const most = this.cutAfter.shift() ?? Infinity;
    const target = connect(to, '127.0.0.1');
    let bytes = 0;
    for (const socket of [source, target]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        source.destroy();
        target.destroy();
        this.#sockets.delete(socket);
      });
    }
    source.on('data', (piece: Buffer) => {
      bytes += piece.byteLength;
      if (bytes > most) {
        source.resetAndDestroy();
        target.resetAndDestroy();
        return;
      }
      if (!target.write(piece)) {
        source.pause();
        target.once('drain', () => source.resume());
      }
    });
    target.pipe(source);
    source.on('end', () => target.end());
  }

  /** Cuts what there is now. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
