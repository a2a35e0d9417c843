// Sections 3, 4 and 6.1: the framing of records, their order, and ABOUT.
import { cat, text, u32, u64, utf8, zeros } from './lib/bytes.ts';
import type { Json, JsonObject } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec, Channel } from './lib/channel.ts';
import { raw } from './lib/content.ts';
import { device, deviceData, disk, origin } from './lib/device.ts';
import { recordTypes } from './lib/format.ts';
import type { RecordName } from './lib/format.ts';
import { ack, asBytes, dictionary, own, unknown } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { client } from './lib/tmem.ts';
import { cpuid, vcpuModel, vcpuState, vcpuX86 } from './lib/vcpu.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const page = (pfn = 5, word = 'page'): Rec => ram([{ first: pfn, pages: 1 }], [], [raw(text(word, 4096))]);
const blob = text('device', 300);

function framing(): Vector[] {
  return [
    good('record-bodies-of-all-paddings', 'S3', '3', 'Bodies whose padding is 0 to 7 bytes.', {}, (channel) => {
      for (let length = 0; length <= 8; length++) channel.add(unknown(0x3ff0, text('body', length)));
    }),
    good(
      'record-padding-not-zero',
      'S3',
      '1.3',
      'Padding is covered by the checksum and otherwise ignored.',
      {},
      (channel) => {
        channel.add(disk(), { paddingByte: 0xff });
        channel.add(unknown(0x3ff0, text('body', 9)), { paddingByte: 0x20 });
      },
    ),
    good('record-unknown-optional', 'S3', '3.4', 'Unknown optional records are skipped, and count.', {}, (channel) => {
      channel.add(unknown(0x0070, zeros(0)));
      channel.add(page());
      channel.add(unknown(0x3fff, text('long', 100)));
    }),
    bad(
      'record-unknown-mandatory',
      'S3',
      '3.4',
      'An unknown mandatory record is refused by its number.',
      {},
      (channel) => {
        channel.add(page());
        channel.bad('UNKNOWN_RECORD', unknown(0x0070, text('body', 16), undefined, 'unknown', false));
      },
    ),
    bad('record-type-0', 'S3', '3.3', 'Number 0 is no record type.', {}, (channel) => {
      channel.bad('FIELD_VALUE', unknown(0, zeros(8), undefined, 'unknown', false));
    }),
    bad('record-type-optional-0', 'S3', '3.3', 'Number 0 with bit 31 is no record type either.', {}, (channel) => {
      channel.bad('FIELD_VALUE', unknown(0, zeros(8)));
    }),
    bad('record-type-above-7fff', 'S3', '3.3', 'Number 0x8000, optional.', {}, (channel) => {
      channel.bad('FIELD_VALUE', unknown(0x8000, zeros(8)));
    }),
    bad('record-type-bit-16', 'S3', '3.3', 'Bit 16 of the type of an optional record is set.', {}, (channel) => {
      channel.bad('FIELD_VALUE', unknown(0x10070, zeros(8)));
    }),
    bad('record-type-bit-30', 'S3', '3.3', 'Bit 30 of the type of a RAM record is set.', {}, (channel) => {
      channel.bad('FIELD_VALUE', { ...page(), type: 0x40000010 });
    }),
    bad(
      'record-ram-optional',
      'S3',
      '3.3',
      'RAM with bit 31, which its row of the table does not have.',
      {},
      (channel) => {
        channel.bad('FIELD_VALUE', { ...page(), type: 0x80000010 });
      },
    ),
    bad('record-origin-mandatory', 'S3 S11', '3.3', 'ORIGIN without bit 31.', {}, (channel) => {
      channel.bad('FIELD_VALUE', { ...origin(0, raw(text('x', 8))), type: 0x50 });
    }),
    bad('record-index-mandatory', 'S3 S7', '3.3', 'INDEX without bit 31.', { mayIgnore: 1n }, (channel) => {
      channel.bad('FIELD_VALUE', { ...channel.indexRec([]), type: 8 });
    }),
    bad('record-header-checksum', 'S3 S6', '3.1', 'The checksum of a header is wrong.', {}, (channel) => {
      channel.bad('HEADER_CHECKSUM', page(), { headerCrcFlip: 1 });
    }),
    bad('record-body-checksum', 'S3 S6', '3.2', 'The checksum of a body is wrong.', {}, (channel) => {
      channel.bad('BODY_CHECKSUM', page(), { bodyCrcFlip: 0x80000000 });
    }),
    bad('record-body-checksum-empty', 'S3', '3', 'The checksum of an empty body is not 0.', {}, (channel) => {
      channel.bad('BODY_CHECKSUM', unknown(0x70, zeros(0)), { bodyCrcFlip: 1 });
    }),
    bad('record-sequence-skips', 'S3 S6', '3.1', 'A sequence number is one too large.', {}, (channel) => {
      channel.bad('RECORD_SEQUENCE', page(), { sequence: channel.position + 1 });
    }),
    bad('record-tag-wrong', 'S3 S6', '3.1', 'The tag of a record is another one.', {}, (channel) => {
      channel.bad('RECORD_FOREIGN', page(), { tag: 0x12345678 });
    }),
    bad(
      'record-tag-before-sequence',
      'S3 S6',
      '3.1',
      'A foreign record with another number: the tag comes first.',
      {},
      (channel) => {
        channel.bad('RECORD_FOREIGN', page(), { tag: 0x12345678, sequence: 77 });
      },
    ),
    bad(
      'record-length-4-gib',
      'S3',
      '3.1',
      'A header says 4 GiB - 1; its checksum is right.',
      { bare: true },
      (channel) => {
        channel.add(channel.about());
        channel.bad('LIMIT_EXCEEDED', page(), { length: 0xffffffff, headerOnly: true });
      },
    ),
    bad(
      'record-unknown-over-16-mib',
      'S3',
      '3.1',
      'An unknown optional record of 16 MiB + 1.',
      { bare: true },
      (channel) => {
        channel.add(channel.about());
        channel.bad('LIMIT_EXCEEDED', unknown(0x70, zeros(0)), { length: (16 << 20) + 1, headerOnly: true });
      },
    ),
    bad(
      'record-unknown-16-mib-cut',
      'S3 S6',
      '3.1',
      '16 MiB exactly are allowed, but are not there.',
      { bare: true },
      (channel) => {
        channel.add(channel.about());
        channel.add(unknown(0x70, zeros(0)), { length: 16 << 20, headerOnly: true });
        channel.fail('TRUNCATED', 1);
        channel.releasedParts = 1;
      },
    ),
  ];
}

