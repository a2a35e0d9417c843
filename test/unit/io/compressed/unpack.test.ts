import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { TransmigrateError } from '../../../../src/errors.ts';
import { UNPACK_LIMITS } from '../../../../src/io/compressed/limits.ts';
import { ZstdSink } from '../../../../src/io/compressed/platform.ts';
import { unpackedSource, unpackPieces, type Compression } from '../../../../src/io/compressed/unpack.ts';
import { XxHash32 } from '../../../../src/io/compressed/xxhash32.ts';
import { MemorySink, memorySource } from '../../../../src/io/memory.ts';
import { compressible } from '../../../support/compressible.ts';
import { fixture } from '../../../support/corpus.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Pieces of random length, each overwritten when the next is asked for: a decoder that kept one would show it. */
async function* pieces(bytes: Uint8Array, seed: string, most: number): AsyncGenerator<Uint8Array> {
  const rng = random(seed);
  for (let at = 0; at < bytes.length;) {
    const piece = bytes.slice(at, at + 1 + rng.below(most));
    at += piece.length;
    yield await Promise.resolve(piece);
    piece.fill(0xa5);
  }
}

async function unpacked(bytes: Uint8Array, kind: Compression, most = 50_000): Promise<Uint8Array> {
  const sink = new MemorySink();
  for await (const piece of unpackPieces(pieces(bytes, 'pieces', most), kind, 'x')) await sink.write(piece);
  return sink.bytes();
}

async function outcome(bytes: Uint8Array, kind: Compression): Promise<string> {
  return unpacked(bytes, kind).then((all) => `fine ${all.length}`, codeOf);
}

function codeOf(error: unknown): string {
  assert.ok(error instanceof TransmigrateError, error instanceof Error ? error.stack : String(error));
  assert.ok(error.offset !== undefined && error.path === 'x', error.code);
  return error.code;
}

const SAMPLE = compressible('fixture', 60_000);
const sample = (ending: string): Uint8Array =>
  new Uint8Array(readFileSync(join(import.meta.dirname, '../../../fixtures/compressed', `sample.${ending}`)));
const SUBJECTS: readonly (readonly [kind: Compression, bytes: Uint8Array])[] = [
  ['gzip', new Uint8Array(gzipSync(SAMPLE))],
  ['zstd', new Uint8Array(zstdCompressSync(SAMPLE, { params: { 201: 1 } }))],
  ['xz', sample('xz')],
  ['bzip2', sample('bz2')],
  ['lz4', sample('lz4')],
];

for (const [kind, bytes] of SUBJECTS) {
  test(`${kind}: in pieces of any length, and one after the other`, async () => {
    for (const most of [1, 7, 100_000])
      assert.equal(sha256(await unpacked(bytes, kind, most)), sha256(SAMPLE), String(most));
    const twice = await unpacked(new Uint8Array([...bytes, ...bytes]), kind);
    assert.equal(sha256(twice), sha256(new Uint8Array([...SAMPLE, ...SAMPLE])));
    assert.equal(await outcome(new Uint8Array(0), kind), 'TRUNCATED');
  });

  test(`${kind}: a cut anywhere is TRUNCATED, and a source may be left in the middle`, async () => {
    const step = Math.ceil(bytes.length / 200);
    for (let end = 1; end < bytes.length; end += end < 40 || end > bytes.length - 40 ? 1 : step) {
      assert.equal(await outcome(bytes.subarray(0, end), kind), 'TRUNCATED', `cut at ${end} of ${bytes.length}`);
    }
    let closed = false;
    const source = { ...memorySource(bytes, 'x', 100), close: () => Promise.resolve(void (closed = true)) };
    const opened = unpackedSource(source, kind);
    assert.deepEqual([opened.size, opened.random], [null, null]);
    for await (const piece of opened.pieces()) {
      assert.ok(piece.length > 0);
      break;
    }
    await opened.close();
    assert.ok(closed);
  });

  test(`${kind}: random damage is noticed, with a typed error`, async () => {
    const seed = testSeed();
    const rng = random(`${seed}${kind}`);
    const digest = sha256(SAMPLE);
    try {
      for (let run = 0; run < 150; run++) {
        const changed = bytes.slice();
        const from = rng.below(2) === 0 ? 0 : rng.below(changed.length);
        for (let n = 1 + rng.below(3); n > 0; n--) {
          const at = Math.min(changed.length - 1, from + rng.below(40));
          changed[at] ^= 1 << rng.below(8);
        }
        const result = await unpacked(changed, kind).catch(codeOf);
        // A gzip header has fields that no checksum covers, and a second change may undo the first.
        if (typeof result !== 'string') assert.equal(sha256(result), digest);
      }
    } catch (error) {
      const replay = `SEED=${seed} node_modules/.bin/node --test test/unit/io/compressed/unpack.test.ts`;
      throw new Error(`seed ${seed}; replay: ${replay}`, { cause: error });
    }
  });

  test(`${kind}: more than is wanted does not come out`, async () => {
    const all = unpackPieces(pieces(bytes, 'limit', 999), kind, 'x', { outputBytes: 59_999 });
    await assert.rejects(
      async () => {
        for await (const piece of all) assert.ok(piece.length > 0);
      },
      { code: 'LIMIT_EXCEEDED' },
    );
  });
}

