/** The source's side of a handover (protocol 7.1): it owns the machine until its GIVEN is durable (H1). */
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

/**
 * Phases of the source. It owns the machine in `beginning`, `live`, `final`, `kept` and `taken`; it does not in `done`
 * and `yielded`; in the others it must not run it, and does not know yet who will.
 */
export type SourcePhase =
  /** BEGUN is being written: the epoch is used up before anybody hears of it. */
  | 'beginning'
  /** Rounds go on. */
  | 'live'
  /** The guest is paused and all of it was sent. */
  | 'final'
  | 'giving'
  /** Whether GIVEN is on the disk is not known, and nobody has heard of it: KEPT is being written. */
  | 'doubtful'
  | 'given'
  | 'taking'
  | 'finishing'
  | 'yielding'
  | 'kept'
  | 'taken'
  | 'done'
  | 'yielded';

export interface SourceState {
  readonly phase: SourcePhase;
  readonly id: string;
  readonly machine: string;
  readonly peer: string;
  /** Epoch under which the guest ran before; it goes on under it when nothing comes of the migration. */
  readonly ownEpoch: number;
  /** Epoch of this attempt, and later of the newest claim that this side knows. */
  readonly epoch: number;
  /** What the destination must confirm, from `final` on. */
  readonly expected: Confirmation | null;
  /** The record that is being written, or was not written yet. */
  readonly writing: OwnershipRecord | null;
  /** A write failed: it is tried again at the next `again`. */
  readonly stuck: boolean;
  /** Whether the guest, running or paused, is still there. */
  readonly copy: boolean;
  /** While TAKEN is being written: the epoch under which the peer turned out to run. */
  readonly peerRuns: number | null;
  /** The peer owns the machine and its guest is no more. */
  readonly peerGone: boolean;
}

export type SourceEvent =
  | HandoverEvent
  /** The guest is paused, and everything up to the last seal was sent (protocol 6.3). */
  | ({ readonly kind: 'sent' } & Confirmation);

/** A migration that begins. @param epoch above every epoch of this machine that the journal knows. */
export function beginSource(
  begin: Pick<SourceState, 'id' | 'machine' | 'peer' | 'ownEpoch' | 'epoch'>,
): Step<SourceState> {
  const { id, machine, peer, ownEpoch, epoch } = begin;
  const state: SourceState = {
    id,
    machine,
    peer,
    ownEpoch,
    epoch,
    phase: 'beginning',
    expected: null,
    writing: null,
    stuck: false,
    copy: true,
    peerRuns: null,
    peerGone: false,
  };
  return write(state, 'beginning', 'BEGUN', epoch);
}

/**
 * What a source is after its daemon was started again (H6): its guests' processes are no more.
 * @param last the migration's newest record of the source.
 */
export function recoverSource(last: OwnershipRecord): SourceState {
  const { id, machine, peer, epoch } = last;
  const phase = RECOVERED[last.kind];
  if (phase === undefined) {
    throw new TransmigrateError('INTERNAL', `A journal record ${last.kind} is none of a source`, { data: { id } });
  }
  return {
    id,
    machine,
    peer,
    epoch,
    ownEpoch: epoch,
    phase,
    expected: null,
    writing: null,
    stuck: false,
    copy: false,
    peerRuns: null,
    peerGone: false,
  };
}

const RECOVERED: Readonly<Partial<Record<OwnershipKind, SourcePhase>>> = {
  BEGUN: 'kept',
  GIVEN: 'given',
  KEPT: 'kept',
  TAKEN: 'taken',
  DONE: 'done',
  YIELDED: 'yielded',
};

/** Phases before the commit point: whatever goes wrong, the source goes on as if nothing had happened (H7). */
const BEFORE_GIVEN: ReadonlySet<SourcePhase> = new Set(['beginning', 'live', 'final']);
const OWNS: ReadonlySet<SourcePhase> = new Set([...BEFORE_GIVEN, 'kept', 'taken']);

/** The epoch under which the source's guest may run now, or undefined. */
export function sourceMayRun({ phase, ownEpoch, epoch, copy }: SourceState): number | undefined {
  if (!OWNS.has(phase) || !copy) return undefined;
  return phase === 'taken' ? epoch : ownEpoch;
}

/** Who owns the machine, as far as the source knows. */
export function ownerBySource({ phase, epoch, ownEpoch, copy, peerGone }: SourceState): Ownership {
  if (OWNS.has(phase)) return { owner: 'source', epoch: phase === 'taken' ? epoch : ownEpoch, gone: !copy };
  if (phase === 'done' || phase === 'yielded') return { owner: 'destination', epoch, gone: peerGone };
  return { owner: 'unknown', epoch, gone: peerGone };
}

/** Whether nothing is left to be done or to be asked. */
export function sourceEnded({ phase }: SourceState): boolean {
  return phase === 'kept' || phase === 'taken' || phase === 'done' || phase === 'yielded';
}

/**
 * One step of the source.
 * @throws MACHINE_STATE for a `settle` that there is nothing to decide for; the state is as it was.
 */
