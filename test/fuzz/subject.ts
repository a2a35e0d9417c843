import { crc32 } from 'node:zlib';
import { ERRORS } from '../../src/errors.ts';
import { LIMITS } from '../../src/stream/limits.ts';
import { firstViolation } from '../property/order-oracle.ts';
import { allocationsOf, heapBytesOf } from '../support/allocations.ts';
import { random } from '../support/random.ts';
import { takeApart, viewOf } from '../support/raw-stream.ts';
import { loadLibrary, type Library } from './library.ts';

/** A record that was handed on: where it stood, and all that is in it. */
export interface Released {
  readonly offset: number;
  readonly sequence: number;
  readonly json: string;
}

/** What reading an input came to: the records that were handed on, and how it ended. */
export interface Outcome {
  readonly records: readonly Released[];
  /** Code, offset and path of the error; empty when all was read. */
  readonly end: string;
}

/** Reads an input that is cut by `next`. Anything but a TransmigrateError it lets out is a finding. */
export type Subject = (bytes: Uint8Array, next: () => number) => Outcome;

/** What does not hold: its kind is the same for everything that has the same cause, as far as can be told. */
export interface Fault {
  readonly kind: string;
  readonly what: string;
}

/** The largest buffer that may be made whatever comes: room for one chunk. Else it is what came, with room to grow. */
const LARGEST_BUFFER_BYTES = LIMITS.chunkBytes;
/** Bytes of all buffers together: room for one chunk, first bytes and hashes; and for a byte of input. */
const BUFFER_BYTES = LIMITS.chunkBytes + 64 * 1024;
const BUFFER_BYTES_PER_BYTE = 5;
/** Bytes of objects and texts that records are printed in, those among them that are no longer used. */
const HEAP_BYTES = 1024 * 1024;
const HEAP_BYTES_PER_BYTE = 256;
/** Every so many inputs the heap is looked at: that takes longer than to read one. */
const HEAP_EVERY = 16;
/** How much longer than the slowest honest stream an input may take, and what is too short to be told apart. */
const MOST_TIMES_SLOWER = 2;
const SHORTEST_MS = 4;
/** How often a suspect and the slowest honest stream are read in turn. Only what is slow every time is slow. */
const TURNS = [3, 6];

interface NamedError {
  readonly code: string;
  readonly offset?: number;
  readonly path?: string;
}

/** The library's own error, of whichever copy of the library; anything else is undefined. */
function named(error: unknown): NamedError | undefined {
  if (!(error instanceof Error) || error.name !== 'TransmigrateError') return undefined;
  const { code } = error as Error & NamedError;
  return Object.hasOwn(ERRORS, code) && code !== 'INTERNAL' ? (error as Error & NamedError) : undefined;
}

/** Room to print a record in. Not the decoder's own: to make that for each input would take longer than to read it. */
const SCRATCH = new Uint8Array(LIMITS.chunkBytes);

/** The decoder, with every record printed: so its content is decoded, too. */
export function decoderOf({ StreamDecoder, recordJson }: Library): Subject {
  return (bytes, next) => {
    const decoder = new StreamDecoder({ knows: 'all' });
    const records: Released[] = [];
    const drain = (): void => {
      for (let record = decoder.read(); record !== undefined; record = decoder.read()) {
        const { offset, sequence } = record.header;
        records.push({ offset, sequence, json: JSON.stringify(recordJson(record, SCRATCH)) });
        // A decoder that makes no way would hand on the same for ever.
        if (records.length > bytes.byteLength) throw new Error('more records than bytes');
      }
    };
    try {
      for (let at = 0; at < bytes.byteLength;) {
        const piece = bytes.slice(at, at + next());
        at += piece.byteLength;
        decoder.feed(piece);
        drain();
        // What was lent is the caller's again.
        piece.fill(0xee);
      }
      drain();
      decoder.finish();
      return { records, end: '' };
    } catch (error) {
      const known = named(error);
      if (known === undefined) throw error;
      return { records, end: `${known.code} ${known.offset} ${known.path}` };
    }
  };
}

/** The first line of a stack that names the library: what tells one defect from another. */
function faultOf(error: unknown): Fault {
  if (!(error instanceof Error)) return { kind: 'thrown', what: String(error) };
  const place = /\/src\/([^\s:)]+)/.exec(error.stack ?? '')?.[1] ?? '';
  return { kind: `${error.name} ${place}`, what: error.stack ?? error.message };
}

