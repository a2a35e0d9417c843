/** The layers around a libxc stream: libxl, xl and what `xl migrate` says, xenopsd. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Findings } from '../../../src/foreign/xen-libxc/findings.ts';
import type { PieceReader } from '../../../src/foreign/xen-libxc/piece-reader.ts';
import { LibxlReader, type LibxlEvent } from '../../../src/foreign/xen-libxl/reader.ts';
import { xenstoreContent, xenstorePairs, type LibxlBody } from '../../../src/foreign/xen-libxl/records.ts';
import { LibxlWriter } from '../../../src/foreign/xen-libxl/writer.ts';
import {
  decodeXlFixedHeader,
  decodeXlHeader,
  encodeXlHeader,
  xlConfig,
  xlHeader,
} from '../../../src/foreign/xl/header.ts';
import { emitXlBack, encodeXlMessage, XlBackReader, type XlBackEvent } from '../../../src/foreign/xl/messages.ts';
import { XlReader, type XlEvent } from '../../../src/foreign/xl/reader.ts';
import { XlWriter } from '../../../src/foreign/xl/writer.ts';
import { parseXenopsdMetadata } from '../../../src/foreign/xenopsd/metadata.ts';
import { XenopsdReader, type XenopsdEvent } from '../../../src/foreign/xenopsd/reader.ts';
import { encodeXenopsdHeader, encodeXenopsdSignature } from '../../../src/foreign/xenopsd/sections.ts';
import { XenopsdWriter } from '../../../src/foreign/xenopsd/writer.ts';
import { BYTE_BY_BYTE, Collected, readAll, thrownBy, WHOLE, type Pieces } from '../../support/xen/pieces.ts';
import {
  checkpointed,
  hvmSteps,
  METADATA,
  NOTHING,
  pvSteps,
  writeLibxc,
  xenopsdImage,
  xlFile,
} from '../../support/xen/streams.ts';

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function patched(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(offset, value, true);
  return copy;
}

/** What `reader` hands out, as `layer:KIND`, and the same bytes from `write`. */
function kindsOf<Event extends { layer: string; kind: string }>(
  reader: PieceReader<Event>,
  bytes: Uint8Array,
  pieces: Pieces,
  write: (event: Event) => void = () => {},
): string[] {
  const kinds: string[] = [];
  readAll(reader, bytes, pieces, (event) => {
    kinds.push(`${event.layer}:${event.kind}`);
    if (event.layer !== 'end') write(event as Event);
  });
  return kinds;
}

type KnownLibxl = Exclude<LibxlBody, { kind: 'UNKNOWN' }>;
const end: KnownLibxl = { kind: 'END', rest: NOTHING };
const context: KnownLibxl = { kind: 'LIBXC_CONTEXT', rest: NOTHING };

/** A libxl stream around a libxc stream, with records after it. */
function libxl(records: readonly KnownLibxl[], domainType = 2, options = 0): Uint8Array {
  const out = new Collected();
  const writer = new LibxlWriter(out.emit);
  writer.header(options);
  writer.record(context);
  writeLibxc(writer.libxc, { domainType }, domainType === 2 ? hvmSteps() : pvSteps());
  for (const record of records) writer.record(record);
  return out.bytes;
}

function findingsOf(bytes: Uint8Array): string[] {
  const reader = new LibxlReader();
  readAll(reader, bytes, () => 333);
  return [...reader.findings.counts.keys()];
}

function emulator(content: Uint8Array, kind: 'EMULATOR_CONTEXT' | 'EMULATOR_XENSTORE_DATA', id = 2): KnownLibxl {
  return { kind, emulator: id, index: 0, content };
}

