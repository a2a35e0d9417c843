/** The small guest's command to crash ends what runs it, in every version: what a driver must contain in a process. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { V86_VERSIONS } from '../../support/v86/emulator.ts';

const PROGRAM = fileURLToPath(new URL('./crashing-guest.ts', import.meta.url));

for (const version of V86_VERSIONS) {
  test(`a guest that crashes throws out of the event loop of ${version}`, async () => {
    const { code, out } = await new Promise<{ code: unknown; out: string }>((resolve) => {
      execFile(process.execPath, [PROGRAM, version], { timeout: 60_000 }, (error, stdout) => {
        resolve({ code: error?.code ?? 0, out: stdout });
      });
    });
    assert.deepEqual({ code, out }, { code: 9, out: 'runs\nuncaught RuntimeError\n' });
  });
}
