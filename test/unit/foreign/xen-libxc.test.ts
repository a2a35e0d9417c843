import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BODY, PAGE_TYPE } from '../../../src/foreign/xen-libxc/constants.ts';
import { U64List, u64Bytes, type Place } from '../../../src/foreign/xen-libxc/fields.ts';
import { XEN_FINDINGS } from '../../../src/foreign/xen-libxc/findings.ts';
import {
  decodeHvmCpu,
  encodeHvmContext,
  hvmCpuExtras,
  parseHvmContext,
} from '../../../src/foreign/xen-libxc/hvm-context.ts';
import { pageTableLevel, pageTypeHasData, pageTypeIsKnown } from '../../../src/foreign/xen-libxc/pages.ts';
import {
  decodeCpuidPolicy,
  decodeMsrPolicy,
  encodeCpuidPolicy,
  encodeMsrPolicy,
} from '../../../src/foreign/xen-libxc/policy.ts';
import { decodePvExtended, decodePvMsrs, decodePvVcpu, pfnOfCr3 } from '../../../src/foreign/xen-libxc/pv-vcpu.ts';
import { LibxcReader, type LibxcEvent } from '../../../src/foreign/xen-libxc/reader.ts';
import { LibxcWriter } from '../../../src/foreign/xen-libxc/writer.ts';
import { XlReader } from '../../../src/foreign/xl/reader.ts';
import { imageBytes } from '../../support/xen/corpus.ts';
import { BYTE_BY_BYTE, Collected, FinalMemory, readAll, thrownBy, WHOLE } from '../../support/xen/pieces.ts';
import {
  blob,
  empty,
  hvmHeaderEntry,
  hvmParams,
  hvmSteps,
  libxcStream,
  NOTHING,
  p2mFrames,
  pvInfo,
  pvSteps,
  tsc,
  vcpu,
  type Step,
  type TestStream,
} from '../../support/xen/streams.ts';

const PLACE: Place = { offset: 0, path: 'test', section: 'test' };

function findingsOf(stream: TestStream, steps: readonly Step[]): string[] {
  const reader = new LibxcReader();
  readAll(reader, libxcStream(stream, steps), WHOLE);
  return [...reader.findings.counts.keys()];
}

/** The steps of a sound stream with one step replaced or left out; `at` counts from its start. */
function changed(steps: readonly Step[], at: number, ...instead: Step[]): Step[] {
  return steps.toSpliced(at, 1, ...instead);
}

function errorOf(bytes: Uint8Array): { code: string; path: string; offset: number } | undefined {
  const error = thrownBy(() => {
    readAll(new LibxcReader(), bytes, () => 1000);
  });
  return error && { code: error.code, path: error.path ?? '', offset: error.offset ?? -1 };
}

/** A stream with 32-bit numbers put in at offsets. */
function patched(bytes: Uint8Array, ...patches: readonly (readonly [offset: number, value: number])[]): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  for (const [offset, value] of patches) view.setUint32(offset, value, true);
  return copy;
}

