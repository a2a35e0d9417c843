/** The host's socket: who may open it, what it answers to what is wrong, and what ends with it. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest, type Server } from 'node:http';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after as atEnd, before, describe, it } from 'node:test';
import type { ErrorJson } from '../../../src/errors.ts';
import { HostClient } from '../../../src/host/client.ts';
import { FOLLOWER_QUEUE_BYTES } from '../../../src/host/console.ts';
import { serve } from '../../../src/host/server.ts';
import { assertSettled, choiceOf, code, fakeHost, scratch, type FakeHost } from '../../support/host/fake-host.ts';
import { open } from '../../support/host/fake-machine.ts';
import { until } from '../../support/guest/machines.ts';

const directory = scratch(atEnd);
const socketPath = join(directory.path, 'own', 'host.sock');
let fake: FakeHost;
let server: Server;
let client: HostClient;

before(async () => {
  fake = fakeHost();
  server = await serve(fake.host, socketPath);
  client = new HostClient(socketPath);
});
atEnd(async () => {
  await fake.host.close();
  server.closeAllConnections();
  server.close();
});

interface Answer {
  readonly status: number;
  readonly json: { readonly error?: ErrorJson };
}

/** A request as anybody may send one. */
function ask(method: string, path: string, body: string | Uint8Array = '', headers: object = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ socketPath, method, path, headers: { ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode!, json: JSON.parse(text) as Answer['json'] }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Bytes that need not be HTTP. @returns all that is answered */
function send(bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(socketPath, () => socket.write(bytes));
    socket.setEncoding('latin1').on('data', (piece: string) => (text += piece));
    socket.on('close', () => resolve(text));
    socket.on('error', () => undefined);
  });
}

describe('the socket', () => {
  it('can be opened by its owner alone', () => {
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    assert.equal(statSync(join(socketPath, '..')).mode & 0o777, 0o700);
  });

  it('is refused to a second host', async () => {
    await assert.rejects(serve(fakeHost().host, socketPath), code('HOST_RUNNING'));
    assert.equal((await client.info()).pid, process.pid);
  });

  it('takes the place of one that a killed host left', async () => {
    const path = join(directory.path, 'stale.sock');
    const killed = createServer();
    await new Promise<void>((resolve) => killed.listen(join(directory.path, 'other.sock'), resolve));
    // A socket whose listener is gone: it was moved away before its owner could remove it.
    const { renameSync } = await import('node:fs');
    renameSync(join(directory.path, 'other.sock'), path);
    await new Promise((resolve) => killed.close(resolve));
    assert.ok(existsSync(path));
    const next = await serve(fakeHost().host, path);
    assert.equal((await new HostClient(path).info()).guests, 0);
    await new Promise((resolve) => next.close(resolve));
    assert.ok(!existsSync(path));
  });

  it('does not take the place of a file', async () => {
    const path = join(directory.path, 'precious');
    writeFileSync(path, 'data');
    await assert.rejects(serve(fakeHost().host, path), code('WRITE_FAILED'));
    assert.equal(statSync(path).size, 4);
  });

  it('has a path that is short enough, in a directory that can be made', async () => {
    await assert.rejects(serve(fakeHost().host, join(directory.path, 'x'.repeat(120))), code('USAGE'));
    await assert.rejects(serve(fakeHost().host, '/dev/null/x/host.sock'), code('WRITE_FAILED'));
    const readOnly = join(directory.path, 'readonly');
    mkdirSync(readOnly);
    chmodSync(readOnly, 0o500);
    if (process.getuid?.() !== 0)
      await assert.rejects(serve(fakeHost().host, join(readOnly, 's')), code('WRITE_FAILED'));
  });
});

