/**
 * What v86 gets wrong when it restores a state, each with a guest that shows it (guests/defects/README.md), and the
 * mend that makes it right (test/support/v86/mends.ts). Where a newer v86 needs one no more, its test fails.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, describe, test } from 'node:test';

import { assemble, hasNasm } from '../../../guests/small/build.ts';
import { DEFECT_GUESTS, defectBinary, defectSource, type DefectGuest } from '../../../guests/defects/build.ts';
import { enterPlan } from '../../../src/machine/v86/boot/enter.ts';
import { planMultiboot } from '../../../src/machine/v86/boot/multiboot.ts';
import { makeEmulator, serialOf, type Emulator, type V86Version } from '../../support/v86/emulator.ts';
import { MENDS, type MendName } from '../../support/v86/mends.ts';

const memoryBytes = 4 * 1024 * 1024;
const emulators: Emulator[] = [];

afterEach(async () => {
  for (const emulator of emulators.splice(0)) await emulator.destroy();
});

interface Move {
  readonly guest: DefectGuest;
  readonly mends: readonly MendName[];
  readonly version?: V86Version;
  readonly options?: Record<string, unknown>;
  /** How long the state is stored, for the host's clock. */
  readonly storedMs?: number;
}

/** The clock of the first process is a minute ahead of this one's, and that of the second a second behind it. */
const FIRST = { name: 'first', aheadMs: 60_000 };
const SECOND = { name: 'second', aheadMs: 59_000 };

function fieldsOf(line: string): Record<string, number> {
  return Object.fromEntries(line.split(' ').map((field) => [field.split('=')[0], Number(field.split('=')[1])]));
}

/** Runs a guest for a while, saves it while it is halted, and restores it in another instance of v86. */
async function move({ guest, mends, version = 'v86', options = {}, storedMs = 0 }: Move): Promise<{
  before: Record<string, number>;
  first: Record<string, number>;
  later: Record<string, number>;
}> {
  const source = await makeEmulator({ version, memoryBytes, options, instance: FIRST });
  emulators.push(source);
  const sourceSerial = serialOf(source);
  enterPlan(source.v86.cpu, planMultiboot({ image: readFileSync(defectBinary(guest)), memoryBytes }));
  await source.run();
  await sourceSerial.line((line) => fieldsOf(line)['rounds'] >= 10);
  do {
    await source.run();
    await source.stop();
  } while (source.v86.cpu.in_hlt[0] === 0);
  const before = fieldsOf(sourceSerial.lines.at(-1)!);
  const clock = { microtickMs: performance.now() + FIRST.aheadMs, hostMs: Date.now() };
  const state = await source.save_state();
  await source.destroy();
  emulators.pop();

  const target = await makeEmulator({ version, memoryBytes, options, instance: SECOND });
  emulators.push(target);
  const serial = serialOf(target);
  const { now } = Date;
  if (storedMs > 0) Date.now = () => now() + storedMs;
  try {
    const mended = mends.map((name) => MENDS[name](target, clock, () => performance.now() + SECOND.aheadMs));
    await target.restore_state(state);
    for (const mend of mended) mend();
    await target.run();
    await serial.line((line) => fieldsOf(line)['rounds'] >= before['rounds'] + 10);
    await target.stop();
  } finally {
    Date.now = now;
  }
  return { before, first: fieldsOf(serial.lines[0]), later: fieldsOf(serial.lines.at(-1)!) };
}

for (const guest of DEFECT_GUESTS) {
  test(`the bytes of ${guest} are those of its source`, { skip: hasNasm() ? false : 'nasm is not installed' }, () => {
    const bytes = assemble(defectSource(guest));
    assert.ok(Buffer.from(bytes).equals(readFileSync(defectBinary(guest))), 'run node guests/defects/build.ts');
  });
}

describe('flags, x87 status and MXCSR', () => {
  test('are lost: with the other mends, and without this one', async () => {
    const { before, first, later } = await move({ guest: 'processor', mends: ['pci', 'clock'] });
    assert.deepEqual([before['flags'], before['x87'], before['mxcsr']], [0, 0, 0]);
    // Each was checked once with what was restored; after that the guest sets them itself.
    assert.deepEqual([first['flags'], first['x87'], first['mxcsr']], [1, 1, 1]);
    assert.deepEqual([later['flags'], later['x87'], later['mxcsr']], [1, 1, 1]);
  });

  test('are kept with it', async () => {
    const { before, first, later } = await move({ guest: 'processor', mends: ['pci', 'views'] });
    assert.equal(first['rounds'], before['rounds'] + 1);
    for (const counts of [before, first, later]) {
      assert.deepEqual([counts['flags'], counts['x87'], counts['mxcsr']], [0, 0, 0]);
    }
  });

  for (const version of ['v86-0.5.278', 'v86-0.5.66'] as const) {
    test(`are not in a state of ${version} at all, so that no mend brings them back`, async () => {
      const { first } = await move({ guest: 'processor', mends: ['pci', 'views'], version });
      assert.deepEqual([first['flags'], first['x87'], first['mxcsr']], [1, 1, 1]);
    });
  }
});

describe('PCI', () => {
  test('throws where there is no disk', async () => {
    await assert.rejects(move({ guest: 'pci', mends: ['views', 'clock'] }), {
      name: 'TypeError',
      message: /original_bar/,
    });
  });

  test('comes back as it was with the mend', async () => {
    const { before, later } = await move({ guest: 'pci', mends: ['pci'] });
    assert.equal(later['devices'], before['devices']);
    assert.ok(before['devices'] > 2);
    assert.equal(later['changed'], 0);
  });

  test('needs no mend where there is a disk', async () => {
    const options = { hda: { buffer: new ArrayBuffer(1024 * 1024) } };
    const { later } = await move({ guest: 'pci', mends: [], options });
    assert.equal(later['changed'], 0);
  });
});

describe('clocks', () => {
  const options = { acpi: true };
  const hour = 3_600_000;
  const secondsOfDay = (ms: number): number => Math.floor(ms / 1000) % 86_400;
  /** Seconds from one time of the day to another, either way. */
  const apart = (a: number, b: number): number => Math.min((a - b + 86_400) % 86_400, (b - a + 86_400) % 86_400);

  test('the ACPI timer goes back, and a time kept by the counter stays behind, without the mend', async () => {
    const { before, first, later } = await move({ guest: 'clock', mends: ['pci'], options, storedMs: hour });
    assert.deepEqual([before['pmback'], before['tscback']], [0, 0]);
    assert.equal(first['pmback'], 1);
    assert.deepEqual([later['pmback'], later['tscback']], [1, 0]);
    assert.ok(before['behind'] <= 1 && later['behind'] >= 3598, `${later['behind']} seconds behind`);
    // The RTC needs no mend: it is the host's time.
    assert.ok(apart(first['rtc'], secondsOfDay(Date.now() + hour)) <= 2, `RTC ${first['rtc']}`);
  });

  test('go on with it', async () => {
    const { before, first, later } = await move({ guest: 'clock', mends: ['pci', 'clock'], options, storedMs: hour });
    assert.deepEqual([later['pmback'], later['tscback']], [0, 0]);
    assert.ok(later['behind'] <= 2, `${later['behind']} seconds behind`);
    assert.ok(first['tsc'] - before['tsc'] >= hour, `${before['tsc']} to ${first['tsc']}`);
    assert.ok(apart(first['rtc'], secondsOfDay(Date.now() + hour)) <= 2, `RTC ${first['rtc']}`);
  });
});
