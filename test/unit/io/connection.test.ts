/** Connections of every kind: what they carry, how they end, and who waits for whom. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect as connectRaw, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { makeKeys } from '../../../src/io/certificate.ts';
import type { Connection, ConnectionOptions } from '../../../src/io/connection.ts';
import { moveAccepted } from '../../../src/io/fast-receive.ts';
import { pipeConnection } from '../../../src/io/stdio.ts';
import { connectTcp, isLoopback, listenTcp } from '../../../src/io/tcp.ts';
import type { Timers } from '../../../src/io/timers.ts';
import { connectTls, listenTls } from '../../../src/io/tls.ts';
import { connectUnix, listenUnix } from '../../../src/io/unix.ts';
import { code } from '../../support/host/fake-host.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const LOCAL = { host: '127.0.0.1', port: 0 } as const;
const folder = mkdtempSync(join(tmpdir(), 'tmig-io-'));
const open: { close(): Promise<void> }[] = [];
after(async () => {
  for (const each of open) await each.close();
  rmSync(folder, { recursive: true });
});

const keys = makeKeys({ names: ['127.0.0.1'], from: new Date(), days: 1, serial: new Uint8Array(16).fill(1) });
const trust = { certificate: keys.certificate, key: keys.key, authorities: keys.certificate };

type Pair = [here: Connection, there: Connection];
type Kind = 'tcp' | 'unix' | 'tls' | 'pipes';
let paths = 0;

/** One way for bytes: a socket of which each end is used in one direction. */
async function pipe(): Promise<{ readable: Socket; writable: Socket }> {
  const path = join(folder, `p${paths++}`);
  const server = createServer().listen(path);
  await once(server, 'listening');
  const writable = connectRaw(path);
  const [readable] = (await once(server, 'connection')) as [Socket];
  server.close();
  return { readable, writable };
}

/** Two ends of one connection. */
async function pair(kind: Kind, options: ConnectionOptions = {}): Promise<Pair> {
  if (kind === 'pipes') {
    const [there, here] = [await pipe(), await pipe()];
    return [
      pipeConnection(here.readable, there.writable, 'pipes', options),
      pipeConnection(there.readable, here.writable, 'other pipes'),
    ];
  }
  let arrived: (connection: Connection) => void;
  const there = new Promise<Connection>((resolve) => (arrived = resolve));
  const take = (connection: Connection): void => arrived(connection);
  let here: Connection;
  if (kind === 'unix') {
    const path = join(folder, `s${paths++}`);
    open.push(await listenUnix(path, take));
    here = await connectUnix(path, options);
  } else if (kind === 'tls') {
    const listener = await listenTls(LOCAL, trust, take, { handshakeMs: 10_000 });
    open.push(listener);
    here = await connectTls(listener.address, trust, options);
  } else {
    const listener = await listenTcp(LOCAL, take);
    open.push(listener);
    here = await connectTcp(listener.address, options);
  }
  return [here, await there];
}

async function readAll(connection: Connection): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of connection.pieces()) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** Timers that are over when a test says so. */
class Hand implements Timers {
  readonly running = new Set<() => void>();
  after(_ms: number, action: () => void): () => void {
    this.running.add(action);
    return () => void this.running.delete(action);
  }
  over(): void {
    for (const action of this.running) action();
  }
}

