/**
 * LZMA2, the one compression inside .xz files: written from the description of the LZMA format in the LZMA SDK
 * (public domain, lzma-specification.txt) and "The .xz File Format" 1.2.1, section 5.3.1.
 */

/** Bits of the model (LZMA specification, "Probability model"). */
const MODEL_BITS = 11;
const MODEL_HALF = 1 << (MODEL_BITS - 1);
const MOVE_BITS = 5;
const TOP = 1 << 24;

const STATES = 12;
const FIRST_MATCH_STATE = 7;
const MATCH_LEAST = 2;
const POSITION_STATES = 16;
const END_POSITION_MODEL = 14;
const FULL_DISTANCES = 128;
const ALIGN_BITS = 4;

/** Places of the models in one array. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const SLOT = IS_REP0_LONG + STATES * POSITION_STATES;
const SPECIAL = SLOT + 4 * 64;
const ALIGN = SPECIAL + FULL_DISTANCES - END_POSITION_MODEL;
const LENGTH = ALIGN + (1 << ALIGN_BITS);
/** Two choices, 16 low and 16 middle trees of 8, a high one of 256. */
const LENGTH_MODELS = 2 + 2 * POSITION_STATES * 8 + 256;
const REP_LENGTH = LENGTH + LENGTH_MODELS;
const LITERAL = REP_LENGTH + LENGTH_MODELS;
const LITERAL_MODELS = 0x300;
/** LZMA2 allows lc + lp of at most 4. */
const MODELS = LITERAL + (LITERAL_MODELS << 4);

/** How far the window goes beyond the dictionary: twice the most bytes of a chunk. */
const ROOM = 4 * 1024 * 1024;

/** Thrown for data that no encoder wrote; whoever catches it knows the place. */
export class LzmaFault extends Error {}

/** Decodes the chunks of one block. The window grows with what is in it, up to the dictionary. */
export class Lzma2Decoder {
  readonly #dictionaryBytes: number;
  #window = new Uint8Array(0);
  #at = 0;
  /** Bytes that a match may reach back: those since the dictionary was reset. */
  #reach = 0;
  readonly #models = new Uint16Array(MODELS);
  #lc = 0;
  #literalMask = 0;
  #positionMask = 0;
  #state = 0;
  readonly #reps = new Int32Array(4);
  #position = 0;
  #needDictionary = true;
  #needProperties = true;

  // The range coder.
  #input: Uint8Array = new Uint8Array(0);
  #next = 0;
  #range = 0;
  #code = 0;

  constructor(dictionaryBytes: number) {
    this.#dictionaryBytes = Math.max(4096, dictionaryBytes);
  }

