import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { receiveInto, type Receiver } from '../../../src/io/receive-into.ts';

/** Bytes of a large and then a small write of a child process. */
const SENT = 300_007;
const PROGRAM = `
  const { Socket } = require('node:net');
  const out = new Socket({ fd: 3 });
  out.write(Buffer.alloc(300_000, 'x'), () => out.end('is here'));
`;

/** Keeps what comes, read through one buffer of so many bytes. */
class Kept implements Receiver {
  readonly pieces: Buffer[] = [];
  readonly #room: Uint8Array;

  constructor(bytes: number) {
    this.#room = new Uint8Array(bytes);
  }

  room(): Uint8Array {
    return this.#room;
  }

  took(length: number): void {
    this.pieces.push(Buffer.from(this.#room.subarray(0, length)));
  }
}

describe('receiving into memory that is there', () => {
  it('takes the pipe of a child process, whose end is heard as before', async () => {
    const child = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
    const kept = new Kept(50_000);
    const pipe = child.stdio[3] as Socket;
    const moved = receiveInto(pipe, kept);
    assert.notEqual(moved, pipe);
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 0);
    const all = Buffer.concat(kept.pieces);
    assert.equal(all.byteLength, SENT);
    assert.ok(all.toString().endsWith('xis here'));
    assert.ok(moved.destroyed && pipe.destroyed);
  });

  it('copies where a socket is not what it looks like', () => {
    const stream = new PassThrough();
    const socket = Object.assign(stream, { bytesRead: 0 }) as unknown as Socket;
    const kept = new Kept(4);
    assert.equal(receiveInto(socket, kept), socket);
    stream.emit('data', Buffer.from('eleven char'));
    assert.deepEqual(
      kept.pieces.map((piece) => piece.toString()),
      ['elev', 'en c', 'har'],
    );
  });
});