describe('a libxc stream', () => {
  for (const [title, stream, steps] of [
    ['of a PV domain', {}, pvSteps()],
    ['of version 2', { version: 2 }, changed(pvSteps().toSpliced(1, 2), 1)],
    ['big-endian', { bigEndian: true }, pvSteps(false)],
    ['of an HVM domain', { domainType: 2 }, hvmSteps()],
    ['with an optional record', {}, [...pvSteps().slice(0, -1), { optional: 0x8000_0007 }, empty('END')]],
  ] as const) {
    it(`${title} is written as it was read`, () => {
      const bytes = libxcStream(stream, steps);
      const out = new Collected();
      const writer = new LibxcWriter(out.emit);
      const reader = new LibxcReader();
      readAll(reader, bytes, BYTE_BY_BYTE, (event) => {
        if (event.layer === 'end') assert.fail('nothing follows');
        writer.event(event);
      });
      assert.deepEqual(out.bytes, bytes);
      assert.deepEqual([...reader.findings.counts.keys()], 'bigEndian' in stream ? ['BIG_ENDIAN'] : []);
    });
  }

  it('gives the memory of its end in either byte order', () => {
    const digests = [true, false].map((little) => {
      const memory = new FinalMemory();
      readAll(new LibxcReader(), libxcStream({ bigEndian: !little }, pvSteps(little)), WHOLE, (event) => {
        if (event.kind === 'PAGE_DATA') memory.add(event);
      });
      assert.equal(memory.entries, 6);
      assert.deepEqual(
        [memory.page(0)?.[0], memory.page(1)?.[0], memory.page(2), memory.page(3)],
        [4, 2, undefined, undefined],
      );
      return memory.sha256();
    });
    assert.equal(digests[0], digests[1]);
  });

  it('keeps reserved fields, padding and bodies that should not be there', () => {
    const steps: Step[] = [
      { ...(pvInfo() as Extract<Step, { kind: 'X86_PV_INFO' }>), reserved: [1, 2], rest: new Uint8Array(5).fill(4) },
      { kind: 'STATIC_DATA_END', rest: Uint8Array.of(1, 2, 3) },
      ...pvSteps().slice(4),
    ];
    const bytes = libxcStream({}, steps);
    // Padding of PV_INFO, the reserved part of both headers, and reserved bits of an entry.
    for (const at of [40 + 8 + 13, 20, 30]) bytes[at] = 7;
    const out = new Collected();
    const writer = new LibxcWriter(out.emit);
    const reader = new LibxcReader();
    readAll(
      reader,
      bytes,
      () => 77,
      (event) => {
        if (event.layer !== 'end') writer.event(event);
      },
    );
    assert.deepEqual(out.bytes, bytes);
    const found = [...reader.findings.counts.keys()].sort();
    assert.deepEqual(found, ['BODY_NOT_EMPTY', 'BODY_TOO_LONG', 'PADDING', 'RESERVED_FIELD']);
    assert.equal(reader.findings.worst, 'strict');
    assert.equal(reader.findings.counts.get('RESERVED_FIELD'), 4);
  });

  it('hands out what follows its end', () => {
    const bytes = libxcStream({}, pvSteps());
    const longer = new Uint8Array(bytes.byteLength + 10).fill(6);
    longer.set(bytes);
    const reader = new LibxcReader();
    let trailing = 0;
    readAll(
      reader,
      longer,
      () => 4,
      (event) => {
        if (event.layer !== 'end') return;
        assert.equal(event.offset, bytes.byteLength + trailing);
        trailing += event.bytes.byteLength;
      },
    );
    assert.equal(trailing, 10);
    assert.equal(reader.trailing, 10);
    assert.deepEqual([...reader.findings.counts], [['TRAILING_DATA', 1]]);
  });
});

