import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { openFileSource } from '../../../src/io/file.ts';
import { FileSink } from '../../../src/io/file-sink.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { openPipeSource } from '../../../src/io/pipe.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { spool } from '../../../src/io/spool.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { random } from '../../support/random.ts';
import { choice, PAGE, written } from '../../support/streams.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-io-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function folder(name: string): string {
  const path = join(directory, name);
  mkdirSync(path);
  return path;
}

test('a file is whole or absent: it has no name before it is committed', async () => {
  const place = folder('commit');
  const sink = await FileSink.create(join(place, 'a.tmig'), '1');
  await sink.write(Uint8Array.of(1, 2, 3));
  assert.deepEqual(readdirSync(place), ['.a.tmig.1.partial']);
  assert.equal(statSync(join(place, '.a.tmig.1.partial')).mode & 0o777, 0o600);
  await sink.commit();
  assert.deepEqual(readdirSync(place), ['a.tmig']);
  assert.deepEqual([...readFileSync(join(place, 'a.tmig'))], [1, 2, 3]);
});

test('writes that overlap in time keep their order in the file', async () => {
  const path = join(folder('order'), 'a');
  const sink = await FileSink.create(path, '1');
  const writes = Array.from({ length: 50 }, (_, i) => sink.write(new Uint8Array(10_000 + i).fill(i)));
  await Promise.all(writes);
  await sink.commit();
  const bytes = readFileSync(path);
  for (let i = 0, at = 0; i < 50; at += 10_000 + i++) assert.equal(bytes[at], i);
});

test('a sink that is given up leaves nothing; an existing file stays until the new one is whole', async () => {
  const place = folder('abort');
  writeFileSync(join(place, 'a.tmig'), 'old');
  const sink = await FileSink.create(join(place, 'a.tmig'), '1');
  await sink.write(new Uint8Array(1000));
  await sink.abort();
  assert.deepEqual(readdirSync(place), ['a.tmig']);
  assert.equal(readFileSync(join(place, 'a.tmig'), 'utf8'), 'old');
});

test('a directory that does not exist, and one that vanishes', async () => {
  await assert.rejects(FileSink.create(join(directory, 'none', 'a'), '1'), (error) => {
    assert.ok(error instanceof TransmigrateError);
    assert.equal(error.code, 'WRITE_FAILED');
    assert.match(error.message, /directory does not exist/);
    return true;
  });
  const place = folder('vanishing');
  const sink = await FileSink.create(join(place, 'a'), '1');
  rmSync(place, { recursive: true });
  await sink.write(new Uint8Array(10));
  await assert.rejects(sink.commit(), { code: 'WRITE_FAILED' });
});

test('a full disk: a clear error, and no file that looks whole', async (t) => {
  const place = folder('full');
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', place]);
  if (mounted.status !== 0) {
    t.skip('needs root, to mount a file system of 2 MiB');
    return;
  }
  try {
    const sink = await FileSink.create(join(place, 'a.tmig'), '1');
    const pages = random('full').scramble(new Uint8Array(1024 * PAGE));
    await assert.rejects(
      async () => {
        const writer = await StreamWriter.open(sink, choice(), {});
        for (let i = 0; i < 4; i++) await writer.ram(1024 * i, 1024, pages);
        await writer.checkpoint();
        await writer.end();
        await sink.commit();
      },
      (error) =>
        error instanceof TransmigrateError && error.code === 'WRITE_FAILED' && /disk is full/.test(error.message),
    );
    await sink.abort();
    assert.deepEqual(readdirSync(place), []);
  } finally {
    spawnSync('umount', [place]);
  }
});

test('a writer that is killed leaves no file of the name', async () => {
  const place = folder('killed');
  const script = `
    import { FileSink } from ${JSON.stringify(new URL('../../../src/io/file-sink.ts', import.meta.url).href)};
    const sink = await FileSink.create(${JSON.stringify(join(place, 'a.tmig'))}, '1');
    await sink.write(new Uint8Array(100000));
    console.log('written');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  assert.deepEqual(readdirSync(place), ['.a.tmig.1.partial']);
});

test('a pipe that is put aside can be read at any place, and has no name from the start', async () => {
  const bytes = await written((writer) => writer.ram(5, 3, random('spool').scramble(new Uint8Array(3 * PAGE))));
  const child = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(bytes);
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith('transmigrate-'));
  const source = await spool(openPipeSource(child.stdout, 'standard input'));
  assert.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith('transmigrate-')),
    before,
  );
  assert.equal(source.name, 'standard input');
  const progress: number[] = [];
  const result = await verifyImage([source], { digest: true, onProgress: (done) => progress.push(done) });
  assert.equal(result.verdict, 'sound');
  assert.equal(result.memory!.pages, 3);
  assert.ok(progress.includes(bytes.byteLength), 'putting it aside shows progress');
  assert.ok(progress.at(-1)! > bytes.byteLength, 'and so does reading it again');
  assert.equal(source.random!.size, bytes.byteLength);
  const part = new Uint8Array(100);
  assert.equal(await source.random!.readAt(1000, part), 100);
  assert.deepEqual(part, bytes.slice(1000, 1100));
  assert.equal(await source.random!.readAt(bytes.byteLength - 10, part), 10, 'fewer at the end');
  await source.close();
});

test('a pipe without an image in it is not read to its end', async () => {
  let pieces = 0;
  const endless: ByteSource = {
    ...memorySource(new Uint8Array(0), 'zeros'),
    size: null,
    random: null,
    async *pieces() {
      for (;;) {
        pieces++;
        yield new Uint8Array(1000);
      }
    },
  };
  const source = await spool(endless);
  assert.equal((await verifyImage([source], { digest: true })).errors[0].code, 'NOT_AN_IMAGE');
  assert.ok(pieces < 5, `${pieces} pieces`);
  await source.close();
});

test('a pipe longer than the limit is refused', async () => {
  const child = spawn(process.execPath, ['-e', 'process.stdout.write(Buffer.alloc(5000))'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const source = await spool(openPipeSource(child.stdout, 'a pipe'), 4000);
  await assert.rejects(
    async () => {
      for await (const piece of source.pieces()) assert.ok(piece.byteLength > 0);
    },
    { code: 'WRITE_FAILED' },
  );
  await source.close();
});

test('what can not be read says why', async () => {
  const reading = (path: string): Promise<unknown> => openFileSource(path);
  await assert.rejects(reading(join(directory, 'missing')), /there is no such file/);
  await assert.rejects(reading(directory), /it is a directory/);
  if (process.getuid?.() !== 0) {
    const path = join(directory, 'forbidden');
    writeFileSync(path, '');
    chmodSync(path, 0);
    await assert.rejects(reading(path), /permission denied/);
  }
});
