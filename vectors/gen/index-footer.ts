// Section 13: the index, its root and the footer.
import { noise, text, u32, zeros } from './lib/bytes.ts';
import { bare, Channel } from './lib/channel.ts';
import type { FooterPatch, IndexEntry, Rec, RootPatch } from './lib/channel.ts';
import { packed, raw } from './lib/content.ts';
import { device, deviceData, disk, origin } from './lib/device.ts';
import { asBytes, dictionary, own, unknown } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { client, entry, handle, invalidate, pages, pool, poolOf } from './lib/tmem.ts';
import { vcpuModel, vcpuX86 } from './lib/vcpu.ts';
import { bad, good } from './lib/vector.ts';
import type { Options, Vector } from './lib/vector.ts';

const indexed: Options = { mayIgnore: 1n };
const page = (pfn: number, word = 'page'): Rec => ram([{ first: pfn, pages: 1 }], [], [raw(text(word, 4096))]);

const sound = (name: string, section: string, title: string, build: (channel: Channel) => void): Vector =>
  good(name, 'S7', section, title, indexed, build);

const lies = (name: string, section: string, title: string, build: (channel: Channel) => void): Vector =>
  good(name, 'S7', section, title, { ...indexed, warnings: ['INDEX_MISMATCH'] }, build);

const wrong = (name: string, section: string, title: string, build: (channel: Channel) => void): Vector =>
  bad(name, 'S7', section, title, indexed, build);

/** Takes INDEX_ROOT and the footer off again, so that others can be written. */
function endOnly(channel: Channel): Channel {
  channel.finish();
  channel.tail.pop();
  const root = channel.parts.pop()!;
  channel.offset = root.offset;
  return channel;
}

function tmem(channel: Channel): void {
  const kept = poolOf(1n);
  const lost = poolOf(2n, { slot: 1, persistent: false });
  channel.add(client()).add(pool(kept)).add(pool(lost));
  channel.add(
    pages(kept, [
      entry(9n, 4, raw(noise('a', 64))),
      entry(3n, 8, raw(noise('b', 64))),
      entry(7n, 1, raw(noise('c', 64))),
    ]),
  );
  channel.add(pages(lost, [entry(2n ** 64n - 1n, 0xffffffff, raw(noise('d', 64)))]));
  channel.add(invalidate(kept, 1, [handle(9n, 4), handle(3n, 70)]));
  channel.add(invalidate(kept, 2, [handle(5n, 0), handle(3n, 0)]));
  channel.add(invalidate(lost, 3, []));
}