/** Whether the bytes at each place are the record that was handed on, with checksums that hold. */
function releasedFault(bytes: Uint8Array, { records }: Outcome): string {
  const view = viewOf(bytes);
  for (const [position, { offset, sequence, json }] of records.entries()) {
    const { type, length } = JSON.parse(json) as { type: string; length: number };
    const end = offset + 24 + length + (-length & 7);
    const right =
      offset % 8 === 0 &&
      end <= bytes.byteLength &&
      crc32(bytes.subarray(offset, offset + 20)) === view.getUint32(offset + 20, true) &&
      crc32(bytes.subarray(offset + 24, end)) === view.getUint32(offset + 16, true) &&
      view.getUint32(offset + 12, true) === view.getUint32(124, true) &&
      view.getUint32(offset + 8, true) === position &&
      view.getUint32(offset, true) === Number.parseInt(type, 16) &&
      view.getUint32(offset + 4, true) === length;
    if (!right || sequence !== position) return `record ${position} at ${offset} was handed on, and is not right`;
  }
  return '';
}

/** The facts of a preamble that the oracle of order has rules for: one channel, forward, not a core. */
function isOrdinary(preamble: Uint8Array): boolean {
  return preamble.byteLength === 128 && preamble[16] !== 4 && preamble[23] === 0 && preamble[56] === 1;
}

/** Whether what was handed on stands in the order of stream 4, as the oracle sees it. */
function orderFault(bytes: Uint8Array, { records }: Outcome): string {
  const { preamble, records: raw } = takeApart(bytes);
  if (!isOrdinary(preamble)) return '';
  const facts = { indexed: (preamble[32] & 1) === 1, tmem: preamble[19] === 1 || preamble[19] === 4 };
  const verdict = firstViolation(facts, raw.slice(0, records.length));
  return verdict === undefined ? '' : `record ${verdict.position} was handed on, and is ${verdict.codes.join(' or ')}`;
}

function wholeOf({ byteLength }: Uint8Array): () => number {
  return () => Math.max(byteLength, 1);
}

/** Milliseconds of one reading. */
export function millisecondsOf(bytes: Uint8Array, subject: Subject): number {
  const before = performance.now();
  subject(bytes, wholeOf(bytes));
  return performance.now() - before;
}

function mostMs(honestMs: number): number {
  return MOST_TIMES_SLOWER * Math.max(honestMs, SHORTEST_MS);
}

/** Whether an input takes too long, measured against the slowest honest stream in the same run. */
function timeFault(bytes: Uint8Array, ms: number, { honest, subject }: Tried): string {
  if (honest === undefined) return '';
  if (ms <= mostMs(honest.ms)) return '';
  for (const turns of TURNS) {
    let [least, leastHonest] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let turn = 0; turn < turns; turn++) {
      least = Math.min(least, millisecondsOf(bytes, subject));
      leastHonest = Math.min(leastHonest, millisecondsOf(honest.bytes, subject));
    }
    if (least <= mostMs(leastHonest)) return '';
    if (turns === TURNS.at(-1)) {
      return `${least} ms for an input of ${bytes.byteLength}, the slowest honest stream takes ${leastHonest}`;
    }
  }
  return '';
}

function memoryFault(bytes: Uint8Array, total: number, largest: number, heap: number): string {
  const { byteLength } = bytes;
  if (largest > Math.max(LARGEST_BUFFER_BYTES, 2 * byteLength + 65_536)) return `${largest} bytes in one buffer`;
  if (total > BUFFER_BYTES + BUFFER_BYTES_PER_BYTE * byteLength) return `${total} bytes in buffers`;
  if (heap > HEAP_BYTES + HEAP_BYTES_PER_BYTE * byteLength) return `${heap} bytes of objects`;
  return '';
}