describe('what is wrong with a request is answered by its code, and ends nothing', () => {
  const json = { 'content-type': 'application/json' };
  const cases: readonly [method: string, path: string, body: string | Uint8Array, wanted: string, headers?: object][] =
    [
      ['GET', '/', '', 'USAGE'],
      ['GET', '//', '', 'USAGE'],
      ['GET', '/v2/host', '', 'USAGE'],
      ['PUT', '/v1/host', '', 'USAGE'],
      ['POST', '/v1/guests/g/fly', '', 'USAGE'],
      ['POST', '/v1/guests/g/pause/now', '', 'USAGE'],
      ['GET', '/v1/guests/', '', 'USAGE'],
      ['GET', '/v1/guests/*', '', 'GUEST_UNKNOWN'],
      ['GET', '/v1/guests/%', '', 'USAGE'],
      ['GET', '/v1/guests/%ff%fe', '', 'USAGE'],
      ['GET', '/v1/guests/..%2f..%2fetc', '', 'GUEST_UNKNOWN'],
      ['GET', '/v1/guests/__proto__', '', 'GUEST_UNKNOWN'],
      ['GET', '/v1/guests/g%00', '', 'GUEST_UNKNOWN'],
      ['DELETE', '/v1/guests/none', '', 'GUEST_UNKNOWN'],
      ['POST', '/v1/guests/none/pause', '', 'GUEST_UNKNOWN'],
      ['POST', '/v1/guests/none/console', 'x', 'GUEST_UNKNOWN'],
      ['POST', '/v1/guests/none/save', '{"path":"/x"}', 'GUEST_UNKNOWN', json],
      ['POST', '/v1/guests/none/save', '{}', 'GUEST_UNKNOWN', json],
      ['GET', '/v1/guests/none/console', '', 'GUEST_UNKNOWN'],
      ['DELETE', '/v1/work/none', '', 'USAGE'],
      ['POST', '/v1/guests', '', 'USAGE'],
      ['POST', '/v1/guests', '{', 'USAGE'],
      ['POST', '/v1/guests', 'null', 'USAGE'],
      ['POST', '/v1/guests', '{"boot":{"kind":"small"},"name":"../x"}', 'USAGE'],
      ['POST', '/v1/guests', '{"boot":{"kind":"small"},"name":""}', 'USAGE'],
      ['POST', '/v1/guests', '{"boot":{"kind":"small"},"memoryMiB":1e9}', 'USAGE'],
      ['POST', '/v1/guests', '{"boot":{"kind":"small"},"more":1}', 'USAGE'],
      ['POST', '/v1/guests', '{"boot":{"kind":"disk"}}', 'USAGE'],
      ['POST', '/v1/restore', '{}', 'USAGE', json],
      ['POST', '/v1/restore', '{"path":"/no/such"}', 'READ_FAILED', json],
      [
        'POST',
        '/v1/restore',
        'no image at all, of some length',
        'NOT_AN_IMAGE',
        { 'content-type': 'application/octet-stream' },
      ],
      ['POST', '/v1/restore?choice={', 'x', 'USAGE', { 'content-type': 'application/octet-stream' }],
      ['POST', '/v1/restore?choice={"path":"/x"}', 'x', 'USAGE', { 'content-type': 'application/octet-stream' }],
      ['POST', '/v1/restore?choice={"name":"a b"}', 'x', 'USAGE', { 'content-type': 'application/octet-stream' }],
    ];
  for (const [method, path, body, wanted, headers] of cases) {
    it(`${method} ${path} ${String(body).slice(0, 40)}: ${wanted}`, async () => {
      const { status, json: answered } = await ask(
        method,
        path.replaceAll('"', '%22').replaceAll(' ', '%20'),
        body,
        headers,
      );
      assert.equal(answered.error?.code, wanted);
      assert.ok(status >= 400, String(status));
      assert.deepEqual(await client.list(), []);
    });
  }

  it('too large a request', async () => {
    const { json: answered } = await ask('POST', '/v1/guests', Buffer.alloc(3 * 2 ** 20, ' '), json);
    assert.equal(answered.error?.code, 'USAGE');
  });

  it('too much for a console at once', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const { json: answered } = await ask('POST', '/v1/guests/g/console', Buffer.alloc(2 ** 20));
    assert.equal(answered.error?.code, 'USAGE');
    for (const tail of ['x', '-1', '1e3', '']) {
      assert.equal((await ask('GET', `/v1/guests/g/console?tail=${tail}`)).json.error?.code, 'USAGE');
    }
    await client.destroy('g');
  });

  it('what is not HTTP, and headers without end', async () => {
    assert.match(await send('\x16\x03\x01 no HTTP\r\n\r\n'), /USAGE/);
    assert.match(await send(`GET /v1/host HTTP/1.1\r\nhost: x\r\na: ${'a'.repeat(100_000)}\r\n\r\n`), /USAGE/);
    assert.equal((await client.info()).guests, 0);
  });

  it('an image that is refused at its start, while its sender goes on', async () => {
    const piece = Buffer.alloc(64 * 1024, 'no image ');
    let sent = 0;
    const endless = new Readable({
      read() {
        sent += piece.byteLength;
        this.push(sent > 64 * 2 ** 20 ? null : piece);
      },
    });
    await assert.rejects(client.restore({}, {}, endless), code('NOT_AN_IMAGE'));
    endless.destroy();
    assert.equal((await client.info()).guests, 0);
  });

  it('callers that go away in the middle', async () => {
    for (const start of ['POST /v1/guests HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{', 'GET /v1/ho']) {
      const socket = connect(socketPath, () => socket.write(start));
      await new Promise((resolve) => setTimeout(resolve, 20));
      socket.destroy();
    }
    assert.equal((await client.info()).guests, 0);
  });
});

