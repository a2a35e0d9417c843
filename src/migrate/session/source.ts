/**
 * A migration on its source, whole: negotiation, rounds, pause and handover as one value that events change
 * (protocol 4 to 7). It performs nothing: see effects.ts, and protocol 10 for what a runner does.
 */
import { beginSource, stepSource, type SourceEvent } from '../handover/source.ts';
import type { HandoverEffect } from '../handover/ownership.ts';
import { agree, AGREED, NO_AGREEMENT } from '../negotiate/agreement.ts';
import { commonOf, commonVersion, type Hello } from '../negotiate/hello.ts';
import type { Reason } from '../negotiate/reasons.ts';
import { roundEnded } from '../precopy/convergence.ts';
import { leftBytes, type Costs, type Left } from '../precopy/predict.ts';
import { smooth } from '../precopy/progress.ts';
import { count, NO_SHARES, SECTIONS, turn } from '../precopy/shares.ts';
import { newBucket, refill, setRate, spend, waitMs } from '../precopy/token-bucket.ts';
import { PROTOCOL_LIMITS } from '../protocol/limits.ts';
import { encodeMessage, type Message, type MessageOf } from '../protocol/messages.ts';
import type { Failure, Place, SessionStep, SourceEffect } from './effects.ts';
import { PATIENCE, type SourceSession, type SourceSessionEvent } from './source-state.ts';

/** Bytes of one piece of work. */
const PIECE_BYTES = 1024 * 1024;

/** SEALs of the end of a machine (protocol 6.3). */
const SEALS_OF_END = 2;

type Step = SessionStep<SourceSession, SourceEffect>;

/** One step of a migration on its source. */
export function stepSession(state: SourceSession, event: SourceSessionEvent): Step {
  return goOn(handle(state, event), event.nowMs);
}

function handle(state: SourceSession, event: SourceSessionEvent): Step {
  switch (event.kind) {
    case 'connected':
      return connected(state, event.nowMs);
    case 'disconnected':
      return disconnected(state, event.nowMs);
    case 'hello':
      return heard(state, event, event.nowMs);
    case 'message':
      return message(state, event.message, event.body, event.nowMs);
    case 'acknowledged':
      return stay({ ...state, waitingSeals: event.waitingSeals });
    case 'worked':
      return worked(state, event);
    case 'sealed':
      return stay({ ...state, busy: null, unsealed: 0, waitingSeals: event.waitingSeals });
    case 'roundEnded':
      return round(state, event.left, event.scanMs, event.nowMs);
    case 'paused': {
      const standing: SourceSession = { ...state, standing: true, busy: state.busy === 'pause' ? null : state.busy };
      if (state.phase !== 'pausing') return stay(standing);
      return stay({ ...withLeft(standing, event.left), phase: 'final', after: 'final' });
    }
    case 'resumed': {
      // What was sent before the cut is all that is known of the bandwidth until a round has ended.
      const anew = state.costs.bytesPerSecond > 0 ? { roundMs: event.nowMs, roundBytes: 0 } : {};
      const back: SourceSession = { ...withLeft(state, event.left), busy: null, ...anew };
      // A pause that was under way when the connection was cut is waited for.
      if (state.after === 'final' && !state.standing) return stay({ ...back, phase: 'pausing', busy: 'pause' });
      return stay({ ...back, phase: state.after });
    }
    case 'finished':
      return finished({ ...state, busy: null }, event.channels, event.nowMs);
    case 'written':
      return own(state, { kind: 'written', end: event.end }, event.nowMs);
    case 'failed':
      return fail(state, event.failure, event.nowMs);
    case 'guestGone':
      return own({ ...state, failure: state.failure ?? GUEST_GONE }, { kind: 'guestGone' }, event.nowMs);
    case 'cancel':
      return fail(state, { code: 'CANCELLED', message: 'The migration was cancelled' }, event.nowMs);
    case 'set':
      return stay({
        ...state,
        limits: event.limits,
        bucket: setRate(state.bucket, event.limits.bytesPerSecond, event.nowMs),
      });
    case 'measured':
      return stay({ ...state, costs: { ...state.costs, ...event.costs } });
    case 'settle':
      return own(state, { kind: 'settle', choice: event.choice }, event.nowMs);
    case 'tick':
      return tick(state, event.nowMs);
  }
}

