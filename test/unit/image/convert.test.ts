/** Conversions: what is lost, what is missing, what is damaged. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import {
  convertImage,
  MemorySink,
  memorySource,
  openImage,
  TransmigrateError,
  type ByteSource,
  type ConversionLoss,
  type Dictionary,
  type ImageEvent,
  type TmemClient,
  type TmemPool,
} from '../../../src/index.ts';
import { BODY, PAGE_TYPE } from '../../../src/foreign/xen-libxc/constants.ts';
import { TmigImageWriter } from '../../../src/image/convert/tmig-writer.ts';
import { VCPU_STATE, type DiskEvent } from '../../../src/image/model/event.ts';
import { readerOf } from '../../../src/image/readers/reader-of.ts';
import { converted, FIXED, machineOf, refused, sha256, type Chosen } from '../../support/convert.ts';
import { random } from '../../support/random.ts';
import { PAGE, written } from '../../support/streams.ts';
import { imageBytes } from '../../support/xen/corpus.ts';
import { xenFindings } from '../../support/xen/findings.ts';
import {
  blob,
  checkpointed,
  empty,
  hvmSteps,
  libxcStream,
  NOTHING,
  p2mFrames,
  pvInfo,
  pvSteps,
  vcpu,
  xenopsdImage,
  xlFile,
  type Step,
} from '../../support/xen/streams.ts';

/** What a conversion would lose; that it is refused is checked on the way. */
async function lossesOf(bytes: Uint8Array, chosen: Chosen): Promise<string[]> {
  let named: readonly ConversionLoss[] = [];
  await assert.rejects(converted(bytes, chosen), (error) => {
    assert.ok(error instanceof TransmigrateError);
    assert.equal(error.code, 'CONVERSION_LOSS', error.message);
    named = error.data['losses'] as ConversionLoss[];
    assert.ok(error.message.includes(named[0].name));
    return true;
  });
  const { result } = await converted(bytes, { ...chosen, allowLoss: true });
  assert.deepEqual(result.losses, named);
  for (const { why } of named) assert.notEqual(why, '');
  return named.map(({ what, name }) => `${what} ${name}`);
}

const DISK: DiskEvent['disk'] = {
  disk: 0,
  name: 'hda',
  policy: 'shared',
  readOnly: false,
  bytes: 512n,
  sha256: new Uint8Array(32),
  format: 'raw',
  locator: 'x',
};
const CLIENT: TmemClient = {
  kind: 'TMEM_CLIENT',
  compress: false,
  frozen: false,
  weight: 0,
  cap: 0,
  allowancePages: 0n,
  authorised: [],
};
const POOL: TmemPool = {
  kind: 'TMEM_POOL',
  ephemeral: false,
  incarnation: 1n,
  pool: 0,
  shared: false,
  precompressed: false,
  pageSize: 4096,
  objectIdBits: 64,
  uuid: '00000000-0000-0000-0000-000000000000',
  pages: 0n,
};
const OWN: Dictionary = {
  kind: 'DICTIONARY',
  record: 0x4000,
  name: 'org.example.own',
  version: 1,
  text: '',
  schema: null,
};

/** An image of ours that has more than that of Xen. */
async function withMore(xen: Uint8Array, more: readonly ImageEvent[]): Promise<Uint8Array> {
  const sink = new MemorySink();
  const about = { name: 'x', uuid: 'u' };
  const writer = new TmigImageWriter(sink, { streamId: FIXED.streamId, codec: 1, about });
  for await (const event of readerOf('xen-libxc', memorySource(xen)).events()) {
    if (event.kind === 'end') for (const one of more) await writer.event(one);
    await writer.event(event);
  }
  return sink.bytes();
}

/** What can't be made, and what is missing. */
async function missingOf(bytes: Uint8Array, chosen: Chosen): Promise<unknown> {
  let missing: unknown;
  await assert.rejects(converted(bytes, { ...chosen, allowLoss: true }), (error) => {
    assert.ok(error instanceof TransmigrateError);
    assert.equal(error.code, 'IMAGE_UNFIT', error.message);
    missing = error.data['missing'];
    return true;
  });
  return missing;
}

