import { plainBytes } from '../../bytes/plain.ts';

/**
 * The bytes of a stream that come in pieces of any size. The readers of nested layers share one, so that a byte is
 * looked at once however deep it lies.
 */
export class Intake {
  /** What the caller gave and nobody took yet; borrowed until the next feed. */
  #input: Uint8Array = new Uint8Array(0);
  /** The start of something that was split between two pieces. */
  #split: Uint8Array = new Uint8Array(4096);
  #splitUsed = 0;
  #offset = 0;
  #ahead = 0;
  /** Whether readers are to pass over the content of pages: for who only wants to know where they stand. */
  skipsPages = false;

  /** Stream offset of the next byte that was not taken. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes that came so far. */
  get received(): number {
    return this.#offset - this.#ahead + this.#splitUsed + this.#input.byteLength;
  }

  /**
   * Says that bytes which are to be passed over, up to so many of them, are not there in what is fed next.
   * @returns how many.
   */
  jump(most: number): number {
    const passed = Math.min(this.#ahead, most);
    this.#ahead -= passed;
    return passed;
  }

  /** Passes over bytes: of those that wait, and of those that are fed next. */
  skip(length: number): void {
    this.#offset += length;
    const split = Math.min(length, this.#splitUsed);
    this.#split.copyWithin(0, split, this.#splitUsed);
    this.#splitUsed -= split;
    const waiting = Math.min(length - split, this.#input.byteLength);
    this.#input = this.#input.subarray(waiting);
    this.#ahead = length - split - waiting;
  }

  /** Whether bytes wait that nobody took. */
  get waiting(): boolean {
    return this.#input.byteLength > 0;
  }

  /** Borrows more bytes. @throws RangeError while bytes of the last piece are left. */
  feed(bytes: Uint8Array): void {
    if (this.#input.byteLength > 0) throw new RangeError('read() until it returns undefined before more is fed');
    this.#input = plainBytes(bytes);
  }

  /**
   * The next `length` bytes in one piece, valid until the next call; or undefined when they are not all there. Memory
   * grows with what has come, never with what a length says.
   */
  gather(length: number): Uint8Array | undefined {
    const input = this.#input;
    if (this.#splitUsed === 0 && input.byteLength >= length) {
      this.#input = input.subarray(length);
      this.#offset += length;
      return input.subarray(0, length);
    }
    const wanted = Math.min(length - this.#splitUsed, input.byteLength);
    const used = this.#splitUsed + wanted;
    if (used > this.#split.byteLength) {
      const larger = new Uint8Array(Math.min(Math.max(used, this.#split.byteLength * 2), Math.max(length, 4096)));
      larger.set(this.#split.subarray(0, this.#splitUsed));
      this.#split = larger;
    }
    this.#split.set(input.subarray(0, wanted), this.#splitUsed);
    this.#input = input.subarray(wanted);
    this.#splitUsed = used;
    if (used < length) return undefined;
    this.#splitUsed = 0;
    this.#offset += length;
    return this.#split.subarray(0, length);
  }

  /** The first bytes of what comes next, at most `length`, without taking them; valid until the next call. */
  peek(length: number): Uint8Array {
    if (this.#splitUsed === 0) return this.#input.subarray(0, length);
    const held = new Uint8Array(Math.min(length, this.#splitUsed + this.#input.byteLength));
    held.set(this.#split.subarray(0, Math.min(held.byteLength, this.#splitUsed)));
    if (held.byteLength > this.#splitUsed) {
      held.set(this.#input.subarray(0, held.byteLength - this.#splitUsed), this.#splitUsed);
    }
    return held;
  }

  /** How many bytes can be taken without a copy: none while something is split. */
  get whole(): number {
    return this.#splitUsed === 0 ? this.#input.byteLength : 0;
  }

  /** Up to `most` bytes as they came; none where none wait. What was split comes first. */
  some(most: number): Uint8Array {
    if (this.#splitUsed > 0) {
      const count = Math.min(most, this.#splitUsed);
      const out = this.#split.slice(0, count);
      this.#split.copyWithin(0, count, this.#splitUsed);
      this.#splitUsed -= count;
      this.#offset += count;
      return out;
    }
    const out = this.#input.subarray(0, most);
    this.#input = this.#input.subarray(out.byteLength);
    this.#offset += out.byteLength;
    return out;
  }
}
