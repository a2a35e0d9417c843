import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { recordBytes } from '../../../src/stream/record-header.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { random } from '../../support/random.ts';
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
