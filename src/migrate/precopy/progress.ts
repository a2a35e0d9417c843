/** What a migration says of itself while it goes on, and afterwards (L3): protocol 5.6. */
export interface Progress {
  readonly phase: string;
  readonly legs: number;
  readonly rounds: number;
  readonly ramBytes: number;
  readonly ramPages: number;
  readonly tmemBytes: number;
  readonly tmemPages: number;
  readonly invalidations: number;
  /** Of state of one's own. */
  readonly ownBytes: number;
  /** Bytes that the guest changed in the last round, a second. */
  readonly dirtyBytesPerSecond: number;
  readonly bytesPerSecond: number;
  readonly throttle: number;
  /** The predicted pause, or null before the first round ended. */
  readonly pauseMs: number | null;
  /** Seconds until the end of this round, or null when nothing is known. */
  readonly roundLeftSeconds: number | null;
}

/** A measured rate that newer values count more in. @param weight of the new value, 0 to 1. */
export function smooth(before: number, value: number, weight: number): number {
  return before === 0 ? value : before + (value - before) * weight;
}
