// Section 15: each limit from both sides, where no other family has it. A count at its limit for which the bytes are
// not there shows in a few bytes that the limit itself is allowed: it is LENGTH_MISMATCH and not LIMIT_EXCEEDED.
import { cat, text, u32, u64, zeros } from './lib/bytes.ts';
import type { Json, JsonObject } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { raw } from './lib/content.ts';
import { device, deviceData } from './lib/device.ts';
import { dictionary } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { client, entry, handle, invalidate, pages, pool, poolOf } from './lib/tmem.ts';
import { cpuid, msr } from './lib/vcpu.ts';
import { bad, channelSet, finishSet, good, soundOf } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const numbered = (place: number): JsonObject & { record: number; name: string; version: number } => ({
  record: 0x4000 + place,
  name: `com.example.r${place}`,
  version: 1,
});

/** A value that, as the member of an object, makes that object nested so many deep. */
function nested(depth: number): Json {
  let value: Json = 'deep';
  for (let level = 1; level < depth; level++) value = level % 2 === 0 ? { a: value } : [value];
  return value;
}

function dictionaries(): Vector[] {
  const withKey = (depth: number): Rec => {
    const rec = dictionary(numbered(0));
    const more = `,"more":${JSON.stringify(nested(depth))}}`;
    return { ...rec, body: cat(rec.body.subarray(0, -1), Buffer.from(more)) };
  };
  const empty = dictionary({ ...numbered(0), text: '' }).body.length;
  const sized = (size: number): Rec => dictionary({ ...numbered(0), text: 'x'.repeat(size - empty) });
  return [
    good('limit-dictionary-64-kib', 'S4', '12', 'A DICTIONARY of 64 KiB, the largest.', {}, (channel) => {
      channel.add(sized(65536));
    }),
    good('limit-dictionary-depth-8', 'S4', '12', 'A DICTIONARY nested 8 deep, the most.', {}, (channel) => {
      channel.add(withKey(8));
    }),
  ];
}

/** Counts at their limit whose entries are not there. */
function counts(): Vector[] {
  const at = (
    name: string,
    requirements: string,
    section: string,
    what: string,
    rec: Rec,
    before: Rec[] = [],
  ): Vector =>
    bad(`limit-${name}`, requirements, section, `${what}, which is allowed; but they are not there.`, {}, (channel) => {
      for (const item of before) channel.add(item);
      channel.bad('LENGTH_MISMATCH', rec);
    });
  const one = raw(text('one', 4096));
  const single = (patch: Parameters<typeof ram>[3]): Rec => ram([{ first: 5, pages: 1 }], [], [one], patch);
  const kept = poolOf(1n);
  const leaf = { leaf: 0, subleaf: 0xffffffff, eax: 1, ebx: 2, ecx: 3, edx: 4 };
  const index = bare('INDEX', cat(u32(4096), u32(0), zeros(48)));
  return [
    at('ram-extents-16384', 'S8', '7', 'A count of 16,384 extents', single({ extents: 16384 })),
    at('ram-units-65536', 'S8', '7', 'A count of 65,536 units', single({ units: 65536 })),
    at('ram-pages-65536', 'S8', '7', 'A count of 65,536 pages', single({ pages: 65536 })),
    at('cpuid-leaves-4096', 'S10', '8.3', 'A count of 4,096 leaves', cpuid([leaf], 4096)),
    at('msrs-4096', 'S10', '8.4', 'A count of 4,096 MSRs', msr([{ index: 0x1b, value: 1n }], 4096)),
    at(
      'tmem-pages-16384',
      'S9',
      '10.3',
      'A count of 16,384 pages',
      pages(kept, [entry(7n, 1, one)], { count: 16384 }),
      [client(), pool(kept)],
    ),
    at(
      'tmem-invalidates-65536',
      'S9',
      '10.4',
      'A count of 65,536 pages',
      invalidate(kept, 1, [handle(7n, 1)], { count: 65536 }),
      [client(), pool(kept)],
    ),
    bad(
      'limit-index-entries-4096',
      'S7',
      '13.1',
      'A count of 4,096 entries, which is allowed; but they are not there.',
      { mayIgnore: 1n },
      (channel) => {
        channel.bad('LENGTH_MISMATCH', index);
      },
    ),
  ];
}

function devices(): Vector[] {
  const blob = Buffer.from('b');
  return [
    good('limit-devices-256', 'S11', '15', 'All 256 devices, the most there can be.', {}, (channel) => {
      for (let number = 0; number < 256; number++) {
        channel.add(device(blob, { device: number, name: `d${number}` })).add(deviceData(number, 0, raw(blob)));
      }
    }),
    bad(
      'limit-blob-1-gib',
      'S11',
      '9.1',
      'A DEVICE of 1 GiB, the largest; but CHECKPOINT comes before its data.',
      {},
      (channel) => {
        channel.add(device(blob, { bytes: 2 ** 30 })).seal();
        channel.bad('RECORD_ORDER', channel.checkpointRec());
      },
    ),
    bad('limit-blob-2-64', 'S11', '9.1', 'A DEVICE of 2^64 - 1 bytes.', {}, (channel) => {
      const rec = device(blob);
      const body = cat(rec.body.subarray(0, 8), u64(2n ** 64n - 1n), rec.body.subarray(16));
      channel.bad('LIMIT_EXCEEDED', { ...rec, body });
    }),
  ];
}

function channels(): Vector[] {
  const meta = {
    name: 'limit-channels-16',
    requirements: 'S14',
    section: '15',
    title: 'A stream of 16 channels, the most, each with a page.',
  };
  const set = channelSet(meta.name, 16);
  set.forEach((channel, place) => {
    channel.add(ram([{ first: place, pages: 1 }], [], [raw(text(`channel ${place}`, 4096))]));
  });
  finishSet(set);
  return [soundOf(meta, set)];
}

function longAbout(): Vector[] {
  const empty = JSON.stringify({ name: '' }).length;
  const json = (size: number): string => JSON.stringify({ name: 'n'.repeat(size - empty) });
  return [
    good(
      'limit-about-64-kib',
      'S2',
      '6.1',
      'ABOUT of 64 KiB, which is more than one read of most systems.',
      { about: json(65536) },
      () => {
        // Only ABOUT is special.
      },
    ),
  ];
}

export const limitVectors = (): Vector[] => [
  ...dictionaries(),
  ...counts(),
  ...devices(),
  ...channels(),
  ...longAbout(),
];
