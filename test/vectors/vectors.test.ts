/** Runs every vector: whole, byte by byte, and in random pieces; and `verify` on each (house rule 4). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ERRORS, TransmigrateError } from '../../src/errors.ts';
import { ContentCheck } from '../../src/image/content-check.ts';
import { readChannels } from '../../src/image/read-channels.ts';
import { recordJson, type RecordJson } from '../../src/image/record-json.ts';
import { verifyImage } from '../../src/image/verify.ts';
import { memorySource } from '../../src/io/memory.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { recordPath } from '../../src/stream/record-header.ts';
import { random } from '../support/random.ts';

interface Vector {
  title: string;
  requirements: string[];
  section: string;
  files: string[];
  container?: boolean;
  expect: {
    verdict: 'sound' | 'findings' | 'broken';
    error?: { code: string; offset: number; sequence: number | null; file?: number; mentions?: string[] };
    records: RecordJson[][];
    warnings?: string[];
    memory?: unknown;
    tmem?: unknown;
  };
}

const directory = new URL('../../vectors/v1/', import.meta.url);
const names = readdirSync(directory)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.slice(0, -5));

function load(name: string): { vector: Vector; files: Uint8Array[] } {
  const vector = JSON.parse(readFileSync(new URL(`${name}.json`, directory), 'utf8')) as Vector;
  return { vector, files: vector.files.map((file) => new Uint8Array(readFileSync(new URL(file, directory)))) };
}

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
      for (let run = 0; run < 3; run++) {
        const sources = files.map((file, place) =>
          cutSource(file, vector.files[place], () => 1 + generator.below(run === 0 ? 9 : 2000)),
        );
        compare(vector, await decode(vector, sources));
      }
      if (files.every((file) => file.byteLength < 20_000)) {
        compare(
          vector,
          await decode(
            vector,
            files.map((file, place) => cutSource(file, vector.files[place], () => 1)),
          ),
        );
      }
    });

    test(`${name}: verify`, async () => {
      const { vector, files } = load(name);
      const sources = files.map((file) => memorySource(file));
      const container = vector.container === true;
      const result = await verifyImage(sources, { digest: true, container, knows: 'all' });
      const { memory, tmem } = result;
      const without = { ...(await verifyImage(sources, { container, knows: 'all' })), memory, tmem };
      assert.deepEqual(without, result, 'the same without digests');
      assert.equal(result.verdict, vector.expect.verdict, JSON.stringify([result.errors, result.warnings]));
      const { error } = vector.expect;
      if (error !== undefined) {
        // `verify` looks into what a reader of streams refuses by its first bytes.
        const code = name === 'not-an-image-gzip' ? 'TRUNCATED' : error.code;
        assert.equal(result.errors[0].code, code);
        assert.equal(result.errors[0].record?.sequence ?? null, error.sequence);
      } else {
        assert.deepEqual(
          result.warnings.map((warning) => warning.code),
          vector.expect.warnings ?? [],
        );
        assert.deepEqual(result.memory, vector.expect.memory);
        assert.deepEqual(result.tmem, vector.expect.tmem);
      }
    });
  }
});

// The path of an error names its record the same way everywhere.
test('paths', () => {
  assert.equal(recordPath({ sequence: 3, type: 0x10 }), 'record 3 (RAM)');
});
