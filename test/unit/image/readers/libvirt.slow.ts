/** A QEMU stream of more than 1 GiB: in several devices, none of which is held. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { CODEC } from '../../../../src/codec/codec.ts';
import { encodeLibvirtHead } from '../../../../src/foreign/libvirt/save-image.ts';
import { replayOrigin } from '../../../../src/image/convert/replay.ts';
import { convertToTmig } from '../../../../src/image/convert/to-tmig.ts';
import { openImage } from '../../../../src/image/open/open-image.ts';
import { writeLibvirt } from '../../../../src/image/writers/libvirt.ts';
import { MemorySink, memorySource } from '../../../../src/io/memory.ts';
import { piecesOf } from '../../../../src/io/pieces-of.ts';
import type { ByteSource } from '../../../../src/io/source.ts';

const MIB = 1024 * 1024;
const STREAM_BYTES = 2 * 1024 * MIB + 12_345;

/** An image whose stream is only made when it is read. */
function largeImage(): ByteSource {
  const head = encodeLibvirtHead({ xml: '<domain/>', cookie: undefined, wasRunning: 0, compression: 0 });
  const magic = Uint8Array.from([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]);
  const size = head.byteLength + STREAM_BYTES;
  const random = {
    name: 'large',
    size,
    readAt: (position: number, into: Uint8Array): Promise<number> => {
      const part = into.subarray(0, Math.max(0, size - position));
      for (let at = 0; at < part.byteLength;) {
        const block = Math.floor((position + at) / MIB);
        const end = (block + 1) * MIB - position;
        part.fill(block & 0xff, at, end);
        at = end;
      }
      if (position < head.byteLength) part.set(head.subarray(position, position + part.byteLength));
      for (let i = 0; i < magic.byteLength; i++) {
        const at = head.byteLength + i - position;
        if (at >= 0 && at < part.byteLength) part[at] = magic[i];
      }
      return Promise.resolve(part.byteLength);
    },
  };
  return {
    name: 'large',
    size,
    container: false,
    random,
    pieces: () => piecesOf(random),
    close: () => Promise.resolve(),
  };
}

/** What would be written, as a digest and a length. */
function hashing(): { write(bytes: Uint8Array): Promise<void>; done(): string } {
  const hash = createHash('sha256');
  let length = 0;
  return {
    write: (bytes) => {
      hash.update(bytes);
      length += bytes.byteLength;
      return Promise.resolve();
    },
    done: () => `${length} ${hash.digest('hex')}`,
  };
}

test('an image of 2 GiB comes back, and memory does not grow with it', async () => {
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const onProgress = (): void => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  };
  const sink = new MemorySink();
  const options = { streamId: new Uint8Array(16), codec: CODEC.zstd, about: {}, origin: true, onProgress };
  await convertToTmig('libvirt', largeImage(), sink, options);
  const ours = memorySource(sink.bytes());
  const [replayed, again] = [hashing(), hashing()];
  await replayOrigin(ours, replayed, { onProgress });
  const image = await openImage(ours);
  assert.deepEqual(
    image.devices.filter(({ name }) => name.startsWith('qemu')).map(({ bytes }) => bytes),
    [1024 * MIB, 1024 * MIB, 12_345],
  );
  await writeLibvirt(image, again, { onProgress });
  const original = hashing();
  for await (const piece of piecesOf(largeImage().random!)) await original.write(piece);
  const expected = original.done();
  assert.equal(replayed.done(), expected);
  assert.equal(again.done(), expected);
  assert.ok(most < 256 * MIB, `${most} bytes`);
});
