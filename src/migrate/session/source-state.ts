/** What a migration is on its source: its state, what changes it, and how it begins (protocol 10). */
import type { WriteEnd } from '../handover/ownership.ts';
import type { SourceState } from '../handover/source.ts';
import { NO_AGREEMENT } from '../negotiate/agreement.ts';
import type { Common, Hello, HelloHead } from '../negotiate/hello.ts';
import { FIRST_ROUND, type Convergence, type Limits } from '../precopy/convergence.ts';
import { UNMEASURED, type Costs, type Left } from '../precopy/predict.ts';
import type { Progress } from '../precopy/progress.ts';
import { NO_SHARES, type BySection, type SectionName, type Shares } from '../precopy/shares.ts';
import { newBucket, type TokenBucket } from '../precopy/token-bucket.ts';
import type { Message, MessageOf } from '../protocol/messages.ts';
import type { Failure, Place, SessionStep, SourceEffect } from './effects.ts';

/** How long things may take before they count as failed (protocol 9). */
export const PATIENCE = {
  /** For an answer in the negotiation. */
  answerMs: 30_000,
  /** Between two attempts to reach the destination. */
  retryMs: 500,
  /** Between two questions to a destination whose guest is gone: until an operator has decided there. */
  goneMs: 60_000,
  /** Without a connection, while the guest runs. */
  cutMs: 60_000,
  /** Without a connection or a confirmation, while the guest stands still. */
  pausedMs: 5000,
} as const;

export type SessionPhase =
  | 'connecting'
  | 'hello'
  | 'beginning'
  | 'offered'
  | 'resuming'
  | 'rounds'
  | 'pausing'
  | 'final'
  | 'confirming'
  | 'asking'
  | 'ended';

/** What a source begins with. */
export interface SourceRequest {
  readonly id: string;
  /** Without leg and purpose, which follow. */
  readonly hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>;
  readonly offer: Omit<MessageOf<'OFFER'>, 'kind'>;
  readonly ownEpoch: number;
  readonly limits: Limits;
}

export interface SourceSession {
  readonly request: SourceRequest;
  readonly phase: SessionPhase;
  readonly limits: Limits;
  /** Null before the destination is known. */
  readonly handover: SourceState | null;
  readonly connected: boolean;
  /** Whether the destination itself speaks over this connection: its HELLO came, with its identity (H4). */
  readonly believed: boolean;
  readonly leg: number;
  readonly common: Common | null;
  readonly accepted: MessageOf<'ACCEPT'> | null;
  /** Of this connection so far. */
  readonly agreement: string;
  /** The connection that state goes over, or went over last. */
  readonly current: Pick<Place, 'leg' | 'agreement'> | null;
  /** What the destination held of earlier ones when it began; null at the first. */
  readonly base: Place | null;
  /** What goes on when a connection is there again. */
  readonly after: 'rounds' | 'final';
  /** Whether the guest stands still. */
  readonly standing: boolean;
  /** An effect that is out: nothing else is asked of the guest or the stream meanwhile. */
  readonly busy: 'work' | 'seal' | 'endRound' | 'pause' | 'finish' | 'goBack' | null;
  readonly left: BySection;
  readonly unsealed: number;
  readonly waitingSeals: number;
  readonly bucket: TokenBucket;
  readonly shares: Shares;
  readonly convergence: Convergence;
  readonly costs: Costs;
  readonly throttle: number;
  readonly deadlineMs: number | null;
  readonly progress: Progress;
  readonly roundBytes: number;
  readonly roundMs: number;
  readonly failure: Failure | null;
}

/** What the runner tells. Each event says when it was. */
export type SourceSessionEvent = { readonly nowMs: number } & (
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected' }
  /** @param head what every version says in its HELLO; the message null when this build can't read the rest. */
  | { readonly kind: 'hello'; readonly head: HelloHead; readonly message: Hello | null; readonly body: Uint8Array }
  | { readonly kind: 'message'; readonly message: Exclude<Message, Hello>; readonly body: Uint8Array }
  /** The destination applied all up to a seal: how many are left unacknowledged, on the channel with most. */
  | { readonly kind: 'acknowledged'; readonly waitingSeals: number }
  | {
      readonly kind: 'worked';
      readonly section: SectionName;
      readonly bytes: number;
      readonly pages: number;
      readonly invalidations: number;
      readonly left: BySection;
    }
  | { readonly kind: 'sealed'; readonly waitingSeals: number }
  | { readonly kind: 'roundEnded'; readonly left: Left; readonly scanMs: number }
  | { readonly kind: 'paused' | 'resumed'; readonly left: Left }
  | { readonly kind: 'finished'; readonly channels: Place['channels'] }
  | { readonly kind: 'written'; readonly end: WriteEnd }
  /** Something of the guest, the stream or the host failed. */
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'guestGone' }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'set'; readonly limits: Limits }
  | { readonly kind: 'measured'; readonly costs: Partial<Costs> }
  | { readonly kind: 'settle'; readonly choice: 'take' | 'abandon' }
  | { readonly kind: 'tick' }
);

type Step = SessionStep<SourceSession, SourceEffect>;

/** A migration that begins. The first effect is to connect. */
export function beginSession(request: SourceRequest, nowMs: number): Step {
  const { limits } = request;
  const state: SourceSession = {
    request,
    phase: 'connecting',
    limits,
    handover: null,
    connected: false,
    believed: false,
    leg: 1,
    common: null,
    accepted: null,
    agreement: NO_AGREEMENT,
    current: null,
    base: null,
    after: 'rounds',
    standing: false,
    busy: null,
    left: { ram: 0, tmem: 0, own: 0 },
    unsealed: 0,
    waitingSeals: 0,
    bucket: newBucket(limits.bytesPerSecond, nowMs),
    shares: NO_SHARES,
    convergence: FIRST_ROUND,
    costs: UNMEASURED,
    throttle: 0,
    deadlineMs: nowMs + PATIENCE.answerMs,
    progress: NO_PROGRESS,
    roundBytes: 0,
    roundMs: nowMs,
    failure: null,
  };
  return {
    state,
    effects: [
      { kind: 'connect', leg: 1 },
      { kind: 'wake', atMs: nowMs + PATIENCE.answerMs },
    ],
  };
}

const NO_PROGRESS: Progress = {
  phase: 'connecting',
  legs: 1,
  rounds: 0,
  ramBytes: 0,
  ramPages: 0,
  tmemBytes: 0,
  tmemPages: 0,
  invalidations: 0,
  ownBytes: 0,
  dirtyBytesPerSecond: 0,
  bytesPerSecond: 0,
  throttle: 0,
  pauseMs: null,
  roundLeftSeconds: null,
};

/**
 * A migration of a daemon that was started again: only the question who owns the machine is left (H6).
 * @param ownership what the journal says.
 */
export function recoverSession(request: SourceRequest, ownership: SourceState, nowMs: number): Step {
  const { state } = beginSession(request, nowMs);
  const known: SourceSession = { ...state, handover: ownership, leg: 2, deadlineMs: null };
  // What has ended is only kept for who comes and asks.
  if (ownership.phase !== 'given') return { state: { ...known, phase: 'ended' }, effects: [] };
  return {
    state: { ...known, phase: 'asking' },
    effects: [
      { kind: 'connect', leg: 2 },
      { kind: 'wake', atMs: nowMs + PATIENCE.retryMs },
    ],
  };
}
