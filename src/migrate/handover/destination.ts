/** The destination's side of a handover (protocol 7.1): it runs only what was given to it (H2). */
import { TransmigrateError } from '../../errors.ts';
import {
  effects,
  sourceWins,
  stay,
  type Confirmation,
  type HandoverEffect,
  type HandoverEvent,
  type HandoverMessage,
  type HandoverReport,
  type OwnershipKind,
  type OwnershipRecord,
  type Ownership,
  type Step,
} from './ownership.ts';

/** Phases of the destination. It owns the machine in `running` alone. */
export type DestinationPhase =
  /** Records come. */
  | 'receiving'
  /** Everything is here and was confirmed; whether it was given is not known. */
  | 'ready'
  /** RUNNING is being written. */
  | 'starting'
  | 'running'
  | 'abandoning'
  | 'yielding'
  /** Nothing of it is here, and nothing about it on the disk. */
  | 'discarded'
  | 'abandoned'
  | 'yielded';

export interface DestinationState {
  readonly phase: DestinationPhase;
  readonly id: string;
  readonly machine: string;
  readonly peer: string;
  readonly epoch: number;
  /** What was confirmed, from `ready` on: it is said again to whoever asks. */
  readonly confirmation: Confirmation | null;
  readonly writing: OwnershipRecord | null;
  readonly stuck: boolean;
  /** Whether the machine, complete or not, running or not, is still there. */
  readonly copy: boolean;
  /** While RUNNING is being written: a claim of the source that came meanwhile and stands against it. */
  readonly outbid: number | null;
  /** The source has freed its copy: nothing more will be asked. */
  readonly released: boolean;
}

export type DestinationEvent =
  | HandoverEvent
  /** A whole and consistent machine is here (protocol 6.3). */
  | ({ readonly kind: 'complete' } & Confirmation)
  /** The source goes on sending over another connection, so it has not given (protocol 6.5). */
  | { readonly kind: 'reopened' };

/** A migration that was accepted. */
export function beginDestination(begin: Pick<DestinationState, 'id' | 'machine' | 'peer' | 'epoch'>): DestinationState {
  const { id, machine, peer, epoch } = begin;
  return {
    phase: 'receiving',
    id,
    machine,
    peer,
    epoch,
    confirmation: null,
    writing: null,
    stuck: false,
    copy: true,
    outbid: null,
    released: false,
  };
}

/**
 * What a destination is about a migration that it holds nothing of: it never heard of it, or was started again.
 * @param last the newest record about it, or null.
 */
export function recoverDestination(
  begin: Pick<DestinationState, 'id' | 'machine' | 'peer' | 'epoch'>,
  last: OwnershipRecord | null,
): DestinationState {
  const state = { ...beginDestination(begin), copy: false };
  if (last === null) return { ...state, phase: 'discarded' };
  const phase = RECOVERED[last.kind];
  if (phase === undefined) {
    const { id } = begin;
    throw new TransmigrateError('INTERNAL', `A journal record ${last.kind} is none of a destination`, { data: { id } });
  }
  return { ...state, phase, epoch: last.epoch, peer: last.peer, machine: last.machine };
}

const RECOVERED: Readonly<Partial<Record<OwnershipKind, DestinationPhase>>> = {
  RUNNING: 'running',
  ABANDONED: 'abandoned',
  YIELDED: 'yielded',
};

/** The epoch under which the destination's guest may run now, or undefined. */
export function destinationMayRun({ phase, epoch, copy }: DestinationState): number | undefined {
  return phase === 'running' && copy ? epoch : undefined;
}

/** Who owns the machine, as far as the destination knows. */
export function ownerByDestination({ phase, epoch, copy }: DestinationState): Ownership {
  if (phase === 'running') return { owner: 'destination', epoch, gone: !copy };
  const knows = phase === 'receiving' || phase === 'abandoned' || phase === 'yielded';
  return { owner: knows ? 'source' : 'unknown', epoch, gone: false };
}

/**
 * One step of the destination.
 * @throws MACHINE_STATE for a `settle` that there is nothing to decide for; the state is as it was.
 */