function positives(): Vector[] {
  return [
    sound(
      'index-one-segment',
      '13.1',
      'One INDEX with everything in it, directly before the SEAL of END.',
      (channel) => {
        channel.add(page(3)).add(
          ram(
            [
              { first: 7, pages: 2 },
              { first: 90, pages: 4 },
            ],
            [4, 5],
            [packed('four', 'zstd')],
          ),
        );
      },
    ),
    sound('index-two-segments', '13.1', 'Two INDEX records; the second has pages that come again.', (channel) => {
      channel.add(ram([{ first: 0, pages: 4 }], [], [packed('four', 'lz4')])).add(page(100));
      channel.index();
      channel.add(page(2, 'again')).add(page(100, 'again')).add(page(50));
    }),
    sound('index-removals', '13.5', 'A page is given back in the second segment, and one comes again.', (channel) => {
      channel.add(ram([{ first: 0, pages: 4 }], [], [packed('four', 'zstd')]));
      channel.index();
      channel.add(ram([{ first: 1, pages: 2, class: 0x83 }], [], []));
      channel.index();
      channel.add(ram([{ first: 2, pages: 1 }], [0], []));
    }),
    sound('index-last-left-out', '13.1', 'Nothing to list follows the last INDEX, so there is no other.', (channel) => {
      channel.add(page(1)).checkpoint().index();
      channel.seal();
    }),
    sound(
      'index-every-record',
      '13.1',
      'Records of every kind are listed, but ABOUT, SEAL, BARRIER, END and INDEX.',
      (channel) => {
        const blob = text('device', 30);
        channel
          .add(disk())
          .add(vcpuX86(vcpuModel()))
          .add(device(blob))
          .add(deviceData(0, 0, raw(blob)));
        channel
          .round()
          .barrier()
          .add(origin(0, raw(text('origin', 20))));
        channel.add(dictionary({ record: 0x4000, name: 'com.example.state', version: 1 }));
        channel.add(own(0x4000, 'com.example.state', text('own', 5), asBytes(text('own', 5))));
        channel.add(unknown(0x70, zeros(3)));
        channel.index();
        channel.add(page(0));
      },
    ),
    good('index-tmem', 'S7 S9', '13.1', 'tmem records and their ranges: pages, objects, a whole pool.', indexed, tmem),
    sound('index-highest-page', '13.1', 'Ranges that reach the largest page number.', (channel) => {
      channel.add(
        ram(
          [
            { first: 0, pages: 1 },
            { first: 2 ** 52 - 2, pages: 2, class: 0x81 },
          ],
          [0],
          [],
        ),
      );
    }),
    sound('index-after-each-checkpoint', '13.1', 'INDEX before and after each CHECKPOINT.', (channel) => {
      channel.add(page(0)).index().checkpoint().index();
      channel.add(page(0, 'again')).index().checkpoint();
    }),
    sound(
      'index-reserved-not-zero',
      '1.3',
      'Reserved fields of INDEX, INDEX_ROOT and the footer are ignored.',
      (channel) => {
        channel.add(page(0)).checkpoint().index(undefined, 0xffffffff);
        endOnly(channel);
        channel.addRoot(channel.rootRec(undefined, 0xffffffff)).addFooter({ reserved: 0xffffffff });
      },
    ),
    good('index-kind-core', 'S7', '13', 'An indexed core.', { ...indexed, kind: 4 }, (channel) => {
      channel.add(page(0));
    }),
    good(
      'index-container-zeros',
      'S7',
      '13.4',
      'An indexed image in a container: zeros up to 4 KiB follow.',
      { ...indexed, container: true, warnings: ['TRAILING_DATA'] },
      (channel) => {
        channel.add(page(0)).finish();
        channel.append(zeros(4096 - (channel.offset % 4096)));
      },
    ),
    good(
      'index-container-old-footer',
      'S7',
      '13.4',
      'The container ends with the footer of an image it held before.',
      { ...indexed, container: true, warnings: ['TRAILING_DATA'] },
      (channel) => {
        const before = new Channel('before', { mayIgnore: 1n });
        before.add(before.about()).add(page(0)).add(page(1)).finish();
        channel.add(page(0)).finish();
        channel.append(before.bytes().subarray(channel.offset));
      },
    ),
  ];
}

