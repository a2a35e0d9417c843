// Section 14: several channels. Readers may go through channels in any order between two meetings, so what is wrong
// here shows before the first meeting of channel 0, or after a meeting behind which channel 0 has another one at once.
import { cat, idOf, text, zeros } from './lib/bytes.ts';
import { Channel } from './lib/channel.ts';
import type { PreambleFields, Rec } from './lib/channel.ts';
import { originals, packed, raw } from './lib/content.ts';
import { device, deviceData, disk, origin } from './lib/device.ts';
import { ack, asBytes, dictionary, own } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { client, entry, handle, invalidate, pages, pool, poolOf } from './lib/tmem.ts';
import { vcpuModel, vcpuX86 } from './lib/vcpu.ts';
import { brokenOf, channelSet, finishSet, meet, soundOf } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const page = (pfn: number, seed = `page ${pfn}`): Rec => ram([{ first: pfn, pages: 1 }], [], [raw(text(seed, 4096))]);

const all = (channels: Channel[], step: (channel: Channel) => void): void => channels.forEach(step);

type Build = (channels: Channel[]) => void;

function sound(
  name: string,
  requirements: string,
  section: string,
  title: string,
  count: number,
  build: Build,
): Vector {
  const channels = channelSet(name, count);
  build(channels);
  if (!channels[0].ended) finishSet(channels);
  return soundOf({ name, requirements, section, title }, channels);
}

/** Two channels of which `build` makes one wrong, after it has said up to where the other one is read. */
function wrong(name: string, requirements: string, section: string, title: string, build: Build): Vector {
  const channels = channelSet(name, 2);
  build(channels);
  finishSet(channels);
  return brokenOf({ name, requirements, section, title }, channels);
}

/** Channel 0 is wrong before its first meeting: of channel 1 no more than ABOUT was read. */
const atOnce = (
  name: string,
  requirements: string,
  section: string,
  title: string,
  code: string,
  rec: (channels: Channel[]) => Rec,
  before: Build = () => undefined,
): Vector =>
  wrong(name, requirements, section, title, (channels) => {
    channels[1].hold();
    before(channels);
    channels[0].bad(code, rec(channels));
  });

/** Channel 1 is wrong directly after a BARRIER, where channel 0 has a ROUND. */
const afterMeeting = (
  name: string,
  requirements: string,
  section: string,
  title: string,
  code: string,
  rec: (channel: Channel) => Rec,
): Vector =>
  wrong(name, requirements, section, title, (channels) => {
    all(channels, (channel) => channel.add(page(channel.fields.channel)));
    meet(channels);
    channels[0].hold().round();
    channels[1].bad(code, rec(channels[1]));
  });

/** After a BARRIER the last of `count` channels brings another record than those before it; none is handed on. */
function unequal(
  name: string,
  requirements: string,
  title: string,
  rec: (channel: Channel, last: boolean) => Rec,
  { count = 2, section = '14.2', before = () => undefined }: { count?: number; section?: string; before?: Build } = {},
): Vector {
  const channels = channelSet(name, count);
  before(channels);
  meet(channels);
  for (const [place, channel] of channels.entries()) {
    if (place < count - 1) channel.hold().add(rec(channel, false));
    else channel.bad('CHAIN_VECTOR', rec(channel, true));
  }
  return brokenOf({ name, requirements, section, title }, channels);
}

/** What was given is no set of channels; that is seen when ABOUT of each was read. */
function noSet(name: string, title: string, blamed: number, fields: Partial<PreambleFields>[]): Vector {
  const channels = fields.map((each) => {
    const channel = new Channel(name, { kind: 2, channels: 2, ...each });
    return channel.add(channel.about()).hold();
  });
  channels[blamed].failure = { code: 'CHAIN_VECTOR', offset: 0, sequence: null };
  return brokenOf({ name, requirements: 'S14', section: '14', title }, channels);
}