export function stepDestination(state: DestinationState, event: DestinationEvent): Step<DestinationState> {
  switch (event.kind) {
    case 'written':
      return written(state, event.end);
    case 'message':
      if (event.message.id !== state.id || event.from !== state.peer) return refused(state, event.message);
      return received(state, event.message);
    case 'complete':
      if (state.phase !== 'receiving') return stay(state);
      return confirm({
        ...state,
        phase: 'ready',
        confirmation: { chains: event.chains, agreement: event.agreement },
      });
    case 'reopened':
      return stay(state.phase === 'ready' ? { ...state, phase: 'receiving', confirmation: null } : state);
    case 'again':
      return again(state);
    case 'failed':
      if (state.phase === 'receiving') return discard(state);
      // It may have been given meanwhile, so this side must say first, durably, that it will never run it.
      return state.phase === 'ready' ? write(state, 'abandoning', 'ABANDONED', state.epoch) : stay(state);
    case 'guestGone':
      if (state.phase === 'receiving') return discard(state);
      if (state.phase === 'ready') return write({ ...state, copy: false }, 'abandoning', 'ABANDONED', state.epoch);
      return stay({ ...state, copy: false });
    case 'settle':
      return event.choice === 'take' ? take(state) : abandon(state);
  }
}

function received(state: DestinationState, message: HandoverMessage): Step<DestinationState> {
  switch (message.kind) {
    case 'GIVEN':
      return given(state, message.epoch);
    case 'KEPT':
      return kept(state, message.epoch);
    case 'TAKEN':
      return taken(state, message.epoch, message.gone);
    case 'DONE':
      return stay(state.phase === 'running' ? { ...state, released: true } : state);
    case 'CONFIRM':
    case 'RUNNING':
    case 'ABANDONED':
    case 'YIELDED':
      return stay(state);
  }
}

function given(state: DestinationState, epoch: number): Step<DestinationState> {
  switch (state.phase) {
    case 'ready':
      // Another epoch than the one that was confirmed says nothing about what is here.
      if (epoch !== state.epoch) return stay(state);
      return write(state, 'starting', 'RUNNING', epoch);
    case 'running':
      return effects(stay(state), [running(state)]);
    case 'abandoned':
      return effects(stay(state), [sending(state, 'ABANDONED')]);
    case 'receiving':
      // The source gave what this side never confirmed: it was started again, or a part of it was.
      return write(state, 'abandoning', 'ABANDONED', Math.max(epoch, state.epoch));
    case 'discarded':
      return write(state, 'abandoning', 'ABANDONED', Math.max(epoch, state.epoch));
    case 'yielded':
      return effects(stay(state), [sending(state, 'YIELDED')]);
    case 'starting':
    case 'abandoning':
    case 'yielding':
      return stay(state);
  }
}

function kept(state: DestinationState, epoch: number): Step<DestinationState> {
  if (epoch < state.epoch) return stay(state);
  if (state.phase === 'receiving' || state.phase === 'ready') return discard(state);
  if (state.phase === 'running') return reported(state, { what: 'conflict', epoch });
  return stay(state);
}

function taken(state: DestinationState, epoch: number, gone: boolean): Step<DestinationState> {
  // The source owns it and has no guest: what is here may be the only copy, and an operator can take it.
  if (gone) return state.phase === 'running' ? effects(stay(state), [running(state)]) : stay(state);
  switch (state.phase) {
    case 'receiving':
    case 'ready':
      return discard(state);
    case 'starting':
      return stay({ ...state, outbid: Math.max(epoch, state.outbid ?? 0) });
    case 'running':
      if (sourceWins(epoch, state.epoch)) return yieldTo(state, epoch);
      return effects(stay(state), [running(state)]);
    case 'yielded':
      return effects(stay(state), [sending(state, 'YIELDED')]);
    case 'abandoning':
    case 'abandoned':
    case 'discarded':
    case 'yielding':
      return stay(state);
  }
}

