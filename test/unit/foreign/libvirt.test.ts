import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import {
  compressionName,
  encodeLibvirtHead,
  LIBVIRT,
  LIBVIRT_COMPRESSION,
  libvirtHeadBytes,
  parseLibvirtHead,
  readableCompression,
} from '../../../src/foreign/libvirt/save-image.ts';
import { parseQemuStreamHead } from '../../../src/foreign/qemu/stream-head.ts';
import { identifyImage } from '../../../src/image/identify/identify.ts';
import { ZstdSink } from '../../../src/io/compressed/platform.ts';
import { unpackedSource } from '../../../src/io/compressed/unpack.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { fixture } from '../../support/corpus.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'fine';
  } catch (error) {
    assert.ok(error instanceof TransmigrateError, error instanceof Error ? error.stack : String(error));
    assert.ok(error.offset !== undefined);
    return error.code;
  }
}

for (const [name, compression] of [
  ['tiny-raw', 'raw'],
  ['tiny-xz', 'xz'],
] as const) {
  test(`${name}: header, XML and cookie, and the same bytes when they are written again`, () => {
    const bytes = fixture(`libvirt/${name}.save`);
    assert.equal(libvirtHeadBytes(bytes.subarray(0, 92)), 67_106);
    const head = parseLibvirtHead(bytes.subarray(0, 67_106));
    assert.deepEqual(
      [head.partial, head.version, head.wasRunning, head.streamOffset, head.zeroPadded, head.littleEndian],
      [false, 2, 0, 67_106, true, true],
    );
    assert.equal(readableCompression(head), compression);
    assert.match(head.cookie!, /^<cookie>\n {2}<cpu mode='custom'/);
    assert.equal(sha256(head.cookie!), '6b9e1e70c936a8c91ef4e31030cafe56ebf2bbe7247d74db87a28ecc873e2932');
    assert.match(head.xml, /<name>misccap-tiny<\/name>/);
    assert.deepEqual(encodeLibvirtHead(head), bytes.slice(0, 67_106));
    const withoutLength = { ...head, dataBytes: undefined };
    assert.deepEqual(
      encodeLibvirtHead(withoutLength),
      bytes.slice(0, 67_106),
      'it gives the texts the room that libvirt does',
    );
    if (compression === 'raw') assert.deepEqual(parseQemuStreamHead(bytes.subarray(67_106)), { version: 3 });
  });
}

test('the XML is what virsh shows of the domain', () => {
  const shown = readFileSync(
    join(import.meta.dirname, '../../fixtures/libvirt/tiny-raw.save-image-dumpxml.xml'),
    'utf8',
  );
  const { xml } = parseLibvirtHead(fixture('libvirt/tiny-raw.save'));
  for (const element of ['uuid', 'name', 'memory', 'vcpu', 'emulator']) {
    const of = (text: string): string | undefined => new RegExp(`<${element}[^>]*>([^<]*)<`).exec(text)?.[1];
    assert.ok(of(xml) !== undefined, element);
    assert.equal(of(xml), of(shown), element);
  }
});

const CHOICE = { xml: '<domain>ü</domain>', cookie: '<cookie/>', wasRunning: 1, compression: 5 };

test('the other byte order, the partial magic, no cookie', () => {
  const swapped = parseLibvirtHead(encodeLibvirtHead({ ...CHOICE, littleEndian: false, dataBytes: 100 }));
  assert.deepEqual([swapped.littleEndian, swapped.version, swapped.wasRunning], [false, 2, 1]);
  assert.deepEqual([swapped.xml, swapped.cookie, swapped.dataBytes], [CHOICE.xml, CHOICE.cookie, 100]);
  assert.equal(compressionName(swapped.compression), 'zstd');
  const partial = parseLibvirtHead(encodeLibvirtHead({ ...CHOICE, partial: true, cookie: undefined }));
  assert.deepEqual([partial.partial, partial.cookie], [true, undefined]);
});

test('lzop, sparse and what has no name are refused by name', () => {
  for (const [compression, name] of [
    [4, 'lzop'],
    [6, 'sparse'],
    [77, 77],
  ] as const) {
    const head = parseLibvirtHead(encodeLibvirtHead({ ...CHOICE, compression }));
    assert.throws(() => readableCompression(head), { code: 'UNSUPPORTED_CODEC', data: { compression: name } });
  }
});

