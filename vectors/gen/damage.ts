// Section 18: bits that flip, cuts, records that are lost, doubled or moved, streams that are joined.
import { cat, noise, text, zeros } from './lib/bytes.ts';
import { Channel } from './lib/channel.ts';
import type { Part, Rec } from './lib/channel.ts';
import { packed, raw } from './lib/content.ts';
import { device, deviceData, disk } from './lib/device.ts';
import { ram } from './lib/ram.ts';
import { vcpuModel, vcpuX86 } from './lib/vcpu.ts';
import { bad, damaged, good } from './lib/vector.ts';
import type { Damage, Options, Vector } from './lib/vector.ts';

const blob = text('device', 301);

/** Positions in the sample: ABOUT 0, DISK 1, RAM 2, SEAL 3, RAM 4, VCPU_X86 5, DEVICE 6, DEVICE_DATA 7, SEAL 8 ... */
const at = { about: 0, disk: 1, ram: 2, seal: 3, ramAfter: 4, vcpu: 5, device: 6, data: 7, sealBefore: 8 } as const;
const checkpoint = 9;
/** Without INDEXED: SEAL 10, END 11. With it: INDEX 10, SEAL 11, END 12, INDEX_ROOT 13. */
const plainEnd = 11;
const indexAt = 10;
const indexedEnd = 12;
const rootAt = 13;

function sample(channel: Channel): void {
  channel.add(disk());
  channel.add(ram([{ first: 0, pages: 3 }], [1], [packed('two', 'zstd')]));
  channel.seal();
  channel.add(ram([{ first: 7, pages: 1 }], [], [packed('one', 'lz4')]));
  channel.add(vcpuX86(vcpuModel()));
  channel.add(device(blob)).add(deviceData(0, 0, raw(blob)));
}

const partAt = (channel: Channel, place: number): Part => channel.parts[place];
const endOf = (part: Part): number => part.offset + part.bytes.length;
const footerOffset = (channel: Channel): number => endOf(channel.parts.at(-1)!);

function flip(bytes: Buffer, place: number, mask = 0x01): Buffer {
  const out = Buffer.from(bytes);
  out[place] = out[place] ^ mask;
  return out;
}

const plain: Options = {};
const withIndex: Options = { mayIgnore: 1n };

function whole(): Vector[] {
  return [
    good('damage-none', 'S6', '18', 'The stream that the others damage, whole.', plain, sample),
    good('damage-none-indexed', 'S6 S7', '18', 'The same stream with an index, whole.', withIndex, sample),
  ];
}