const GUEST_GONE: Failure = { code: 'GUEST_GONE', message: 'The guest ended while it was moved' };

function connected(state: SourceSession, nowMs: number): Step {
  if (state.phase !== 'connecting' && state.phase !== 'asking') return stay(state);
  const { id, hello: mine } = state.request;
  const purpose = state.phase === 'asking' ? 'ask' : state.accepted === null ? 'migrate' : 'resume';
  const greeting: Hello = { kind: 'HELLO', id, purpose, leg: state.leg, ...mine };
  const next: SourceSession = {
    ...state,
    connected: true,
    believed: false,
    phase: state.phase === 'asking' ? 'asking' : 'hello',
    agreement: NO_AGREEMENT,
    deadlineMs: state.phase === 'asking' ? null : answerBy(state, nowMs),
  };
  return say(next, greeting);
}

/** While the guest stands still there is less time for everything. */
function answerBy({ request, after, phase, deadlineMs }: SourceSession, nowMs: number): number {
  if (after === 'final' || phase === 'final' || phase === 'confirming') return deadlineMs ?? nowMs + stillMs(request);
  return nowMs + PATIENCE.answerMs;
}

/** Nobody waits for a guest that was paused before. */
function stillMs({ offer }: SourceSession['request']): number {
  return offer.paused ? PATIENCE.cutMs : PATIENCE.pausedMs;
}

function disconnected(state: SourceSession, nowMs: number): Step {
  const cut: SourceSession = {
    ...state,
    connected: false,
    believed: false,
    leg: state.connected && state.phase !== 'ended' ? state.leg + 1 : state.leg,
    busy: state.busy === 'pause' ? 'pause' : null,
  };
  switch (state.phase) {
    case 'asking':
    case 'ended':
      return stay(cut);
    case 'connecting':
    case 'hello':
    case 'resuming':
      // A connection that can't be made again yet is tried until the patience is over.
      if (state.accepted === null) return fail(cut, LOST, nowMs);
      return later({ ...cut, phase: 'connecting' }, nowMs);
    case 'beginning':
    case 'offered':
      return fail(cut, LOST, nowMs);
    case 'rounds':
    case 'pausing':
    case 'final':
    case 'confirming': {
      if (state.common?.resumable !== true || state.leg >= PROTOCOL_LIMITS.legs) return fail(cut, LOST, nowMs);
      const still = state.phase !== 'rounds';
      const patience = still ? stillMs(state.request) : PATIENCE.cutMs;
      const deadlineMs = still && state.deadlineMs !== null ? state.deadlineMs : nowMs + patience;
      return later({ ...cut, phase: 'connecting', after: still ? 'final' : 'rounds', deadlineMs }, nowMs);
    }
  }
}

const LOST: Failure = { code: 'MIGRATION_LOST', message: 'The connection to the destination was lost' };

function later(state: SourceSession, nowMs: number): Step {
  return { state, effects: [{ kind: 'wake', atMs: Math.min(nowMs + PATIENCE.retryMs, state.deadlineMs!) }] };
}

function tick(state: SourceSession, nowMs: number): Step {
  if (state.phase === 'ended') return stay(state);
  if (state.deadlineMs !== null && nowMs >= state.deadlineMs) return fail(state, LATE, nowMs);
  if (state.phase === 'asking') return ask(state, nowMs);
  if (state.phase !== 'connecting' || state.connected) {
    const wake = state.deadlineMs;
    return { state, effects: wake === null ? [] : [{ kind: 'wake', atMs: wake }] };
  }
  return {
    state,
    effects: [
      { kind: 'connect', leg: state.leg },
      { kind: 'wake', atMs: state.deadlineMs ?? nowMs + PATIENCE.cutMs },
    ],
  };
}

const LATE: Failure = { code: 'MIGRATION_LOST', message: 'The destination did not answer in time' };

