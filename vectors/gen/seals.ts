// Sections 5 and 6: seals and their chain, barriers, rounds, checkpoints, END, and acknowledgements.
import { noise, sha256, text, utf8, zeros } from './lib/bytes.ts';
import type { Channel, EndPatch } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { packed, raw } from './lib/content.ts';
import { device, deviceData } from './lib/device.ts';
import { ack, asBytes, dictionary, own, unknown } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { client, entry, handle, invalidate, pages, pool, poolOf } from './lib/tmem.ts';
import { vcpuModel, vcpuX86 } from './lib/vcpu.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const page = (pfn: number, word = 'page'): Rec => ram([{ first: pfn, pages: 1 }], [], [raw(text(word, 4096))]);
const blob = text('device', 300);
const back = { direction: 1, kind: 2 } as const;

function seals(): Vector[] {
  return [
    good('seal-several', 'S5', '5', 'Seals with one, several and no records between them.', {}, (channel) => {
      channel.seal();
      channel.add(page(0)).add(page(1));
      channel.seal();
      channel.add(page(2));
      channel.seal();
      channel.seal();
    }),
    good(
      'seal-covers-optional',
      'S5',
      '5.2',
      'Records that a reader skips are in the chain as well.',
      {},
      (channel) => {
        channel.add(unknown(0x70, noise('skipped', 77)));
        channel.seal();
        channel.add(unknown(0x71, zeros(0)));
      },
    ),
    bad('seal-number-0', 'S5', '5.3', 'The first SEAL has number 0.', {}, (channel) => {
      channel.badSeal({ number: 0 });
    }),
    bad('seal-number-skips', 'S5', '5.3', 'The second SEAL has number 3.', {}, (channel) => {
      channel.seal();
      channel.add(page(0));
      channel.badSeal({ number: 3 });
    }),
    bad(
      'seal-offset-wrong',
      'S5',
      '5.3',
      'A SEAL names the offset of its body and not of its header.',
      {},
      (channel) => {
        channel.badSeal({ offset: channel.offset + 24 });
      },
    ),
    bad('seal-chain-wrong', 'S5 S6', '5.3', 'A SEAL has another chain.', {}, (channel) => {
      channel.add(page(0));
      channel.badSeal({ chainFlip: 1 });
    }),
    bad('seal-second-chain-wrong', 'S5 S6', '5.3', 'The second SEAL has another chain.', {}, (channel) => {
      channel.seal();
      channel.add(page(0));
      channel.badSeal({ chainFlip: 0x80 });
    }),
    bad(
      'seal-chain-without-old-seal',
      'S5',
      '5.2',
      'A chain that leaves out the header of the SEAL before.',
      {},
      (channel) => {
        channel.seal();
        const chain = channel.chain;
        channel.add(page(0));
        const rec = channel.sealRec();
        const headers = channel.parts.slice(2).map((part) => part.header);
        const wrong = sha256(chain, ...headers);
        channel.bad('SEAL_MISMATCH', { ...rec, body: Buffer.concat([rec.body.subarray(0, 16), wrong]) });
      },
    ),
  ];
}

function barriersAndRounds(): Vector[] {
  return [
    good(
      'barrier-one-channel',
      'S14',
      '6.2',
      'With one channel BARRIERs are allowed, and needed nowhere.',
      {},
      (channel) => {
        channel.barrier();
        channel.add(page(0));
        channel.barrier();
        channel.addCheckpoint();
        channel.barrier();
        channel.addEnd();
      },
    ),
    good('round-several', 'S14 S8', '6.3', 'Three rounds; pages that come again win.', { kind: 2 }, (channel) => {
      channel.add(ram([{ first: 0, pages: 4 }], [], [packed('four', 'zstd')]));
      channel.round();
      channel.add(page(1, 'second round'));
      channel.add(page(3, 'second round'));
      channel.round();
      channel.add(page(1, 'third round'));
      channel.round();
    }),
    good(
      'control-reserved-not-zero',
      'S3',
      '1.3',
      'Reserved fields of BARRIER, ROUND and END are ignored.',
      {},
      (channel) => {
        channel.seal();
        channel.add(channel.barrierRec({ reserved: 0xffffffff }));
        channel.add(channel.roundRec(0, 0xffffffff));
        channel.checkpoint().seal();
        channel.addEnd(channel.endRec({ reserved: 0xffffffff }));
      },
    ),
    bad(
      'barrier-vector-wrong',
      'S5 S14',
      '6.2',
      'A BARRIER whose vector is not the chain of its channel.',
      {},
      (channel) => {
        channel.seal();
        channel.bad('CHAIN_VECTOR', channel.barrierRec({ chains: [zeros(32)] }));
      },
    ),
    bad(
      'barrier-vector-old',
      'S5 S14',
      '6.2',
      'A BARRIER with the chain as of the SEAL before the last.',
      {},
      (channel) => {
        channel.seal();
        const old = channel.chain;
        channel.add(page(0));
        channel.seal();
        channel.bad('CHAIN_VECTOR', channel.barrierRec({ chains: [old] }));
      },
    ),
    bad('barrier-channels-wrong', 'S14', '6.2', 'A BARRIER for two channels in a stream of one.', {}, (channel) => {
      channel.seal();
      channel.bad('FIELD_VALUE', channel.barrierRec({ channels: 2, chains: [channel.chain, channel.chain] }));
    }),
    bad('barrier-vector-too-short', 'S14', '6.2', 'A BARRIER without its vector.', {}, (channel) => {
      channel.seal();
      channel.bad('LENGTH_MISMATCH', channel.barrierRec({ chains: [] }));
    }),
    bad('round-number-skips', 'S14', '4', 'ROUND 2 follows ROUND 0.', { kind: 2 }, (channel) => {
      channel.round();
      channel.bad('RECORD_ORDER', channel.roundRec(2));
    }),
  ];
}