  /** A chunk that is stored as it is. @returns its bytes, valid until the next chunk */
  stored(control: number, bytes: Uint8Array): Uint8Array {
    if (control === 1) this.#resetDictionary();
    else if (this.#needDictionary) throw new LzmaFault('the first chunk does not reset the dictionary');
    this.#room(bytes.byteLength);
    this.#window.set(bytes, this.#at);
    return this.#advance(bytes.byteLength);
  }

  /**
   * A compressed chunk.
   * @param properties the byte behind the lengths; undefined where the chunk has none.
   * @returns `length` bytes, valid until the next chunk.
   */
  packed(control: number, properties: number | undefined, input: Uint8Array, length: number): Uint8Array {
    const reset = (control >> 5) & 3;
    if (reset === 3) this.#resetDictionary();
    else if (this.#needDictionary) throw new LzmaFault('the first chunk does not reset the dictionary');
    if (properties !== undefined) this.#setProperties(properties);
    else if (this.#needProperties) throw new LzmaFault('a chunk comes before its properties');
    if (reset > 0) this.#resetState();
    this.#room(length);
    this.#startRange(input);
    this.#decode(this.#at + length);
    this.#normalize();
    if (this.#code !== 0 || this.#next !== input.byteLength) throw new LzmaFault('a chunk does not end where it says');
    return this.#advance(length);
  }

  #advance(length: number): Uint8Array {
    const bytes = this.#window.subarray(this.#at, this.#at + length);
    this.#at += length;
    this.#reach = Math.min(this.#reach + length, this.#dictionaryBytes);
    this.#position = (this.#position + length) >>> 0;
    return bytes;
  }

  #resetDictionary(): void {
    this.#reach = 0;
    this.#position = 0;
    this.#needDictionary = false;
    this.#needProperties = true;
  }

  #setProperties(properties: number): void {
    if (properties >= 225) throw new LzmaFault('properties that cannot be');
    const lc = properties % 9;
    const rest = Math.floor(properties / 9);
    const [lp, pb] = [rest % 5, Math.floor(rest / 5)];
    if (lc + lp > 4) throw new LzmaFault('properties that LZMA2 does not allow');
    this.#lc = lc;
    this.#literalMask = (1 << lp) - 1;
    this.#positionMask = (1 << pb) - 1;
    this.#needProperties = false;
  }

  #resetState(): void {
    this.#state = 0;
    this.#reps.fill(0);
    this.#models.fill(MODEL_HALF);
  }

  /** Makes room for a chunk behind the dictionary. */
  #room(length: number): void {
    if (this.#at + length <= this.#window.byteLength) return;
    const keep = Math.min(this.#reach, this.#at);
    const most = this.#dictionaryBytes + ROOM;
    const size = Math.min(most, Math.max(ROOM, 2 * (keep + length)));
    const target = size > this.#window.byteLength ? new Uint8Array(size) : this.#window;
    target.set(this.#window.subarray(this.#at - keep, this.#at));
    this.#window = target;
    this.#at = keep;
  }

  #startRange(input: Uint8Array): void {
    if (input.byteLength < 5 || input[0] !== 0) throw new LzmaFault('a chunk does not start as one');
    this.#input = input;
    this.#range = 0xffff_ffff;
    this.#code = ((input[1] << 24) | (input[2] << 16) | (input[3] << 8) | input[4]) >>> 0;
    this.#next = 5;
  }

  #normalize(): void {
    if (this.#range >= TOP) return;
    // Beyond the end it is not a number, which becomes 0: the chunk's end is checked once, behind it.
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | this.#input[this.#next++]) >>> 0;
  }

  #bit(model: number): number {
    this.#normalize();
    const models = this.#models;
    const value = models[model];
    const bound = (this.#range >>> MODEL_BITS) * value;
    if (this.#code < bound) {
      this.#range = bound;
      models[model] = value + (((1 << MODEL_BITS) - value) >> MOVE_BITS);
      return 0;
    }
    this.#range -= bound;
    this.#code -= bound;
    models[model] = value - (value >> MOVE_BITS);
    return 1;
  }

  #direct(bits: number): number {
    let result = 0;
    for (let left = bits; left > 0; left--) {
      this.#normalize();
      this.#range >>>= 1;
      const one = this.#code >= this.#range ? 1 : 0;
      if (one === 1) this.#code -= this.#range;
      result = (result << 1) | one;
    }
    return result >>> 0;
  }