function flips(): Vector[] {
  const header = (name: string, title: string, place: number, byte: number, mask?: number): Vector =>
    damaged(`damage-flip-${name}`, 'S6', '18', title, plain, sample, (channel): Damage => {
      const part = partAt(channel, place);
      const bytes = flip(channel.bytes(), part.offset + byte, mask);
      return { bytes, code: 'HEADER_CHECKSUM', offset: part.offset, sequence: place, released: place };
    });
  const body = (name: string, title: string, options: Options, place: number, byte: number): Vector =>
    damaged(`damage-flip-${name}`, 'S6', '18', title, options, sample, (channel): Damage => {
      const part = partAt(channel, place);
      const inside = byte < 0 ? part.bytes.length + byte : 24 + byte;
      const bytes = flip(channel.bytes(), part.offset + inside, 0x10);
      return { bytes, code: 'BODY_CHECKSUM', offset: part.offset, sequence: place, released: place };
    });
  const footer = (name: string, title: string, byte: number): Vector =>
    damaged(`damage-flip-footer-${name}`, 'S6 S7', '13.3', title, withIndex, sample, (channel): Damage => {
      const offset = footerOffset(channel);
      const bytes = flip(channel.bytes(), offset + byte);
      return { bytes, code: 'FOOTER', offset, sequence: null, released: channel.parts.length };
    });
  return [
    header('header-type', 'A flipped bit in the type of RAM.', at.ram, 0),
    header('header-optional', 'The flipped bit is the one that makes a record optional.', at.ram, 3, 0x80),
    header('header-length', 'A flipped bit in a length.', at.ram, 6),
    header('header-sequence', 'A flipped bit in a sequence number.', at.seal, 8),
    header('header-tag', 'A flipped bit in a tag.', at.vcpu, 15),
    header('header-body-checksum', 'A flipped bit in a checksum of a body.', at.device, 16),
    header('header-checksum', 'A flipped bit in the checksum of a header.', at.data, 23),
    header('header-about', 'A flipped bit in the header of ABOUT.', at.about, 4),
    header('header-end', 'A flipped bit in the header of END.', plainEnd, 12),
    body('body-about', 'A flipped bit in ABOUT.', plain, at.about, 3),
    body('body-disk', 'A flipped bit in DISK.', plain, at.disk, 8),
    body('body-ram-head', 'A flipped bit in the head of RAM.', plain, at.ram, 16),
    body('body-ram-unit', 'A flipped bit in the last byte of a unit.', plain, at.ramAfter, 24 + 16 + 16 + 8 + 500),
    body('body-vcpu', 'A flipped bit in VCPU_X86.', plain, at.vcpu, 100),
    body('body-device-data', 'A flipped bit in DEVICE_DATA.', plain, at.data, 300),
    body('body-seal', 'A flipped bit in the chain of a SEAL.', plain, at.seal, 20),
    body('body-checkpoint', 'A flipped bit in CHECKPOINT.', plain, checkpoint, 0),
    body('body-end', 'A flipped bit in a count of END.', plain, plainEnd, 8),
    body('padding', 'A flipped bit in the padding of DEVICE_DATA.', plain, at.data, -1),
    body('index', 'A flipped bit in INDEX.', withIndex, indexAt, 30),
    body('index-root', 'A flipped bit in INDEX_ROOT.', withIndex, rootAt, 8),
    footer('magic', 'A flipped bit in the magic of the footer.', 4),
    footer('tag', 'A flipped bit in the tag of the footer.', 12),
    footer('end', 'A flipped bit in the offset of END.', 16),
    footer('root', 'A flipped bit in the offset of INDEX_ROOT.', 24),
    footer('length', 'A flipped bit in the length of the stream.', 32),
    footer('chain', 'A flipped bit in the chain of the footer.', 55),
    footer('reserved', 'A flipped bit in the reserved field of the footer.', 56),
    footer('checksum', 'A flipped bit in the checksum of the footer.', 60),
  ];
}

