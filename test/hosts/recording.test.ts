/** What came over a connection, kept as a file (protocol 10.1). */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { TransmigrateError } from '../../src/errors.ts';
import { inspectImage } from '../../src/image/inspect.ts';
import { verifyImage } from '../../src/image/verify.ts';
import type { Verification } from '../../src/image/verify/verification.ts';
import { FileSink } from '../../src/io/file-sink.ts';
import { openFileSource } from '../../src/io/file.ts';
import { Recording, type RecordFile } from '../../src/migrate/runner/recording.ts';
import { CuttingProxy } from '../support/host/cutting-proxy.ts';
import { choiceOf, code, FakeTmem, scratch } from '../support/host/fake-host.ts';
import { journaledHost, to, type JournaledHost } from '../support/host/two-hosts.ts';
import { until } from '../support/guest/machines.ts';

const directory = scratch(after);
let hosts = 0;
let source: JournaledHost;
let destination: JournaledHost;
let where: string;

beforeEach(async () => {
  source = await journaledHost(join(directory.path, `${++hosts}`));
  destination = await journaledHost(join(directory.path, `${++hosts}`));
  where = join(directory.path, `kept ${hosts}`);
  mkdirSync(where);
});
afterEach(async () => {
  await source.end();
  await destination.end();
});

async function verify(path: string): Promise<Verification> {
  const image = await openFileSource(path);
  try {
    return await verifyImage([image]);
  } finally {
    await image.close();
  }
}

/** Lines about recordings, on the destination. */
function lines(): string[] {
  const { migrations } = destination.host;
  return migrations
    .jobs()
    .flatMap(({ id }) => migrations.job(id).events)
    .flatMap(({ what, text }) => (what === 'recording' ? [text] : []));
}

describe('what came is kept', () => {
  it('as an image of the migration: it is sound, shows what was said, and restores', async () => {
    const path = join(where, 'came.tmig');
    writeFileSync(path, 'what was there before');
    const address = await destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, path);
    await source.host.create(choiceOf({ name: 'one' }));
    const slot = new FakeTmem(source.driver.last).fill('persistent', 50);
    const memory = source.driver.last.memory.slice();
    await source.host.migrations.migrate('one', to(address));
    await until('it is kept', () => lines().length > 0);
    const { size, mode } = statSync(path);
    assert.deepEqual(lines(), [`${size} bytes are kept in ${path}`]);
    assert.equal(mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(where), ['came.tmig']);
    const { verdict, errors, warnings } = await verify(path);
    assert.deepEqual([verdict, errors, warnings], ['sound', [], []]);
    const image = await openFileSource(path);
    const { records, preamble } = (await inspectImage(image, { records: true })) as unknown as {
      readonly records: readonly { readonly name: string; readonly fields?: { readonly json: string } }[];
      readonly preamble: { readonly kind: string };
    };
    await image.close();
    assert.equal(preamble.kind, 'migration');
    const said = records.filter(({ name }) => name.startsWith('org.transmigrate.protocol.'));
    assert.deepEqual(
      said.map(({ name }) => name.split('.').at(-1)),
      ['hello', 'offer', 'final', 'given', 'done'],
    );
    assert.equal((JSON.parse(said[1].fields!.json) as { machine: { name: string } }).machine.name, 'one');

    const restored = await source.host.restore({ path, sameIdentity: false, sharedDisks: false, paused: false }, {});
    assert.equal(restored.tmemPages, 50);
    assert.deepEqual(source.driver.last.memory, memory);
    new FakeTmem(source.driver.last).check('persistent', slot, 50);
  });

  it('of each connection for itself; of one that was cut as far as it came', async () => {
    const path = join(where, 'came.tmig');
    const address = await destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, path);
    const proxy = await CuttingProxy.start(address.port);
    try {
      proxy.cutAfter.push(8_000_000);
      await source.host.create(choiceOf({ name: 'one', memoryMiB: 32 }));
      await source.host.migrations.migrate('one', to(proxy));
      await until('both are kept', () => lines().length === 2);
      assert.deepEqual(readdirSync(where).toSorted(), ['came.tmig', 'came.tmig.2']);
      assert.deepEqual(
        (await verify(path)).errors.map((error) => error.code),
        ['TRUNCATED'],
      );
      assert.equal((await verify(`${path}.2`)).errors.length, 0);
    } finally {
      await proxy.close();
    }
  });

  it('when a host ends in the middle of it', async () => {
    const path = join(where, 'came.tmig');
    const address = await destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, path);
    await source.host.create(choiceOf({ name: 'one' }));
    const ended: Promise<void>[] = [];
    source.driver.last.before = (operation) => {
      if (operation === 'captureDevices' && ended.length === 0) ended.push(destination.end());
    };
    await assert.rejects(source.host.migrations.migrate('one', to(address)));
    await Promise.all(ended);
    assert.deepEqual(
      (await verify(path)).errors.map((error) => error.code),
      ['TRUNCATED'],
    );
    assert.deepEqual(readdirSync(where), ['came.tmig']);
  });

  it('but not of a question, nor of who is refused', async () => {
    const path = join(where, 'came.tmig');
    const address = await destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, path);
    await destination.host.create(choiceOf({ name: 'one' }));
    await source.host.create(choiceOf({ name: 'one' }));
    assert.equal((await source.host.migrations.check('one', to(address))).reasons.length, 1);
    await assert.rejects(source.host.migrations.migrate('one', to(address)), code('MIGRATION_REFUSED'));
    assert.deepEqual(readdirSync(where), []);
  });
});

