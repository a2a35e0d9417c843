import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { recordBytes } from '../../../src/stream/record-header.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { random } from '../../support/random.ts';
import { ALL_REPAIRS, putTogether, takeApart } from '../../support/raw-stream.ts';
import { choice, decoded, PAGE, somePages, written } from '../../support/streams.ts';

/** Kinds of records with the bytes between two seals. */
function sealedIntervals(bytes: Uint8Array): number[] {
  const intervals: number[] = [];
  let since = 0;
  decoded(bytes, ({ header }) => {
    if (header.type === TYPE.seal) {
      intervals.push(since);
      since = 0;
    } else {
      since += recordBytes(header.length);
    }
  });
  return intervals;
}

test('S5: seals come before 64 MiB of records, and as often as asked for', async () => {
  const pages = random('seals').scramble(new Uint8Array(256 * PAGE));
  const whole = await written(async (writer) => {
    for (let i = 0; i < 66; i++) await writer.ram(256 * i, 256, pages);
  });
  const intervals = sealedIntervals(whole);
  assert.ok(Math.max(...intervals) <= LIMITS.sealInterval);
  assert.ok(Math.max(...intervals) > LIMITS.sealInterval - 3 * 1024 * 1024, 'seals are not wasted');
  const often = await written((writer) => writer.ram(0, 256, pages), {}, { sealInterval: 100_000 });
  // A record larger than the interval stands alone between two seals.
  assert.ok(sealedIntervals(often).length >= 2);
});

test('S5: more than 64 MiB without a seal is refused', async () => {
  // A reader must refuse by the header alone: the stream is made by a writer that forgets its seals.
  const { encodePreamble, PREAMBLE_BYTES } = await import('../../../src/stream/preamble.ts');
  const { encodeHeader, HEADER_BYTES } = await import('../../../src/stream/record-header.ts');
  const { encodeAbout } = await import('../../../src/stream/records/control.ts');
  const { crc32 } = await import('../../../src/codec/platform.ts');
  const { StreamDecoder } = await import('../../../src/stream/decoder.ts');
  const preamble = encodePreamble(choice());
  const tag = new DataView(preamble.buffer).getUint32(PREAMBLE_BYTES - 4, true);
  const decoder = new StreamDecoder();
  const feed = (bytes: Uint8Array): void => {
    decoder.feed(bytes);
    while (decoder.read() !== undefined);
  };
  const record = (type: number, sequence: number, body: Uint8Array): Uint8Array => {
    const bytes = new Uint8Array(recordBytes(body.byteLength));
    bytes.set(body, HEADER_BYTES);
    encodeHeader(bytes, type, body.byteLength, sequence, tag, crc32(bytes.subarray(HEADER_BYTES)));
    return bytes;
  };
  feed(preamble);
  const about = record(TYPE.about, 0, encodeAbout({}));
  feed(about);
  // Unknown optional records, as large as they may be: three fit beside what is there, the fourth does not.
  const body = new Uint8Array(LIMITS.recordBody);
  for (let sequence = 1; sequence <= 3; sequence++) feed(record(0x8000_3000, sequence, body));
  const left = LIMITS.sealInterval - about.byteLength - 3 * recordBytes(LIMITS.recordBody);
  const fits = left - HEADER_BYTES;
  const tooLong = record(0x8000_3000, 4, body.subarray(0, fits + 1));
  assert.throws(() => feed(tooLong.subarray(0, HEADER_BYTES)), { code: 'SEAL_MISSING', offset: decoder.offset });
  const second = new StreamDecoder();
  second.feed(preamble);
  while (second.read() !== undefined);
  for (const bytes of [
    about,
    ...[1, 2, 3].map((n) => record(0x8000_3000, n, body)),
    record(0x8000_3000, 4, body.subarray(0, fits)),
  ]) {
    second.feed(bytes);
    while (second.read() !== undefined);
  }
  assert.equal(second.sequence, 5);
});

test('the writer refuses what a reader would refuse, and is then used up', async () => {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice({ domainType: 'hvm' }), {});
  const client = { compress: false, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] };
  await assert.rejects(writer.tmemClient(client), { code: 'TMEM_NOT_ALLOWED' });
  await assert.rejects(writer.checkpoint(), { code: 'TMEM_NOT_ALLOWED' });
});

