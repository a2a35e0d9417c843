/** What a page's content becomes to be stored, and the way back (spec/tmem.md 5). */
import { CODEC, decodeInto, encodeInto, type CodecId } from '../codec/codec.ts';
import { looksCompressible } from '../codec/compressible.ts';
import { isZeroRange } from '../codec/platform.ts';
import { PAGE_BYTES } from './constants.ts';

/** A compressed form must be this much smaller, or the page is stored as it is: that costs nothing to read. */
const WORTHWHILE_BYTES = 64;

/** So many pages in a row that were worth compressing, and the next is taken for one. */
const SURE = 16;

/** Views of the first 0, 1, 2 ... bytes of a buffer, made once each, so that none is made for a page. */
class Prefixes {
  readonly bytes: Uint8Array;
  readonly #views: Uint8Array[] = [];

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
  }

  get(length: number): Uint8Array {
    return (this.#views[length] ??= this.bytes.subarray(0, length));
  }
}

/** Length of a page without the zeros at its end. */
export function significantLength(page: Uint8Array): number {
  let end = PAGE_BYTES;
  if (page[end - 1] !== 0) return end;
  if (isZeroRange(page, 0, PAGE_BYTES)) return 0;
  // If a run at the end is all zero, so is every shorter one: the longest is found by halving.
  for (let half = PAGE_BYTES / 2; half >= 8; half /= 2) {
    if (end >= half && isZeroRange(page, end - half, half)) end -= half;
  }
  while (page[end - 1] === 0) end--;
  return end;
}

/**
 * Turns pages into forms to store and back. The form that was made last stands in its fields: nothing is made for a
 * page. The compressor of a form is the caller's choice.
 */
export class Former {
  codec: CodecId = CODEC.zero;
  /** Bytes that the stored ones stand for; the rest of the page is zero. */
  original = 0;
  stored = 0;
  /** Holds the stored bytes from `at` on: the page itself, a peer's batch, or an own buffer. Until the next form. */
  bytes: Uint8Array;
  at = 0;
  /** Pages that a codec was tried on, and that were decoded: what a page costs that does not pass as it is (T5). */
  readonly codecCalls = { encodes: 0, decodes: 0 };
  /** Pages in a row that were worth compressing. */
  #worth = 0;
  readonly #encoded = new Prefixes(PAGE_BYTES);
  readonly #content = new Prefixes(PAGE_BYTES);
  readonly #stored = new Prefixes(PAGE_BYTES);

  constructor() {
    this.bytes = this.#encoded.bytes;
  }

  /** Forms a page of an ordinary pool. @param compressor CODEC.raw not to compress. */
  form(page: Uint8Array, compressor: CodecId): void {
    const length = significantLength(page);
    this.original = length;
    this.stored = length;
    this.bytes = page;
    this.at = 0;
    this.codec = length === 0 ? CODEC.zero : CODEC.raw;
    if (compressor === CODEC.raw || length <= WORTHWHILE_BYTES) return;
    // The sample waits for sixteen lines of a page that no cache holds. Behind others that were worth it, a page is
    // tried first, and sampled when the codec has read it: what it becomes is the same.
    const sure = this.#worth >= SURE;
    const worth = sure || looksCompressible(page, 0, length);
    this.#worth = worth ? this.#worth + 1 : 0;
    if (!worth) return;
    let source = page;
    if (length < PAGE_BYTES) {
      source = this.#content.get(length);
      for (let at = 0; at < length; at++) source[at] = page[at];
    }
    this.codecCalls.encodes++;
    const stored = encodeInto(compressor, source, this.#encoded.get(length - WORTHWHILE_BYTES));
    if (stored <= 0 || (sure && !looksCompressible(page, 0, length))) {
      this.#worth = 0;
      return;
    }
    this.codec = compressor;
    this.stored = stored;
    this.bytes = this.#encoded.bytes;
  }

  /** Forms the guest's own compressed data: kept as it is. */
  formOpaque(data: Uint8Array, length: number): void {
    this.codec = CODEC.opaque;
    this.original = length;
    this.stored = length;
    this.bytes = data;
    this.at = 0;
  }

  /** Takes stored bytes from a peer, which were checked, from `at` of `bytes` on. */
  adopt(codec: CodecId, original: number, stored: number, bytes: Uint8Array, at: number): void {
    this.codec = codec;
    this.original = original;
    this.stored = stored;
    this.bytes = bytes;
    this.at = at;
  }

  /** The stored bytes by themselves. A view is made only of a guest's own page that ends in zeros, and of a batch. */
  storedBytes(): Uint8Array {
    if (this.stored === this.bytes.length) return this.bytes;
    if (this.bytes === this.#encoded.bytes) return this.#encoded.get(this.stored);
    if (this.bytes === this.#stored.bytes) return this.#stored.get(this.stored);
    return this.bytes.subarray(this.at, this.at + this.stored);
  }

  /** A buffer of `length` bytes for stored bytes that are to be decoded, or adopted. */
  room(length: number): Uint8Array {
    return this.#stored.get(length);
  }

  /**
   * Decodes stored bytes that lie in `room(stored)` into a page, zeros behind them.
   * @throws CODEC_DATA when they are not exactly that: only possible with bytes from a peer.
   */
  decode(codec: CodecId, original: number, stored: number, page: Uint8Array): void {
    this.codecCalls.decodes++;
    if (original === PAGE_BYTES && page.length === PAGE_BYTES) {
      decodeInto(codec, this.#stored.get(stored), page);
      return;
    }
    const content = this.#content.get(original);
    decodeInto(codec, this.#stored.get(stored), content);
    page.set(content);
    page.fill(0, original, PAGE_BYTES);
  }
}
