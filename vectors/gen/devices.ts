// Section 9: devices and disks.
import { cat, noise, sha256, text, u32, u8, zeros } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { originals, packed, raw } from './lib/content.ts';
import { device, deviceData, disk } from './lib/device.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const blob = text('device', 300);
const long = (length: number): string => 'n'.repeat(length);

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

const wholeOf = (content: Buffer): Rec => deviceData(0, 0, raw(content));
const badStrings: [string, string, Buffer][] = [
  ['nul', 'a NUL', Buffer.from('vg\0a')],
  ['invalid', 'a byte that is not UTF-8', Buffer.from([0x68, 0xff])],
  ['overlong', 'an overlong form', Buffer.from('c0af', 'hex')],
  ['overlong-nul', 'NUL in an overlong form', Buffer.from('61c080', 'hex')],
  ['surrogate', 'a surrogate', Buffer.from('eda080', 'hex')],
  ['surrogate-pair', 'a pair of surrogates', Buffer.from('eda0bdedba80', 'hex')],
  ['above-10ffff', 'a character above U+10FFFF', Buffer.from('f4908080', 'hex')],
  ['cut', 'a character that is cut', Buffer.from('61e282', 'hex')],
];

function devices(): Vector[] {
  const other = text('other device', 500);
  return [
    sound('device-one-chunk', '9.1', 'A device in one raw chunk.', device(blob), wholeOf(blob)),
    sound(
      'device-fingerprint',
      '9.1',
      'A device with a fingerprint, the largest number, and other names.',
      device(blob, {
        device: 255,
        fingerprint: sha256(blob),
        name: 'qemu-dm',
        format: 'qemu-savevm',
        version: '10.1.0 (Debian)',
      }),
      deviceData(255, 0, raw(blob)),
    ),
    ...(['zstd', 'deflate', 'lz4', 'lzo1x'] as const).map((codec) =>
      sound(
        `device-codec-${codec}`,
        '9.2',
        `A device whose chunk is in ${codec}.`,
        device(originals.blob),
        deviceData(0, 0, packed('blob', codec)),
      ),
    ),
    sound(
      'device-chunks',
      '9.2',
      'A device in four chunks of different sizes and codecs.',
      device(cat(blob, originals.blob, u8(7), originals.part)),
      deviceData(0, 0, raw(blob)),
      deviceData(0, 300, packed('blob', 'zstd')),
      deviceData(0, 3300, raw(u8(7))),
      deviceData(0, 3301, packed('part', 'lz4')),
    ),
    sound(
      'device-interleaved',
      '9.2',
      'The data of two devices interleaves.',
      device(blob),
      device(other, { device: 1, name: 'second' }),
      deviceData(1, 0, raw(other.subarray(0, 200))),
      deviceData(0, 0, raw(blob.subarray(0, 1))),
      deviceData(1, 200, raw(other.subarray(200))),
      deviceData(0, 1, raw(blob.subarray(1))),
    ),
    sound('device-empty', '9.1', 'A device of no bytes is complete at once.', device(zeros(0))),
    sound(
      'device-chunk-1-mib',
      '9.2',
      'A chunk of 1 MiB, the largest.',
      device(originals.mib),
      deviceData(0, 0, packed('mib', 'zstd')),
    ),
    sound(
      'device-mib-deflate',
      '9.2',
      'The same in deflate.',
      device(originals.mib),
      deviceData(0, 0, packed('mib', 'deflate')),
    ),
    sound(
      'device-reserved-not-zero',
      '1.3',
      'Reserved fields of DEVICE and DEVICE_DATA are ignored.',
      device(blob, { reserved: 0xffffffff }),
      deviceData(0, 0, raw(blob), { reserved: 0xff }),
    ),
    sound(
      'device-strings-255',
      '9.1',
      'Strings of 255 bytes, the longest.',
      device(blob, { name: long(255), format: long(255), version: long(255) }),
      wholeOf(blob),
    ),
    sound(
      'device-strings-empty',
      '9.1',
      'Empty strings.',
      device(blob, { name: '', format: '', version: '' }),
      wholeOf(blob),
    ),
    sound(
      'device-strings-control',
      '1.4',
      'Control characters and letters of several scripts in strings.',
      device(blob, { name: '\u001b]0;title\u0007\r\n', format: 'ü漢🚀\u202e', version: '\u007f\u0085' }),
      wholeOf(blob),
    ),
    good('device-again-after-checkpoint', 'S11 S13', '4', 'A device comes again after a checkpoint.', {}, (channel) => {
      channel.add(device(blob)).add(wholeOf(blob)).checkpoint();
      channel
        .add(device(other, { version: '2' }))
        .add(deviceData(0, 0, raw(other)))
        .checkpoint();
      channel.end();
    }),
    wrong('device-number-256', '9.1', 'Device 256.', 'FIELD_VALUE', device(blob, { device: 256 })),
    wrong(
      'device-blob-over-1-gib',
      '9.1',
      'A blob of 1 GiB + 1.',
      'LIMIT_EXCEEDED',
      device(blob, { bytes: 2 ** 30 + 1 }),
    ),
    wrong(
      'device-blob-length-2-53',
      '9.1',
      'A blob of 2^53 bytes.',
      'LIMIT_EXCEEDED',
      device(blob, { bytes: 2 ** 53 }),
    ),
    wrong('device-string-256', '9.1', 'A name of 256 bytes.', 'LIMIT_EXCEEDED', device(blob, { name: long(256) })),
    wrong(
      'device-version-256',
      '9.1',
      'A version of 256 bytes.',
      'LIMIT_EXCEEDED',
      device(blob, { version: long(256) }),
    ),
    wrong(
      'device-string-beyond-body',
      '9.1',
      'A string whose length goes beyond the body.',
      'LENGTH_MISMATCH',
      shortened(device(blob), 1),
    ),
    wrong(
      'device-bytes-after-strings',
      '9.1',
      'Bytes follow the last string.',
      'LENGTH_MISMATCH',
      device(blob, { tail: zeros(2) }),
    ),
    wrong(
      'device-without-strings',
      '9.1',
      'DEVICE ends before its strings.',
      'LENGTH_MISMATCH',
      bare('DEVICE', device(blob).body.subarray(0, 80)),
    ),
    wrong(
      'device-twice',
      '4',
      'A device number twice between two checkpoints.',
      'DUPLICATE',
      device(blob),
      wholeOf(blob),
      device(other),
    ),
    ...badStrings.map(([name, words, bytes]) =>
      wrong(`device-string-${name}`, '1.4', `A name with ${words}.`, 'STRING_INVALID', device(blob, { name: bytes })),
    ),
  ];
}

