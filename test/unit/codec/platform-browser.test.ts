/** The adapters for browsers give the same answers as those for Node; they are plain enough to run here too. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import * as browser from '../../../src/codec/platform.browser.ts';
import * as node from '../../../src/codec/platform.ts';
import * as unpackBrowser from '../../../src/io/compressed/platform.browser.ts';
import * as unpackNode from '../../../src/io/compressed/platform.ts';
import * as tmemBrowser from '../../../src/tmem/platform.browser.ts';
import * as tmemNode from '../../../src/tmem/platform.ts';
import { blobSource } from '../../../src/io/blob.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { random as randomOf } from '../../support/random.ts';

/** The two codecs of each adapter. */
const CODECS = [
  { name: 'zstd', encode: node.zstdEncode, here: browser.zstdDecode, there: node.zstdDecode },
  { name: 'deflate', encode: node.deflateEncode, here: browser.deflateDecode, there: node.deflateDecode },
] as const;

const random = randomOf('platform-browser');

function text(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => 97 + ((i * 7 + (i >> 5)) % 23));
}

const SAMPLES: readonly (readonly [string, Uint8Array])[] = [
  ['one byte', Uint8Array.of(7)],
  ['text', text(65_536)],
  ['random bytes', random.scramble(new Uint8Array(10_000))],
  ['zeros', new Uint8Array(4096)],
];

describe('each adapter', () => {
  it('has all that its twin for Node has', () => {
    for (const [here, there] of [
      [browser, node],
      [unpackBrowser, unpackNode],
      [tmemBrowser, tmemNode],
    ]) {
      assert.deepEqual(Object.keys(here).toSorted(), Object.keys(there).toSorted());
    }
  });
});

describe('the adapter of codecs', () => {
  for (const [name, bytes] of SAMPLES) {
    it(`decodes what Node encodes: ${name}`, () => {
      for (const { name: codec, encode, here } of CODECS) {
        const stored = new Uint8Array(bytes.length + 1024);
        const length = encode(bytes, stored, 1);
        const out = new Uint8Array(bytes.length);
        assert.equal(here(stored.subarray(0, length), out), '', codec);
        assert.deepEqual(out, bytes);
      }
    });
    it(`encodes deflate that Node decodes: ${name}`, () => {
      const stored = new Uint8Array(bytes.length + 1024);
      const length = browser.deflateEncode(bytes, stored, 6);
      const out = new Uint8Array(bytes.length);
      assert.equal(node.deflateDecode(stored.subarray(0, length), out), '');
      assert.deepEqual(out, bytes);
    });
    it(`has the same checksums: ${name}`, () => {
      assert.equal(browser.crc32(bytes), node.crc32(bytes));
      const cut = bytes.length >> 1;
      assert.equal(browser.crc32(bytes.subarray(cut), browser.crc32(bytes.subarray(0, cut))), node.crc32(bytes));
      const hash = new browser.Sha256();
      hash.update(bytes.subarray(0, cut));
      hash.update(bytes.subarray(cut));
      assert.deepEqual(Buffer.from(hash.digest()), createHash('sha256').update(bytes).digest());
    });
  }

  it('refuses content of another length, cuts and damage with a reason, as Node does', () => {
    const bytes = text(5000);
    for (const { name: codec, encode, here, there } of CODECS) {
      const stored = new Uint8Array(8192);
      const whole = stored.subarray(0, encode(bytes, stored, 1));
      for (const [what, input, length] of [
        ['longer', whole, 4999],
        ['shorter', whole, 5001],
        ['cut', whole.subarray(0, whole.length - 5), 5000],
        ['empty', new Uint8Array(0), 5000],
      ] as const) {
        assert.notEqual(here(input, new Uint8Array(length)), '', `${codec}, ${what}`);
        assert.notEqual(there(input, new Uint8Array(length)), '', `${codec}, ${what}, in Node`);
      }
    }
  });

  it('never takes damaged bytes for other content than Node does', () => {
    const bytes = text(3000);
    for (const { name: codec, encode, here, there } of CODECS) {
      const stored = new Uint8Array(8192);
      const length = encode(bytes, stored, 1);
      for (let i = 0; i < 300; i++) {
        const damaged = stored.slice(0, length);
        damaged[random.below(length)] ^= 1 << random.below(8);
        const [a, b] = [new Uint8Array(3000), new Uint8Array(3000)];
        if (here(damaged, a) === '' && there(damaged, b) === '')
          assert.deepEqual(a, b, `${codec}, seed platform-browser, try ${i}`);
      }
    }
  });

  it('finds zeros wherever they stand', () => {
    const bytes = new Uint8Array(4096 + 16);
    for (const at of [0, 1, 7, 8]) {
      assert.equal(browser.isZeroRange(bytes, at, 4096), true);
      for (const position of [0, 5, 4088, 4095]) {
        for (const value of [1, 0x80]) {
          bytes[at + position] = value;
          assert.equal(browser.isZeroRange(bytes, at, 4096), false, `${at} ${position} ${value}`);
          bytes[at + position] = 0;
        }
      }
      bytes[at + 4096] = 1;
      assert.equal(browser.isZeroRange(bytes, at, 4096), true);
      bytes[at + 4096] = 0;
    }
  });

  it('finds bytes where Node finds them', () => {
    for (let run = 0; run < 2000; run++) {
      const bytes = Uint8Array.from({ length: random.below(40) }, () => random.below(3));
      const wanted = Uint8Array.from({ length: 1 + random.below(4) }, () => random.below(3));
      const from = random.below(45);
      const found = browser.indexOfBytes(bytes, wanted, from);
      assert.equal(
        found,
        node.indexOfBytes(bytes, wanted, from),
        `run ${run}: ${bytes.join()} has ${wanted.join()} from ${from}`,
      );
    }
  });
});

