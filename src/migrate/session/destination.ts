/**
 * A migration on its destination, whole: negotiation, what was applied, confirmation and handover as one value that
 * events change (protocol 4 to 7). It performs nothing: see effects.ts, and protocol 10 for what a runner does.
 */
import {
  beginDestination,
  recoverDestination,
  stepDestination,
  type DestinationEvent,
  type DestinationState,
} from '../handover/destination.ts';
import type { HandoverEffect, OwnershipRecord, WriteEnd } from '../handover/ownership.ts';
import { agree, AGREED, NO_AGREEMENT } from '../negotiate/agreement.ts';
import { commonOf, commonVersion, type Common, type Hello, type HelloHead } from '../negotiate/hello.ts';
import { judge, needOf } from '../negotiate/judge.ts';
import type { Reason } from '../negotiate/reasons.ts';
import { encodeMessage, type Message, type MessageOf } from '../protocol/messages.ts';
import type { DestinationEffect, Failure, Place, Probed, SessionStep } from './effects.ts';
import { PATIENCE } from './source-state.ts';

export type ReceiverPhase =
  /** No HELLO on this connection yet. */
  | 'silent'
  | 'hello'
  | 'probing'
  | 'checked'
  | 'receiving'
  | 'resuming'
  | 'loading'
  /** What is left is the handover. */
  | 'asking'
  | 'ended';

export interface DestinationSession {
  readonly id: string;
  /** Without leg and purpose, which are answered as they were said. */
  readonly hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>;
  readonly phase: ReceiverPhase;
  readonly handover: DestinationState | null;
  readonly peer: string | null;
  readonly purpose: Hello['purpose'] | null;
  readonly common: Common | null;
  readonly connected: boolean;
  /** Of this connection so far. */
  readonly agreement: string;
  readonly leg: number;
  readonly offer: MessageOf<'OFFER'> | null;
  readonly accepted: MessageOf<'ACCEPT'> | null;
  /** What was applied; of the newest connection that brought any state. */
  readonly held: Place | null;
  /** Whether this connection has brought any. */
  readonly legCame: boolean;
  readonly final: MessageOf<'FINAL'> | null;
  readonly deadlineMs: number | null;
  readonly failure: Failure | null;
}

export type DestinationSessionEvent = { readonly nowMs: number } & (
  | { readonly kind: 'connected' | 'disconnected' }
  /** @param head what every version says in its HELLO; the message null when this build can't read the rest. */
  | { readonly kind: 'hello'; readonly head: HelloHead; readonly message: Hello | null; readonly body: Uint8Array }
  | { readonly kind: 'message'; readonly message: Exclude<Message, Hello>; readonly body: Uint8Array }
  | ({ readonly kind: 'probed' } & Probed)
  /** The first record that is no message came over this connection. @param chains of an empty channel, each. */
  | { readonly kind: 'stateCame'; readonly chains: readonly string[] }
  /** All of a channel up to a SEAL was applied. */
  | { readonly kind: 'applied'; readonly channel: number; readonly seal: number; readonly chain: string }
  /** All of the machine is in place, paused and hidden. */
  | { readonly kind: 'loaded' }
  | { readonly kind: 'written'; readonly end: WriteEnd }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'guestGone' }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'settle'; readonly choice: 'take' | 'abandon' }
  | { readonly kind: 'tick' }
);

type Step = SessionStep<DestinationSession, DestinationEffect>;

/** What a destination is before anybody has spoken. @param id as the source's HELLO says it. */
export function newReceiver(id: string, hello: DestinationSession['hello']): DestinationSession {
  return {
    id,
    hello,
    phase: 'silent',
    handover: null,
    peer: null,
    purpose: null,
    common: null,
    connected: false,
    agreement: NO_AGREEMENT,
    leg: 1,
    offer: null,
    accepted: null,
    held: null,
    legCame: false,
    final: null,
    deadlineMs: null,
    failure: null,
  };
}

/** A destination that was started again, about a migration that its journal knows. */
export function recoverReceiver(hello: DestinationSession['hello'], last: OwnershipRecord): DestinationSession {
  const state = newReceiver(last.id, hello);
  return { ...state, phase: 'asking', peer: last.peer, handover: recoverDestination(last, last) };
}

