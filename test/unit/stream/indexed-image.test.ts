import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { IndexedImage } from '../../../src/stream/indexed-image.ts';
import { PAGE_CLASS } from '../../../src/stream/records/ram.ts';
import type { StreamWriter } from '../../../src/stream/writer.ts';
import { random } from '../../support/random.ts';
import { PAGE, somePages, written } from '../../support/streams.ts';

const NO_UUID = '00000000-0000-0000-0000-000000000000';

async function open(bytes: Uint8Array): Promise<IndexedImage> {
  return IndexedImage.open(memorySource(bytes).random!);
}

test('S7: a page read through the index is the newest, and removals are in it', async () => {
  const generator = random('indexed pages');
  const model = new Map<number, Uint8Array | null>();
  const bytes = await written(
    async (writer) => {
      for (let step = 0; step < 60; step++) {
        const first = generator.below(3000);
        const count = 1 + generator.below(200);
        if (generator.below(6) === 0) {
          await writer.absent(first, count, PAGE_CLASS.ballooned);
          for (let page = 0; page < count; page++) model.set(first + page, null);
        } else {
          const pages = somePages(count, `step ${step}`);
          await writer.ram(first, count, pages);
          for (let page = 0; page < count; page++)
            model.set(first + page, pages.subarray(page * PAGE, (page + 1) * PAGE));
        }
        if (generator.below(5) === 0) await writer.round();
      }
    },
    {},
    { codec: CODEC.lz4 },
  );
  const image = await open(bytes);
  const page = new Uint8Array(PAGE);
  for (let look = 0; look < 1500; look++) {
    const pfn = generator.below(3300);
    const state = await image.readPage(pfn, page);
    const expected = model.get(pfn) ?? undefined;
    if (expected === undefined) {
      assert.equal(state, 'absent');
    } else {
      assert.equal(state, expected.every((byte) => byte === 0) ? 'zero' : 'data');
      assert.ok(Buffer.from(page).equals(expected), `pfn ${pfn}`);
    }
  }
});

test('S7: random access reads a small part of a large image', async () => {
  const pages = random('random page').scramble(new Uint8Array(2000 * PAGE));
  const bytes = await written((writer) => writer.ram(0, 2000, pages));
  const image = await open(bytes);
  await image.readPage(1234, new Uint8Array(PAGE));
  assert.ok(image.bytesRead < 300 * 1024, `${image.bytesRead} bytes`);
});

async function pools(writer: StreamWriter): Promise<void> {
  const page = (fill: number): Uint8Array => new Uint8Array(PAGE).fill(fill);
  const object = (low: number): Uint32Array => new Uint32Array([low, 0, 0, 0, 0, 0]);
  await writer.tmemClient({ compress: false, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] });
  const pool = {
    ephemeral: false,
    shared: false,
    precompressed: false,
    pageSize: PAGE,
    uuid: NO_UUID,
    pages: 0n,
  } as const;
  await writer.tmemPool({ ...pool, incarnation: 1n, pool: 0, objectIdBits: 192 });
  await writer.tmemPool({ ...pool, incarnation: 2n, pool: 1, objectIdBits: 64 });
  for (let i = 0; i < 100; i++) await writer.tmemPage(1n, object(i), i, CODEC.raw, PAGE, page(i + 1));
  await writer.tmemPage(2n, object(7), 7, CODEC.zero, 0, page(0));
  await writer.tmemPage(1n, object(3), 3, CODEC.raw, 5, page(0xaa).subarray(0, 5));
  await writer.tmemInvalidate(1n, 'pages', [{ object: [4n, 0n, 0n], index: 4 }]);
  await writer.tmemInvalidate(1n, 'objects', [{ object: [5n, 0n, 0n], index: 0 }]);
  await writer.tmemPage(1n, object(5), 1, CODEC.raw, PAGE, page(0x55));
  await writer.tmemInvalidate(2n, 'pool');
  await writer.tmemPool({ ...pool, incarnation: 3n, pool: 1, objectIdBits: 64 });
}

test('S7, S9: tmem pages through the index: newest, invalidated, of a pool whose slot was used before', async () => {
  const image = await open(await written(pools));
  const living = await image.tmemPools();
  assert.deepEqual(
    living.map((pool) => [pool.incarnation, pool.pool]),
    [
      [1n, 0],
      [3n, 1],
    ],
  );
  const into = new Uint8Array(PAGE);
  const read = async (low: bigint, index: number, pool = living[0]): Promise<number> => {
    const length = await image.readTmemPage(pool, { object: [low, 0n, 0n], index }, into);
    return length < 0 ? -1 : into[0];
  };
  assert.equal(await read(9n, 9), 10);
  assert.equal(await read(3n, 3), 0xaa);
  assert.deepEqual([...into.subarray(3, 8)], [0xaa, 0xaa, 0, 0, 0]);
  assert.equal(await read(4n, 4), -1);
  assert.equal(await read(5n, 5), -1);
  assert.equal(await read(5n, 1), 0x55);
  assert.equal(await read(9n, 8), -1);
  assert.equal(await read(7n, 7, living[1]), -1);
});

test('S6: what is read at random is checked: a flipped bit in a unit, a head, an index', async () => {
  const pages = random('damage').scramble(new Uint8Array(100 * PAGE));
  const bytes = await written((writer) => writer.ram(0, 100, pages));
  const codes = new Set<string>();
  for (let at = 128; at < bytes.byteLength; at += 997) {
    const damaged = bytes.slice();
    damaged[at] ^= 0x10;
    try {
      const image = await open(damaged);
      const page = new Uint8Array(PAGE);
      for (let pfn = 0; pfn < 100; pfn++) {
        const state = await image.readPage(pfn, page);
        assert.equal(state, 'data');
        assert.ok(Buffer.from(page).equals(pages.subarray(pfn * PAGE, (pfn + 1) * PAGE)));
      }
    } catch (error) {
      assert.ok(error instanceof TransmigrateError);
      codes.add(error.code);
    }
  }
  assert.ok(codes.has('UNIT_CHECKSUM'), [...codes].join());
});

test('an image without an index says so', async () => {
  const bytes = await written((writer) => writer.ram(0, 1, new Uint8Array(PAGE)), { indexed: false });
  await assert.rejects(open(bytes), { code: 'NOT_INDEXED' });
});

test('a cut or lengthened image has no footer at its end', async () => {
  const bytes = await written((writer) => writer.ram(0, 1, new Uint8Array(PAGE)));
  await assert.rejects(open(bytes.subarray(0, -8)), { code: 'FOOTER' });
  await assert.rejects(open(new Uint8Array([...bytes, 0])), { code: 'FOOTER' });
});
