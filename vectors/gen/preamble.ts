// Section 2: the preamble, and what transport does to its magic.
import { cat, text, utf8, zeros } from './lib/bytes.ts';
import type { Channel } from './lib/channel.ts';
import type { PreambleFields } from './lib/channel.ts';
import { raw } from './lib/content.ts';
import { ram } from './lib/ram.ts';
import { bad, damaged, good } from './lib/vector.ts';
import type { Damage, Vector } from './lib/vector.ts';

/** One raw page of the stream's page size. */
function onePage(channel: Channel): void {
  const pageSize = channel.pageSize;
  channel.add(ram([{ first: 5, pages: 1 }], [], [raw(text('page', pageSize))], { pageSize }));
}

const onePageOrNone = (channel: Channel): void => {
  if (channel.fields.direction === 0 && channel.fields.pageShift <= 16) onePage(channel);
};

const nothing = (): void => {};

function sources(): Vector[] {
  const list: [string, string, Partial<PreambleFields>][] = [
    ['preamble-plain', 'A save image of a little-endian 64-bit machine.', {}],
    [
      'preamble-big-endian-32',
      'A big-endian 32-bit source: the stream itself stays little-endian.',
      {
        byteOrder: 2,
        wordBits: 32,
        machine: 20,
        domainType: 2,
      },
    ],
    ['preamble-big-endian-64', 'A big-endian 64-bit source (PPC64).', { byteOrder: 2, machine: 21, domainType: 2 }],
    ['preamble-386', 'A 32-bit source with machine type 386.', { wordBits: 32, machine: 3, domainType: 5 }],
    ['preamble-aarch64', 'Machine type AArch64, domain type PVH.', { machine: 183, domainType: 3 }],
    ['preamble-machine-unheard-of', 'Any ELF machine number is accepted.', { machine: 0xfffe, domainType: 0 }],
    ['preamble-kind-migration', 'Kind 2, a migration stream.', { kind: 2 }],
    ['preamble-kind-core', 'Kind 4, a core.', { kind: 4 }],
    ['preamble-domain-emulated-tmem', 'Domain type 4.', { domainType: 4 }],
    ['preamble-page-shift-13', 'Pages of 8 KiB.', { pageShift: 13 }],
    ['preamble-page-shift-14', 'Pages of 16 KiB.', { pageShift: 14 }],
    ['preamble-page-shift-16', 'Pages of 64 KiB, the largest.', { pageShift: 16 }],
    ['preamble-reserved-not-zero', 'Reserved bytes of the preamble are ignored.', { reserved: 0xa5 }],
    ['preamble-may-ignore-unknown', 'Unknown may-ignore features are ignored.', { mayIgnore: 0xdead_beef_0000_0102n }],
  ];
  return list.map(([name, title, fields]) => good(name, 'S1', '2', title, fields, onePage));
}

function fieldValues(): Vector[] {
  const list: [string, string, Partial<PreambleFields>][] = [
    ['preamble-kind-0', 'Kind 0 is not in the table.', { kind: 0 }],
    ['preamble-kind-5', 'Kind 5 is not in the table.', { kind: 5 }],
    ['preamble-kind-3-without-feature', 'Kind incremental without feature INCREMENTAL.', { kind: 3 }],
    ['preamble-byte-order-0', 'Byte order 0.', { byteOrder: 0 }],
    ['preamble-byte-order-3', 'Byte order 3.', { byteOrder: 3 }],
    ['preamble-word-size-16', 'Word size 16.', { wordBits: 16 }],
    ['preamble-domain-type-6', 'Domain type 6 is not in the table.', { domainType: 6 }],
    ['preamble-page-shift-11', 'Page shift 11 is too small.', { pageShift: 11 }],
    ['preamble-page-shift-17', 'Page shift 17 is too large.', { pageShift: 17 }],
    ['preamble-direction-2', 'Direction 2 is not in the table.', { direction: 2 }],
    ['preamble-channels-0', 'No channels.', { channels: 0 }],
    ['preamble-channels-17', 'More channels than 16.', { channels: 17 }],
    [
      'preamble-channel-not-below',
      'The channel number is not below the number of channels.',
      {
        channels: 1,
        channel: 1,
      },
    ],
    ['preamble-indexed-two-channels', 'INDEXED with two channels.', { channels: 2, mayIgnore: 1n, kind: 2 }],
    ['preamble-indexed-back', 'INDEXED in direction back.', { direction: 1, mayIgnore: 1n, kind: 2 }],
  ];
  return list.map(([name, title, fields]) =>
    bad(name, 'S1', '2.1', `${title} ABOUT is shown first.`, fields, (channel) => {
      onePageOrNone(channel);
      channel.refuse('FIELD_VALUE');
    }),
  );
}

function broken(
  name: string,
  title: string,
  code: string,
  section: string,
  bytes: (whole: Buffer, channel: Channel) => Buffer,
  requirements = 'S1',
): Vector {
  return damaged(name, requirements, section, title, {}, onePage, (channel): Damage => {
    const out = bytes(channel.bytes(), channel);
    return { bytes: out, code, offset: code === 'TRUNCATED' ? out.length : 0, sequence: null, released: 0 };
  });
}

/** Replaces a run of bytes everywhere, as a text-mode copy does. */
function replaced(bytes: Buffer, from: number[], to: number[]): Buffer {
  const text = bytes.toString('latin1');
  return Buffer.from(text.replaceAll(String.fromCharCode(...from), String.fromCharCode(...to)), 'latin1');
}