/** Steps of a PV domain, with one of them replaced or left out. */
function pvWith(change: (step: Step) => Step | undefined): Uint8Array {
  const steps: Step[] = [];
  for (const step of pvSteps()) {
    const changed = change(step);
    if (changed !== undefined) steps.push(changed);
  }
  return libxcStream({}, steps);
}

function isKind(step: Step, kind: string): boolean {
  return 'kind' in step && step.kind === kind;
}

const EVERY = ['xen-libxc', 'xen-libxc-v2', 'libxl', 'xl', 'xenopsd'] as const;

describe('what is made anew', () => {
  const sources: readonly (readonly [string, Uint8Array])[] = [
    ['a PV domain', libxcStream({}, pvSteps())],
    ['an HVM domain', libxcStream({ domainType: 2 }, hvmSteps())],
    ['an xl file', xlFile()],
    ['a suspend image', xenopsdImage()],
    ['PV of Xen', imageBytes('xen-4.17-pv-tiny32-4m-lostpage.xl')],
    ['HVM of Xen', imageBytes('xen-4.17-hvm-seabios-8m-physmap.xl')],
  ];
  for (const [what, bytes] of sources) {
    it(`has nothing against Xen, and nothing against the letter: ${what}`, async () => {
      for (const to of EVERY) {
        const made = await converted(bytes, { to, origin: false, allowLoss: true });
        const noConfig = made.result.losses.some((loss) => loss.what === 'configuration');
        assert.deepEqual(xenFindings(to, made.bytes), noConfig ? ['XL_NO_CONFIG'] : [], to);
      }
    });
  }

  it('is the same whatever is asked twice', async () => {
    const twice = async (): Promise<string> =>
      sha256((await converted(xenopsdImage(), { to: 'xenopsd', origin: false })).bytes);
    assert.equal(await twice(), await twice());
  });
});

describe('what is lost', () => {
  it('of an xl file', async () => {
    const file = xlFile();
    assert.deepEqual(await lossesOf(file, { to: 'libxl' }), ['device xl-config.json']);
    assert.deepEqual(await lossesOf(file, { to: 'xen-libxc' }), [
      'device xl-config.json',
      'device emulator-2-0-xenstore',
      'device emulator-2-0',
    ]);
    assert.deepEqual(await lossesOf(file, { to: 'xen-libxc-v2' }), [
      'cpuid policy',
      'device xl-config.json',
      'device emulator-2-0-xenstore',
      'device emulator-2-0',
    ]);
  });

  it('of a suspend image', async () => {
    assert.deepEqual(await lossesOf(xenopsdImage(), { to: 'libxl' }), [
      'device xenopsd-XENOPS',
      'device xenopsd-VARSTORED',
      'device xenopsd-SWTPM',
    ]);
  });

  it('of records that Xen refuses', async () => {
    const steps = [...hvmSteps().slice(0, -1), blob('TOOLSTACK', 5), empty('END')];
    const bytes = libxcStream({ domainType: 2 }, steps);
    assert.deepEqual(await lossesOf(bytes, { to: 'xen-libxc', origin: false }), ['device toolstack']);
    // Passed on as it is nothing is lost; that Xen refuses it is said.
    const { result, bytes: same } = await converted(bytes, { to: 'xen-libxc' });
    assert.equal(sha256(same), sha256(bytes));
    assert.deepEqual(
      result.warnings.map(({ code, level }) => [code, level]),
      [['TOOLSTACK', 'broken']],
    );
    assert.equal((await converted(bytes, { to: 'tmig' })).result.warnings.length, 1);
  });

  it('of several checkpoints, unless the last is asked for', async () => {
    assert.deepEqual(await lossesOf(checkpointed(), { to: 'libxl', origin: false }), [
      'checkpoints all but the last of 2',
    ]);
    const last = await converted(checkpointed(), { to: 'libxl', origin: false, toCheckpoint: true });
    assert.deepEqual(last.result.losses, []);
    assert.deepEqual(await machineOf(last.bytes), await machineOf(checkpointed()));
    // A libxc stream in checkpoints is not in one piece.
    assert.equal((await converted(checkpointed(), { to: 'xen-libxc', allowLoss: true })).result.exact, false);
    // Ours has them all.
    const ours = await converted(checkpointed(), { to: 'tmig' });
    assert.equal(sha256((await converted(ours.bytes, { to: 'libxl' })).bytes), sha256(checkpointed()));
  });

  it('of an image of ours: disks, tmem, records of its own, names', async () => {
    const bytes = await withMore(libxcStream({}, pvSteps()), [
      { kind: 'vcpu-state', vcpu: 0, stateKind: VCPU_STATE.msrs, content: new Uint8Array(16) },
      { kind: 'disk', disk: DISK },
      { kind: 'tmem', record: CLIENT },
      { kind: 'tmem', record: POOL },
      { kind: 'own-record', record: OWN },
      { kind: 'own-record', record: { kind: 'LOCAL', dictionary: OWN, optional: true, body: new Uint8Array(4) } },
    ]);
    assert.deepEqual(await lossesOf(bytes, { to: 'libxl' }), [
      'vcpu-state 0, kind 0x3',
      'disk hda',
      'tmem pools: 1, pages: 0',
      'own-record org.example.own',
      'about name',
      'about uuid',
    ]);
    // To ours all of it is carried on.
    assert.deepEqual((await converted(bytes, { to: 'tmig' })).result.losses, []);
  });

  it('of an xl file is its configuration when there is none to write', async () => {
    assert.deepEqual(await lossesOf(libxcStream({}, pvSteps()), { to: 'xl' }), ['configuration xl-config']);
  });
});

