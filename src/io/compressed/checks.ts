/** The checks of xz blocks ("The .xz File Format" 1.2.1, section 6). */
import { crc32, startSha256 } from './platform.ts';

export interface Check {
  readonly name: string;
  readonly bytes: number;
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

/** By its number in the stream's flags; undefined for one that nobody has given out. */
export function startCheck(type: number): Check | undefined {
  if (type === 0) return { name: 'check', bytes: 0, update: () => undefined, digest: () => new Uint8Array(0) };
  if (type === 1) return new Crc32Check();
  if (type === 4) return new Crc64Check();
  if (type !== 10) return undefined;
  const hash = startSha256();
  return { name: 'SHA-256', bytes: 32, update: (bytes) => hash.update(bytes), digest: () => hash.digest() };
}

class Crc32Check implements Check {
  readonly name = 'CRC-32';
  readonly bytes = 4;
  #crc = 0;

  update(bytes: Uint8Array): void {
    this.#crc = crc32(bytes, this.#crc);
  }

  digest(): Uint8Array {
    return new Uint8Array(Uint32Array.of(this.#crc).buffer);
  }
}

/** The polynomial of ECMA-182, reflected, in two halves: a BigInt for every byte would be an object for every byte. */
const POLYNOMIAL = { high: 0xc96c5795, low: 0xd7870f42 } as const;
const high = new Uint32Array(256);
const low = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let [h, l] = [0, byte];
  for (let bit = 0; bit < 8; bit++) {
    const odd = l & 1;
    l = ((l >>> 1) | (h << 31)) ^ (odd === 0 ? 0 : POLYNOMIAL.low);
    h = (h >>> 1) ^ (odd === 0 ? 0 : POLYNOMIAL.high);
  }
  high[byte] = h;
  low[byte] = l;
}

class Crc64Check implements Check {
  readonly name = 'CRC-64';
  readonly bytes = 8;
  #high = 0xffff_ffff;
  #low = 0xffff_ffff;

  update(bytes: Uint8Array): void {
    let [h, l] = [this.#high | 0, this.#low | 0];
    for (let i = 0; i < bytes.byteLength; i++) {
      const index = (l ^ bytes[i]) & 0xff;
      l = ((l >>> 8) | (h << 24)) ^ low[index];
      h = (h >>> 8) ^ high[index];
    }
    this.#high = h;
    this.#low = l;
  }

  digest(): Uint8Array {
    return new Uint8Array(Uint32Array.of(~this.#low, ~this.#high).buffer);
  }
}
