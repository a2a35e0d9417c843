// Section 10: transcendent memory.
import { cat, idOf, noise, text, u32, u64, u8, zeros } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { opaque, originals, packed, raw, zeroPage } from './lib/content.ts';
import type { Packed } from './lib/content.ts';
import { ram } from './lib/ram.ts';
import { client, entry, handle, invalidate, pages, pool, poolOf } from './lib/tmem.ts';
import type { Entry } from './lib/tmem.ts';
import { bad, good } from './lib/vector.ts';
import type { Options, Vector } from './lib/vector.ts';

const first = poolOf(1n);
const ephemeral = poolOf(1n, { persistent: false });
const squeezed = poolOf(1n, { precompressed: true });
const wide = poolOf(1n, { width: 192 });
const page = (seed: string): Packed => raw(text(seed, 4096));
const begun = [client(), pool(first)];
const top = 2n ** 64n - 1n;

const sound = (name: string, section: string, title: string, recs: Rec[], options: Options = {}): Vector =>
  good(name, 'S9', section, title, options, (channel) => {
    for (const rec of recs) channel.add(rec);
  });

/** The last record is the wrong one. */
const wrong = (
  name: string,
  section: string,
  title: string,
  code: string,
  recs: Rec[],
  options: Options = {},
): Vector =>
  bad(name, 'S9', section, title, options, (channel) => {
    for (const rec of recs.slice(0, -1)) channel.add(rec);
    channel.bad(code, recs.at(-1)!);
  });

const cut = (rec: Rec, bytes: number): Rec => ({ ...rec, body: rec.body.subarray(0, rec.body.length - bytes) });
const longer = (rec: Rec, bytes: number): Rec => ({ ...rec, body: cat(rec.body, zeros(bytes)) });

function clients(): Vector[] {
  const uuids = Array.from({ length: 16 }, (_, place) => idOf(`uuid ${place}`));
  return [
    sound('tmem-client-alone', '10.1', 'A client without pools.', [client()]),
    sound('tmem-client-all-fields', '10.1', 'A client with every field set and one authorised uuid.', [
      client({
        compress: true,
        frozen: true,
        weight: 256,
        cap: 0xffffffff,
        allowance: top,
        authorised: uuids.slice(0, 1),
      }),
    ]),
    sound('tmem-client-16-uuids', '10.1', 'A client with 16 authorised uuids, the most there can be.', [
      client({ frozen: true, authorised: uuids }),
    ]),
    sound('tmem-client-emulated', '4', 'A domain that is emulated with the paravirtual interface has tmem.', begun, {
      domainType: 4,
    }),
    ...([0, 2, 3, 5] as const).map((domainType) =>
      wrong(
        `tmem-not-allowed-domain-${domainType}`,
        '4',
        `A client in a domain of type ${domainType}.`,
        'TMEM_NOT_ALLOWED',
        [client()],
        { domainType },
      ),
    ),
    wrong(
      'tmem-not-allowed-ephemeral',
      '4',
      'An ephemeral pool in an HVM domain: optional records are not allowed there either.',
      'TMEM_NOT_ALLOWED',
      [pool(ephemeral)],
      { domainType: 2 },
    ),
    wrong('tmem-client-twice', '4', 'A second client.', 'DUPLICATE', [client(), client()]),
    wrong('tmem-client-after-pool', '4', 'A second client after a pool.', 'DUPLICATE', [...begun, client()]),
    wrong('tmem-client-17-uuids', '10.1', 'A client that counts 17 uuids.', 'LIMIT_EXCEEDED', [
      client({ authorised: uuids, count: 17 }),
    ]),
    wrong('tmem-client-uuids-2-32', '10.1', 'A client that counts 2^32 - 1 uuids.', 'LIMIT_EXCEEDED', [
      client({ count: 0xffffffff }),
    ]),
    wrong('tmem-client-uuid-missing', '10.1', 'A client that counts one uuid and has none.', 'LENGTH_MISMATCH', [
      client({ count: 1 }),
    ]),
    wrong('tmem-client-bytes-after', '10.1', 'A client with a uuid that it does not count.', 'LENGTH_MISMATCH', [
      client({ authorised: uuids.slice(0, 2), count: 1 }),
    ]),
    wrong('tmem-client-short', '10.1', 'A client that ends before its allowance.', 'LENGTH_MISMATCH', [
      cut(client(), 8),
    ]),
  ];
}

