/** Random numbers for tests: seeded by a text, so that a failure can be run again. */
export interface Random {
  /** An integer from 0 to `end` - 1. */
  below(end: number): number;
  /** Fills with random bytes, and returns the same. */
  scramble(bytes: Uint8Array): Uint8Array;
  pick<T>(items: readonly T[]): T;
}

/** A generator (sfc32) whose state comes from the text. */
export function random(seed: string): Random {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 1];
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (const character of seed) {
    a = (Math.imul(a, 31) + character.codePointAt(0)!) | 0;
    next();
  }
  for (let i = 0; i < 12; i++) next();
  return {
    below: (end) => Math.floor((next() / 2 ** 32) * end),
    scramble: (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = next();
      return bytes;
    },
    pick: (items) => items[Math.floor((next() / 2 ** 32) * items.length)],
  };
}