function positive(): Vector[] {
  const shared = poolOf(1n, { slot: 2, width: 192 });
  const fleeting = poolOf(2n, { slot: 3, persistent: false });
  return [
    sound('channels-two', 'S14 S5', '14.1', 'Two channels with nothing but their meetings.', 2, () => undefined),
    sound('channels-two-memory', 'S14 S8', '14', 'Memory on two channels.', 2, (channels) => {
      all(channels, (channel) => channel.add(page(channel.fields.channel)).add(page(channel.fields.channel + 8)));
    }),
    sound(
      'channels-unequal-lengths',
      'S14 S5',
      '14',
      'Channels with more and fewer records and seals.',
      3,
      (channels) => {
        channels[0].add(page(0)).seal().add(page(2)).seal().seal().add(page(4));
        channels[2].seal();
        meet(channels);
        channels[2].add(page(1)).add(page(3));
      },
    ),
    sound(
      'channels-three-rounds',
      'S14 S8',
      '14.3',
      'Three channels and three rounds; pages come again.',
      3,
      (channels) => {
        for (const round of [0, 1, 2]) {
          all(channels, (channel) => {
            // Each page is on another channel in each round: after a meeting that is allowed.
            const pfn = (channel.fields.channel + round) % 3;
            channel.add(page(pfn, `page ${pfn} of round ${round}`));
          });
          meet(channels);
          all(channels, (channel) => channel.round());
        }
      },
    ),
    sound('channels-sixteen', 'S14', '14', 'Sixteen channels, the most there can be.', 16, (channels) => {
      all(channels, (channel) => channel.add(page(channel.fields.channel)));
    }),
    sound('channels-checkpoints', 'S14 S13', '14.1', 'Two checkpoints; CHECKPOINT is a meeting.', 2, (channels) => {
      for (const stage of ['first', 'second']) {
        channels[0].add(vcpuX86(vcpuModel()));
        channels[1].add(page(7, stage));
        meet(channels);
        all(channels, (channel) => channel.addCheckpoint(1_700_000_000_000_000_000n));
      }
      meet(channels);
      all(channels, (channel) => channel.addEnd());
    }),
    sound('channels-state-on-any', 'S14 S11', '14', 'Devices, disks and processors on any channel.', 2, (channels) => {
      const blob = text('device', 300);
      channels[0]
        .add(device(blob))
        .add(disk())
        .add(origin(0, packed('part', 'zstd')));
      channels[1].add(device(originals.part, { device: 1 })).add(vcpuX86(vcpuModel({ vcpu: 1 })));
      channels[0].add(deviceData(0, 0, raw(blob))).add(vcpuX86(vcpuModel()));
      channels[1].add(deviceData(1, 0, packed('part', 'lz4')));
    }),
    sound('channels-dictionary-each', 'S14 S4', '12.3', 'A binding holds on its own channel.', 2, (channels) => {
      for (const [place, word] of ['left', 'right'].entries()) {
        const name = `com.example.${word}`;
        channels[place].add(dictionary({ record: 0x4000, name, version: 1 }));
        channels[place].add(own(0x4000, name, text(word, 5), asBytes(text(word, 5))));
      }
    }),
    sound('channels-barrier-alone', 'S14', '14.1', 'Barriers with nothing at them.', 2, (channels) => {
      meet(channels);
      meet(channels);
      all(channels, (channel) => channel.add(page(channel.fields.channel)));
      meet(channels);
    }),
    sound(
      'channels-tmem',
      'S14 S9',
      '14.1',
      'Client and pools are one meeting; objects go over channels.',
      2,
      (channels) => {
        meet(channels);
        all(channels, (channel) =>
          channel
            .add(client({ weight: 5 }))
            .add(pool(shared))
            .add(pool(fleeting))
            .round(),
        );
        channels[0].add(pages(shared, [entry([0n, 0n, 2n], 0, raw(text('even', 4096)))]));
        channels[1].add(pages(shared, [entry([0n, 0n, 1n], 0, raw(text('odd', 4096)))]));
        channels[1].add(pages(fleeting, [entry(1n, 0, raw(text('fleeting', 50)))]));
        channels[0].add(invalidate(shared, 1, [handle([0n, 0n, 2n], 9)]));
      },
    ),
    sound('channels-tmem-pool-ends', 'S14 S9', '10.4', 'A pool is invalidated on every channel.', 2, (channels) => {
      meet(channels);
      all(channels, (channel) => channel.add(client()).add(pool(shared)));
      channels[1].add(pages(shared, [entry(3n, 0, raw(text('old', 4096)))]));
      meet(channels);
      const next = poolOf(4n, { slot: 2 });
      all(channels, (channel) => channel.add(invalidate(shared, 3, [])).add(pool(next)));
      channels[0].add(pages(next, [entry(3n, 0, raw(text('new', 4096)))]));
    }),
    anyOrder(),
  ];
}

/** The first file is channel 1. */
function anyOrder(): Vector {
  const name = 'channels-any-order';
  const channels = channelSet(name, 2);
  all(channels, (channel) => channel.add(page(channel.fields.channel)));
  finishSet(channels);
  const title = 'The files are given in another order than that of their numbers.';
  return soundOf({ name, requirements: 'S14', section: '14', title }, channels.toReversed());
}

