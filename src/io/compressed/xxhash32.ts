/**
 * xxHash of 32 bits, seed 0, fed piece by piece: from its specification (github.com/Cyan4973/xxHash,
 * doc/xxhash_spec.md).
 */
const P1 = 0x9e3779b1;
const P2 = 0x85ebca77;
const P3 = 0xc2b2ae3d;
const P4 = 0x27d4eb2f;
const P5 = 0x165667b1;
const STRIPE = 16;

export class XxHash32 {
  #a = (P1 + P2) | 0;
  #b = P2 | 0;
  #c = 0;
  #d = -P1 | 0;
  readonly #rest = new Uint8Array(STRIPE);
  #used = 0;
  #length = 0;

  update(bytes: Uint8Array): this {
    this.#length += bytes.byteLength;
    let at = 0;
    if (this.#used > 0) {
      at = Math.min(STRIPE - this.#used, bytes.byteLength);
      this.#rest.set(bytes.subarray(0, at), this.#used);
      this.#used += at;
      if (this.#used < STRIPE) return this;
      this.#stripes(this.#rest, 0, STRIPE);
    }
    const whole = at + Math.floor((bytes.byteLength - at) / STRIPE) * STRIPE;
    this.#stripes(bytes, at, whole);
    this.#rest.set(bytes.subarray(whole));
    this.#used = bytes.byteLength - whole;
    return this;
  }

  digest(): number {
    let hash: number;
    if (this.#length < STRIPE) hash = P5 | 0;
    else hash = (rotate(this.#a, 1) + rotate(this.#b, 7) + rotate(this.#c, 12) + rotate(this.#d, 18)) | 0;
    hash = (hash + this.#length) | 0;
    const view = new DataView(this.#rest.buffer);
    let at = 0;
    for (; at + 4 <= this.#used; at += 4) {
      hash = Math.imul(rotate((hash + Math.imul(view.getUint32(at, true), P3)) | 0, 17), P4);
    }
    for (; at < this.#used; at++) hash = Math.imul(rotate((hash + Math.imul(this.#rest[at], P5)) | 0, 11), P1);
    hash = Math.imul(hash ^ (hash >>> 15), P2);
    hash = Math.imul(hash ^ (hash >>> 13), P3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  #stripes(bytes: Uint8Array, start: number, end: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let [a, b, c, d] = [this.#a, this.#b, this.#c, this.#d];
    for (let at = start; at < end; at += STRIPE) {
      a = Math.imul(rotate((a + Math.imul(view.getUint32(at, true), P2)) | 0, 13), P1);
      b = Math.imul(rotate((b + Math.imul(view.getUint32(at + 4, true), P2)) | 0, 13), P1);
      c = Math.imul(rotate((c + Math.imul(view.getUint32(at + 8, true), P2)) | 0, 13), P1);
      d = Math.imul(rotate((d + Math.imul(view.getUint32(at + 12, true), P2)) | 0, 13), P1);
    }
    [this.#a, this.#b, this.#c, this.#d] = [a, b, c, d];
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