/** The question who owns the machine is asked until it is answered. */
function ask(state: SourceSession, nowMs: number): Step {
  const step = own(state, { kind: 'again' }, nowMs);
  if (step.state.phase !== 'asking') return step;
  const retryMs = step.state.handover?.peerGone === true ? PATIENCE.goneMs : PATIENCE.retryMs;
  const wake: SourceEffect = { kind: 'wake', atMs: nowMs + retryMs };
  if (step.state.connected) return { state: step.state, effects: [...step.effects, wake] };
  const leg = Math.min(state.leg, PROTOCOL_LIMITS.legs);
  return { state: { ...step.state, leg }, effects: [...step.effects, { kind: 'connect', leg }, wake] };
}

type HelloEvent = Extract<SourceSessionEvent, { readonly kind: 'hello' }>;

function heard(state: SourceSession, { head, message: theirs, body }: HelloEvent, nowMs: number): Step {
  if (state.phase !== 'hello' && state.phase !== 'asking') return outOfOrder(state, 'HELLO', nowMs);
  const { id, hello: mine, ownEpoch, offer } = state.request;
  const version = commonVersion(mine, head);
  if (typeof version !== 'number') return fail(state, refusal([version]), nowMs);
  if (theirs === null) return outOfOrder(state, 'HELLO', nowMs);
  if (state.handover !== null && state.handover.peer !== theirs.host.identity) {
    // Somebody else answers at this address: nothing that it says counts (H4).
    const failed = fail(state, { ...LOST, message: 'Another host answers in the place of the destination' }, nowMs);
    return { state: failed.state, effects: [...failed.effects, { kind: 'hangUp' }] };
  }
  if (state.phase === 'asking') return own({ ...state, believed: true }, { kind: 'again' }, nowMs);
  const greeting: Hello = { kind: 'HELLO', id, purpose: 'migrate', leg: state.leg, ...mine };
  const common = commonOf(greeting, theirs, version);
  const known: SourceSession = { ...state, believed: true, common, agreement: agree(state.agreement, 'HELLO', body) };
  if (state.accepted !== null) {
    const { epoch } = state.request.offer;
    return say({ ...known, phase: 'resuming' }, { kind: 'RESUME', epoch, secret: state.accepted.secret });
  }
  const begun = beginSource({
    id,
    machine: offer.machine.uuid,
    peer: theirs.host.identity,
    ownEpoch,
    epoch: offer.epoch,
  });
  return { state: { ...known, phase: 'beginning', handover: begun.state }, effects: ours(begun.effects) };
}

function refusal(reasons: readonly Reason[]): Failure {
  return { code: 'MIGRATION_REFUSED', message: 'The destination can not take the machine', reasons };
}

function message(state: SourceSession, said: Exclude<Message, Hello>, body: Uint8Array, nowMs: number): Step {
  switch (said.kind) {
    case 'ACCEPT':
      return state.phase === 'offered' ? accept(state, said, body, nowMs) : outOfOrder(state, said.kind, nowMs);
    case 'REFUSE':
      // Who has no version in common says so in the place of its HELLO.
      if (state.phase !== 'offered' && state.phase !== 'hello') return outOfOrder(state, said.kind, nowMs);
      return fail(state, refusal(said.reasons as readonly Reason[]), nowMs);
    case 'HOLDS':
      return state.phase === 'resuming' ? holds(state, said, body, nowMs) : outOfOrder(state, said.kind, nowMs);
    case 'FAILED':
      return fail(state, { code: said.error.code, message: said.error.message }, nowMs);
    case 'CONFIRM':
      if (state.phase !== 'confirming' && state.phase !== 'asking') return stay(state);
      return own(state, { kind: 'message', from: peerOf(state), message: said }, nowMs);
    case 'GIVEN':
    case 'KEPT':
    case 'DONE':
    case 'RUNNING':
    case 'TAKEN':
    case 'ABANDONED':
    case 'YIELDED':
      return own(state, { kind: 'message', from: peerOf(state), message: said }, nowMs);
    case 'OFFER':
    case 'RESUME':
    case 'FINAL':
    case 'OWNER':
    case 'OWNERSHIP':
      return outOfOrder(state, said.kind, nowMs);
  }
}

/** What comes over a connection whose HELLO was checked is the peer's; anything else is nobody's. */
function peerOf({ handover, believed }: SourceSession): string {
  return believed && handover !== null ? handover.peer : '';
}

function outOfOrder(state: SourceSession, kind: string, nowMs: number): Step {
  if (state.phase === 'ended' || state.phase === 'asking') return stay(state);
  return fail(state, { code: 'PROTOCOL_ORDER', message: `${kind} came where it may not` }, nowMs);
}

