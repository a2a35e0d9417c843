import assert from 'node:assert/strict';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, describe, it } from 'node:test';
import { WritableSink } from '../../../src/io/writable-sink.ts';
import { scratch } from '../../support/host/fake-host.ts';

const directory = scratch(after);

/** Writes three pieces that lie in the same memory, one after the other. */
async function writeAll(sink: WritableSink): Promise<void> {
  const piece = Buffer.alloc(5);
  for (const text of ['first', 'other', 'third']) {
    piece.write(text);
    await sink.write(piece);
  }
  piece.fill(0);
}

describe('a stream of Node as a sink', () => {
  it('that hands pieces on to be read later has what was written, though the memory was used again', async () => {
    const pipe = new PassThrough();
    const sink = new WritableSink(pipe);
    await writeAll(sink);
    await sink.end();
    assert.equal(String(pipe.read()), 'firstotherthird');
  });

  it('that is a file has it too', async () => {
    const path = join(directory.path, 'file');
    const sink = new WritableSink(createWriteStream(path));
    await writeAll(sink);
    await sink.end();
    assert.equal(readFileSync(path, 'utf8'), 'firstotherthird');
  });
});
