/** Versions of the protocol that this build speaks (protocol 3.2, N3). */
export const PROTOCOL = { least: 1, most: 1 } as const;

/** The named limits of the migration protocol (protocol 9). */
export const PROTOCOL_LIMITS = {
  /** Bytes of a message's JSON, and how deep it is nested. */
  messageBytes: 65_533,
  messageDepth: 8,
  nameCharacters: 255,
  textCharacters: 1000,
  /** Entries of a list of names. */
  names: 64,
  channels: 16,
  /** Connections of one migration, one after the other. */
  legs: 1000,
  epoch: 2 ** 48,
  sealBytes: 64 * 1024 * 1024,
  leastSealBytes: 64 * 1024,
  /** Seals of a channel that are not acknowledged (stream 5.5). */
  unacknowledgedSeals: 4,
  /** The end of a machine has two, one directly after the other (protocol 6.3). */
  leastUnacknowledgedSeals: 2,
  pools: 16,
  disks: 128,
  vcpus: 4096,
  reasons: 64,
  /** Migrations that a host holds reservations for at one time. */
  reservations: 64,
  /** Rounds of one migration. */
  rounds: 1000,
} as const;