const shortened = (rec: Rec, bytes: number): Rec => ({ ...rec, body: rec.body.subarray(0, rec.body.length - bytes) });

function data(): Vector[] {
  const begun = device(blob);
  const zstd = packed('blob', 'zstd');
  return [
    wrong(
      'device-data-without-device',
      '9.2',
      'DEVICE_DATA of a device that was not begun.',
      'RECORD_ORDER',
      begun,
      deviceData(1, 0, raw(blob)),
    ),
    wrong(
      'device-data-gap',
      '9.2',
      'A chunk that leaves a gap.',
      'RECORD_ORDER',
      begun,
      deviceData(0, 0, raw(blob.subarray(0, 100))),
      deviceData(0, 101, raw(blob.subarray(101))),
    ),
    wrong(
      'device-data-overlap',
      '9.2',
      'A chunk that begins where the last one has bytes already.',
      'RECORD_ORDER',
      begun,
      deviceData(0, 0, raw(blob.subarray(0, 100))),
      deviceData(0, 99, raw(blob.subarray(99))),
    ),
    wrong(
      'device-data-not-from-0',
      '9.2',
      'The first chunk begins at 8.',
      'RECORD_ORDER',
      begun,
      deviceData(0, 8, raw(blob.subarray(8))),
    ),
    wrong(
      'device-data-after-complete',
      '9.2',
      'A chunk for a device that is complete.',
      'RECORD_ORDER',
      begun,
      wholeOf(blob),
      deviceData(0, 300, raw(u8(1))),
    ),
    wrong(
      'device-data-after-empty',
      '9.2',
      'A chunk for a device of no bytes.',
      'RECORD_ORDER',
      device(zeros(0)),
      deviceData(0, 0, raw(u8(1))),
    ),
    wrong(
      'device-data-beyond-blob',
      '9.2',
      'A chunk that goes one byte beyond the blob.',
      'LENGTH_MISMATCH',
      begun,
      wholeOf(cat(blob, u8(0))),
    ),
    wrong(
      'device-digest',
      '9.2',
      'The SHA-256 of the blob is another one.',
      'DEVICE_DIGEST',
      device(blob, { sha256: sha256(zeros(1)) }),
      deviceData(0, 0, raw(blob.subarray(0, 10))),
      deviceData(0, 10, raw(blob.subarray(10))),
    ),
    wrong(
      'device-data-codec-zero',
      '7.4',
      'A chunk in codec zero.',
      'FIELD_VALUE',
      begun,
      deviceData(0, 0, { codec: 'zero', content: blob, stored: zeros(0) }),
    ),
    wrong(
      'device-data-codec-opaque',
      '7.4',
      'A chunk in codec opaque.',
      'FIELD_VALUE',
      begun,
      deviceData(0, 0, { codec: 'opaque', content: blob, stored: blob }),
    ),
    wrong(
      'device-data-codec-7',
      '7.4',
      'A chunk in a codec that is not in the table.',
      'UNSUPPORTED_CODEC',
      begun,
      deviceData(0, 0, raw(blob), { codec: 7 }),
    ),
    wrong(
      'device-data-original-0',
      '9.2',
      'A chunk of original length 0.',
      'FIELD_VALUE',
      begun,
      deviceData(0, 0, raw(zeros(0))),
    ),
    wrong(
      'device-data-original-over-1-mib',
      '9.2',
      'A chunk of original length 1 MiB + 1.',
      'LIMIT_EXCEEDED',
      device(cat(originals.mib, zeros(8))),
      deviceData(0, 0, packed('mibOver', 'zstd')),
    ),
    wrong(
      'device-data-original-2-32',
      '9.2',
      'A chunk of original length 2^32 - 1.',
      'LIMIT_EXCEEDED',
      device(originals.mib),
      deviceData(0, 0, packed('mib', 'zstd'), { original: 0xffffffff }),
    ),
    wrong(
      'device-data-raw-lengths',
      '9.2',
      'A raw chunk whose lengths differ.',
      'LENGTH_MISMATCH',
      begun,
      deviceData(0, 0, { codec: 'raw', content: blob, stored: blob.subarray(1) }),
    ),
    wrong(
      'device-data-not-smaller',
      '9.2',
      'A zstd chunk that is not smaller than its content.',
      'LENGTH_MISMATCH',
      device(originals.blob),
      deviceData(0, 0, { ...zstd, stored: cat(zstd.stored, zeros(3000)) }),
    ),
    wrong(
      'device-data-stored-length-lies',
      '9.2',
      'The stored length goes beyond the body.',
      'LENGTH_MISMATCH',
      device(originals.blob),
      deviceData(0, 0, zstd, { stored: zstd.stored.length + 1 }),
    ),
    wrong(
      'device-data-bytes-after',
      '9.2',
      'Bytes follow the stored ones.',
      'LENGTH_MISMATCH',
      device(originals.blob),
      deviceData(0, 0, zstd, { tail: zeros(8) }),
    ),
    wrong(
      'device-data-undecodable',
      '9.2',
      'A chunk that does not decode.',
      'CODEC_DATA',
      device(originals.blob),
      deviceData(0, 0, { codec: 'zstd', content: originals.blob, stored: noise('no zstd', 99) }),
    ),
    wrong(
      'device-data-decodes-to-less',
      '9.2',
      'A chunk that decodes to fewer bytes than it says.',
      'CODEC_DATA',
      device(originals.blob),
      deviceData(0, 0, { ...packed('part', 'deflate'), content: originals.blob }),
    ),
    wrong(
      'device-data-body-short',
      '9.2',
      'DEVICE_DATA of 16 bytes.',
      'LENGTH_MISMATCH',
      begun,
      bare('DEVICE_DATA', zeros(16)),
    ),
  ];
}