/** One step of a migration on its destination. */
export function stepReceiver(state: DestinationSession, event: DestinationSessionEvent): Step {
  switch (event.kind) {
    case 'connected':
      return stay({ ...state, connected: true, agreement: NO_AGREEMENT, legCame: false, purpose: null });
    case 'disconnected':
      return disconnected(state, event.nowMs);
    case 'hello':
      return heard(state, event);
    case 'message':
      return message(state, event.message, event.body);
    case 'probed':
      return probed(state, event);
    case 'stateCame':
      return stateCame(state, event.chains);
    case 'applied':
      return applied(state, event);
    case 'loaded':
      return loaded(state);
    case 'written':
      return own(state, { kind: 'written', end: event.end });
    case 'failed':
      return fail(state, event.failure);
    case 'guestGone':
      return own(state, { kind: 'guestGone' });
    case 'cancel':
      return fail(state, { code: 'CANCELLED', message: 'The migration was cancelled on its destination' });
    case 'settle':
      return own(state, { kind: 'settle', choice: event.choice });
    case 'tick':
      return tick(state, event.nowMs);
  }
}

function disconnected(state: DestinationSession, nowMs: number): Step {
  const cut: DestinationSession = { ...state, connected: false, purpose: null };
  switch (state.phase) {
    case 'silent':
    case 'hello':
    case 'probing':
    case 'checked':
      return state.handover === null ? end(cut, []) : stay({ ...cut, phase: 'asking' });
    case 'receiving':
    case 'resuming':
    case 'loading': {
      // What is loading goes on: the source asks again, and hears of it.
      if (state.common?.resumable !== true) return fail(cut, LOST);
      const deadlineMs = nowMs + PATIENCE.cutMs + PATIENCE.retryMs;
      return { state: { ...cut, deadlineMs }, effects: [{ kind: 'wake', atMs: deadlineMs }] };
    }
    case 'asking':
    case 'ended':
      return stay(cut);
  }
}

const LOST: Failure = { code: 'MIGRATION_LOST', message: 'The connection from the source was lost' };

function tick(state: DestinationSession, nowMs: number): Step {
  const again = own(state, { kind: 'again' });
  const { deadlineMs } = again.state;
  if (deadlineMs === null || state.connected || again.state.phase === 'ended') return again;
  if (nowMs < deadlineMs)
    return { state: again.state, effects: [...again.effects, { kind: 'wake', atMs: deadlineMs }] };
  // Only what was not confirmed is given up by itself: the rest may have been given (H5).
  const step = state.handover?.phase === 'receiving' ? fail(again.state, LOST) : stay(again.state);
  return { state: { ...step.state, deadlineMs: null }, effects: [...again.effects, ...step.effects] };
}

type HelloEvent = Extract<DestinationSessionEvent, { readonly kind: 'hello' }>;

function heard(state: DestinationSession, { head, message: theirs, body }: HelloEvent): Step {
  if (state.purpose !== null || !state.connected) return outOfOrder(state, 'HELLO');
  // Who only wants to know the owner is answered by the host, and is none of a session's.
  if (theirs?.purpose === 'owner') return stay(state, [{ kind: 'hangUp' }]);
  const { id, hello: mine } = state;
  const version = commonVersion(mine, head);
  if (typeof version !== 'number' || theirs === null) {
    const reasons = typeof version === 'number' ? [] : [version];
    return refuse(state, reasons, theirs === null && reasons.length === 0);
  }
  const { identity } = theirs.host;
  if (state.peer !== null && state.peer !== identity) {
    return say(state, failedMessage(state, { ...LOST, message: 'This migration is another host’s' }), [
      { kind: 'hangUp' },
    ]);
  }
  const answer: Hello = { kind: 'HELLO', id, purpose: theirs.purpose, leg: theirs.leg, ...mine };
  const known: DestinationSession = {
    ...state,
    peer: identity,
    purpose: theirs.purpose,
    leg: theirs.leg,
    common: commonOf(answer, theirs, version),
    agreement: agree(NO_AGREEMENT, 'HELLO', body),
    deadlineMs: null,
  };
  const said = say(known, answer);
  if (theirs.purpose === 'ask' || state.phase === 'asking') {
    const asked = own({ ...said.state, phase: 'asking' }, { kind: 'again' });
    return { state: asked.state, effects: [...said.effects, ...asked.effects] };
  }
  if (theirs.purpose === 'resume') return stay(said.state, said.effects);
  return { state: { ...said.state, phase: 'hello' }, effects: said.effects };
}

function message(state: DestinationSession, said: Exclude<Message, Hello>, body: Uint8Array): Step {
  switch (said.kind) {
    case 'OFFER':
      if (state.phase !== 'hello') return outOfOrder(state, said.kind);
      return {
        state: { ...state, phase: 'probing', offer: said, agreement: agree(state.agreement, 'OFFER', body) },
        effects: [{ kind: 'probe', offer: said }],
      };
    case 'RESUME':
      return state.purpose === 'resume' ? resume(state, said, body) : outOfOrder(state, said.kind);
    case 'FINAL':
      if (state.phase !== 'receiving') return outOfOrder(state, said.kind);
      return loadIfAll({ ...state, final: said });
    case 'FAILED':
      return fail(state, { code: said.error.code, message: said.error.message });
    case 'GIVEN':
    case 'KEPT':
    case 'DONE':
    case 'TAKEN':
    case 'RUNNING':
    case 'ABANDONED':
    case 'YIELDED':
    case 'CONFIRM':
      return owned(state, said);
    case 'HOLDS':
    case 'ACCEPT':
    case 'REFUSE':
    case 'OWNER':
    case 'OWNERSHIP':
      return outOfOrder(state, said.kind);
  }
}

