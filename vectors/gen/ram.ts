// Section 7: guest memory.
import { adler32, cat, crc, noise, text, u32, u8, zeros } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { originals, packed, raw, zstdDictionary, zstdRun, zstdSkippable, zstdWindow } from './lib/content.ts';
import type { Codec, Packed } from './lib/content.ts';
import { ram } from './lib/ram.ts';
import type { Extent, RamPatch, Unit } from './lib/ram.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const codecs = ['zstd', 'deflate', 'lz4', 'lzo1x'] as const;
const one = raw(originals.one);
const last = 2 ** 52 - 1;

const sound = (name: string, section: string, title: string, ...recs: Rec[]): Vector =>
  good(name, 'S8', section, title, {}, (channel) => {
    for (const rec of recs) channel.add(rec);
  });

const wrong = (name: string, section: string, title: string, code: string, rec: Rec): Vector =>
  bad(name, 'S8', section, title, {}, (channel) => {
    channel.add(ram([{ first: 1000, pages: 1 }], [0], []));
    channel.bad(code, rec);
  });

/** One page at pfn 5 in one unit. */
const single = (unit: Unit, patch: RamPatch = {}): Rec => ram([{ first: 5, pages: 1 }], [], [unit], patch);

function batches(): Vector[] {
  const list = codecs.map((codec) =>
    sound(
      `ram-codec-${codec}`,
      '7.4',
      `Units of four pages and of one in ${codec}.`,
      ram([{ first: 0, pages: 5 }], [], [packed('four', codec), packed('one', codec)]),
    ),
  );
  const allClasses = [0, 1, 2, 3, 4, 9, 10, 11, 12, 0x80, 0x81, 0x82, 0x83];
  return [
    ...list,
    sound(
      'ram-codecs-mixed',
      '7.3',
      'One batch with a unit of each codec.',
      ram(
        [{ first: 16, pages: 6 }],
        [2],
        [
          packed('one', 'deflate'),
          raw(noise('mixed', 4096)),
          packed('one', 'lzo1x'),
          packed('one', 'lz4'),
          packed('one', 'zstd'),
        ],
      ),
    ),
    sound(
      'ram-raw-units',
      '7.3',
      'Raw units of one, two and three pages.',
      ram([{ first: 0, pages: 6 }], [], [raw(noise('a', 4096)), raw(noise('b', 8192)), raw(noise('c', 12288))]),
    ),
    sound(
      'ram-zstd-content-checksum',
      '7.4',
      'A zstd frame with a content checksum.',
      single(packed('oneChecked', 'zstd')),
    ),
    sound(
      'ram-zstd-no-content-size',
      '7.4',
      'A zstd frame that does not say its content size.',
      single(packed('oneUnsized', 'zstd')),
    ),
    sound(
      'ram-zstd-window-8-mib',
      '7.4',
      'A zstd frame with a window of 8 MiB, the largest.',
      single({ codec: 'zstd', content: Buffer.alloc(4096, 0x5a), stored: zstdWindow(0x5a, 4096, 0x68) }),
    ),
    sound(
      'ram-zero-pages',
      '7.2',
      'Zero pages between others: a bit each, in the order of the pages.',
      ram(
        [
          { first: 0, pages: 3 },
          { first: 10, pages: 9 },
        ],
        [0, 2, 3, 4, 5, 6, 7, 9, 10, 11],
        [raw(noise('zero', 8192))],
      ),
    ),
    sound(
      'ram-zero-pages-only',
      '7.2',
      '65 zero pages: the bitmap takes 16 bytes, and there are no units.',
      ram(
        [{ first: 3, pages: 65 }],
        Array.from({ length: 65 }, (_, bit) => bit),
        [],
      ),
    ),
    sound(
      'ram-bitmap-spare-bits',
      '7.2',
      'Bits of the bitmap beyond the last data page are ignored.',
      ram([{ first: 0, pages: 2 }], [1], [one], { spareBits: 0xf0 }),
    ),
    sound(
      'ram-reserved-not-zero',
      '1.3',
      'Reserved fields of extents, units and the head are ignored.',
      ram([{ first: 0, pages: 1, reserved: 0xff }], [], [{ ...one, reserved: 0xff }], { reserved: 0xffffffff }),
    ),
    sound(
      'ram-classes',
      '7.1',
      'Every class of page, each with a page of its own.',
      ram(
        allClasses.map((value, place): Extent => ({ first: 2 * place, pages: 1, class: value })),
        [4],
        [raw(noise('classes', 8 * 4096))],
      ),
    ),
    sound(
      'ram-absent-only',
      '7.2',
      'Pages without data only: no bitmap, no units.',
      ram([{ first: 0, pages: 70000 - 5000, class: 0x83 }], [], []),
    ),
    sound(
      'ram-extents-touching',
      '7.1',
      'Extents that follow each other without gap, with and without data.',
      ram(
        [
          { first: 4, pages: 2 },
          { first: 6, pages: 2, class: 0x80 },
          { first: 8, pages: 1, class: 9 },
        ],
        [0],
        [raw(noise('touching', 8192))],
      ),
    ),
    sound(
      'ram-unit-over-extents',
      '7.3',
      'A unit whose pages belong to two extents with a zero page between.',
      ram(
        [
          { first: 1, pages: 1 },
          { first: 3, pages: 2 },
          { first: 77, pages: 2 },
        ],
        [2],
        [packed('four', 'lz4')],
      ),
    ),
    sound('ram-last-pfn', '1.6', 'The largest page number, 2^52 - 1.', ram([{ first: last, pages: 1 }], [], [one])),
    sound(
      'ram-resent',
      '7.5',
      'Pages that come again, in another order and another batch: the newest wins.',
      ram([{ first: 0, pages: 4 }], [], [packed('four', 'deflate')]),
      ram([{ first: 2, pages: 2 }], [1], [raw(noise('resent', 4096))]),
      ram([{ first: 0, pages: 1 }], [0], []),
      ram([{ first: 3, pages: 1 }], [], [one]),
    ),
    sound(
      'ram-class-changes',
      '7.5',
      'Pages become page tables, are given back, and come again.',
      ram([{ first: 0, pages: 4 }], [], [packed('four', 'zstd')]),
      ram(
        [
          { first: 0, pages: 1, class: 9 },
          { first: 1, pages: 2, class: 0x83 },
        ],
        [],
        [one],
      ),
      ram(
        [
          { first: 2, pages: 1 },
          { first: 3, pages: 1, class: 0x80 },
        ],
        [],
        [raw(noise('changed', 4096))],
      ),
    ),
    sound(
      'ram-never-present',
      '7.5',
      'A page that was only ever named without data is not present.',
      ram(
        [
          { first: 8, pages: 1, class: 0x81 },
          { first: 9, pages: 1 },
        ],
        [0],
        [],
      ),
    ),
    sound(
      'ram-descending-batches',
      '7.5',
      'Batches need not ascend: the digest does.',
      ram([{ first: 900, pages: 1 }], [], [one]),
      ram([{ first: 20, pages: 1 }], [0], []),
      ram([{ first: 3, pages: 2 }], [], [packed('two', 'lzo1x')]),
    ),
  ];
}

