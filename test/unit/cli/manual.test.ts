import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('man/transmigrate.1 is what the definitions of the commands make (npm run man)', () => {
  const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
  const { stdout } = spawnSync(process.execPath, [bin, 'manual'], { encoding: 'utf8' });
  assert.equal(readFileSync(new URL('../../../man/transmigrate.1', import.meta.url), 'utf8'), stdout);
});
