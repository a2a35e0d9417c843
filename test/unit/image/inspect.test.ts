import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { inspectImage } from '../../../src/image/inspect.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { memorySource } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { PAGE_CLASS } from '../../../src/stream/records/ram.ts';
import { random } from '../../support/random.ts';
import { PAGE, somePages, written } from '../../support/streams.ts';

/** An image with something of everything, with pages that come twice. */
function everything(): Promise<Uint8Array> {
  return written(
    async (writer) => {
      await writer.tmemClient({ compress: false, frozen: true, weight: 7, cap: 9, allowancePages: 5n, authorised: [] });
      await writer.tmemPool({
        ephemeral: false,
        incarnation: 3n,
        pool: 2,
        shared: false,
        precompressed: false,
        pageSize: PAGE,
        objectIdBits: 64,
        uuid: '00000000-0000-0000-0000-000000000000',
        pages: 3n,
      });
      await writer.ram(10, 400, somePages(400, 'everything'));
      await writer.round();
      for (let i = 0; i < 3; i++) {
        await writer.tmemPage(3n, new Uint32Array([i, 0, 0, 0, 0, 0]), i, CODEC.raw, 6, new Uint8Array(6).fill(1 + i));
      }
      await writer.tmemInvalidate(3n, 'pages', [{ object: [1n, 0n, 0n], index: 1 }]);
      await writer.ram(100, 50, somePages(50, 'again'));
      await writer.absent(300, 20, PAGE_CLASS.ballooned);
      await writer.device(
        { device: 0, name: 'm', format: 'f', version: '1', fingerprint: new Uint8Array(32) },
        random('blob').scramble(new Uint8Array(3_000_000)),
      );
      await writer.disk({
        disk: 0,
        policy: 'shared',
        readOnly: false,
        bytes: 2n ** 40n,
        sha256: null,
        name: 'hda',
        format: 'raw',
        locator: 'nbd://somewhere',
      });
      await writer.origin('xl', new Uint8Array(5000).fill(9));
    },
    {},
    { codec: CODEC.zstd },
  );
}

/** The same bytes as if from a pipe. */
function piped(bytes: Uint8Array): ByteSource {
  return { ...memorySource(bytes), size: null, random: null };
}

test('by the index or by reading everything: the same is said of an image', async () => {
  const bytes = await everything();
  const fast = await inspectImage(memorySource(bytes));
  const slow = await inspectImage(piped(bytes));
  assert.equal(fast.indexed, true);
  assert.equal(slow.indexed, false);
  assert.equal(slow.error, null);
  assert.equal(slow.memory.pages, 450);
  assert.equal(slow.memory.distinctPages, 380);
  assert.equal(slow.memory.zeroPages + slow.memory.rawPages + slow.memory.compressedPages, 450);
  assert.equal(slow.tmem!.pools[0].pages, 3);
  assert.equal(slow.tmem!.pools[0].invalidated, 1);
  // The index knows neither which tmem pages are zero, nor do the two read as many bytes.
  fast.tmem!.pools[0].zeroPages = slow.tmem!.pools[0].zeroPages;
  const same = { file: null, bytesRead: 0, indexed: false };
  assert.deepEqual({ ...fast, ...same }, { ...slow, ...same });
  assert.equal(slow.bytesRead, bytes.byteLength);
  assert.ok(fast.bytesRead < slow.bytesRead / 100, `${fast.bytesRead} of ${slow.bytesRead}`);
});

test('an index that is damaged is not believed: everything is read, and the damage is said', async () => {
  const bytes = await everything();
  for (let at = bytes.byteLength - 400; at < bytes.byteLength; at += 13) {
    const damaged = bytes.slice();
    damaged[at] ^= 1;
    const result = await inspectImage(memorySource(damaged));
    assert.equal(result.indexed, false);
    assert.notEqual(result.error, null, `byte ${at}`);
    assert.equal(result.memory.pages, 450);
  }
});

test('what could be read before a cut is shown', async () => {
  const bytes = await everything();
  const result = await inspectImage(memorySource(bytes.subarray(0, bytes.byteLength >> 1)));
  assert.equal(result.error!.code, 'TRUNCATED');
  assert.equal(result.complete, false);
  assert.deepEqual(result.about, { name: 'test' });
});

test('cancelling stops the reading', async () => {
  const cancel = new AbortController();
  cancel.abort();
  await assert.rejects(verifyImage([memorySource(await everything())], { signal: cancel.signal }), {
    code: 'CANCELLED',
  });
});