function otherPageSizes(): Vector[] {
  const sized = (shift: number, name: string, unit: Packed, pages: number): Vector =>
    good(name, 'S8 S1', '7.3', `Pages of ${2 ** shift} bytes.`, { pageShift: shift }, (channel) => {
      const pageSize = 2 ** shift;
      channel.add(ram([{ first: 1, pages: pages + 1 }], [pages], [unit], { pageSize }));
    });
  return [
    sized(13, 'ram-page-shift-13', packed('big13', 'lz4'), 1),
    sized(14, 'ram-page-shift-14', packed('big14', 'lzo1x'), 1),
    sized(16, 'ram-page-shift-16', packed('big16', 'deflate'), 1),
    sized(16, 'ram-page-shift-16-full-unit', packed('full16', 'zstd'), 4),
  ];
}

function limits(): Vector[] {
  const zerosOf = (pages: number): Rec =>
    ram(
      [{ first: 0, pages }],
      Array.from({ length: pages }, (_, bit) => bit),
      [],
    );
  return [
    sound(
      'ram-unit-256-kib',
      '7.3',
      'A unit of 256 KiB, the largest.',
      ram([{ first: 0, pages: 64 }], [], [packed('many', 'zstd')]),
    ),
    wrong(
      'ram-unit-over-256-kib',
      '7.3',
      'A unit of 260 KiB.',
      'LIMIT_EXCEEDED',
      ram([{ first: 0, pages: 65 }], [], [packed('over', 'zstd')]),
    ),
    sound('ram-65536-pages', '7', 'A batch of 65,536 pages, the most, all zero.', zerosOf(65536)),
    wrong('ram-65537-pages', '7', 'A batch of 65,537 pages.', 'LIMIT_EXCEEDED', zerosOf(65537)),
    wrong(
      'ram-65537-pages-absent',
      '7',
      'A batch of 65,537 pages without data.',
      'LIMIT_EXCEEDED',
      ram([{ first: 0, pages: 65537, class: 0x80 }], [], []),
    ),
    wrong(
      'ram-pfn-reaches-2-52',
      '7.1',
      'The second page of an extent is pfn 2^52.',
      'FIELD_VALUE',
      ram([{ first: last, pages: 2 }], [0, 1], []),
    ),
    wrong(
      'ram-pfn-2-52',
      '7.1',
      'An extent that starts at pfn 2^52.',
      'FIELD_VALUE',
      ram([{ first: last + 1, pages: 1 }], [0], []),
    ),
    wrong('ram-extents-16385', '7', 'A count of 16,385 extents.', 'LIMIT_EXCEEDED', single(one, { extents: 16385 })),
    wrong(
      'ram-extents-2-32',
      '7',
      'A count of 2^32 - 1 extents; the checksums are right.',
      'LIMIT_EXCEEDED',
      single(one, { extents: 0xffffffff }),
    ),
    wrong('ram-units-65537', '7', 'A count of 65,537 units.', 'LIMIT_EXCEEDED', single(one, { units: 65537 })),
    wrong(
      'ram-units-2-32',
      '7',
      'A count of 2^32 - 1 units; the checksums are right.',
      'LIMIT_EXCEEDED',
      single(one, { units: 0xffffffff }),
    ),
    wrong(
      'ram-pages-2-32',
      '7',
      'A count of 2^32 - 1 pages; the checksums are right.',
      'LIMIT_EXCEEDED',
      single(one, { pages: 0xffffffff }),
    ),
  ];
}