function checkpoints(): Vector[] {
  const state = (channel: Channel, word: string): void => {
    channel.add(vcpuX86(vcpuModel({ flags: word === 'one' ? 1 : 3 })));
    const image = text(word, 200);
    channel.add(device(image));
    channel.add(deviceData(0, 0, raw(image)));
  };
  return [
    good(
      'checkpoint-guest-time',
      'S13',
      '6.4',
      'CHECKPOINT with a wall-clock time that needs 64 bits.',
      {},
      (channel) => {
        channel.checkpoint(1_243_857_600_123_456_789n);
        channel.end();
      },
    ),
    good(
      'checkpoint-several',
      'S13',
      '6.4',
      'Three checkpoints; device and processor state come again after each.',
      {},
      (channel) => {
        channel.add(page(0, 'first'));
        state(channel, 'one');
        channel.checkpoint(1n);
        channel.add(page(0, 'second')).add(page(7, 'new'));
        state(channel, 'two');
        channel.checkpoint(2n);
        channel.add(ram([{ first: 0, pages: 1, class: 0x83 }], [], []));
        channel.checkpoint(2n ** 64n - 1n);
        channel.end();
      },
    ),
    bad(
      'checkpoint-then-cut',
      'S13 S6',
      '6.4',
      'A whole CHECKPOINT, and then the stream ends.',
      { bare: true },
      (channel) => {
        channel.add(channel.about());
        channel.add(page(0));
        channel.checkpoint();
        channel.fail('TRUNCATED', channel.position);
      },
    ),
    bad(
      'checkpoint-then-cut-in-ram',
      'S13 S6',
      '6.4',
      'Two whole CHECKPOINTs, and then a RAM record that is cut.',
      { bare: true },
      (channel) => {
        channel.add(channel.about());
        channel.add(page(0)).checkpoint();
        channel.add(page(0, 'again')).checkpoint();
        channel.add(page(1), { headerOnly: true, length: 4200 });
        channel.fail('TRUNCATED', channel.position - 1);
        channel.releasedParts = channel.position - 1;
      },
    ),
  ];
}

function everyCount(channel: Channel): void {
  channel.add(
    ram(
      [
        { first: 0, pages: 3 },
        { first: 9, pages: 2, class: 0x80 },
      ],
      [1],
      [packed('two', 'lz4')],
    ),
  );
  const image = text('counted', 300);
  channel.add(device(image)).add(deviceData(0, 0, raw(image)));
  const kept = poolOf(1n);
  const lost = poolOf(2n, { slot: 1, persistent: false });
  const gone = poolOf(3n, { slot: 2 });
  channel.add(client()).add(pool(kept)).add(pool(lost)).add(pool(gone));
  channel.add(
    pages(
      kept,
      [1, 2, 3].map((index) => entry(7n, index, raw(noise('kept', 64)))),
    ),
  );
  channel.add(pages(lost, [entry(7n, 1, raw(noise('lost', 64)))]));
  channel.add(invalidate(kept, 1, [handle(7n, 1), handle(7n, 2)]));
  channel.add(invalidate(lost, 1, [handle(7n, 1)]));
  channel.add(invalidate(gone, 3, []));
}