test('frames of zstd that are to be passed over', async () => {
  const skipped = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
  const [, [, bytes]] = SUBJECTS;
  assert.equal(sha256(await unpacked(new Uint8Array([...skipped, ...bytes, ...skipped]), 'zstd', 5)), sha256(SAMPLE));
  assert.equal(await outcome(new Uint8Array([...bytes, ...skipped.subarray(0, 9)]), 'zstd'), 'TRUNCATED');
  assert.equal(await outcome(new Uint8Array([...bytes, 1, 2, 3, 4]), 'zstd'), 'CODEC_DATA');
});

test('in a container what follows the last frame is not the image any more', async () => {
  const noise = random('stale').scramble(new Uint8Array(3000));
  for (const [kind, bytes] of SUBJECTS) {
    for (const stale of [new Uint8Array(4097), noise, noise.subarray(0, 2)]) {
      // Node's decoder steps over zeros behind gzip anyway, and takes anything else for a damaged member.
      if (kind === 'gzip' && stale[0] !== 0) continue;
      const all = new Uint8Array([...bytes, ...stale]);
      const source = { ...memorySource(all, 'x'), container: true };
      const sink = new MemorySink();
      for await (const piece of unpackedSource(source, kind).pieces()) await sink.write(piece);
      assert.equal(sha256(sink.bytes()), sha256(SAMPLE), kind);
      if (kind !== 'gzip') assert.match(await outcome(all, kind), /CODEC_DATA|TRUNCATED/, kind);
    }
  }
});

test("libvirt's own xz", async () => {
  const save = fixture('libvirt/tiny-xz.save').subarray(67_106);
  const raw = fixture('libvirt/tiny-raw.save').subarray(67_106);
  const stream = await unpacked(save, 'xz');
  assert.equal(String.fromCharCode(...stream.subarray(0, 4)), 'QEVM');
  assert.ok(Math.abs(stream.length - raw.length) < 200_000, 'two saves of the same guest');
});

test('a failing source is what the reader hears of', async () => {
  for (const [kind, bytes] of SUBJECTS) {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(bytes.subarray(0, 100));
      throw new TransmigrateError('READ_FAILED', 'the medium is gone');
    }
    await assert.rejects(
      async () => {
        for await (const piece of unpackPieces(broken(), kind, 'x')) assert.ok(piece.length > 0);
      },
      { code: 'READ_FAILED' },
    );
  }
});

test('what is written compressed comes back', async () => {
  const sink = new MemorySink();
  const zstd = new ZstdSink(sink);
  for (let at = 0; at < SAMPLE.length; at += 7001) await zstd.write(SAMPLE.subarray(at, at + 7001));
  await zstd.end();
  assert.ok(sink.bytes().length < SAMPLE.length / 2);
  assert.equal(sha256(await unpacked(sink.bytes(), 'zstd')), sha256(SAMPLE));
});

