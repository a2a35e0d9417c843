/** Fuzzes `verify` and `inspect` of images of others: damage anywhere, whatever is wrapped around it. */
import { zstdCompressSync } from 'node:zlib';
import { ERRORS } from '../../src/errors.ts';
import { inspectImage } from '../../src/image/inspect.ts';
import { verifyImage, type Verification } from '../../src/image/verify.ts';
import { memorySource } from '../../src/io/memory.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { spool } from '../../src/io/spool.ts';
import { allocationsDuring } from '../support/allocations.ts';
import { random, type Random } from '../support/random.ts';
import { fixture } from '../support/corpus.ts';
import { guestPages, guestSteps } from '../support/xen/pv-guest.ts';
import {
  checkpointed,
  empty,
  hvmSteps,
  libxcStream,
  pvSteps,
  xenopsdImage,
  xlFile,
  type Step,
} from '../support/xen/streams.ts';
import type { Fault } from './subject.ts';

/** Bytes of a real image that a seed has: its layers' heads and the first pages. */
const REAL_BYTES = 40_000;

/** What damage starts from: small images with something of everything, and the starts of real ones. */
export function imageSeeds(): Uint8Array[] {
  const steps = guestSteps();
  const again: Step[] = [...steps.slice(0, -1), empty('VERIFY'), [[1, 0, 1]], empty('END')];
  const made = [
    libxcStream({}, steps),
    libxcStream({}, guestSteps({ width: 4, pages: guestPages(4) })),
    libxcStream({}, again),
    libxcStream({ version: 2 }, pvSteps()),
    libxcStream({ domainType: 2 }, hvmSteps()),
    libxcStream({ bigEndian: true }, pvSteps(false)),
    xlFile(),
    checkpointed(),
    checkpointed(true),
    xenopsdImage(),
  ];
  const real = [
    fixture('xen/xen-4.17-pv-tiny64-4m.xl').slice(0, REAL_BYTES),
    fixture('xen/xen-4.17-hvm-seabios-16m.xl').slice(-REAL_BYTES),
    fixture('xen/xen-4.17-pv-tiny64-4m-live.back'),
    fixture('xen/xen-4.17-pv-tiny64-4m.remus-back'),
  ];
  return [...made, ...real, new Uint8Array(zstdCompressSync(made[6]))];
}

const EDGES = [0, 1, 7, 8, 16, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 128 * 1024 * 1024, 128 * 1024 * 1024 + 1];

function spanOf(bytes: Uint8Array, generator: Random): [from: number, to: number] {
  const from = generator.below(bytes.byteLength + 1);
  return [from, Math.min(bytes.byteLength, from + generator.below(generator.below(4) === 0 ? 5000 : 40))];
}

/** One damage, as accidents and liars do it. */
function damaged(bytes: Uint8Array, other: Uint8Array, generator: Random): Uint8Array {
  if (bytes.byteLength < 4) return other.slice();
  const copy = bytes.slice();
  const [from, to] = spanOf(copy, generator);
  switch (generator.below(8)) {
    case 0:
      copy[generator.below(copy.byteLength)] ^= 1 << generator.below(8);
      return copy;
    case 1:
      copy[generator.below(copy.byteLength)] = generator.below(256);
      return copy;
    case 2:
    case 3: {
      // A length, a count, a type: most fields have four bytes, at a multiple of four from somewhere.
      const at = generator.below(copy.byteLength - 3);
      new DataView(copy.buffer).setUint32(at, generator.pick(EDGES), generator.below(4) > 0);
      return copy;
    }
    case 4:
      return copy.slice(0, generator.below(copy.byteLength + 1));
    case 5:
      return joined(copy.subarray(0, from), copy.subarray(to));
    case 6:
      return joined(copy.subarray(0, to), copy.subarray(from));
    default: {
      const [start, end] = spanOf(other, generator);
      return joined(copy.subarray(0, from), joined(other.subarray(start, end), copy.subarray(from)));
    }
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([first, second]));
}

/** The input of a run of a seed. */
export function damagedImage(inputs: readonly Uint8Array[], seed: string, run: number): Uint8Array {
  const generator = random(`image ${seed} ${run}`);
  let bytes = generator.pick(inputs);
  const times = 1 + generator.below(3);
  for (let i = 0; i < times; i++) bytes = damaged(bytes, generator.pick(inputs), generator);
  return bytes;
}

/** Largest buffer that any input may have made: the pieces in which files are put aside and memory is digested. */
const LARGEST_BUFFER_BYTES = 8 * 1024 * 1024;

/** What does not hold of an input; undefined when all does. */
export async function imageFaultIn(bytes: Uint8Array, seed: string): Promise<Fault | undefined> {
  const generator = random(seed);
  try {
    const options = { strict: true, digest: generator.below(4) === 0, toCheckpoint: generator.below(3) === 0, spool };
    let whole: Verification | undefined;
    const { largest } = await allocationsDuring(async () => {
      whole = await verifyImage([memorySource(bytes)], options);
    });
    if (largest > LARGEST_BUFFER_BYTES + 2 * bytes.byteLength) {
      return { kind: 'memory', what: `${largest} bytes in one buffer for an input of ${bytes.byteLength}` };
    }
    const odd = oddity(whole!);
    if (odd !== '') return { kind: 'verify', what: odd };
    const inPieces = await verifyImage([piped(bytes, generator)], options);
    const wasCompared = [whole!, inPieces].some(({ warnings }) =>
      warnings.some(({ code }) => code.startsWith('VERIFY_')),
    );
    const same = { ...whole!, ...(wasCompared && { verdict: inPieces.verdict }) };
    if (told(inPieces) !== told(same)) {
      return { kind: 'in pieces', what: `${told(whole!)} whole, and ${told(inPieces)} in pieces` };
    }
    for (const records of [false, true]) {
      const { error, ok } = await inspectImage(memorySource(bytes), { records });
      if (ok !== (error === null)) return { kind: 'inspect', what: `ok is ${ok}, the error ${error?.code}` };
    }
    return undefined;
  } catch (error) {
    // Nothing is thrown that is wrong with the image itself.
    return { kind: 'thrown', what: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** What is said, without what depends on whether the input can be read twice. */
function told({ verdict, errors, warnings, checkpoint }: Verification): string {
  const codes = [...errors, ...warnings].map(({ code, offset }) => `${code} ${offset}`);
  const same = codes.filter((code) => !code.startsWith('VERIFY_'));
  return JSON.stringify([verdict, same, checkpoint]);
}

function oddity(result: Verification): string {
  const { verdict, errors, warnings, ok } = result;
  const expected = errors.length > 0 ? 'broken' : warnings.length > 0 ? 'findings' : 'sound';
  if (verdict !== expected || ok !== (verdict !== 'broken'))
    return `the verdict is ${verdict}, and should be ${expected}`;
  for (const { code, message, next, level } of [...errors, ...warnings]) {
    if (code === 'INTERNAL' || message === '' || next === '') return `a finding says nothing: ${code}`;
    if (code in ERRORS && level === 'strict') return `${code} is of the level ${level}`;
  }
  return '';
}

/** The same bytes from a pipe, in pieces of any size that are overwritten once the next is asked for. */
function piped(bytes: Uint8Array, generator: Random): ByteSource {
  return {
    ...memorySource(bytes),
    size: null,
    random: null,
    async *pieces() {
      for (let at = 0; at < bytes.byteLength;) {
        const length = 1 + generator.below(generator.below(3) === 0 ? 9000 : 50);
        const piece = bytes.slice(at, at + length);
        at += piece.byteLength;
        yield piece;
        piece.fill(0xee);
      }
    },
  };
}