export function stepSource(state: SourceState, event: SourceEvent): Step<SourceState> {
  switch (event.kind) {
    case 'written':
      return written(state, event.end);
    case 'message':
      if (event.message.id !== state.id || event.from !== state.peer) return refused(state, event.message, 'stranger');
      return received(state, event.message);
    case 'sent':
      // Again in `final`: what was paused was sent over another connection (protocol 6.5).
      if (state.phase !== 'live' && state.phase !== 'final') return stay(state);
      return stay({ ...state, phase: 'final', expected: { chains: event.chains, agreement: event.agreement } });
    case 'again':
      return again(state);
    case 'failed':
      return BEFORE_GIVEN.has(state.phase) ? keep(state) : stay(state);
    case 'guestGone':
      // A guest that is no more can't be given away; one that was given is the other side's.
      if (BEFORE_GIVEN.has(state.phase)) return keep({ ...state, copy: false });
      return stay({ ...state, copy: false });
    case 'settle':
      return event.choice === 'take' ? take(state) : abandon(state);
  }
}

function received(state: SourceState, message: HandoverMessage): Step<SourceState> {
  switch (message.kind) {
    case 'CONFIRM':
      return confirmed(state, message);
    case 'RUNNING':
    case 'TAKEN':
      return peerRuns(state, message.epoch, message.gone);
    case 'ABANDONED':
      return peerAbandoned(state, message.epoch);
    case 'GIVEN':
    case 'KEPT':
    case 'DONE':
    case 'YIELDED':
      // What a source says itself, or what changes nothing for it.
      return stay(state);
  }
}

function confirmed(state: SourceState, message: HandoverMessage & Confirmation): Step<SourceState> {
  const { phase, expected } = state;
  if (message.epoch !== state.epoch || phase !== 'final' || expected === null) {
    // A late confirmation carries an old epoch, and is ignored (H1). Who sent it should not wait for more.
    if (phase === 'given' && message.epoch === state.epoch) return send(state, 'GIVEN');
    if (phase === 'kept') return effects(refused(state, message, 'late'), [sending(state, 'KEPT', message.epoch)]);
    return refused(state, message, 'late');
  }
  const same =
    message.agreement === expected.agreement &&
    message.chains.length === expected.chains.length &&
    message.chains.every((chain, channel) => chain === expected.chains[channel]);
  if (!same) {
    const kept = keep(state);
    return effects(kept, [report({ what: 'refused', message: 'CONFIRM', why: 'mismatch' })]);
  }
  return write(state, 'giving', 'GIVEN', state.epoch);
}

function peerRuns(state: SourceState, epoch: number, gone: boolean): Step<SourceState> {
  switch (state.phase) {
    case 'given':
      if (epoch < state.epoch) return stay(state);
      // The peer ended with its guest: freeing the only copy now is an operator's decision.
      if (gone)
        return state.peerGone ? stay(state) : reported({ ...state, peerGone: true }, { what: 'peerGone', epoch });
      return write({ ...state, peerGone: false }, 'finishing', 'DONE', epoch);
    case 'taking':
      // An operator took it, but the guest of the peer is alive after all, and this side's does not run yet.
      return stay(gone ? state : { ...state, peerRuns: epoch });
    case 'done':
      return send(state, 'DONE');
    case 'beginning':
    case 'live':
    case 'final':
    case 'kept':
    case 'taken':
      return claimed(state, epoch, gone);
    case 'giving':
    case 'doubtful':
    case 'finishing':
    case 'yielding':
    case 'yielded':
      return stay(state);
  }
}

/** The peer says that it owns what this side owns too: an operator's override, or a defect of the peer. */
function claimed(state: SourceState, epoch: number, gone: boolean): Step<SourceState> {
  // A guest that is no more is no reason to end the one that is there.
  if (gone) return reported(state, { what: 'peerGone', epoch });
  if (!sourceWins(state.epoch, epoch)) return yieldTo(state, epoch);
  // It was never given under this epoch, so the peer runs what it may not.
  if (state.phase !== 'taken') return reported(state, { what: 'conflict', epoch });
  return state.copy ? effects(stay(state), [taken(state)]) : yieldTo(state, epoch);
}

function peerAbandoned(state: SourceState, epoch: number): Step<SourceState> {
  // Only what was written about this attempt or a later one says anything about it (H2).
  if (state.phase === 'given' && epoch >= state.epoch) {
    return write(state, 'taking', 'TAKEN', Math.max(epoch, state.epoch) + 1);
  }
  if (state.phase === 'final' && epoch >= state.epoch) return keep(state);
  return stay(state);
}