/** Entries 0 to 2 are RAM of pfns 3, 7 to 8 and 20; 3 is TMEM_CLIENT, and from there on as `tmem` writes them. */
function entryLies(): Vector[] {
  const lie = (
    name: string,
    title: string,
    place: number,
    change: (entry: IndexEntry) => Partial<IndexEntry>,
  ): Vector =>
    lies(`index-lies-${name}`, '13.5', title, (channel) => {
      channel
        .add(page(3))
        .add(ram([{ first: 7, pages: 2 }], [0, 1], []))
        .add(page(20));
      tmem(channel);
      channel.checkpoint();
      channel.index((entries) => entries.toSpliced(place, 1, { ...entries[place], ...change(entries[place]) }));
    });
  const listed = (name: string, title: string, change: (entries: IndexEntry[]) => IndexEntry[]): Vector =>
    lies(`index-lies-${name}`, '13.5', title, (channel) => {
      channel.add(page(3)).add(page(7)).checkpoint().index(change);
    });
  return [
    lie('offset', 'The index gives a RAM record another offset.', 1, (entry) => ({ offset: entry.offset + 8 })),
    lie('offset-beyond', 'The index gives a record an offset behind the end of the stream.', 1, () => ({
      offset: 2 ** 40,
    })),
    lie('type', 'The index takes a TMEM_CLIENT for a DISK.', 3, () => ({ type: 0x32 })),
    lie('pages', 'The index counts another number of pages.', 1, () => ({ pages: 3 })),
    lie('low', 'The index gives a RAM record a smaller first page.', 1, () => ({ low: 6n })),
    lie('high', 'The index hides the last page of a RAM record.', 1, () => ({ high: 7n })),
    lie('ram-incarnation', 'A RAM record with a pool incarnation.', 1, () => ({ incarnation: 1n })),
    lie('incarnation', 'The index gives tmem pages to another pool.', 6, () => ({ incarnation: 2n })),
    lie('object', 'The index gives tmem pages another largest object.', 6, () => ({ high: 8n })),
    lie('low-index', 'The index gives tmem pages another smallest index.', 6, () => ({ lowIndex: 0 })),
    lie('high-index', 'The index gives tmem pages another largest index.', 6, () => ({ highIndex: 9 })),
    lie('pool-range', 'The index gives the end of a pool a range that is not all.', 10, () => ({ high: 2n ** 63n })),
    listed('missing', 'The index does not list a record.', (entries) => entries.toSpliced(1, 1)),
    listed('missing-last', 'The index does not list the last record.', (entries) => entries.slice(0, -1)),
    listed('too-many', 'The index lists a record that is not there.', (entries) => [
      ...entries,
      { ...entries[0], offset: 4096 },
    ]),
    lies('index-lies-without-last', '13.5', 'RAM and CHECKPOINT follow the last INDEX, and are in none.', (channel) => {
      channel.add(page(3)).index().add(page(4)).checkpoint().seal().addEnd();
    }),
    lies('index-lies-no-index', '13.5', 'INDEXED without any INDEX.', (channel) => {
      channel.add(page(3)).checkpoint().seal().addEnd();
    }),
  ];
}

function rootLies(): Vector[] {
  const lie = (name: string, title: string, patch: RootPatch): Vector =>
    lies(`index-root-${name}`, '13.2', title, (channel) => {
      channel.add(page(3)).add(disk()).index();
      channel.add(page(9)).add(page(12));
      endOnly(channel);
      channel.addRoot(channel.rootRec(patch)).addFooter();
    });
  const changed =
    (place: number, change: Partial<IndexEntry>): RootPatch =>
    (segments) =>
      segments.map((segment) => ({
        ...segment,
        entries: segment.entries.map((entry, at) => (at === place ? { ...entry, ...change } : entry)),
      }));
  return [
    lie('offset', 'The root gives the first INDEX another offset.', (segments) => [
      { ...segments[0], offset: segments[0].offset + 8 },
      segments[1],
    ]),
    lie('entries', 'The root counts an entry too few.', (segments) => [
      segments[0],
      { ...segments[1], entries: [{ ...segments[1].entries[0], high: 12n }, segments[1].entries[2]] },
    ]),
    lie('kinds', 'The root says that a segment with a DISK has RAM only.', (segments) => [
      { ...segments[0], entries: [segments[0].entries[0], segments[0].entries[0]] },
      segments[1],
    ]),
    lie('smallest', 'The root says another smallest page.', (segments) => [
      segments[0],
      changed(0, { low: 8n })(segments.slice(1))[0],
    ]),
    lie('largest', 'The root says another largest page.', (segments) => [
      segments[0],
      changed(1, { high: 11n })(segments.slice(1))[0],
    ]),
    lie('missing', 'The root does not list the second segment.', (segments) => segments.slice(0, 1)),
    lie('none', 'The root lists no segment.', () => []),
    lie('twice', 'The root lists the last segment twice.', (segments) => [...segments, segments[1]]),
  ];
}

