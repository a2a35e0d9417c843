/** How long the guest would stand still if it were paused now (L2): protocol 5.3. */

/** What is left, after a round. */
export interface Left {
  readonly dirtyBytes: number;
  /** Of tmem pages that were not sent. */
  readonly tmemBytes: number;
  readonly invalidations: number;
  /** Of state of one's own. */
  readonly ownBytes: number;
  readonly deviceBytes: number;
}

/** What was measured, on this side and the other, in milliseconds. */
export interface Costs {
  /** What the connection takes, measured over the rounds so far. */
  readonly bytesPerSecond: number;
  /** The last look at all of memory. */
  readonly scanMs: number;
  readonly deviceSaveMs: number;
  readonly deviceLoadMs: number;
  /** GIVEN on the source, then RUNNING on the destination: one after the other. */
  readonly sourceFsyncMs: number;
  readonly destinationFsyncMs: number;
  /** There and back: CONFIRM and GIVEN cross it. */
  readonly roundTripMs: number;
}

/** Bytes of one invalidation on the wire (stream 10.4). */
const INVALIDATION_BYTES = 32;

/** Costs before anything was measured: those of a slow disk and a small guest. */
export const UNMEASURED: Costs = {
  bytesPerSecond: 0,
  scanMs: 20,
  deviceSaveMs: 20,
  deviceLoadMs: 40,
  sourceFsyncMs: 15,
  destinationFsyncMs: 15,
  roundTripMs: 1,
};

/** Bytes that must cross while the guest stands still. */
export function leftBytes({ dirtyBytes, tmemBytes, invalidations, ownBytes, deviceBytes }: Left): number {
  return dirtyBytes + tmemBytes + invalidations * INVALIDATION_BYTES + ownBytes + deviceBytes;
}

/** Milliseconds; infinite while no bandwidth is known. */
export function predictPauseMs(left: Left, costs: Costs): number {
  const bytes = leftBytes(left);
  const sendMs = bytes === 0 ? 0 : (bytes * 1000) / costs.bytesPerSecond;
  const { scanMs, deviceSaveMs, deviceLoadMs, sourceFsyncMs, destinationFsyncMs, roundTripMs } = costs;
  return sendMs + scanMs + deviceSaveMs + deviceLoadMs + sourceFsyncMs + destinationFsyncMs + 1.5 * roundTripMs;
}