function accept(state: SourceSession, said: MessageOf<'ACCEPT'>, body: Uint8Array, nowMs: number): Step {
  const { offer } = state.request;
  const { limits, codecs } = state.common!;
  const granted = said.codec === offer.codec && codecs.includes(said.codec);
  if (said.epoch !== offer.epoch || !granted || said.channels > limits.channels) {
    return outOfOrder(state, 'ACCEPT', nowMs);
  }
  const { deviceLoadMs, fsyncMs } = said.measured;
  const costs: Costs = {
    ...state.costs,
    ...(deviceLoadMs !== null && { deviceLoadMs }),
    ...(fsyncMs !== null && { destinationFsyncMs: fsyncMs }),
  };
  const agreement = agree(state.agreement, 'ACCEPT', body);
  const next: SourceSession = {
    ...state,
    phase: 'rounds',
    accepted: said,
    agreement,
    current: { leg: state.leg, agreement },
    costs,
    deadlineMs: null,
    // Whether there is state of one's own, the first piece of memory tells.
    left: { ram: offer.memory.bytes, tmem: offer.tmem?.persistent.carriedBytes ?? 0, own: 0 },
    bucket: newBucket(state.limits.bytesPerSecond, nowMs),
    roundMs: nowMs,
  };
  return stay(next);
}

/** The destination says what it holds: of this connection's predecessor, or of what that one began with. */
function holds(state: SourceSession, said: MessageOf<'HOLDS'>, body: Uint8Array, nowMs: number): Step {
  const { current, base } = state;
  const place: Place = { leg: said.leg, channels: said.channels, agreement: said.agreement };
  const sameLeg = current !== null && said.leg === current.leg && said.agreement === current.agreement;
  if (said.epoch !== state.request.offer.epoch || (!sameLeg && (base === null || !samePlace(place, base)))) {
    return fail(state, { ...LOST, message: 'The destination holds something else than was sent' }, nowMs);
  }
  const agreement = agree(state.agreement, 'HOLDS', body);
  const next: SourceSession = {
    ...state,
    agreement,
    current: { leg: state.leg, agreement },
    base: place,
    busy: 'goBack',
    waitingSeals: 0,
    unsealed: 0,
    deadlineMs: state.after === 'final' ? state.deadlineMs : null,
  };
  return { state: next, effects: [{ kind: 'goBack', place, sameLeg }] };
}

function samePlace(one: Place, other: Place): boolean {
  return (
    one.leg === other.leg &&
    one.agreement === other.agreement &&
    one.channels.length === other.channels.length &&
    one.channels.every(
      ({ seal, chain }, at) => seal === other.channels[at].seal && (seal === 0 || chain === other.channels[at].chain),
    )
  );
}

function withLeft(state: SourceSession, left: Left): SourceSession {
  // An invalidation is work for tmem, though no page is left.
  const tmem = left.tmemBytes + left.invalidations;
  return { ...state, left: { ram: left.dirtyBytes, tmem, own: left.ownBytes }, shares: NO_SHARES };
}

type Worked = Extract<SourceSessionEvent, { readonly kind: 'worked' }>;

function worked(state: SourceSession, { section, bytes, pages, invalidations, left }: Worked): Step {
  const shared = SECTIONS.some((other) => other !== section && state.left[other] > 0);
  const { progress } = state;
  const of = (name: typeof section): number => (section === name ? 1 : 0);
  const next: SourceSession = {
    ...state,
    busy: null,
    left,
    unsealed: state.unsealed + bytes,
    bucket: spend(state.bucket, bytes),
    shares: count(state.shares, section, bytes, shared),
    roundBytes: state.roundBytes + bytes,
    progress: {
      ...progress,
      ramBytes: progress.ramBytes + of('ram') * bytes,
      ramPages: progress.ramPages + of('ram') * pages,
      tmemBytes: progress.tmemBytes + of('tmem') * bytes,
      tmemPages: progress.tmemPages + of('tmem') * pages,
      invalidations: progress.invalidations + invalidations,
      ownBytes: progress.ownBytes + of('own') * bytes,
    },
  };
  return stay(next);
}

