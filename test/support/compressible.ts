import { random } from './random.ts';

/** Bytes with runs, repeats near and far, text and noise: the same for the same seed and length. */
export function compressible(seed: string, length: number): Uint8Array {
  const rng = random(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const part = bytes.subarray(at, at + 1 + rng.below(5000));
    const kind = rng.below(4);
    if (kind === 0) rng.scramble(part.subarray(0, 700));
    else if (kind === 1) part.fill(rng.below(256));
    else if (kind === 2 && at > 0) part.set(bytes.subarray(rng.below(at)).subarray(0, part.length));
    else part.forEach((_, i) => (part[i] = 0x61 + ((i * i + at) % 23)));
    at += part.length;
  }
  return bytes;
}