type Owned = Extract<
  Message,
  { readonly kind: 'GIVEN' | 'KEPT' | 'DONE' | 'TAKEN' | 'RUNNING' | 'ABANDONED' | 'YIELDED' | 'CONFIRM' }
>;

/** A message of the handover. Of a migration that this host never heard of it answers that it holds nothing. */
function owned(state: DestinationSession, said: Owned): Step {
  // Before a HELLO of the source on this connection it is nobody's word (H4).
  if (state.peer === null || state.purpose === null) return outOfOrder(state, said.kind);
  const known: DestinationSession =
    state.handover === null
      ? {
          ...state,
          phase: 'asking',
          handover: recoverDestination(
            { id: state.id, machine: NO_MACHINE, peer: state.peer, epoch: said.epoch },
            null,
          ),
        }
      : state;
  return own(known, { kind: 'message', from: state.peer, message: said });
}

/** The machine of a migration that this host knows by its id alone. */
const NO_MACHINE = '00000000-0000-0000-0000-000000000000';

function outOfOrder(state: DestinationSession, kind: string): Step {
  if (state.phase === 'asking') return stay(state);
  return fail(state, { code: 'PROTOCOL_ORDER', message: `${kind} came where it may not` });
}

function probed(state: DestinationSession, { host, probe, measured, secret }: Probed): Step {
  const { offer, common, peer, id } = state;
  if (state.phase !== 'probing' || offer === null || common === null || peer === null) return stay(state);
  const reasons = judge(offer, peer, host, probe);
  if (reasons.length > 0) return refuse(state, reasons, false);
  const need = needOf(offer, host);
  const { epoch, codec, machine, tmem } = offer;
  const ACCEPT: MessageOf<'ACCEPT'> = {
    kind: 'ACCEPT',
    epoch,
    codec,
    features: [...common.features],
    channels: common.limits.channels,
    secret,
    reserved: { ...need },
    measured,
    notes: [],
  };
  if (state.purpose === 'check') {
    // Nothing is held back for a question.
    return say({ ...state, phase: 'checked' }, ACCEPT);
  }
  const uuids = (tmem?.pools ?? []).flatMap(({ uuid }) => (uuid === null ? [] : [uuid]));
  const said = say({ ...state, phase: 'receiving', accepted: ACCEPT }, ACCEPT);
  const begun = beginDestination({ id, machine: machine.uuid, peer, epoch });
  const { agreement } = said.state;
  // Nothing of it is here yet, and that is a place too: a cut may come before the first seal.
  const nothing = Array.from({ length: ACCEPT.channels }, () => ({ seal: 0, chain: NO_AGREEMENT }));
  const held: Place = { leg: state.leg, agreement, channels: nothing };
  const next: DestinationSession = { ...said.state, handover: begun, held };
  return { state: next, effects: [{ kind: 'reserve', need, offer, uuids }, ...said.effects] };
}

function refuse(state: DestinationSession, reasons: readonly Reason[], unreadable: boolean): Step {
  const failure: Failure = unreadable
    ? { code: 'FIELD_VALUE', message: 'The HELLO of the source makes no sense' }
    : { code: 'MIGRATION_REFUSED', message: 'The machine was refused', reasons };
  const said: Message = unreadable
    ? failedMessage(state, failure)
    : { kind: 'REFUSE', reasons: reasons.map((each) => ({ ...each })) };
  const told = say({ ...state, failure }, said);
  return end(told.state, told.effects);
}

function resume(state: DestinationSession, said: MessageOf<'RESUME'>, body: Uint8Array): Step {
  const { handover: ownership, accepted, held } = state;
  const mine = ownership !== null && accepted !== null && held !== null;
  if (!mine || said.secret !== accepted.secret || said.epoch !== accepted.epoch) {
    return say(state, failedMessage(state, { ...LOST, message: 'Nothing of this migration is here' }), [
      { kind: 'hangUp' },
    ]);
  }
  if (ownership.phase !== 'receiving' && ownership.phase !== 'ready') {
    const asked = own({ ...state, phase: 'asking' }, { kind: 'again' });
    return asked;
  }
  const reopened = stepDestination(ownership, { kind: 'reopened' });
  const again: DestinationSession = {
    ...state,
    handover: reopened.state,
    phase: 'receiving',
    final: null,
    agreement: agree(state.agreement, 'RESUME', body),
  };
  return say(again, {
    kind: 'HOLDS',
    epoch: accepted.epoch,
    leg: held.leg,
    channels: held.channels.map((channel) => ({ ...channel })),
    agreement: held.agreement,
  });
}