describe('rules of a libxc stream', () => {
  const pv = pvSteps();
  const hvm = hvmSteps();
  const basic = vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic64);
  const cases: readonly (readonly [string, TestStream, readonly Step[], readonly string[]])[] = [
    ['a sound PV stream', {}, pv, []],
    ['a sound HVM stream', { domainType: 2 }, hvm, []],
    ['memory before STATIC_DATA_END', {}, changed(pv, 3), ['STATIC_DATA_END_MISSING']],
    ['version 2 infers it', { version: 2 }, pv.toSpliced(1, 3), []],
    ['version 2 may have it', { version: 2 }, pv.toSpliced(1, 2), ['STATIC_DATA_END_IN_V2']],
    [
      'version 2, after memory',
      { version: 2 },
      pv.toSpliced(1, 3).toSpliced(3, 0, empty('STATIC_DATA_END')),
      ['STATIC_DATA_END_IN_V2', 'STATIC_DATA_END_TWICE'],
    ],
    ['policies in version 2', { version: 2 }, changed(pv, 3), ['POLICY_IN_V2']],
    ['STATIC_DATA_END twice', {}, changed(pv, 3, pv[3], pv[3]), ['STATIC_DATA_END_TWICE']],
    ['static data late', {}, pv.toSpliced(4, 0, pv[1]), ['STATIC_DATA_LATE']],
    ['a second PV_INFO', {}, changed(pv, 0, pv[0], pv[0]), ['PV_INFO_TWICE']],
    ['no PV_INFO', {}, changed(pv, 0), ['PV_INFO_MISSING']],
    ['odd levels', {}, changed(pv, 0, pvInfo(8, 3)), ['PV_INFO_VALUES']],
    ['a range that is none', {}, changed(pv, 4, p2mFrames(3, [1], true, 5)), ['P2M_RANGE']],
    ['a pfn beyond the range', {}, changed(pv, 5, [[512, PAGE_TYPE.normal, 1]]), ['PFN_RANGE']],
    ['no range', {}, changed(pv, 4), ['PFN_RANGE']],
    [
      'a pfn twice',
      {},
      changed(pv, 5, [
        [1, 0, 1],
        [0, 0, 1],
        [1, 0, 1],
      ]),
      ['PFN_TWICE'],
    ],
    [
      'pfns in any order',
      {},
      changed(pv, 5, [
        [1, 0, 1],
        [0, 0, 1],
      ]),
      [],
    ],
    ['a vCPU before memory', {}, pv.toSpliced(9, 1).toSpliced(4, 0, basic), ['VCPU_BEFORE_MEMORY']],
    ['a vCPU twice', {}, changed(pv, 9, basic, basic), ['VCPU_TWICE']],
    ['an empty record of a vCPU', {}, changed(pv, 10, vcpu('X86_PV_VCPU_XSAVE', 0, 4)), ['VCPU_EMPTY']],
    ['no vCPU 0', {}, changed(pv, 9, vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic64, 1)), ['VCPU_ZERO_MISSING']],
    ['an HVM record of a PV domain', {}, changed(pv, 7, hvmParams([1, 2])), ['WRONG_GUEST']],
    ['a PV record of an HVM domain', { domainType: 2 }, changed(hvm, 3, basic), ['WRONG_GUEST']],
    ['no HVM_CONTEXT', { domainType: 2 }, changed(hvm, 5), ['HVM_CONTEXT_MISSING']],
    ['an empty HVM_CONTEXT', { domainType: 2 }, changed(hvm, 5, blob('HVM_CONTEXT', 0)), ['HVM_CONTEXT_MISSING']],
    ['no memory of an HVM domain', { domainType: 2 }, changed(hvm, 2), ['HVM_MEMORY_MISSING']],
    ['no memory of a PV domain', {}, pv.toSpliced(5, 2).toSpliced(8, 3), ['VCPU_BEFORE_MEMORY', 'PV_MEMORY_MISSING']],
    ['HVM_PARAMS late', { domainType: 2 }, changed(changed(hvm, 4), 4, hvm[5], hvm[4]), ['PARAMS_AFTER_CONTEXT']],
    ['empty HVM_PARAMS', { domainType: 2 }, changed(hvm, 4, hvmParams([])), ['PARAMS_EMPTY']],
    ['TOOLSTACK', {}, changed(pv, 7, blob('TOOLSTACK', 9)), ['TOOLSTACK']],
    ['a type that Xen does not restore', { domainType: 3 }, hvm, ['DOMAIN_TYPE']],
    ['VERIFY and pages again', {}, changed(pv, 7, empty('VERIFY'), pv[5], tsc), []],
    [
      'a record of the back channel',
      {},
      changed(pv, 7, { kind: 'CHECKPOINT_DIRTY_PFN_LIST', pfns: new U64List(u64Bytes([1, 2], true), true) }),
      ['BACK_CHANNEL_ONLY'],
    ],
    ['the same vCPU after a checkpoint', {}, changed(pv, 13, empty('CHECKPOINT'), basic, empty('END')), []],
  ];
  for (const [title, stream, steps, expected] of cases) {
    it(title, () => {
      assert.deepEqual(findingsOf(stream, steps), expected);
    });
  }

  it('say which reading they come from, and where', () => {
    const reader = new LibxcReader();
    readAll(reader, libxcStream({}, changed(pv, 3)), WHOLE);
    const [finding] = reader.findings.kept;
    assert.deepEqual(finding, {
      code: 'STATIC_DATA_END_MISSING',
      verdict: 'refused',
      offset: 40 + 16 + 56 + 24,
      path: 'libxc record 3 (X86_PV_P2M_FRAMES)',
      section: XEN_FINDINGS.STATIC_DATA_END_MISSING[1],
      data: {},
    });
  });

  it('are kept with bounded memory', () => {
    const many = Array.from({ length: 100 }, () => blob('TOOLSTACK', 1));
    const reader = new LibxcReader();
    readAll(reader, libxcStream({}, changed(pv, 7, ...many)), WHOLE);
    assert.equal(reader.findings.kept.length, 32);
    assert.equal(reader.findings.counts.get('TOOLSTACK'), 100);
  });
});

