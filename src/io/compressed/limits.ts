/** What compressed input may cost, whatever it claims. */
export const UNPACK_LIMITS = {
  /** Window of zstd, as a power of two: 128 MiB, what `zstd -d` takes without being asked. */
  zstdWindowLog: 27,
  /** Dictionary of xz: what `xz -9` makes. */
  xzDictionaryBytes: 64 * 1024 * 1024,
  /** Bytes that come out of one input, when the caller names no other number: 16 TiB. */
  outputBytes: 2 ** 44,
} as const;