function pools(): Vector[] {
  const many = Array.from({ length: 16 }, (_, slot) => poolOf(BigInt(slot + 1), { slot: 15 - slot }));
  const flagged = (fields: Parameters<typeof poolOf>[1]): Rec[] => [client(), pool(poolOf(1n, fields))];
  const wrongPool = (name: string, title: string, fields: Parameters<typeof poolOf>[1], code = 'FIELD_VALUE'): Vector =>
    wrong(name, '10.2', title, code, flagged(fields));
  return [
    sound('tmem-pool-flags', '10.2', 'Pools with every combination of flags.', [
      client(),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((bits) => {
        const shared = (bits & 2) !== 0;
        const uuid = shared ? idOf(`shared ${bits}`) : zeros(16);
        const fields = { persistent: (bits & 1) !== 0, shared, precompressed: (bits & 4) !== 0, uuid };
        return pool(poolOf(BigInt(bits + 1), { slot: bits, ...fields }));
      }),
    ]),
    sound('tmem-pool-page-sizes', '10.2', 'Pools of each page size, whatever that of the memory is.', [
      client(),
      ...[12, 13, 14, 15, 16].flatMap((pageShift, slot) => {
        const one = poolOf(BigInt(slot + 1), { slot, pageShift });
        return [pool(one), pages(one, [entry(5n, 0, raw(text(`of ${pageShift}`, 2 ** pageShift)))])];
      }),
    ]),
    sound('tmem-pool-16', '10.2', 'Sixteen pools, the most there can be at once.', [
      client(),
      ...many.flatMap((each) => [pool(each), pages(each, [entry(1n, each.slot, raw(text('each', 9)))])]),
    ]),
    sound('tmem-pool-incarnations', '10.2', 'Incarnations ascend with gaps, up to the last 64-bit number.', [
      client(),
      pool(poolOf(7n, { slot: 3, pages: top })),
      pool(poolOf(2n ** 40n, { slot: 0 })),
      pool(poolOf(top, { slot: 1, width: 192 })),
    ]),
    sound('tmem-pool-reserved-not-zero', '1.3', 'Reserved fields of POOL, PAGES and INVALIDATE are ignored.', [
      client(),
      pool(poolOf(1n, { reserved: 0xff })),
      pages(first, [{ ...entry(1n, 2, page('reserved')), reserved: 0xff }], { reserved: 0xffffffff }),
      invalidate(first, 1, [handle(1n, 3)], { reserved: 0xffffffff }),
    ]),
    sound('tmem-slot-reused', '10.4', 'A pool ends, and another incarnation takes its slot.', [
      ...begun,
      pages(first, [entry(1n, 1, page('old'))]),
      invalidate(first, 3, []),
      pool(poolOf(2n, { width: 192 })),
      pages(poolOf(2n), [entry([1n, 2n, 3n], 1, page('new'))]),
    ]),
    sound('tmem-slot-reused-ephemeral', '10.4', 'An ephemeral pool ends, and a persistent one takes its slot.', [
      client(),
      pool(ephemeral),
      pages(ephemeral, [entry(1n, 1, page('gone'))]),
      invalidate(ephemeral, 3, []),
      pool(poolOf(2n)),
      pages(poolOf(2n), [entry(1n, 1, page('kept'))]),
    ]),
    wrong('tmem-pool-before-client', '4', 'A pool before the client.', 'RECORD_ORDER', [pool(first)]),
    wrong('tmem-pool-slot-taken', '4', 'A pool in a slot that is taken.', 'DUPLICATE', [...begun, pool(poolOf(2n))]),
    wrong('tmem-pool-slot-taken-ephemeral', '4', 'An ephemeral pool in the slot of a persistent one.', 'DUPLICATE', [
      ...begun,
      pool(poolOf(2n, { persistent: false })),
    ]),
    wrong('tmem-pool-incarnation-again', '4', 'An incarnation that lives comes again.', 'DUPLICATE', [
      ...begun,
      pool(poolOf(1n, { slot: 1 })),
    ]),
    wrong('tmem-pool-incarnation-lower', '4', 'An incarnation below an earlier one.', 'DUPLICATE', [
      client(),
      pool(poolOf(9n)),
      pool(poolOf(8n, { slot: 1 })),
    ]),
    wrong('tmem-pool-incarnation-reused', '4', 'An incarnation that has ended comes again.', 'DUPLICATE', [
      ...begun,
      invalidate(first, 3, []),
      pool(first),
    ]),
    wrong('tmem-pool-incarnation-0', '10.2', 'Incarnation 0.', 'FIELD_VALUE', [client(), pool(poolOf(0n))]),
    wrongPool('tmem-pool-slot-16', 'Slot 16.', { slot: 16 }),
    wrongPool('tmem-pool-flag-8', 'Flag 8, which nothing has.', { extraFlags: 8 }),
    wrongPool('tmem-pool-flag-256', 'Flag 0x100, which nothing has.', { extraFlags: 0x100 }),
    wrongPool('tmem-pool-flag-2-23', 'Flag 0x800000, which nothing has.', { extraFlags: 0x800000 }),
    wrongPool('tmem-pool-version-0', 'Version 0 in the flags.', { version: 0 }),
    wrongPool('tmem-pool-version-2', 'Version 2 in the flags.', { version: 2 }),
    wrongPool('tmem-pool-page-shift-17', 'Pages of 2^17 bytes.', { pageShift: 17 }),
    wrongPool('tmem-pool-page-shift-27', 'Pages of 2^27 bytes.', { pageShift: 27 }),
    wrongPool('tmem-pool-width-0', 'Object ids of 0 bits.', { width: 0 }),
    wrongPool('tmem-pool-width-128', 'Object ids of 128 bits.', { width: 128 }),
    wrongPool('tmem-pool-persistent-optional', 'A persistent pool in an optional record.', { optional: true }),
    wrongPool('tmem-pool-ephemeral-mandatory', 'An ephemeral pool in a mandatory record.', {
      persistent: false,
      optional: false,
    }),
    wrong('tmem-pool-short', '10.2', 'A pool of 40 bytes.', 'LENGTH_MISMATCH', [client(), cut(pool(first), 8)]),
    wrong('tmem-pool-long', '15', 'A pool of 49 bytes: no longer than 48 is allowed.', 'LIMIT_EXCEEDED', [
      client(),
      longer(pool(first), 1),
    ]),
  ];
}

