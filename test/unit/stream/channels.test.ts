import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyImage } from '../../../src/image/verify.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { meet } from '../../../src/stream/channels.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { choice, somePages } from '../../support/streams.ts';

/** A migration over `channels` connections: RAM dealt out, resent in a second round after a meeting. */
async function channelsOf(channels: number): Promise<Uint8Array[]> {
  const sinks = Array.from({ length: channels }, () => new MemorySink());
  const writers: StreamWriter[] = [];
  for (const [channel, sink] of sinks.entries()) {
    const preamble = choice({ kind: 'migration', indexed: false, channels, channel });
    writers.push(await StreamWriter.open(sink, preamble, { channel }));
  }
  for (let round = 0; round < 2; round++) {
    for (let batch = 0; batch < 8; batch++) {
      const pages = somePages(16, `round ${round} batch ${batch}`);
      await writers[(batch + round) % channels].ram(16 * batch, 16, pages);
    }
    await meet(writers);
    for (const writer of writers) await writer.round();
  }
  await meet(writers);
  for (const writer of writers) await writer.checkpoint();
  const chains = await meet(writers);
  for (const writer of writers) await writer.end(chains);
  return sinks.map((sink) => sink.bytes());
}

test('S14: one to four channels carry the same memory', async () => {
  const digests: unknown[] = [];
  for (const channels of [2, 3, 4]) {
    const sources = (await channelsOf(channels)).map((bytes) => memorySource(bytes));
    const result = await verifyImage(sources.toReversed(), { digest: true });
    assert.equal(result.verdict, 'sound', JSON.stringify(result.errors));
    digests.push(result.memory);
  }
  assert.deepEqual(digests[1], digests[0]);
  assert.deepEqual(digests[2], digests[0]);
});

test('S14: a channel is missing, given twice, or of another stream', async () => {
  const [a, b] = await channelsOf(2);
  const verdict = async (...channels: Uint8Array[]): Promise<string> => {
    const result = await verifyImage(channels.map((bytes) => memorySource(bytes)));
    return `${result.verdict} ${result.errors.map((error) => error.code).join()}`;
  };
  assert.equal(await verdict(a), 'broken CHAIN_VECTOR');
  assert.equal(await verdict(a, a), 'broken CHAIN_VECTOR');
  const [, other] = await channelsOf(3);
  assert.equal(await verdict(a, other), 'broken CHAIN_VECTOR');
  assert.equal(await verdict(a, b), 'sound ');
});

test('S14: a channel that is cut', async () => {
  const [a, b] = await channelsOf(2);
  const result = await verifyImage([memorySource(a), memorySource(b.subarray(0, b.byteLength - 100))]);
  assert.equal(result.errors[0].code, 'TRUNCATED');
});
