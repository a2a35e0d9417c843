/**
 * A cheap guess whether a page of guest memory is worth trying to compress.
 *
 * Random and already compressed bytes are spread evenly over the 256 values. So some runs of bytes are sampled, and
 * the pairs of equal bytes among the samples are counted. For n evenly spread samples n(n-1)/512 pairs are expected,
 * with about the square root of that as deviation. Text, code, pointers, integers and sparse data repeat values and
 * have several times as many pairs; counters and tables in order have far fewer. Only a count near the expected one
 * says that nothing is to be gained.
 *
 * What is missed is a page whose samples look random and that still repeats itself over a longer distance; the cost
 * is a page stored raw. What is tried in vain is data that only an entropy coder gains on, with a codec that has none.
 */

/** Samples are taken in runs, because neighbours come with the same cache line: 16 runs of 16 bytes. */
const RUN = 16;
const RUNS = 16;
const SAMPLES = RUN * RUNS;
/** Pairs of equal bytes that evenly spread samples have on average. */
const EXPECTED = (SAMPLES * (SAMPLES - 1)) / 512;
/*
 * The bounds lie 4.5 and 8.5 standard deviations from the average, so that even samples never leave them by chance.
 * The upper one has more room because compressed data is not quite even; real code and text have at least twice it.
 */
const FEWEST = Math.round(EXPECTED * 0.6);
const MOST = Math.round(EXPECTED * 1.75);
/*
 * After each byte of the runs, how many pairs say already that there will be too many: as far from the average of so
 * many samples, and four more, because so few pairs are spread less evenly. A page that is half a pattern is known by
 * its second byte.
 */
const ENOUGH = Uint16Array.from({ length: RUN }, (_, byte) => {
  const samples = RUNS * (byte + 1);
  const expected = (samples * (samples - 1)) / 512;
  return Math.min(MOST, Math.round(expected + 8.5 * Math.sqrt(expected) + 4));
});

/** How often each value was sampled; made once, cleared by each call, eight at a time. */
const counts = new Uint8Array(256);
const eights = new Float64Array(counts.buffer);

/**
 * Whether the `length` bytes of `page` at `offset` look as if a compressor would make them smaller. A guess: right
 * for well over 99 of 100 pages of ordinary kinds, and for fewer than 256 bytes always yes.
 *
 * Reads 256 bytes whatever the length is, allocates nothing, keeps no reference to `page`. The range must lie in the
 * array; nothing is thrown.
 */
export function looksCompressible(page: Uint8Array, offset: number, length: number): boolean {
  if (length < SAMPLES) return true;
  for (let eight = 0; eight < eights.length; eight++) eights[eight] = 0;
  // The first run begins at the start and the last ends at the end. For 4 KiB the step is 272 bytes, so that runs
  // stay within cache lines and fall on different places of records whose size is a power of two.
  const step = Math.floor((length - RUN) / (RUNS - 1));
  let pairs = 0;
  // One byte of each run, then the next of each: the sixteen cache lines are asked for at once, not one by one.
  for (let byte = 0; byte < RUN; byte++) {
    let at = offset + byte;
    for (let run = 0; run < RUNS; run++) {
      const value = page[at];
      const seen = counts[value];
      pairs += seen;
      counts[value] = seen + 1;
      at += step;
    }
    // The count only grows: sparse pages are answered after a turn or two.
    if (pairs > ENOUGH[byte]) return true;
  }
  return pairs < FEWEST;
}
