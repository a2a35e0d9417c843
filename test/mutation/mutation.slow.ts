/** The tests of `src/stream` notice nine of ten single changes to it, and more. Takes half an hour on two cores. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the tests of the stream notice what is changed in it', () => {
  const program = fileURLToPath(new URL('./run.ts', import.meta.url));
  const { status } = spawnSync(process.execPath, [program, '--at-least', '0.9'], { stdio: 'inherit' });
  assert.equal(status, 0);
});