for (const kind of ['tcp', 'unix', 'tls', 'pipes'] as const) {
  describe(`a connection over ${kind}`, () => {
    it('carries bytes of any sizes both ways, in order, and each way ends by itself', async () => {
      const seed = testSeed();
      const generator = random(seed);
      const [here, there] = await pair(kind);
      const send = async (connection: Connection): Promise<Buffer> => {
        const sent: Buffer[] = [];
        const under: Promise<void>[] = [];
        for (let i = 0; i < 300; i++) {
          const size = generator.pick([1, 16, 100, 5000, 65_536, 300_000]);
          const bytes = generator.scramble(new Uint8Array(generator.below(size) + 1));
          sent.push(Buffer.from(bytes));
          const written = connection.write(bytes);
          if (generator.below(2) === 0) {
            await written;
            // The bytes are ours again.
            bytes.fill(0);
          } else under.push(written);
        }
        await Promise.all(under);
        await connection.end();
        return Buffer.concat(sent);
      };
      const [sent, received] = await Promise.all([send(here), readAll(there)]);
      assert.ok(sent.equals(received), `SEED=${seed}`);
      // One way has ended; the other goes on.
      const [back, returned] = await Promise.all([send(there), readAll(here)]);
      assert.ok(back.equals(returned), `SEED=${seed}`);
      await here.close();
      await there.close();
      await assert.rejects(here.write(Uint8Array.of(1)), code('CONNECTION_LOST'));
    });

    it('puts small pieces together, and sends them without being asked', async () => {
      const [here, there] = await pair(kind);
      const reading = there.pieces()[Symbol.asyncIterator]();
      for (let i = 0; i < 10_000; i++) await here.write(Uint8Array.of(i, i >> 8));
      let length = 0;
      let pieces = 0;
      while (length < 20_000) {
        const { value } = (await reading.next()) as { value: Uint8Array };
        assert.equal(value[0], (length >> 1) & 0xff);
        length += value.byteLength;
        pieces++;
      }
      assert.ok(pieces < 2000, `${pieces} pieces`);
      await here.write(Uint8Array.of(7));
      assert.deepEqual([...((await reading.next()).value as Uint8Array)], [7]);
      await there.close();
      await here.close();
    });

    it('makes a writer wait for a reader who does not read, and loses nothing', async () => {
      const [here, there] = await pair(kind);
      const piece = new Uint8Array(1024 * 1024).fill(3);
      let written = 0;
      const writing = (async () => {
        for (let i = 0; i < 64; i++) {
          await here.write(piece);
          written++;
        }
        await here.end();
      })();
      for (let before = -1; before !== written;) {
        before = written;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      // The system's own buffers, both ways, and ours.
      assert.ok(written < 24, `${written} MiB were taken`);
      const received = await readAll(there);
      await writing;
      assert.equal(received.byteLength, 64 * 1024 * 1024);
      await here.close();
      await there.close();
    });

    it('that is broken off fails all that waits, with one error', async () => {
      const [here, there] = await pair(kind);
      await here.write(Uint8Array.of(1, 2, 3));
      await here.flush();
      const reading = there.pieces()[Symbol.asyncIterator]();
      assert.equal(((await reading.next()).value as Uint8Array).byteLength, 3);
      const next = reading.next();
      next.catch(() => undefined);
      const own = readAll(here);
      own.catch(() => undefined);
      const writing = here.write(new Uint8Array(32 * 1024 * 1024));
      writing.catch(() => undefined);
      here.reset();
      await assert.rejects(own, code('CONNECTION_LOST'));
      await assert.rejects(writing, code('CONNECTION_LOST'));
      await assert.rejects(here.write(Uint8Array.of(1)), code('CONNECTION_LOST'));
      await assert.rejects(here.end(), code('CONNECTION_LOST'));
      await here.close();
      if (kind === 'tcp') {
        // What was on its way may come before the end.
        await assert.rejects(async () => {
          for (let step = await next; step.done !== true; step = await reading.next());
        }, code('CONNECTION_LOST'));
      }
      await there.close();
      await assert.rejects(there.write(Uint8Array.of(1)), code('CONNECTION_LOST'));
    });

    it('whose peer is silent for too long is given up, but not one that says something', async () => {
      const hand = new Hand();
      const [here, there] = await pair(kind, { timers: hand });
      const reading = here.pieces()[Symbol.asyncIterator]();
      const first = reading.next();
      assert.equal(hand.running.size, 0, 'without a limit nothing runs');
      await there.write(Uint8Array.of(1));
      await first;
      here.silenceMs = 100;
      const second = reading.next();
      assert.equal(hand.running.size, 1);
      await there.write(Uint8Array.of(2));
      await second;
      assert.equal(hand.running.size, 0);
      const third = reading.next();
      hand.over();
      await assert.rejects(third, code('CONNECTION_LOST'));
      await here.close();
      there.reset();
      await there.close();
    });

    it('is cancelled', async () => {
      const controller = new AbortController();
      const [here, there] = await pair(kind, { signal: controller.signal });
      const reading = readAll(here);
      const writing = (async () => {
        for (;;) await here.write(new Uint8Array(1024 * 1024));
      })();
      controller.abort();
      await assert.rejects(reading, code('CANCELLED'));
      await assert.rejects(writing, code('CANCELLED'));
      await here.close();
      there.reset();
      await there.close();
    });

    it('is read once', async () => {
      const [here, there] = await pair(kind);
      await there.end();
      assert.equal((await readAll(here)).byteLength, 0);
      await assert.rejects(readAll(here), TypeError);
      await here.close();
      await there.close();
    });
  });
}

describe('plain connections (N4)', () => {
  it('know which addresses are of this machine alone', () => {
    for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
      assert.ok(isLoopback(address), address);
    for (const address of [
      '128.0.0.1',
      '10.0.0.1',
      '::',
      '0.0.0.0',
      '::ffff:10.0.0.1',
      'fe80::1',
      '127.evil.example',
    ]) {
      assert.ok(!isLoopback(address), address);
    }
  });

  it('to and from elsewhere are refused before anything is sent, unless they are allowed', async () => {
    for (const host of ['10.1.2.3', '0.0.0.0', '::']) {
      await assert.rejects(connectTcp({ host, port: 9 }), code('NOT_LOOPBACK'), host);
      await assert.rejects(
        listenTcp({ host, port: 0 }, () => undefined),
        code('NOT_LOOPBACK'),
        host,
      );
    }
    const listener = await listenTcp({ host: '0.0.0.0', port: 0 }, () => undefined, { insecure: true });
    const { port } = listener.address;
    const connection = await connectTcp({ host: 'localhost', port }).catch(() => connectTcp({ ...LOCAL, port }));
    await connection.close();
    await listener.close();
  });

  it('that do not come about say why', async () => {
    const listener = await listenTcp(LOCAL, () => undefined);
    await assert.rejects(
      listenTcp(listener.address, () => undefined),
      code('LISTEN_FAILED'),
    );
    await listener.close();
    await assert.rejects(connectTcp(listener.address), code('CONNECT_FAILED'));
    await assert.rejects(connectTcp(listener.address, { signal: AbortSignal.abort() }), code('CANCELLED'));
    await assert.rejects(connectUnix(join(folder, 'nobody')), code('CONNECT_FAILED'));
    const path = join(folder, 'once');
    const unix = await listenUnix(path, () => undefined);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await assert.rejects(
      listenUnix(path, () => undefined),
      code('LISTEN_FAILED'),
    );
    await unix.close();
    assert.throws(() => statSync(path));
  });

  it('that nobody accepts are given up after the time that was given, or when they are cancelled', async () => {
    const hand = new Hand();
    // Connected, but nobody answers the beginning of TLS.
    const silent = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = { host: '127.0.0.1', port: (silent.address() as { port: number }).port };
    const waiting = connectTls(address, trust, { connectMs: 5, timers: hand });
    const refused = assert.rejects(waiting, code('CONNECT_FAILED'));
    assert.equal(hand.running.size, 1);
    hand.over();
    await refused;
    const controller = new AbortController();
    const cancelled = assert.rejects(connectTls(address, trust, { signal: controller.signal }), code('CANCELLED'));
    setTimeout(() => controller.abort(), 50);
    await cancelled;
    silent.close();
  });

  it('are broken off by who takes them and fails, and counted', async () => {
    let count = 0;
    const listener = await listenTcp(
      LOCAL,
      () => {
        count++;
        throw new Error('not now');
      },
      { connections: 2 },
    );
    for (let i = 0; i < 5; i++) {
      // So fast that it may be broken off before it is known to be there.
      const broken = connectTcp(listener.address).then(readAll);
      await assert.rejects(broken, (error) => error instanceof TransmigrateError && error.exitCode === 13);
    }
    // Each that ended made room: a socket that moved is not counted for ever.
    assert.ok(count >= 4, `${count} were taken`);
    await listener.close();
  });

  it('are received as usual where the inside of a socket is not as expected', async () => {
    assert.equal(moveAccepted({ _handle: null } as unknown as Socket), null);
    assert.equal(moveAccepted({ _handle: {} } as unknown as Socket), null);
    const accepted: Socket[] = [];
    const server = createServer({ pauseOnConnect: true }, (socket) => accepted.push(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connectRaw((server.address() as { port: number }).port, '127.0.0.1');
    await once(client, 'connect');
    while (accepted.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const moved = moveAccepted(accepted[0])!;
    moved.socket.resume();
    client.end('hello');
    const pieces: string[] = [];
    moved.socket.on('end', () => moved.inlet.end());
    for await (const piece of moved.inlet.pieces(() => () => undefined)) pieces.push(Buffer.from(piece).toString());
    assert.equal(pieces.join(''), 'hello');
    moved.socket.destroy();
    await once(server.close(), 'close');
  });
});
