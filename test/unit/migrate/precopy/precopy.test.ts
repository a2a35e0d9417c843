import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TransmigrateError } from '../../../../src/errors.ts';
import {
  DEFAULT_LIMITS,
  FIRST_ROUND,
  roundEnded,
  type Convergence,
  type Decision,
  type Limits,
} from '../../../../src/migrate/precopy/convergence.ts';
import { predictPauseMs, UNMEASURED, type Costs, type Left } from '../../../../src/migrate/precopy/predict.ts';
import { count, NO_SHARES, turn } from '../../../../src/migrate/precopy/shares.ts';
import {
  newBucket,
  refill,
  setRate,
  spend,
  waitMs,
  type TokenBucket,
} from '../../../../src/migrate/precopy/token-bucket.ts';
import { Unacknowledged } from '../../../../src/migrate/precopy/unacknowledged.ts';
import { random } from '../../../support/random.ts';

const MIB = 2 ** 20;

describe('the bandwidth limit (L3)', () => {
  /** Sends pieces for some virtual time, on a link that takes each at once. @returns bytes. */
  function send(bucket: TokenBucket, fromMs: number, untilMs: number, piece: () => number): [number, TokenBucket] {
    let now = fromMs;
    let sent = 0;
    let state = refill(bucket, now);
    while (now < untilMs) {
      const wait = waitMs(state);
      if (wait > 0) {
        now += wait;
        state = refill(state, now);
        continue;
      }
      const bytes = piece();
      state = spend(state, bytes);
      sent += bytes;
    }
    return [sent, state];
  }

  for (const rate of [100_000, 8 * MIB, 1000 * MIB]) {
    test(`of ${rate} bytes a second holds within 1 % over ten seconds`, () => {
      const generator = random(`bucket ${rate}`);
      const piece = (): number => 1 + generator.below(Math.min(MIB, rate / 50));
      const [sent] = send(newBucket(rate, 5000), 5000, 15_000, piece);
      assert.ok(Math.abs(sent / (10 * rate) - 1) < 0.01, `${sent} of ${10 * rate}`);
    });
  }

  test('holds after it was changed, and what was too much before is made up for', () => {
    const bucket = spend(newBucket(MIB, 0), MIB);
    assert.equal(waitMs(bucket), 1000);
    assert.equal(waitMs(setRate(bucket, 2 * MIB, 500)), 250);
    const [sent] = send(setRate(newBucket(MIB, 0), 4 * MIB, 0), 0, 10_000, () => 4096);
    assert.ok(Math.abs(sent / (40 * MIB) - 1) < 0.01);
  });

  test('after a rest no more than 5 ms of it are caught up, and a clock that goes back gives nothing', () => {
    const rested = refill(newBucket(MIB, 0), 60_000);
    assert.ok(rested.tokens <= MIB / 200);
    assert.equal(refill(rested, 10).tokens, rested.tokens);
    assert.equal(waitMs(spend(newBucket(null, 0), 1e12)), 0);
  });
});

describe('memory and tmem take turns (L1)', () => {
  for (const [ram, tmem, part] of [
    [1000, 1000, 0.5],
    [100_000, 10, 0.75],
    [10, 100_000, 0.25],
    [2000, 1000, 2 / 3],
  ] as const) {
    test(`${ram} and ${tmem} left: memory gets ${part} of the bytes while both have some`, () => {
      let shares = NO_SHARES;
      const sent = { ram: 0, tmem: 0, own: 0 };
      const generator = random(`shares ${ram}`);
      for (let i = 0; i < 20_000; i++) {
        const section = turn(shares, { ram, tmem, own: 0 })!;
        const bytes = 1 + generator.below(1000);
        shares = count(shares, section, bytes, true);
        sent[section] += bytes;
      }
      assert.ok(Math.abs(sent.ram / (sent.ram + sent.tmem) - part) < 0.01, JSON.stringify(sent));
    });
  }

  for (const [left, parts] of [
    [
      { ram: 1000, tmem: 1000, own: 1000 },
      { ram: 1 / 3, tmem: 1 / 3, own: 1 / 3 },
    ],
    [
      { ram: 100_000, tmem: 10, own: 1 },
      { ram: 1 / 2, tmem: 1 / 4, own: 1 / 4 },
    ],
    [
      { ram: 2000, tmem: 4000, own: 10 },
      { ram: 1 / 4, tmem: 1 / 2, own: 1 / 4 },
    ],
    [
      { ram: 5000, tmem: 0, own: 10 },
      { ram: 3 / 4, tmem: 0, own: 1 / 4 },
    ],
  ] as const) {
    test(`with state of one's own, each has a quarter at least: ${JSON.stringify(left)}`, () => {
      let shares = NO_SHARES;
      const sent = { ram: 0, tmem: 0, own: 0 };
      const generator = random(`three ${left.ram}`);
      for (let i = 0; i < 20_000; i++) {
        const section = turn(shares, left)!;
        const bytes = 1 + generator.below(1000);
        shares = count(shares, section, bytes, true);
        sent[section] += bytes;
      }
      const total = sent.ram + sent.tmem + sent.own;
      for (const name of ['ram', 'tmem', 'own'] as const) {
        assert.ok(Math.abs(sent[name] / total - parts[name]) < 0.01, `${name} of ${JSON.stringify(sent)}`);
      }
    });
  }

  test('who is alone gets all, and owes nothing for it', () => {
    assert.equal(turn(NO_SHARES, { ram: 0, tmem: 0, own: 0 }), undefined);
    for (const section of ['ram', 'tmem', 'own'] as const) {
      assert.equal(turn(NO_SHARES, { ram: 0, tmem: 0, own: 0, [section]: 1 }), section);
    }
    const alone = count(NO_SHARES, 'tmem', 1e9, false);
    assert.equal(turn(alone, { ram: 1, tmem: 1, own: 0 }), 'ram');
    assert.equal(turn(count(alone, 'ram', 1, true), { ram: 1, tmem: 1, own: 0 }), 'tmem');
  });
});

