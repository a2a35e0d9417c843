/** The numbers of tmem: what guests see (spec/tmem.md 2 and 3), and the named limits of the engine (spec/tmem.md 8). */

/** Results of operations: Xen's, as negative errno values and tmem's own two (spec/tmem.md 3). */
export const RESULT = {
  /** Done; of a get: the page was there. */
  done: 1,
  /** Not there. */
  none: 0,
  notPermitted: -1,
  noMemory: -12,
  badAddress: -14,
  noDevice: -19,
  invalid: -22,
  noSpace: -28,
  frozen: -1000,
  empty: -1001,
} as const;

/** Bits of a pool's flags (spec/tmem.md 2.3); bits 4 to 7 are the page size, bits 24 to 31 the version. */
export const POOL_FLAG = { persistent: 1, shared: 2, precompressed: 4 } as const;

/** The version in bits 24 to 31 of a pool's flags. */
export const POOL_VERSION = 1;

/** Bits of a client's flags (stream 10.1). */
export const CLIENT_FLAG = { compress: 1, frozen: 2 } as const;

/** Bytes of a page. Other page sizes are refused (spec/tmem.md 2.3). */
export const PAGE_BYTES = 4096;

/** 32-bit halves of a handle: six of the object id, lowest first, and the index of the page. */
export const HANDLE_HALVES = 7;

/** Limits of the engine that no option changes. */
export const TMEM_LIMITS = {
  poolsOfClient: 16,
  sharedPools: 16,
  authorised: 16,
  clients: 1024,
  /** Readers, snapshots and logs together, at one time. */
  readers: 8,
  /** Pages in the engine: their numbers have 26 bits, and the highest is not used. */
  pages: 2 ** 26 - 2,
  /** Equal pages that are compared before one is stored by itself. */
  shareCandidates: 8,
  /** Evictions that free nothing, because a save holds the pages, before that save is given up. */
  fruitlessEvictions: 64,
  /** Channels of a log reader. */
  channels: 16,
} as const;
