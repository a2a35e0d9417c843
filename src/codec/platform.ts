/**
 * The adapter between the codecs and the machine that runs them: the one file of src/codec that imports from `node:`
 * or from a native package.
 *
 * The folders that describe and check a stream also run in a browser. There this file is the one to replace, by
 * another with the same exports over whatever the browser has; everything else of src/codec is plain JavaScript on
 * typed arrays. So nothing about the stream is decided here, and nothing of zlib's own (its error codes, its buffers)
 * leaves this file.
 */

import type { Hash } from 'node:crypto';
import { createRequire } from 'node:module';
import type * as threadModule from 'node:worker_threads';
import type * as zlibModule from 'node:zlib';

/*
 * Node's own modules are taken when they are first needed: loading these three takes longer than to start, and what
 * reads an image of others needs none of them.
 */

type Zlib = typeof zlibModule;
let loadedZlib: Zlib | undefined;

function zlib(): Zlib {
  return (loadedZlib ??= process.getBuiltinModule('node:zlib'));
}

function threads(): typeof threadModule {
  return process.getBuiltinModule('node:worker_threads');
}

/** zlib refuses smaller chunks. A little room beyond the content also spares it a second chunk just to see the end. */
const MIN_CHUNK = 64;

/** zlib's 32 bytes of room and 1/8 are more than the documented worst case of either compressor. */
function chunkFor(originalLength: number): number {
  return originalLength + (originalLength >> 3) + MIN_CHUNK;
}

/** What zlib answers when asked for `info`: its types do not declare it. */
interface Inflated {
  readonly buffer: Uint8Array;
  /** For a decoder, the stored bytes it has consumed. */
  readonly engine: { readonly bytesWritten: number };
}

/** Puts what a decoder gave into `out`, and says what is wrong with it, if anything. */
function take(result: Inflated, stored: Uint8Array, out: Uint8Array): string {
  if (result.buffer.length !== out.length) return 'the content is shorter than expected';
  if (result.engine.bytesWritten !== stored.length) return 'bytes follow the end of the stream';
  out.set(result.buffer);
  release(result.buffer);
  return '';
}

/** What a decoder threw, as a reason: zlib's codes are stable and say more than its messages. */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  if (code === 'ERR_BUFFER_TOO_LARGE') return 'the content is longer than expected';
  return code === 'Z_BUF_ERROR' ? 'the stream ends too early' : `the decoder refuses it (${code})`;
}

/**
 * Gives back at once what zlib allocated for its answer. Left to the collector, up to 64 MiB of such buffers wait in
 * each thread before it looks at them. A small answer may lie in the pool that all Buffers share: that is left alone.
 */
function release(answer: Uint8Array): void {
  const { buffer } = answer;
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize) buffer.transfer(0);
}

/** Puts what an encoder gave into `out` and answers its length, or -1 when there is not room for it. */
function put(encoded: Uint8Array, out: Uint8Array): number {
  const { length } = encoded;
  const fits = length <= out.length;
  if (fits) out.set(encoded);
  release(encoded);
  return fits ? length : -1;
}

/**
 * Level 1 looks up matches in a table of 2^14 entries of 4 bytes, which is more than the first-level cache of most
 * processors. Half of that is faster by a sixth when two threads share a core, and costs 3 % in size (bench/README.md).
 */
const LEVEL_1_HASH_LOG = 13;

/**
 * Compresses `original` into one zstd frame (RFC 8878) without a checksum, at the start of `out`.
 * Returns its length, or -1 when it does not fit. `level` is one that zstd has: the caller has checked it.
 */
export function zstdEncode(original: Uint8Array, out: Uint8Array, level: number): number {
  const { constants, zstdCompressSync } = zlib();
  const params: Record<number, number> = { [constants.ZSTD_c_compressionLevel]: level };
  if (level === 1) params[constants.ZSTD_c_hashLog] = LEVEL_1_HASH_LOG;
  return put(zstdCompressSync(original, { params, chunkSize: chunkFor(original.length) }), out);
}

/**
 * Decompresses one zstd frame, which must fill `out`. Returns an empty string, or why it is refused.
 * The caller has checked the frame's header (zstd-frame.ts): that is what bounds the memory the decoder asks for, to
 * out.length and a window of at most 8 MiB.
 */
export function zstdDecode(stored: Uint8Array, out: Uint8Array): string {
  try {
    const options = { info: true, chunkSize: out.length + MIN_CHUNK, maxOutputLength: Math.max(out.length, 1) };
    return take(zlib().zstdDecompressSync(stored, options) as unknown as Inflated, stored, out);
  } catch (error) {
    return reasonOf(error);
  }
}

/**
 * Compresses `original` into one raw deflate stream (RFC 1951, no zlib header) at the start of `out`.
 * Returns its length, or -1 when it does not fit. `level` is 1 to 9: the caller has checked it.
 */
export function deflateEncode(original: Uint8Array, out: Uint8Array, level: number): number {
  return put(zlib().deflateRawSync(original, { level, chunkSize: chunkFor(original.length) }), out);
}