describe('a recording that fails', () => {
  it('is told of at once where it can be', async () => {
    const path = join(where, 'nowhere', 'came.tmig');
    const listening = destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, path);
    await assert.rejects(listening, code('WRITE_FAILED'));
  });

  it('later does not touch the migration, and is told of with its reason', async () => {
    const address = await destination.host.migrations.listen({ host: '127.0.0.1', port: 0 }, join(where, 'came.tmig'));
    rmSync(where, { recursive: true });
    await source.host.create(choiceOf({ name: 'one' }));
    await source.host.migrations.migrate('one', to(address));
    assert.equal(destination.host.list().length, 1);
    await until('it is told', () => lines().length > 0);
    assert.match(lines()[0], /^what came is not kept: Can't write .*: the directory does not exist$/);
  });

  /** A disk that is full after so many bytes. */
  class FullDisk implements RecordFile {
    readonly path = 'full';
    readonly #most: number;
    bytes = 0;
    state = 'open';

    constructor(most: number) {
      this.#most = most;
    }

    write(bytes: Uint8Array): Promise<void> {
      assert.equal(this.state, 'open');
      this.bytes += bytes.byteLength;
      return this.bytes > this.#most ? Promise.reject(full()) : Promise.resolve();
    }

    commit(): Promise<void> {
      if (this.#most === 2000) return Promise.reject(full());
      this.state = 'committed';
      return Promise.resolve();
    }

    abort(): Promise<void> {
      this.state = 'aborted';
      return Promise.resolve();
    }
  }
  const full = (): TransmigrateError => new TransmigrateError('WRITE_FAILED', "Can't write full: the disk is full");

  async function* pieces(): AsyncGenerator<Uint8Array> {
    const piece = new Uint8Array(100);
    for (let i = 0; i < 10; i++) {
      // One buffer for all of them, as a connection has it.
      yield piece.fill(i);
    }
  }

  for (const [most, wanted, state] of [
    [Infinity, '1000 bytes are kept in full', 'committed'],
    [450, "what came is not kept: Can't write full: the disk is full", 'aborted'],
    [50, "what came is not kept: Can't write full: the disk is full", 'aborted'],
    [2000, "what came is not kept: Can't write full: the disk is full", 'aborted'],
  ] as const) {
    it(`by a disk with room for ${most} bytes: everything comes through`, async () => {
      const disk = new FullDisk(most);
      const recording = new Recording(() => Promise.resolve(disk));
      let came = 0;
      for await (const piece of recording.pieces(pieces(), () => came >= 3)) {
        assert.ok(piece.every((byte) => byte === came));
        came++;
      }
      assert.equal(came, 10);
      assert.equal(await recording.end(), wanted);
      assert.equal(disk.state, state);
    });
  }

  it('keeps the bytes as they were, though the connection uses its buffer again', async () => {
    const path = join(where, 'bytes');
    const recording = new Recording(() => FileSink.create(path, 'x'));
    let came = 0;
    for await (const piece of recording.pieces(pieces(), () => came >= 3)) came += piece.byteLength / 100;
    await recording.end();
    const kept = readFileSync(path);
    assert.equal(kept.byteLength, 1000);
    assert.ok(kept.every((byte, at) => byte === Math.floor(at / 100)));
  });
});