test('END without a checkpoint, and state after the last one, are refused', async () => {
  const none = await StreamWriter.open(new MemorySink(), choice(), {});
  await assert.rejects(none.end(), { code: 'NO_CHECKPOINT' });
  const late = await StreamWriter.open(new MemorySink(), choice(), {});
  await late.checkpoint();
  await late.ram(0, 1, new Uint8Array(PAGE));
  await assert.rejects(late.end(), { code: 'RECORD_ORDER' });
});

test('a sink that fails fails the writer, with the error of the sink', async () => {
  let left = 5;
  const sink = {
    write: (): Promise<void> => (left-- > 0 ? Promise.resolve() : Promise.reject(new Error('no space'))),
  };
  const writer = await StreamWriter.open(sink, choice(), {});
  const pages = random('full disk').scramble(new Uint8Array(256 * PAGE));
  await assert.rejects(async () => {
    for (let i = 0; i < 50; i++) await writer.ram(256 * i, 256, pages);
    await writer.checkpoint();
    await writer.end();
  }, /no space/);
  await assert.rejects(writer.seal(), /no space/);
});

test('what was given to ram() may change as soon as it resolves', async () => {
  const pages = somePages(64, 'changing');
  const kept = pages.slice();
  const back = new Uint8Array(pages.byteLength);
  for (const threads of [0, 2]) {
    const bytes = await written(
      async (writer) => {
        const given = kept.slice();
        await writer.ram(0, 64, given);
        given.fill(0xff);
      },
      {},
      { codec: CODEC.zstd, threads },
    );
    decoded(bytes, ({ record }, decoder) => {
      if (record.kind !== 'RAM') return;
      record.visit(
        {
          data: (first, count, _class, source, at) => back.set(source.subarray(at, at + count * PAGE), first * PAGE),
          zero: () => undefined,
          absent: () => undefined,
        },
        decoder.scratch,
      );
    });
    assert.ok(Buffer.from(back).equals(kept));
  }
});

test('S8: what does not compress is sent raw, zero pages cost a bit', async () => {
  const noise = random('noise').scramble(new Uint8Array(256 * PAGE));
  const bytes = await written((writer) => writer.ram(0, 256, noise), {}, { codec: CODEC.zstd });
  assert.ok(bytes.byteLength < noise.byteLength + 4096);
  const empty = await written((writer) => writer.ram(0, 65_536, new Uint8Array(65_536 * PAGE)));
  assert.ok(empty.byteLength < 65_536 / 8 + 2048, `${empty.byteLength} bytes for 256 MiB of zeros`);
});

test('S8: pages that are known to be zero make the same stream as pages that are looked at', async () => {
  const zeros = new Uint8Array(300 * PAGE);
  const data = somePages(40, 'before zeros');
  const known = await written(async (writer) => {
    await writer.ram(5, 40, data);
    await writer.zero(45, 300);
    await writer.ram(345, 40, data);
    await writer.zero(100_000, 70_000);
  });
  const found = await written(async (writer) => {
    await writer.ram(5, 40, data);
    await writer.ram(45, 300, zeros);
    await writer.ram(345, 40, data);
    for (let page = 0; page < 70_000; page += 250) await writer.ram(100_000 + page, 250, zeros);
  });
  assert.deepEqual(known, found);
});

/** A writer that has a client and two persistent pools. */
async function withPools(body: (writer: StreamWriter) => Promise<void>): Promise<Uint8Array> {
  return written(async (writer) => {
    await writer.tmemClient({ compress: false, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] });
    const uuid = '00000000-0000-0000-0000-000000000000';
    const pool = { ephemeral: false, shared: false, precompressed: false, objectIdBits: 192, uuid, pages: 0n } as const;
    await writer.tmemPool({ ...pool, pageSize: 65_536, incarnation: 1n, pool: 0 });
    await writer.tmemPool({ ...pool, pageSize: 65_536, incarnation: 2n, pool: 1 });
    await body(writer);
  });
}

/** The tmem batches of a stream, as incarnation and the pages' indexes. */
function tmemBatches(bytes: Uint8Array): [bigint, number[]][] {
  const found: [bigint, number[]][] = [];
  decoded(bytes, ({ record }) => {
    if (record.kind !== 'TMEM_PAGES') return;
    found.push([record.pool.incarnation, Array.from({ length: record.count }, (_, page) => record.index(page))]);
  });
  return found;
}

