import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Failure } from '../../../../src/migrate/session/effects.ts';
import { beginCheck, stepCheck, type CheckEvent } from '../../../../src/migrate/session/check.ts';
import { superseded } from '../../../../src/migrate/session/superseded.ts';
import { OFFER, helloOf, HOST, SOURCE_IDENTITY } from '../../../support/migration.ts';
import { ID, Pair } from '../../../support/session-pair.ts';

const MIB = 2 ** 20;
const WORK = /work|seal|endRound|acknowledge|connect|report/;

/** The log without what comes often. */
function story(pair: Pair): string[] {
  return pair.log.filter((entry) => !WORK.test(entry));
}

function failureOf(pair: Pair): string | undefined {
  return (pair.sourceFailure as Failure | null | undefined)?.code;
}

/** The guest was left alone: it was neither paused nor slowed down, and no state was read or sent. */
function untouched(pair: Pair): void {
  for (const effect of ['pause', 'throttle', 'work', 'finish', 'free', 'stop']) {
    assert.equal(pair.count(`source ${effect}`), 0, effect);
  }
}

describe('a migration, both sides', () => {
  test('in the order of the specification', () => {
    const pair = new Pair().run();
    assert.deepEqual(story(pair), [
      '> HELLO',
      '< HELLO',
      'source journal BEGUN',
      '> OFFER',
      'destination probe',
      'destination reserve',
      '< ACCEPT',
      'source pause',
      'source finish',
      '> FINAL',
      'destination load',
      '< CONFIRM',
      'source journal GIVEN',
      '> GIVEN',
      'destination journal RUNNING',
      'destination run',
      '< RUNNING',
      'source journal DONE',
      'source free',
      '> DONE',
      'source hangUp',
      'source ended',
    ]);
    assert.equal(pair.sourceFailure, null);
    const { progress } = pair.source;
    assert.equal(progress.ramBytes, OFFER.memory.bytes);
    assert.equal(progress.tmemBytes, OFFER.tmem!.persistent.carriedBytes);
  });

  test('memory and tmem share the first round (L1)', () => {
    const pair = new Pair({ hold: ['source endRound'] });
    const shares: number[] = [];
    for (let i = 0; i < 400 && pair.source.left.tmem >= 0; i++) {
      pair.run('source work');
      pair.log.push('next');
      if (pair.source.left.tmem > 0 && pair.source.left.ram > 0) {
        shares.push(pair.source.progress.tmemBytes / (pair.source.progress.ramBytes + pair.source.progress.tmemBytes));
      }
    }
    assert.ok(shares.length > 4 && shares.at(-1)! >= 0.2, String(shares));
  });

  test('a guest that changes things has more rounds, and the limits may change meanwhile (L3)', () => {
    const pair = new Pair({ dirtyBytes: 20 * MIB, limits: { throttlePercent: 0, downtimeMs: 100 } });
    pair.run('source endRound');
    assert.equal(pair.source.phase, 'rounds');
    pair.tellSource({ kind: 'set', limits: { ...pair.source.limits, downtimeMs: 60_000 } });
    pair.run();
    assert.equal(pair.sourceFailure, null);
    assert.ok(pair.source.progress.pauseMs! > 100);
  });

  test('one that does not converge is slowed down, then given up at full speed', () => {
    const pair = new Pair({ dirtyBytes: 100 * MIB, limits: { throttlePercent: 50 } }).run();
    assert.equal(failureOf(pair), 'NOT_CONVERGING');
    assert.equal(pair.count('source throttle'), 4, '20, 45, 50, and back to 0');
    assert.equal(pair.count('source pause'), 0);
    assert.equal(pair.source.throttle, 0);
    assert.equal(pair.destination.handover?.phase, 'discarded');
  });

  test('or forced', () => {
    const limits = { throttlePercent: 0, force: true };
    assert.equal(new Pair({ dirtyBytes: 100 * MIB, limits }).run().sourceFailure, null);
  });

  test('one that is paused has one round, whatever the limits say, and is not slowed down', () => {
    const limits = { downtimeMs: 1, bytesPerSecond: null, throttlePercent: 50 };
    const pair = new Pair({ dirtyBytes: 100 * MIB, limits, offer: { paused: true } }).run();
    assert.equal(pair.sourceFailure, null);
    assert.deepEqual([pair.count('source endRound'), pair.count('source throttle')], [1, 0]);
    assert.equal(pair.destination.handover?.phase, 'running');
  });

  test('no more seals than may wait (S14, stream 5.5)', () => {
    const pair = new Pair({ hold: ['destination acknowledge'] }).run();
    assert.equal(pair.source.waitingSeals, 4);
    assert.equal(pair.source.phase, 'rounds');
    const { sealBytes } = helloOf(SOURCE_IDENTITY).limits;
    assert.ok(pair.source.progress.ramBytes + pair.source.progress.tmemBytes <= 4 * (sealBytes + MIB));
    const before = pair.count('source work');
    pair.tellSource({ kind: 'acknowledged', waitingSeals: 3 });
    pair.run();
    assert.ok(pair.count('source work') > before, 'it goes on with the first acknowledgement');
  });

  test('the end waits until both of its seals are allowed', () => {
    const pair = new Pair({ hold: ['destination acknowledge'], offer: { memory: { ...OFFER.memory, bytes: MIB } } });
    pair.run('source pause');
    pair.tellSource({ kind: 'sealed', waitingSeals: 3 });
    pair.run();
    assert.equal(pair.source.phase, 'final');
    assert.equal(pair.count('source finish'), 0);
    pair.tellSource({ kind: 'acknowledged', waitingSeals: 2 });
    assert.equal(pair.count('source finish'), 1);
  });

  test('a bandwidth limit holds for the pause too, and so it is predicted', () => {
    const limits = { downtimeMs: 2000, throttlePercent: 0 };
    const dirtyBytes = 4 * MIB;
    assert.equal(new Pair({ dirtyBytes, limits }).run().sourceFailure, null);
    const pair = new Pair({ dirtyBytes, limits: { ...limits, bytesPerSecond: MIB } });
    for (let step = 0; step < 400 && pair.sourceFailure === undefined; step++) {
      // What the connection itself takes is much more.
      pair.tellSource({ kind: 'measured', costs: { bytesPerSecond: 1000 * MIB } });
      pair.run().wait(1000);
    }
    assert.equal(failureOf(pair), 'NOT_CONVERGING');
    assert.ok(pair.source.progress.pauseMs! >= 4000, String(pair.source.progress.pauseMs));
  });

  test('a bandwidth limit is kept by waiting', () => {
    const pair = new Pair({ limits: { bytesPerSecond: MIB, downtimeMs: 1e6 } }).run();
    const begin = pair.nowMs;
    const sent = (): number => pair.source.progress.ramBytes + pair.source.progress.tmemBytes;
    const before = sent();
    pair.wait(10_000);
    assert.ok(Math.abs((sent() - before) / (pair.nowMs - begin) / (MIB / 1000) - 1) < 0.11, `${sent() - before}`);
  });
});