function flip(bytes: Buffer, place: number, mask: number): Buffer {
  const out = Buffer.from(bytes);
  out[place] = out[place] ^ mask;
  return out;
}

const cr = 0x0d;
const lf = 0x0a;

function transport(): Vector[] {
  return [
    broken('magic-crlf-to-lf', 'A copy in text mode made LF of CR LF.', 'TEXT_MODE_DAMAGE', '2.2', (whole) =>
      replaced(whole, [cr, lf], [lf]),
    ),
    broken('magic-lf-to-crlf', 'A copy in text mode made CR LF of LF.', 'TEXT_MODE_DAMAGE', '2.2', (whole) =>
      replaced(whole, [lf], [cr, lf]),
    ),
    broken('magic-cr-to-lf', 'A copy in text mode made LF of CR.', 'TEXT_MODE_DAMAGE', '2.2', (whole) =>
      replaced(whole, [cr], [lf]),
    ),
    broken('magic-nul-stripped', 'A copy left out the NULs.', 'TEXT_MODE_DAMAGE', '2.2', (whole) =>
      replaced(whole, [0], []),
    ),
    broken(
      'magic-latin1-to-utf8',
      'A copy took the image for Latin-1 and made UTF-8 of it.',
      'TEXT_MODE_DAMAGE',
      '2.2',
      (whole) => utf8(whole.toString('latin1')),
    ),
    broken('magic-last-byte', 'The last byte of the magic is 7F.', 'TEXT_MODE_DAMAGE', '2.2', (whole) =>
      flip(whole, 11, 0x80),
    ),
    broken(
      'magic-short-and-text',
      'Seven bytes, of which the last is a converted line end.',
      'TEXT_MODE_DAMAGE',
      '2.2',
      (whole) => replaced(whole, [cr, lf], [lf]).subarray(0, 7),
    ),
    broken(
      'magic-seven-bit',
      'A channel that is not 8-bit clean took the top bits.',
      'SEVEN_BIT_DAMAGE',
      '2.2',
      (whole) => Buffer.from(whole.map((byte) => byte & 0x7f)),
    ),
    broken(
      'magic-ctrl-z',
      'A copy in text mode stopped at the byte 1A.',
      'TRUNCATED',
      '2.2',
      (whole) => whole.subarray(0, 8),
      'S1 S6',
    ),
    broken('magic-letter-flipped', 'A bit of the letters of the magic is flipped.', 'NOT_AN_IMAGE', '2.2', (whole) =>
      flip(whole, 3, 0x20),
    ),
    broken('magic-first-byte', 'The first byte is neither 89 nor 09.', 'NOT_AN_IMAGE', '2.2', (whole) =>
      flip(whole, 0, 0x01),
    ),
    broken('not-an-image-empty', 'An empty file.', 'TRUNCATED', '2.2', () => zeros(0), 'S1 S6'),
    broken('not-an-image-zeros', 'A file of zeros.', 'NOT_AN_IMAGE', '2.2', () => zeros(512)),
    broken('not-an-image-two-bytes', 'Two bytes that do not begin the magic.', 'NOT_AN_IMAGE', '2.2', () => utf8('hi')),
    broken('not-an-image-gzip', 'The start of a gzip file.', 'NOT_AN_IMAGE', '2.2', () =>
      Buffer.from('1f8b0800000000000203', 'hex'),
    ),
    broken('not-an-image-elf', 'The start of an ELF core.', 'NOT_AN_IMAGE', '2.2', () =>
      cat(Buffer.from('7f454c46020101000000000000000000', 'hex'), zeros(112)),
    ),
    broken(
      'preamble-cut-in-magic',
      'Four bytes of the magic.',
      'TRUNCATED',
      '2.2',
      (whole) => whole.subarray(0, 4),
      'S1 S6',
    ),
    broken(
      'preamble-cut-after-magic',
      'The magic and nothing else.',
      'TRUNCATED',
      '2.1',
      (whole) => whole.subarray(0, 12),
      'S1 S6',
    ),
    broken(
      'preamble-cut',
      'The preamble lacks its last byte.',
      'TRUNCATED',
      '2.1',
      (whole) => whole.subarray(0, 127),
      'S1 S6',
    ),
    broken(
      'preamble-flip-kind',
      'A flipped bit in the kind of image.',
      'PREAMBLE_CHECKSUM',
      '2.1',
      (whole) => flip(whole, 16, 0x02),
      'S1 S6',
    ),
    broken(
      'preamble-flip-version',
      'A flipped bit in the version: the checksum comes first.',
      'PREAMBLE_CHECKSUM',
      '2.1',
      (whole) => flip(whole, 12, 0x02),
      'S1 S6',
    ),
    broken(
      'preamble-flip-reserved',
      'A flipped bit in the reserved bytes.',
      'PREAMBLE_CHECKSUM',
      '2.1',
      (whole) => flip(whole, 100, 0x10),
      'S1 S6',
    ),
    broken(
      'preamble-flip-checksum',
      'A flipped bit in the checksum itself.',
      'PREAMBLE_CHECKSUM',
      '2.1',
      (whole) => flip(whole, 127, 0x80),
      'S1 S6',
    ),
  ];
}

function firstRecord(): Vector[] {
  return [
    damaged('preamble-alone', 'S1 S6', '2.1', 'A preamble and nothing else.', {}, nothing, (channel) => ({
      bytes: channel.preamble,
      code: 'TRUNCATED',
      offset: 128,
      sequence: 0,
      released: 0,
    })),
  ];
}

export const preambleVectors = (): Vector[] => [...sources(), ...fieldValues(), ...transport(), ...firstRecord()];
