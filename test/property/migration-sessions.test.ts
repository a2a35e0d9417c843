/**
 * Whatever a peer says, in whatever order, a session takes: it throws nothing, asks its runner for nothing that makes
 * no sense, and its guest runs only where it may (H1, H2).
 */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { TransmigrateError } from '../../src/errors.ts';
import { destinationMayRun } from '../../src/migrate/handover/destination.ts';
import { sourceMayRun } from '../../src/migrate/handover/source.ts';
import { encodeMessage, type Message } from '../../src/migrate/protocol/messages.ts';
import { stepReceiver } from '../../src/migrate/session/destination.ts';
import { stepSession } from '../../src/migrate/session/source.ts';
import type { SourceSession, SourceSessionEvent } from '../../src/migrate/session/source-state.ts';
import { DESTINATION_IDENTITY, helloOf, HOST, OFFER, PROBE, SECRET, SOURCE_IDENTITY } from '../support/migration.ts';
import { ID, Pair } from '../support/session-pair.ts';
import { property } from './seeded.ts';

type WithoutTime<E> = E extends unknown ? Omit<E, 'nowMs'> : never;

const hash = fc.constantFrom('0', 'a', 'f').map((digit) => digit.repeat(64));
const epoch = fc.constantFrom(1, 6, 7, 7, 7, 8, 9);
const id = fc.constantFrom(ID, ID, ID, '2'.repeat(32));
const gone = fc.boolean();
const channels = fc.array(fc.record({ seal: fc.nat(3), chain: hash }), { minLength: 1, maxLength: 2 });

function helloFrom(identity: string): fc.Arbitrary<Message> {
  return fc.record({
    kind: fc.constant('HELLO' as const),
    id: fc.constant(ID),
    purpose: fc.constantFrom('migrate' as const, 'resume' as const, 'ask' as const, 'check' as const),
    leg: fc.constantFrom(1, 2, 3),
    protocol: fc.constantFrom({ least: 1, most: 1 }, { least: 1, most: 1 }, { least: 2, most: 9 }),
    host: fc.constantFrom(identity, identity, 'e'.repeat(32)).map((each) => helloOf(each).host),
    features: fc.constant<string[]>([]),
    codecs: fc.constantFrom<string[][]>(['raw', 'zstd'], ['zstd'], ['raw']),
    records: fc.constant<string[]>([]),
    limits: fc.constant({ channels: 1, sealBytes: 65_536, unacknowledgedSeals: 4 }),
    resumable: fc.boolean(),
  });
}

const messages: fc.Arbitrary<Message> = fc.oneof(
  helloFrom(DESTINATION_IDENTITY),
  helloFrom(SOURCE_IDENTITY),
  fc.constant<Message>(OFFER),
  fc.record({
    kind: fc.constant('ACCEPT' as const),
    epoch,
    codec: fc.constantFrom('zstd', 'raw'),
    features: fc.constant<string[]>([]),
    channels: fc.constantFrom(1, 16),
    secret: hash,
    reserved: fc.constant({ memoryBytes: 1, tmemBytes: 1, tmemSlots: 0, name: 'one' }),
    measured: fc.constant({ deviceLoadMs: 1, fsyncMs: null }),
    notes: fc.constant<string[]>([]),
  }),
  fc.constant<Message>({ kind: 'REFUSE', reasons: [{ code: 'ANY', text: 'why' }] }),
  fc.record({ kind: fc.constant('RESUME' as const), epoch, secret: fc.constantFrom(SECRET, 'e'.repeat(64)) }),
  fc.record({ kind: fc.constant('HOLDS' as const), epoch, leg: fc.constantFrom(1, 2), channels, agreement: hash }),
  fc.record({ kind: fc.constant('FINAL' as const), epoch, channels }),
  fc.record({ kind: fc.constant('FAILED' as const), epoch, error: fc.constant({ code: 'X', message: 'y' }) }),
  fc.record({
    kind: fc.constant('CONFIRM' as const),
    id,
    epoch,
    chains: fc.array(hash, { minLength: 1, maxLength: 2 }),
    agreement: hash,
  }),
  fc.record({
    kind: fc.constantFrom('GIVEN' as const, 'KEPT' as const, 'DONE' as const, 'ABANDONED' as const, 'YIELDED' as const),
    id,
    epoch,
  }),
  fc.record({ kind: fc.constantFrom('RUNNING' as const, 'TAKEN' as const), id, epoch, gone }),
  fc.record({ kind: fc.constant('OWNER' as const), id, machine: fc.constant(null) }),
);

const said = messages.map((message) => {
  const body = encodeMessage(message);
  if (message.kind !== 'HELLO') return { kind: 'message', message, body } as const;
  const { protocol, host } = message;
  return { kind: 'hello', head: { protocol, host }, message: protocol.least > 1 ? null : message, body } as const;
});

