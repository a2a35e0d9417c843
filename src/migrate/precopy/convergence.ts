/** When to pause, to slow the guest down, or to give up (L2): protocol 5.4. */
import { PROTOCOL_LIMITS } from '../protocol/limits.ts';
import { leftBytes, predictPauseMs, type Costs, type Left } from './predict.ts';

/** What may be changed while it runs (L3). */
export interface Limits {
  readonly downtimeMs: number;
  readonly bytesPerSecond: number | null;
  /** Pause in the end, however long it takes, rather than give up. */
  readonly force: boolean;
  /** The most that the guest may be slowed down, in percent; 0 for not at all. */
  readonly throttlePercent: number;
  readonly rounds: number;
}

export const DEFAULT_LIMITS: Limits = {
  downtimeMs: 300,
  bytesPerSecond: null,
  force: false,
  throttlePercent: 95,
  rounds: 100,
};

export interface Convergence {
  /** Rounds that have ended. */
  readonly rounds: number;
  /** The fewest bytes that were left after a round. */
  readonly best: number;
  /** Rounds in a row that were no better than the best by a tenth. */
  readonly stalled: number;
  /** How much the guest is slowed down now, in percent. */
  readonly throttle: number;
  /** The newest prediction. */
  readonly pauseMs: number;
}

export const FIRST_ROUND: Convergence = {
  rounds: 0,
  best: Number.POSITIVE_INFINITY,
  stalled: 0,
  throttle: 0,
  pauseMs: Number.POSITIVE_INFINITY,
};

export type Decision =
  /** Another round. */
  | 'continue'
  /** Another round, with the guest as slow as the state says. */
  | 'throttle'
  /** Pause: what is left fits into the downtime. */
  | 'pause'
  /** Pause though it does not fit: `force` was asked for. */
  | 'force'
  /** It does not converge: the guest goes on at full speed, and the migration ends. */
  | 'giveUp';

/** A round counts as progress when it leaves a tenth less than the best before it. */
const PROGRESS = 0.9;
/** Rounds without progress before something is done about it. */
const PATIENCE = 2;
/** Percent by which the guest is slowed down first, and then each time more. */
const THROTTLE_FIRST = 20;
const THROTTLE_MORE = 25;

/** A round has ended: what now? */
export function roundEnded(
  before: Convergence,
  left: Left,
  costs: Costs,
  limits: Limits,
): { readonly state: Convergence; readonly decision: Decision } {
  const bytes = leftBytes(left) - left.deviceBytes;
  const pauseMs = predictPauseMs(left, costs);
  const better = bytes <= before.best * PROGRESS;
  const state: Convergence = {
    rounds: before.rounds + 1,
    best: Math.min(before.best, bytes),
    stalled: better ? 0 : before.stalled + 1,
    throttle: before.throttle,
    pauseMs,
  };
  if (pauseMs <= limits.downtimeMs) return { state, decision: 'pause' };
  const last = state.rounds >= Math.min(limits.rounds, PROTOCOL_LIMITS.rounds);
  // What would be too long with nothing left does not get shorter by rounds.
  const hopeless = bytes === 0 && Number.isFinite(pauseMs);
  if (!last && !hopeless && state.stalled < PATIENCE) return { state, decision: 'continue' };
  const slower = Math.min(
    before.throttle === 0 ? THROTTLE_FIRST : before.throttle + THROTTLE_MORE,
    limits.throttlePercent,
  );
  if (!last && !hopeless && slower > before.throttle) {
    // A slower guest is another guest: what it leaves is compared anew.
    return { state: { ...state, throttle: slower, stalled: 0, best: bytes }, decision: 'throttle' };
  }
  return { state: { ...state, throttle: 0 }, decision: limits.force ? 'force' : 'giveUp' };
}
