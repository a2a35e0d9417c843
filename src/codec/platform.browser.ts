/**
 * What platform.ts is in a browser, over what browsers have and three small packages of plain JavaScript. A bundler
 * takes this file in its place by the field `browser` of package.json; without a bundler an import map does.
 *
 * There is no zstd encoder here: what would be compressed with it is stored raw, which every reader takes.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { deflateSync, Inflate } from 'fflate';
import { decompress } from 'fzstd';
import { crc32InJavaScript } from '../bytes/crc32.ts';
import { zstdFrameFault } from './zstd-frame.ts';

export function zstdEncode(_original: Uint8Array, _out: Uint8Array, _level: number): number {
  return -1;
}

export function zstdDecode(stored: Uint8Array, out: Uint8Array): string {
  const fault = zstdFrameFault(stored, out.length);
  if (fault !== '') return fault;
  try {
    // With a buffer given it would not tell content that is too long from content that fits.
    const content = decompress(stored);
    if (content.length > out.length) return 'the content is longer than expected';
    if (content.length < out.length) return 'the content is shorter than expected';
    out.set(content);
    return '';
  } catch (error) {
    return reasonOf(error);
  }
}

export function deflateEncode(original: Uint8Array, out: Uint8Array, level: number): number {
  const encoded = deflateSync(original, { level: level as 1 });
  if (encoded.length > out.length) return -1;
  out.set(encoded);
  return encoded.length;
}

export function deflateDecode(stored: Uint8Array, out: Uint8Array): string {
  let used = 0;
  let ended = false;
  let tooLong = false;
  const inflate = new Inflate((chunk, final) => {
    ended ||= final;
    tooLong ||= used + chunk.length > out.length;
    if (!tooLong) out.set(chunk, used);
    used += chunk.length;
  });
  try {
    inflate.push(stored, true);
  } catch (error) {
    return reasonOf(error);
  }
  if (tooLong) return 'the content is longer than expected';
  if (!ended) return 'the stream ends too early';
  return used < out.length ? 'the content is shorter than expected' : '';
}

function reasonOf(error: unknown): string {
  return `the decoder refuses it (${error instanceof Error ? error.message : String(error)})`;
}

export const crc32IsNative: boolean = false;

export function crc32(bytes: Uint8Array, seed = 0): number {
  return crc32InJavaScript(bytes, seed);
}

export class Sha256 {
  readonly #hash = sha256.create();

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  digest(): Uint8Array {
    return this.#hash.digest();
  }
}

export function isZeroRange(bytes: Uint8Array, at: number, length: number): boolean {
  const end = at + length;
  let position = at;
  // Words where the array lets them be seen: a page begins at a multiple of eight in almost every buffer.
  const first = bytes.byteOffset + position;
  if (first % 8 === 0) {
    const words = new Float64Array(bytes.buffer, first, Math.floor(length / 8));
    // -0 and NaN are not zero bytes, and neither compares as the number 0 in Object.is.
    for (const word of words) if (!Object.is(word, 0)) return false;
    position += words.byteLength;
  }
  for (; position < end; position++) if (bytes[position] !== 0) return false;
  return true;
}

export function sameRange(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

export function indexOfBytes(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  const { length } = wanted;
  const first = wanted[0];
  if (first === undefined) return -1;
  // Only the search for one byte is native: the rest is looked at where that is found.
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (at + length > bytes.length) return -1;
    let same = 1;
    while (same < length && bytes[at + same] === wanted[same]) same += 1;
    if (same === length) return at;
  }
  return -1;
}

/** A thread that answers each message with one. */
export interface Thread {
  readonly ready: boolean;
  post(message: unknown): void;
}

const READY = 'ready';

/** What is used of a browser's Worker: its types are not those of Node. */
interface WebWorker {
  onmessage: (event: { readonly data: unknown }) => void;
  onerror: (event: { readonly message: string }) => void;
  postMessage(message: unknown): void;
}

interface WorkerScope {
  readonly Worker: new (url: URL, options: { type: 'module' }) => WebWorker;
  onmessage: (event: { readonly data: unknown }) => void;
  postMessage(message: unknown): void;
}

export function startThread(
  entry: URL,
  onMessage: (message: unknown) => void,
  onError: (error: Error) => void,
): Thread {
  const worker = new (globalThis as unknown as WorkerScope).Worker(entry, { type: 'module' });
  let ready = false;
  worker.onmessage = ({ data }) => {
    if (data === READY) ready = true;
    else onMessage(data);
  };
  worker.onerror = ({ message }) => onError(new Error(message));
  return {
    get ready() {
      return ready;
    },
    post: (message) => worker.postMessage(message),
  };
}

export function serveThread(answer: (message: unknown) => unknown): void {
  const scope = globalThis as unknown as WorkerScope;
  scope.onmessage = ({ data }) => scope.postMessage(answer(data));
  scope.postMessage(READY);
}