test('an image that is written with its stream compressed by zstd is identified and read again', async () => {
  const bytes = fixture('libvirt/tiny-raw.save');
  const head = parseLibvirtHead(bytes);
  const sink = new MemorySink();
  await sink.write(encodeLibvirtHead({ ...head, compression: LIBVIRT_COMPRESSION.indexOf('zstd') }));
  const zstd = new ZstdSink(sink);
  await zstd.write(bytes.subarray(head.streamOffset));
  await zstd.end();
  const written = sink.bytes();
  assert.deepEqual((await identifyImage(memorySource(written))).nesting, ['libvirt', 'zstd', 'qemu']);
  const again = parseLibvirtHead(written);
  assert.deepEqual([again.xml, again.cookie, readableCompression(again)], [head.xml, head.cookie, 'zstd']);
  const body = memorySource(written.subarray(again.streamOffset));
  const stream = createHash('sha256');
  for await (const piece of unpackedSource(body, 'zstd').pieces()) stream.update(piece);
  assert.equal(stream.digest('hex'), '423f95bafc048a275c8a1bd6dee8b0672393120be0b2e432687f5e94f51914f1');
});

test('padding that is not zero is told', () => {
  const bytes = encodeLibvirtHead({ ...CHOICE, dataBytes: 200 });
  bytes[291] = 1;
  assert.equal(parseLibvirtHead(bytes).zeroPadded, false);
});

test('a cut anywhere, and lies', () => {
  const bytes = encodeLibvirtHead({ ...CHOICE, dataBytes: 64 });
  for (let end = 0; end < bytes.length; end++) {
    assert.equal(
      codeOf(() => parseLibvirtHead(bytes.subarray(0, end))),
      'TRUNCATED',
      `cut at ${end}`,
    );
  }
  const lie = (at: number, ...values: number[]): string => {
    const changed = bytes.slice();
    changed.set(values, at);
    return codeOf(() => parseLibvirtHead(changed));
  };
  assert.equal(lie(0, 0x6c), 'NOT_AN_IMAGE');
  assert.equal(lie(16, 3), 'UNSUPPORTED_VERSION');
  assert.equal(lie(16, 0), 'UNSUPPORTED_VERSION');
  assert.equal(lie(20, 0xff, 0xff, 0xff, 0xff), 'LIMIT_EXCEEDED');
  assert.equal(lie(20, 65), 'TRUNCATED');
  assert.equal(lie(20, 10), 'FIELD_VALUE', 'an XML without an end');
  assert.equal(lie(32, 2), 'FIELD_VALUE', 'a cookie in the XML');
  assert.equal(lie(32, 200), 'FIELD_VALUE', 'a cookie beyond the texts');
  assert.equal(lie(LIBVIRT.headerBytes + 3, 0xff), 'STRING_INVALID');
  assert.throws(() => encodeLibvirtHead({ ...CHOICE, dataBytes: 10 }), RangeError);
});

test('random damage gives typed errors', () => {
  const seed = testSeed();
  const rng = random(seed);
  const bytes = encodeLibvirtHead({ ...CHOICE, dataBytes: 64 });
  try {
    for (let run = 0; run < 2000; run++) {
      const changed = bytes.slice();
      for (let n = 1 + rng.below(3); n > 0; n--) changed[rng.below(changed.length)] = rng.below(256);
      codeOf(() => parseLibvirtHead(changed));
    }
  } catch (error) {
    const replay = `SEED=${seed} node_modules/.bin/node --test test/unit/foreign/libvirt.test.ts`;
    throw new Error(`seed ${seed}; replay: ${replay}`, { cause: error });
  }
});

test('how a QEMU stream starts', () => {
  const start = Uint8Array.of(0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, 7);
  assert.deepEqual(parseQemuStreamHead(start), { version: 3 });
  for (let end = 0; end < 8; end++)
    assert.equal(
      codeOf(() => parseQemuStreamHead(start.subarray(0, end))),
      'TRUNCATED',
    );
  assert.equal(
    codeOf(() => parseQemuStreamHead(start.with(7, 2))),
    'UNSUPPORTED_VERSION',
  );
  assert.equal(
    codeOf(() => parseQemuStreamHead(start.with(1, 2))),
    'NOT_AN_IMAGE',
  );
});