const NOTHING: Left = { dirtyBytes: 0, tmemBytes: 0, invalidations: 0, ownBytes: 0, deviceBytes: 0 };
const COSTS: Costs = {
  bytesPerSecond: 100 * MIB,
  scanMs: 10,
  deviceSaveMs: 5,
  deviceLoadMs: 15,
  sourceFsyncMs: 4,
  destinationFsyncMs: 6,
  roundTripMs: 2,
};

describe('the predicted pause (L2)', () => {
  test('counts everything that happens in it', () => {
    const fixed = 10 + 5 + 15 + 4 + 6 + 3;
    assert.equal(predictPauseMs(NOTHING, COSTS), fixed);
    assert.equal(predictPauseMs({ ...NOTHING, dirtyBytes: 10 * MIB }, COSTS), fixed + 100);
    assert.equal(predictPauseMs({ ...NOTHING, tmemBytes: 10 * MIB }, COSTS), fixed + 100);
    assert.equal(predictPauseMs({ ...NOTHING, deviceBytes: 10 * MIB }, COSTS), fixed + 100);
    assert.equal(predictPauseMs({ ...NOTHING, invalidations: 10 * MIB }, COSTS), fixed + 3200);
    for (const cost of ['scanMs', 'deviceSaveMs', 'deviceLoadMs', 'sourceFsyncMs', 'destinationFsyncMs'] as const) {
      assert.equal(predictPauseMs(NOTHING, { ...COSTS, [cost]: COSTS[cost] + 7 }), fixed + 7);
    }
    assert.equal(predictPauseMs({ ...NOTHING, dirtyBytes: 1 }, UNMEASURED), Infinity);
    assert.ok(Number.isFinite(predictPauseMs(NOTHING, UNMEASURED)));
  });
});

