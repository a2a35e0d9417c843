/** The demonstration, as a user runs it, and the example of its output that is committed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../../bin/transmigrate', import.meta.url));
const example = new URL('../../examples/demo-output.txt', import.meta.url);

/** The text without what differs from run to run: numbers and digests. */
function shape(text: string): string {
  return text.replace(/\b[0-9a-f]{64}\b/g, 'DIGEST').replace(/\d+(?:\.\d+)?/g, 'N');
}

test('the demonstration does the main job, and prints what the example shows', () => {
  const { stdout, stderr, status } = spawnSync(process.execPath, [command, 'demo'], { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.equal(shape(stdout), shape(readFileSync(example, 'utf8')), 'see npm run demo > examples/demo-output.txt');
});
