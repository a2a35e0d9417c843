/** What platform.ts is in a browser. */

export function copyBytes(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  if (length > 0) target.set(source.subarray(from, from + length), to);
}

export function sameBytes(a: Uint8Array, from: number, b: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[from + i] !== b[at + i]) return false;
  return true;
}

export function uninitialised(length: number): Uint8Array {
  return new Uint8Array(length);
}