function disks(): Vector[] {
  const digest = sha256(blob);
  return [
    sound(
      'disk-policies',
      '9.3',
      'Disks of each policy.',
      disk({ disk: 0 }),
      disk({ disk: 1, policy: 2, flags: 1, sha256: digest, name: 'hdc', format: 'iso9660' }),
      disk({ disk: 2, policy: 3, name: 'tmemdisk', bytes: 1n << 24n }),
      disk({ disk: 255, policy: 4, sha256: digest, bytes: 2n ** 64n - 1n, locator: 'nbd://host/export' }),
    ),
    sound(
      'disk-reserved-not-zero',
      '1.3',
      'Reserved bits and fields of DISK are ignored.',
      disk({ flags: 0xfe, reserved: 0xffff }),
    ),
    sound(
      'disk-strings-longest',
      '9.3',
      'The longest strings that DISK may have.',
      disk({ name: long(255), format: long(255), locator: long(4000) }),
    ),
    good('disk-many', 'S11', '15', 'All 256 disks, the most there can be.', {}, (channel) => {
      for (let number = 0; number < 256; number++) channel.add(disk({ disk: number, name: `d${number}` }));
    }),
    wrong('disk-number-256', '9.3', 'Disk 256.', 'FIELD_VALUE', disk({ disk: 256 })),
    wrong('disk-policy-0', '9.3', 'Policy 0.', 'FIELD_VALUE', disk({ policy: 0 })),
    wrong('disk-policy-5', '9.3', 'Policy 5.', 'FIELD_VALUE', disk({ policy: 5 })),
    wrong('disk-digest-missing', '9.3', 'Policy 2 without a digest.', 'FIELD_VALUE', disk({ policy: 2 })),
    wrong('disk-twice', '4', 'A disk number twice.', 'DUPLICATE', disk({ disk: 9 }), disk(), disk({ disk: 9 })),
    bad('disk-twice-over-checkpoint', 'S11', '4', 'A disk number twice, with a checkpoint between.', {}, (channel) => {
      channel.add(disk());
      channel.checkpoint();
      channel.bad('DUPLICATE', disk());
    }),
    wrong('disk-name-256', '9.3', 'A name of 256 bytes.', 'LIMIT_EXCEEDED', disk({ name: long(256) })),
    wrong('disk-locator-4001', '9.3', 'A place of 4,001 bytes.', 'LIMIT_EXCEEDED', disk({ locator: long(4001) })),
    wrong(
      'disk-string-invalid',
      '1.4',
      'A format that is not UTF-8.',
      'STRING_INVALID',
      disk({ format: Buffer.from([0x80]) }),
    ),
    wrong('disk-locator-nul', '1.4', 'A place with a NUL.', 'STRING_INVALID', disk({ locator: 'a\0b' })),
    wrong(
      'disk-string-length-lies',
      '9.3',
      'A string of 65,535 bytes that are not there.',
      'LIMIT_EXCEEDED',
      lying(disk(), 48),
    ),
    wrong('disk-bytes-after', '9.3', 'Bytes follow the last string.', 'LENGTH_MISMATCH', disk({ tail: u32(0) })),
  ];
}

function lying(rec: Rec, offset: number): Rec {
  const body = Buffer.from(rec.body);
  body.writeUInt16LE(0xffff, offset);
  return { ...rec, body };
}

export const deviceVectors = (): Vector[] => [...devices(), ...data(), ...disks()];
