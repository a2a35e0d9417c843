import { random, type Random } from '../../test/support/random.ts';

export const PAGE = 4096;

/**
 * Guest memory as benchmarks use it: a third of the pages zero, a third text-like, a third random, in runs of 1 to 64
 * pages. Always the same for a size.
 */
export function syntheticMemory(bytes: number): Uint8Array {
  const memory = new Uint8Array(bytes);
  const generator = random('synthetic memory');
  const text = textLike(Math.min(32 << 20, Math.max(1 << 20, bytes >> 4)), generator);
  const noise = new Noise(generator);
  const pages = bytes / PAGE;
  const left = [Math.floor(pages / 3), Math.floor(pages / 3), pages - 2 * Math.floor(pages / 3)];
  for (let page = 0; page < pages;) {
    let kind = generator.below(3);
    while (left[kind] === 0) kind = (kind + 1) % 3;
    const run = Math.min(1 + generator.below(64), left[kind]);
    const target = memory.subarray(page * PAGE, (page + run) * PAGE);
    if (kind === 1) {
      const from = generator.below(text.byteLength - target.byteLength);
      target.set(text.subarray(from, from + target.byteLength));
    } else if (kind === 2) {
      noise.fill(target);
    }
    left[kind] -= run;
    page += run;
  }
  return memory;
}

/** Words of a small language with a Zipf-like frequency, in lines: about what logs and sources compress to. */
function textLike(bytes: number, generator: Random): Uint8Array {
  const letters = 'etaoinshrdlucmfwypvbgkjqxz';
  const words = Array.from({ length: 20_000 }, () => {
    const length = 2 + generator.below(9);
    return Array.from({ length }, () => letters[Math.min(generator.below(26), generator.below(26))]).join('');
  });
  const text = Buffer.alloc(bytes + 64);
  let at = 0;
  while (at < bytes) {
    const rank = Math.floor(words.length ** (generator.below(1 << 20) / (1 << 20))) - 1;
    at += text.write(words[rank], at, 'latin1');
    text[at++] = generator.below(12) === 0 ? 10 : 32;
  }
  return new Uint8Array(text.buffer, text.byteOffset, bytes);
}

/** Fast random bytes: xorshift words over a block, which no compressor makes smaller. */
class Noise {
  #state: number;

  constructor(generator: Random) {
    this.#state = generator.below(2 ** 31) + 1;
  }

  fill(bytes: Uint8Array): void {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    let s = this.#state;
    for (let i = 0; i < words.length; i++) {
      s ^= s << 13;
      s ^= s >>> 17;
      s ^= s << 5;
      words[i] = Math.imul(s, 0x9e3779b1) >>> 0;
    }
    this.#state = s;
  }
}