function malformed(): Vector[] {
  const index = (name: string, title: string, code: string, change: (body: Buffer) => Buffer): Vector =>
    wrong(`index-${name}`, '13.1', title, (channel) => {
      channel.add(page(3)).index();
      const { rec } = channel.parts.at(-1)!;
      channel.bad(code, bare('INDEX', change(rec.body)));
    });
  const root = (name: string, title: string, change: (body: Buffer) => Buffer): Vector =>
    wrong(`index-root-${name}`, '13.2', title, (channel) => {
      channel.add(page(3));
      endOnly(channel);
      channel.bad('LENGTH_MISMATCH', bare('INDEX_ROOT', change(channel.rootRec().body))).addFooter();
    });
  const counted = (count: number) => (body: Buffer) => Buffer.concat([u32(count), body.subarray(4)]);
  return [
    index('entries-0', 'INDEX without entries.', 'FIELD_VALUE', () => zeros(8)),
    index('entries-4097', 'INDEX that counts 4,097 entries.', 'LIMIT_EXCEEDED', counted(4097)),
    index('entries-2-32', 'INDEX that counts 2^32 - 1 entries.', 'LIMIT_EXCEEDED', counted(0xffffffff)),
    index('entries-too-many', 'INDEX that counts more entries than it has.', 'LENGTH_MISMATCH', counted(2)),
    index('entries-too-few', 'INDEX with bytes behind its entries.', 'LENGTH_MISMATCH', (body) =>
      Buffer.concat([body, zeros(48)]),
    ),
    index('half-an-entry', 'INDEX whose last entry is cut.', 'LENGTH_MISMATCH', (body) => body.subarray(0, -8)),
    index('body-empty', 'INDEX with an empty body.', 'LENGTH_MISMATCH', () => zeros(0)),
    root('segments-too-many', 'INDEX_ROOT that counts more segments than it has.', counted(2)),
    root('segments-2-32', 'INDEX_ROOT that counts 2^32 - 1 segments.', counted(0xffffffff)),
    root('half-a-segment', 'INDEX_ROOT whose last segment is cut.', (body) => body.subarray(0, -8)),
    root('body-empty', 'INDEX_ROOT with an empty body.', () => zeros(0)),
    root('bytes-behind', 'INDEX_ROOT with bytes behind its segments.', (body) => Buffer.concat([body, zeros(8)])),
  ];
}

function footers(): Vector[] {
  const footer = (name: string, title: string, patch: (channel: Channel) => FooterPatch): Vector =>
    wrong(`footer-${name}`, '13.3', title, (channel) => {
      channel.add(page(3)).finish();
      channel.tail.pop();
      channel.offset -= 64;
      channel.fail('FOOTER', null);
      channel.addFooter(patch(channel));
    });
  const endPart = (channel: Channel): number => channel.parts.at(-2)!.offset;
  const rootPart = (channel: Channel): number => channel.parts.at(-1)!.offset;
  return [
    footer('magic', 'Another magic, and a right checksum.', () => ({ magicFlip: 0x80 })),
    footer('tag', 'The tag of another stream, and a right checksum.', () => ({ tagFlip: 1 })),
    footer('end', 'The offset of END is that of its body.', (channel) => ({ end: endPart(channel) + 24 })),
    footer('root', 'The offset of INDEX_ROOT is that of END.', (channel) => ({ root: endPart(channel) })),
    footer('end-is-root', 'The offset of END is that of INDEX_ROOT.', (channel) => ({
      end: rootPart(channel),
    })),
    footer('length-without-footer', 'The length leaves out the footer.', (channel) => ({ length: channel.offset })),
    footer('length-too-long', 'The length is 2^52 bytes.', () => ({ length: 2 ** 52 })),
    footer('chain', 'Another chain than in END.', () => ({ chainFlip: 0x40 })),
    footer('checksum', 'A wrong checksum.', () => ({ crcFlip: 0x80000000 })),
    wrong('footer-zeros', '13.3', 'Zeros stand in the place of the footer.', (channel) => {
      channel.add(page(3)).finish();
      channel.tail.pop();
      channel.offset -= 64;
      channel.fail('FOOTER', null);
      channel.append(zeros(64));
    }),
    wrong('footer-other-image', '13.3', 'The footer of another image.', (channel) => {
      const other = new Channel('other', { mayIgnore: 1n });
      other.add(other.about()).add(page(3)).finish();
      channel.add(page(3)).finish();
      channel.tail.pop();
      channel.offset -= 64;
      channel.fail('FOOTER', null);
      channel.append(other.tail[0]);
    }),
  ];
}

export const indexVectors = (): Vector[] => [
  ...positives(),
  ...entryLies(),
  ...rootLies(),
  ...malformed(),
  ...footers(),
];
