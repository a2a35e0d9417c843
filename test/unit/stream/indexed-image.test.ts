import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import type { RandomAccess } from '../../../src/bytes/endpoints.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { IndexedImage } from '../../../src/stream/indexed-image.ts';
import { PAGE_CLASS } from '../../../src/stream/records/ram.ts';
import type { StreamWriter } from '../../../src/stream/writer.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { random } from '../../support/random.ts';
import { offsetsOf, putTogether, takeApart, viewOf } from '../../support/raw-stream.ts';
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

async function writePools(writer: StreamWriter): Promise<void> {
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
  const image = await open(await written(writePools));
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

test('S7: every page around the edges of batches and segments, absent ones among them', async () => {
  // One page a batch, 2 pages apart, so that an index of more than one segment comes about.
  const count = LIMITS.indexEntries + 3;
  const bytes = await written(async (writer) => {
    for (let i = 0; i < count; i++) {
      await writer.ram(4 * i + 1, 1, new Uint8Array(PAGE).fill(1 + (i % 255)));
      await writer.round();
    }
    await writer.absent(9, 1, PAGE_CLASS.broken);
  });
  const image = await open(bytes);
  const page = new Uint8Array(PAGE + 16);
  const last = 4 * (count - 1) + 1;
  for (const pfn of [0, 1, 2, 5, 9, 13, last - 4, last - 1, last, last + 1, 2 ** 40]) {
    page.fill(0xee);
    const state = await image.readPage(pfn, page);
    const there = pfn % 4 === 1 && pfn <= last && pfn !== 9;
    assert.equal(state, there ? 'data' : 'absent', `pfn ${pfn}`);
    const expected = there ? 1 + (((pfn - 1) / 4) % 255) : 0;
    assert.ok(
      page.subarray(0, PAGE).every((byte) => byte === expected),
      `pfn ${pfn}`,
    );
    assert.ok(
      page.subarray(PAGE).every((byte) => byte === 0xee),
      'what is behind the page is left alone',
    );
  }
});

/** An image, and from where its bytes are read. */
async function watched(bytes: Uint8Array): Promise<{ image: IndexedImage; reads: Set<number> }> {
  const inner = memorySource(bytes).random!;
  const reads = new Set<number>();
  const access: RandomAccess = {
    name: 'watched',
    size: inner.size,
    readAt: (position, into) => {
      reads.add(position);
      return inner.readAt(position, into);
    },
  };
  const image = await IndexedImage.open(access);
  reads.clear();
  return { image, reads };
}

test('S7: only what may hold a page is read, and what stands first and last in a segment is found', async () => {
  // 4096 entries fill a segment: the client, the pool, 4092 rounds and a batch leave room for one.
  const object = (low: number): Uint32Array => Uint32Array.from([low, 0, 0, 0, 0, 0]);
  const ramOf = (pfn: number) => (writer: StreamWriter) => writer.ram(pfn, 1, new Uint8Array(PAGE).fill(1 + pfn));
  const tmemOf = (low: number) => (writer: StreamWriter) =>
    writer.tmemPage(1n, object(low), 0, CODEC.raw, 1, Uint8Array.of(low));
  for (const [kind, last, first] of [
    ['ram', ramOf(10), ramOf(20)],
    ['tmem', tmemOf(10), tmemOf(20)],
  ] as const) {
    const bytes = await written(async (writer) => {
      await writer.tmemClient({
        compress: false,
        frozen: false,
        weight: 1,
        cap: 0,
        allowancePages: 0n,
        authorised: [],
      });
      const pool = { ephemeral: false, shared: false, precompressed: false, pageSize: PAGE, uuid: NO_UUID, pages: 0n };
      await writer.tmemPool({ ...pool, incarnation: 1n, pool: 0, objectIdBits: 192 });
      for (let i = 0; i < 4091; i++) await writer.round();
      // A batch that holds neither, and is no neighbour of either.
      await (kind === 'ram' ? ramOf(100) : tmemOf(100))(writer);
      await writer.round();
      await last(writer);
      await writer.round();
      await first(writer);
    });
    const stream = takeApart(bytes);
    const offsets = offsetsOf(stream);
    const positionsOf = (type: number): number[] =>
      stream.records.flatMap((record, i) => (record.type === type ? [i] : []));
    const [one, two] = positionsOf(0x8000_0008).map((i) => offsets[i]);
    const batches = positionsOf(kind === 'ram' ? 0x10 : 0x42).map((i) => offsets[i]);
    assert.equal(batches.length, 3);
    const { image, reads } = await watched(bytes);
    const [pool] = await image.tmemPools();
    const page = new Uint8Array(PAGE);
    for (const [low, batch] of [
      [10, batches[1]],
      [20, batches[2]],
      [15, undefined],
    ] as const) {
      const fresh = await watched(bytes);
      const found =
        kind === 'ram'
          ? (await fresh.image.readPage(low, page)) === 'data'
          : (await fresh.image.readTmemPage(pool, { object: [BigInt(low), 0n, 0n], index: 0 }, page)) > 0;
      assert.equal(found, batch !== undefined, `${kind} ${low}`);
      const read = batches.filter((offset) => fresh.reads.has(offset));
      assert.deepEqual(read, batch === undefined ? [] : [batch], `${kind} ${low}: other batches are not read`);
      // Pages beyond a segment's first and last are not looked for in it.
      if (kind === 'ram' && low === 10) assert.deepEqual([fresh.reads.has(one), fresh.reads.has(two)], [true, false]);
    }
    assert.ok(reads.has(one) && reads.has(two), 'pools are looked for everywhere');
  }
});

test('what was read is kept, and forgotten when it is not used', async () => {
  const bytes = await written(async (writer) => {
    for (let i = 0; i < 40; i++) {
      await writer.ram(i, 1, random(`kept ${i}`).scramble(new Uint8Array(PAGE)));
      await writer.round();
    }
  });
  const image = await open(bytes);
  const page = new Uint8Array(PAGE);
  const cost = async (pfn: number): Promise<number> => {
    const before = image.bytesRead;
    assert.equal(await image.readPage(pfn, page), 'data');
    return image.bytesRead - before;
  };
  assert.ok((await cost(0)) > PAGE);
  assert.equal(await cost(0), 0);
  assert.ok((await cost(1)) >= PAGE);
  // Sixteen units are kept: those that were used last.
  for (let pfn = 2; pfn < 16; pfn++) assert.ok((await cost(pfn)) >= PAGE);
  for (let pfn = 0; pfn < 16; pfn++) assert.equal(await cost(pfn), 0, `pfn ${pfn}`);
  assert.equal(await cost(0), 0);
  assert.ok((await cost(16)) >= PAGE);
  assert.equal(await cost(0), 0, 'used not long ago');
  assert.equal(await cost(1), PAGE, 'forgotten, but for its head');
});

/** Handles in several pools, each page filled with its own number. */
const HANDLES: readonly (readonly [
  object: readonly [number, number, number, number, number, number],
  index: number,
])[] = [
  [[1, 0, 0, 0, 0, 0], 0],
  [[1, 0, 0, 0, 0, 0], 1],
  [[1, 0, 2, 0, 0, 0], 0],
  [[1, 0, 0, 0, 2, 0], 0],
  [[1, 0, 2, 0, 2, 0], 0],
  [[1, 0, 0, 2, 0, 0], 0],
  [[1, 2, 0, 0, 0, 0], 0],
  [[9, 0, 0, 0, 0, 0], 7],
];

function wordsOf(halves: readonly number[]): [bigint, bigint, bigint] {
  const word = (at: number): bigint => BigInt(halves[at]) | (BigInt(halves[at + 1]) << 32n);
  return [word(0), word(2), word(4)];
}

async function tmemImage(ephemeral: boolean, more?: (writer: StreamWriter) => Promise<void>): Promise<Uint8Array> {
  return written(async (writer) => {
    await writer.tmemClient({ compress: false, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] });
    const pool = { ephemeral, shared: false, precompressed: false, pageSize: PAGE, uuid: NO_UUID, pages: 0n } as const;
    for (const incarnation of [4n, 6n]) {
      await writer.tmemPool({ ...pool, incarnation, pool: Number(incarnation), objectIdBits: 192 });
      for (const [i, [halves, index]] of HANDLES.entries()) {
        const content = new Uint8Array(PAGE).fill(Number(incarnation) * 16 + i);
        await writer.tmemPage(incarnation, Uint32Array.from(halves), index, CODEC.raw, PAGE, content);
      }
    }
    await more?.(writer);
  });
}

