/** The named limits of the stream (stream 15). Every length, count and loop of a reader is held by one of these. */
export const LIMITS = {
  /** Bytes of a record's body (stream 3.1). */
  recordBody: 16 * 1024 * 1024,
  /** Bytes of records between two seals (stream 5.4). */
  sealInterval: 64 * 1024 * 1024,
  records: 2 ** 32 - 1,
  aboutBytes: 1024 * 1024,
  aboutDepth: 32,
  dictionaryBytes: 64 * 1024,
  dictionaryDepth: 8,
  dictionaryBindings: 256,
  schemaFields: 256,
  schemaCount: 65_535,
  nameBytes: 255,
  channels: 16,
  pageShiftMin: 12,
  pageShiftMax: 16,
  /** One more than the largest pfn. */
  pfnEnd: 2 ** 52,
  ramExtents: 16_384,
  ramPages: 65_536,
  ramUnits: 65_536,
  /** Original bytes of one compression unit. */
  unitBytes: 256 * 1024,
  vcpus: 4096,
  /** VCPU, policy and DEVICE records between two checkpoints. */
  statesBetweenCheckpoints: 65_536,
  cpuidLeaves: 4096,
  msrs: 4096,
  devices: 256,
  deviceBytes: 1024 * 1024 * 1024,
  chunkBytes: 1024 * 1024,
  disks: 256,
  diskLocatorBytes: 4000,
  tmemPools: 16,
  tmemAuthorised: 16,
  tmemPages: 16_384,
  tmemInvalidates: 65_536,
  indexEntries: 4096,
} as const;
