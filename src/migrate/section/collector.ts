import type { PageBatch } from '../../machine/machine.ts';

/** Gathers the pages of one record into one batch; its buffers are used again. */
export class Collector {
  readonly #pageBytes: number;
  readonly #lends: boolean;
  #pfns = new Uint32Array(0);
  #bytes = new Uint8Array(0);
  #count = 0;
  /** Where all pages so far stand one after the other, as long as they do and nothing was copied. */
  #lent: { readonly source: Uint8Array; readonly at: number } | null = null;

  /** @param lends hands out pages where they stand, if that is one after the other: spares the copy. */
  constructor(pageBytes: number, lends: boolean) {
    this.#pageBytes = pageBytes;
    this.#lends = lends;
  }

  /** @param data pages with bytes that will come. @param all pages that may need bytes, zero ones among them. */
  begin(data: number, all: number): void {
    this.#count = 0;
    this.#lent = null;
    if (this.#pfns.length < all) this.#pfns = new Uint32Array(all);
    if (!this.#lends) this.#room(data);
  }

  /** @param lasts whether the bytes stay as they are until the batch is used. */
  add(first: number, pages: number, source: Uint8Array, at: number, lasts: boolean): void {
    if (!this.#stays(source, at, lasts)) {
      this.#keep();
      this.#room(pages);
      this.#bytes.set(source.subarray(at, at + pages * this.#pageBytes), this.#count * this.#pageBytes);
    }
    for (let page = 0; page < pages; page++) this.#pfns[this.#count++] = first + page;
  }

  addZero(page: number): void {
    this.#keep();
    this.#room(1);
    const at = this.#count * this.#pageBytes;
    this.#bytes.fill(0, at, at + this.#pageBytes);
    this.#pfns[this.#count++] = page;
  }

  /** Valid until the next {@link begin}; of pages that were lent, as long as these. */
  batch(): PageBatch {
    const bytes = this.#lent === null ? this.#bytes.subarray(0, this.#count * this.#pageBytes) : this.#lentBytes();
    return { pfns: this.#pfns.subarray(0, this.#count), bytes };
  }

  #stays(source: Uint8Array, at: number, lasts: boolean): boolean {
    if (!this.#lends || !lasts) return false;
    if (this.#count === 0) this.#lent = { source, at };
    const lent = this.#lent;
    return lent !== null && sameBytes(lent.source, lent.at + this.#count * this.#pageBytes, source, at);
  }

  /** From here on it is copied: so is what was lent. */
  #keep(): void {
    if (this.#lent === null) return;
    const bytes = this.#lentBytes();
    this.#lent = null;
    if (this.#bytes.byteLength < bytes.byteLength) this.#bytes = new Uint8Array(2 * bytes.byteLength);
    this.#bytes.set(bytes);
  }

  /** They go beyond the view of the first of them: units of a batch stand one after the other. */
  #lentBytes(): Uint8Array {
    const { source, at } = this.#lent!;
    return new Uint8Array(source.buffer, source.byteOffset + at, this.#count * this.#pageBytes);
  }

  #room(pages: number): void {
    const needed = (this.#count + pages) * this.#pageBytes;
    if (needed <= this.#bytes.byteLength) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.byteLength));
    larger.set(this.#bytes.subarray(0, this.#count * this.#pageBytes));
    this.#bytes = larger;
  }
}

/** Whether a place in one view is the same memory as a place in another. */
function sameBytes(one: Uint8Array, oneAt: number, other: Uint8Array, otherAt: number): boolean {
  return one.buffer === other.buffer && one.byteOffset + oneAt === other.byteOffset + otherAt;
}
