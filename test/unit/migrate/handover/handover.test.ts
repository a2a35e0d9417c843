import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TransmigrateError } from '../../../../src/errors.ts';
import {
  beginDestination,
  destinationMayRun,
  ownerByDestination,
  recoverDestination,
  stepDestination,
  type DestinationEvent,
  type DestinationState,
} from '../../../../src/migrate/handover/destination.ts';
import type { HandoverEffect, HandoverMessage, Step } from '../../../../src/migrate/handover/ownership.ts';
import {
  beginSource,
  ownerBySource,
  recoverSource,
  sourceMayRun,
  stepSource,
  type SourceEvent,
  type SourceState,
} from '../../../../src/migrate/handover/source.ts';

const ID = '1'.repeat(32);
const MACHINE = '00000000-0000-4000-8000-000000000001';
const BEGIN = { id: ID, machine: MACHINE, peer: 'b'.repeat(32), ownEpoch: 6, epoch: 7 };
const CONFIRMATION = { chains: ['c'.repeat(64)], agreement: 'd'.repeat(64) };
const DURABLE = { kind: 'written', end: 'durable' } as const;

/** Takes the events one after the other. @returns the last step. */
function source(begin: Step<SourceState>, ...events: SourceEvent[]): Step<SourceState> {
  return events.reduce((step, event) => stepSource(step.state, event), begin);
}

function destination(begin: Step<DestinationState>, ...events: DestinationEvent[]): Step<DestinationState> {
  return events.reduce((step, event) => stepDestination(step.state, event), begin);
}

function from(peer: string, message: HandoverMessage): { kind: 'message'; from: string; message: HandoverMessage } {
  return { kind: 'message', from: peer, message };
}

const confirm = from(BEGIN.peer, { kind: 'CONFIRM', id: ID, epoch: 7, ...CONFIRMATION });
const final = (): Step<SourceState> => source(beginSource(BEGIN), DURABLE, { kind: 'sent', ...CONFIRMATION });
const given = (): Step<SourceState> => source(final(), confirm, DURABLE);
const ready = (): Step<DestinationState> =>
  destination(
    { state: beginDestination({ ...BEGIN, peer: 'a'.repeat(32) }), effects: [] },
    { kind: 'complete', ...CONFIRMATION },
  );
const give = from('a'.repeat(32), { kind: 'GIVEN', id: ID, epoch: 7 });

function kinds(effects: readonly HandoverEffect[]): string[] {
  return effects.map((effect) =>
    effect.kind === 'send'
      ? `send ${effect.message.kind} ${effect.message.epoch}`
      : effect.kind === 'journal'
        ? `journal ${effect.record.kind} ${effect.record.epoch}`
        : effect.kind === 'report'
          ? `report ${effect.report.what}`
          : effect.kind,
  );
}

