/** Streams of Xen in random pieces, cut anywhere, and damaged at random. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { parseHvmContext, decodeHvmCpu, hvmCpuExtras } from '../../src/foreign/xen-libxc/hvm-context.ts';
import type { PieceReader } from '../../src/foreign/xen-libxc/piece-reader.ts';
import { decodeCpuidPolicy, decodeMsrPolicy } from '../../src/foreign/xen-libxc/policy.ts';
import { decodePvExtended, decodePvMsrs, decodePvVcpu, decodePvXsave } from '../../src/foreign/xen-libxc/pv-vcpu.ts';
import { LibxcReader } from '../../src/foreign/xen-libxc/reader.ts';
import { LibxcWriter } from '../../src/foreign/xen-libxc/writer.ts';
import { LibxlReader } from '../../src/foreign/xen-libxl/reader.ts';
import { LibxlWriter } from '../../src/foreign/xen-libxl/writer.ts';
import { xlConfig } from '../../src/foreign/xl/header.ts';
import { emitXlBack, encodeXlMessage, XlBackReader } from '../../src/foreign/xl/messages.ts';
import { XlReader } from '../../src/foreign/xl/reader.ts';
import { XlWriter } from '../../src/foreign/xl/writer.ts';
import { parseXenopsdMetadata } from '../../src/foreign/xenopsd/metadata.ts';
import { XenopsdReader } from '../../src/foreign/xenopsd/reader.ts';
import { XenopsdWriter } from '../../src/foreign/xenopsd/writer.ts';
import { allocationsOf } from '../support/allocations.ts';
import { random } from '../support/random.ts';
import { imageBytes } from '../support/xen/corpus.ts';
import { Collected, randomPieces, readAll, type Pieces } from '../support/xen/pieces.ts';
import { checkpointed, hvmSteps, libxcStream, pvSteps, xenopsdImage, xlFile } from '../support/xen/streams.ts';
import { property } from './seeded.ts';

interface AnyEvent {
  readonly layer: string;
  readonly kind: string;
}

/** A format: how it is read, and how what was read is written. Events go from the one to the other untouched. */
interface Format {
  readonly read: () => PieceReader<AnyEvent>;
  readonly write: (emit: (bytes: Uint8Array) => void) => (event: never) => void;
}

const LIBXC: Format = {
  read: () => new LibxcReader(),
  write: (emit) => {
    const writer = new LibxcWriter(emit);
    return (event) => {
      writer.event(event);
    };
  },
};
const LIBXL: Format = {
  read: () => new LibxlReader(),
  write: (emit) => {
    const writer = new LibxlWriter(emit);
    return (event) => {
      writer.event(event);
    };
  },
};
const XL: Format = {
  read: () => new XlReader(),
  write: (emit) => {
    const writer = new XlWriter(emit);
    return (event) => {
      writer.event(event);
    };
  },
};
const BACK: Format = {
  read: () => new XlBackReader(),
  write: (emit) => (event) => {
    emitXlBack(emit, event);
  },
};
const XENOPSD: Format = {
  read: () => new XenopsdReader(),
  write: (emit) => {
    const writer = new XenopsdWriter(emit);
    return (event) => {
      writer.event(event);
    };
  },
};

const BACK_BYTES = new Uint8Array(
  Buffer.concat([
    encodeXlMessage({ kind: 'BANNER' }),
    Uint8Array.of(15, 0, 0, 0, 16, 0, 0, 0, ...new Uint8Array(16).fill(3)),
    encodeXlMessage({ kind: 'READY' }),
    encodeXlMessage({ kind: 'REPORT', status: 1 }),
    encodeXlMessage({ kind: 'PERMISSION_TO_GO' }),
  ]),
);

const SEEDS: readonly (readonly [name: string, Format, Uint8Array])[] = [
  ['a PV domain', LIBXC, libxcStream({}, pvSteps())],
  ['a big-endian one', LIBXC, libxcStream({ bigEndian: true }, pvSteps(false))],
  ['an HVM domain', LIBXC, libxcStream({ domainType: 2 }, hvmSteps())],
  ['an xl file', XL, xlFile()],
  ['checkpoints', LIBXL, checkpointed()],
  ['checkpoints of COLO', LIBXL, checkpointed(true)],
  ['a suspend image', XENOPSD, xenopsdImage()],
  ['a back channel', BACK, BACK_BYTES],
];

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Takes apart what others will take apart of an event. Only typed errors may come out. */
function look(any: AnyEvent): void {
  const event = any as AnyEvent & Readonly<Record<string, unknown>>;
  const place = { offset: 0, path: 'test', section: 'test' };
  const content = event['content'];
  const context = event['context'];
  try {
    if (event.layer === 'xl') xlConfig(event as never);
    if (event.kind === 'XENOPS') parseXenopsdMetadata(content as Uint8Array, 0);
    if (event.kind === 'X86_CPUID_POLICY') decodeCpuidPolicy(content as Uint8Array, place);
    if (event.kind === 'X86_MSR_POLICY') decodeMsrPolicy(content as Uint8Array, place);
    if (event.kind === 'X86_PV_VCPU_BASIC') decodePvVcpu(context as Uint8Array, place);
    if (event.kind === 'X86_PV_VCPU_EXTENDED') decodePvExtended(context as Uint8Array, place);
    if (event.kind === 'X86_PV_VCPU_XSAVE') decodePvXsave(context as Uint8Array, place);
    if (event.kind === 'X86_PV_VCPU_MSRS') decodePvMsrs(context as Uint8Array, place);
    if (event.kind !== 'HVM_CONTEXT') return;
    const parsed = parseHvmContext(content as Uint8Array, 0);
    hvmCpuExtras(parsed, 0, 0);
    for (const entry of parsed.entries) if (entry.name === 'CPU') decodeHvmCpu(entry, 0);
  } catch (error) {
    // A damaged flag may say that the configuration is no JSON.
    if (error instanceof TransmigrateError || (error instanceof RangeError && event.layer === 'xl')) return;
    throw error;
  }
}

