import { ORIGIN_LIMITS, ORIGIN_VERSION, STEP } from './ops.ts';

/** Bytes of content that are handed on at once: a part of ORIGIN has at most 1 MiB (stream 15). */
const PART_BYTES = 1024 * 1024;

/**
 * Writes down how a foreign image is made of pages and of other bytes (spec/foreign/origin.md). A reader tells of what
 * it reads, in order; whoever writes our stream takes the parts with {@link take}. Memory is bounded by what was told
 * since: a record of the foreign format at most.
 */
export class OriginRecorder {
  #bytes = new Uint8Array(64 * 1024);
  #used = 0;
  #pages = 0;
  #skipped = 0;
  #zeros = 0;

  constructor() {
    this.#bytes[this.#used++] = ORIGIN_VERSION;
  }

  /** Bytes of the image as they are. Copied. */
  literal(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; at += ORIGIN_LIMITS.literalBytes) {
      const part = bytes.subarray(at, at + ORIGIN_LIMITS.literalBytes);
      this.#step();
      this.#room(part.byteLength + 16);
      this.#byte(STEP.literal);
      this.#varint(part.byteLength);
      this.#bytes.set(part, this.#used);
      this.#used += part.byteLength;
    }
  }

  /** The content of the next `count` pages that the reader handed out with content, zero or not. */
  pages(count: number): void {
    if (count === 0) return;
    if (this.#zeros > 0 || this.#skipped > 0) this.#step();
    this.#pages += count;
  }

  /** The next `count` pages with content that the reader handed out stand nowhere in the image. */
  skip(count: number): void {
    if (count === 0) return;
    if (this.#zeros > 0 || this.#pages > 0) this.#step();
    this.#skipped += count;
  }

  /** Zeros that are no page. */
  zeros(count: number): void {
    if (count === 0) return;
    if (this.#pages > 0 || this.#skipped > 0) this.#step();
    this.#zeros += count;
  }

  /** Bytes of a device blob, by the number that the device has in our stream. */
  device(device: number, offset: number, bytes: number): void {
    this.#step();
    this.#room(32);
    this.#byte(STEP.device);
    this.#varint(device);
    this.#varint(offset);
    this.#varint(bytes);
  }

  /**
   * Entries of a PAGE_DATA record: for each, 52 bits of pfn and 12 bits of type above them.
   * @param words two halves each, the low one first.
   */
  entries(words: Uint32Array, count: number): void {
    for (let first = 0; first < count; first += ORIGIN_LIMITS.entries) {
      this.#entries(words, first, Math.min(count, first + ORIGIN_LIMITS.entries));
    }
  }

  /** Runs of neighbours of one type; each begins relative to where the last one ended (foreign/origin 2.3). */
  #entries(words: Uint32Array, from: number, to: number): void {
    this.#step();
    this.#room(16);
    this.#byte(STEP.entries);
    this.#varint(to - from);
    let expected = 0;
    for (let entry = from; entry < to;) {
      const high = words[2 * entry + 1];
      const type = high >>> 20;
      const first = (high & 0xf_ffff) * 4_294_967_296 + words[2 * entry];
      let run = 1;
      while (entry + run < to && follows(words, entry + run, high, first + run)) run++;
      this.#room(32);
      const delta = first - expected;
      this.#varint(run);
      this.#varint(type);
      this.#varint(delta < 0 ? 1 : 0);
      this.#varint(Math.abs(delta));
      expected = first + run;
      entry += run;
    }
  }

  /**
   * The next part of the content, once there is enough for one, or undefined.
   * @param all also what is less: at the end.
   */
  take(all = false): Uint8Array | undefined {
    if (all) this.#step();
    if (this.#used === 0 || (!all && this.#used < PART_BYTES)) return undefined;
    const length = Math.min(this.#used, PART_BYTES);
    const part = this.#bytes.slice(0, length);
    this.#bytes.copyWithin(0, length, this.#used);
    this.#used -= length;
    return part;
  }

  /** Writes down what was only counted. */
  #step(): void {
    for (const [step, count] of [
      [STEP.pages, this.#pages],
      [STEP.skip, this.#skipped],
      [STEP.zeros, this.#zeros],
    ] as const) {
      if (count === 0) continue;
      this.#room(16);
      this.#byte(step);
      this.#varint(count);
    }
    this.#pages = 0;
    this.#skipped = 0;
    this.#zeros = 0;
  }

  #byte(value: number): void {
    this.#bytes[this.#used++] = value;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#byte((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    this.#byte(rest);
  }

  #room(bytes: number): void {
    if (this.#used + bytes <= this.#bytes.byteLength) return;
    const larger = new Uint8Array(Math.max(this.#used + bytes, this.#bytes.byteLength * 2));
    larger.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = larger;
  }
}

function follows(words: Uint32Array, entry: number, high: number, pfn: number): boolean {
  // A run does not cross into another high half: so the type and the high bits are compared at once.
  return words[2 * entry + 1] === high && words[2 * entry] === pfn % 4_294_967_296;
}