describe('the source (H1, H2, H7)', () => {
  test('its epoch is on the disk before anybody hears of it', () => {
    assert.deepEqual(kinds(beginSource(BEGIN).effects), ['journal BEGUN 7']);
    assert.equal(sourceMayRun(beginSource(BEGIN).state), 6);
  });

  test('it gives only what was confirmed, and says so when that is durable', () => {
    const giving = source(final(), confirm);
    assert.deepEqual(kinds(giving.effects), ['journal GIVEN 7']);
    assert.equal(sourceMayRun(giving.state), undefined);
    assert.deepEqual(kinds(source(giving, DURABLE).effects), ['send GIVEN 7']);
  });

  test('a confirmation with an old epoch is ignored', () => {
    const late = source(final(), from(BEGIN.peer, { kind: 'CONFIRM', id: ID, epoch: 6, ...CONFIRMATION }));
    assert.equal(late.state.phase, 'final');
    assert.deepEqual(kinds(late.effects), ['report refused']);
  });

  for (const [what, wrong] of Object.entries({
    chain: { chains: ['e'.repeat(64)], agreement: CONFIRMATION.agreement },
    'number of chains': { chains: [], agreement: CONFIRMATION.agreement },
    agreement: { chains: CONFIRMATION.chains, agreement: 'e'.repeat(64) },
  })) {
    test(`a confirmation with another ${what} ends it, and the guest goes on (H3)`, () => {
      const step = source(final(), from(BEGIN.peer, { kind: 'CONFIRM', id: ID, epoch: 7, ...wrong }));
      assert.equal(step.state.phase, 'kept');
      assert.deepEqual(kinds(step.effects), ['resume', 'send KEPT 7', 'report ended', 'report refused']);
      assert.equal(sourceMayRun(step.state), 6);
    });
  }

  test('only the peer’s answers count (H4)', () => {
    const step = source(given(), from('c'.repeat(32), { kind: 'ABANDONED', id: ID, epoch: 7 }));
    assert.equal(step.state.phase, 'given');
    assert.deepEqual(kinds(step.effects), ['report refused']);
  });

  test('it frees when DONE is durable, which it writes when it hears RUNNING', () => {
    const running = source(given(), from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 7, gone: false }));
    assert.deepEqual(kinds(running.effects), ['journal DONE 7']);
    assert.deepEqual(kinds(source(running, DURABLE).effects), ['free', 'send DONE 7', 'report ended']);
  });

  test('it takes back under the next epoch, and not on an old ABANDONED', () => {
    const old = source(given(), from(BEGIN.peer, { kind: 'ABANDONED', id: ID, epoch: 6 }));
    assert.equal(old.state.phase, 'given');
    const taking = source(given(), from(BEGIN.peer, { kind: 'ABANDONED', id: ID, epoch: 7 }));
    assert.deepEqual(kinds(taking.effects), ['journal TAKEN 8']);
    const taken = source(taking, DURABLE);
    assert.deepEqual(kinds(taken.effects), ['resume', 'send TAKEN 8', 'report ended']);
    assert.equal(sourceMayRun(taken.state), 8);
  });

  test('GIVEN that was not written was not given; in doubt KEPT comes before the guest goes on', () => {
    const giving = source(final(), confirm);
    const not = source(giving, { kind: 'written', end: 'notWritten' });
    assert.deepEqual(kinds(not.effects), ['resume', 'send KEPT 7', 'report ended']);
    const doubt = source(giving, { kind: 'written', end: 'doubtful' });
    assert.deepEqual(kinds(doubt.effects), ['journal KEPT 7']);
    assert.equal(sourceMayRun(doubt.state), undefined);
    const stuck = source(doubt, { kind: 'written', end: 'notWritten' });
    assert.deepEqual(kinds(stuck.effects), ['later']);
    assert.deepEqual(kinds(source(stuck, { kind: 'again' }).effects), ['journal KEPT 7']);
    assert.deepEqual(kinds(source(doubt, DURABLE).effects), ['resume', 'send KEPT 7', 'report ended']);
  });

  test('cancelling is possible before GIVEN is written, and changes nothing after', () => {
    assert.equal(source(final(), { kind: 'failed' }).state.phase, 'kept');
    assert.equal(source(final(), confirm, { kind: 'failed' }).state.phase, 'giving');
    assert.equal(source(given(), { kind: 'failed' }).state.phase, 'given');
  });

  test('an operator takes or abandons what was given, and nothing else (H5)', () => {
    assert.deepEqual(kinds(source(given(), { kind: 'settle', choice: 'take' }).effects), ['journal TAKEN 8']);
    assert.deepEqual(kinds(source(given(), { kind: 'settle', choice: 'abandon' }).effects), ['journal DONE 8']);
    for (const step of [beginSource(BEGIN), final(), source(final(), { kind: 'failed' })]) {
      assert.throws(
        () => stepSource(step.state, { kind: 'settle', choice: 'take' }),
        (error) => error instanceof TransmigrateError && error.code === 'MACHINE_STATE',
      );
    }
  });

  test('what an operator took, and what came before it runs, decides who yields', () => {
    const taken = source(given(), { kind: 'settle', choice: 'take' }, DURABLE);
    const lower = source(taken, from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 7, gone: false }));
    assert.deepEqual(kinds(lower.effects), ['send TAKEN 8']);
    const higher = source(taken, from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 9, gone: false }));
    assert.deepEqual(kinds(higher.effects), ['stop', 'journal YIELDED 9']);
    // The peer turns out to run before this side does.
    const early = source(
      given(),
      { kind: 'settle', choice: 'take' },
      from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 7, gone: false }),
      DURABLE,
    );
    assert.deepEqual(kinds(early.effects), ['journal DONE 8']);
  });

  test('a peer whose guest is gone is no reason to free the only copy', () => {
    const gone = source(given(), from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 7, gone: true }));
    assert.deepEqual(kinds(gone.effects), ['report peerGone']);
    assert.deepEqual(ownerBySource(gone.state), { owner: 'unknown', epoch: 7, gone: true });
  });

  test('a peer that runs what was never given is a conflict, and the guest goes on', () => {
    const kept = source(final(), { kind: 'failed' });
    const step = source(kept, from(BEGIN.peer, { kind: 'RUNNING', id: ID, epoch: 7, gone: false }));
    assert.deepEqual(kinds(step.effects), ['report conflict']);
    assert.equal(sourceMayRun(step.state), 6);
  });

  test('after a start it knows who owns the machine, and that its guest is gone (H6)', () => {
    const record = { side: 'source', id: ID, machine: MACHINE, epoch: 7, peer: BEGIN.peer, by: 'protocol' } as const;
    const owner = (kind: 'BEGUN' | 'GIVEN' | 'TAKEN' | 'DONE'): unknown =>
      ownerBySource(recoverSource({ ...record, kind }));
    assert.deepEqual(owner('BEGUN'), { owner: 'source', epoch: 7, gone: true });
    assert.deepEqual(owner('GIVEN'), { owner: 'unknown', epoch: 7, gone: false });
    assert.deepEqual(owner('TAKEN'), { owner: 'source', epoch: 7, gone: true });
    assert.deepEqual(owner('DONE'), { owner: 'destination', epoch: 7, gone: false });
    assert.throws(() => recoverSource({ ...record, kind: 'RUNNING' }), TransmigrateError);
  });
});

