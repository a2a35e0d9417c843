/** Each defect of v86's restore (M4): a guest that goes wrong when v86 restores alone, and right with the mend. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Json } from '../../../src/bytes/bounded-json.ts';
import { extensionOf, withExtension } from '../../../src/foreign/v86/extension.ts';
import { bufferIdOf, parseSaveState, writeSaveState } from '../../../src/foreign/v86/save-state.ts';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import { fillPciBars } from '../../../src/machine/v86/mends/pci-bars.ts';
import type { EmulatorMachine } from '../../../src/machine/v86/emulator-machine.ts';
import { post } from '../../support/guest/guest.ts';
import { emulator, look, rounds, sleep, transplant, until } from '../../support/guest/machines.ts';

/** Where the interval timer is in a state, and in it the starts of its counters (foreign/v86 2). */
const PIT = 58;
const START_TIMES = 7;

/** Moves a machine as v86 does it alone, but for the exception that the second defect ends in. */
function transplantByV86(from: EmulatorMachine, to: EmulatorMachine): void {
  fillPciBars(to.emulator.v86.cpu);
  to.emulator.v86.restore_state(from.emulator.v86.save_state());
}

/** Stops where the guest halted, which in this mode is where flags wait to be computed. */
async function stopInHalt(machine: EmulatorMachine): Promise<void> {
  const { cpu } = machine.emulator.v86;
  machine.resume();
  await until('the guest halts', () => cpu.in_hlt[0] !== 0 && look(machine).rounds > 2);
  machine.stop();
}

/** A device blob as a process with another clock would have made it. */
function asIfSavedAt(blob: Uint8Array, shift: number): Uint8Array {
  const state = parseSaveState(blob);
  const { tree } = state;
  const id = bufferIdOf((tree[PIT] as Json[])[START_TIMES])!;
  const times = new Float64Array(state.contents[id].slice().buffer).map((time) => time + shift);
  const contents = state.contents.map((content, i) => (i === id ? new Uint8Array(times.buffer) : content));
  const extension = extensionOf(state.info)!;
  return writeSaveState(
    withExtension(state.info, { ...extension, microtickMs: extension.microtickMs + shift }),
    contents,
  );
}

for (const { version, losses } of V86_VERSIONS) {
  describe(`v86 ${version}`, () => {
    it('keeps lazy flags, x87 status and MXCSR', async () => {
      const { machine: source } = await emulator('flags', [], { version });
      await stopInHalt(source);
      const { machine: alone } = await emulator(null, [], { version });
      const { machine: mended } = await emulator(null, [], { version });
      transplantByV86(source, alone);
      transplant(source, mended);
      await rounds(alone, 3);
      await rounds(mended, 3);
      const { bad, bad2, bad3 } = look(mended);
      assert.deepEqual([bad, bad2, bad3], [0, 0, 0]);
      assert.ok(look(alone).bad > 0, 'v86 alone takes the wrong branch');
      assert.ok(losses.length === 0 || look(alone).bad2 + look(alone).bad3 > 0);
    });

    it('restores without a first disk', async () => {
      const { machine: source } = await emulator('echo', [], { version });
      await rounds(source, 2);
      const { machine: target } = await emulator(null, [], { version });
      const state = source.emulator.v86.save_state();
      // Before there was one controller there was no disk function at all without a disk.
      if (version !== '0.5.66') assert.throws(() => target.emulator.v86.restore_state(state), TypeError);
      const { machine: mended } = await emulator(null, [], { version });
      transplant(source, mended);
      await rounds(mended, 2);
    });

    it('shows the time that is handed in, and counts on', async () => {
      const { machine: source } = await emulator('clock', [], { version });
      await rounds(source, 100);
      const { machine: mended } = await emulator(null, [], { version });
      const { machine: alone } = await emulator(null, [], { version });
      const before = look(source);
      post(source.memory(), 'value2', 0xffff_ffff);
      const then = Date.UTC(2033, 4, 6, 7, 8, 9);
      transplant(source, mended, then);
      transplantByV86(source, alone);
      // Time goes on for the clock chip while the machine is paused.
      await sleep(100);
      await rounds(mended, 100);
      const shown = look(mended).value2;
      assert.equal(shown >>> 8, 0x330708, `the first reading was ${shown.toString(16)}`);
      assert.equal(look(mended).bad, 0, 'the time-stamp counter went back');
      assert.ok(look(mended).tscHigh * 2 ** 32 + look(mended).tscLow > before.tscHigh * 2 ** 32 + before.tscLow);
      await rounds(alone, 100);
      assert.notEqual(look(alone).value2 >>> 24, 0x33);
    });

    for (const shift of [-1e9, 1e9]) {
      it(`goes on with the timer's period in a process whose clock differs by ${shift} ms`, async () => {
        const { machine: source } = await emulator('echo', [], { version });
        await rounds(source, 5);
        const state = source.deviceState();
        const from = source.emulator.v86.cpu.devices.pit.counter_start_time[0];
        const saved = extensionOf(parseSaveState(state.bytes).info)!.microtickMs;
        const { machine: target } = await emulator(null, [], { version });
        target.memory().set(source.memory());
        target.loadDeviceState({ ...state, bytes: asIfSavedAt(state.bytes, shift) }, Date.now());
        const { pit } = target.emulator.v86.cpu.devices;
        const into = performance.now() - pit.counter_start_time[0];
        // As far into its period as it was, and what has passed since this was restored.
        assert.ok(
          into >= saved - from && into < saved - from + 5_000,
          `${into} ms into its period, it was ${saved - from}`,
        );
        const { ticks } = look(target);
        await rounds(target, 5);
        assert.ok(look(target).ticks >= ticks + 4);
      });
    }

    it('keeps what was typed and not read', async () => {
      const { machine: source } = await emulator('echo', [], { version });
      await rounds(source, 2);
      for (const byte of Buffer.from('typed')) source.emulator.bus.send('serial0-input', byte);
      const alone = await emulator(null, [], { version });
      const mended = await emulator(null, [], { version });
      transplantByV86(source, alone.machine);
      transplant(source, mended.machine);
      await rounds(alone.machine, 3);
      await rounds(mended.machine, 3);
      assert.equal(mended.output, 'typed');
      assert.notEqual(alone.output, 'typed');
    });
  });
}
