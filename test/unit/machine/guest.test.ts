import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GUEST_BASE64 } from '../../support/guest/guest-bytes.ts';

const hasNasm = spawnSync('nasm', ['-v']).status === 0;

test("the tests' guest is what its source says", { skip: hasNasm ? false : 'nasm is not installed' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'tmig-guest-'));
  try {
    const source = fileURLToPath(new URL('../../support/guest/guest.asm', import.meta.url));
    const made = join(folder, 'guest.bin');
    assert.equal(spawnSync('nasm', ['-f', 'bin', source, '-o', made]).status, 0);
    assert.equal(readFileSync(made).toString('base64'), GUEST_BASE64.join(''));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
