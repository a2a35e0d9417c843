/** Who is believed over TLS, and the keys that this package makes (H4, N4). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectRaw } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { connect as connectNode } from 'node:tls';
import type { TransmigrateError } from '../../../src/errors.ts';
import { identityOf, makeKeys, type KeyPair } from '../../../src/io/certificate.ts';
import type { Connection } from '../../../src/io/connection.ts';
import type { Listener } from '../../../src/io/tcp.ts';
import { connectTls, listenTls, type TlsOptions } from '../../../src/io/tls.ts';
import { code } from '../../support/host/fake-host.ts';

const NOW = new Date();
let serials = 1;
function pair(...names: string[]): KeyPair {
  return makeKeys({ names, from: NOW, days: 2, serial: new Uint8Array(16).fill(serials++) });
}
const source = pair('source.example');
const destination = pair('destination.example', '127.0.0.1', 'localhost', '::1');
const stranger = pair('127.0.0.1');

function options({ certificate, key }: KeyPair, trust: Partial<TlsOptions>): TlsOptions {
  return { certificate, key, ...trust };
}

const listeners: Listener[] = [];
after(async () => {
  for (const listener of listeners) await listener.close();
});

interface Destination {
  readonly listener: Listener;
  readonly taken: Connection[];
  readonly refused: TransmigrateError[];
}

async function listen(tls: TlsOptions, handshakeMs = 10_000): Promise<Destination> {
  const taken: Connection[] = [];
  const refused: TransmigrateError[] = [];
  const take = async (connection: Connection): Promise<void> => {
    taken.push(connection);
    for await (const piece of connection.pieces()) await connection.write(piece);
    await connection.close();
  };
  const onRefused = (error: TransmigrateError): void => void refused.push(error);
  const listener = await listenTls({ host: '127.0.0.1', port: 0 }, tls, take, { handshakeMs, onRefused });
  listeners.push(listener);
  return { listener, taken, refused };
}

/** Says something, and reads what comes back until the end. */
async function echo(connection: Connection): Promise<string> {
  await connection.write(Buffer.from('hello'));
  await connection.end();
  let text = '';
  for await (const piece of connection.pieces()) text += Buffer.from(piece).toString();
  await connection.close();
  return text;
}

describe('two hosts that trust each other', () => {
  const cases: [name: string, here: Partial<TlsOptions>, there: Partial<TlsOptions>][] = [
    ['by certificates', { authorities: destination.certificate }, { authorities: source.certificate }],
    ['by identities', { peers: [destination.identity] }, { peers: ['00', source.identity] }],
    [
      'by both',
      { authorities: stranger.certificate + destination.certificate, peers: [destination.identity] },
      { authorities: source.certificate, peers: [source.identity] },
    ],
  ];
  for (const [name, here, there] of cases) {
    it(`${name} speak, and know who the other is`, async () => {
      const { listener, taken } = await listen(options(destination, there));
      const connection = await connectTls(listener.address, options(source, here));
      assert.equal(connection.peer, destination.identity);
      assert.equal(await echo(connection), 'hello');
      assert.equal(taken[0].peer, source.identity);
    });
  }
});

describe('a peer that is not trusted', () => {
  const both = { authorities: destination.certificate };
  it('is refused by who connects: another certificate, another name, another key', async () => {
    const { listener, taken } = await listen(options(destination, { peers: [source.identity] }));
    const { address } = listener;
    const trusts = (trust: Partial<TlsOptions>): TlsOptions => options(source, trust);
    const untrusted = code('PEER_UNTRUSTED');
    await assert.rejects(connectTls(address, trusts({ authorities: stranger.certificate })), untrusted);
    await assert.rejects(connectTls(address, trusts({ peers: [stranger.identity] })), untrusted);
    await assert.rejects(connectTls(address, trusts({ ...both, peers: [stranger.identity] })), untrusted);
    const { listener: misnamed } = await listen(options(source, { peers: [source.identity] }));
    const byName = options(source, { authorities: source.certificate });
    await assert.rejects(connectTls(misnamed.address, byName), untrusted);
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const connection of taken) connection.reset();
  });

  it('is refused by who is connected to, which says why; nothing of it is taken', async () => {
    const { listener, taken, refused } = await listen(options(destination, { authorities: source.certificate }));
    const connection = await connectTls(listener.address, options(stranger, both));
    const answer = echo(connection).catch((error: unknown) => assert.ok(code('CONNECTION_LOST')(error)));
    assert.ok(['', undefined].includes((await answer) as string | undefined));
    // Without a certificate.
    const bare = connectNode({ ...listener.address, rejectUnauthorized: false });
    bare.on('error', () => undefined);
    await once(bare.resume(), 'close');
    assert.deepEqual(taken, []);
    assert.deepEqual(
      refused.map(({ code: each }) => each),
      ['PEER_UNTRUSTED', 'PEER_UNTRUSTED'],
    );
    const pinned = await listen(options(destination, { peers: [source.identity] }));
    const other = await connectTls(pinned.listener.address, options(stranger, both));
    await echo(other).catch(() => undefined);
    assert.equal(pinned.refused[0].code, 'PEER_UNTRUSTED');
    await connection.close();
    await other.close();
  });

  it('speaks an older TLS, or none at all, or nothing', async () => {
    const { listener, taken, refused } = await listen(options(destination, { peers: [source.identity] }), 300);
    const { port } = listener.address;
    const old = connectNode({ ...listener.address, maxVersion: 'TLSv1.2', rejectUnauthorized: false });
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException];
    assert.match(String(error.code), /VERSION/);
    const plain = connectRaw(port, '127.0.0.1');
    plain.on('error', () => undefined);
    plain.end('GET / HTTP/1.1\r\n\r\n');
    await once(plain.resume(), 'close');
    const silent = connectRaw(port, '127.0.0.1');
    silent.on('error', () => undefined);
    await once(silent.resume(), 'close');
    assert.deepEqual(taken, []);
    assert.equal(refused.length, 3);
    assert.ok(refused.every(({ exitCode }) => exitCode === 13 || exitCode === 12));
  });

  it('can not even be named: without anybody to believe there is no TLS', async () => {
    const nobody = options(source, {});
    await assert.rejects(connectTls({ host: '127.0.0.1', port: 9 }, nobody), code('USAGE'));
    await assert.rejects(listen(nobody), code('USAGE'));
    const mixed = { certificate: source.certificate, key: destination.key, peers: [] };
    await assert.rejects(connectTls({ host: '127.0.0.1', port: 9 }, mixed), code('USAGE'));
    await assert.rejects(listen({ certificate: 'x', key: 'y', peers: [] }), code('USAGE'));
  });
});

