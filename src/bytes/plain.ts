/**
 * The same bytes as a plain array. Node's own streams give Buffers, whose `slice` is no copy but a view, so that what
 * is kept of one changes with it.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