test('S9: pages of two pools in turn stand in batches of their own, in order', async () => {
  const object = new Uint32Array(6);
  const bytes = await withPools(async (writer) => {
    for (const [i, incarnation] of [1n, 1n, 2n, 1n, 2n, 2n].entries()) {
      await writer.tmemPage(incarnation, object, i, CODEC.raw, 1, Uint8Array.of(7));
    }
    await writer.ram(0, 1, new Uint8Array(PAGE));
    await writer.tmemPage(2n, object, 6, CODEC.raw, 1, Uint8Array.of(7));
  });
  assert.deepEqual(tmemBatches(bytes), [
    [1n, [0, 1]],
    [2n, [2]],
    [1n, [3]],
    [2n, [4, 5]],
    [2n, [6]],
  ]);
});

test('S9: a batch holds 1 MiB or 4096 pages, and the next begins', async () => {
  const object = new Uint32Array(6);
  const large = random('tmem').scramble(new Uint8Array(65_536));
  const bytes = await withPools(async (writer) => {
    for (let i = 0; i < 17; i++) await writer.tmemPage(1n, object, i, CODEC.raw, 65_536, large);
    await writer.tmemPage(2n, object, 0, CODEC.raw, 3, large.subarray(0, 3));
    for (let i = 1; i < 4098; i++) await writer.tmemPage(2n, object, i, CODEC.zero, 0, new Uint8Array(0));
  });
  const sizes = tmemBatches(bytes).map(([incarnation, pages]) => [incarnation, pages.length, pages[0]]);
  assert.deepEqual(sizes, [
    [1n, 16, 0],
    [1n, 1, 16],
    [2n, 4096, 0],
    [2n, 2, 4096],
  ]);
  const out = new Uint8Array(65_536);
  decoded(bytes, ({ record }) => {
    if (record.kind !== 'TMEM_PAGES' || record.pool.incarnation !== 1n) return;
    for (let page = 0; page < record.count; page++) {
      assert.equal(record.contentInto(page, out), 65_536);
      assert.ok(Buffer.from(out).equals(large));
    }
  });
});

test('a page that no batch can hold is refused', async () => {
  const writing = withPools((writer) =>
    writer.tmemPage(1n, new Uint32Array(6), 0, CODEC.raw, 65_536, new Uint8Array(1024 * 1024 + 1)),
  );
  await assert.rejects(writing, RangeError);
});

test('what a caller may not ask for is a RangeError, and writes nothing', async () => {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice(), {});
  const before = writer.offset;
  const page = new Uint8Array(PAGE);
  const wrong: readonly (() => Promise<void>)[] = [
    () => writer.ram(0, 1, page, 0, 0x80),
    () => writer.absent(0, 1, 0),
    () => writer.ram(0, 2, page),
    () => writer.ram(0, 1, page, 1),
  ];
  for (const ask of wrong) await assert.rejects(ask, RangeError);
  assert.equal(writer.offset, before);
  await writer.ram(2 ** 52 - 1, 1, page);
  for (const [first, pages] of [
    [-1, 1],
    [2 ** 52, 1],
  ] as const) {
    const other = await StreamWriter.open(new MemorySink(), choice(), {});
    await assert.rejects(other.ram(first, pages, page), RangeError);
  }
});

test('pages are read from where they stand in their source', async () => {
  const source = somePages(300, 'offsets').fill(3, 0, PAGE);
  const bytes = await written((writer) => writer.ram(7, 299, source, PAGE));
  const found = new Uint8Array(299 * PAGE);
  decoded(bytes, ({ record }, decoder) => {
    if (record.kind !== 'RAM') return;
    record.visit(
      {
        data: (first, pages, pageClass, from, at) => {
          assert.equal(pageClass, 0);
          found.set(from.subarray(at, at + pages * PAGE), (first - 7) * PAGE);
        },
        zero: () => undefined,
        absent: () => undefined,
      },
      decoder.scratch,
    );
  });
  assert.ok(Buffer.from(found).equals(source.subarray(PAGE)));
});