describe('a libxl stream', () => {
  for (const colo of [false, true]) {
    it(`with checkpoints${colo ? ' of COLO' : ''} goes through both layers, and is written as it was read`, () => {
      const bytes = checkpointed(colo);
      for (const pieces of [WHOLE, BYTE_BY_BYTE]) {
        const out = new Collected();
        const writer = new LibxlWriter(out.emit);
        const reader = new LibxlReader();
        const kinds = kindsOf<LibxlEvent>(reader, bytes, pieces, (event) => {
          writer.event(event);
        });
        assert.deepEqual(out.bytes, bytes);
        const state = colo ? ['libxl:CHECKPOINT_STATE'] : [];
        assert.deepEqual(
          kinds.filter((kind) => kind.startsWith('libxl') || kind === 'libxc:CHECKPOINT'),
          [
            'libxl:HEADER',
            'libxl:LIBXC_CONTEXT',
            ...['libxc:CHECKPOINT', 'libxl:CHECKPOINT_END'].concat(state),
            ...['libxc:CHECKPOINT', 'libxl:CHECKPOINT_END'].concat(state),
            'libxl:END',
          ],
        );
        assert.equal(reader.checkpoints.complete, 2);
        assert.deepEqual([...reader.findings.counts.keys()], []);
      }
    });
  }

  it('that is cut names the checkpoints that are complete', () => {
    const bytes = checkpointed();
    const reader = new LibxlReader();
    const ends: number[] = [];
    readAll(reader, bytes, WHOLE, (event) => {
      if (event.kind === 'CHECKPOINT_END') ends.push(reader.checkpoints.end);
    });
    for (const [cut, complete, last] of [
      [ends[0] - 1, 0, 0],
      [ends[0], 1, ends[0]],
      [ends[1] - 1, 1, ends[0]],
      [bytes.byteLength - 1, 2, ends[1]],
    ]) {
      const error = thrownBy(() => {
        readAll(new LibxlReader(), bytes.subarray(0, cut), () => 50);
      });
      assert.equal(error?.code, 'TRUNCATED');
      assert.equal(error.offset, cut);
      assert.deepEqual(error.data, { checkpoints: complete, lastCheckpointEnd: last });
    }
  });

  it('is judged as libxl would, and by the letter', () => {
    const nodes = xenstoreContent([{ key: 'a/b', value: '' }]);
    assert.deepEqual(findingsOf(libxl([emulator(nodes, 'EMULATOR_XENSTORE_DATA'), end])), []);
    assert.deepEqual(findingsOf(libxl([emulator(nodes, 'EMULATOR_CONTEXT'), end], 1)), ['EMULATOR_OF_PV']);
    assert.deepEqual(findingsOf(libxl([emulator(NOTHING, 'EMULATOR_CONTEXT', 3), end])), ['EMULATOR_ID']);
    const wrong = Uint8Array.of(0x2f, 0, 0);
    assert.deepEqual(findingsOf(libxl([emulator(wrong, 'EMULATOR_XENSTORE_DATA'), end])), ['XENSTORE_DATA']);
    assert.deepEqual(findingsOf(libxl([{ ...end, rest: new Uint8Array(3) }])), ['BODY_NOT_EMPTY']);
    assert.deepEqual(findingsOf(libxl([end], 2, 6)), ['RESERVED_FIELD']);
    const out = new Collected();
    const writer = new LibxlWriter(out.emit);
    writer.header();
    writer.record(end);
    assert.deepEqual(findingsOf(out.bytes), ['LIBXC_CONTEXT_MISSING']);
    const optional = patched(libxl([emulator(nodes, 'EMULATOR_CONTEXT'), end]), libxl([]).byteLength, 0x8000_0001);
    assert.deepEqual(findingsOf(optional), ['OPTIONAL_RECORD_REFUSED']);
  });

  it('is refused where nothing could be read on', () => {
    const head = libxl([]);
    const codeOf = (bytes: Uint8Array): string | undefined =>
      thrownBy(() => {
        readAll(new LibxlReader(), bytes, WHOLE);
      })?.code;
    assert.equal(codeOf(patched(head, 0, 1)), 'NOT_AN_IMAGE');
    assert.equal(codeOf(patched(head, 8, 0x0300_0000)), 'UNSUPPORTED_VERSION');
    assert.equal(codeOf(libxl([context])), 'RECORD_ORDER');
    assert.equal(codeOf(libxl([{ kind: 'CHECKPOINT_END', rest: NOTHING }])), 'RECORD_ORDER');
    assert.equal(codeOf(libxl([{ kind: 'CHECKPOINT_STATE', state: 0, rest: NOTHING }])), 'RECORD_ORDER');
    const record = libxl([emulator(NOTHING, 'EMULATOR_CONTEXT'), end]);
    assert.equal(codeOf(patched(record, head.byteLength, 6)), 'UNKNOWN_RECORD');
    assert.equal(codeOf(patched(record, head.byteLength + 4, 7)), 'LENGTH_MISMATCH');
    assert.equal(codeOf(patched(record, head.byteLength + 4, 0xffff_ffff)), 'LIMIT_EXCEEDED');
  });

  it('has nodes of xenstore with each fault that libxl names', () => {
    const faults = ['a\0b', 'a', '\0b\0', '/a\0b\0', ''].map((text) => xenstorePairs(Buffer.from(text)).fault);
    assert.deepEqual(faults, ['value-unterminated', 'key-unterminated', 'key-empty', 'key-absolute', '']);
    const pairs = [{ key: 'k', value: '\u00ff' }];
    assert.deepEqual(xenstorePairs(xenstoreContent(pairs)), { pairs, fault: '' });
    assert.throws(() => xenstoreContent([{ key: '', value: '' }]), RangeError);
    assert.throws(() => xenstoreContent([{ key: 'a\0', value: '' }]), RangeError);
    assert.throws(() => xenstoreContent([{ key: 'a', value: '\u0101' }]), RangeError);
  });
});

