/** The page contents of recordings: a kind and a seed (spec/tmem.md 11). */
import { TransmigrateError } from '../errors.ts';
import { PAGE_BYTES } from './constants.ts';

const WORDS = PAGE_BYTES / 4;

/** Where xorshift32 starts when the seed is 0, where it would stay for ever. */
const SEED_FOR_ZERO = 0x9e3779b9;

/**
 * Fills a page with what a recording names: `z` zeros, `r` random words, `m` 16 random words and zeros, `t` two words
 * at the end of zeros, `p` two words in turn, `h` half random words and half two words in turn.
 * @throws FIELD_VALUE for a name that has another shape.
 */
export function fillPattern(name: string, page: Uint8Array): void {
  const match = /^([zrmtph])(?::(\d{1,10}))?$/.exec(name);
  const seed = Number(match?.[2] ?? 0);
  if (match === null || seed >= 2 ** 32) {
    throw new TransmigrateError('FIELD_VALUE', `"${name}" is no content of a page.`, { data: { found: name } });
  }
  const view = new DataView(page.buffer, page.byteOffset, PAGE_BYTES);
  let state = seed === 0 ? SEED_FOR_ZERO : seed;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
  page.fill(0, 0, PAGE_BYTES);
  const write = (word: number, value: number): void => view.setInt32(4 * word, value, true);
  const kind = match[1];
  if (kind === 'z') return;
  if (kind === 'r' || kind === 'h' || kind === 'm') {
    const random = kind === 'r' ? WORDS : kind === 'h' ? WORDS / 2 : 16;
    for (let word = 0; word < random; word++) write(word, next());
    if (kind === 'h') {
      const [first, second] = [view.getInt32(0, true), view.getInt32(4, true)];
      for (let word = random; word < WORDS; word++) write(word, word % 2 === 0 ? first : second);
    }
    return;
  }
  const [first, second] = [next(), next()];
  if (kind === 't') {
    write(WORDS - 2, first);
    write(WORDS - 1, second);
  } else {
    for (let word = 0; word < WORDS; word++) write(word, word % 2 === 0 ? first : second);
  }
}