/** Reads, and writes again what was read. Returns what was written and the error, which must be one of ours. */
function through(
  format: Format,
  bytes: Uint8Array,
  pieces: Pieces,
): { written: Uint8Array; error?: TransmigrateError } {
  const out = new Collected();
  const write = format.write(out.emit);
  let events = 0;
  try {
    readAll(format.read(), bytes, pieces, (event) => {
      // Each event takes bytes from the input: a reader that turns in circles is found out here.
      if (++events > 2 * bytes.byteLength + 10) assert.fail('more events than bytes');
      look(event);
      if (event.layer === 'end') out.emit((event as { bytes: Uint8Array }).bytes);
      else write(event as never);
    });
  } catch (error) {
    if (error instanceof TransmigrateError) return { written: out.bytes, error };
    throw error;
  }
  return { written: out.bytes };
}

const seed = fc.integer({ min: 0, max: 0x7fff_ffff });
const format = fc.integer({ min: 0, max: SEEDS.length - 1 });

property('a stream is the same in whatever pieces it comes', 150, fc.tuple(format, seed), ([which, number]) => {
  const [, how, bytes] = SEEDS[which];
  const { written, error } = through(how, bytes, randomPieces(random(`pieces ${number}`), 9000));
  assert.equal(error, undefined);
  assert.equal(digest(written), digest(bytes));
});

property('a stream that is cut is known to be, and what came before is right', 300, fc.tuple(format, seed), (drawn) => {
  const [, how, bytes] = SEEDS[drawn[0]];
  const draw = random(`cut ${drawn[1]}`);
  const cut = draw.below(bytes.byteLength);
  const { written, error } = through(how, bytes.subarray(0, cut), randomPieces(draw, 5000));
  // What is written of a cut stream is the beginning of the whole.
  assert.equal(digest(written), digest(bytes.subarray(0, written.byteLength)));
  if (how === BACK && error === undefined) assert.equal(written.byteLength, cut);
  else assert.equal(error?.code, 'TRUNCATED');
  assert.equal(error?.offset ?? cut, cut);
});

property(
  'a damaged stream ends in a typed error, or is written as it was read',
  1500,
  fc.tuple(format, seed),
  (drawn) => {
    const [, how, sound] = SEEDS[drawn[0]];
    const draw = random(`damage ${drawn[1]}`);
    const bytes = damaged(draw, sound);
    const { written, error } = through(how, bytes, randomPieces(draw, 20_000));
    if (error === undefined) assert.equal(digest(written), digest(bytes));
    else {
      assert.ok(error.offset !== undefined && error.offset <= bytes.byteLength, `${error.code} at ${error.offset}`);
      assert.ok(error.path !== undefined && error.section !== undefined, error.code);
    }
  },
);

/** Changes numbers where headers stand, flips bits, and takes or doubles a piece. */
function damaged(draw: ReturnType<typeof random>, sound: Uint8Array): Uint8Array {
  const bytes = sound.slice();
  const view = new DataView(bytes.buffer);
  for (let changes = 1 + draw.below(4); changes > 0; changes--) {
    const at = draw.below(draw.below(2) === 0 ? Math.min(400, bytes.byteLength - 4) : bytes.byteLength - 4);
    const value = draw.pick([
      0, 1, 2, 3, 5, 7, 8, 15, 16, 255, 4096, 0x0800_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
    ]);
    if (draw.below(2) === 0) bytes[at] ^= 1 << draw.below(8);
    else view.setUint32(at - (at % 4), value, draw.below(4) > 0);
  }
  if (draw.below(3) > 0) return bytes;
  const from = draw.below(bytes.byteLength);
  const to = Math.min(bytes.byteLength, from + draw.below(64));
  const piece = bytes.subarray(from, to);
  const parts = draw.below(2) === 0 ? [] : [piece, piece];
  return new Uint8Array(Buffer.concat([bytes.subarray(0, from), ...parts, bytes.subarray(to)]));
}

property('a real image that is damaged ends in a typed error, with bounded memory', 40, seed, (number) => {
  const draw = random(`real ${number}`);
  const image = REAL[draw.below(REAL.length)];
  const bytes = image.subarray(0, 200_000 + draw.below(1000)).slice();
  for (let changes = draw.below(6); changes > 0; changes--) {
    bytes[draw.below(draw.below(2) === 0 ? 4000 : bytes.byteLength)] = draw.below(256);
  }
  let error: unknown;
  const reader = new XlReader();
  const { largest } = allocationsOf(() => {
    try {
      readAll(reader, bytes, randomPieces(draw, 70_000), look);
    } catch (thrown) {
      error = thrown;
    }
  });
  // A record that became END ends the stream too early: Xen refuses what it then is.
  if (error === undefined) assert.equal(reader.findings.worst, 'refused');
  else assert.ok(error instanceof TransmigrateError);
  // Lengths and counts of gigabytes reserve nothing: buffers at most double with what came.
  assert.ok(largest <= 2 * bytes.byteLength, `${largest} bytes`);
});

const REAL = ['xen-4.17-pv-tiny64-4m.xl', 'xen-4.17-hvm-seabios-8m-physmap.xl'].map(imageBytes);