describe('the destination (H2, H5)', () => {
  test('it runs when RUNNING is durable, and not before', () => {
    assert.deepEqual(kinds(ready().effects), ['send CONFIRM 7']);
    const starting = destination(ready(), give);
    assert.deepEqual(kinds(starting.effects), ['journal RUNNING 7']);
    assert.equal(destinationMayRun(starting.state), undefined);
    const running = destination(starting, DURABLE);
    assert.deepEqual(kinds(running.effects), ['run', 'send RUNNING 7', 'report ended']);
    assert.equal(destinationMayRun(running.state), 7);
  });

  test('GIVEN of another epoch, or of another host, says nothing', () => {
    const other = destination(ready(), from('a'.repeat(32), { kind: 'GIVEN', id: ID, epoch: 8 }));
    assert.equal(other.state.phase, 'ready');
    assert.equal(destination(ready(), from('c'.repeat(32), give.message)).state.phase, 'ready');
  });

  test('it abandons durably what it may have been given, and says so to whoever gives it', () => {
    const abandoning = destination(ready(), { kind: 'failed' });
    assert.deepEqual(kinds(abandoning.effects), ['journal ABANDONED 7']);
    const abandoned = destination(abandoning, DURABLE);
    assert.deepEqual(kinds(abandoned.effects), ['discard', 'send ABANDONED 7']);
    assert.deepEqual(kinds(destination(abandoned, give).effects), ['send ABANDONED 7']);
  });

  test('of what it never heard of it says that it will never run it', () => {
    const stranger = recoverDestination({ ...BEGIN, peer: 'a'.repeat(32) }, null);
    const step = destination({ state: stranger, effects: [] }, give);
    assert.deepEqual(kinds(step.effects), ['journal ABANDONED 7']);
  });

  test('what was received and never confirmed is discarded without a word on the disk (H7)', () => {
    const receiving = { state: beginDestination({ ...BEGIN, peer: 'a'.repeat(32) }), effects: [] };
    assert.deepEqual(kinds(destination(receiving, { kind: 'failed' }).effects), ['discard']);
    const kept = from('a'.repeat(32), { kind: 'KEPT', id: ID, epoch: 7 });
    assert.deepEqual(kinds(destination(ready(), kept).effects), ['discard']);
    assert.equal(destination(ready(), from('a'.repeat(32), { kind: 'KEPT', id: ID, epoch: 6 })).state.phase, 'ready');
  });

  test('a write that fails is tried again until it is durable', () => {
    const stuck = destination(ready(), give, { kind: 'written', end: 'doubtful' });
    assert.deepEqual(kinds(stuck.effects), ['later']);
    assert.deepEqual(kinds(destination(stuck, { kind: 'again' }).effects), ['journal RUNNING 7']);
  });

  test('a claim above its own ends it, also while RUNNING is written', () => {
    const take = from('a'.repeat(32), { kind: 'TAKEN', id: ID, epoch: 8, gone: false });
    assert.deepEqual(kinds(destination(ready(), give, DURABLE, take).effects), ['stop', 'journal YIELDED 8']);
    assert.deepEqual(kinds(destination(ready(), give, take, DURABLE).effects), ['stop', 'journal YIELDED 8']);
    const gone = from('a'.repeat(32), { kind: 'TAKEN', id: ID, epoch: 8, gone: true });
    assert.deepEqual(kinds(destination(ready(), give, DURABLE, gone).effects), ['send RUNNING 7']);
  });

  test('an operator takes what is ready; what ran is abandoned only when its guest is gone', () => {
    assert.deepEqual(kinds(destination(ready(), { kind: 'settle', choice: 'take' }).effects), ['journal RUNNING 8']);
    const running = destination(ready(), give, DURABLE);
    assert.throws(() => destination(running, { kind: 'settle', choice: 'abandon' }), TransmigrateError);
    const gone = destination(running, { kind: 'guestGone' }, { kind: 'settle', choice: 'abandon' });
    assert.deepEqual(kinds(gone.effects), ['journal ABANDONED 8']);
    assert.deepEqual(ownerByDestination(running.state), { owner: 'destination', epoch: 7, gone: false });
  });

  test('a source that sends on has not given: what was confirmed is received again (T4)', () => {
    const again = destination(ready(), { kind: 'reopened' });
    assert.equal(again.state.phase, 'receiving');
    assert.deepEqual(kinds(destination(again, give).effects), ['journal ABANDONED 7']);
  });
});