function ends(): Vector[] {
  const wrong = (name: string, title: string, patch: (channel: Channel) => EndPatch, code = 'END_COUNTS'): Vector =>
    bad(`end-${name}`, 'S5', '6.5', title, {}, (channel) => {
      everyCount(channel);
      channel.checkpoint().seal();
      channel.bad(code, channel.endRec(patch(channel)));
      channel.ended = true;
    });
  return [
    good('end-every-count', 'S5', '6.5', 'A stream in which each of the counts of END is not 0.', {}, everyCount),
    wrong('records-wrong', 'END counts itself among the records.', (channel) => ({ records: channel.position + 1 })),
    wrong('ram-pages-wrong', 'END says one page more.', () => ({ ramPages: 4 })),
    wrong('zero-pages-wrong', 'END says one zero page less.', () => ({ ramZeroPages: 0 })),
    wrong('absent-pages-wrong', 'END says one page without data more.', () => ({ ramAbsentPages: 3 })),
    wrong('tmem-pages-wrong', 'END counts the entries of ephemeral pools.', () => ({ tmemPages: 4 })),
    wrong('tmem-invalidations-wrong', 'END does not count an invalidate of a whole pool.', () => ({
      tmemInvalidations: 2,
    })),
    wrong('device-bytes-wrong', 'END says one byte of devices more.', () => ({ deviceBytes: 301 })),
    wrong('chain-wrong', 'END has another chain.', () => ({ chains: [zeros(32)] }), 'CHAIN_VECTOR'),
    wrong(
      'channels-wrong',
      'END of a stream of two channels, in one of one.',
      (channel) => ({
        channels: 2,
        chains: [channel.chain, channel.chain],
      }),
      'FIELD_VALUE',
    ),
    wrong(
      'vector-too-long',
      'END with a chain more than it has channels.',
      (channel) => ({
        chains: [channel.chain, channel.chain],
      }),
      'LENGTH_MISMATCH',
    ),
  ];
}

function acks(): Vector[] {
  const chain = (word: string): Buffer => sha256(utf8(word));
  return [
    good('back-acks', 'S5 S14', '6.6', 'The back direction with ABOUT, three ACKs and END.', back, (channel) => {
      channel.add(ack(0, 1, chain('1')));
      channel.add(ack(0, 2, chain('2')));
      channel.seal();
      channel.add(ack(0, 6, chain('6')));
    }),
    good('back-empty', 'S5', '4', 'The back direction with nothing but ABOUT and END.', back, () => {}),
    good(
      'back-own-records',
      'S4',
      '4',
      'The back direction with a stream-local and an unknown optional record.',
      back,
      (channel) => {
        channel.add(dictionary({ record: 0x4001, name: 'com.example.answer', version: 2 }));
        channel.add(own(0x4001, 'com.example.answer', text('answer', 12), asBytes(text('answer', 12))));
        channel.add(unknown(0x72, text('other', 4)));
        channel.add(ack(0, 1, chain('1'), 0xffffffff));
      },
    ),
    bad('back-ack-number-again', 'S5', '6.6', 'The number of an ACK does not ascend.', back, (channel) => {
      channel.add(ack(0, 2, chain('2')));
      channel.bad('RECORD_ORDER', ack(0, 2, chain('2')));
    }),
    bad('back-ack-channel', 'S14', '6.6', 'ACK for channel 1 of a stream of one channel.', back, (channel) => {
      channel.bad('FIELD_VALUE', ack(1, 1, chain('1')));
    }),
    bad('back-ack-too-short', 'S5', '6.6', 'ACK without its chain.', back, (channel) => {
      channel.bad('LENGTH_MISMATCH', ack(0, 1, zeros(0)));
    }),
    bad('back-device-back', 'S3', '4', 'DEVICE in direction back.', back, (channel) => {
      channel.bad('RECORD_ORDER', device(blob));
    }),
    bad(
      'back-end-counts',
      'S5',
      '6.5',
      'END of the back direction counts pages that it cannot have.',
      back,
      (channel) => {
        channel.seal();
        channel.bad('END_COUNTS', channel.endRec({ ramPages: 1 }));
        channel.ended = true;
      },
    ),
    bad('back-end-without-seal', 'S5', '4', 'END of the back direction without its SEAL.', back, (channel) => {
      channel.add(ack(0, 1, chain('1')));
      channel.bad('RECORD_ORDER', channel.endRec());
      channel.ended = true;
    }),
  ];
}

export const sealVectors = (): Vector[] => [...seals(), ...barriersAndRounds(), ...checkpoints(), ...ends(), ...acks()];
