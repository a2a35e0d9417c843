/** A file that is written whole or not at all, and never in the place of what is no file. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { FileSink } from '../../../src/io/file-sink.ts';
import { code, scratch } from '../../support/host/fake-host.ts';

const directory = scratch(after);

it('keeps what is no file, and leaves nothing beside it', async () => {
  const place = join(directory.path, 'kinds');
  mkdirSync(join(place, 'directory'), { recursive: true });
  const kinds = ['directory'];
  if (spawnSync('mkfifo', [join(place, 'fifo')]).status === 0) kinds.push('fifo');
  symlinkSync('directory', join(place, 'link'));
  for (const kind of [...kinds, 'link']) {
    const before = lstatSync(join(place, kind));
    await assert.rejects(FileSink.create(join(place, kind), 'x'), code('WRITE_FAILED'));
    assert.equal(lstatSync(join(place, kind)).ino, before.ino);
  }
  await assert.rejects(FileSink.create('/dev/null', 'x'), code('WRITE_FAILED'));
  assert.ok(lstatSync('/dev/null').isCharacterDevice());
});

it('replaces the file that a link leads to, and not the link', async () => {
  const place = join(directory.path, 'links');
  mkdirSync(join(place, 'far'), { recursive: true });
  writeFileSync(join(place, 'far', 'file'), 'old');
  symlinkSync('far/file', join(place, 'link'));
  const sink = await FileSink.create(join(place, 'link'), 'x');
  await sink.write(Buffer.from('new'));
  assert.equal(readFileSync(join(place, 'link'), 'utf8'), 'old');
  await sink.commit();
  assert.ok(lstatSync(join(place, 'link')).isSymbolicLink());
  assert.equal(readFileSync(join(place, 'far', 'file'), 'utf8'), 'new');
  assert.equal(lstatSync(join(place, 'far', 'file')).mode & 0o777, 0o600);
});

it('leaves out long runs of zeros, and is the same file', async () => {
  const path = join(directory.path, 'sparse');
  const content = Buffer.alloc(9 * 2 ** 20 + 77);
  content.write('start');
  content.fill(7, 3_000_001, 3_100_003);
  content.fill(1, 8_000_000, 8_000_001);
  const sink = await FileSink.create(path, 'x');
  // Pieces that begin and end anywhere, and several at once.
  const writes: Promise<void>[] = [];
  for (let at = 0, step = 1; at < content.byteLength; at += step, step = (step * 7 + 11) % 700_000) {
    writes.push(sink.write(content.subarray(at, at + step)));
  }
  await Promise.all(writes);
  assert.equal(sink.bytes, content.byteLength);
  await sink.commit();
  assert.ok(readFileSync(path).equals(content));
  // Where the system says what a file takes, this one takes less.
  const { blocks, size } = lstatSync(path);
  assert.equal(size, content.byteLength);
  assert.ok(blocks * 512 < size / 2 || blocks === 0, `${blocks} blocks`);
});