/** For each row of the record table: a header whose length is one more than the row allows. */
function bodyLimits(): Vector[] {
  const requirement: Partial<Record<RecordName, string>> = {
    ABOUT: 'S2',
    DICTIONARY: 'S4',
    INDEX: 'S7',
    INDEX_ROOT: 'S7',
    RAM: 'S8',
    VCPU_X86: 'S10',
    VCPU_STATE: 'S10',
    X86_CPUID: 'S10',
    X86_MSR: 'S10',
    DEVICE: 'S11',
    DEVICE_DATA: 'S11',
    DISK: 'S11',
    TMEM_CLIENT: 'S9',
    TMEM_POOL: 'S9',
    TMEM_PAGES: 'S9',
    TMEM_INVALIDATE: 'S9',
    ORIGIN: 'S11',
    CHECKPOINT: 'S13',
    BARRIER: 'S14',
    ROUND: 'S14',
    SEAL: 'S5',
    END: 'S5',
  };
  const out: Vector[] = [];
  for (const name of Object.keys(recordTypes) as RecordName[]) {
    const { limit, section } = recordTypes[name];
    const word = name.toLowerCase().replaceAll('_', '-');
    const title = `${name} with a body of ${limit + 1} bytes, one more than its row of the table allows.`;
    const fields = name === 'ACK' ? { direction: 1 } : name.startsWith('INDEX') ? { mayIgnore: 1n } : {};
    const requirements = `S3${requirement[name] ? ` ${requirement[name]}` : ''}`;
    out.push(
      bad(`limit-body-${word}`, requirements, '3.5', title, { ...fields, bare: true }, (channel) => {
        if (name !== 'ABOUT') channel.add(channel.about());
        if (name === 'INDEX_ROOT') channel.checkpoint().index().seal().add(channel.endRec());
        const small = limit < 5000;
        const rec = bare(name, small ? zeros(limit + 1) : zeros(0));
        channel.bad('LIMIT_EXCEEDED', { ...rec, section }, small ? {} : { length: limit + 1, headerOnly: true });
      }),
    );
  }
  for (const [name, limit] of [
    ['POOL', 48],
    ['PAGES', 16 << 20],
    ['INVALIDATE', 16 << 20],
  ] as const) {
    const title = `Ephemeral TMEM_${name} with a body of ${limit + 1} bytes.`;
    out.push(
      bad(`limit-body-tmem-${name.toLowerCase()}-ephemeral`, 'S3 S9', '3.5', title, { bare: true }, (channel) => {
        channel.add(channel.about());
        const rec = bare(`TMEM_${name}`, limit < 5000 ? zeros(limit + 1) : zeros(0));
        const framing = limit < 5000 ? {} : { length: limit + 1, headerOnly: true };
        channel.bad('LIMIT_EXCEEDED', { ...rec, type: rec.type + 0x80000000 }, framing);
      }),
    );
  }
  return out;
}

