/** Decodes every vector: whole, byte by byte, and in random pieces (house rule 4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ERRORS, TransmigrateError } from '../../src/errors.ts';
import { ContentCheck } from '../../src/image/content-check.ts';
import { readChannels } from '../../src/image/read-channels.ts';
import { recordJson, type RecordJson } from '../../src/image/record-json.ts';
import { memorySource } from '../../src/io/memory.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { recordPath } from '../../src/stream/record-header.ts';
import { random } from '../support/random.ts';
import { load, names, type Vector } from '../support/vectors.ts';

/** A source that hands out pieces of the lengths that `next` gives, each in a buffer of its own that is then spoilt. */
function cutSource(bytes: Uint8Array, name: string, next: () => number): ByteSource {
  return {
    ...memorySource(bytes, name),
    async *pieces() {
      for (let at = 0; at < bytes.byteLength;) {
        const piece = bytes.slice(at, at + next());
        at += piece.byteLength;
        yield piece;
        piece.fill(0xee);
      }
    },
  };
}

interface Outcome {
  records: RecordJson[][];
  error: TransmigrateError | null;
  file?: number;
}

async function decode(vector: Vector, sources: ByteSource[]): Promise<Outcome> {
  const decoders = sources.map(() => new StreamDecoder({ knows: 'all', container: vector.container === true }));
  const records: RecordJson[][] = sources.map(() => []);
  const check = new ContentCheck();
  try {
    for await (const decoded of readChannels(sources, decoders)) {
      check.check(decoded);
      const json = recordJson(decoded, decoders[decoded.source].scratch);
      records[decoded.source].push(JSON.parse(JSON.stringify(json)) as RecordJson);
    }
    return { records, error: null };
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    const file = sources.length === 1 ? undefined : sources.findIndex((source) => source.name === error.file);
    return { records, error, ...(file !== undefined && { file }) };
  }
}

/**
 * The decoder alone, for a stream of one file in pieces of a few bytes: a promise for each of them would take most of
 * the time of all vectors.
 */
function decodeAtOnce(vector: Vector, bytes: Uint8Array, next: () => number): Outcome {
  const decoder = new StreamDecoder({ knows: 'all', container: vector.container === true });
  const records: RecordJson[] = [];
  const check = new ContentCheck();
  const read = (): void => {
    for (let decoded = decoder.read(); decoded !== undefined; decoded = decoder.read()) {
      check.check(decoded);
      records.push(JSON.parse(JSON.stringify(recordJson(decoded, decoder.scratch))) as RecordJson);
    }
  };
  try {
    for (let at = 0; at < bytes.byteLength;) {
      const piece = bytes.slice(at, at + next());
      at += piece.byteLength;
      decoder.feed(piece);
      read();
      piece.fill(0xee);
    }
    read();
    decoder.finish();
    return { records: [records], error: null };
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    return { records: [records], error };
  }
}

async function inSmallPieces(vector: Vector, files: Uint8Array[], next: () => number): Promise<Outcome> {
  if (files.length === 1) return decodeAtOnce(vector, files[0], next);
  return decode(
    vector,
    files.map((file, place) => cutSource(file, vector.files[place], next)),
  );
}

function compare(vector: Vector, { records, error, file }: Outcome): void {
  const { expect } = vector;
  const found =
    error === null
      ? undefined
      : {
          code: error.code,
          offset: error.offset,
          sequence: error.record?.sequence ?? null,
          ...(file !== undefined && { file }),
        };
  const { mentions = [], ...wanted } = expect.error ?? {};
  assert.deepEqual(found, expect.error && wanted, error?.stack);
  for (const word of mentions) assert.ok(error!.message.includes(word), `${error!.message} names ${word}`);
  assert.deepEqual(records, expect.records);
}

describe('vectors', () => {
  test('there are at least 120, and each expects a code of the table', () => {
    assert.ok(names.length >= 120, `${names.length} vectors`);
    for (const name of names) {
      const code = load(name).vector.expect.error?.code;
      if (code !== undefined) assert.ok(Object.hasOwn(ERRORS, code), `${name} expects ${code}`);
    }
  });

  for (const name of names) {
    test(name, async () => {
      const { vector, files } = load(name);
      compare(
        vector,
        await decode(
          vector,
          files.map((file, place) => memorySource(file, vector.files[place])),
        ),
      );
      const generator = random(`vectors ${name}`);
      compare(vector, await inSmallPieces(vector, files, () => 1 + generator.below(9)));
      for (let run = 0; run < 2; run++) {
        const sources = files.map((file, place) =>
          cutSource(file, vector.files[place], () => 1 + generator.below(2000)),
        );
        compare(vector, await decode(vector, sources));
      }
      if (files.every((file) => file.byteLength < 20_000)) {
        compare(vector, await inSmallPieces(vector, files, () => 1));
      }
    });
  }
});

// The path of an error names its record the same way everywhere.
test('paths', () => {
  assert.equal(recordPath({ sequence: 3, type: 0x10 }), 'record 3 (RAM)');
});