/** What an input is tried with. */
export interface Tried {
  readonly library: Library;
  readonly subject: Subject;
  /** The honest stream that takes longest to read, and its milliseconds: what times are measured against. */
  readonly honest?: { readonly bytes: Uint8Array; readonly ms: number };
  /** Says whether an input that nobody repaired may be read to its end: it was not changed. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
}

/** The checkout's library and its decoder. */
export async function ownSubject(): Promise<Tried> {
  const library = await loadLibrary();
  return { library, subject: decoderOf(library), isWhole: () => true };
}

/** An input: bytes, and whether it may be whole, since its checksums were put right after it was changed. */
export interface Input {
  readonly bytes: Uint8Array;
  readonly repaired: boolean;
}

/**
 * Tries an input against all that must hold for any input.
 * @param seed of the places where it is cut: the same input and seed always give the same answer.
 * @returns what does not hold, or undefined.
 */
export async function faultIn({ bytes, repaired }: Input, seed: string, tried: Tried): Promise<Fault | undefined> {
  const generator = random(`pieces ${seed}`);
  try {
    let whole: Outcome = { records: [], end: '' };
    const read = (): void => {
      whole = tried.subject(bytes, wholeOf(bytes));
    };
    const before = performance.now();
    const { total, largest } = allocationsOf(read);
    const ms = performance.now() - before;
    // What takes long may do so by making many objects.
    const suspect = ms > mostMs(tried.honest?.ms ?? 0);
    const heap = generator.below(HEAP_EVERY) === 0 || suspect ? heapBytesOf(read) : 0;
    const most = generator.pick([1, 3, 30, 30, 200, 2000]);
    const pieces = tried.subject(bytes, () => 1 + generator.below(most));
    if (whole.end !== pieces.end) {
      return { kind: 'other end in pieces', what: `whole: ${whole.end}; in pieces: ${pieces.end}` };
    }
    if (JSON.stringify(whole.records) !== JSON.stringify(pieces.records)) {
      return { kind: 'other records in pieces', what: 'other records in pieces than whole' };
    }
    const wrong = releasedFault(bytes, whole);
    if (wrong !== '') return { kind: 'a wrong record', what: wrong };
    const disorder = orderFault(bytes, whole);
    if (disorder !== '') return { kind: 'order', what: disorder };
    if (whole.end === '' && !repaired && !tried.isWhole(bytes)) {
      return { kind: 'unnoticed damage', what: 'the input was changed, and is read to its end' };
    }
    const memory = memoryFault(bytes, total, largest, heap);
    if (memory !== '') return { kind: 'memory', what: `${memory} for an input of ${bytes.byteLength}` };
    const slow = timeFault(bytes, ms, tried);
    if (slow !== '') return { kind: 'slow', what: slow };
    // These read it several times more: half of the inputs are enough for them.
    if (generator.below(2) === 0) return undefined;
    await readByIndex(bytes, tried);
    return await imageFault(bytes, whole, tried);
  } catch (error) {
    return faultOf(error);
  }
}

/** What `verify` and `inspect` make of an input. */
async function imageFault(bytes: Uint8Array, whole: Outcome, { library }: Tried): Promise<Fault | undefined> {
  const source = library.memorySource(bytes);
  const verified = await library.verifyImage([source], { digest: true });
  const code = verified.errors[0]?.code;
  if (code !== undefined && (!Object.hasOwn(ERRORS, code) || code === 'INTERNAL')) {
    return { kind: 'verify', what: `verify says ${code}` };
  }
  // Channels that are not there, and content that nobody asked the decoder for.
  const further = ['CHAIN_VECTOR', 'CODEC_DATA'];
  if (whole.end === '' && verified.verdict === 'broken' && !further.includes(code ?? '')) {
    return { kind: 'verify', what: `decoded to its end, and verify says ${code}` };
  }
  for (const each of [source, { ...source, size: null, random: null }]) {
    try {
      await library.inspectImage(each);
    } catch (error) {
      const fault = named(error);
      if (fault === undefined) throw error;
      return { kind: 'inspect', what: `inspect throws ${fault.code} ${fault.path}` };
    }
  }
  return undefined;
}

/** Random access: whatever the index says, only named errors. */
async function readByIndex(bytes: Uint8Array, { library }: Tried): Promise<void> {
  const access = library.memorySource(bytes).random;
  if (access === null) return;
  const page = new Uint8Array(65_536);
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (named(error) === undefined) throw error;
    }
  };
  await attempt(async () => {
    const image = await library.IndexedImage.open(access);
    for (const pfn of [0, 1, 5, 7, 100, 2 ** 20, 2 ** 32 + 1, 2 ** 52 - 1]) {
      await attempt(() => image.readPage(pfn, page));
    }
    await attempt(async () => {
      for (const pool of await image.tmemPools()) {
        for (const object of [0n, 1n, 2n, 7n]) {
          await attempt(() => image.readTmemPage(pool, { object: [object, 0n, 0n], index: 0 }, page));
        }
      }
    });
  });
}