/** Bodies of fixed size that lack their last eight bytes. */
function shortBodies(): Vector[] {
  const short = (rec: Rec): Rec => ({ ...rec, body: rec.body.subarray(0, rec.body.length - 8) });
  const list: [string, string, string, (channel: Channel) => Rec][] = [
    ['round', 'S14', '6.3', (channel) => channel.roundRec()],
    ['seal', 'S5', '5.3', (channel) => channel.sealRec()],
    ['barrier', 'S14', '6.2', (channel) => channel.seal().barrierRec()],
    ['checkpoint', 'S13', '6.4', (channel) => channel.seal().checkpointRec()],
    ['end', 'S5', '6.5', (channel) => channel.checkpoint().seal().endRec()],
    ['vcpu-x86', 'S10', '8.1', () => vcpuX86(vcpuModel())],
    ['vcpu-state', 'S10', '8.2', () => ({ ...vcpuState(0, 0x100, zeros(8)), body: zeros(4) })],
    ['tmem-client', 'S9', '10.1', () => client()],
  ];
  return list.map(([name, requirements, section, rec]) =>
    bad(
      `short-body-${name}`,
      `S3 ${requirements}`,
      section,
      'A body that is shorter than its fields.',
      {},
      (channel) => {
        channel.bad('LENGTH_MISMATCH', short(rec(channel)));
      },
    ),
  );
}