describe('refusals (N1)', () => {
  test('every reason reaches the source, and the guest is untouched', () => {
    const pair = new Pair({
      host: { tmem: { ...HOST.tmem, enabled: false }, names: ['one'], freeMemoryBytes: 0 },
    }).run();
    const failure = pair.sourceFailure as Failure;
    assert.equal(failure.code, 'MIGRATION_REFUSED');
    assert.deepEqual(
      failure.reasons?.map(({ code }) => code),
      ['NAME', 'MEMORY', 'TMEM_DISABLED'],
    );
    untouched(pair);
    assert.equal(pair.count('destination reserve'), 0);
    assert.equal(pair.source.handover?.phase, 'kept');
  });

  test('a codec that the other does not know is one reason among all', () => {
    const host = { codecs: ['raw'], names: ['one'] };
    const pair = new Pair({ destinationHello: { codecs: ['raw'] }, host }).run();
    assert.deepEqual(
      (pair.sourceFailure as Failure).reasons?.map(({ code }) => code),
      ['NAME', 'CODEC'],
    );
    untouched(pair);
  });

  test('a codec that is granted and was not said to be known is out of order', () => {
    const pair = new Pair({ destinationHello: { codecs: ['raw'] } }).run();
    assert.equal((pair.sourceFailure as Failure).code, 'PROTOCOL_ORDER');
    untouched(pair);
  });

  test('hosts without a common version part, whoever is older (N3)', () => {
    const newer = new Pair({ sourceHello: { protocol: { least: 2, most: 3 } } }).run();
    assert.equal(newer.count('< REFUSE'), 1);
    assert.equal(newer.destination.phase, 'ended');
    const older = new Pair({ destinationHello: { protocol: { least: 2, most: 2 } } }).run();
    assert.deepEqual(
      (older.destination.failure as Failure).reasons?.map(({ code }) => code),
      ['PROTOCOL'],
    );
    for (const pair of [newer, older]) {
      untouched(pair);
      const { code, reasons } = pair.sourceFailure as Failure;
      assert.deepEqual([code, reasons?.map((reason) => reason.code)], ['MIGRATION_REFUSED', ['PROTOCOL']]);
    }
  });

  test('a newer peer that still speaks the older version is understood', () => {
    const pair = new Pair({ destinationHello: { protocol: { least: 1, most: 4 } } }).run();
    assert.equal(pair.sourceFailure, null);
    assert.equal(pair.source.common?.protocol, 1);
  });

  test('a check says the same, and holds nothing back', () => {
    const begun = beginCheck({ id: ID, hello: helloOf(SOURCE_IDENTITY), offer: OFFER }, 0);
    const peer = helloOf('b'.repeat(32));
    const said = (events: readonly CheckEvent[]): ReturnType<typeof stepCheck> =>
      events.reduce((step, event) => stepCheck(step.state, event), begun);
    const hello = [{ kind: 'connected' }, { kind: 'hello', head: peer }] as const;
    assert.deepEqual(said(hello).effects, [{ kind: 'send', message: OFFER }]);
    const reasons = [{ code: 'MEMORY', text: 'little' }];
    const refused = said([...hello, { kind: 'message', message: { kind: 'REFUSE', reasons } }]);
    assert.deepEqual(refused.state.reasons, reasons);
    assert.deepEqual(refused.effects.at(-1), { kind: 'ended', failure: null });
    const old = said([{ kind: 'connected' }, { kind: 'hello', head: { ...peer, protocol: { least: 9, most: 9 } } }]);
    assert.deepEqual(
      old.state.reasons.map(({ code }) => code),
      ['PROTOCOL'],
    );
    assert.equal(
      (said([{ kind: 'disconnected' }]).effects.at(-1) as { failure: Failure }).failure.code,
      'HOST_UNREACHABLE',
    );
  });

  test('an earlier attempt of the same source and machine ends with the next', () => {
    const [machine, peer] = [OFFER.machine.uuid, SOURCE_IDENTITY];
    const held = [
      { phase: 'ready', machine, peer, epoch: 5 },
      { phase: 'running', machine, peer, epoch: 5 },
      { phase: 'receiving', machine, peer, epoch: 7 },
      { phase: 'receiving', machine, peer: 'c'.repeat(32), epoch: 5 },
      { phase: 'ready', machine: HOST.machines[0], peer, epoch: 5 },
    ] as const;
    assert.deepEqual(superseded(held, OFFER, peer), [held[0]]);
  });
});