describe('what is missing is named, whatever is allowed', () => {
  it('in an image that Xen did not save', async () => {
    const image = await written((writer) => writer.ram(0, 4, new Uint8Array(4 * PAGE).fill(3)));
    for (const to of EVERY) assert.ok(Array.isArray(await missingOf(image, { to })), to);
  });

  it('in a PV domain', async () => {
    const cases: readonly (readonly [string, Uint8Array, string[]])[] = [
      ['no p2m', pvWith((step) => (isKind(step, 'X86_PV_P2M_FRAMES') ? undefined : step)), ['p2m-frames']],
      ['no shared info', pvWith((step) => (isKind(step, 'SHARED_INFO') ? undefined : step)), ['shared-info']],
      ['no vCPU', pvWith((step) => (isKind(step, 'X86_PV_VCPU_BASIC') ? undefined : step)), ['vcpu 0']],
      [
        'another vCPU only',
        pvWith((step) => (isKind(step, 'X86_PV_VCPU_BASIC') ? vcpu('X86_PV_VCPU_BASIC', BODY.vcpuBasic64, 1) : step)),
        ['vcpu 0'],
      ],
      ['a short p2m', pvWith((step) => (isKind(step, 'X86_PV_P2M_FRAMES') ? p2mFrames(2, [1]) : step)), ['p2m-frames']],
      ['no memory', pvWith((step) => (Array.isArray(step) ? [[0, PAGE_TYPE.invalid]] : step)), ['memory']],
      ['levels', pvWith((step) => (isKind(step, 'X86_PV_INFO') ? pvInfo(8, 3) : step)), ['pv-info']],
    ];
    for (const [what, bytes, missing] of cases) {
      assert.deepEqual(await missingOf(bytes, { to: 'xen-libxc', origin: false }), missing, what);
      // It can be read, and is kept as it is.
      const ours = await converted(bytes, { to: 'tmig' });
      assert.equal(sha256((await converted(ours.bytes, { to: 'xen-libxc' })).bytes), sha256(bytes), what);
    }
  });

  it('in an HVM domain', async () => {
    const steps = hvmSteps().map((step): Step =>
      isKind(step, 'HVM_CONTEXT') ? { kind: 'HVM_CONTEXT', content: NOTHING } : step,
    );
    assert.deepEqual(await missingOf(libxcStream({ domainType: 2 }, steps), { to: 'xl', origin: false }), [
      'hvm-context',
    ]);
  });

  it('a format that is not written', async () => {
    await assert.rejects(converted(xlFile(), { to: 'qemu' }), refused('UNSUPPORTED_FEATURE'));
  });

  it('a big-endian domain', async () => {
    const bytes = libxcStream({ bigEndian: true }, pvSteps(false));
    await assert.rejects(converted(bytes, { to: 'tmig' }), refused('UNSUPPORTED_FEATURE'));
    await assert.rejects(converted(bytes, { to: 'xl', allowLoss: true }), refused('UNSUPPORTED_FEATURE'));
  });
});