function about(): Vector[] {
  const whole: JsonObject = {
    name: 'guest-1',
    uuid: '0f3a1f60-94b6-4d2a-8a30-4f1f5f6f7f80',
    source: { hypervisor: 'xen', versions: { xen: '4.20.0', libxl: '4.20' } },
    driver: { name: 'v86', version: '0.5.319', fingerprint: 'ab'.repeat(32) },
    memory: { bytes: 67108864, pages: 16384 },
    vcpus: 1,
    tmem: { pools: 2, pages: 40, bytes: 163840 },
    configuration: { disks: [{ name: 'hda', size: 1048576 }], flags: [true, false, null], ratio: 0.5 },
    time: '2009-06-01T12:00:00Z',
    tool: { name: 'vectors', version: '1' },
    'x-unknown': { kept: ['and', 'shown'] },
  };
  const nested = (depth: number): JsonObject => {
    let value: Json = 'deep';
    for (let level = 1; level < depth; level++) value = level % 2 === 0 ? { a: value } : [value];
    return { a: value };
  };
  const json = (name: string, title: string, body: string | Buffer, code = 'JSON_INVALID'): Vector =>
    bad(name, 'S2', '6.1', title, { bare: true }, (channel) => {
      channel.bad(code, channel.about(typeof body === 'string' ? utf8(body) : body));
      channel.finish();
    });
  return [
    good(
      'about-all-keys',
      'S2',
      '6.1',
      'ABOUT with each key of the table and one that it does not have.',
      { about: whole },
      () => {},
    ),
    good('about-empty-object', 'S2', '6.1', 'All keys of ABOUT are optional.', { about: {} }, () => {}),
    good(
      'about-space-around',
      'S2',
      '6.1',
      'White space around and inside the JSON.',
      { about: ' \n{ "name" :\t"a" }\r\n ' },
      () => {},
    ),
    good(
      'about-escapes',
      'S2',
      '6.1',
      'Escapes, control characters and letters of several scripts.',
      { about: '{"name":"\\u001b[31mred\\u0000\\n\\"\\\\\\/ \\ud83d\\ude80 ü 漢"}' },
      () => {},
    ),
    good('about-depth-32', 'S2', '6.1', 'ABOUT nested 32 deep, the most allowed.', { about: nested(32) }, () => {}),
    json('about-depth-33', 'ABOUT nested 33 deep.', JSON.stringify(nested(33)), 'LIMIT_EXCEEDED'),
    json(
      'about-depth-10000',
      'Ten thousand open brackets: refused without recursing.',
      `{"a":${'['.repeat(10000)}${']'.repeat(10000)}}`,
      'LIMIT_EXCEEDED',
    ),
    json('about-empty-body', 'An empty body is not JSON.', ''),
    json('about-array', 'An array is not an object.', '[{"name":"a"}]'),
    json('about-null', 'null is not an object.', 'null'),
    json('about-string', 'A string is not an object.', '"name"'),
    json('about-cut-json', 'JSON that ends early.', '{"name":"a"'),
    json('about-trailing-comma', 'A comma behind the last member.', '{"name":"a",}'),
    json('about-comment', 'A comment is not JSON.', '{"name":"a" /* or b */}'),
    json('about-nan', 'NaN is not JSON, though some parsers take it.', '{"load":NaN}'),
    json('about-leading-zero', 'A number with a leading zero is not JSON.', '{"vcpus":01}'),
    json('about-two-values', 'Two objects, one after the other.', '{"name":"a"}{"name":"b"}'),
    json('about-byte-order-mark', 'A byte order mark.', '\ufeff{"name":"a"}'),
    json('about-invalid-utf8', 'A byte that is not UTF-8.', cat(utf8('{"name":"'), Buffer.from([0xff]), utf8('"}'))),
    json(
      'about-surrogate-utf8',
      'A surrogate encoded as UTF-8.',
      cat(utf8('{"name":"'), Buffer.from('eda080', 'hex'), utf8('"}')),
    ),
    json('about-raw-control', 'A line end inside a string.', '{"name":"a\nb"}'),
    json('about-utf16', 'JSON in UTF-16.', Buffer.from('{"name":"a"}', 'utf16le')),
    bad(
      'about-checksum-wrong',
      'S2 S6',
      '3.2',
      'The body of ABOUT has another checksum.',
      { bare: true },
      (channel) => {
        channel.bad('BODY_CHECKSUM', channel.about(), { bodyCrcFlip: 4 });
        channel.finish();
      },
    ),
    bad('about-missing', 'S2 S3', '4', 'The first record is a SEAL and not ABOUT.', { bare: true }, (channel) => {
      channel.badSeal({}, 'RECORD_ORDER');
      channel.finish();
    }),
    bad('about-second', 'S2 S3', '4', 'ABOUT comes twice.', {}, (channel) => {
      channel.bad('RECORD_ORDER', channel.about());
    }),
    bad('about-not-first', 'S2 S3', '4', 'A DICTIONARY stands before ABOUT.', { bare: true }, (channel) => {
      channel.bad('RECORD_ORDER', dictionary({ record: 0x4000, name: 'com.example.x', version: 1 }));
      channel.add(channel.about());
      channel.finish();
    }),
  ];
}