function barriers(): Vector[] {
  const chains = (channels: Channel[]): Buffer[] => channels.map((channel) => channel.chain);
  const never = zeros(32);
  const sealed: Build = ([first]) => {
    first.seal();
  };
  const vector = (
    name: string,
    code: string,
    title: string,
    patch: (channels: Channel[]) => Parameters<Channel['barrierRec']>[0],
  ): Vector =>
    atOnce(name, 'S14 S5', '6.2', title, code, (channels) => channels[0].barrierRec(patch(channels)), sealed);
  return [
    vector(
      'channels-barrier-own-chain',
      'CHAIN_VECTOR',
      'A BARRIER whose chain of its own channel is another one.',
      (channels) => ({ chains: [never, channels[1].chain] }),
    ),
    vector(
      'channels-barrier-chains-swapped',
      'CHAIN_VECTOR',
      'A BARRIER with the chains of the channels in the wrong order.',
      (channels) => ({ chains: chains(channels).toReversed() }),
    ),
    vector(
      'channels-barrier-one-chain',
      'LENGTH_MISMATCH',
      'A BARRIER of two channels with one chain.',
      (channels) => ({
        chains: chains(channels).slice(0, 1),
      }),
    ),
    vector('channels-barrier-three-channels', 'FIELD_VALUE', 'A BARRIER that says three channels.', (channels) => ({
      channels: 3,
      chains: [...chains(channels), never],
    })),
    vector('channels-barrier-number-2', 'RECORD_ORDER', 'The first BARRIER has number 2.', () => ({ number: 2 })),
    atOnce('channels-barrier-no-seal', 'S14', '4', 'A BARRIER without its SEAL.', 'RECORD_ORDER', ([first]) =>
      first.barrierRec(),
    ),
    afterMeeting(
      'channels-barrier-after-barrier',
      'S14',
      '4',
      'A BARRIER directly after a BARRIER, without a SEAL of its own.',
      'RECORD_ORDER',
      (channel) => channel.barrierRec(),
    ),
  ];
}

function meetings(): Vector[] {
  const sealed: Build = ([first]) => {
    first.seal();
  };
  return [
    atOnce('channels-round-no-barrier', 'S14', '14.1', 'A ROUND without BARRIER.', 'RECORD_ORDER', ([first]) =>
      first.roundRec(),
    ),
    atOnce(
      'channels-round-seal-only',
      'S14',
      '14.1',
      'A ROUND with a SEAL and without BARRIER.',
      'RECORD_ORDER',
      ([first]) => first.roundRec(),
      sealed,
    ),
    atOnce(
      'channels-checkpoint-no-barrier',
      'S14 S13',
      '14.1',
      'A CHECKPOINT with its SEAL and without BARRIER.',
      'RECORD_ORDER',
      ([first]) => first.checkpointRec(),
      sealed,
    ),
    atOnce('channels-client-no-barrier', 'S14 S9', '14.1', 'TMEM_CLIENT without BARRIER.', 'RECORD_ORDER', () =>
      client(),
    ),
    afterMeeting(
      'channels-round-number',
      'S14',
      '4',
      'A ROUND of another number on channel 1.',
      'RECORD_ORDER',
      (channel) => channel.roundRec(1),
    ),
    afterMeeting(
      'channels-pool-before-client',
      'S14 S9',
      '4',
      'A pool without client, at a meeting.',
      'RECORD_ORDER',
      () => pool(poolOf(1n)),
    ),
    wrong('channels-page-parts-a-meeting', 'S14', '14.1', 'A page stands between BARRIER and ROUND.', (channels) => {
      meet(channels);
      channels[0].hold().round();
      channels[1].add(page(1)).bad('RECORD_ORDER', channels[1].roundRec());
    }),
    wrong('channels-pool-ends-alone', 'S14 S9', '14.1', 'A pool is invalidated without BARRIER.', (channels) => {
      meet(channels);
      all(channels, (channel) => channel.add(client()).add(pool(poolOf(1n))));
      channels[0].hold().round();
      channels[1].add(page(1)).bad('RECORD_ORDER', invalidate(poolOf(1n), 3, []));
    }),
  ];
}

