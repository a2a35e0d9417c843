/** The other end of bench/migrate.ts, in its own process: hosts that take machines, and receivers of bare bytes. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { readTls, type TlsFiles } from '../../src/host/tls-files.ts';
import { syntheticHost, type SyntheticHost } from './synthetic-machine.ts';

export type Order =
  | { readonly kind: 'host'; readonly directory: string; readonly tls?: TlsFiles }
  | { readonly kind: 'digest'; readonly tls: boolean }
  | { readonly kind: 'drop'; readonly tls: boolean }
  | { readonly kind: 'receive'; readonly port: number; readonly bytes: number; readonly tls?: TlsFiles }
  | { readonly kind: 'cpu' };

const hosts = new Map<boolean, SyntheticHost>();
let received = new Uint8Array(0);

async function obey(order: Order): Promise<unknown> {
  switch (order.kind) {
    case 'host': {
      const tls = order.tls === undefined ? undefined : await readTls(order.tls);
      const made = await syntheticHost(order.directory, tls);
      hosts.set(tls !== undefined, made);
      return made.port;
    }
    case 'digest':
      return hosts.get(order.tls)!.driver.last!.digest();
    case 'drop': {
      const { host, driver } = hosts.get(order.tls)!;
      for (const { name } of host.list()) await host.destroy(name);
      driver.last = null;
      return null;
    }
    case 'receive':
      received = new Uint8Array(order.bytes);
      await receive(order, received);
      return createHash('sha1').update(received.subarray(0, 4096)).digest('hex');
    case 'cpu': {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    }
  }
}

/** Connects, because only a connecting socket reads into a buffer that it is given, which is twice as fast. */
function receive({ port, tls }: Extract<Order, { kind: 'receive' }>, into: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const take = (bytes: Uint8Array): void => {
      into.set(bytes, at);
      at += bytes.byteLength;
      if (at < into.byteLength) return;
      // The sender's clock stops when it hears that all is there.
      socket.end(Uint8Array.of(1));
      resolve();
    };
    const buffer = new Uint8Array(1024 * 1024);
    const onread = {
      buffer,
      callback: (length: number) => {
        take(buffer.subarray(0, length));
        return true;
      },
    };
    const socket: Socket =
      tls === undefined
        ? connect({ host: '127.0.0.1', port, onread })
        : connectTls({
            host: '127.0.0.1',
            port,
            cert: readFileSync(tls.certificate),
            key: readFileSync(tls.key),
            ca: readFileSync(tls.authorities),
            minVersion: 'TLSv1.3',
          });
    if (tls !== undefined) socket.on('data', take);
    socket.on('error', reject);
  });
}

process.on('message', (order: Order) => {
  void obey(order).then(
    (answer) => process.send!({ answer }),
    (error: unknown) => process.send!({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