describe('what fails before GIVEN leaves the guest as it was (H7)', () => {
  for (const until of ['> HELLO', '> OFFER', 'source work', 'source pause', 'source finish', '> FINAL', '< CONFIRM']) {
    test(`cancelled at ${until}`, () => {
      const pair = new Pair().run(until);
      pair.tellSource({ kind: 'cancel' });
      assert.equal(failureOf(pair), 'CANCELLED');
      if (pair.source.handover !== null) {
        assert.equal(pair.source.handover.phase, 'kept');
        assert.equal(pair.count('source resume'), 1);
      }
      pair.run();
      assert.equal(pair.count('destination run'), 0);
      assert.ok([undefined, 'discarded'].includes(pair.destination.handover?.phase));
    });
  }

  test('after GIVEN nothing can be cancelled', () => {
    const pair = new Pair().run('source journal GIVEN');
    pair.tellSource({ kind: 'cancel' });
    assert.equal(pair.run().sourceFailure, null);
  });

  test('the destination fails while it loads', () => {
    const pair = new Pair({ hold: ['destination load'] }).run();
    pair.tellDestination({ kind: 'failed', failure: { code: 'DEVICE_SHAPE', message: 'not this one' } });
    pair.run();
    assert.equal(failureOf(pair), 'DEVICE_SHAPE');
    assert.equal(pair.source.handover?.phase, 'kept');
  });

  test('a message that may not come ends it', () => {
    const pair = new Pair().run('source work');
    pair.tellSource({ kind: 'message', message: OFFER, body: new Uint8Array(0) });
    assert.equal(failureOf(pair), 'PROTOCOL_ORDER');
    const other = new Pair().run('source work');
    const message = { kind: 'REFUSE', reasons: [{ code: 'NAME', text: 'late' }] } as const;
    other.tellDestination({
      kind: 'message',
      message: { ...message, reasons: [...message.reasons] },
      body: new Uint8Array(0),
    });
    assert.equal(other.destination.handover?.phase, 'discarded');
  });

  test('nobody answers', () => {
    const pair = new Pair({ hold: ['destination probe'] }).run();
    pair.wait(31_000);
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    untouched(pair);
  });

  test('no CONFIRM comes, and the guest does not stand still for ever', () => {
    const pair = new Pair({ hold: ['destination load'] }).run();
    pair.wait(20_000);
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    assert.equal(pair.count('source resume'), 1);
  });
});

