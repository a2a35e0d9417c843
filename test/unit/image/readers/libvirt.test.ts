/** Save images of libvirt through the model, and device blobs that are too long to be held. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { equalBytes } from '../../../../src/bytes/hex.ts';
import { CODEC } from '../../../../src/codec/codec.ts';
import { Sha256 } from '../../../../src/codec/platform.ts';
import { encodeLibvirtHead, LIBVIRT_COMPRESSION } from '../../../../src/foreign/libvirt/save-image.ts';
import { TmigImageReader } from '../../../../src/image/readers/tmig/tmig-reader.ts';
import { MemorySink, memorySource } from '../../../../src/io/memory.ts';
import { StreamWriter } from '../../../../src/stream/writer.ts';
import { deviceOf, opened, read, sha256, thereAndBack, toOurs } from '../../../support/conversion.ts';
import { fixture } from '../../../support/corpus.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

/** Digests of the corpus's manifest. */
const XML = '7c025c5c1d5190c477d55a52712210a3c7dc6dd50e652cab01c7724f6236cf19';
const COOKIE = '6b9e1e70c936a8c91ef4e31030cafe56ebf2bbe7247d74db87a28ecc873e2932';
const STREAM = '423f95bafc048a275c8a1bd6dee8b0672393120be0b2e432687f5e94f51914f1';

for (const [name, format] of [
  ['tiny-raw', 'qemu-savevm'],
  ['tiny-xz', 'qemu-savevm+xz'],
] as const) {
  test(`${name}: what the corpus says is in it, and back`, async () => {
    const bytes = fixture(`libvirt/${name}.save`);
    const ours = await thereAndBack('libvirt', bytes);
    for (const image of [await opened(bytes), await opened(ours)]) {
      assert.equal(sha256(await deviceOf(image, 'libvirt-xml')), XML);
      assert.equal(sha256(await deviceOf(image, 'libvirt-cookie')), COOKIE);
      const stream = await deviceOf(image, 'qemu-stream-0');
      if (format === 'qemu-savevm') assert.equal(sha256(stream), STREAM);
      else assert.deepEqual(stream, bytes.slice(67_106));
      assert.deepEqual(
        image.devices.map((device) => device.format),
        ['libvirt-xml', 'libvirt-cookie', format],
      );
      const { name: domain, uuid, vcpus, libvirt } = image.about;
      assert.deepEqual([domain, uuid, vcpus], ['misccap-tiny', '6d697363-6361-4070-8074-696e79313600', 1]);
      const said = libvirt as Record<string, unknown>;
      assert.equal(sha256(new TextEncoder().encode(String(said['xml']))), XML);
      assert.deepEqual([said['version'], said['wasRunning']], [2, 0]);
      assert.deepEqual([image.head.domainType, image.head.machine, image.memory.pages], ['hvm', 62, 0]);
    }
    const { findings, error } = await read('libvirt', bytes);
    assert.deepEqual([findings, error], [[], undefined]);
    // What is stored in the device is not stored in ORIGIN again.
    assert.ok(ours.byteLength < (await toOurs('libvirt', bytes, false)).byteLength + 1024);
  });
}

const QEVM = Uint8Array.from([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, ...Array.from({ length: 3000 }, () => 7)]);

function saved(
  compression: (typeof LIBVIRT_COMPRESSION)[number],
  stream: Uint8Array,
  more: Partial<Parameters<typeof encodeLibvirtHead>[0]> = {},
): Uint8Array {
  const number = LIBVIRT_COMPRESSION.indexOf(compression);
  const xml = '<domain><name>a&amp;b &#x263a;</name><os><type arch="i686">hvm</type></os></domain>';
  const head = encodeLibvirtHead({ xml, cookie: undefined, wasRunning: 1, compression: number, ...more });
  const bytes = new Uint8Array(head.byteLength + stream.byteLength);
  bytes.set(head);
  bytes.set(stream, head.byteLength);
  return bytes;
}