for (const ephemeral of [false, true]) {
  test(`S9: every word of a handle counts, in ${ephemeral ? 'ephemeral' : 'persistent'} pools`, async () => {
    const image = await open(await tmemImage(ephemeral));
    const pools = await image.tmemPools();
    assert.deepEqual(
      pools.map((pool) => [pool.incarnation, pool.ephemeral]),
      [
        [4n, ephemeral],
        [6n, ephemeral],
      ],
    );
    const into = new Uint8Array(PAGE);
    for (const pool of pools) {
      for (const [i, [halves, index]] of HANDLES.entries()) {
        assert.equal(await image.readTmemPage(pool, { object: wordsOf(halves), index }, into), PAGE);
        assert.equal(into[0], Number(pool.incarnation) * 16 + i);
      }
      for (const halves of [
        [2, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [10, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
      ]) {
        assert.equal(await image.readTmemPage(pool, { object: wordsOf(halves), index: 0 }, into), -1);
      }
      assert.equal(await image.readTmemPage(pool, { object: [9n, 0n, 0n], index: 0 }, into), -1);
    }
  });

  test(`S9: what an invalidate takes away, in ${ephemeral ? 'ephemeral' : 'persistent'} pools`, async () => {
    const bytes = await tmemImage(ephemeral, async (writer) => {
      await writer.tmemInvalidate(4n, 'pages', [
        { object: [1n, 0n, 0n], index: 1 },
        { object: [1n, 0n, 2n], index: 9 },
      ]);
      await writer.tmemInvalidate(6n, 'objects', [
        { object: [1n, 0n, 0n], index: 0 },
        { object: [9n, 0n, 0n], index: 0 },
      ]);
    });
    const image = await open(bytes);
    const into = new Uint8Array(PAGE);
    const held = await Promise.all(
      (await image.tmemPools()).map(async (pool) => {
        const found: number[] = [];
        for (const [i, [halves, index]] of HANDLES.entries()) {
          const length = await image.readTmemPage(pool, { object: wordsOf(halves), index }, into);
          if (length === PAGE) found.push(i);
          else assert.equal(length, -1);
        }
        return found;
      }),
    );
    assert.deepEqual(held, [
      [0, 2, 3, 4, 5, 6, 7],
      [2, 3, 4, 5, 6],
    ]);
  });

  test(`S9: a pool that ended is gone for who still asks, too, ${ephemeral ? 'ephemeral' : 'persistent'}`, async () => {
    const before = await (await open(await tmemImage(ephemeral))).tmemPools();
    const image = await open(await tmemImage(ephemeral, (writer) => writer.tmemInvalidate(4n, 'pool')));
    assert.deepEqual(
      (await image.tmemPools()).map(({ incarnation }) => incarnation),
      [6n],
    );
    const into = new Uint8Array(PAGE);
    assert.equal(await image.readTmemPage(before[0], { object: [1n, 0n, 0n], index: 0 }, into), -1);
    assert.equal(await image.readTmemPage(before[1], { object: [1n, 0n, 0n], index: 0 }, into), PAGE);
  });
}

/** An image whose index was changed; checksums and chains are right again. */
function withIndex(bytes: Uint8Array, type: number, change: (body: DataView) => void): Uint8Array {
  const stream = takeApart(bytes);
  const { body } = stream.records.find((record) => record.type === type)!;
  change(viewOf(body));
  return putTogether(stream);
}

test('S7: an index that names another record is found out (stream 13.5)', async () => {
  const bytes = await tmemImage(false, (writer) => writer.ram(0, 2, somePages(2, 'lies').fill(1)));
  const offsets = offsetsOf(takeApart(bytes));
  const { records } = takeApart(bytes);
  const entryOf = (type: number): number => {
    const listed = records.filter(({ type: each }) => ![1, 3, 7, 0x8000_0008, 0x8000_0009].includes(each));
    return 8 + 48 * listed.findIndex((record) => record.type === type);
  };
  const wrong = { code: 'INDEX_MISMATCH' };
  const lying = (type: number): Promise<IndexedImage> =>
    open(withIndex(bytes, 0x8000_0008, (index) => index.setBigUint64(entryOf(type), BigInt(offsets[0]), true)));
  const page = new Uint8Array(PAGE);
  const honest = await open(bytes);
  assert.equal(await honest.readPage(0, page), 'data');
  const [pool] = await honest.tmemPools();
  const handle = { object: [1n, 0n, 0n], index: 0 } as const;
  assert.equal(await honest.readTmemPage(pool, handle, page), PAGE);
  await assert.rejects((await lying(0x10)).readPage(0, page), wrong);
  await assert.rejects((await lying(0x41)).tmemPools(), wrong);
  await assert.rejects((await lying(0x42)).readTmemPage(pool, handle, page), wrong);
  const flushed = await tmemImage(false, (writer) => writer.tmemInvalidate(4n, 'pages', [handle]));
  const { records: with43 } = takeApart(flushed);
  const listed = with43.filter(({ type }) => ![1, 3, 7, 0x8000_0008, 0x8000_0009].includes(type));
  const at = 8 + 48 * listed.findIndex(({ type }) => type === 0x43);
  const damaged = withIndex(flushed, 0x8000_0008, (index) => index.setBigUint64(at, BigInt(offsets[0]), true));
  await assert.rejects((await open(damaged)).readTmemPage(pool, handle, page), wrong);
  const noSegment = withIndex(bytes, 0x8000_0009, (root) => root.setBigUint64(8, BigInt(offsets[0]), true));
  await assert.rejects((await open(noSegment)).readPage(0, page), wrong);
});

test('S6: a footer of another image, or one that leads elsewhere', async () => {
  const [one, two] = [
    await written((writer) => writer.ram(0, 1, new Uint8Array(PAGE))),
    await written((writer) => writer.ram(0, 1, new Uint8Array(PAGE)), { streamId: new Uint8Array(16).fill(1) }),
  ];
  assert.equal(one.byteLength, two.byteLength);
  const mixed = new Uint8Array([...one.subarray(0, -64), ...two.subarray(-64)]);
  await assert.rejects(open(mixed), { code: 'FOOTER', offset: one.byteLength - 64 });
  const { crc32 } = await import('node:zlib');
  const changedFooter = (at: number, value: number): Uint8Array => {
    const bytes = one.slice();
    const footer = viewOf(bytes.subarray(-64));
    footer.setBigUint64(at, BigInt(value), true);
    footer.setUint32(60, crc32(bytes.subarray(-64, -4)), true);
    return bytes;
  };
  await assert.rejects(open(changedFooter(32, one.byteLength + 1)), { code: 'FOOTER' });
  await assert.rejects(open(changedFooter(24, 128)), { code: 'INDEX_MISMATCH' });
  await open(changedFooter(24, Number(viewOf(one.subarray(-64)).getBigUint64(24, true))));
});