describe('convergence (L2)', () => {
  /**
   * Rounds over a guest that dirties so many bytes a second, on a link, in virtual time. What is slowed down dirties
   * less.
   * @returns the decisions.
   */
  function rounds(dirtyRate: number, linkRate: number, limits: Limits, what: 'dirtyBytes' | 'tmemBytes'): Decision[] {
    const most = 200 * MIB;
    let left = most;
    let state: Convergence = FIRST_ROUND;
    const decisions: Decision[] = [];
    const costs = { ...COSTS, bytesPerSecond: linkRate };
    while (decisions.length < 200) {
      const seconds = left / linkRate + 0.01;
      left = Math.min(most, dirtyRate * (1 - state.throttle / 100) * seconds);
      const ended = roundEnded(state, { ...NOTHING, [what]: left }, costs, limits);
      ({ state } = ended);
      decisions.push(ended.decision);
      if (ended.decision !== 'continue' && ended.decision !== 'throttle') break;
    }
    return decisions;
  }

  for (const what of ['dirtyBytes', 'tmemBytes'] as const) {
    test(`${what}: an idle guest is paused after the first round`, () => {
      assert.deepEqual(rounds(0, 100 * MIB, DEFAULT_LIMITS, what), ['pause']);
    });

    test(`${what}: a guest slower than the link needs some rounds, and is not slowed down`, () => {
      const decisions = rounds(50 * MIB, 100 * MIB, DEFAULT_LIMITS, what);
      assert.ok(decisions.length > 1 && !decisions.includes('throttle'), decisions.join(' '));
      assert.equal(decisions.at(-1), 'pause');
    });

    test(`${what}: a guest faster than the link is slowed down until it fits`, () => {
      const decisions = rounds(150 * MIB, 100 * MIB, DEFAULT_LIMITS, what);
      assert.ok(decisions.includes('throttle'));
      assert.equal(decisions.at(-1), 'pause');
    });

    test(`${what}: when that may not be, it is given up, or forced`, () => {
      const limits = { ...DEFAULT_LIMITS, throttlePercent: 0 };
      assert.equal(rounds(500 * MIB, 100 * MIB, limits, what).at(-1), 'giveUp');
      assert.equal(rounds(500 * MIB, 100 * MIB, { ...limits, force: true }, what).at(-1), 'force');
      const little = { ...DEFAULT_LIMITS, throttlePercent: 30 };
      const decisions = rounds(5000 * MIB, 100 * MIB, little, what);
      assert.equal(decisions.filter((decision) => decision === 'throttle').length, 2);
      assert.equal(decisions.at(-1), 'giveUp');
    });
  }

  test('a downtime that nothing could meet is given up at once, and rounds have an end', () => {
    const ended = roundEnded(FIRST_ROUND, NOTHING, COSTS, { ...DEFAULT_LIMITS, downtimeMs: 10 });
    assert.equal(ended.decision, 'giveUp');
    const limits = { ...DEFAULT_LIMITS, downtimeMs: 1, rounds: 5 };
    let state = FIRST_ROUND;
    const decisions: Decision[] = [];
    for (let left = 1e9; decisions.length < 5; left *= 0.8) {
      const step = roundEnded(state, { ...NOTHING, dirtyBytes: left }, COSTS, limits);
      ({ state } = step);
      decisions.push(step.decision);
    }
    assert.deepEqual(decisions, ['continue', 'continue', 'continue', 'continue', 'giveUp']);
    assert.equal(state.throttle, 0, 'given up at full speed');
  });
});

describe('what is not acknowledged (M2, T4)', () => {
  test('is what must be sent again after a cut, and nothing else', () => {
    const generator = random('unacknowledged');
    for (let run = 0; run < 200; run++) {
      const pages = 1 + generator.below(200);
      const sent = new Unacknowledged(pages, 4);
      const waiting: { seal: number; pages: Set<number>; step: number }[] = [];
      let open = new Set<number>();
      let step = 0;
      let held = 0;
      let seals = 0;
      for (let i = 0; i < 60; i++) {
        const what = generator.below(4);
        if (what < 2) {
          const first = generator.below(pages);
          const many = Math.min(1 + generator.below(5), pages - first);
          sent.sent(first, many);
          for (let page = first; page < first + many; page++) open.add(page);
          sent.sentStep('tmem', ++step);
          if (step % 3 === 0) sent.sentStep('own', step);
        } else if (what === 2 && sent.maySeal) {
          sent.sealed(++seals, `chain ${seals}`);
          waiting.push({ seal: seals, pages: open, step });
          open = new Set();
        } else if (what === 3 && waiting.length > 0) {
          const { seal, step: until } = waiting.splice(0, 1 + generator.below(waiting.length)).at(-1)!;
          sent.acknowledge(seal, `chain ${seal}`);
          assert.equal(sent.heldStep('tmem'), until);
          assert.equal(sent.heldStep('own'), until - (until % 3));
          held = until;
        }
        assert.equal(sent.waiting, waiting.length);
        assert.equal(sent.maySeal, waiting.length < 4);
      }
      const lost = new Set([...open, ...waiting.flatMap((each) => [...each.pages])]);
      assert.deepEqual(
        [...sent.lost()],
        [...lost].toSorted((a, b) => a - b),
      );
      assert.equal(sent.heldStep('tmem'), held);
      assert.deepEqual([...sent.lost()], [], 'once');
    }
  });

  test('another chain, and a seal that nobody waits for, are errors', () => {
    const sent = new Unacknowledged(8, 4);
    for (let seal = 1; seal <= 4; seal++) sent.sealed(seal, `${seal}`);
    assert.throws(() => sent.sealed(5, '5'), RangeError);
    const code = (wanted: string) => (error: unknown) => error instanceof TransmigrateError && error.code === wanted;
    assert.throws(() => sent.acknowledge(2, 'x'), code('CHAIN_VECTOR'));
    sent.acknowledge(2, '2');
    assert.throws(() => sent.acknowledge(1, '1'), code('RECORD_ORDER'));
    assert.throws(() => sent.acknowledge(9, '9'), code('RECORD_ORDER'));
  });
});