function heads(): Vector[] {
  const empty = cat(u32(0), u32(0), u32(0), u32(24));
  const emptyHead = cat(empty, u32(crc(cat(empty, zeros(8)))), u32(0));
  return [
    wrong(
      'ram-head-checksum',
      '7.6',
      'The head checksum is wrong; that of the body is right.',
      'HEAD_CHECKSUM',
      single(one, { headCrcFlip: 1 }),
    ),
    wrong(
      'ram-head-checksum-before-fields',
      '7.6',
      'A wrong head checksum and a wrong page count: checksum first.',
      'HEAD_CHECKSUM',
      single(one, { headCrcFlip: 1, pages: 2 }),
    ),
    wrong(
      'ram-head-length-beyond-body',
      '7',
      'The head is longer than the body.',
      'LENGTH_MISMATCH',
      single(one, { head: 8192 }),
    ),
    wrong(
      'ram-head-length-2-32',
      '7',
      'The head length is 2^32 - 8.',
      'LENGTH_MISMATCH',
      single(one, { head: 0xfffffff8 }),
    ),
    wrong('ram-head-length-0', '7', 'The head length is 0.', 'LENGTH_MISMATCH', single(one, { head: 0 })),
    wrong(
      'ram-head-length-with-room',
      '7',
      'A head with eight bytes that nothing names; its checksum is right.',
      'LENGTH_MISMATCH',
      single(one, { room: 8 }),
    ),
    wrong('ram-body-shorter-than-head', '7', 'A body of eight bytes.', 'LENGTH_MISMATCH', bare('RAM', zeros(8))),
    wrong('ram-body-empty', '7', 'An empty body.', 'LENGTH_MISMATCH', bare('RAM', zeros(0))),
    wrong(
      'ram-bytes-after-units',
      '7',
      'Bytes follow those of the last unit.',
      'LENGTH_MISMATCH',
      single(one, { tail: zeros(8) }),
    ),
    wrong('ram-no-extents', '7', 'A batch without extents.', 'FIELD_VALUE', bare('RAM', emptyHead)),
    wrong(
      'ram-pages-not-the-sum',
      '7',
      'The head says two pages, the extents one.',
      'LENGTH_MISMATCH',
      single(one, { pages: 2 }),
    ),
    wrong(
      'ram-extent-empty',
      '7.1',
      'An extent of no pages.',
      'FIELD_VALUE',
      ram(
        [
          { first: 0, pages: 1 },
          { first: 4, pages: 0 },
        ],
        [0],
        [],
      ),
    ),
    wrong(
      'ram-extents-overlap',
      '7.1',
      'Two extents name one page.',
      'FIELD_VALUE',
      ram(
        [
          { first: 0, pages: 3 },
          { first: 2, pages: 2 },
        ],
        [0, 1, 2, 3, 4],
        [],
      ),
    ),
    wrong(
      'ram-extents-descend',
      '7.1',
      'The second extent lies below the first.',
      'FIELD_VALUE',
      ram(
        [
          { first: 8, pages: 1 },
          { first: 2, pages: 1 },
        ],
        [0, 1],
        [],
      ),
    ),
    ...[5, 8, 13, 0x7f, 0x84, 0xff].map((value) =>
      wrong(
        `ram-class-${value}`,
        '7.1',
        `Class ${value} is not in the table.`,
        'FIELD_VALUE',
        ram([{ first: 0, pages: 1, class: value }], value < 0x80 ? [0] : [], []),
      ),
    ),
  ];
}

