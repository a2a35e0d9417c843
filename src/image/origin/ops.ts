/**
 * ORIGIN as it is used here: the foreign image as a list of steps that give its bytes back, in order, from the pages
 * of our own stream and from what is kept beside them (spec/foreign/origin.md).
 */

/** The format's name of an ORIGIN record ends in this: the version of the steps (foreign/origin 1). */
export const ORIGIN_VERSION = 1;

/** Steps (foreign/origin 2). */
export const STEP = {
  /** Bytes as they are. */
  literal: 1,
  /** The content of the next pages that have some. */
  pages: 2,
  /** Entries of a PAGE_DATA record of libxc: 8 bytes each, little-endian. */
  entries: 3,
  /** So many zeros. */
  zeros: 4,
  /** Pages of the stream that the image does not have. */
  skip: 5,
  /** Bytes of a device blob. */
  device: 6,
} as const;

export const ORIGIN_LIMITS = {
  /** Bytes of a literal step: one longer is written as several. */
  literalBytes: 64 * 1024,
  /** Entries of a step. */
  entries: 1 << 20,
  /** Bytes that steps 3, 4 and 6 make in all (foreign/origin 4): few bytes of ORIGIN would make a file of any size. */
  madeBytes: 2 ** 41,
  /** Bytes of a number (foreign/origin 2): 53 bits. */
  varintBytes: 8,
} as const;
