import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { TransmigrateError } from '../../../src/errors.ts';
import { identifyImage, type Identified, type IdentifyOptions } from '../../../src/image/identify/identify.ts';
import { openFileSource } from '../../../src/io/file.ts';
import { memorySource } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { spool } from '../../../src/io/spool.ts';
import { encodePreamble } from '../../../src/stream/preamble.ts';
import { corpusFile, fixture } from '../../support/corpus.ts';
import { random } from '../../support/random.ts';
import { dynamicVhd, fixedVhd } from '../../support/vhd.ts';
import { testSeed } from '../../support/seed.ts';

const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const join8 = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

function u32(little: boolean, ...values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  for (const [i, value] of values.entries()) view.setUint32(i * 4, value, little);
  return new Uint8Array(view.buffer);
}

const noise = (length: number): Uint8Array => random('body').scramble(new Uint8Array(length));

// Made from the facts of the formats, as short as identification allows.
const libxc = (version: number): Uint8Array =>
  join8(latin1(`${'\xff'.repeat(8)}XENF`), u32(false, version, 0), noise(5000));
const libxl = (inner: Uint8Array): Uint8Array => join8(latin1('LibxlFmt'), u32(false, 2, 0), u32(true, 1, 0), inner);
const xl = (flags: number, inner: Uint8Array, config = 760): Uint8Array =>
  join8(
    latin1('Xen saved domain, xl format\n \0 \r'),
    u32(true, 0x01020304, flags, 0, config),
    new Uint8Array(config),
    inner,
  );
const xenopsd = (...records: readonly (readonly [type: number, body: Uint8Array])[]): Uint8Array =>
  join8(
    latin1('XenSavedDomv2-\n'),
    ...records.flatMap(([type, body]) => [u32(true, type, 0, type === 0xf0 ? 0 : body.length, 0), body]),
  );
const tmig = join8(
  encodePreamble({
    kind: 'save',
    byteOrder: 'little',
    wordBits: 64,
    domainType: 'pv',
    machine: 62,
    pageSize: 4096,
    streamId: new Uint8Array(16),
  }),
  noise(100),
);
const v86 = join8(u32(true, 0x86768676, 6, 1000, 100), noise(984));
const qemu = join8(latin1('QEVM'), u32(false, 3), noise(100));

const SUBJECTS: Readonly<Record<string, readonly [bytes: Uint8Array, nesting: string]>> = {
  tmig: [tmig, 'tmig'],
  'libxc v3': [libxc(3), 'xen-libxc'],
  'libxc v2': [libxc(2), 'xen-libxc-v2'],
  libxl: [libxl(libxc(3)), 'libxl xen-libxc'],
  xl: [xl(3, libxl(libxc(3))), 'xl libxl xen-libxc'],
  'xl with a legacy stream': [xl(1, noise(500)), 'xl xen-libxc-legacy'],
  'xl with a configuration beyond what is looked at': [xl(3, libxl(libxc(3)), 1 << 20), 'xl'],
  'xl with a length that lies': [xl(3, noise(9), 10).fill(0xff, 44, 48), 'xl'],
  'a suspend image': [xenopsd([0xf, noise(333)], [0xf0, libxc(2)]), 'xenopsd xen-libxc-v2'],
  'a suspend image with libxl': [xenopsd([0xf, noise(8)], [0xf1, libxl(libxc(3))]), 'xenopsd libxl xen-libxc'],
  v86: [v86, 'v86'],
  qemu: [qemu, 'qemu'],
  'libvirt, raw': [fixture('libvirt/tiny-raw.save'), 'libvirt qemu'],
  'libvirt, xz': [fixture('libvirt/tiny-xz.save'), 'libvirt xz qemu'],
  "Xen's core": [fixture('elf/xen-4.17-hvm-seabios-16m.core'), 'xen-core'],
  "QEMU's core": [fixture('elf/tiny-x86_64-pc.core.elf'), 'elf-core'],
};
/** A state of v86's own tools is one zstd frame. */
const V86_FILE = join(import.meta.dirname, '../../fixtures/v86/v86-0.5.462-tiny16.v86state.zst');

/** As a pipe: no size, no random access, pieces of random length that may be read once. */
function pipe(bytes: Uint8Array, seed: string, most = 40_000): ByteSource {
  let used = false;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    assert.equal(used, false, 'the pieces of a pipe are asked for once');
    used = true;
    const rng = random(seed);
    for (let at = 0; at < bytes.length;) {
      const piece = bytes.slice(at, at + 1 + rng.below(most));
      at += piece.length;
      yield await Promise.resolve(piece);
      piece.fill(0xa5);
    }
  }
  return { name: 'pipe', size: null, container: false, random: null, pieces, close: () => Promise.resolve() };
}