describe('a file of xl save', () => {
  const file = xlFile();

  it('goes through all layers, and is written as it was read', () => {
    for (const pieces of [WHOLE, BYTE_BY_BYTE]) {
      const out = new Collected();
      const writer = new XlWriter(out.emit);
      const reader = new XlReader();
      const kinds = kindsOf<XlEvent>(reader, file, pieces, (event) => {
        writer.event(event);
      });
      assert.deepEqual(out.bytes, file);
      assert.deepEqual(
        [kinds[0], kinds[1], kinds[2], kinds[3], kinds.at(-1)],
        ['xl:HEADER', 'libxl:HEADER', 'libxl:LIBXC_CONTEXT', 'libxc:HEADER', 'libxl:END'],
      );
      assert.deepEqual(xlConfig(reader.header!), { c_info: { type: 'hvm' } });
      assert.equal(reader.permissionGiven, false);
    }
  });

  it('may be followed by the permission, cut by nothing but itself', () => {
    const permission = encodeXlMessage({ kind: 'PERMISSION_TO_GO' });
    for (const pieces of [WHOLE, BYTE_BY_BYTE]) {
      const reader = new XlReader();
      assert.equal(kindsOf(reader, concat(file, permission), pieces).at(-1), 'wire:PERMISSION_TO_GO');
      assert.ok(reader.permissionGiven);
      const cut = thrownBy(() => kindsOf(new XlReader(), concat(file, permission.subarray(0, 20)), pieces));
      assert.equal(cut?.code, 'TRUNCATED');
      const other = new XlReader();
      const rest = concat(permission.subarray(0, 20), Uint8Array.of(0xff, 1));
      assert.equal(kindsOf(other, concat(file, rest), pieces).at(-1), 'end:TRAILING');
      assert.equal(other.trailing, 22);
    }
  });

  it('has a header whose data are kept as they were', () => {
    const header = xlHeader('{}');
    for (const [data, expected] of [
      [NOTHING, ['XL_NO_CONFIG']],
      [Uint8Array.of(1, 0), ['XL_CONFIG_LENGTH']],
      [Uint8Array.of(2, 0, 0, 0, 0x7b), ['XL_CONFIG_LENGTH']],
      [Uint8Array.of(1, 0, 0, 0, 0x7b, 9, 9), ['XL_OPTIONAL_DATA_LEFT']],
    ] as const) {
      const bytes = encodeXlHeader({ ...header, optionalData: data });
      const findings = new Findings();
      const read = decodeXlHeader(decodeXlFixedHeader(bytes, 0), bytes.subarray(48), 0, findings);
      assert.deepEqual([...findings.counts.keys()], expected);
      assert.deepEqual(encodeXlHeader(read), bytes);
    }
    const other = encodeXlHeader({ ...header, littleEndian: false, optionalData: Uint8Array.of(0, 0, 0, 1, 0x7b) });
    const findings = new Findings();
    const read = decodeXlHeader(decodeXlFixedHeader(other, 0), other.subarray(48), 0, findings);
    assert.deepEqual([...findings.counts.keys()], ['XL_BYTE_ORDER']);
    assert.deepEqual(encodeXlHeader(read), other);
  });

  it('is refused by name', () => {
    for (const [bytes, code] of [
      [patched(file, 0, 1), 'NOT_AN_IMAGE'],
      [patched(file, 32, 1), 'FIELD_VALUE'],
      [patched(file, 36, 7), 'UNSUPPORTED_FEATURE'],
      [patched(file, 36, 1), 'UNSUPPORTED_VERSION'],
      [patched(file, 44, 0x7fff_ffff), 'LIMIT_EXCEEDED'],
      [file.subarray(0, 60), 'TRUNCATED'],
    ] as const) {
      const error = thrownBy(() => kindsOf(new XlReader(), bytes, WHOLE));
      assert.equal(error?.code, code);
    }
  });
});