function units(): Vector[] {
  const two = raw(originals.two);
  return [
    wrong(
      'ram-unit-checksum-wrong',
      '7.3',
      'The checksum of a unit is wrong; that of the body is right.',
      'UNIT_CHECKSUM',
      single({ ...packed('one', 'zstd'), wrong: { checksumFlip: 0x10 } }),
    ),
    wrong(
      'ram-unit-checksum-second',
      '7.3',
      'The checksum of the second unit is wrong.',
      'UNIT_CHECKSUM',
      ram([{ first: 0, pages: 2 }], [], [one, { ...one, wrong: { checksumFlip: 1 } }]),
    ),
    wrong(
      'ram-unit-no-pages',
      '7.3',
      'A unit of no pages.',
      'FIELD_VALUE',
      ram([{ first: 0, pages: 1 }], [], [one, { codec: 'raw', content: zeros(0), stored: zeros(0) }]),
    ),
    wrong(
      'ram-unit-pages-too-few',
      '7.3',
      'The units have one page less than there is data.',
      'LENGTH_MISMATCH',
      ram([{ first: 0, pages: 3 }], [], [two]),
    ),
    wrong(
      'ram-unit-pages-too-many',
      '7.3',
      'The units have one page more than there is data.',
      'LENGTH_MISMATCH',
      ram([{ first: 0, pages: 1 }], [], [two]),
    ),
    wrong(
      'ram-units-missing',
      '7.3',
      'No units, though a page is not zero.',
      'LENGTH_MISMATCH',
      ram([{ first: 0, pages: 1 }], [], []),
    ),
    wrong(
      'ram-unit-stored-length-4-gib',
      '7.3',
      'The stored length of a unit is 2^32 - 1.',
      'LENGTH_MISMATCH',
      single({ ...packed('one', 'zstd'), wrong: { stored: 0xffffffff } }),
    ),
    wrong(
      'ram-unit-stored-length-lies',
      '7.3',
      'The stored length of a unit is one less than there are bytes.',
      'LENGTH_MISMATCH',
      single({ ...packed('one', 'zstd'), wrong: { stored: packed('one', 'zstd').stored.length - 1 } }),
    ),
    wrong(
      'ram-unit-stored-0',
      '7.3',
      'A compressed unit of no bytes.',
      'LENGTH_MISMATCH',
      single({ codec: 'zstd', content: originals.one, stored: zeros(0) }),
    ),
    wrong(
      'ram-raw-too-short',
      '7.3',
      'A raw unit with fewer bytes than its pages have.',
      'LENGTH_MISMATCH',
      single({ codec: 'raw', content: originals.one, stored: originals.one.subarray(8) }),
    ),
    wrong(
      'ram-compressed-not-smaller',
      '7.3',
      'A zstd unit that is as long as its pages.',
      'LENGTH_MISMATCH',
      single({ codec: 'zstd', content: originals.one, stored: cat(packed('one', 'zstd').stored, zeros(3896)) }),
    ),
    wrong(
      'ram-codec-zero',
      '7.4',
      'Codec zero is not for units.',
      'FIELD_VALUE',
      single({ codec: 'zstd', content: originals.one, stored: zeros(8), wrong: { codec: 0 } }),
    ),
    wrong(
      'ram-codec-opaque',
      '7.4',
      'Codec opaque is not for units.',
      'FIELD_VALUE',
      single({ codec: 'raw', content: originals.one, stored: originals.one, wrong: { codec: 6 } }),
    ),
    wrong(
      'ram-codec-7',
      '7.4',
      'A codec that is not in the table.',
      'UNSUPPORTED_CODEC',
      single({ ...packed('one', 'zstd'), wrong: { codec: 7 } }),
    ),
    wrong(
      'ram-codec-255',
      '7.4',
      'Codec 255.',
      'UNSUPPORTED_CODEC',
      single({ ...packed('one', 'zstd'), wrong: { codec: 255 } }),
    ),
  ];
}