const codecs = ['zstd', 'deflate', 'lz4', 'lzo1x'] as const;

function batches(): Vector[] {
  const high = 2n ** 63n;
  const wrongEntry = (name: string, section: string, title: string, code: string, item: Entry): Vector =>
    wrong(name, section, title, code, [...begun, pages(first, [entry(1n, 0, page('right')), item])]);
  const wrongSqueezed = (
    name: string,
    title: string,
    code: string,
    stored: Packed,
    patch: Entry['wrong'] = {},
  ): Vector =>
    wrong(name, '10.3.2', title, code, [
      client(),
      pool(squeezed),
      pages(squeezed, [{ ...entry(1n, 0, stored), wrong: patch }]),
    ]);
  return [
    sound('tmem-pages-codecs', '10.3', 'One batch with a page in each codec.', [
      ...begun,
      pages(first, [
        entry(1n, 0, page('raw')),
        entry(1n, 1, zeroPage()),
        ...codecs.map((codec, place) => entry(1n, place + 2, packed('one', codec))),
      ]),
    ]),
    sound('tmem-pages-trailing-zeros', '10.3.1', 'Pages that are stored without their trailing zeros.', [
      ...begun,
      pages(first, [
        entry(2n, 0, raw(u8(1))),
        entry(2n, 1, raw(text('most', 4095))),
        entry(2n, 2, raw(cat(u8(5), zeros(9)))),
        ...codecs.map((codec, place) => entry(2n, place + 3, packed('part', codec))),
      ]),
    ]),
    sound('tmem-pages-raw-zeros', '10.3.1', 'A page of zeros that is stored raw is a page of zeros.', [
      ...begun,
      pages(first, [entry(1n, 0, raw(zeros(4096))), entry(1n, 1, raw(zeros(1)))]),
    ]),
    sound('tmem-pages-192-bit', '10.3', 'Objects of 192 bits, which are ordered word by word, unsigned.', [
      client(),
      pool(wide),
      pages(wide, [
        entry([1n, top, 0n], 0, page('fifth')),
        entry([0n, 0n, top], 0, page('second')),
        entry([0n, 1n, 0n], 0, page('third')),
        entry([high, 0n, 0n], 0, page('sixth')),
        entry([0n, 0n, high - 1n], 0xffffffff, page('first, last index')),
        entry([0n, 0n, high - 1n], 0x80000000, page('first, 2^31')),
        entry([0n, 0n, high - 1n], 7, page('first')),
        entry([1n, 0n, 5n], 0, page('fourth')),
        entry([top, top, top], 0, page('last')),
      ]),
    ]),
    sound('tmem-pages-64-bit', '10.3', 'Objects of 64 bits, up to the largest.', [
      ...begun,
      pages(first, [
        entry(top, 0, page('last')),
        entry(0n, 0, page('first')),
        entry(2n ** 53n + 1n, 3, page('middle')),
      ]),
    ]),
    sound('tmem-pages-precompressed', '10.3.2', 'A PRECOMPRESSED pool: bytes that only the guest understands.', [
      client(),
      pool(squeezed),
      pages(squeezed, [
        entry(1n, 0, opaque(noise('only the guest', 1500))),
        entry(1n, 1, opaque(u8(0))),
        entry(1n, 2, opaque(noise('whole page', 4096))),
        entry(1n, 3, opaque(zeros(4096))),
      ]),
    ]),
    sound('tmem-pages-ephemeral', '10', 'An ephemeral pool beside a persistent one: it is in no count and no digest.', [
      ...begun,
      pages(first, [entry(1n, 0, page('kept'))]),
      pool(poolOf(2n, { slot: 1, persistent: false })),
      pages(poolOf(2n, { persistent: false }), [entry(1n, 0, page('cache')), entry(1n, 1, packed('one', 'lz4'))]),
      invalidate(poolOf(2n, { persistent: false }), 1, [handle(1n, 0)]),
    ]),
    sound('tmem-pages-shared', '10.2', 'A shared pool with its uuid.', [
      client({ authorised: [idOf('cluster')] }),
      pool(poolOf(1n, { shared: true, uuid: idOf('cluster'), width: 192 })),
      pages(wide, [entry([1n, 2n, 3n], 0, page('shared'))]),
    ]),
    sound('tmem-pages-resent', '10.3.3', 'Handles that come again, in one batch and in several: the newest wins.', [
      ...begun,
      pages(first, [entry(1n, 0, page('version 1')), entry(1n, 1, page('other'))]),
      pages(first, [entry(1n, 0, page('version 2')), entry(1n, 0, packed('part', 'zstd'))]),
      pages(first, [entry(1n, 1, zeroPage())]),
    ]),
    sound('tmem-around-ram', '4', 'tmem before, between and after RAM.', [
      ...begun,
      pages(first, [entry(1n, 0, page('before'))]),
      ram([{ first: 0, pages: 1 }], [], [raw(originals.one)]),
      pages(first, [entry(1n, 1, page('between'))]),
      ram([{ first: 1, pages: 1 }], [0], []),
      invalidate(first, 1, [handle(1n, 0)]),
      pages(first, [entry(2n, 0, page('after'))]),
    ]),
    good('tmem-over-checkpoints', 'S9 S13', '10', 'A pool lives on over a checkpoint.', {}, (channel) => {
      channel
        .add(client())
        .add(pool(first))
        .add(pages(first, [entry(1n, 0, page('first'))]));
      channel.checkpoint();
      channel.add(invalidate(first, 1, [handle(1n, 0)])).add(pages(first, [entry(1n, 1, page('second'))]));
      channel.checkpoint();
      channel.end();
    }),
    wrong('tmem-pages-unknown-pool', '4', 'Pages of an incarnation that never was.', 'TMEM_UNKNOWN_POOL', [
      ...begun,
      pages(poolOf(2n), [entry(1n, 0, page('lost'))]),
    ]),
    wrong('tmem-pages-dead-pool', '4', 'Pages of an incarnation that has ended.', 'TMEM_UNKNOWN_POOL', [
      ...begun,
      invalidate(first, 3, []),
      pages(first, [entry(1n, 0, page('late'))]),
    ]),
    wrong(
      'tmem-pages-old-incarnation',
      '4',
      'Pages of the incarnation that had the slot before.',
      'TMEM_UNKNOWN_POOL',
      [...begun, invalidate(first, 3, []), pool(poolOf(2n)), pages(first, [entry(1n, 0, page('late'))])],
    ),
    wrong('tmem-pages-no-pool', '4', 'Pages without any pool.', 'TMEM_UNKNOWN_POOL', [
      client(),
      pages(first, [entry(1n, 0, page('early'))]),
    ]),
    wrong(
      'tmem-pages-unknown-ephemeral',
      '4',
      'Optional pages of an incarnation that never was.',
      'TMEM_UNKNOWN_POOL',
      [client(), pages(ephemeral, [entry(1n, 0, page('early'))])],
    ),
    wrong('tmem-pages-optional-of-persistent', '10', 'Optional pages of a persistent pool.', 'FIELD_VALUE', [
      ...begun,
      pages(first, [entry(1n, 0, page('form'))], { optional: true }),
    ]),
    wrong('tmem-pages-mandatory-of-ephemeral', '10', 'Mandatory pages of an ephemeral pool.', 'FIELD_VALUE', [
      client(),
      pool(ephemeral),
      pages(ephemeral, [entry(1n, 0, page('form'))], { optional: false }),
    ]),
    wrong('tmem-pages-count-0', '10.3', 'A batch of no pages.', 'FIELD_VALUE', [
      ...begun,
      bare('TMEM_PAGES', cat(u64(1), u32(0), u32(0))),
    ]),
    wrong('tmem-pages-count-16385', '10.3', 'A batch that counts 16,385 pages.', 'LIMIT_EXCEEDED', [
      ...begun,
      pages(first, [entry(1n, 0, page('one'))], { count: 16385 }),
    ]),
    wrong('tmem-pages-count-2-32', '10.3', 'A batch that counts 2^32 - 1 pages.', 'LIMIT_EXCEEDED', [
      ...begun,
      pages(first, [entry(1n, 0, page('one'))], { count: 0xffffffff }),
    ]),
    wrong(
      'tmem-pages-count-too-large',
      '10.3',
      'A batch that counts more pages than its body holds.',
      'LENGTH_MISMATCH',
      [...begun, pages(first, [entry(1n, 0, zeroPage())], { count: 2 })],
    ),
    wrong('tmem-pages-short', '10.3', 'A batch of eight bytes.', 'LENGTH_MISMATCH', [
      ...begun,
      bare('TMEM_PAGES', u64(1)),
    ]),
    wrong('tmem-pages-bytes-after', '10.3', 'Bytes follow the last page.', 'LENGTH_MISMATCH', [
      ...begun,
      pages(first, [entry(1n, 0, page('one'))], { tail: zeros(8) }),
    ]),
    wrong('tmem-pages-bytes-missing', '10.3', 'The last byte of the last page is missing.', 'LENGTH_MISMATCH', [
      ...begun,
      cut(pages(first, [entry(1n, 0, page('one'))]), 1),
    ]),
    wrong('tmem-pages-stored-length-2-32', '10.3', 'A zstd page whose stored length is 2^32 - 1.', 'LENGTH_MISMATCH', [
      ...begun,
      pages(first, [{ ...entry(1n, 0, packed('one', 'zstd')), wrong: { stored: 0xffffffff } }]),
    ]),
    wrongEntry(
      'tmem-pages-second-word',
      '10.3',
      'A second object word in a pool of 64-bit ids.',
      'FIELD_VALUE',
      entry([1n, 1n, 0n], 0, page('wide')),
    ),
    wrongEntry(
      'tmem-pages-third-word',
      '10.3',
      'A third object word in a pool of 64-bit ids.',
      'FIELD_VALUE',
      entry([1n, 0n, high], 0, page('wide')),
    ),
    wrongEntry('tmem-pages-zero-original', '10.3.1', 'Codec zero with an original length.', 'LENGTH_MISMATCH', {
      ...entry(1n, 1, zeroPage()),
      wrong: { original: 4096 },
    }),
    wrongEntry(
      'tmem-pages-zero-stored',
      '10.3.1',
      'Codec zero with a stored byte.',
      'LENGTH_MISMATCH',
      entry(1n, 1, { codec: 'zero', content: zeros(0), stored: u8(0) }),
    ),
    wrongEntry(
      'tmem-pages-raw-empty',
      '10.3.1',
      'A raw page of no bytes.',
      'LENGTH_MISMATCH',
      entry(1n, 1, raw(zeros(0))),
    ),
    wrongEntry(
      'tmem-pages-raw-4097',
      '10.3.1',
      'A raw page of one byte more than a page.',
      'LENGTH_MISMATCH',
      entry(1n, 1, raw(noise('too long', 4097))),
    ),
    wrongEntry('tmem-pages-raw-lengths', '10.3.1', 'A raw page whose lengths differ.', 'LENGTH_MISMATCH', {
      ...entry(1n, 1, raw(text('less', 4000))),
      wrong: { original: 4096 },
    }),
    ...codecs.flatMap((codec) => [
      wrongEntry(
        `tmem-pages-${codec}-empty`,
        '10.3.1',
        `A page in ${codec} with no stored bytes.`,
        'LENGTH_MISMATCH',
        entry(1n, 1, { codec, content: originals.one, stored: zeros(0) }),
      ),
      wrongEntry(
        `tmem-pages-${codec}-not-smaller`,
        '10.3.1',
        `A page in ${codec} with as many stored bytes as original ones.`,
        'LENGTH_MISMATCH',
        entry(1n, 1, { codec, content: originals.part, stored: noise(codec, 1000) }),
      ),
      wrongEntry(
        `tmem-pages-${codec}-over-a-page`,
        '10.3.1',
        `A page in ${codec} of two pages' length.`,
        'LENGTH_MISMATCH',
        entry(1n, 1, packed('two', codec)),
      ),
      wrongEntry(
        `tmem-pages-${codec}-noise`,
        '7.4',
        `A page whose stored bytes are no ${codec}.`,
        'CODEC_DATA',
        entry(1n, 1, { codec, content: originals.one, stored: noise(`no ${codec}`, 300) }),
      ),
      wrongEntry(
        `tmem-pages-${codec}-too-little`,
        '7.4',
        `A page in ${codec} that decodes to less than it says.`,
        'CODEC_DATA',
        entry(1n, 1, { ...packed('part', codec), content: originals.one }),
      ),
      wrongEntry(
        `tmem-pages-${codec}-too-much`,
        '7.4',
        `A page in ${codec} that decodes to more than it says.`,
        'CODEC_DATA',
        entry(1n, 1, { ...packed('one', codec), content: text('one', 4095) }),
      ),
    ]),
    wrongEntry(
      'tmem-pages-opaque-in-ordinary',
      '10.3.1',
      'Codec opaque in an ordinary pool.',
      'FIELD_VALUE',
      entry(1n, 1, opaque(noise('opaque', 100))),
    ),
    wrongEntry('tmem-pages-codec-7', '7.4', 'A codec that is not in the table.', 'UNSUPPORTED_CODEC', {
      ...entry(1n, 1, page('seven')),
      wrong: { codec: 7 },
    }),
    wrongEntry('tmem-pages-codec-255', '7.4', 'Codec 255.', 'UNSUPPORTED_CODEC', {
      ...entry(1n, 1, page('last')),
      wrong: { codec: 255 },
    }),
    wrongSqueezed('tmem-precompressed-raw', 'Codec raw in a PRECOMPRESSED pool.', 'FIELD_VALUE', page('raw')),
    wrongSqueezed('tmem-precompressed-zero', 'Codec zero in a PRECOMPRESSED pool.', 'FIELD_VALUE', zeroPage()),
    wrongSqueezed(
      'tmem-precompressed-zstd',
      'Codec zstd in a PRECOMPRESSED pool: nobody transcodes it.',
      'FIELD_VALUE',
      packed('one', 'zstd'),
    ),
    wrongSqueezed('tmem-precompressed-empty', 'An opaque page of no bytes.', 'LENGTH_MISMATCH', opaque(zeros(0))),
    wrongSqueezed(
      'tmem-precompressed-4097',
      'An opaque page of one byte more than a page.',
      'LENGTH_MISMATCH',
      opaque(noise('longer', 4097)),
    ),
    wrongSqueezed(
      'tmem-precompressed-lengths',
      'An opaque page that says it was 4,096 bytes before.',
      'LENGTH_MISMATCH',
      opaque(noise('guest', 900)),
      { original: 4096 },
    ),
  ];
}