describe('images through the socket', () => {
  it('that are refused are answered, also to who goes on sending and looks later', async () => {
    const socket = connect(socketPath);
    let broken: Error | null = null;
    socket.on('error', (cause) => (broken = cause));
    const head = [
      'POST /v1/restore?choice=%7B%22name%22%3A1%7D HTTP/1.1',
      'host: x',
      'content-type: application/octet-stream',
      'content-length: 100000000',
      'connection: close',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    for (let piece = 0; piece < 20; piece++) {
      socket.write(new Uint8Array(65_536));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(broken, null);
    const said = await new Promise<string>((resolve) => {
      socket.setEncoding('latin1').once('data', (text: unknown) => resolve(String(text)));
    });
    assert.match(said, /^HTTP\/1\.1 400 /);
    socket.destroy();
  });

  async function imageOf(name: string, after: 'run' | 'pause' | 'stop'): Promise<Buffer> {
    const parts: Buffer[] = [];
    const result = await client.saveTo(name, { after, codec: 'raw' }, (bytes) => {
      parts.push(Buffer.from(bytes));
      return Promise.resolve();
    });
    const image = Buffer.concat(parts);
    assert.equal(result.bytes, image.byteLength);
    assert.equal(result.state, { run: 'running', pause: 'paused', stop: 'destroyed' }[after]);
    return image;
  }

  it('go out and come in again', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const first = await imageOf('g', 'run');
    await imageOf('g', 'pause');
    await client.unpause('g');
    await imageOf('g', 'stop');
    assert.deepEqual(await client.list(), []);
    const { guest } = await client.restore(
      { name: 'h', paused: true },
      {},
      Readable.from([first.subarray(0, 999), first.subarray(999)]),
    );
    assert.deepEqual([guest.name, guest.state], ['h', 'paused']);
    assertSettled(fake);
    await client.destroy('h');
  });

  for (const after of ['run', 'pause', 'stop'] as const) {
    it(`to a reader who fails: with after: ${after} the guest goes on`, async () => {
      await fake.host.create(choiceOf({ name: 'g' }));
      for (const most of [0, 100_000, 2_000_000]) {
        let bytes = 0;
        const failing = client.saveTo('g', { after, codec: 'raw' }, (piece) => {
          bytes += piece.byteLength;
          return bytes > most ? Promise.reject(new Error('EPIPE')) : Promise.resolve();
        });
        await assert.rejects(failing, /EPIPE|lost/);
        await until('the save is over', () => fake.host.guest('g').info().busy === null);
        await until('the guest runs', () => fake.host.guest('g').state === 'running');
        assertSettled(fake);
      }
      await client.destroy('g');
    });
  }

  it('that fail on the way out say why', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    let reads = 0;
    fake.driver.last.before = (operation, machine) => {
      if (operation === 'readCapture' && ++reads === 3) machine.die('signal SIGKILL');
    };
    await assert.rejects(
      client.saveTo('g', { codec: 'raw' }, () => Promise.resolve()),
      code('GUEST_GONE'),
    );
    assert.equal((await client.guest('g')).state, 'crashed');
    await client.destroy('g');
  });

  it('that are refused are refused before a byte goes out', async () => {
    await assert.rejects(
      client.saveTo('none', {}, () => Promise.reject(new Error('bytes'))),
      code('GUEST_UNKNOWN'),
    );
  });
});