function round(state: SourceSession, left: Left, scanMs: number, nowMs: number): Step {
  const elapsedMs = Math.max(nowMs - state.roundMs, 1);
  const rate = (state.roundBytes * 1000) / elapsedMs;
  const costs: Costs = {
    ...state.costs,
    scanMs: smooth(state.costs.scanMs, scanMs, 0.5),
    bytesPerSecond: rate === 0 ? state.costs.bytesPerSecond : smooth(state.costs.bytesPerSecond, rate, 0.5),
  };
  // What is left while the guest stands still is held to the limit as well.
  const bytesPerSecond = Math.min(costs.bytesPerSecond, state.limits.bytesPerSecond ?? Number.POSITIVE_INFINITY);
  const limited: Costs = { ...costs, bytesPerSecond };
  const { state: convergence, decision } = roundEnded(state.convergence, left, limited, state.limits);
  const changed = leftBytes(left) - left.deviceBytes;
  const next: SourceSession = {
    ...withLeft(state, left),
    busy: null,
    costs,
    convergence,
    throttle: decision === 'throttle' && !state.request.offer.paused ? convergence.throttle : state.throttle,
    roundBytes: 0,
    roundMs: nowMs,
    progress: {
      ...state.progress,
      rounds: convergence.rounds,
      dirtyBytesPerSecond: (changed * 1000) / elapsedMs,
      bytesPerSecond: costs.bytesPerSecond,
      throttle: convergence.throttle,
      pauseMs: Number.isFinite(convergence.pauseMs) ? convergence.pauseMs : null,
      roundLeftSeconds: costs.bytesPerSecond === 0 ? null : changed / costs.bytesPerSecond,
    },
  };
  // What stands still anyway changes no more, and no downtime counts for it.
  switch (state.request.offer.paused ? 'pause' : decision) {
    case 'continue':
      return stay(next);
    case 'throttle':
      return { state: next, effects: [{ kind: 'throttle', percent: next.throttle }] };
    case 'pause':
    case 'force': {
      const deadlineMs = nowMs + stillMs(state.request) + convergence.pauseMs;
      const pausing: SourceSession = {
        ...next,
        phase: 'pausing',
        busy: 'pause',
        deadlineMs: Number.isFinite(deadlineMs) ? deadlineMs : nowMs + PATIENCE.cutMs,
      };
      return { state: pausing, effects: [{ kind: 'pause' }, { kind: 'wake', atMs: pausing.deadlineMs! }] };
    }
    case 'giveUp':
      return fail(next, NOT_CONVERGING, nowMs);
  }
}

const NOT_CONVERGING: Failure = {
  code: 'NOT_CONVERGING',
  message: 'The guest changes faster than it can be sent within the downtime',
};

function finished(state: SourceSession, channels: Place['channels'], nowMs: number): Step {
  if (state.phase !== 'final') return stay(state);
  const { epoch } = state.request.offer;
  const { agreement } = state;
  const sent = own(
    { ...state, phase: 'confirming' },
    { kind: 'sent', chains: channels.map(({ chain }) => chain), agreement },
    nowMs,
  );
  const final: SourceEffect = {
    kind: 'send',
    message: { kind: 'FINAL', epoch, channels: channels.map(({ seal, chain }) => ({ seal, chain })) },
  };
  return { state: sent.state, effects: [...sent.effects, final] };
}

/** Lets the handover take a step, and follows where it goes. */
function own(state: SourceSession, event: SourceEvent, nowMs: number): Step {
  if (state.handover === null) {
    return event.kind === 'guestGone' ? end(state, [], nowMs) : stay(state);
  }
  const { state: ownership, effects } = stepSource(state.handover, event);
  const next: SourceSession = { ...state, handover: ownership };
  const done = ours(effects);
  switch (ownership.phase) {
    case 'live': {
      if (state.phase !== 'beginning') return { state: next, effects: done };
      const offer: MessageOf<'OFFER'> = { kind: 'OFFER', ...state.request.offer };
      const said = say({ ...next, phase: 'offered', deadlineMs: nowMs + PATIENCE.answerMs }, offer);
      return { state: said.state, effects: [...done, ...said.effects] };
    }
    case 'giving':
    case 'doubtful':
    case 'given':
    case 'taking':
    case 'finishing':
    case 'yielding': {
      const asking: SourceSession = { ...next, phase: 'asking', deadlineMs: null };
      const first = state.phase !== 'asking';
      const wake: SourceEffect[] = first ? [{ kind: 'wake', atMs: nowMs + PATIENCE.retryMs }] : [];
      return { state: asking, effects: [...done, ...wake] };
    }
    case 'kept':
    case 'taken':
    case 'done':
    case 'yielded':
      return state.phase === 'ended' ? { state: next, effects: done } : end(next, done, nowMs);
    case 'beginning':
    case 'final':
      return { state: next, effects: done };
  }
}

