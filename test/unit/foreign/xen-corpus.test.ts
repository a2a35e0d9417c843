/** Real images of Xen: what is read of them is what other programs found in them, and writing gives the same bytes. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { parseHvmContext } from '../../../src/foreign/xen-libxc/hvm-context.ts';
import { encodeLibxcBody } from '../../../src/foreign/xen-libxc/records.ts';
import { LibxcReader, type LibxcEvent } from '../../../src/foreign/xen-libxc/reader.ts';
import { LibxcWriter } from '../../../src/foreign/xen-libxc/writer.ts';
import { xenstorePairs } from '../../../src/foreign/xen-libxl/records.ts';
import { xlConfig } from '../../../src/foreign/xl/header.ts';
import { emitXlBack, XlBackReader, type XlBackEvent } from '../../../src/foreign/xl/messages.ts';
import { XlReader, type XlEvent } from '../../../src/foreign/xl/reader.ts';
import { XlWriter } from '../../../src/foreign/xl/writer.ts';
import { EXPECTED, imageBytes, missing, type Expected } from '../../support/xen/corpus.ts';
import { BYTE_BY_BYTE, Collected, Digested, FinalMemory, readAll, thrownBy, WHOLE } from '../../support/xen/pieces.ts';

const PAGE_TYPE_NAMES: Readonly<Record<number, string>> = {
  0: 'normal',
  1: 'L1',
  2: 'L2',
  3: 'L3',
  4: 'L4',
  9: 'L1p',
  10: 'L2p',
  11: 'L3p',
  12: 'L4p',
  13: 'BROKEN',
  14: 'XALLOC',
  15: 'XTAB',
};

/** What is told of an image while it is read. */
class Told {
  readonly libxl: [string, number, number][] = [];
  readonly libxc = new Map<string, [string, number, number, number]>();
  readonly order: string[] = [];
  readonly memory = new FinalMemory();
  readonly memoryAt: string[] = [];