function cuts(): Vector[] {
  const cut = (
    name: string,
    title: string,
    options: Options,
    place: (channel: Channel) => { offset: number; sequence: number | null; released: number },
  ): Vector =>
    damaged(`damage-cut-${name}`, 'S6', '18', title, options, sample, (channel): Damage => {
      const { offset, sequence, released } = place(channel);
      return { bytes: channel.bytes().subarray(0, offset), code: 'TRUNCATED', offset, sequence, released };
    });
  const inside = (place: number, byte: number) => (channel: Channel) => {
    const part = partAt(channel, place);
    const offset = byte < 0 ? endOf(part) + byte : part.offset + byte;
    return { offset, sequence: place, released: place };
  };
  const inFooter = (byte: number) => (channel: Channel) => ({
    offset: footerOffset(channel) + byte,
    sequence: null,
    released: channel.parts.length,
  });
  return [
    cut('in-about-header', 'Cut in the header of ABOUT.', plain, inside(at.about, 10)),
    cut('in-about', 'Cut in ABOUT.', plain, inside(at.about, 30)),
    cut('after-about', 'Cut after ABOUT.', plain, inside(at.disk, 0)),
    cut('in-header-1', 'Cut after one byte of a header.', plain, inside(at.ram, 1)),
    cut('in-header-23', 'Cut before the last byte of a header.', plain, inside(at.ram, 23)),
    cut('after-header', 'Cut between a header and its body.', plain, inside(at.ram, 24)),
    cut('in-ram-head', 'Cut in the head of RAM.', plain, inside(at.ram, 40)),
    cut('in-ram-units', 'Cut in the bytes of a unit.', plain, inside(at.ramAfter, 300)),
    cut('in-padding', 'Cut in the padding of DEVICE_DATA.', plain, inside(at.data, -1)),
    cut('between-records', 'Cut between two records.', plain, inside(at.vcpu, 0)),
    cut('after-seal', 'Cut after a SEAL.', plain, inside(at.ramAfter, 0)),
    cut('in-seal', 'Cut in a SEAL.', plain, inside(at.seal, 60)),
    cut('after-checkpoint', 'Cut after CHECKPOINT.', plain, inside(checkpoint + 1, 0)),
    cut('before-end', 'END is not there.', plain, inside(plainEnd, 0)),
    cut('in-end', 'END lacks its last byte.', plain, inside(plainEnd, -1)),
    cut('before-end-indexed', 'END and what follows it are not there.', withIndex, inside(indexedEnd, 0)),
    cut('after-end-indexed', 'INDEX_ROOT and the footer are not there.', withIndex, inside(rootAt, 0)),
    cut('in-index', 'Cut in INDEX.', withIndex, inside(indexAt, 50)),
    cut('in-index-root', 'Cut in INDEX_ROOT.', withIndex, inside(rootAt, 30)),
    cut('before-footer', 'The footer is not there.', withIndex, inFooter(0)),
    cut('in-footer', 'Half of the footer.', withIndex, inFooter(32)),
    cut('in-footer-last-byte', 'The footer lacks its last byte.', withIndex, inFooter(63)),
  ];
}

const joined = (channel: Channel, parts: Part[], tail = cat(...channel.tail)): Buffer =>
  cat(channel.preamble, ...parts.map((part) => part.bytes), tail);