const failure = { code: 'INTERNAL', message: 'something' };
const common = fc.constantFrom(
  { kind: 'connected' } as const,
  { kind: 'connected' } as const,
  { kind: 'disconnected' } as const,
  { kind: 'tick' } as const,
  { kind: 'cancel' } as const,
  { kind: 'failed', failure } as const,
  { kind: 'guestGone' } as const,
  { kind: 'settle', choice: 'take' } as const,
  { kind: 'settle', choice: 'abandon' } as const,
);
const written = fc.constantFrom('durable', 'durable', 'durable', 'notWritten', 'doubtful').map((end) => {
  return { kind: 'written', end } as const;
});

const left = { dirtyBytes: 4096, tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 10 };
/** What a runner answers to what was asked of it. */
const ANSWERS: Readonly<Record<NonNullable<SourceSession['busy']>, WithoutTime<SourceSessionEvent>>> = {
  work: { kind: 'worked', section: 'ram', bytes: 4096, pages: 1, invalidations: 0, left: { ram: 0, tmem: 0, own: 0 } },
  seal: { kind: 'sealed', waitingSeals: 1 },
  endRound: { kind: 'roundEnded', left, scanMs: 1 },
  pause: { kind: 'paused', left },
  finish: { kind: 'finished', channels: [{ seal: 3, chain: 'a'.repeat(64) }] },
  goBack: { kind: 'resumed', left },
};

/** A step, which may refuse a `settle`, and nothing else. */
function step<S, E>(state: S, event: E & { readonly kind: string }, take: (state: S, event: E) => S): S {
  try {
    return take(state, event);
  } catch (error) {
    const settle = event.kind === 'settle' && error instanceof TransmigrateError && error.code === 'MACHINE_STATE';
    if (settle) return state;
    throw error;
  }
}

/** How far the migration has come before anything else is said. */
const begin = fc.constantFrom(
  'source connect',
  '> OFFER',
  'source work',
  'source pause',
  '> FINAL',
  '< CONFIRM',
  'source journal GIVEN',
  '> GIVEN',
  'destination journal RUNNING',
  'destination report',
  'source journal DONE',
  '> DONE',
);

const sourceEvents = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: said },
    { weight: 2, arbitrary: common },
    { weight: 5, arbitrary: fc.constant({ kind: 'answer' } as const) },
    { weight: 3, arbitrary: written },
    { weight: 1, arbitrary: fc.constant({ kind: 'acknowledged', waitingSeals: 0 } as const) },
  ),
  { maxLength: 60, size: 'max' },
);

const sourceRuns = fc.record({ from: begin, events: sourceEvents });

property('a source takes whatever a destination says', 800, sourceRuns, ({ from: place, events }) => {
  let { source: state, nowMs } = new Pair().run(place);
  let writing = state.handover !== null && state.handover.writing !== null && !state.handover.stuck;
  for (const each of events) {
    nowMs += 400;
    const event = each.kind === 'answer' ? (state.busy === null ? null : ANSWERS[state.busy]) : each;
    if (event === null || (event.kind === 'written' && !writing)) continue;
    if (event.kind === 'written') writing = false;
    state = step(state, { ...event, nowMs }, (before, given) => {
      const { state: next, effects } = stepSession(before, given);
      for (const effect of effects) {
        if (effect.kind === 'journal') {
          assert.ok(!writing, 'one record at a time');
          writing = true;
        }
        if (effect.kind === 'resume') assert.notEqual(sourceMayRun(next.handover!), undefined, 'it may go on');
        if (effect.kind === 'free') assert.equal(next.handover!.copy, false);
        if (effect.kind === 'send') encodeMessage(effect.message);
        if (effect.kind === 'wake') assert.ok(Number.isFinite(effect.atMs));
      }
      return next;
    });
  }
});

const destinationEvents = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: said },
    { weight: 2, arbitrary: common },
    { weight: 3, arbitrary: written },
    { weight: 2, arbitrary: fc.constant({ kind: 'loaded' } as const) },
    { weight: 2, arbitrary: fc.constant({ kind: 'stateCame', chains: ['a'.repeat(64)] } as const) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('applied' as const), channel: fc.nat(1), seal: fc.nat(3), chain: hash }),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(HOST, HOST, { ...HOST, closed: 'no' }).map((host) => {
        const measured = { deviceLoadMs: null, fsyncMs: null };
        return { kind: 'probed', host, probe: PROBE, measured, secret: SECRET } as const;
      }),
    },
  ),
  { maxLength: 60, size: 'max' },
);

const destinationRuns = fc.record({ from: begin, events: destinationEvents });

property('a destination takes whatever a source says', 800, destinationRuns, ({ from: place, events }) => {
  let { destination: state, nowMs } = new Pair().run(place);
  let writing = state.handover !== null && state.handover.writing !== null && !state.handover.stuck;
  for (const each of events) {
    nowMs += 400;
    if (each.kind === 'written' && !writing) continue;
    if (each.kind === 'written') writing = false;
    state = step(state, { ...each, nowMs }, (before, given) => {
      const { state: next, effects } = stepReceiver(before, given);
      for (const effect of effects) {
        if (effect.kind === 'journal') {
          assert.ok(!writing, 'one record at a time');
          writing = true;
        }
        if (effect.kind === 'run') assert.notEqual(destinationMayRun(next.handover!), undefined, 'it may run');
        if (effect.kind === 'send') encodeMessage(effect.message);
      }
      return next;
    });
  }
});