describe('sources and sinks', () => {
  /** Bytes that can be read once, in order. */
  function pipe(bytes: Uint8Array): ByteSource & { closed: number } {
    return {
      name: 'pipe',
      size: null,
      container: false,
      random: null,
      closed: 0,
      async *pieces() {
        for (let at = 0; at < bytes.byteLength; at += 10_000) yield bytes.slice(at, at + 10_000);
      },
      close() {
        this.closed++;
        return Promise.resolve();
      },
    };
  }

  it('a pipe becomes ours in one pass, and passes on as it is; for the rest it is put aside', async () => {
    const to = async (choice: Chosen): Promise<string> => {
      const source = pipe(xlFile());
      const sink = new MemorySink();
      await convertImage(source, sink, { ...FIXED, ...choice });
      assert.equal(source.closed, 1);
      return sha256(sink.bytes());
    };
    assert.equal(await to({ to: 'tmig' }), sha256((await converted(xlFile(), { to: 'tmig' })).bytes));
    assert.equal(await to({ to: 'xl' }), sha256(xlFile()));
    const refusal = pipe(xlFile());
    await assert.rejects(
      convertImage(refusal, new MemorySink(), { ...FIXED, to: 'libxl', allowLoss: true }),
      refused('READ_FAILED'),
    );
    assert.equal(refusal.closed, 1);
    const spool = async (source: ByteSource): Promise<ByteSource> => {
      const parts: Uint8Array[] = [];
      for await (const piece of source.pieces()) parts.push(piece.slice());
      return { ...memorySource(Buffer.concat(parts)), close: () => source.close() };
    };
    const libxl = (await converted(xlFile(), { to: 'libxl', allowLoss: true })).bytes;
    assert.equal(await to({ to: 'libxl', allowLoss: true, spool }), sha256(libxl));
  });

  it('what stands behind an image is kept with a file, and not with a larger container', async () => {
    const bytes = new Uint8Array([...xlFile(), ...new Uint8Array(600).fill(7), ...new Uint8Array(600)]);
    const ours = await converted(bytes, { to: 'tmig' });
    assert.equal(sha256((await converted(ours.bytes, { to: 'xl' })).bytes), sha256(bytes));
    assert.equal(sha256((await converted(bytes, { to: 'xl' })).bytes), sha256(bytes));
    const inDevice = async (to: 'tmig' | 'xl'): Promise<Uint8Array> => {
      const sink = new MemorySink();
      await convertImage({ ...memorySource(bytes), container: true }, sink, { ...FIXED, to });
      return sink.bytes();
    };
    assert.equal(sha256(await inDevice('xl')), sha256(xlFile()));
    assert.equal(sha256((await converted(await inDevice('tmig'), { to: 'xl' })).bytes), sha256(xlFile()));
  });

  it('nothing is written of what is refused or damaged', async () => {
    const sink = new MemorySink();
    const cut = xlFile().subarray(0, -20);
    await assert.rejects(
      convertImage(memorySource(cut), sink, { ...FIXED, to: 'libxl', allowLoss: true }),
      refused('TRUNCATED'),
    );
    await assert.rejects(
      convertImage(memorySource(xlFile()), sink, { ...FIXED, to: 'libxl' }),
      refused('CONVERSION_LOSS'),
    );
    assert.equal(sink.bytes().byteLength, 0);
  });

  it('can be cancelled, on each way', async () => {
    const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
    const ours = (await converted(bytes, { to: 'tmig' })).bytes;
    const ways: readonly (readonly [Uint8Array, Chosen])[] = [
      [bytes, { to: 'tmig' }],
      [bytes, { to: 'xl' }],
      [bytes, { to: 'libxl', allowLoss: true }],
      [ours, { to: 'xl' }],
      [ours, { to: 'xl', origin: false }],
    ];
    for (const [image, chosen] of ways) {
      const signal = AbortSignal.abort();
      await assert.rejects(converted(image, { ...chosen, signal }), refused('CANCELLED'));
    }
  });

  it('says how far it is, and never goes back', async () => {
    const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
    for (const to of ['tmig', 'xl', 'libxl', 'xenopsd'] as const) {
      let last = 0;
      const onProgress = (done: number, total: number | null): void => {
        assert.ok(done >= last && (total === null || done <= total), `${to}: ${last}, ${done}`);
        last = done;
      };
      await converted(bytes, { to, allowLoss: true, onProgress });
      assert.ok(last > 0, to);
    }
  });
});