describe('a cut connection (T4)', () => {
  test('goes on where it was, over another', () => {
    const pair = new Pair().run('source seal').run('source work').cut();
    pair.wait(600).run();
    assert.equal(pair.sourceFailure, null);
    assert.equal(pair.count('< HOLDS'), 1);
    assert.equal(pair.count('source goBack'), 1);
    assert.equal(pair.count('< ACCEPT'), 1);
    assert.ok(pair.source.progress.ramBytes < 1.5 * OFFER.memory.bytes, 'not everything again');
  });

  test('at the end of the first round: the bandwidth is known from what was sent before', () => {
    const pair = new Pair({ hold: ['source endRound'] }).run();
    assert.equal(pair.source.costs.bytesPerSecond, 0);
    pair.cut().wait(600).run();
    pair.tellSource({
      kind: 'resumed',
      left: { dirtyBytes: 0, tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 10 },
    });
    pair.tellSource({
      kind: 'roundEnded',
      left: { dirtyBytes: 0, tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 10 },
      scanMs: 1,
    });
    assert.equal(pair.source.phase, 'pausing');
  });

  test('also before anything came, several times, and in the pause', () => {
    const pair = new Pair().run('source work').cut();
    pair.wait(600).run('> RESUME').cut();
    pair.wait(600).run('< HOLDS').cut();
    pair.wait(600).run('source finish').cut();
    pair.wait(600).run('> FINAL').cut();
    pair.wait(600).run();
    assert.equal(pair.sourceFailure, null);
    assert.equal(pair.count('source pause'), 1, 'the guest stood still once');
  });

  test('after the confirmation: what was confirmed is sent again and given once', () => {
    const pair = new Pair().run('< CONFIRM').cut();
    assert.equal(pair.destination.handover?.phase, 'ready');
    pair.wait(600).run();
    assert.equal(pair.sourceFailure, null);
    assert.equal(pair.count('source journal GIVEN'), 1);
  });

  test('after GIVEN: it is asked until somebody answers', () => {
    const pair = new Pair().run('> GIVEN').cut();
    assert.equal(pair.source.phase, 'asking');
    pair.wait(1200);
    assert.equal(pair.sourceFailure, null);
    assert.equal(pair.count('destination journal RUNNING'), 1);
  });

  test('over stdio it ends (H4)', () => {
    const pair = new Pair({ sourceHello: { resumable: false } }).run('source work').cut();
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    assert.equal(pair.destination.handover?.phase, 'discarded');
  });

  test('a destination that was started again does not go on; the source does', () => {
    const pair = new Pair().run('source seal').cut().forget();
    pair.wait(600).run();
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    assert.equal(pair.source.handover?.phase, 'kept');
    const given = new Pair().run('> GIVEN').cut().forget();
    given.wait(1200);
    assert.equal(given.count('destination journal ABANDONED'), 1);
    assert.equal(given.source.handover?.phase, 'taken');
  });

  test('another host in its place is not believed', () => {
    const pair = new Pair().run('source seal').cut().forget('c'.repeat(32));
    pair.wait(600).run();
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    const given = new Pair().run('> GIVEN').cut().forget('c'.repeat(32));
    given.wait(1200);
    assert.equal(given.source.handover?.phase, 'given');
  });

  test('one that does not come back is given up, in time', () => {
    const pair = new Pair().run('source work').cut();
    pair.refuseConnections = true;
    pair.wait(59_000);
    assert.equal(pair.sourceFailure, undefined);
    pair.wait(2000);
    assert.equal(failureOf(pair), 'MIGRATION_LOST');
    const still = new Pair().run('source finish').cut();
    still.refuseConnections = true;
    still.wait(7000);
    assert.equal(failureOf(still), 'MIGRATION_LOST');
  });
});
