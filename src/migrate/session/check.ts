/** The question whether a host would take a machine, without a migration (N1): protocol 4.4, purpose `check`. */
import { commonVersion, type Hello, type HelloHead } from '../negotiate/hello.ts';
import type { Reason } from '../negotiate/reasons.ts';
import type { Message, MessageOf } from '../protocol/messages.ts';
import type { Failure, SessionStep } from './effects.ts';
import { PATIENCE } from './source-state.ts';

export interface CheckSession {
  readonly phase: 'connecting' | 'hello' | 'offered' | 'ended';
  readonly id: string;
  readonly hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>;
  readonly offer: Omit<MessageOf<'OFFER'>, 'kind'>;
  /** What the host would grant. */
  readonly accepted: MessageOf<'ACCEPT'> | null;
  /** Why it would not; empty when it would. */
  readonly reasons: readonly Reason[];
}

export type CheckEvent =
  | { readonly kind: 'connected' | 'disconnected' | 'tick' }
  | { readonly kind: 'hello'; readonly head: HelloHead }
  | { readonly kind: 'message'; readonly message: Exclude<Message, Hello> };

/** The effects of a source's session that a check needs, with the same meaning. */
export type CheckEffect =
  | { readonly kind: 'connect'; readonly leg: number }
  | { readonly kind: 'send'; readonly message: Message }
  | { readonly kind: 'wake'; readonly atMs: number }
  | { readonly kind: 'hangUp' }
  /** A failure is no answer: a refusal is an answer, and in the state's reasons. */
  | { readonly kind: 'ended'; readonly failure: Failure | null };

type Step = SessionStep<CheckSession, CheckEffect>;

export function beginCheck(request: Pick<CheckSession, 'id' | 'hello' | 'offer'>, nowMs: number): Step {
  const { id, hello, offer } = request;
  return {
    state: { phase: 'connecting', id, hello, offer, accepted: null, reasons: [] },
    effects: [
      { kind: 'connect', leg: 1 },
      { kind: 'wake', atMs: nowMs + PATIENCE.answerMs },
    ],
  };
}

export function stepCheck(state: CheckSession, event: CheckEvent): Step {
  const { phase, id, hello, offer } = state;
  if (phase === 'ended') return { state, effects: [] };
  switch (event.kind) {
    case 'connected':
      return say({ ...state, phase: 'hello' }, { kind: 'HELLO', id, purpose: 'check', leg: 1, ...hello });
    case 'disconnected':
    case 'tick':
      return end(state, { code: 'HOST_UNREACHABLE', message: 'The host did not answer' });
    case 'hello': {
      if (phase !== 'hello') return end(state, misplaced('HELLO'));
      const version = commonVersion(hello, event.head);
      if (typeof version !== 'number') return end({ ...state, reasons: [version] }, null);
      return say({ ...state, phase: 'offered' }, { kind: 'OFFER', ...offer });
    }
    case 'message': {
      const { message } = event;
      if (message.kind === 'REFUSE') return end({ ...state, reasons: message.reasons as readonly Reason[] }, null);
      if (message.kind === 'ACCEPT' && phase === 'offered') return end({ ...state, accepted: message }, null);
      if (message.kind === 'FAILED') return end(state, message.error);
      return end(state, misplaced(message.kind));
    }
  }
}

function misplaced(kind: string): Failure {
  return { code: 'PROTOCOL_ORDER', message: `${kind} came where it may not` };
}

function say(state: CheckSession, message: Message): Step {
  return { state, effects: [{ kind: 'send', message }] };
}

function end(state: CheckSession, failure: Failure | null): Step {
  return { state: { ...state, phase: 'ended' }, effects: [{ kind: 'hangUp' }, { kind: 'ended', failure }] };
}