async function digest(source: ByteSource): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of source.pieces()) hash.update(piece);
  return hash.digest('hex');
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function check(
  source: ByteSource,
  nesting: string,
  content?: string,
  options?: IdentifyOptions,
): Promise<Identified> {
  const found = await identifyImage(source, options);
  assert.equal(found.nesting.join(' '), nesting);
  assert.ok(found.nesting.includes(found.format));
  if (content !== undefined) assert.equal(await digest(found.image), content);
  await found.image.close();
  return found;
}

for (const [name, [bytes, nesting]] of Object.entries(SUBJECTS)) {
  test(`${name} is ${nesting}, and nothing of it is lost`, async () => {
    const content = sha256(bytes);
    for (const most of [1, 60_000])
      await check(pipe(bytes.subarray(0, most === 1 ? 100_000 : bytes.length), name, most), nesting);
    await check(pipe(bytes, name), nesting, content);
    const found = await check(memorySource(bytes), nesting, content);
    assert.equal(found.format, nesting.split(' ')[0]);
    assert.equal(found.image.random!.size, bytes.length);
    await check(pipe(new Uint8Array(gzipSync(bytes, { level: 1 })), name), `gzip ${nesting}`, content);
    const twice = zstdCompressSync(gzipSync(bytes, { level: 1 }));
    const wrapped = await check(pipe(new Uint8Array(twice), name), `zstd gzip ${nesting}`, content);
    assert.equal(wrapped.format, found.format);
  });
}

test('xz, bzip2 and lz4 around an image', async (t) => {
  for (const [program, name] of [
    ['xz', 'xz'],
    ['bzip2', 'bzip2'],
    ['lz4', 'lz4'],
  ] as const) {
    if (spawnSync(program, ['--version'], { input: '' }).error !== undefined) {
      t.diagnostic(`SKIPPED: no ${program}`);
      continue;
    }
    const [bytes] = SUBJECTS['xl'];
    const packed = execFileSync(program, ['-c'], { input: bytes, stdio: ['pipe', 'pipe', 'ignore'] });
    await check(pipe(new Uint8Array(packed), program), `${name} xl libxl xen-libxc`, sha256(bytes));
  }
});

test("a state of v86's own tools is compressed as a whole", async () => {
  await check(await openFileSource(V86_FILE), 'zstd v86');
});

test('an image in a virtual disk, as XCP-ng exports it', async () => {
  const [image] = SUBJECTS['a suspend image'];
  const disk = join8(image, new Uint8Array(300_032 - (image.length % 512)));
  const padded = disk.subarray(0, disk.length - (disk.length % 512));
  const nesting = 'vhd xenopsd xen-libxc-v2';
  const fixed = await check(memorySource(fixedVhd(padded)), nesting, sha256(padded));
  assert.deepEqual([fixed.image.container, fixed.image.size, fixed.format], [true, padded.length, 'xenopsd']);
  await check(memorySource(dynamicVhd(padded, 65_536)), nesting, sha256(padded));
  await check(pipe(dynamicVhd(padded, 65_536), 'vhd'), nesting, sha256(padded), { spool });
  await check(pipe(new Uint8Array(gzipSync(dynamicVhd(padded, 65_536))), 'vhd'), `gzip ${nesting}`, sha256(padded), {
    spool,
  });
  await assert.rejects(identifyImage(pipe(dynamicVhd(padded, 65_536), 'vhd')), { code: 'UNSUPPORTED_FEATURE' });
  // In order the disk of a fixed one comes first, and its footer is what follows the image.
  await check(pipe(fixedVhd(padded), 'vhd'), 'xenopsd xen-libxc-v2');
});

test('raw memory is only what it is called', async () => {
  const found = await identifyImage(memorySource(SUBJECTS['xl'][0]), { as: 'raw' });
  assert.deepEqual([found.format, found.nesting], ['raw', ['raw']]);
});