describe('what a libxc reader refuses', () => {
  const bytes = libxcStream({}, pvSteps());
  const pvInfoAt = 40;
  const p2mAt = pvInfoAt + 16 + 56 + 24 + 8;
  const pagesAt = p2mAt + 24;

  it('another beginning, version or size of pages', () => {
    assert.equal(errorOf(patched(bytes, [4, 0]))?.code, 'NOT_AN_IMAGE');
    assert.equal(errorOf(patched(bytes, [8, 0]))?.code, 'NOT_AN_IMAGE');
    assert.equal(errorOf(patched(bytes, [12, 0x0400_0000]))?.code, 'UNSUPPORTED_VERSION');
    assert.equal(errorOf(patched(bytes, [28, 13]))?.code, 'FIELD_VALUE');
  });

  it('a mandatory record that is not known, before its body came', () => {
    const cut = patched(bytes, [pvInfoAt, 0x13]).subarray(0, pvInfoAt + 8);
    const expected = { code: 'UNKNOWN_RECORD', path: 'libxc record 0 (type 0x13)', offset: pvInfoAt };
    assert.deepEqual(errorOf(cut), expected);
  });

  it('lengths beyond the limit and lengths that no body has', () => {
    assert.equal(errorOf(patched(bytes, [pvInfoAt + 4, 0x0800_0001]))?.code, 'LIMIT_EXCEEDED');
    for (const [at, length] of [
      [pvInfoAt, 7],
      [pvInfoAt + 16, 47],
      [p2mAt, 8],
      [p2mAt, 15],
    ]) {
      const error = errorOf(patched(bytes, [at + 4, length]));
      assert.equal(error?.code, 'LENGTH_MISMATCH');
      assert.equal(error.offset, at);
    }
  });

  it('PAGE_DATA whose length or count lies', () => {
    const length = new DataView(bytes.buffer).getUint32(pagesAt + 4, true);
    assert.equal(length, 8 + 4 * 8 + 3 * 4096);
    const path = 'libxc record 5 (PAGE_DATA)';
    for (const [patches, code, field] of [
      [[[pagesAt + 8, 0]], 'FIELD_VALUE', '/count'],
      [[[pagesAt + 8, 0xffff_ffff]], 'LENGTH_MISMATCH', '/count'],
      [[[pagesAt + 8, 5]], 'LENGTH_MISMATCH', ''],
      [[[pagesAt + 4, length + 8]], 'LENGTH_MISMATCH', ''],
      [[[pagesAt + 4, length - 4096]], 'LENGTH_MISMATCH', ''],
      [[[pagesAt + 4, 8]], 'LENGTH_MISMATCH', ''],
      [[[pagesAt + 16 + 8 + 4, 0x5000_0000]], 'FIELD_VALUE', '/pfn[1]'],
    ] as const) {
      assert.deepEqual(errorOf(patched(bytes, ...patches)), { code, path: path + field, offset: pagesAt });
    }
  });

  it('contexts of vCPUs of the other width', () => {
    const steps = changed(pvSteps(), 9, vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic32));
    assert.equal(errorOf(libxcStream({}, steps))?.code, 'LENGTH_MISMATCH');
    assert.equal(errorOf(libxcStream({}, changed(pvSteps(), 4, p2mFrames(512, [1]))))?.code, 'LENGTH_MISMATCH');
    assert.equal(errorOf(libxcStream({}, changed(pvSteps(), 4, p2mFrames(512, [1, 2])))), undefined);
    for (const [kind, length] of [
      ['X86_PV_VCPU_EXTENDED', 129],
      ['X86_PV_VCPU_XSAVE', 15],
      ['X86_PV_VCPU_MSRS', 17],
      ['X86_PV_VCPU_BASIC', 100],
    ] as const) {
      assert.equal(errorOf(libxcStream({}, changed(pvSteps(), 10, vcpu(kind, length))))?.code, 'LENGTH_MISMATCH');
    }
  });
});