describe('what the target of xl migrate says', () => {
  const banner = encodeXlMessage({ kind: 'BANNER' });
  const ready = encodeXlMessage({ kind: 'READY' });
  const permission = encodeXlMessage({ kind: 'PERMISSION_TO_GO' });

  it('after a failure hands the domain back', () => {
    const bytes = concat(banner, ready, encodeXlMessage({ kind: 'REPORT', status: 3 }), permission);
    const out = new Collected();
    const reader = new XlBackReader();
    const statuses: (number | undefined)[] = [];
    const kinds = kindsOf<XlBackEvent>(reader, bytes, BYTE_BY_BYTE, (event) => {
      emitXlBack(out.emit, event);
      if (event.layer === 'wire') statuses.push(event.status);
    });
    assert.deepEqual(kinds, ['wire:BANNER', 'wire:READY', 'wire:REPORT', 'wire:PERMISSION_TO_GO']);
    assert.deepEqual(statuses, [undefined, undefined, 3, undefined]);
    assert.deepEqual(out.bytes, bytes);
    assert.ok(reader.complete);
  });

  it('has records of COLO between the messages', () => {
    const state = Uint8Array.of(5, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0);
    const dirty = Uint8Array.of(15, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0);
    const bytes = concat(banner, state, dirty, state, ready);
    const out = new Collected();
    const kinds = kindsOf<XlBackEvent>(
      new XlBackReader(),
      bytes,
      () => 3,
      (event) => {
        emitXlBack(out.emit, event);
      },
    );
    const names = ['libxl:CHECKPOINT_STATE', 'libxc:CHECKPOINT_DIRTY_PFN_LIST', 'libxl:CHECKPOINT_STATE'];
    assert.deepEqual(kinds, ['wire:BANNER', ...names, 'wire:READY']);
    assert.deepEqual(out.bytes, bytes);
  });

  it('may end between messages, and not within one', () => {
    const all = concat(banner, ready, encodeXlMessage({ kind: 'REPORT', status: 1 }), permission);
    const whole = [banner.byteLength, banner.byteLength + ready.byteLength, all.byteLength - permission.byteLength];
    for (let cut = 0; cut < all.byteLength; cut++) {
      const error = thrownBy(() => kindsOf(new XlBackReader(), all.subarray(0, cut), WHOLE));
      assert.equal(error?.code, whole.includes(cut) ? undefined : 'TRUNCATED', `cut at ${cut}`);
    }
  });

  it('is refused when it is something else', () => {
    const codeOf = (bytes: Uint8Array): string | undefined =>
      thrownBy(() => kindsOf(new XlBackReader(), bytes, () => 9))?.code;
    assert.equal(codeOf(Buffer.from('ssh: no such host\n')), 'NOT_AN_IMAGE');
    assert.equal(codeOf(concat(banner, permission.subarray(0, 5), banner)), 'FIELD_VALUE');
    assert.equal(codeOf(concat(banner, ready, banner)), 'FIELD_VALUE');
    const huge = Uint8Array.of(15, 0, 0, 0, 0xff, 0xff, 0xff, 0xff);
    assert.equal(codeOf(concat(banner, huge)), 'LIMIT_EXCEEDED');
    assert.throws(() => encodeXlMessage({ kind: 'REPORT' }), RangeError);
  });
});