function written(state: DestinationState, end: 'durable' | 'notWritten' | 'doubtful'): Step<DestinationState> {
  const { writing, phase } = state;
  if (writing === null) return stay(state);
  // A record of a destination that is not on the disk is tried again: it may not go back to what it was before.
  if (end !== 'durable') return effects(stay({ ...state, stuck: true }), [{ kind: 'later' }]);
  const now: DestinationState = { ...state, writing: null, stuck: false, epoch: writing.epoch };
  switch (phase) {
    case 'starting': {
      const owner: DestinationState = { ...now, phase: 'running' };
      if (now.outbid !== null && sourceWins(now.outbid, now.epoch)) return yieldTo(owner, now.outbid);
      const goes: HandoverEffect = owner.copy
        ? { kind: 'run', epoch: owner.epoch }
        : report({ what: 'lost', epoch: owner.epoch });
      const told: HandoverEffect = report({ what: 'ended', owner: 'destination', epoch: owner.epoch });
      return effects(stay(owner), [goes, running(owner), told]);
    }
    case 'abandoning': {
      const gone: DestinationState = { ...now, phase: 'abandoned', copy: false };
      return effects(stay(gone), [{ kind: 'discard' }, sending(gone, 'ABANDONED')]);
    }
    case 'yielding': {
      const gone: DestinationState = { ...now, phase: 'yielded', copy: false };
      return effects(stay(gone), [{ kind: 'discard' }, sending(gone, 'YIELDED')]);
    }
    case 'receiving':
    case 'ready':
    case 'running':
    case 'discarded':
    case 'abandoned':
    case 'yielded':
      return stay(now);
  }
}

function again(state: DestinationState): Step<DestinationState> {
  if (state.stuck && state.writing !== null) {
    return { state: { ...state, stuck: false }, effects: [{ kind: 'journal', record: state.writing }] };
  }
  switch (state.phase) {
    case 'ready':
      return confirm(state);
    case 'running':
      return state.released ? stay(state) : effects(stay(state), [running(state)]);
    case 'abandoned':
      return effects(stay(state), [sending(state, 'ABANDONED')]);
    default:
      return stay(state);
  }
}

function take(state: DestinationState): Step<DestinationState> {
  if (state.phase !== 'ready') throw nothingToSettle(state);
  return write(state, 'starting', 'RUNNING', state.epoch + 1, 'operator');
}

function abandon(state: DestinationState): Step<DestinationState> {
  const { phase, copy, epoch } = state;
  // One that runs is ended first, by whoever destroys the guest: there is nothing to settle before.
  const may = phase === 'receiving' || phase === 'ready' || (phase === 'running' && !copy);
  if (!may) throw nothingToSettle(state);
  return write(state, 'abandoning', 'ABANDONED', epoch + 1, 'operator');
}

function nothingToSettle({ id, phase }: DestinationState): TransmigrateError {
  return new TransmigrateError('MACHINE_STATE', `Nobody has to settle ${id} on its destination: it is ${phase}`, {
    data: { id, phase },
    next: 'See `transmigrate owner`.',
  });
}

function yieldTo(state: DestinationState, epoch: number): Step<DestinationState> {
  const step = write({ ...state, copy: false }, 'yielding', 'YIELDED', Math.max(epoch, state.epoch));
  return { state: step.state, effects: [{ kind: 'stop' }, ...step.effects] };
}

function discard(state: DestinationState): Step<DestinationState> {
  const gone: DestinationState = { ...state, phase: 'discarded', copy: false, confirmation: null };
  return { state: gone, effects: [{ kind: 'discard' }] };
}

function confirm(state: DestinationState): Step<DestinationState> {
  const { id, epoch, confirmation } = state;
  const message: HandoverMessage = { kind: 'CONFIRM', id, epoch, ...confirmation! };
  return effects(stay(state), [{ kind: 'send', message }]);
}

function write(
  state: DestinationState,
  phase: DestinationPhase,
  kind: OwnershipKind,
  epoch: number,
  by: OwnershipRecord['by'] = 'protocol',
): Step<DestinationState> {
  const { id, machine, peer } = state;
  const record: OwnershipRecord = { kind, side: 'destination', id, machine, epoch, peer, by };
  return { state: { ...state, phase, writing: record, stuck: false }, effects: [{ kind: 'journal', record }] };
}

function sending({ id, epoch }: DestinationState, kind: 'ABANDONED' | 'YIELDED'): HandoverEffect {
  return { kind: 'send', message: { kind, id, epoch } };
}

function running({ id, epoch, copy }: DestinationState): HandoverEffect {
  return { kind: 'send', message: { kind: 'RUNNING', id, epoch, gone: !copy } };
}

function refused(state: DestinationState, { kind }: HandoverMessage): Step<DestinationState> {
  return reported(state, { what: 'refused', message: kind, why: 'stranger' });
}

function reported(state: DestinationState, what: HandoverReport): Step<DestinationState> {
  return effects(stay(state), [report(what)]);
}

function report(what: HandoverReport): HandoverEffect {
  return { kind: 'report', report: what };
}
