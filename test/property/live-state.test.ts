/**
 * A machine whose guest goes on while it is sent: memory, tmem and devices arrive as they are at the pause, whatever
 * the guest does between two steps, wherever a round is left, and wherever connections are cut (M2, M3, T3, T4, L1).
 */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { IncomingTmem, TmemEngine, TmemLog, tmemStatistics } from '../../src/index.ts';
import { DevicesLoader } from '../../src/migrate/section/devices.ts';
import { LiveDevices } from '../../src/migrate/section/live-devices.ts';
import { LiveMemory } from '../../src/migrate/section/live-memory.ts';
import { LiveTmem } from '../../src/migrate/section/live-tmem.ts';
import { takerOf, type LiveState } from '../../src/migrate/section/live.ts';
import { MemoryLoader } from '../../src/migrate/section/memory.ts';
import { TmemLoader } from '../../src/migrate/section/tmem.ts';
import { takeTurns } from '../../src/migrate/section/turns.ts';
import { FAKE_PAGE, FakeMachine } from '../support/host/fake-machine.ts';
import { Leg } from '../support/migrate/leg.ts';
import { walk } from '../support/migrate/walk.ts';
import { random } from '../support/random.ts';
import { property } from './seeded.ts';
import { handleOf, pageOf } from './tmem-operations.ts';

const PAGES = 200;
const KINDS = ['zero', 'random', 'repeating', 'half', 'tail', 'head'] as const;

/** What pools, with flags and pages, a client has. Gets of persistent pages leave them there. */
function contents(engine: TmemEngine): object {
  const pools = tmemStatistics(engine).clients.find(({ client }) => client === 1)?.pools ?? [];
  const out = new Uint8Array(4096);
  return pools.map(({ slot, flags, pages }) => {
    const found: string[] = [];
    for (let object = 0; object < 8; object++) {
      for (let index = 0; index < 12; index++) {
        if (engine.get(1, slot, handleOf({ object, index }), out) !== 1) continue;
        found.push(`${object}/${index}: ${Buffer.from(out).toString('base64')}`);
      }
    }
    assert.equal(found.length, pages);
    return { slot, flags, found };
  });
}

async function migrate(seed: number, channels: number): Promise<void> {
  const generator = random(`live ${seed}`);
  const engine = new TmemEngine({ limitBytes: 4 * 2 ** 20, client: { compress: true } });
  engine.addClient(1);
  const source = new FakeMachine({ pages: PAGES, tmem: null }).fill(`memory ${seed}`);
  const guest = (): void => {
    for (let n = generator.below(12); n > 0; n--) {
      const at = generator.below(PAGES) * FAKE_PAGE;
      if (generator.below(3) === 0) source.memory.fill(0, at, at + FAKE_PAGE);
      else source.memory[at + generator.below(FAKE_PAGE)] = generator.below(256);
    }
    for (let n = generator.below(12); n > 0; n--) {
      const slot = generator.below(3);
      const place = handleOf({ object: generator.below(8), index: generator.below(12) });
      const what = generator.below(12);
      if (what === 0) engine.newPool(1, 0x0100_0001, new Uint8Array(16));
      else if (what === 1 && generator.below(3) === 0) engine.destroyPool(1, slot);
      else if (what === 2) engine.flushObject(1, slot, place);
      else if (what === 3) engine.flushPage(1, slot, place);
      else engine.put(1, slot, place, pageOf({ kind: generator.pick(KINDS), seed: generator.below(30), length: 4096 }));
    }
  };
  for (let n = 0; n < 20; n++) guest();
  await source.grant();
  await source.resume();

  const target = new FakeMachine({ pages: PAGES, tmem: null });
  const elsewhere = new TmemEngine({ limitBytes: 4 * 2 ** 20 });
  const loaders = [
    new MemoryLoader(target),
    new DevicesLoader(target, 100, new Uint8Array(2 ** 18)),
    new TmemLoader(() => new IncomingTmem(elsewhere, 1, {})),
  ] as const;
  // Its memory may be there before it comes: too little of it, or enough.
  const expected = generator.pick([0, 4, 90]);
  if (expected > 0) loaders[1].expect(expected);

  let clock = 0;
  const memory = new LiveMemory(source, () => (clock += 5));
  const tmem = new LiveTmem(
    () => new TmemLog(engine, 1, { channels }),
    () => ({ pages: 0, storedBytes: 0, needs: {} }),
  );
  const devices = new LiveDevices(source, 8);
  const states: readonly LiveState[] = [memory, tmem, devices];
  for (const state of states) await state.begin();

  const round = async (leg: Leg, last: boolean): Promise<void> => {
    const takers = states.map((state) => takerOf(state, leg.output, last));
    const leave = !last && generator.below(4) === 0 ? generator.below(6) : Number.POSITIVE_INFINITY;
    const steps = takeTurns(takers, (waiting) => generator.below(waiting.length));
    await walk(steps, async (_bytes, step) => {
      if (!last) guest();
      if (generator.below(3) === 0) await leg.seal(generator.below(channels));
      return step < leave;
    });
    if (!last) await leg.roundEnd();
  };

  let paused = false;
  for (let legs = generator.below(3); ; legs--) {
    const leg = await Leg.open(channels);
    for (let rounds = paused ? 0 : generator.below(4); rounds > 0; rounds--) await round(leg, false);
    if (legs > 0) {
      // Cut, now and then with the guest paused and all of it on the way.
      if (generator.below(3) === 0) {
        if (!paused) await source.pause();
        paused = true;
        await round(leg, true);
      }
      const seals = leg.writers.map(() => generator.below(12));
      const lost = await leg.arrive(loaders, seals);
      for (const state of states) await state.resend(lost(state.name));
      continue;
    }
    if (!paused) await source.pause();
    await round(leg, true);
    await leg.end();
    await leg.arrive(loaders);
    break;
  }

  assert.equal(tmem.left().bytes, 0);
  for (const state of states) await state.end();
  for (const state of states) await state.end();
  assert.equal(source.scanned, false);
  assert.equal(tmemStatistics(engine).readers, 0);
  for (const loader of loaders) await loader.complete();
  assert.ok(Buffer.from(target.memory).equals(source.memory), 'memory');
  assert.deepEqual(loaders[1].state().bytes, source.device);
  loaders[2].incoming!.run();
  assert.deepEqual(contents(elsewhere), contents(engine));
  await source.close();
  await target.close();
}

property(
  'a machine that runs arrives as it is at the pause, over cuts',
  60,
  fc.record({ seed: fc.nat(), channels: fc.constantFrom(1, 1, 2, 3) }),
  ({ seed, channels }) => migrate(seed, channels),
);