describe('a suspend image of xenopsd', () => {
  const image = xenopsdImage();

  it('goes through all sections, and is written as it was read', () => {
    for (const pieces of [WHOLE, BYTE_BY_BYTE]) {
      const out = new Collected();
      const writer = new XenopsdWriter(out.emit);
      const reader = new XenopsdReader();
      const kinds = kindsOf<XenopsdEvent>(reader, image, pieces, (event) => {
        writer.event(event);
      });
      assert.deepEqual(out.bytes, image);
      const sections = ['SIGNATURE', 'XENOPS', 'LIBXC', 'VARSTORED', 'SWTPM', 'QEMU_TRAD', 'END_OF_IMAGE'];
      assert.deepEqual(
        kinds.filter((kind) => kind.startsWith('xenopsd')),
        sections.map((kind) => `xenopsd:${kind}`),
      );
      assert.deepEqual([...reader.findings.counts.keys()], []);
    }
  });

  it('may lie in a larger container', () => {
    const reader = new XenopsdReader();
    assert.equal(kindsOf(reader, concat(image, new Uint8Array(4096)), () => 1000).at(-1), 'end:TRAILING');
    assert.equal(reader.trailing, 4096);
    assert.deepEqual([...reader.findings.counts.keys()], ['TRAILING_DATA']);
  });

  it('has metadata that are told', () => {
    const { time, wordSize, vm, fields } = parseXenopsdMetadata(Buffer.from(METADATA), 0);
    assert.deepEqual([time, wordSize, vm], ['20260101T00:00:00Z', 64, 'a "b" \\ A\n']);
    assert.deepEqual(fields.get('xs_subtree'), []);
    for (const [text, code] of [
      ['((time a)', 'FIELD_VALUE'],
      ['((time a))', 'FIELD_VALUE'],
      ['((time a)(word_size 64)) b', 'FIELD_VALUE'],
      ['((time "a)', 'FIELD_VALUE'],
      [')', 'FIELD_VALUE'],
      ['', 'FIELD_VALUE'],
      ['('.repeat(40), 'LIMIT_EXCEEDED'],
      [`(${'a '.repeat(100_001)})`, 'LIMIT_EXCEEDED'],
    ] as const) {
      assert.equal(thrownBy(() => parseXenopsdMetadata(Buffer.from(text), 0))?.code, code);
    }
  });

  it('is refused by name, and judged as xenopsd would', () => {
    const signature = encodeXenopsdSignature();
    const codeOf = (...parts: Uint8Array[]): string | undefined =>
      thrownBy(() => kindsOf(new XenopsdReader(), concat(...parts), WHOLE))?.code;
    assert.equal(codeOf(encodeXenopsdSignature('legacy')), 'UNSUPPORTED_VERSION');
    assert.equal(codeOf(Buffer.from('XenSavedDomv3-\n')), 'NOT_AN_IMAGE');
    assert.equal(codeOf(signature, encodeXenopsdHeader('LIBXC_LEGACY', 0)), 'UNSUPPORTED_VERSION');
    assert.equal(codeOf(signature, encodeXenopsdHeader('DEMU', 0)), 'UNSUPPORTED_FEATURE');
    assert.equal(codeOf(signature, encodeXenopsdHeader('SWTPM', 2 ** 40)), 'LIMIT_EXCEEDED');
    assert.equal(codeOf(signature, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, ...new Uint8Array(8))), 'UNKNOWN_RECORD');
    assert.equal(codeOf(signature, Uint8Array.of(15, 0, 0, 0, 0, 0, 0, 1, ...new Uint8Array(8))), 'UNKNOWN_RECORD');
    const reader = new XenopsdReader();
    const qemu = concat(encodeXenopsdHeader('QEMU_TRAD', 1_048_577), new Uint8Array(1_048_577));
    const other = concat(encodeXenopsdHeader('QEMU_XEN', 1), new Uint8Array(1));
    kindsOf(reader, concat(signature, qemu, other, encodeXenopsdHeader('END_OF_IMAGE', 9)), WHOLE);
    const expected = ['XENOPSD_QEMU_SIZE', 'XENOPSD_TAG_REFUSED', 'XENOPSD_LENGTH', 'XENOPSD_NO_MEMORY'];
    assert.deepEqual([...reader.findings.counts.keys()], expected);
  });

  it('holds a libxl stream, which xenopsd itself refuses', () => {
    const signature = encodeXenopsdSignature();
    const bytes = concat(
      signature,
      encodeXenopsdHeader('LIBXL', 0),
      libxl([end]),
      encodeXenopsdHeader('END_OF_IMAGE', 0),
    );
    const out = new Collected();
    const writer = new XenopsdWriter(out.emit);
    const reader = new XenopsdReader();
    kindsOf<XenopsdEvent>(
      reader,
      bytes,
      () => 100,
      (event) => {
        writer.event(event);
      },
    );
    assert.deepEqual(out.bytes, bytes);
    assert.deepEqual([...reader.findings.counts.keys()], ['XENOPSD_TAG_REFUSED']);
  });
});
