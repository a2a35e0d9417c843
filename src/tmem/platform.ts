/**
 * The adapter between the tmem engine and the machine that runs it: the one file of src/tmem that uses Node's Buffer.
 * In a browser it is replaced by another with the same exports.
 */

// Its methods work on every Uint8Array, which its types do not say.
const prototype = Buffer.prototype as Buffer;

/**
 * Copies `length` bytes. No view is made for it, which is what `target.set(source.subarray(...))` would cost a page.
 * A whole array, as most pages that are put, needs none, and `set` is called sooner than what takes ranges.
 * Both ranges must lie in their arrays.
 */
export function copyBytes(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  if (length === source.length) target.set(source, to);
  else if (length > 0) prototype.copy.call(source as Buffer, target, to, from, from + length);
}

/** Whether `length` bytes of two arrays are equal. Both ranges must lie in their arrays. */
export function sameBytes(a: Uint8Array, from: number, b: Uint8Array, at: number, length: number): boolean {
  return length === 0 || prototype.compare.call(a as Buffer, b, at, at + length, from, from + length) === 0;
}

/**
 * A buffer of its own whose content is whatever was there before: for memory that is written before it is read, where
 * filling it with zeros first would cost as much as the pages that go into it.
 */
export function uninitialised(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
}