function moves(): Vector[] {
  const moved = (
    name: string,
    title: string,
    place: number,
    arrange: (parts: Part[]) => Part[],
    options = plain,
  ): Vector =>
    damaged(`damage-${name}`, 'S6', '18', title, options, sample, (channel): Damage => {
      const arranged = arrange([...channel.parts]);
      const before = arranged.slice(0, place).reduce((sum, part) => sum + part.bytes.length, 128);
      const bytes = joined(channel, arranged);
      return { bytes, code: 'RECORD_SEQUENCE', offset: before, sequence: place, released: place };
    });
  const without = (place: number) => (parts: Part[]) => parts.toSpliced(place, 1);
  const twice = (place: number) => (parts: Part[]) => parts.toSpliced(place, 0, parts[place]);
  const swapped = (place: number) => (parts: Part[]) => parts.toSpliced(place, 2, parts[place + 1], parts[place]);
  return [
    moved('lost-about', 'ABOUT is lost.', at.about, without(at.about)),
    moved('lost-ram', 'A RAM record is lost.', at.ram, without(at.ram)),
    moved('lost-seal', 'A SEAL is lost.', at.seal, without(at.seal)),
    moved('lost-device-data', 'A DEVICE_DATA record is lost.', at.data, without(at.data)),
    moved('lost-seal-before-end', 'The SEAL before END is lost.', plainEnd - 1, without(plainEnd - 1)),
    moved('lost-index', 'INDEX is lost.', indexAt, without(indexAt), withIndex),
    moved('lost-end-indexed', 'END is lost.', indexedEnd, without(indexedEnd), withIndex),
    moved('doubled-ram', 'A RAM record comes twice.', at.ram + 1, twice(at.ram)),
    moved('doubled-about', 'ABOUT comes twice, with the same number.', 1, twice(at.about)),
    moved('doubled-seal', 'A SEAL comes twice.', at.seal + 1, twice(at.seal)),
    moved('swapped-records', 'Two records are swapped.', at.vcpu, swapped(at.vcpu)),
    moved('swapped-with-seal', 'A SEAL and the record before it are swapped.', at.ram, swapped(at.ram)),
    moved('moved-far', 'A record is moved to the end.', at.disk, (parts) =>
      parts.toSpliced(at.disk, 1).toSpliced(parts.length - 2, 0, parts[at.disk]),
    ),
    damaged('damage-doubled-end', 'S6 S5', '18', 'END comes twice.', plain, sample, (channel): Damage => {
      const bytes = joined(channel, twice(plainEnd)([...channel.parts]));
      const offset = endOf(partAt(channel, plainEnd));
      return { bytes, code: 'TRAILING_DATA', offset, sequence: null, released: channel.parts.length };
    }),
    damaged(
      'damage-lost-index-root',
      'S6 S7',
      '18',
      'INDEX_ROOT is lost: the footer stands where its header should.',
      withIndex,
      sample,
      (channel): Damage => {
        const { offset } = partAt(channel, rootAt);
        const bytes = joined(channel, channel.parts.slice(0, rootAt));
        return { bytes, code: 'HEADER_CHECKSUM', offset, sequence: rootAt, released: rootAt };
      },
    ),
    damaged(
      'damage-inserted-zeros',
      'S6',
      '18',
      'Eight zero bytes are inserted between two records.',
      plain,
      sample,
      (channel): Damage => {
        const { offset } = partAt(channel, at.ramAfter);
        const bytes = channel.bytes();
        return {
          bytes: cat(bytes.subarray(0, offset), zeros(8), bytes.subarray(offset)),
          code: 'HEADER_CHECKSUM',
          offset,
          sequence: at.ramAfter,
          released: at.ramAfter,
        };
      },
    ),
    damaged(
      'damage-hole',
      'S6',
      '18',
      'A block of 512 bytes from a multiple of 512 is zero.',
      plain,
      sample,
      (channel): Damage => {
        const bytes = channel.bytes();
        // The block at 512 begins inside the RAM record and reaches over the headers after it.
        const place = channel.parts.findIndex((part) => endOf(part) > 512);
        bytes.fill(0, 512, 1024);
        const { offset } = partAt(channel, place);
        return { bytes, code: 'BODY_CHECKSUM', offset, sequence: place, released: place };
      },
    ),
    damaged(
      'damage-zeros-to-the-end',
      'S6',
      '18',
      'From a record on the file is zeros, as after a crash.',
      plain,
      sample,
      (channel): Damage => {
        const { offset } = partAt(channel, at.vcpu);
        const bytes = channel.bytes().fill(0, offset);
        return { bytes, code: 'HEADER_CHECKSUM', offset, sequence: at.vcpu, released: at.vcpu };
      },
    ),
  ];
}

function strangers(): Vector[] {
  const foreign = (name: string, title: string, fields: { streamId?: Buffer; channel?: number }): Vector =>
    damaged(
      name,
      'S6',
      '18',
      title,
      fields.channel === undefined ? plain : { channels: 2, kind: 2 },
      sample,
      (channel): Damage => {
        const other = new Channel('other', { ...channel.fields, ...fields });
        other.add(other.about());
        sample(other);
        const parts = channel.parts.toSpliced(at.ram, 1, other.parts[at.ram]);
        const { offset } = partAt(channel, at.ram);
        return { bytes: joined(channel, parts), code: 'RECORD_FOREIGN', offset, sequence: at.ram, released: at.ram };
      },
    );
  const replaced = (name: string, title: string, change: (channel: Channel) => void): Vector =>
    bad(name, 'S6 S5', '18', title, plain, (channel) => {
      change(channel);
      channel.badSeal({});
    });
  const page = (word: string): Rec => ram([{ first: 4, pages: 1 }], [], [raw(noise(word, 4096))]);
  const disks = [disk({ disk: 0, name: 'hda' }), disk({ disk: 1, name: 'hdb' })] as const;
  return [
    foreign('damage-foreign-stream', 'A record of another stream stands in the place of one.', {
      streamId: Buffer.alloc(16, 0x77),
    }),
    foreign('damage-foreign-channel', 'A record of another channel of the same stream.', { channel: 1 }),
    replaced('damage-replaced-ram', 'A RAM record is replaced by one with right checksums.', (channel) => {
      channel.add(page('written'), { writtenInstead: page('replaced') });
    }),
    replaced('damage-replaced-disk', 'A DISK record is replaced, and its header is as it should be.', (channel) => {
      channel.add(page('written'));
      channel.add(disks[0], { writtenInstead: disks[1] });
    }),
    replaced('damage-swapped-and-renumbered', 'Two records are swapped, and their numbers made right.', (channel) => {
      channel.add(disks[0], { writtenInstead: disks[1] });
      channel.add(disks[1], { writtenInstead: disks[0] });
    }),
  ];
}