test('what is no image is told so, with what was tried and what it looks like', async () => {
  const program = fixture('elf/tiny-x86_64-pc.core.elf').with(16, 2);
  for (const [bytes, code, looksLike] of [
    [noise(5000), 'NOT_AN_IMAGE', undefined],
    [noise(3).fill(0x80), 'NOT_AN_IMAGE', undefined],
    [latin1('hello, world\n'), 'NOT_AN_IMAGE', 'text'],
    [new Uint8Array(4096), 'NOT_AN_IMAGE', 'zeros'],
    [program, 'NOT_AN_IMAGE', 'an ELF file, such as a program or a core dump'],
    [latin1('QFI\xfb\0\0\0\x03'), 'NOT_AN_IMAGE', 'a qcow2 disk image, which holds no memory'],
    [
      latin1('XenSavedDomain\n\0\0\0'),
      'NOT_AN_IMAGE',
      'a domain saved by xenopsd before 2015, with a stream without a version',
    ],
    [new Uint8Array(0), 'TRUNCATED', undefined],
    [libxc(4), 'UNSUPPORTED_VERSION', undefined],
    [tmig.map((byte) => byte & 0x7f), 'SEVEN_BIT_DAMAGE', undefined],
    [new Uint8Array(gzipSync(noise(100))), 'NOT_AN_IMAGE', undefined],
  ] as const) {
    let closed = 0;
    const source = { ...pipe(bytes, 'none'), close: () => Promise.resolve(void closed++) };
    const error = await identifyImage(source).then(
      () => assert.fail('identified'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof TransmigrateError, String(error));
    assert.equal(error.code, code);
    assert.equal(error.data['looksLike'], looksLike);
    assert.equal(closed, 1, 'the source is closed');
    if (code === 'NOT_AN_IMAGE') {
      assert.equal(error.exitCode, 11);
      assert.deepEqual([...(error.data['tried'] as string[])].slice(0, 3), ['tmig', 'xen-libxc', 'xen-libxc-v2']);
    }
  }
});

test('a pipe that says nothing more can be closed, under any wrapping', { timeout: 20_000 }, async () => {
  const [bytes] = SUBJECTS["QEMU's core"];
  for (const packed of [bytes, gzipSync(bytes), zstdCompressSync(bytes), gzipSync(zstdCompressSync(bytes))]) {
    const closed = Promise.withResolvers<never>();
    closed.promise.catch(() => undefined);
    async function* pieces(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(packed.subarray(0, Math.floor(packed.length * 0.9)));
      await closed.promise;
    }
    const close = (): Promise<void> => Promise.resolve(closed.reject(new TransmigrateError('READ_FAILED', 'closed')));
    const source = { name: 'x', size: null, container: false, random: null, pieces, close };
    const { image, nesting } = await identifyImage(source);
    assert.equal(nesting.at(-1), 'elf-core');
    const reading = image.pieces()[Symbol.asyncIterator]();
    assert.equal((await reading.next()).done, false);
    await image.close();
  }
});

test('wrappings without end, and damaged ones', async () => {
  let bytes: Uint8Array = tmig;
  for (let i = 0; i < 5; i++) bytes = new Uint8Array(gzipSync(bytes));
  await assert.rejects(identifyImage(pipe(bytes, 'deep')), { code: 'LIMIT_EXCEEDED' });
  const packed = new Uint8Array(gzipSync(tmig));
  await assert.rejects(identifyImage(pipe(packed.subarray(0, 30), 'cut')), { code: 'TRUNCATED' });
  await assert.rejects(identifyImage(pipe(packed.with(12, 0xff), 'damaged')), { code: 'CODEC_DATA' });
});

test('any cut and any damage of the start gives an answer or a typed error', async () => {
  const seed = testSeed();
  const rng = random(seed);
  const subjects = Object.values(SUBJECTS).map(([bytes]) => bytes.subarray(0, 70_000));
  try {
    for (let run = 0; run < 600; run++) {
      const bytes = rng.pick(subjects).slice();
      for (let n = rng.below(4); n > 0; n--) bytes[rng.below(Math.min(bytes.length, 900))] = rng.below(256);
      const end = rng.below(3) === 0 ? rng.below(bytes.length) : bytes.length;
      await identifyImage(pipe(bytes.subarray(0, end), seed)).then(
        ({ nesting }) => assert.ok(nesting.length > 0),
        (error: unknown) => assert.ok(error instanceof TransmigrateError, error instanceof Error ? error.stack : ''),
      );
    }
  } catch (error) {
    const replay = `SEED=${seed} node_modules/.bin/node --test test/unit/image/identify.test.ts`;
    throw new Error(`seed ${seed}; replay: ${replay}`, { cause: error });
  }
});

/** Real images, where the corpus is: the whole of each, unpacked in passing. */
const CORPUS: Readonly<Record<string, string>> = {
  'xen/xen-4.17-pv-tiny64-4m.xl': 'xl libxl xen-libxc',
  'xen/xen-4.17-pv-tiny64-4m.libxc': 'xen-libxc',
  'xen/xen-4.17-hvm-seabios-8m-physmap.xl': 'xl libxl xen-libxc',
  'xen/xen-4.17-pv-tiny64-4m-live.migrate': 'xl libxl xen-libxc',
  'xen-core/xen-4.17-pv-tiny64-4m.remus': 'xl libxl xen-libxc',
  'xen-core/xen-4.17-pv-tiny64-4m.core': 'xen-core',
  'qemu/tiny-i386-pc.qemu': 'qemu',
  'qemu/tiny-x86_64-pc.core.elf': 'elf-core',
  'v86/v86-0.5.278-tiny16.v86state': 'v86',
};

for (const [name, nesting] of Object.entries(CORPUS)) {
  const { path, skip } = corpusFile(name);
  test(`${name} of the corpus is ${nesting}`, { skip }, async () => {
    const expected = (JSON.parse(readFileSync(join(path, '../MANIFEST.json'), 'utf8')) as unknown) ?? {};
    const found = await identifyImage(await openFileSource(path));
    assert.equal(found.nesting.join(' '), `zstd ${nesting}`);
    assert.ok(JSON.stringify(expected).includes(await digest(found.image)), 'the digest that the manifest has');
    await found.image.close();
  });
}
