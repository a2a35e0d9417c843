/** The small guest in QEMU: the same bytes on another machine, without tmem. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import {
  parseSmallGuestLine,
  SMALL_GUEST_COMMAND,
  SMALL_GUEST_RATE,
  smallGuestCommand,
  smallGuestImage,
} from '../../../src/machine/v86/boot/small-guest.ts';

const QEMU = 'qemu-system-i386';
const skip = spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is not installed`;

test('it boots in QEMU with -kernel, obeys, finds nothing wrong, and ends when told to', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'small-guest-'));
  try {
    const image = join(folder, 'guest.bin');
    writeFileSync(image, smallGuestImage({ ...SMALL_GUEST_RATE.quick }));
    const machine = ['-machine', 'pc,accel=tcg', '-m', '16', '-display', 'none', '-net', 'none', '-no-reboot'];
    const qemu = spawn(QEMU, [...machine, '-kernel', image, '-serial', 'stdio', '-monitor', 'none'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 60_000,
    });
    const ended = once(qemu, 'exit');
    const seen: string[] = [];
    const commands: Record<string, string> = {
      report: smallGuestCommand('pagesPerRound', 2048),
      set: SMALL_GUEST_COMMAND.check,
      check: SMALL_GUEST_COMMAND.crash,
    };
    for await (const text of createInterface({ input: qemu.stdout })) {
      const line = parseSmallGuestLine(text);
      assert.ok(line !== undefined, `not a line of the guest: ${text}`);
      if (line.kind === 'report') assert.deepEqual([line.bad, line.tmembad, line.back], [0, 0, 0]);
      if (line.kind === 'report' && line.pages < 3200) continue;
      if (line.kind === 'hello') assert.deepEqual(line, { kind: 'hello', version: 1, memory: 3072, tmem: 0 });
      if (line.kind === 'check') assert.deepEqual(line, { kind: 'check', pages: 3072, bad: 0, tmem: 0, tmembad: 0 });
      if (seen.includes(line.kind)) continue;
      seen.push(line.kind);
      // The serial port's queue holds 16 characters: one command at a time.
      qemu.stdin.write(commands[line.kind] ?? '');
    }
    assert.deepEqual(seen, ['hello', 'report', 'set', 'check']);
    assert.deepEqual(await ended, [0, null]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