describe('keys that are made', () => {
  it('say whose they are and how long they hold, in X.509', () => {
    const names = ['host.example', '*.example', '10.0.0.255', 'fe80::1:2', '::ffff:1.2.3.4', '::'];
    const { certificate, key, identity } = makeKeys({
      names,
      from: new Date('2026-02-03T04:05:06.789Z'),
      days: 365,
      serial: Uint8Array.from({ length: 16 }, (_, i) => 0xf0 + i),
    });
    const read = new X509Certificate(certificate);
    assert.equal(read.subject, 'CN=host.example');
    assert.equal(read.issuer, read.subject);
    assert.equal(read.serialNumber, 'F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF');
    assert.equal(read.validFromDate.toISOString(), '2026-02-03T04:05:06.000Z');
    assert.equal(read.validToDate.toISOString(), '2027-02-03T04:05:06.000Z');
    assert.equal(read.ca, false);
    assert.equal(
      read.subjectAltName,
      'DNS:host.example, DNS:*.example, IP Address:10.0.0.255, ' +
        'IP Address:FE80:0:0:0:0:0:1:2, IP Address:0:0:0:0:0:FFFF:102:304, IP Address:0:0:0:0:0:0:0:0',
    );
    for (const name of ['10.0.0.255', 'fe80::1:2', '::ffff:1.2.3.4']) assert.equal(read.checkIP(name), name);
    assert.deepEqual(read.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.ok(read.verify(read.publicKey));
    assert.match(key, /^-----BEGIN PRIVATE KEY-----\n/);
    assert.equal(identityOf(read), identity);
    assert.match(identity, /^[0-9a-f]{64}$/);
  });

  it('may hold beyond 2049, where years are written otherwise, and have small serials', () => {
    const serial = new Uint8Array(16);
    serial[15] = 5;
    const { certificate } = makeKeys({ names: ['h'], from: new Date('2049-12-31T23:59:59Z'), days: 1, serial });
    const read = new X509Certificate(certificate);
    assert.equal(read.validFromDate.toISOString(), '2049-12-31T23:59:59.000Z');
    assert.equal(read.validToDate.toISOString(), '2050-01-01T23:59:59.000Z');
    assert.equal(BigInt(`0x${read.serialNumber}`), 5n);
  });

  it('are no two the same', () => {
    assert.notEqual(pair('h').identity, pair('h').identity);
  });

  it('are refused for names and days that there are not', () => {
    const sound = { names: ['h'], from: NOW, days: 1, serial: new Uint8Array(16) };
    for (const names of [[], ['a b'], [''], ['a/b'], ['-a'], ['a..b'], ['a'.repeat(64)], ['1.2.3.4\n']]) {
      assert.throws(() => makeKeys({ ...sound, names }), code('USAGE'), JSON.stringify(names));
    }
    for (const days of [0, -1, 1.5, 1e9, NaN]) assert.throws(() => makeKeys({ ...sound, days }), code('USAGE'));
    assert.throws(() => makeKeys({ ...sound, serial: new Uint8Array(8) }), code('USAGE'));
    assert.throws(() => makeKeys({ ...sound, from: new Date(NaN) }), code('USAGE'));
  });

  const openssl = spawnSync('openssl', ['version']).status === 0;
  it('are read and verified by openssl', { skip: !openssl }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'tmig-keys-'));
    try {
      const file = join(folder, 'certificate.pem');
      writeFileSync(file, destination.certificate);
      const { stdout, stderr, status } = spawnSync('openssl', ['verify', '-x509_strict', '-CAfile', file, file], {
        encoding: 'utf8',
      });
      assert.equal(status, 0, stdout + stderr);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