/** Seven bits a byte, the lowest first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    bytes.push((left % 128) | (left < 128 ? 0 : 128));
    if (left < 128) return bytes;
  }
}

test('ORIGIN that lies ends in a typed error, and the image can be made without it', async () => {
  const origins: readonly (readonly [string, Uint8Array])[] = [
    ['no steps', Uint8Array.of(1)],
    ['no image', Uint8Array.of(1, 1, 3, 1, 2, 3)],
    ['too many pages', Uint8Array.of(1, 2, 0xff, 0xff, 0xff, 0x7f)],
    ['too few pages', Uint8Array.of(1, 2, 1)],
    ['another image', Uint8Array.of(1, 5, 4)],
    ['a device that is not', Uint8Array.of(1, 6, 9, 0, 4)],
    ['an unknown step', Uint8Array.of(1, 77)],
    ['terabytes of zeros', Uint8Array.of(1, 4, ...varint(2 ** 41 + 1))],
    ['zeros without end', Uint8Array.of(1, ...Array.from({ length: 4 }, () => [4, ...varint(2 ** 53 - 1)]).flat())],
    ['gigabytes of entries', Uint8Array.of(1, 3, 0xff, 0xff, 0xff, 0xff, 0x7f)],
  ];
  for (const [what, origin] of origins) {
    const image = await written(async (writer) => {
      await writer.ram(0, 4, random(what).scramble(new Uint8Array(4 * PAGE)));
      await writer.origin('xl', origin);
    });
    await assert.rejects(converted(image, { to: 'xl' }), refused('ORIGIN_INVALID'), what);
    // What it was made from may also be a format of another time.
    await assert.rejects(converted(image, { to: 'xl', origin: false }), refused('IMAGE_UNFIT'));
    const again = await converted(image, { to: 'tmig', origin: false });
    assert.equal((await machineOf(again.bytes))['memory'], (await machineOf(image))['memory']);
  }
});

test('ORIGIN of an unknown version is refused as that', async () => {
  const image = await written((writer) => writer.origin('xl', Uint8Array.of(2)));
  await assert.rejects(converted(image, { to: 'xl' }), refused('UNSUPPORTED_VERSION'));
});

test('a page far up is read from where it stands: its pfn times its size is no exact number', async () => {
  const far = 2 ** 51 + 12_345;
  const steps: Step[] = hvmSteps();
  const memory: Step = [
    [5, PAGE_TYPE.normal, 7],
    [far, PAGE_TYPE.normal, 8],
    [far + 1, PAGE_TYPE.normal, 9],
  ];
  const bytes = libxcStream({ domainType: 2 }, [...steps.slice(0, 2), memory, ...steps.slice(3)]);
  for (const image of [bytes, (await converted(bytes, { to: 'xen-libxc', origin: false })).bytes]) {
    const opened = await openImage(memorySource(image));
    const page = new Uint8Array(PAGE);
    for (const [pfn, fill] of [
      [5, 7],
      [far, 8],
      [far + 1, 9],
    ]) {
      assert.equal(await opened.memory.readPage(pfn, page), 'data');
      assert.deepEqual(page, new Uint8Array(PAGE).fill(fill));
    }
  }
});