describe('what a libxc writer refuses', () => {
  const writer = (): LibxcWriter => new LibxcWriter(() => {});
  it('records without a header, pages without entries, and records among pages', () => {
    assert.throws(() => writer().record(tsc), RangeError);
    assert.throws(() => {
      const out = writer();
      readAll(new LibxcReader(), libxcStream({}, pvSteps()), WHOLE, (event) => {
        if (event.kind === 'PAGE_DATA') out.pages(event.bytes);
        else out.event(event as LibxcEvent);
      });
    }, RangeError);
    assert.throws(() => {
      const out = writer();
      readAll(new LibxcReader(), libxcStream({}, pvSteps()), WHOLE, (event) => {
        if (event.kind === 'PAGE_DATA') out.pageEntries(event.words, event.count);
        else out.event(event as LibxcEvent);
      });
    }, RangeError);
  });
});

describe('kinds of pages', () => {
  it('are as the specification has them', () => {
    const all = Array.from({ length: 16 }, (_, type) => type);
    assert.deepEqual(all.filter(pageTypeHasData), [0, 1, 2, 3, 4, 9, 10, 11, 12]);
    assert.deepEqual(all.filter(pageTypeIsKnown), [0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15]);
    assert.deepEqual(
      all.filter((type) => pageTypeIsKnown(type) && pageTableLevel(type) > 0),
      [1, 2, 3, 4, 9, 10, 11, 12],
    );
    assert.deepEqual([PAGE_TYPE.l1, PAGE_TYPE.l4Pinned].map(pageTableLevel), [1, 4]);
  });
});

/** The content of the first record of a kind in a real image. */
function contentOf(name: string, kind: string): Uint8Array {
  let content: Uint8Array | undefined;
  readAll(new XlReader(), imageBytes(name), WHOLE, (event) => {
    if (event.kind !== kind || content !== undefined) return;
    if ('content' in event) content = event.content?.slice();
    else if ('context' in event) content = event.context.slice();
  });
  return content ?? assert.fail(`no ${kind}`);
}