/** Effects of the handover that are also the session's. `later` is: the session asks again by itself. */
function ours(effects: readonly HandoverEffect[]): SourceEffect[] {
  return effects.flatMap((effect): SourceEffect[] => {
    if (effect.kind === 'later') return [];
    return effect.kind === 'send' ? [{ kind: 'send', message: wire(effect.message) }] : [effect];
  });
}

/** The same message, with lists of its own. */
function wire(said: Extract<HandoverEffect, { readonly kind: 'send' }>['message']): Message {
  return said.kind === 'CONFIRM' ? { ...said, chains: [...said.chains] } : said;
}

/** Before GIVEN the guest goes on as before (H7); after it there is nothing to fail. */
function fail(state: SourceSession, failure: Failure, nowMs: number): Step {
  if (state.phase === 'ended' || state.phase === 'asking') return stay(state);
  const failed: SourceSession = { ...state, failure: state.failure ?? failure };
  if (state.handover !== null) return own(failed, { kind: 'failed' }, nowMs);
  return end(failed, [], nowMs);
}

function end(state: SourceSession, effects: readonly SourceEffect[], nowMs: number): Step {
  const ended: SourceSession = { ...state, phase: 'ended', busy: null, deadlineMs: null, roundMs: nowMs, throttle: 0 };
  const moved = state.handover?.phase === 'done';
  const failure = moved ? null : (state.failure ?? LOST);
  const slowed: SourceEffect[] = state.throttle > 0 && !moved ? [{ kind: 'throttle', percent: 0 }] : [];
  return { state: ended, effects: [...slowed, ...effects, { kind: 'hangUp' }, { kind: 'ended', failure }] };
}

/** After every step: what is to be done next, when nothing is out. */
function goOn(step: Step, nowMs: number): Step {
  const { state } = step;
  if (state.busy !== null || !state.connected) return step;
  if (state.phase !== 'rounds' && state.phase !== 'final') return step;
  const bucket = refill(state.bucket, nowMs);
  const now: SourceSession = { ...state, bucket };
  const and = (next: SourceSession, ...effects: SourceEffect[]): Step => ({
    state: next,
    effects: [...step.effects, ...effects],
  });
  const { sealBytes, unacknowledgedSeals } = state.common!.limits;
  if (state.waitingSeals >= unacknowledgedSeals) return { state: now, effects: step.effects };
  if (state.unsealed >= sealBytes) return and({ ...now, busy: 'seal' }, { kind: 'seal' });
  const section = turn(state.shares, state.left);
  if (section === undefined) {
    const busy = state.phase === 'rounds' ? 'endRound' : 'finish';
    // Before CHECKPOINT stands a SEAL, and behind it another: both must be allowed.
    if (busy === 'finish' && state.waitingSeals > unacknowledgedSeals - SEALS_OF_END) {
      return { state: now, effects: step.effects };
    }
    return and({ ...now, busy }, { kind: busy });
  }
  const wait = waitMs(bucket);
  if (wait > 0) return and(now, { kind: 'wake', atMs: Math.min(nowMs + wait, state.deadlineMs ?? Infinity) });
  return and({ ...now, busy: 'work' }, { kind: 'work', section, bytes: Math.min(PIECE_BYTES, sealBytes) });
}

/** Says something, and takes it into the agreement. */
function say(state: SourceSession, said: Message): Step {
  const agreement = AGREED.has(said.kind) ? agree(state.agreement, said.kind, encodeMessage(said)) : state.agreement;
  return { state: { ...state, agreement }, effects: [{ kind: 'send', message: said }] };
}

function stay(state: SourceSession): Step {
  return { state, effects: [] };
}
