/**
 * The guests that show what a restore of v86 loses (guests/defects), moved by the driver: with its mends nothing is
 * lost, in any version that is carried. test/unit/guests/defects.test.ts shows that each fails without its mend.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { defectBinary, type DefectGuest } from '../../../guests/defects/build.ts';
import { planMultiboot } from '../../../src/machine/v86/boot/multiboot.ts';
import { LocalMachine } from '../../../src/machine/v86/local-machine.ts';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import { until } from '../../support/guest/machines.ts';

const memoryBytes = 4 * 1024 * 1024;

type Fields = Record<string, number>;

function fieldsOf(line: string): Fields {
  return Object.fromEntries(line.split(' ').map((field) => [field.split('=')[0], Number(field.split('=')[1])]));
}

/** Whole lines of a machine's first serial port, as they come. */
function linesOf(machine: LocalMachine): Fields[] {
  const lines: Fields[] = [];
  let left = '';
  machine.on('console', (bytes, port) => {
    if (port !== 0) return;
    const parts = (left + Buffer.from(bytes).toString('latin1')).split('\n');
    left = parts.pop()!;
    lines.push(...parts.map((line) => fieldsOf(line.trim())));
  });
  return lines;
}

async function move(guest: DefectGuest, version: string): Promise<{ before: Fields; first: Fields; later: Fields }> {
  const config = { memoryBytes, version };
  const boot = planMultiboot({ image: readFileSync(defectBinary(guest)), memoryBytes });
  const source = await LocalMachine.create({ config, boot });
  const said = linesOf(source);
  await source.grant(1);
  await source.resume();
  await until('the guest did ten rounds', () => (said.at(-1)?.['rounds'] ?? 0) >= 10);
  await source.pause();
  const before = said.at(-1)!;
  const state = await source.deviceState();
  const pages = await source.readPages(0, source.capabilities.pages);

  const target = await LocalMachine.create({ config });
  const lines = linesOf(target);
  await target.loadPages(pages);
  await target.loadDeviceState(state, Date.now());
  await source.close();
  await target.grant(1);
  await target.resume();
  await until('it did ten more', () => (lines.at(-1)?.['rounds'] ?? 0) >= before['rounds'] + 10);
  await target.close();
  // The first line may have begun before the move.
  return { before, first: lines.find((line) => 'rounds' in line)!, later: lines.at(-1)! };
}

for (const { version } of V86_VERSIONS) {
  describe(`M1: moved by the driver, v86 ${version}`, () => {
    test('flags, x87 status and MXCSR are kept', async () => {
      for (const counts of Object.values(await move('processor', version))) {
        assert.deepEqual([counts['flags'], counts['x87'], counts['mxcsr']], [0, 0, 0]);
      }
    });

    test('PCI devices are as they were, where there is no disk', async () => {
      const { before, later } = await move('pci', version);
      assert.ok(before['devices'] > 2);
      assert.deepEqual([later['devices'], later['changed']], [before['devices'], 0]);
    });

    test('M6: counters go on, and the clock is right', async () => {
      const { later } = await move('clock', version);
      assert.equal(later['tscback'], 0);
      assert.ok(later['behind'] <= 2, `${later['behind']} seconds behind`);
    });
  });
}