describe('contexts of processors', () => {
  it('of an HVM guest: SeaBIOS waits in real mode', () => {
    const blobBytes = contentOf('xen-4.17-hvm-seabios-16m.xl', 'HVM_CONTEXT');
    const context = parseHvmContext(blobBytes, 0);
    assert.equal(context.tscKhz, 2_445_405);
    assert.deepEqual(encodeHvmContext(context.entries, context.rest), blobBytes);
    const cpu = decodeHvmCpu(context.entries[1], 0);
    assert.deepEqual(cpu.segments.cs, { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base: 0xf0000n });
    assert.deepEqual([cpu.registers.rip, cpu.registers.cr0, cpu.registers.dr6], [0xb7b9n, 0x10n, 0xffff0ff0n]);
    assert.deepEqual([cpu.idtr, cpu.fpuInitialised], [{ base: 0n, limit: 1023 }, true]);
    const extras = hvmCpuExtras(context, 0, 0);
    assert.deepEqual(extras, { apicBase: 0xfee0_0900n, pat: 0x0007_0406_0007_0406n, xcr0: null, msrs: [] });
  });

  it('of an HVM guest of older versions of Xen', () => {
    const [, entry] = parseHvmContext(contentOf('xen-4.17-hvm-seabios-16m.xl', 'HVM_CONTEXT'), 0).entries;
    const now = decodeHvmCpu(entry, 0);
    const before47 = decodeHvmCpu({ ...entry, content: entry.content.subarray(0, 1024) }, 0);
    assert.deepEqual(before47, { ...now, fpuInitialised: null });
    const old = new Uint8Array(1016);
    old.set(entry.content.subarray(0, 1000));
    old.set(entry.content.subarray(1008, 1024), 1000);
    assert.deepEqual(decodeHvmCpu({ ...entry, content: old }, 0), before47);
    const error = thrownBy(() => decodeHvmCpu({ ...entry, content: entry.content.subarray(0, 1020) }, 0));
    assert.equal(error?.code, 'LENGTH_MISMATCH');
  });

  it('of a 64-bit PV guest: its top page table is a pfn of the stream', () => {
    const cpu = decodePvVcpu(contentOf('xen-4.17-pv-tiny64-4m.xl', 'X86_PV_VCPU_BASIC'), PLACE);
    assert.equal(cpu.width, 8);
    assert.ok(cpu.online && cpu.inKernel);
    // Its top page table is the only pinned page of the image.
    let pinned = -1;
    readAll(new XlReader(), imageBytes('xen-4.17-pv-tiny64-4m.xl'), WHOLE, (event) => {
      if (event.kind !== 'PAGE_DATA') return;
      for (let i = event.first; i < event.end; i++) if (event.type(i) === PAGE_TYPE.l4Pinned) pinned = event.pfn(i);
    });
    assert.equal(cpu.cr3Pfn, pinned);
    assert.equal(cpu.traps.byteLength, 4096);
  });

  it('of a 32-bit PV guest', () => {
    const cpu = decodePvVcpu(contentOf('xen-4.17-pv-tiny32-4m-lostpage.xl', 'X86_PV_VCPU_BASIC'), PLACE);
    assert.deepEqual([cpu.width, cpu.cr3Pfn, cpu.bases, cpu.userCr3Pfn], [4, 13, null, null]);
    assert.deepEqual(
      [cpu.registers.rip, cpu.registers.rsp, cpu.registers.rflags],
      [0xc000_13a7n, 0xc000_7f80n, 0x282n],
    );
    assert.deepEqual(cpu.selectors, { cs: 0xe019, ss: 0xe021, es: 0xe021, ds: 0xe021, fs: 0xe021, gs: 0xe021 });
    assert.equal(cpu.kernelSp, 0xc001_2000n);
    assert.equal(pfnOfCr3(0x0000_d123n, 4), 0x1230_000d);
  });

  it('of shorter records and of MSRs', () => {
    const extended = decodePvExtended(contentOf('xen-4.17-pv-tiny64-4m.xl', 'X86_PV_VCPU_EXTENDED'), PLACE);
    assert.deepEqual([extended.size, extended.machineCheck.length], [64, 4]);
    assert.equal(thrownBy(() => decodePvExtended(new Uint8Array(31), PLACE))?.code, 'LENGTH_MISMATCH');
    const msr = Uint8Array.of(0x80, 0, 0, 0xc0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0);
    assert.deepEqual(decodePvMsrs(msr, PLACE), [{ index: 0xc000_0080, reserved: 0, value: 0x501n }]);
  });
});

describe('HVM contexts that lie', () => {
  it('are refused with a typed error', () => {
    const sound = encodeHvmContext([hvmHeaderEntry(), { type: 5, instance: 0, content: new Uint8Array(24) }]);
    for (const [bytes, code] of [
      [patched(sound, [4, 0xffff_fff0]), 'LENGTH_MISMATCH'],
      [sound.subarray(0, -8), 'LENGTH_MISMATCH'],
      [patched(sound, [8, 7]), 'FIELD_VALUE'],
      [patched(sound, [0, 5]), 'FIELD_VALUE'],
      [NOTHING, 'LENGTH_MISMATCH'],
    ] as const) {
      assert.equal(thrownBy(() => parseHvmContext(bytes, 0))?.code, code);
    }
    assert.equal(parseHvmContext(sound, 0).entries.length, 2);
  });
});

describe('policies', () => {
  it('are decoded and encoded', () => {
    const cpuid = contentOf('xen-4.17-pv-tiny64-4m.xl', 'X86_CPUID_POLICY');
    const leaves = decodeCpuidPolicy(cpuid, PLACE);
    assert.equal(leaves.length, 1248 / 24);
    const [{ eax, ebx, edx, ecx }] = leaves;
    assert.equal(Buffer.from(Uint32Array.of(ebx, edx, ecx).buffer).toString(), 'AuthenticAMD');
    assert.equal(eax, 13);
    assert.deepEqual(encodeCpuidPolicy(leaves), cpuid);
    const msrs = contentOf('xen-4.17-hvm-seabios-16m.xl', 'X86_MSR_POLICY');
    const entries = decodeMsrPolicy(msrs, PLACE);
    assert.deepEqual(entries[0], { index: 0xce, flags: 0, value: 0x8000_0000n });
    assert.deepEqual(encodeMsrPolicy(entries), msrs);
  });
});
