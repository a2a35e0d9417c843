// Section 11: ORIGIN.
import { cat, noise, text, zeros } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { originals, packed, raw } from './lib/content.ts';
import { origin } from './lib/device.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const part = text('framing', 100);

const sound = (name: string, section: string, title: string, ...recs: Rec[]): Vector =>
  good(name, 'S11', section, title, {}, (channel) => {
    for (const rec of recs) channel.add(rec);
  });

/** The last record is the wrong one. */
const wrong = (name: string, section: string, title: string, code: string, ...recs: Rec[]): Vector =>
  bad(name, 'S11', section, title, {}, (channel) => {
    for (const rec of recs.slice(0, -1)) channel.add(rec);
    channel.bad(code, recs.at(-1)!);
  });

export const originVectors = (): Vector[] => [
  sound(
    'origin-parts',
    '11',
    'ORIGIN in five parts, one for each codec.',
    origin(0, raw(part)),
    ...(['zstd', 'deflate', 'lz4', 'lzo1x'] as const).map((codec, place) => origin(place + 1, packed('part', codec))),
  ),
  sound(
    'origin-part-1-mib',
    '11',
    'A part of 1 MiB, the largest, and a format of 255 bytes.',
    origin(0, packed('mib', 'zstd'), { format: 'f'.repeat(255) }),
  ),
  sound(
    'origin-reserved-not-zero',
    '1.3',
    'Reserved bytes of ORIGIN are ignored.',
    origin(0, raw(part), { reserved: 0xff }),
  ),
  wrong('origin-part-1-first', '4', 'The first part has number 1.', 'RECORD_ORDER', origin(1, raw(part))),
  wrong('origin-part-again', '4', 'Part 0 comes twice.', 'RECORD_ORDER', origin(0, raw(part)), origin(0, raw(part))),
  wrong('origin-codec-zero', '11', 'A part in codec zero.', 'FIELD_VALUE', origin(0, raw(part), { codec: 0 })),
  wrong('origin-codec-opaque', '11', 'A part in codec opaque.', 'FIELD_VALUE', origin(0, raw(part), { codec: 6 })),
  wrong('origin-codec-99', '11', 'A part in codec 99.', 'UNSUPPORTED_CODEC', origin(0, raw(part), { codec: 99 })),
  wrong('origin-original-0', '11', 'A part of original length 0.', 'FIELD_VALUE', origin(0, raw(zeros(0)))),
  wrong(
    'origin-original-over-1-mib',
    '11',
    'A part of original length 1 MiB + 1.',
    'LIMIT_EXCEEDED',
    origin(0, packed('mibOver', 'zstd')),
  ),
  wrong(
    'origin-lengths-differ',
    '11',
    'A raw part whose lengths differ.',
    'LENGTH_MISMATCH',
    origin(0, raw(part), { original: 101 }),
  ),
  wrong(
    'origin-bytes-after',
    '11',
    'Bytes follow the stored ones.',
    'LENGTH_MISMATCH',
    origin(0, raw(part), { tail: zeros(4) }),
  ),
  wrong(
    'origin-stored-length-2-32',
    '11',
    'A stored length of 2^32 - 1.',
    'LENGTH_MISMATCH',
    origin(0, packed('part', 'zstd'), { stored: 0xffffffff }),
  ),
  wrong(
    'origin-undecodable',
    '11',
    'A part that does not decode: a reader that skips it checks it all the same.',
    'CODEC_DATA',
    origin(0, { codec: 'lzo1x', content: originals.part, stored: cat(noise('no lzo', 90)) }),
  ),
  wrong(
    'origin-format-256',
    '11',
    'A format of 256 bytes.',
    'LIMIT_EXCEEDED',
    origin(0, raw(part), { format: 'f'.repeat(256) }),
  ),
  wrong('origin-format-nul', '1.4', 'A format with a NUL.', 'STRING_INVALID', origin(0, raw(part), { format: 'x\0' })),
  wrong('origin-body-short', '11', 'ORIGIN of eight bytes.', 'LENGTH_MISMATCH', bare('ORIGIN', zeros(8))),
];