/** Records of a meeting that would be right on a channel alone, and are not the same on all. */
function differences(): Vector[] {
  const withClient: Build = (channels) => {
    meet(channels);
    all(channels, (channel) => channel.add(client()));
  };
  const withPools: Build = (channels) => {
    withClient(channels);
    all(channels, (channel) => channel.add(pool(poolOf(1n))).add(pool(poolOf(2n, { slot: 1 }))));
  };
  const title = (what: string): string => `Channels meet, and ${what}.`;
  return [
    unequal('channels-differ-in-type', 'S14', title('bring a ROUND and a CHECKPOINT'), (channel, last) =>
      last ? channel.checkpointRec() : channel.roundRec(),
    ),
    unequal(
      'channels-differ-in-time',
      'S14 S13',
      title("their CHECKPOINTs differ in the guest's time"),
      (channel, last) => channel.checkpointRec(last ? 2n : 1n),
    ),
    unequal('channels-differ-in-client', 'S14 S9', title('their tmem clients have other weights'), (_, last) =>
      client({ weight: last ? 2 : 1 }),
    ),
    unequal(
      'channels-differ-in-pool',
      'S14 S9',
      title('their pools have other slots'),
      (_, last) => pool(poolOf(1n, { slot: last ? 2 : 1 })),
      { before: withClient },
    ),
    unequal(
      'channels-differ-in-pool-kind',
      'S14 S9',
      title('one brings a persistent, one an ephemeral pool'),
      (_, last) => pool(poolOf(1n, { persistent: !last })),
      { before: withClient },
    ),
    unequal(
      'channels-differ-in-pool-ended',
      'S14 S9',
      title('end different pools'),
      (_, last) => invalidate(last ? poolOf(2n, { slot: 1 }) : poolOf(1n), 3, []),
      { before: withPools },
    ),
    unequal(
      'channels-differ-on-third',
      'S14',
      title('the third of three brings something else'),
      (channel, last) => (last ? channel.checkpointRec() : channel.roundRec()),
      { count: 3 },
    ),
    unequal(
      'channels-differ-in-end',
      'S14 S5',
      title('END of channel 1 has another chain of channel 0'),
      (channel, last) => channel.endRec(last ? { chains: [zeros(32), channel.chain] } : {}),
      {
        before: (channels) => {
          meet(channels);
          all(channels, (channel) => channel.addCheckpoint());
        },
      },
    ),
    differingBarrier(),
  ];
}

/** Each BARRIER has its own channel's chain, and that of channel 1 another one of channel 0. */
function differingBarrier(): Vector {
  const name = 'channels-differ-in-barrier';
  const channels = channelSet(name, 2);
  all(channels, (channel) => channel.seal());
  channels[0].hold().addBarrier();
  channels[1].bad('CHAIN_VECTOR', channels[1].barrierRec({ chains: [zeros(32), channels[1].chain] }));
  const title = 'The vectors of a BARRIER differ, and each has the chain of its own channel.';
  return brokenOf({ name, requirements: 'S14 S5', section: '14.2', title }, channels);
}

function single(): Vector[] {
  const blob = text('device', 300);
  return [
    atOnce(
      'channels-data-on-another',
      'S14 S11',
      '3.5',
      'DEVICE_DATA on another channel than its DEVICE.',
      'RECORD_ORDER',
      () => deviceData(0, 0, raw(blob)),
      (channels) => channels[1].add(device(blob)).add(deviceData(0, 0, raw(blob))),
    ),
    atOnce(
      'channels-dictionary-on-another',
      'S14 S4',
      '12.3',
      'A record whose DICTIONARY stands on another channel.',
      'RECORD_ORDER',
      () => own(0x4000, 'unknown', zeros(8), {}),
      (channels) => channels[1].add(dictionary({ record: 0x4000, name: 'com.example.other', version: 1 })),
    ),
    atOnce(
      'channels-ack-forward',
      'S14',
      '4',
      'An ACK in a forward stream of two channels.',
      'RECORD_ORDER',
      ([, other]) => ack(1, 1, other.chain),
    ),
    afterMeeting('channels-origin-on-1', 'S14 S11', '14.4', 'ORIGIN on channel 1.', 'RECORD_ORDER', () =>
      origin(0, raw(text('origin', 9))),
    ),
    wrong('channels-record-of-other', 'S14 S6', '3.1', 'A record of channel 1 comes over channel 0.', (channels) => {
      channels[1].hold();
      channels[0].bad('RECORD_FOREIGN', page(1), { tag: channels[1].tag });
    }),
    ...cuts(),
    noSet('channels-of-two-streams', 'Two channels of different streams.', 1, [
      { channel: 0, streamId: idOf('one stream') },
      { channel: 1, streamId: idOf('another stream') },
    ]),
    noSet('channels-of-other-machines', 'Two channels that differ in the machine they speak of.', 1, [
      { channel: 0 },
      { channel: 1, machine: 3 },
    ]),
    noSet('channels-of-other-features', 'Two channels that differ in features that may be ignored.', 1, [
      { channel: 0 },
      { channel: 1, mayIgnore: 1n << 40n },
    ]),
    noSet('channels-of-both-directions', 'One channel goes forward and the other back.', 1, [
      { channel: 0 },
      { channel: 1, direction: 1 },
    ]),
    noSet('channels-same-twice', 'Channel 0 is given twice.', 1, [{ channel: 0 }, { channel: 0 }]),
    noSet('channels-one-missing', 'Two channels of a stream of three.', 0, [
      { channel: 0, channels: 3 },
      { channel: 1, channels: 3 },
    ]),
    trailing(),
  ];
}

