/** The descriptor of the tmem hypercall (spec/hypercall.md 2): guests write it, drivers carry it, engines answer. */

/** Bytes of a descriptor, and what it must be aligned to. */
export const DESCRIPTOR_BYTES = 64;

/** Offsets of its fields. */
export const DESCRIPTOR = {
  operation: 0,
  status: 4,
  result: 8,
  pool: 12,
  object: 16,
  index: 40,
  length: 44,
  page: 48,
  reserved: 56,
} as const;

/** Operations by name. */
export const OPERATION = { newPool: 1, destroyPool: 2, put: 3, get: 4, flushPage: 5, flushObject: 6 } as const;
