/** Seeded content for the codec tests: what guest memory looks like, and what compressors find hard. */

/** A generator of integers below a bound, the same on every run (a 32-bit xorshift). */
export function seeded(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

export function randomBytes(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  return Uint8Array.from({ length }, () => next(65536) >> 4);
}

const WORDS = ['guest', 'memory', 'the', 'page', 'of', 'is', 'virtual', 'and', 'machine', 'to', '\n', 'state', 'in'];

export function text(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const parts: string[] = [];
  for (let size = 0; size < length + 1; size += parts.at(-1)!.length) {
    parts.push(`${WORDS[next(WORDS.length)]}${next(9) === 0 ? next(1000) : ''} `);
  }
  return new TextEncoder().encode(parts.join('')).slice(0, length);
}

/** Kernel pointers, little-endian, into sixteen GiB. */
export function pointers(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at + 8 <= length; at += 8) {
    bytes.set([next(32) * 8, next(256), next(256), next(256), next(4), 0x88, 0xff, 0xff], at);
  }
  return bytes;
}

/** Integers below a million, four bytes each. */
export function integers(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at + 4 <= length; at += 4) {
    const value = next(1_000_000);
    bytes.set([value & 255, (value >> 8) & 255, value >> 16, 0], at);
  }
  return bytes;
}

/** Mostly zero, with a byte here and there. */
export function sparse(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let at = next(100); at < length; at += 1 + next(200)) bytes[at] = next(256);
  return bytes;
}

/** Random runs that come again after any distance: what exercises every form of match. */
export function repeats(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const run = Math.min(length - at, next(4) === 0 ? 1 + next(600) : 1 + next(24));
    if (at > 0 && next(2) === 0) {
      const distance = 1 + next(Math.min(at, next(2) === 0 ? at : 40));
      for (const end = at + run; at < end; at++) bytes[at] = bytes[at - distance]!;
    } else {
      for (const end = at + run; at < end; at++) bytes[at] = next(256);
    }
  }
  return bytes;
}

/** Every shape in one size, by name. */
export function shapes(length: number, seed: number): [name: string, content: Uint8Array][] {
  return [
    ['zeros', new Uint8Array(length)],
    ['one value', new Uint8Array(length).fill(0xcc)],
    ['counter', Uint8Array.from({ length }, (_, at) => at)],
    ['period 3', Uint8Array.from({ length }, (_, at) => [7, 0, 255][at % 3])],
    ['random', randomBytes(length, seed)],
    ['text', text(length, seed)],
    ['pointers', pointers(length, seed)],
    ['integers', integers(length, seed)],
    ['sparse', sparse(length, seed)],
    ['repeats', repeats(length, seed)],
    ['repeats again', repeats(length, seed + 99)],
  ];
}

/** An array of `length` in the middle of a bigger buffer whose other bytes are checked by the returned function. */
export function guarded(length: number): { bytes: Uint8Array; intact: () => boolean } {
  const before = 37;
  const whole = new Uint8Array(before + length + 64).fill(0xa5);
  const bytes = whole.subarray(before, before + length);
  const intact = (): boolean =>
    whole.subarray(0, before).every((byte) => byte === 0xa5) &&
    whole.subarray(before + length).every((byte) => byte === 0xa5);
  return { bytes, intact };
}

export function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