function written(state: SourceState, end: 'durable' | 'notWritten' | 'doubtful'): Step<SourceState> {
  const { writing, phase } = state;
  if (writing === null) return stay(state);
  if (end !== 'durable') return notWritten(state, end);
  const now: SourceState = { ...state, writing: null, stuck: false, epoch: writing.epoch };
  switch (phase) {
    case 'beginning':
      return stay({ ...now, phase: 'live' });
    case 'giving':
      return send({ ...now, phase: 'given' }, 'GIVEN');
    case 'doubtful':
      return keep(now);
    case 'taking': {
      if (now.peerRuns !== null) return write(now, 'finishing', 'DONE', Math.max(now.peerRuns, now.epoch));
      const owner: SourceState = { ...now, phase: 'taken' };
      const goes: HandoverEffect = owner.copy
        ? { kind: 'resume', epoch: owner.epoch }
        : report({ what: 'lost', epoch: owner.epoch });
      return effects(stay(owner), [goes, taken(owner), ended(owner)]);
    }
    case 'finishing': {
      const gone: SourceState = { ...now, phase: 'done', copy: false };
      return effects(stay(gone), [{ kind: 'free' }, sending(gone, 'DONE'), ended(gone)]);
    }
    case 'yielding': {
      const gone: SourceState = { ...now, phase: 'yielded', copy: false };
      return effects(stay(gone), [{ kind: 'free' }, sending(gone, 'YIELDED'), ended(gone)]);
    }
    case 'live':
    case 'final':
    case 'given':
    case 'kept':
    case 'taken':
    case 'done':
    case 'yielded':
      return stay(now);
  }
}

function notWritten(state: SourceState, end: 'notWritten' | 'doubtful'): Step<SourceState> {
  switch (state.phase) {
    case 'beginning':
      return keep({ ...state, writing: null });
    case 'giving':
      // Certainly not on the disk: it was never given. Else that must be on the disk before the guest goes on.
      if (end === 'notWritten') return keep({ ...state, writing: null });
      return write({ ...state, writing: null }, 'doubtful', 'KEPT', state.epoch);
    default:
      return effects(stay({ ...state, stuck: true }), [{ kind: 'later' }]);
  }
}

function again(state: SourceState): Step<SourceState> {
  if (state.stuck && state.writing !== null) {
    return { state: { ...state, stuck: false }, effects: [{ kind: 'journal', record: state.writing }] };
  }
  if (state.phase === 'given') return effects(send(state, 'GIVEN'), state.peerGone ? [] : [{ kind: 'later' }]);
  if (state.phase === 'taken') return effects(stay(state), [taken(state)]);
  return stay(state);
}

/** The source keeps the machine: its guest goes on, and nothing of the migration counts any more. */
function keep(state: SourceState): Step<SourceState> {
  const kept: SourceState = { ...state, phase: 'kept', expected: null, writing: null, stuck: false };
  const goes: HandoverEffect = kept.copy
    ? { kind: 'resume', epoch: kept.ownEpoch }
    : report({ what: 'lost', epoch: kept.ownEpoch });
  return effects(stay(kept), [goes, sending(kept, 'KEPT'), ended(kept)]);
}

function yieldTo(state: SourceState, epoch: number): Step<SourceState> {
  const step = write({ ...state, copy: false, expected: null }, 'yielding', 'YIELDED', Math.max(epoch, state.epoch));
  return { state: step.state, effects: [{ kind: 'stop' }, ...step.effects] };
}

function take(state: SourceState): Step<SourceState> {
  if (state.phase !== 'given') throw nothingToSettle(state);
  return write(state, 'taking', 'TAKEN', state.epoch + 1, 'operator');
}

function abandon(state: SourceState): Step<SourceState> {
  if (state.phase !== 'given') throw nothingToSettle(state);
  return write(state, 'finishing', 'DONE', state.epoch + 1, 'operator');
}

function nothingToSettle({ id, phase }: SourceState): TransmigrateError {
  return new TransmigrateError('MACHINE_STATE', `Nobody has to settle ${id} on its source: it is ${phase}`, {
    data: { id, phase },
    next: 'See `transmigrate owner`.',
  });
}

function write(
  state: SourceState,
  phase: SourcePhase,
  kind: OwnershipKind,
  epoch: number,
  by: OwnershipRecord['by'] = 'protocol',
): Step<SourceState> {
  const { id, machine, peer } = state;
  const record: OwnershipRecord = { kind, side: 'source', id, machine, epoch, peer, by };
  return { state: { ...state, phase, writing: record, stuck: false }, effects: [{ kind: 'journal', record }] };
}

function send(state: SourceState, kind: 'GIVEN' | 'DONE'): Step<SourceState> {
  return effects(stay(state), [sending(state, kind)]);
}

function sending(
  state: SourceState,
  kind: 'GIVEN' | 'KEPT' | 'DONE' | 'YIELDED',
  epoch: number = state.epoch,
): HandoverEffect {
  return { kind: 'send', message: { kind, id: state.id, epoch } };
}

function taken({ id, epoch, copy }: SourceState): HandoverEffect {
  return { kind: 'send', message: { kind: 'TAKEN', id, epoch, gone: !copy } };
}

function refused(state: SourceState, message: HandoverMessage, why: 'stranger' | 'late'): Step<SourceState> {
  return reported(state, { what: 'refused', message: message.kind, why });
}

function reported(state: SourceState, what: HandoverReport): Step<SourceState> {
  return effects(stay(state), [report(what)]);
}

function report(what: HandoverReport): HandoverEffect {
  return { kind: 'report', report: what };
}

function ended(state: SourceState): HandoverEffect {
  const { owner, epoch } = ownerBySource(state);
  return report({ what: 'ended', owner, epoch });
}