function order(): Vector[] {
  const bind = { record: 0x4000, name: 'com.example.state', version: 1 };
  const back = { direction: 1, kind: 2 } as const;
  return [
    good('order-free', 'S3', '4', 'Records that the order table does not order, in a mixed order.', {}, (channel) => {
      channel.add(disk({ disk: 3 }));
      channel.add(vcpuX86(vcpuModel()));
      channel.add(device(blob));
      channel.add(page(1));
      channel.add(deviceData(0, 0, raw(blob.subarray(0, 100))));
      channel.round();
      channel.add(client());
      channel.add(origin(0, raw(text('origin', 20))));
      channel.add(deviceData(0, 100, raw(blob.subarray(100))));
      channel.seal();
      channel.seal();
      channel.add(cpuid([{ leaf: 0, subleaf: 0xffffffff, eax: 1, ebx: 2, ecx: 3, edx: 4 }]));
      channel.add(page(0));
      channel.barrier();
    }),
    good('order-after-checkpoint', 'S3', '4', 'What may stand between the last CHECKPOINT and END.', {}, (channel) => {
      channel.checkpoint();
      channel.seal();
      channel.add(dictionary(bind));
      channel.add(own(0x4000, 'com.example.state', text('late', 5), asBytes(text('late', 5))));
      channel.add(unknown(0x70, text('late', 6)));
      channel.add(origin(0, raw(text('origin', 20))));
      channel.barrier();
      channel.end();
    }),
    bad(
      'order-ram-after-last-checkpoint',
      'S3 S13',
      '4',
      'RAM stands between the last CHECKPOINT and END.',
      {},
      (channel) => {
        channel.checkpoint();
        channel.add(page());
        channel.seal();
        channel.bad('RECORD_ORDER', channel.endRec());
        channel.ended = true;
      },
    ),
    bad(
      'order-round-after-last-checkpoint',
      'S3 S13',
      '4',
      'ROUND stands between the last CHECKPOINT and END.',
      {},
      (channel) => {
        channel.checkpoint();
        channel.round();
        channel.seal();
        channel.bad('RECORD_ORDER', channel.endRec());
        channel.ended = true;
      },
    ),
    bad(
      'order-tmem-after-last-checkpoint',
      'S3 S9 S13',
      '4',
      'TMEM_CLIENT stands between CHECKPOINT and END.',
      {},
      (channel) => {
        channel.checkpoint();
        channel.add(client());
        channel.seal();
        channel.bad('RECORD_ORDER', channel.endRec());
        channel.ended = true;
      },
    ),
    bad('order-no-checkpoint', 'S13', '4', 'END without any CHECKPOINT.', {}, (channel) => {
      channel.add(page());
      channel.seal();
      channel.bad('NO_CHECKPOINT', channel.endRec());
      channel.ended = true;
    }),
    bad('order-end-without-seal', 'S3 S5', '4', 'END without a SEAL directly before it.', {}, (channel) => {
      channel.checkpoint();
      channel.bad('RECORD_ORDER', channel.endRec());
      channel.ended = true;
    }),
    bad(
      'order-end-seal-not-directly',
      'S3 S5',
      '4',
      'An optional record stands between SEAL and END.',
      {},
      (channel) => {
        channel.checkpoint();
        channel.seal();
        channel.add(unknown(0x70, zeros(8)));
        channel.bad('RECORD_ORDER', channel.endRec());
        channel.ended = true;
      },
    ),
    bad(
      'order-checkpoint-without-seal',
      'S3 S13',
      '4',
      'CHECKPOINT without a SEAL directly before it.',
      {},
      (channel) => {
        channel.add(page());
        channel.bad('RECORD_ORDER', channel.checkpointRec());
      },
    ),
    bad(
      'order-checkpoint-device-begun',
      'S3 S11 S13',
      '4',
      'CHECKPOINT while a DEVICE is not complete.',
      {},
      (channel) => {
        channel.add(device(blob));
        channel.add(deviceData(0, 0, raw(blob.subarray(0, 299))));
        channel.seal();
        channel.bad('RECORD_ORDER', channel.checkpointRec());
      },
    ),
    bad('order-checkpoint-number', 'S13', '4', 'The first CHECKPOINT has number 2.', {}, (channel) => {
      channel.seal();
      channel.bad('RECORD_ORDER', channel.checkpointRec(0n, 2));
    }),
    bad('order-checkpoint-number-again', 'S13', '4', 'The second CHECKPOINT has number 1 again.', {}, (channel) => {
      channel.checkpoint();
      channel.seal();
      channel.bad('RECORD_ORDER', channel.checkpointRec(0n, 1));
    }),
    bad('order-round-number', 'S14', '4', 'The first ROUND has number 1.', {}, (channel) => {
      channel.bad('RECORD_ORDER', channel.roundRec(1));
    }),
    bad('order-round-in-core', 'S3', '4', 'ROUND in an image of kind core.', { kind: 4 }, (channel) => {
      channel.bad('RECORD_ORDER', channel.roundRec());
    }),
    bad('order-barrier-without-seal', 'S5 S14', '4', 'BARRIER without a SEAL directly before it.', {}, (channel) => {
      channel.seal();
      channel.add(page());
      channel.bad('RECORD_ORDER', channel.barrierRec());
    }),
    bad('order-barrier-number', 'S14', '4', 'The first BARRIER has number 2.', {}, (channel) => {
      channel.seal();
      channel.bad('RECORD_ORDER', channel.barrierRec({ number: 2 }));
    }),
    bad('order-index-without-feature', 'S7', '4', 'INDEX without feature INDEXED.', {}, (channel) => {
      channel.add(page());
      channel.bad('RECORD_ORDER', channel.indexRec([]));
    }),
    bad('order-index-root-before-end', 'S7', '4', 'INDEX_ROOT before END.', { mayIgnore: 1n }, (channel) => {
      channel.bad('RECORD_ORDER', channel.rootRec());
    }),
    bad(
      'order-record-after-end',
      'S5 S7',
      '4',
      'With INDEXED another record than INDEX_ROOT follows END.',
      { mayIgnore: 1n },
      (channel) => {
        channel.checkpoint().index().seal();
        channel.add(channel.endRec());
        channel.bad('RECORD_ORDER', unknown(0x70, zeros(8)));
        channel.addRoot().addFooter();
        channel.ended = true;
      },
    ),
    bad(
      'order-index-root-without-feature',
      'S5 S7',
      '4',
      'Without INDEXED even INDEX_ROOT after END is too much.',
      {},
      (channel) => {
        channel.finish();
        channel.fail('TRAILING_DATA', null);
        channel.add(channel.rootRec());
      },
    ),
    bad(
      'order-stream-local-without-dictionary',
      'S4',
      '4',
      'A stream-local record without its DICTIONARY.',
      {},
      (channel) => {
        channel.bad('RECORD_ORDER', own(0x4000, 'unknown', zeros(8), {}));
        channel.add(dictionary(bind));
      },
    ),
    bad('order-ack-forward', 'S3 S5', '4', 'ACK in direction forward.', {}, (channel) => {
      channel.bad('RECORD_ORDER', ack(0, 1, zeros(32)));
    }),
    bad('order-ram-back', 'S3', '4', 'RAM in direction back.', back, (channel) => {
      channel.bad('RECORD_ORDER', page());
    }),
    bad('order-checkpoint-back', 'S3 S13', '4', 'CHECKPOINT in direction back.', back, (channel) => {
      channel.seal();
      channel.bad('RECORD_ORDER', channel.checkpointRec());
    }),
    bad(
      'order-origin-back',
      'S3 S11',
      '4',
      'ORIGIN, an optional record that 3.5 lists, in direction back.',
      back,
      (channel) => {
        channel.bad('RECORD_ORDER', origin(0, raw(text('x', 8))));
      },
    ),
    bad(
      'order-header-before-body',
      'S3',
      '4',
      'RAM in direction back whose body is wrong too: order comes first.',
      back,
      (channel) => {
        channel.bad('RECORD_ORDER', bare('RAM', cat(u64(0), u32(0), u32(0))), { bodyCrcFlip: 1 });
      },
    ),
  ];
}

export const recordVectors = (): Vector[] => [...framing(), ...bodyLimits(), ...shortBodies(), ...about(), ...order()];