test('S4: a writer knows the names that it has given', async () => {
  const bytes = await written(async (writer) => {
    await assert.rejects(
      StreamWriter.open(new MemorySink(), choice(), {}).then((other) => other.local(0x4000, false, new Uint8Array(1))),
      { code: 'RECORD_ORDER' },
    );
    await writer.dictionary({ record: 0x4000, name: 'org.example.a', version: 1, text: 'a', schema: null });
    await writer.local(0x4000, false, new Uint8Array(1));
    await writer.local(0x4000, true, new Uint8Array(2));
  });
  assert.deepEqual(
    takeApart(bytes)
      .records.filter(({ type }) => (type & 0x4000) !== 0)
      .map(({ type, body }) => [type, body.length]),
    [
      [0x4000, 1],
      [0x8000_4000, 2],
    ],
  );
});

test('S14: a stream in direction back carries acknowledgements', async () => {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice({ kind: 'migration', direction: 'back', indexed: false }), {});
  const chain = random('chain').scramble(new Uint8Array(32));
  await writer.ack(0, 3, chain);
  await writer.ack(0, 5, chain);
  await writer.end();
  const seals: number[] = [];
  decoded(sink.bytes(), ({ record }) => {
    if (record.kind !== 'ACK') return;
    assert.deepEqual(new Uint8Array(record.chain), chain);
    seals.push(record.seal);
  });
  assert.deepEqual(seals, [3, 5]);
});

test('S7, S5: a stream that other code puts together of the same parts has the same bytes', async () => {
  for (const [sealInterval, indexed] of [
    [64, true],
    [5000, true],
    [100_000, false],
  ] as const) {
    const bytes = await written(
      async (writer) => {
        for (let i = 0; i < 40; i++) {
          await writer.ram(16 * i, 5, somePages(5, `derived ${i}`));
          if (i % 7 === 0) await writer.round();
        }
        await writer.device(
          { device: 0, name: 'd', format: 'f', version: '1', fingerprint: new Uint8Array(32) },
          random('blob').scramble(new Uint8Array(5000)),
        );
        await writer.origin('xen', new Uint8Array(0));
        await writer.origin('xen', Uint8Array.of(1));
      },
      { indexed },
      { sealInterval },
    );
    const stream = takeApart(bytes);
    assert.ok(Buffer.from(putTogether(stream, ALL_REPAIRS)).equals(bytes));
    assert.equal(stream.records.filter(({ type }) => type === 0x8000_0050).length, 1, 'nothing for no bytes');
    // No seal stands directly after another, and none before there is something to seal.
    for (const [i, { type }] of stream.records.entries()) {
      if (type === 3) assert.notEqual(stream.records[i - 1].type, 3);
    }
  }
});

test('an invalidation may come as a body, which is counted and checked; bytes are known by record', async () => {
  const pool = {
    ephemeral: false,
    incarnation: 1n,
    pool: 0,
    shared: false,
    precompressed: false,
    pageSize: PAGE,
    objectIdBits: 192,
    uuid: '00000000-0000-0000-0000-000000000000',
    pages: 0n,
  } as const;
  const client = { compress: true, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] };
  const handles = [
    { object: [4n, 5n, 6n] as const, index: 7 },
    { object: [4n, 5n, 6n] as const, index: 9 },
  ];
  const image = (write: (writer: StreamWriter) => Promise<void>): Promise<Uint8Array> =>
    written(async (writer) => {
      await writer.tmemClient(client);
      await writer.tmemPool(pool);
      const before = writer.offset;
      await write(writer);
      assert.equal(writer.bytesOf([TYPE.tmemInvalidate]), writer.offset - before);
      assert.equal(writer.bytesOf([TYPE.tmemInvalidate, TYPE.ram]), writer.offset - before);
      await writer.ram(0, 1, new Uint8Array(PAGE).fill(1));
      await writer.seal();
      assert.ok(writer.bytesOf([TYPE.ram]) > PAGE);
    });
  const made = await image((writer) => writer.tmemInvalidate(1n, 'pages', handles));
  let body = new Uint8Array();
  let entries = 0;
  decoded(made, (each) => {
    if (each.record.kind === 'TMEM_INVALIDATE') body = each.body.slice();
    if (each.record.kind === 'END') entries = each.record.counts.tmemInvalidations;
  });
  assert.equal(entries, 2);
  assert.deepEqual(await image((writer) => writer.tmemInvalidation(1n, body)), made);
  await assert.rejects(
    image((writer) => writer.tmemInvalidation(1n, body.subarray(0, -1))),
    (error) => error instanceof TransmigrateError && error.code === 'LENGTH_MISMATCH',
  );
});