/** Channel `which` ends early: the rest of it is made and then cut off. */
function cuts(): Vector[] {
  const cut = (name: string, title: string, which: 0 | 1, keep: number, build: Build): Vector => {
    const channels = channelSet(name, 2);
    build(channels);
    finishSet(channels);
    const channel = channels[which];
    const at = channel.failure!.offset + keep;
    channel.failure = { ...channel.failure!, offset: at };
    const vector = brokenOf({ name, requirements: 'S14 S6', section: '18', title }, channels);
    vector.files[which] = vector.files[which].subarray(0, at);
    return vector;
  };
  const inFirst: Build = ([first, second]) => {
    second.hold();
    first.add(page(0)).bad('TRUNCATED', page(1));
  };
  const afterBarrier: Build = (channels) => {
    meet(channels);
    channels[0].hold().round();
    channels[1].fail('TRUNCATED', channels[1].position).round();
  };
  return [
    cut('channels-cut-between-records', 'Channel 0 ends between two records.', 0, 0, inFirst),
    cut('channels-cut-in-header', 'Channel 0 ends inside a header.', 0, 11, inFirst),
    cut('channels-cut-in-body', 'Channel 0 ends inside a body.', 0, 2000, inFirst),
    cut('channels-cut-after-barrier', 'Channel 1 ends after a BARRIER.', 1, 0, afterBarrier),
    cut('channels-cut-at-round', 'Channel 1 ends inside the ROUND of a meeting.', 1, 30, afterBarrier),
  ];
}

/** Bytes after END of the channel that ends last. */
function trailing(): Vector {
  const name = 'channels-trailing-data';
  const channels = channelSet(name, 2);
  finishSet(channels);
  channels[1].fail('TRAILING_DATA', null).append(text('more', 8));
  const title = 'Something is appended to channel 1.';
  return brokenOf({ name, requirements: 'S14 S6', section: '18', title }, channels);
}

/** The back direction of two channels: ACKs of each. */
function back(): Vector[] {
  const chain = (seed: string): Buffer => cat(idOf(seed), idOf(`${seed}, second half`));
  const wrongBack = (name: string, title: string, code: string, ...recs: Rec[]): Vector => {
    const channels = channelSet(name, 2, { direction: 1 });
    channels[1].hold();
    for (const rec of recs.slice(0, -1)) channels[0].add(rec);
    channels[0].bad(code, recs.at(-1)!);
    all(channels, (channel) => channel.seal());
    all(channels, (channel) => channel.addEnd());
    return brokenOf({ name, requirements: 'S14 S5', section: '6.6', title }, channels);
  };
  const name = 'channels-back';
  const whole = channelSet(name, 2, { direction: 1 });
  all(whole, (channel) => channel.add(ack(channel.fields.channel, 1, chain(`${channel.fields.channel}/1`))));
  whole[0].add(ack(0, 2, chain('0/2')));
  all(whole, (channel) => channel.seal());
  all(whole, (channel) => channel.addEnd());
  const title = 'ACKs of two channels; END comes without a BARRIER.';
  return [
    soundOf({ name, requirements: 'S14 S5', section: '14.1', title }, whole),
    wrongBack(
      'channels-back-not-ascending',
      'ACKs of one channel do not ascend; those of another stand between.',
      'RECORD_ORDER',
      ack(1, 3, chain('1/3')),
      ack(0, 1, chain('0/1')),
      ack(1, 2, chain('1/2')),
    ),
    wrongBack(
      'channels-back-number-0',
      'An ACK of seal 0, which no channel has.',
      'RECORD_ORDER',
      ack(0, 0, chain('0')),
    ),
    wrongBack(
      'channels-back-channel-2',
      'An ACK of channel 2 of two, after one of each channel.',
      'FIELD_VALUE',
      ack(0, 1, chain('0/1')),
      ack(1, 1, chain('1/1')),
      ack(2, 1, chain('2/1')),
    ),
    wrongBack('channels-back-page', 'A page in the back direction.', 'RECORD_ORDER', page(0)),
  ];
}

export const channelVectors = (): Vector[] => [
  ...positive(),
  ...barriers(),
  ...meetings(),
  ...differences(),
  ...single(),
  ...back(),
];
