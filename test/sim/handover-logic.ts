/** The logic of a handover as the simulations call it, so that a faulty one can stand in its place. */
import {
  beginDestination,
  recoverDestination,
  stepDestination,
  type DestinationEvent,
  type DestinationState,
} from '../../src/migrate/handover/destination.ts';
import type { HandoverEffect, Step } from '../../src/migrate/handover/ownership.ts';
import {
  beginSource,
  recoverSource,
  stepSource,
  type SourceEvent,
  type SourceState,
} from '../../src/migrate/handover/source.ts';

export interface HandoverLogic {
  readonly beginSource: typeof beginSource;
  readonly recoverSource: typeof recoverSource;
  readonly stepSource: (state: SourceState, event: SourceEvent) => Step<SourceState>;
  readonly beginDestination: typeof beginDestination;
  readonly recoverDestination: typeof recoverDestination;
  readonly stepDestination: (state: DestinationState, event: DestinationEvent) => Step<DestinationState>;
}

export const SOUND: HandoverLogic = {
  beginSource,
  recoverSource,
  stepSource,
  beginDestination,
  recoverDestination,
  stepDestination,
};

function with_<S>(step: Step<S>, more: readonly HandoverEffect[]): Step<S> {
  return { state: step.state, effects: [...step.effects, ...more] };
}

/** Logic with one fault each. The simulations must find every one of them. */
export const FAULTS = {
  /** The destination runs when all is there, before it was given. */
  'runs before GIVEN': {
    ...SOUND,
    stepDestination: (state, event) => {
      const step = stepDestination(state, event);
      return event.kind === 'complete' && state.phase === 'receiving'
        ? with_(step, [{ kind: 'run', epoch: state.epoch }])
        : step;
    },
  },
  /** The source says GIVEN while it is still being written. */
  'gives before its fsync': {
    ...SOUND,
    stepSource: (state, event) => {
      const step = stepSource(state, event);
      return step.state.phase === 'giving' && state.phase === 'final'
        ? with_(step, [{ kind: 'send', message: { kind: 'GIVEN', id: state.id, epoch: state.epoch } }])
        : step;
    },
  },
  /** The destination runs while RUNNING is still being written. */
  'runs before its fsync': {
    ...SOUND,
    stepDestination: (state, event) => {
      const step = stepDestination(state, event);
      return step.state.phase === 'starting' && state.phase === 'ready'
        ? with_(step, [{ kind: 'run', epoch: state.epoch }])
        : step;
    },
  },
  /** The source frees its copy as soon as it gave it. */
  'frees at GIVEN': {
    ...SOUND,
    stepSource: (state, event) => {
      const step = stepSource(state, event);
      return step.state.phase === 'given' && state.phase === 'giving'
        ? { state: { ...step.state, copy: false }, effects: [...step.effects, { kind: 'free' }] }
        : step;
    },
  },
  /** The source takes its guest back when nobody has answered for a while. */
  'takes back without an answer': {
    ...SOUND,
    stepSource: (state, event) =>
      state.phase === 'given' && event.kind === 'failed'
        ? with_({ state: { ...state, phase: 'kept' }, effects: [] }, [{ kind: 'resume', epoch: state.ownEpoch }])
        : stepSource(state, event),
  },
  /** The destination says ABANDONED before it is on the disk. */
  'abandons before its fsync': {
    ...SOUND,
    stepDestination: (state, event) => {
      const step = stepDestination(state, event);
      return step.state.phase === 'abandoning' && state.phase === 'ready'
        ? with_(step, [{ kind: 'send', message: { kind: 'ABANDONED', id: state.id, epoch: state.epoch } }])
        : step;
    },
  },
  /** A source that does not know whether GIVEN is on the disk goes on at once. */
  'goes on in doubt': {
    ...SOUND,
    stepSource: (state, event) =>
      state.phase === 'giving' && event.kind === 'written' && event.end === 'doubtful'
        ? stepSource(state, { kind: 'written', end: 'notWritten' })
        : stepSource(state, event),
  },
  /** The destination takes any epoch for the one that it confirmed. */
  'ignores epochs': {
    ...SOUND,
    stepDestination: (state, event) =>
      event.kind === 'message' && event.message.kind === 'KEPT'
        ? { state, effects: [] }
        : stepDestination(
            event.kind === 'message' && event.message.kind === 'GIVEN' && state.phase === 'abandoned'
              ? { ...state, phase: 'ready', copy: true }
              : state,
            event,
          ),
  },
} as const satisfies Record<string, HandoverLogic>;

export type FaultName = keyof typeof FAULTS;