function appended(): Vector[] {
  const more = (name: string, title: string, options: Options, tail: (channel: Channel) => Buffer): Vector =>
    damaged(`damage-appended-${name}`, 'S6 S5', '18', title, options, sample, (channel): Damage => {
      const bytes = channel.bytes();
      return {
        bytes: cat(bytes, tail(channel)),
        code: 'TRAILING_DATA',
        offset: bytes.length,
        sequence: null,
        released: channel.parts.length,
      };
    });
  return [
    more('byte', 'One byte follows END.', plain, () => Buffer.from('\n')),
    more('zeros', 'Zeros up to a block follow END.', plain, (channel) => zeros(4096 - (channel.bytes().length % 4096))),
    more('image', 'The same image follows once more.', plain, (channel) => channel.bytes()),
    more('byte-indexed', 'One byte follows the footer.', withIndex, () => zeros(1)),
    more('footer-indexed', 'The footer comes twice.', withIndex, (channel) => cat(...channel.tail)),
  ];
}

function containers(): Vector[] {
  const inside = (name: string, title: string, options: Options, tail: number): Vector =>
    good(
      `container-${name}`,
      'S5',
      '13.4',
      title,
      { ...options, container: true, ...(tail > 0 ? { warnings: ['TRAILING_DATA'] } : {}) },
      (channel) => {
        sample(channel);
        channel.finish();
        channel.append(noise('what was on the device before', tail));
      },
    );
  return [
    inside('larger', 'A container that is larger than the image.', withIndex, 3000),
    inside('one-byte-larger', 'A container that is one byte larger than the image.', withIndex, 1),
    inside('exact', 'A container of the size of the image: nothing is reported.', withIndex, 0),
    inside('larger-without-index', 'A container with an image that has no footer.', plain, 3000),
    damaged(
      'container-smaller',
      'S5 S6',
      '13.4',
      'A container that is smaller than the image.',
      { ...withIndex, container: true },
      sample,
      (channel): Damage => ({
        bytes: channel.bytes().subarray(0, 512),
        code: 'TRUNCATED',
        offset: 512,
        sequence: channel.parts.findIndex((part) => endOf(part) > 512),
        released: channel.parts.findIndex((part) => endOf(part) > 512),
      }),
    ),
    damaged(
      'container-footer-damaged',
      'S5 S7',
      '13.4',
      'A larger container whose image has a damaged footer.',
      { ...withIndex, container: true },
      sample,
      (channel): Damage => ({
        bytes: cat(flip(channel.bytes(), footerOffset(channel) + 20), zeros(100)),
        code: 'FOOTER',
        offset: footerOffset(channel),
        sequence: null,
        released: channel.parts.length,
      }),
    ),
  ];
}

export const damageVectors = (): Vector[] => [
  ...whole(),
  ...flips(),
  ...cuts(),
  ...moves(),
  ...strangers(),
  ...appended(),
  ...containers(),
];