  see(event: XlEvent | LibxcEvent): void {
    if (event.layer === 'xl' || event.layer === 'wire' || event.kind === 'HEADER') return;
    if (event.kind === 'PAGE_DATA') this.memory.add(event);
    if (event.layer === 'libxl') this.libxl.push([event.kind, event.frame.length, event.frame.offset]);
    if (event.kind === 'PAGE_DATA' && event.first > 0) return;
    this.order.push(`${event.layer}:${event.kind}`);
    if (event.layer === 'libxl') return;
    const { kind, frame } = event;
    const row = this.libxc.get(kind) ?? [kind, 0, 0, frame.offset];
    row[1]++;
    row[2] += frame.length;
    this.libxc.set(kind, row);
  }
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function checkLibxc(told: Told, expected: NonNullable<Expected['libxc']>): void {
  assert.deepEqual([...told.libxc.values()], expected.records);
  assert.equal(told.memory.entries, expected.pageEntries);
  const types = [...told.memory.types].map(([type, count]) => [PAGE_TYPE_NAMES[type], count] as const);
  assert.deepEqual(Object.fromEntries(types), expected.pageTypes);
}

for (const [name, expected] of Object.entries(EXPECTED)) {
  if (expected.xl === undefined || expected.libxc === undefined) continue;
  const { libxc } = expected;
  describe(name, { skip: missing(name) }, () => {
    it('is what the manifest says, and is written as it was read', () => {
      const bytes = imageBytes(name);
      assert.equal(bytes.byteLength, expected.size);
      assert.equal(digest(bytes), expected.sha256);
      const reader = new XlReader();
      const told = new Told();
      const written = new Digested();
      const writer = new XlWriter(written.emit);
      // Pieces that split headers, entries and pages at ever other places.
      readAll(
        reader,
        bytes,
        () => 70_001,
        (event) => {
          assert.notEqual(event.layer, 'end');
          if (event.layer === 'end') return;
          told.see(event);
          writer.event(event);
          if (event.layer === 'xl') {
            assert.equal(event.mandatoryFlags, expected.xl?.mandatory);
            assert.equal(event.optionalData.byteLength, expected.xl?.optlen);
            assert.ok(Object.hasOwn(xlConfig(event), 'b_info'));
          } else if (event.layer === 'libxc' && event.kind === 'HEADER') {
            const { version, domainType, xenMajor, xenMinor, offset } = event;
            assert.deepEqual([version, domainType, offset], [libxc.version, libxc.domainType, libxc.offset]);
            assert.equal(`${xenMajor}.${xenMinor}`, libxc.xen);
          } else if (event.kind === 'X86_TSC_INFO') {
            const { mode, khz, nsec, incarnation, reserved } = event;
            assert.deepEqual([mode, khz, Number(nsec), incarnation, reserved], libxc.tsc);
          } else if (event.kind === 'X86_PV_INFO') {
            assert.deepEqual([event.guestWidth, event.ptLevels, ...event.reserved], libxc.pvInfo);
          } else if (event.kind === 'X86_PV_P2M_FRAMES') {
            assert.deepEqual([event.startPfn, event.endPfn], libxc.p2mFrames);
          } else if (event.kind === 'HVM_CONTEXT') {
            const { entries } = parseHvmContext(event.content, event.frame.offset);
            const found = entries.map(({ type, instance, content }) => [type, instance, content.byteLength]);
            assert.deepEqual([...found, [0, 0, 0]], libxc.hvmContext);
          } else if (event.kind === 'HVM_PARAMS') {
            const { params } = event;
            const found = Array.from({ length: event.count }, (_, i) => [
              params.number(2 * i),
              params.number(2 * i + 1),
            ]);
            assert.deepEqual(found, libxc.hvmParams);
          }
        },
      );
      checkLibxc(told, libxc);
      assert.deepEqual(told.libxl, expected.libxl);
      assert.equal(told.memory.size, expected.memory?.final_pages);
      assert.equal(told.memory.sha256(), expected.memory?.final_memory_sha256);
      assert.equal(written.hex(), expected.sha256);
      assert.equal(reader.permissionGiven, expected.trailing !== '');
      // Xen writes HVM_PARAMS after HVM_CONTEXT, against its own specification; nothing else is wrong with these.
      const strict = libxc.domainType === 2 ? ['PARAMS_AFTER_CONTEXT'] : [];
      assert.deepEqual([...reader.findings.counts.keys()], strict);
      assert.notEqual(reader.findings.worst, 'refused');
    });

    it('gives the same in one piece', () => {
      const reader = new XlReader();
      const told = new Told();
      readAll(reader, imageBytes(name), WHOLE, (event) => {
        if (event.layer !== 'end') told.see(event);
      });
      checkLibxc(told, libxc);
      assert.equal(reader.offset, expected.size);
    });
  });
}

for (const name of ['xen-4.17-pv-tiny64-4m-corepair.xl', 'xen-4.17-hvm-seabios-16m-corepair.xl']) {
  it(`${name} holds the memory that its core has`, { skip: missing(name) }, () => {
    const memory = new FinalMemory();
    const written = new Digested();
    const writer = new XlWriter(written.emit);
    readAll(new XlReader(), imageBytes(name), WHOLE, (event) => {
      if (event.layer === 'end') assert.fail('nothing follows');
      writer.event(event);
      if (event.kind === 'PAGE_DATA') memory.add(event);
    });
    assert.equal(memory.sha256(), EXPECTED[name].memory?.final_memory_sha256);
    assert.equal(written.hex(), EXPECTED[name].sha256);
  });
}

describe('a bare libxc stream', () => {
  const name = 'xen-4.17-pv-tiny64-4m.xl';
  const whole = imageBytes(name);
  const bytes = whole.subarray(833, 4_214_177);

  it('is the part of an xl file that the manifest of its own says', () => {
    assert.equal(digest(bytes), EXPECTED['xen-4.17-pv-tiny64-4m.libxc'].sha256);
  });

  it('has bodies that are encoded as they were, byte by byte', () => {
    const written = new Collected();
    const writer = new LibxcWriter(written.emit);
    const tail = bytes.byteLength - 10_000;
    // The large middle at once, header and end byte by byte.
    let at = 0;
    readAll(
      new LibxcReader(),
      bytes,
      (left) => {
        at = bytes.byteLength - left;
        return at < 20_000 || at >= tail ? BYTE_BY_BYTE(left) : tail - at;
      },
      (event) => {
        if (event.layer === 'end') assert.fail('nothing follows');
        writer.event(event);
        if (event.kind === 'HEADER' || event.kind === 'PAGE_DATA') return;
        const { offset, length } = event.frame;
        assert.deepEqual(encodeLibxcBody(event, true), bytes.slice(offset + 8, offset + 8 + length), event.kind);
      },
    );
    assert.equal(digest(written.bytes), digest(bytes));
  });
});

describe('nodes of xenstore in an image', () => {
  it('are taken, although the verifier of Xen refuses them', () => {
    const pairs: unknown[] = [];
    const reader = new XlReader();
    readAll(reader, imageBytes('xen-4.17-hvm-seabios-8m-physmap.xl'), WHOLE, (event) => {
      if (event.kind === 'EMULATOR_XENSTORE_DATA') pairs.push(...xenstorePairs(event.content).pairs);
    });
    assert.deepEqual(pairs, [
      { key: 'physmap/f0000000/start_addr', value: 'f0000000' },
      { key: 'physmap/f0000000/size', value: '1000000' },
      { key: 'physmap/f0000000/name', value: 'vga.vram' },
    ]);
    assert.notEqual(reader.findings.worst, 'refused');
  });
});

describe('a stream of Remus', { skip: missing('xen-4.17-pv-tiny64-4m.remus') }, () => {
  const name = 'xen-4.17-pv-tiny64-4m.remus';
  const expected = EXPECTED[name];

  it('is consistent to its last complete checkpoint', () => {
    const bytes = imageBytes(name);
    const reader = new XlReader();
    const told = new Told();
    const memory: string[] = [];
    const written = new Collected();
    const writer = new XlWriter(written.emit);
    let seen = 0;
    const error = thrownBy(() => {
      readAll(
        reader,
        bytes,
        () => 65_536,
        (event) => {
          if (event.layer === 'end') assert.fail('nothing follows');
          told.see(event);
          writer.event(event);
          if (event.kind !== 'CHECKPOINT_END') return;
          memory.push(told.memory.sha256());
          assert.deepEqual(reader.checkpoints, { complete: ++seen, end: expected.checkpoints![seen - 1].end });
        },
      );
    });
    assert.equal(error?.code, 'TRUNCATED');
    const last = expected.checkpoints!.at(-1)!;
    assert.deepEqual(error.data, { checkpoints: expected.checkpoints!.length, lastCheckpointEnd: last.end });
    assert.deepEqual(
      memory,
      expected.checkpoints!.map((checkpoint) => checkpoint.memory),
    );
    const order = expected.checkpoints!.flatMap((checkpoint) => checkpoint.records);
    assert.deepEqual(told.order.slice(1, 1 + order.length), order);
    assert.equal(told.order[0], 'libxl:LIBXC_CONTEXT');
    // The page that the cut went through was not handed out; everything before it is written as it was.
    const { bytes: again } = written;
    assert.ok(bytes.byteLength - again.byteLength < 4096);
    assert.equal(digest(again), digest(bytes.subarray(0, again.byteLength)));
    assert.equal(reader.findings.counts.size, 0);
  });
});

describe('what the target of a migration sends', () => {
  for (const [name, kinds] of [
    ['xen-4.17-pv-tiny64-4m-live.back', ['BANNER', 'READY', 'REPORT']],
    ['xen-4.17-pv-tiny64-4m.remus-back', ['BANNER']],
  ] as const) {
    for (const [how, pieces] of [
      ['in one piece', WHOLE],
      ['byte by byte', BYTE_BY_BYTE],
    ] as const) {
      it(`${name} ${how}`, () => {
        const bytes = imageBytes(name);
        assert.equal(Buffer.from(bytes).toString('hex'), EXPECTED[name].hex);
        const events: XlBackEvent[] = [];
        const written = new Collected();
        const reader = new XlBackReader();
        readAll(reader, bytes, pieces, (event) => {
          if (event.layer === 'end') assert.fail('nothing follows');
          events.push(event);
          emitXlBack(written.emit, event);
        });
        assert.deepEqual(
          events.map(({ kind }) => kind),
          kinds,
        );
        assert.equal(reader.complete, kinds.length > 1);
        assert.deepEqual(written.bytes, bytes);
      });
    }
  }
});