function stateCame(state: DestinationSession, chains: readonly string[]): Step {
  if (state.phase !== 'receiving') return outOfOrder(state, 'state');
  if (state.legCame) return stay(state);
  const { leg, agreement } = state;
  const held: Place = { leg, agreement, channels: chains.map((chain) => ({ seal: 0, chain })) };
  return stay({ ...state, legCame: true, held });
}

type Applied = Extract<DestinationSessionEvent, { readonly kind: 'applied' }>;

function applied(state: DestinationSession, { channel, seal, chain }: Applied): Step {
  const { held } = state;
  if (held === null || !state.legCame || channel >= held.channels.length) return outOfOrder(state, 'SEAL');
  const channels = held.channels.map((each, at) => (at === channel ? { seal, chain } : each));
  const next = loadIfAll({ ...state, held: { ...held, channels } });
  return { state: next.state, effects: [{ kind: 'acknowledge', channel, seal, chain }, ...next.effects] };
}

/** FINAL says up to where everything is; it may come before the last of it was applied (H3). */
function loadIfAll(state: DestinationSession): Step {
  const { final, held } = state;
  if (final === null || held === null) return stay(state);
  if (final.channels.length !== held.channels.length) return outOfOrder(state, 'FINAL');
  for (const [channel, { seal, chain }] of final.channels.entries()) {
    const here = held.channels[channel];
    if (here.seal < seal) return stay(state);
    if (here.seal > seal || here.chain !== chain) {
      return fail(state, { code: 'CHAIN_VECTOR', message: `Channel ${channel} has another chain than FINAL says` });
    }
  }
  return { state: { ...state, phase: 'loading' }, effects: [{ kind: 'load' }] };
}

function loaded(state: DestinationSession): Step {
  if (state.phase !== 'loading' || state.held === null) return stay(state);
  const chains = state.held.channels.map(({ chain }) => chain);
  return own({ ...state, phase: 'asking' }, { kind: 'complete', chains, agreement: state.held.agreement });
}

function own(state: DestinationSession, event: DestinationEvent): Step {
  if (state.handover === null) return stay(state);
  const { state: ownership, effects } = stepDestination(state.handover, event);
  const next: DestinationSession = { ...state, handover: ownership };
  const done = effects.flatMap((effect) => ours(effect));
  const over = ownership.phase === 'discarded' && state.handover.phase !== 'discarded';
  return over ? end(next, done) : stay(next, done);
}

function ours(effect: HandoverEffect): DestinationEffect[] {
  if (effect.kind !== 'send') return [effect];
  const { message: said } = effect;
  return [{ kind: 'send', message: said.kind === 'CONFIRM' ? { ...said, chains: [...said.chains] } : said }];
}

function failedMessage(state: DestinationSession, { code, message: text }: Failure): Message {
  return { kind: 'FAILED', epoch: state.handover?.epoch ?? state.offer?.epoch ?? 1, error: { code, message: text } };
}

function fail(state: DestinationSession, failure: Failure): Step {
  if (state.phase === 'ended') return stay(state);
  const failed: DestinationSession = { ...state, failure: state.failure ?? failure };
  const over = state.handover !== null && state.handover.phase !== 'receiving' && state.handover.phase !== 'ready';
  const told = over ? stay(failed) : say(failed, failedMessage(state, failure));
  if (state.handover === null) return end(told.state, told.effects);
  const step = own(told.state, { kind: 'failed' });
  return { state: step.state, effects: [...told.effects, ...step.effects] };
}

function end(state: DestinationSession, effects: readonly DestinationEffect[]): Step {
  const ended: DestinationSession = { ...state, phase: 'ended', deadlineMs: null };
  return stay(ended, [...effects, { kind: 'hangUp' }, { kind: 'ended', failure: state.failure }]);
}

function say(state: DestinationSession, said: Message, more: readonly DestinationEffect[] = []): Step {
  const agreement = AGREED.has(said.kind) ? agree(state.agreement, said.kind, encodeMessage(said)) : state.agreement;
  return stay({ ...state, agreement }, [{ kind: 'send', message: said }, ...more]);
}

function stay(state: DestinationSession, effects: readonly DestinationEffect[] = []): Step {
  return { state, effects };
}