function payloads(): Vector[] {
  const list: Vector[] = [];
  const broken = (name: string, codec: Codec, title: string, stored: Buffer, pages = 1): void => {
    list.push(
      wrong(
        `codec-${name}`,
        '7.4',
        title,
        'CODEC_DATA',
        ram([{ first: 0, pages }], [], [{ codec, content: zeros(4096 * pages), stored }]),
      ),
    );
  };
  for (const codec of codecs) {
    const { stored } = packed('one', codec);
    const two = packed('two', codec).stored;
    broken(`${codec}-too-much`, codec, `${codec} that decodes to two pages where one is due.`, two);
    broken(`${codec}-too-little`, codec, `${codec} that decodes to one page where two are due.`, stored, 2);
    broken(`${codec}-trailing`, codec, `${codec} with a byte after its end.`, cat(stored, u8(0)));
    broken(`${codec}-cut`, codec, `${codec} that ends early.`, stored.subarray(0, stored.length - 3));
    broken(`${codec}-noise`, codec, `${codec} that is noise.`, noise(`${codec} noise`, 300));
  }
  const zstd = packed('one', 'zstd').stored;
  const checked = packed('oneChecked', 'zstd').stored;
  broken(
    'zstd-content-checksum',
    'zstd',
    'A zstd frame whose content checksum is wrong.',
    cat(checked.subarray(0, -1), u8(checked[checked.length - 1] ^ 1)),
  );
  broken('zstd-two-frames', 'zstd', 'Two zstd frames that together have the right length.', cat(zstd, zstd), 2);
  broken('zstd-skippable-after', 'zstd', 'A skippable frame after the frame.', cat(zstd, zstdSkippable(text('s', 5))));
  broken('zstd-skippable-before', 'zstd', 'A skippable frame before the frame.', cat(zstdSkippable(zeros(4)), zstd));
  broken('zstd-empty-frame-after', 'zstd', 'An empty frame after the frame.', cat(zstd, zstdRun(0, 0)));
  broken('zstd-claims-2-60', 'zstd', 'A zstd frame that claims 2^60 bytes.', zstdRun(0x41, 4096, 2n ** 60n));
  broken('zstd-claims-more', 'zstd', 'A zstd frame that claims more than it has.', zstdRun(0x41, 4096, 8192));
  broken(
    'zstd-claims-right-has-more',
    'zstd',
    'A zstd frame that has more than the due bytes it claims.',
    zstdRun(0x41, 8192, 4096),
  );
  broken('zstd-window-9-mib', 'zstd', 'A zstd frame with a window of 9 MiB.', zstdWindow(0x41, 4096, 0x69));
  broken('zstd-window-huge', 'zstd', 'A zstd frame with the largest window there is.', zstdWindow(0x41, 4096, 0xff));
  broken('zstd-dictionary', 'zstd', 'A zstd frame that needs a dictionary.', zstdDictionary(0x41, 4096));
  const adler = u32(adler32(originals.one)).swap32();
  broken(
    'deflate-zlib-wrapper',
    'deflate',
    'deflate inside a zlib wrapper.',
    cat(Buffer.from('789c', 'hex'), packed('one', 'deflate').stored, adler),
  );
  broken(
    'deflate-distance-too-far',
    'deflate',
    'A match that begins before the output.',
    Buffer.from('4b04c2ff', 'hex'),
  );
  broken('lz4-offset-0', 'lz4', 'An LZ4 match with offset 0.', Buffer.from('1f410000ffffffff', 'hex'));
  broken(
    'lz4-offset-too-far',
    'lz4',
    'An LZ4 match that begins before the output.',
    Buffer.from('1f410200ff50414141414100', 'hex'),
  );
  broken(
    'lz4-frame',
    'lz4',
    'An LZ4 frame instead of a block.',
    cat(
      Buffer.from('04224d18604082', 'hex'),
      u32(packed('one', 'lz4').stored.length),
      packed('one', 'lz4').stored,
      u32(0),
    ),
  );
  const lzo = packed('one', 'lzo1x').stored;
  broken('lzo1x-no-end-marker', 'lzo1x', 'LZO1X without its end-of-stream marker.', lzo.subarray(0, lzo.length - 3));
  broken(
    'lzo1x-distance-too-far',
    'lzo1x',
    'An LZO1X match that begins before the output.',
    Buffer.from('124120ffff110000', 'hex'),
  );
  return list;
}

export const ramVectors = (): Vector[] => [
  ...batches(),
  ...otherPageSizes(),
  ...limits(),
  ...heads(),
  ...units(),
  ...payloads(),
];
