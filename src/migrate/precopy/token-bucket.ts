/** Holds what is sent to a bandwidth (L3): protocol 5.5. A value; time is handed in. */
export interface TokenBucket {
  /** Null for no limit. */
  readonly bytesPerSecond: number | null;
  /** Bytes that may be sent now; below 0 after a piece that was larger. */
  readonly tokens: number;
  readonly atMs: number;
}

/**
 * What may be sent at once after a rest: as much as in this time. Short, so that no second is above the limit by more
 * than that; long enough for a piece.
 */
const BURST_MS = 5;

export function newBucket(bytesPerSecond: number | null, nowMs: number): TokenBucket {
  return { bytesPerSecond, tokens: 0, atMs: nowMs };
}

/** Another limit holds from now on; what was sent too much under the old one is still made up for. */
export function setRate(bucket: TokenBucket, bytesPerSecond: number | null, nowMs: number): TokenBucket {
  return { ...refill(bucket, nowMs), bytesPerSecond };
}

export function refill(bucket: TokenBucket, nowMs: number): TokenBucket {
  const { bytesPerSecond, tokens, atMs } = bucket;
  if (bytesPerSecond === null) return { bytesPerSecond, tokens: 0, atMs: Math.max(nowMs, atMs) };
  // A clock that goes back gives nothing.
  const elapsedMs = Math.max(nowMs - atMs, 0);
  const most = (bytesPerSecond * BURST_MS) / 1000;
  return {
    bytesPerSecond,
    tokens: Math.min(tokens + (bytesPerSecond * elapsedMs) / 1000, most),
    atMs: atMs + elapsedMs,
  };
}

/** Bytes were sent. */
export function spend(bucket: TokenBucket, bytes: number): TokenBucket {
  return bucket.bytesPerSecond === null ? bucket : { ...bucket, tokens: bucket.tokens - bytes };
}

/** Milliseconds until something may be sent again; 0 for now. */
export function waitMs(bucket: TokenBucket): number {
  // Less than a byte is what rounding leaves: waiting for it could take no time at all, again and again.
  if (bucket.bytesPerSecond === null || bucket.tokens > -1) return 0;
  return (-bucket.tokens * 1000) / bucket.bytesPerSecond;
}