test("the checksum of lz4's frames", () => {
  assert.equal(new XxHash32().digest(), 0x02cc5d05);
  const text = new TextEncoder().encode('Nobody inspects the spammish repetition');
  assert.equal(new XxHash32().update(text).digest(), 0xe2293b2f);
  const parts = new XxHash32();
  for (const byte of text) parts.update(Uint8Array.of(byte));
  assert.equal(parts.digest(), 0xe2293b2f);
});

/** Other programs' output, in all their shapes, where they are installed. */
type Program = readonly [kind: Compression, program: string, options: readonly (readonly string[])[]];
const PROGRAMS: readonly Program[] = [
  ['gzip', 'gzip', [['-1'], ['-9']]],
  ['zstd', 'zstd', [['-1'], ['-19'], ['--long=27'], ['--no-check']]],
  [
    'xz',
    'xz',
    [
      ['-0'],
      ['-9e'],
      ['-6', '--check=none'],
      ['--check=crc32', '-T2', '--block-size=100000'],
      ['--lzma2=lc=0,lp=4,pb=4'],
    ],
  ],
  ['bzip2', 'bzip2', [['-1'], ['-9']]],
  ['lz4', 'lz4', [['-1'], ['-9', '-BD'], ['-B4', '-BX'], ['-B7', '--no-frame-crc'], ['-B5', '-BD', '-BX']]],
];
const CONTENT = Object.entries({
  mixed: compressible('mixed', 3_000_000),
  empty: new Uint8Array(0),
  zeros: new Uint8Array(2_500_000),
  noise: random('noise').scramble(new Uint8Array(400_000)),
});

for (const [kind, program, options] of PROGRAMS) {
  const skip = spawnSync(program, ['--version'], { input: '' }).error === undefined ? false : `SKIPPED: no ${program}`;
  test(`${kind}: what ${program} writes`, { skip }, async () => {
    for (const [name, content] of CONTENT) {
      for (const option of options) {
        const packed = execFileSync(program, ['-c', ...option], { input: content, maxBuffer: 2 ** 26 });
        assert.equal(
          sha256(await unpacked(new Uint8Array(packed), kind)),
          sha256(content),
          `${name} ${option.join(' ')}`,
        );
      }
    }
  });
}

test('windows and dictionaries beyond the limit, and filters, are refused by name', async (t) => {
  if (spawnSync('xz', ['--version']).status !== 0 || spawnSync('zstd', ['--version']).status !== 0) {
    return t.skip('SKIPPED: no xz or zstd');
  }
  const xz = (...options: string[]): Uint8Array =>
    new Uint8Array(execFileSync('xz', ['-c', ...options], { input: SAMPLE }));
  assert.equal(await outcome(xz('--lzma2=dict=128MiB'), 'xz'), 'LIMIT_EXCEEDED');
  assert.equal(await outcome(xz('--lzma2=dict=64MiB'), 'xz'), `fine ${SAMPLE.length}`);
  assert.equal(await outcome(xz('--x86', '--lzma2'), 'xz'), 'UNSUPPORTED_CODEC');
  const bytes = new Uint8Array(execFileSync('zstd', ['-c', '--ultra', '--long=28'], { input: SAMPLE }));
  assert.equal(await outcome(bytes, 'zstd'), 'LIMIT_EXCEEDED');
  assert.equal(UNPACK_LIMITS.zstdWindowLog, 27);
});

test('a bomb costs time, not memory', async (t) => {
  if (spawnSync('xz', ['--version']).status !== 0) return t.skip('SKIPPED: no xz');
  const packed = execFileSync('sh', ['-c', 'head -c 100000000 /dev/zero | xz -9 -c'], { maxBuffer: 2 ** 26 });
  let [total, most] = [0, 0];
  const before = process.memoryUsage().arrayBuffers;
  for await (const piece of unpackPieces(pieces(new Uint8Array(packed), 'bomb', 4096), 'xz', 'x')) {
    total += piece.length;
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.equal(total, 100_000_000);
  assert.ok(most < 220 * 1024 * 1024, `${most} bytes`);
});