/** Decompresses one raw deflate stream, which must fill `out`. Returns an empty string, or why it is refused. */
export function deflateDecode(stored: Uint8Array, out: Uint8Array): string {
  try {
    const options = { info: true, chunkSize: out.length + MIN_CHUNK, maxOutputLength: Math.max(out.length, 1) };
    return take(zlib().inflateRawSync(stored, options) as unknown as Inflated, stored, out);
  } catch (error) {
    return reasonOf(error);
  }
}

type Crc32 = (bytes: Uint8Array, seed: number) => number;

/**
 * The native package is optional: it is several times faster than zlib's own CRC, and nothing else depends on it. A
 * copy that cannot be loaded, or that does not know the CRC's check value, is as good as none.
 */
function loadNativeCrc32(): Crc32 | undefined {
  try {
    const native = createRequire(import.meta.url)('@node-rs/crc32') as { readonly crc32: Crc32 };
    const check = new Uint8Array([0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39]);
    const first = native.crc32(check.subarray(0, 4), 0);
    return native.crc32(check.subarray(4), first) === 0xcbf43926 ? native.crc32 : undefined;
  } catch {
    return undefined;
  }
}

/** Found when the first CRC is asked for: what reads no stream of ours need not wait for the package. */
let bestCrc32: Crc32 | undefined;

function findCrc32(): Crc32 {
  return (bestCrc32 ??= loadNativeCrc32() ?? zlib().crc32);
}

/** Whether {@link crc32} runs on the optional native package; for diagnostics and tests. */
export function crc32IsNative(): boolean {
  return findCrc32() !== zlib().crc32;
}

/**
 * The CRC-32 of zip, gzip and PNG (reflected, polynomial 0xedb88320; RFC 1952, section 8) as an unsigned number.
 * `seed` is the CRC of the bytes before these, 0 at the start. Throws nothing; keeps no reference to `bytes`.
 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return (bestCrc32 ?? findCrc32())(bytes, seed);
}

/** A SHA-256 (FIPS 180-4) that is fed piece by piece. */
export class Sha256 {
  readonly #hash: Hash = process.getBuiltinModule('node:crypto').createHash('sha256');

  /** Adds bytes; keeps no reference to them. Throws when the digest has been taken already. */
  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** The 32 bytes of the digest, in an array that belongs to the caller. Can be called once. */
  digest(): Uint8Array {
    return this.#hash.digest();
  }
}

const ZEROS = Buffer.alloc(65536);

/**
 * Whether `length` bytes of `bytes` from `at` on are all zero. The range must lie in the array. Most pages that are not
 * zero show it in their first byte, and are then spared the call into native code.
 */
export function isZeroRange(bytes: Uint8Array, at: number, length: number): boolean {
  if (length > 0 && bytes[at] !== 0) return false;
  for (let done = 0; done < length; done += ZEROS.length) {
    const part = Math.min(ZEROS.length, length - done);
    if (ZEROS.compare(bytes, at + done, at + done + part, 0, part) !== 0) return false;
  }
  return true;
}

/** What of Node's Buffer works on every Uint8Array, which its types do not say. */
const prototype = Buffer.prototype as {
  indexOf(this: Uint8Array, wanted: Uint8Array, from: number): number;
};

/**
 * Where `wanted` begins in `bytes`, at `from` or later; -1 when nowhere. `wanted` is not empty. Runs in native code.
 */
export function indexOfBytes(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  return prototype.indexOf.call(bytes, wanted, from);
}

type Compare = (target: Uint8Array, targetAt: number, targetEnd: number, at: number, end: number) => number;

/** As a function on any array: a view of the array would be an object for each comparison. */
const compareRanges = (Buffer.prototype as { readonly compare: Compare }).compare;

/** Whether `length` bytes of `a` from `aAt` on are those of `b` from `bAt` on. The ranges must lie in the arrays. */
export function sameRange(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  return compareRanges.call(a, b, bAt, bAt + length, aAt, aAt + length) === 0;
}

/** A thread keeps hardly anything on its heap: without limits it would still take what it can get. */
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 };

/** A thread that answers each message with one. */
export interface Thread {
  /** Whether it has loaded what it needs: to start one takes as long as to compress 50 MiB. */
  readonly ready: boolean;
  post(message: unknown): void;
}

/** What a thread says once it can answer. */
const READY = 'ready';

/**
 * Starts a thread from a module that calls {@link serveThread}. It does not keep the process alive while it is idle.
 */
export function startThread(
  entry: URL,
  onMessage: (message: unknown) => void,
  onError: (error: Error) => void,
): Thread {
  const { Worker: Thread } = threads();
  const worker: threadModule.Worker = new Thread(entry, { resourceLimits: THREAD_LIMITS });
  let waiting = 0;
  let ready = false;
  worker.on('message', (message: unknown) => {
    if (message === READY) {
      ready = true;
      return;
    }
    if (--waiting === 0) worker.unref();
    onMessage(message);
  });
  worker.on('error', onError);
  // After the listeners: to add one takes a reference again.
  worker.unref();
  return {
    get ready() {
      return ready;
    },
    post: (message) => {
      if (waiting++ === 0) worker.ref();
      worker.postMessage(message);
    },
  };
}

/** In a thread: answers every message. */
export function serveThread(answer: (message: unknown) => unknown): void {
  const port: threadModule.MessagePort = threads().parentPort!;
  port.on('message', (message: unknown) => port.postMessage(answer(message)));
  port.postMessage(READY);
}