describe('the adapter of unpacking', () => {
  async function unpacked(kind: 'gzip' | 'zstd', packed: Uint8Array, piece: number): Promise<Uint8Array> {
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      // The same buffer again and again, as sources do.
      const buffer = new Uint8Array(piece);
      for (let at = 0; at < packed.length; at += piece) {
        const part = packed.subarray(at, at + piece);
        buffer.set(part);
        yield buffer.subarray(0, part.length);
      }
    };
    const parts: Uint8Array[] = [];
    for await (const part of unpackBrowser.unpackWithZlib(kind, pieces(), 'test')) parts.push(part.slice());
    return new Uint8Array(Buffer.concat(parts));
  }

  for (const [kind, packed] of [
    ['gzip', gzipSync(text(300_000))],
    ['zstd', zstdCompressSync(text(300_000))],
  ] as const) {
    it(`unpacks ${kind}, and says where it is cut or damaged`, async () => {
      assert.deepEqual(await unpacked(kind, packed, 1000), text(300_000));
      await assert.rejects(
        unpacked(kind, packed.subarray(0, packed.length - 20), 1000),
        (error) => error instanceof TransmigrateError && ['TRUNCATED', 'CODEC_DATA'].includes(error.code),
      );
    });
  }

  it('unpacks two members of gzip as one', async () => {
    const two = Buffer.concat([gzipSync(text(1000)), gzipSync(text(500))]);
    assert.deepEqual(await unpacked('gzip', two, 64), new Uint8Array(Buffer.concat([text(1000), text(500)])));
  });
});

describe('the adapter of tmem', () => {
  it('copies and compares as Node does', () => {
    const source = random.scramble(new Uint8Array(5000));
    const [here, there] = [new Uint8Array(5000), new Uint8Array(5000)];
    tmemBrowser.copyBytes(source, 100, here, 7, 4000);
    tmemNode.copyBytes(source, 100, there, 7, 4000);
    assert.deepEqual(here, there);
    for (const change of [0, 1]) {
      here[3000] ^= change;
      assert.equal(tmemBrowser.sameBytes(here, 7, source, 100, 4000), tmemNode.sameBytes(here, 7, source, 100, 4000));
    }
    assert.equal(tmemBrowser.uninitialised(10).byteLength, 10);
  });
});

describe('a Blob as a source', () => {
  it('is read in order and at any place', async () => {
    const bytes = random.scramble(new Uint8Array(3_000_000));
    const source = blobSource(new Blob([bytes]), 'a blob');
    const parts: Uint8Array[] = [];
    for await (const piece of source.pieces()) parts.push(piece.slice());
    assert.deepEqual(new Uint8Array(Buffer.concat(parts)), bytes);
    const into = new Uint8Array(100);
    assert.equal(await source.random!.readAt(2_999_950, into), 50);
    assert.deepEqual(into.subarray(0, 50), bytes.subarray(2_999_950));
    assert.equal(await source.random!.readAt(5_000_000, into), 0);
  });
});
