/** `file(1)` knows an image by spec/transmigrate.magic (S1). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

function describe(name: string): string {
  const { stdout } = spawnSync('file', ['-b', '-m', at('spec/transmigrate.magic'), at(`vectors/v1/${name}.tmig`)], {
    encoding: 'utf8',
  });
  return stdout.trim();
}

const missing = spawnSync('file', ['--version']).error === undefined ? false : 'file(1) is not installed';

test('file(1) says what an image is', { skip: missing }, () => {
  assert.match(describe('preamble-kind-core'), /^Transmigrate machine core, version 1\.0, 64-bit little-endian x86-64/);
  assert.match(describe('preamble-big-endian-32'), /^Transmigrate saved machine, version 1\.0, 32-bit big-endian/);
  assert.doesNotMatch(describe('magic-seven-bit'), /Transmigrate/);
});