  #tree(models: number, bits: number): number {
    let symbol = 1;
    for (let left = bits; left > 0; left--) symbol = (symbol << 1) | this.#bit(models + symbol);
    return symbol - (1 << bits);
  }

  #reverse(models: number, bits: number): number {
    let symbol = 1;
    let result = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(models + symbol);
      symbol = (symbol << 1) | bit;
      result |= bit << i;
    }
    return result;
  }

  #length(models: number, positionState: number): number {
    if (this.#bit(models) === 0) return MATCH_LEAST + this.#tree(models + 2 + positionState * 8, 3);
    const middle = models + 2 + POSITION_STATES * 8;
    if (this.#bit(models + 1) === 0) return MATCH_LEAST + 8 + this.#tree(middle + positionState * 8, 3);
    return MATCH_LEAST + 16 + this.#tree(middle + POSITION_STATES * 8, 8);
  }

  #distance(length: number): number {
    const slot = this.#tree(SLOT + Math.min(length - MATCH_LEAST, 3) * 64, 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = ((2 | (slot & 1)) << bits) >>> 0;
    if (slot < END_POSITION_MODEL) return base + this.#reverse(SPECIAL + base - slot - 1, bits);
    const high = this.#direct(bits - ALIGN_BITS) * (1 << ALIGN_BITS);
    return (base + high + this.#reverse(ALIGN, ALIGN_BITS)) >>> 0;
  }

  #decode(end: number): void {
    const window = this.#window;
    const reps = this.#reps;
    const start = this.#at;
    let at = this.#at;
    let state = this.#state;
    while (at < end) {
      // A chunk that reads beyond its input is broken: it must not go on for long.
      if (this.#next > this.#input.byteLength) throw new LzmaFault('a chunk ends too early');
      const position = (this.#position + at - start) >>> 0;
      const positionState = position & this.#positionMask;
      const reach = Math.min(this.#reach + at - start, this.#dictionaryBytes);
      if (this.#bit(IS_MATCH + state * POSITION_STATES + positionState) === 0) {
        const before = reach > 0 ? window[at - 1] : 0;
        const literal = ((position & this.#literalMask) << this.#lc) + (before >> (8 - this.#lc));
        const models = LITERAL + literal * LITERAL_MODELS;
        let symbol = 1;
        if (state >= FIRST_MATCH_STATE) {
          if (reps[0] >= reach) throw new LzmaFault('a match reaches too far back');
          let match = window[at - reps[0] - 1];
          while (symbol < 0x100) {
            const matchBit = (match >> 7) & 1;
            match <<= 1;
            const bit = this.#bit(models + ((1 + matchBit) << 8) + symbol);
            symbol = (symbol << 1) | bit;
            if (matchBit !== bit) break;
          }
        }
        while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(models + symbol);
        window[at++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      let length: number;
      if (this.#bit(IS_REP + state) === 0) {
        length = this.#length(LENGTH, positionState);
        state = state < FIRST_MATCH_STATE ? 7 : 10;
        const distance = this.#distance(length);
        reps.copyWithin(1, 0, 3);
        if (distance > 0x7fff_ffff) throw new LzmaFault('a match reaches too far back');
        reps[0] = distance;
      } else {
        if (this.#bit(IS_REP_G0 + state) === 0) {
          if (this.#bit(IS_REP0_LONG + state * POSITION_STATES + positionState) === 0) {
            if (reps[0] >= reach) throw new LzmaFault('a match reaches too far back');
            window[at] = window[at - reps[0] - 1];
            at++;
            state = state < FIRST_MATCH_STATE ? 9 : 11;
            continue;
          }
        } else {
          const which = this.#bit(IS_REP_G1 + state) === 0 ? 1 : 2 + this.#bit(IS_REP_G2 + state);
          const distance = reps[which];
          reps.copyWithin(1, 0, which);
          reps[0] = distance;
        }
        length = this.#length(REP_LENGTH, positionState);
        state = state < FIRST_MATCH_STATE ? 8 : 11;
      }
      const distance = reps[0] + 1;
      if (distance > reach) throw new LzmaFault('a match reaches too far back');
      if (length > end - at) throw new LzmaFault('a match goes beyond its chunk');
      if (distance === 1) {
        window.fill(window[at - 1], at, at + length);
        at += length;
      } else if (distance >= length) {
        window.copyWithin(at, at - distance, at - distance + length);
        at += length;
      } else {
        for (const stop = at + length; at < stop; at++) window[at] = window[at - distance];
      }
    }
    this.#state = state;
  }
}