function invalidates(): Vector[] {
  const filled = [
    ...begun,
    pages(first, [
      entry(1n, 0, page('one 0')),
      entry(1n, 1, page('one 1')),
      entry(2n, 0, page('two 0')),
      entry(3n, 9, page('three 9')),
    ]),
  ];
  const rows = (scope: number, count: number, body = zeros(0)): Rec =>
    bare('TMEM_INVALIDATE', cat(u64(1), u32(scope), u32(count), body));
  const wrongOne = (name: string, title: string, code: string, rec: Rec): Vector =>
    wrong(name, '10.4', title, code, [...begun, rec]);
  return [
    sound('tmem-invalidate-pages', '10.4', 'Two pages are invalidated.', [
      ...filled,
      invalidate(first, 1, [handle(1n, 1), handle(3n, 9)]),
    ]),
    sound('tmem-invalidate-objects', '10.4', 'An object is invalidated with all its pages.', [
      ...filled,
      invalidate(first, 2, [handle(1n, 0)]),
    ]),
    sound('tmem-invalidate-pool', '10.4', 'A pool is invalidated.', [...filled, invalidate(first, 3, [])]),
    sound('tmem-invalidate-not-held', '10.4', 'Handles that nobody holds, and one twice, are invalidated.', [
      ...filled,
      invalidate(first, 1, [handle(77n, 0), handle(1n, 5), handle(2n, 0), handle(2n, 0)]),
      invalidate(first, 2, [handle(top, 0)]),
    ]),
    sound('tmem-invalidate-then-put', '10.4', 'A handle comes again after it was invalidated.', [
      ...filled,
      invalidate(first, 2, [handle(1n, 0), handle(2n, 0)]),
      pages(first, [entry(1n, 1, page('again'))]),
    ]),
    sound('tmem-invalidate-192-bit', '10.4', 'Objects of 192 bits that differ in their last word only.', [
      client(),
      pool(wide),
      pages(wide, [entry([1n, 1n, 1n], 0, page('goes')), entry([1n, 1n, 2n], 0, page('stays'))]),
      invalidate(wide, 2, [handle([1n, 1n, 1n], 0)]),
      invalidate(wide, 1, [handle([1n, 2n, 2n], 0)]),
    ]),
    sound(
      'tmem-invalidate-of-ephemeral',
      '10.4',
      'Invalidates of each scope in an ephemeral pool: they count nothing.',
      [
        client(),
        pool(ephemeral),
        pages(ephemeral, [entry(1n, 0, page('gone')), entry(2n, 0, page('gone too'))]),
        invalidate(ephemeral, 1, [handle(1n, 0)]),
        invalidate(ephemeral, 2, [handle(2n, 0)]),
        invalidate(ephemeral, 3, []),
      ],
    ),
    wrong('tmem-invalidate-unknown-pool', '4', 'An invalidate of an incarnation that never was.', 'TMEM_UNKNOWN_POOL', [
      ...begun,
      invalidate(poolOf(2n), 3, []),
    ]),
    wrong('tmem-invalidate-pool-twice', '4', 'A pool is invalidated twice.', 'TMEM_UNKNOWN_POOL', [
      ...begun,
      invalidate(first, 3, []),
      invalidate(first, 3, []),
    ]),
    wrongOne(
      'tmem-invalidate-optional-of-persistent',
      'An optional invalidate of a persistent pool.',
      'FIELD_VALUE',
      invalidate(first, 3, [], { optional: true }),
    ),
    wrongOne('tmem-invalidate-scope-0', 'Scope 0.', 'FIELD_VALUE', invalidate(first, 1, [handle(1n, 0)], { scope: 0 })),
    wrongOne('tmem-invalidate-scope-4', 'Scope 4.', 'FIELD_VALUE', invalidate(first, 1, [handle(1n, 0)], { scope: 4 })),
    wrongOne('tmem-invalidate-no-pages', 'Scope pages without handles.', 'FIELD_VALUE', rows(1, 0)),
    wrongOne('tmem-invalidate-no-objects', 'Scope objects without handles.', 'FIELD_VALUE', rows(2, 0)),
    wrongOne(
      'tmem-invalidate-pool-with-handle',
      'Scope pool with a handle.',
      'FIELD_VALUE',
      rows(3, 1, cat(u64(1), zeros(24))),
    ),
    wrongOne(
      'tmem-invalidate-index-in-objects',
      'Scope objects with an index.',
      'FIELD_VALUE',
      invalidate(first, 2, [handle(1n, 0), handle(2n, 1)]),
    ),
    wrongOne(
      'tmem-invalidate-second-word',
      'A second object word in a pool of 64-bit ids.',
      'FIELD_VALUE',
      invalidate(first, 1, [handle([1n, 1n, 0n], 0)]),
    ),
    wrongOne(
      'tmem-invalidate-third-word',
      'A third object word in a pool of 64-bit ids.',
      'FIELD_VALUE',
      invalidate(first, 2, [handle([1n, 0n, 1n], 0)]),
    ),
    wrongOne(
      'tmem-invalidate-count-65537',
      'An invalidate that counts 65,537 handles.',
      'LIMIT_EXCEEDED',
      invalidate(first, 1, [handle(1n, 0)], { count: 65537 }),
    ),
    wrongOne(
      'tmem-invalidate-count-2-32',
      'An invalidate that counts 2^32 - 1 handles.',
      'LIMIT_EXCEEDED',
      invalidate(first, 1, [handle(1n, 0)], { count: 0xffffffff }),
    ),
    wrongOne(
      'tmem-invalidate-count-too-large',
      'An invalidate that counts a handle which it does not have.',
      'LENGTH_MISMATCH',
      invalidate(first, 1, [handle(1n, 0)], { count: 2 }),
    ),
    wrongOne(
      'tmem-invalidate-bytes-after',
      'An invalidate with bytes after its handles.',
      'LENGTH_MISMATCH',
      invalidate(first, 1, [handle(1n, 0)], { tail: zeros(32) }),
    ),
    wrongOne(
      'tmem-invalidate-pool-bytes-after',
      'Scope pool with bytes after its count.',
      'LENGTH_MISMATCH',
      invalidate(first, 3, [], { tail: zeros(8) }),
    ),
    wrongOne(
      'tmem-invalidate-short',
      'An invalidate of twelve bytes.',
      'LENGTH_MISMATCH',
      bare('TMEM_INVALIDATE', cat(u64(1), u32(3))),
    ),
  ];
}

export const tmemVectors = (): Vector[] => [...clients(), ...pools(), ...batches(), ...invalidates()];