describe('save images that are made here', () => {
  test('other compressions, byte orders and versions, and no cookie', async () => {
    for (const bytes of [
      saved('gzip', gzipSync(QEVM)),
      saved('zstd', zstdCompressSync(QEVM)),
      saved('raw', QEVM, { littleEndian: false, version: 1, dataBytes: 100 }),
      saved('raw', QEVM, { cookie: '<cookie/>' }),
    ]) {
      const image = await opened(await thereAndBack('libvirt', bytes));
      assert.deepEqual([image.about['name'], image.head.machine, image.head.wordBits], ['a&b \u263a', 3, 32]);
    }
  });

  test('what is wrong with one that can be read', async () => {
    const bytes = saved('raw', QEVM, { partial: true });
    bytes[500] = 1;
    bytes[60] = 1;
    await thereAndBack('libvirt', bytes);
    const { findings } = await read('libvirt', bytes);
    assert.deepEqual(
      findings.map(({ code, level }) => [code, level]),
      [
        ['UNFINISHED', 'broken'],
        ['PADDING', 'strict'],
        ['RESERVED_FIELD', 'strict'],
      ],
    );
  });

  test('what cannot be read is refused by what it is', async () => {
    const codeOf = async (bytes: Uint8Array): Promise<string | undefined> => (await read('libvirt', bytes)).error?.code;
    for (const compression of ['lzop', 'sparse'] as const) {
      const { error } = await read('libvirt', saved(compression, QEVM));
      assert.deepEqual([error?.code, error?.data['compression']], ['UNSUPPORTED_CODEC', compression]);
    }
    assert.equal(await codeOf(saved('raw', brotliCompressSync(QEVM))), 'NOT_AN_IMAGE');
    assert.equal(await codeOf(saved('raw', new Uint8Array(0))), 'TRUNCATED');
    assert.equal(await codeOf(saved('gzip', QEVM)), 'CODEC_DATA');
    assert.equal(await codeOf(saved('gzip', gzipSync(new Uint8Array(100)))), 'NOT_AN_IMAGE');
    const whole = saved('zstd', zstdCompressSync(QEVM));
    for (let end = 0; end < whole.byteLength; end += end < 300 ? 7 : 997) {
      const { error } = await read('libvirt', whole.subarray(0, end));
      assert.equal(error?.code, 'TRUNCATED', `cut at ${end}`);
      assert.ok(error.offset! <= end, `cut at ${end}, said ${String(error.offset)}`);
    }
    const pipe = { ...memorySource(whole), random: null };
    assert.equal((await read('libvirt', pipe)).error?.code, 'READ_FAILED');
  });

  test('random damage to the head is a typed error or nothing', async () => {
    const seed = testSeed();
    const rng = random(seed);
    const whole = saved('raw', QEVM, { cookie: '<cookie/>' });
    for (let run = 0; run < 150; run++) {
      const bytes = whole.slice();
      for (let n = 1 + rng.below(4); n > 0; n--) bytes[rng.below(230)] = rng.pick([0, 1, 0x7f, 0xff, rng.below(256)]);
      const { error } = await read('libvirt', bytes).catch((cause: unknown) => {
        throw new Error(`SEED=${seed}, run ${run}`, { cause });
      });
      if (error === undefined) await thereAndBack('libvirt', bytes, `SEED=${seed}, run ${run}`);
    }
  });
});

test('a device blob of more than 256 MiB is read where it stands', async () => {
  const MIB = 1024 * 1024;
  const [bytes, part] = [300 * MIB, new Uint8Array(MIB)];
  const hash = new Sha256();
  const parts = function* (): Generator<Uint8Array> {
    for (let i = 0; i < 300; i++) yield part.fill(i & 0xff);
  };
  for (const each of parts()) hash.update(each);
  const digest = hash.digest();
  const sink = new MemorySink();
  const about = { name: 'test' };
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'hvm',
      machine: 62,
      pageSize: 4096,
      streamId: new Uint8Array(16),
      indexed: true,
    },
    about,
    { codec: CODEC.zstd },
  );
  const device = { name: 'long', format: 'x', version: '', fingerprint: new Uint8Array(32) };
  await writer.longDevice({ device: 0, ...device, bytes, sha256: digest }, parts());
  await writer.device({ device: 1, ...device, name: 'short' }, new Uint8Array(10).fill(9));
  await writer.checkpoint();
  await writer.end();
  const image = sink.bytes();
  const found: string[] = [];
  for await (const event of new TmigImageReader(memorySource(image)).events()) {
    if (event.kind === 'device') found.push(`${event.name} ${event.content.byteLength}`);
    if (event.kind !== 'long-device') continue;
    for (let time = 0; time < 2; time++) {
      const again = new Sha256();
      for await (const chunk of event.chunks()) again.update(chunk);
      assert.ok(equalBytes(again.digest(), digest));
    }
    assert.ok(equalBytes(event.device.sha256, digest));
    found.push(`${event.device.name} ${event.device.bytes}`);
  }
  assert.deepEqual(found, [`long ${bytes}`, 'short 10']);
  const { error } = await read('tmig', { ...memorySource(image), random: null });
  assert.deepEqual([error?.code, error?.section], ['LIMIT_EXCEEDED', 'foreign/model 3.2']);
});
