/** Several channels: what is found names its channel and file, and what every channel has is counted once. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { problemText } from '../../../src/cli/text/problem.ts';
import { PLAIN } from '../../../src/cli/text/style.ts';
import { verificationLines } from '../../../src/cli/text/verification.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { meet } from '../../../src/stream/channels.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { choice } from '../../support/streams.ts';

const vectors = new URL('../../../vectors/v1/', import.meta.url);

interface Vector {
  files: string[];
  expect: {
    error?: { code: string; file?: number };
    records: { name: string; fields: { round?: number; number?: number } }[][];
  };
}

function load(name: string): { vector: Vector; sources: ByteSource[] } {
  const vector = JSON.parse(readFileSync(new URL(name, vectors), 'utf8')) as Vector;
  const sources = vector.files.map((file) => memorySource(readFileSync(new URL(file, vectors)), file));
  return { vector, sources };
}

const names = readdirSync(vectors).filter((name) => name.endsWith('.json') && load(name).vector.files.length > 1);

test('there are vectors of several channels, with errors in each of their files', () => {
  const files = names.map((name) => load(name).vector.expect.error?.file);
  for (const file of [0, 1]) assert.ok(files.includes(file), `file ${file}`);
});

for (const name of names) {
  test(`${name}: what is wrong names its file, what all channels have counts once`, async () => {
    const { vector, sources } = load(name);
    const { errors, counts, checkpoint } = await verifyImage(sources);
    const [error] = errors;
    const { file } = vector.expect.error ?? {};
    if (error !== undefined && file !== undefined && error.code !== 'CHAIN_VECTOR') {
      assert.equal(error.file, sources[file].name);
      assert.match(problemText(error), new RegExp(`in (channel \\d+ \\()?${sources[file].name}`));
    }
    if (error !== undefined) return;
    // All channels of a sound stream have the same rounds and checkpoints.
    const [first] = vector.expect.records;
    assert.equal(counts.rounds, first.filter((record) => record.name === 'ROUND').length);
    assert.equal(counts.checkpoints, first.filter((record) => record.name === 'CHECKPOINT').length);
    assert.equal(counts.records, vector.expect.records.flat().length, 'the records of every channel count');
    const last = first.findLast((record) => record.name === 'CHECKPOINT') as { offset?: number } | undefined;
    assert.equal(checkpoint?.offset, last?.offset);
  });
}

test('channels given in another order are told by their own numbers', async () => {
  const { sources } = load('channels-cut-in-body.json');
  const { errors } = await verifyImage(sources.toReversed());
  const [error] = errors;
  const { errors: straight } = await verifyImage(sources);
  assert.deepEqual([error.file, error.record], [straight[0].file, straight[0].record]);
  assert.match(error.file ?? '', new RegExp(`ch${String(error.record?.channel)}`));
});

test('where channels meet at records that differ, the one that came with another is named, and once', async () => {
  const sinks = [new MemorySink(), new MemorySink()];
  const writers = await Promise.all(
    sinks.map((sink, channel) =>
      StreamWriter.open(sink, choice({ kind: 'migration', indexed: false, channels: 2, channel }), {}),
    ),
  );
  await meet(writers);
  for (const [weight, writer] of writers.entries()) {
    await writer.tmemClient({ compress: false, frozen: false, weight, cap: 0, allowancePages: 0n, authorised: [] });
    await writer.seal();
  }
  // Channel 1 is given first, so that its number is not its place.
  const sources = [memorySource(sinks[1].bytes(), 'one'), memorySource(sinks[0].bytes(), 'zero')];
  const [error] = (await verifyImage(sources)).errors;
  assert.equal(error.code, 'CHAIN_VECTOR');
  const text = problemText(error);
  assert.match(text, /in channel 1 \(one\), at offset 0x[0-9a-f]+, record \d+ \(TMEM_CLIENT\), section 14\.2/);
  assert.equal(text.match(/channel \d/g)?.length, 1, text);
});

test('of one file alone its name is not told, but which channel it is', async () => {
  const { sources } = load('channels-one-missing.json');
  const { errors } = await verifyImage(sources.slice(0, 1));
  assert.equal(errors[0].file, undefined);
  assert.equal(errors[0].record?.channel, 0);
});

test('the text says of how many channels, and in which file the checkpoint is', async () => {
  const { sources } = load('channels-three-rounds.json');
  const result = await verifyImage(sources);
  const files = sources.map((source) => source.name);
  const text = [...verificationLines(files, result, { style: PLAIN, width: Infinity })].join('\n');
  assert.match(text, /records in 3 channels: \d+ seals, 3 rounds, 1 checkpoint$/m);
  assert.match(text, /1 at offset 0x[0-9a-f]+ of channels-three-rounds\.ch0\.tmig$/m);
});

test('progress is that of all channels together', async () => {
  const { sources } = load('channels-three-rounds.json');
  const seen: number[] = [];
  const total = sources.reduce((sum, source) => sum + (source.size ?? 0), 0);
  await verifyImage(sources, {
    onProgress: (done, all) => {
      seen.push(done);
      assert.equal(all, total);
    },
  });
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.equal(seen.at(-1), total);
});