describe('what is cancelled', () => {
  it('is over when its caller hears of it', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const cancel = new AbortController();
    fake.driver.last.before = (operation) => {
      if (operation === 'readCapture') cancel.abort();
    };
    const path = join(directory.path, 'cancelled.tmig');
    await assert.rejects(client.save('g', { path, codec: 'raw' }, { signal: cancel.signal }), code('CANCELLED'));
    assert.equal(fake.host.guest('g').info().busy, null);
    assert.equal(fake.host.guest('g').state, 'running');
    assert.deepEqual(
      directory.list().filter((name) => name.includes('cancelled')),
      [],
    );
    assertSettled(fake);
    await client.destroy('g');
  });

  it('before it was sent, is not sent', async () => {
    const signal = AbortSignal.abort();
    await assert.rejects(client.save('none', { path: '/x' }, { signal }), code('CANCELLED'));
  });

  it('on a host that ends meanwhile was cancelled, and no connection was lost', async () => {
    const path = join(directory.path, 'ends.sock');
    const ending = createHttpServer((request, response) => {
      if (request.method === 'DELETE') ending.closeAllConnections();
      else response.write('\n');
    });
    await new Promise<void>((resolve) => ending.listen(path, resolve));
    const cancel = new AbortController();
    const image = new Readable({ read: () => undefined });
    const restored = new HostClient(path).restore({}, { signal: cancel.signal }, image);
    restored.catch(() => undefined);
    setTimeout(() => cancel.abort(), 20);
    await assert.rejects(restored, code('CANCELLED'));
    ending.close();
  });

  it('is not what somebody else asked for', async () => {
    assert.equal((await ask('DELETE', '/v1/work/6f1c0a52-8f3f-4f0e-9a67-2c6f0de6a001')).json.error?.code, 'USAGE');
  });
});

describe('a guest that crashes', () => {
  it('is listed with its reason, its console can be read, and others go on', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const machine = fake.driver.last;
    await fake.host.create(choiceOf({ name: 'other' }));
    await client.type('g', Buffer.from('last words'));
    machine.crash('triple fault');
    const [crashed, other] = await client.list();
    assert.deepEqual([crashed.state, crashed.reason, other.state], ['crashed', 'triple fault', 'running']);
    await assert.rejects(client.pause('g'), code('GUEST_CRASHED'));
    await assert.rejects(client.type('g', Buffer.from('x')), code('GUEST_CRASHED'));
    machine.die('exit code 1');
    let text = '';
    for await (const bytes of client.console('g', true)) text += Buffer.from(bytes).toString();
    assert.equal(text, 'last words');
    await client.destroy('g');
    assert.deepEqual(
      (await client.list()).map(({ name }) => name),
      ['other'],
    );
    await client.destroy('other');
    assert.equal(open.has(machine), false);
  });
});

describe('consoles', () => {
  it('show the newest, and what comes, to several at once', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    await client.type('g', Buffer.from('before '));
    const seen = ['', ''];
    const following = seen.map(async (_, i) => {
      for await (const bytes of client.console('g', true)) seen[i] += Buffer.from(bytes).toString();
    });
    await until('both follow', () => seen.every((text) => text === 'before '));
    await client.type('g', Buffer.from('after'));
    await until('both have it', () => seen.every((text) => text === 'before after'));
    await client.destroy('g');
    await Promise.all(following);
  });

  it('cost a bounded queue for one who does not read', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const { console } = fake.host.guest('g');
    const slow = console.follow();
    const first = slow.next();
    for (let i = 0; i < 64; i++) console.write(new Uint8Array(64 * 1024).fill(i));
    console.end();
    let bytes = 0;
    for (let step = await first; step.done !== true; step = await slow.next()) bytes += step.value.byteLength;
    assert.ok(bytes > 0 && bytes <= FOLLOWER_QUEUE_BYTES, String(bytes));
    assert.deepEqual(console.tail(3), Uint8Array.of(63, 63, 63));
    await client.destroy('g');
  });

  it('are left by one who stops, and by one whose signal came before', async () => {
    await fake.host.create(choiceOf({ name: 'g' }));
    const { console } = fake.host.guest('g');
    assert.deepEqual(await console.follow(AbortSignal.abort()).next(), { value: undefined, done: true });
    const leave = new AbortController();
    const following = console.follow(leave.signal).next();
    leave.abort();
    assert.deepEqual(await following, { value: undefined, done: true });
    await client.destroy('g');
  });
});
