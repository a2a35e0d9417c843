/** The command as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { random } from '../../support/random.ts';
import { PAGE, written } from '../../support/streams.ts';

const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-cli-'));
const image = join(directory, 'a.tmig');
after(() => rmSync(directory, { recursive: true, force: true }));
before(async () => {
  writeFileSync(image, await written((writer) => writer.ram(0, 16, random('cli').scramble(new Uint8Array(16 * PAGE)))));
});

function run(args: string[], input?: Uint8Array): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', cwd: directory, ...(input && { input }) });
}

function json(args: string[], input?: Uint8Array): Record<string, unknown> {
  return JSON.parse(run([...args, '--json'], input).stdout) as Record<string, unknown>;
}

test('inspect says the same of a file, of the file alone, and of a pipe', () => {
  const named = json(['inspect', image]);
  assert.equal(named['format'], 'tmig');
  assert.equal(named['ok'], true);
  assert.deepEqual(json([image]), named);
  const piped = json(['-'], readFileSync(image));
  assert.deepEqual(piped['memory'], named['memory']);
  const text = run([image]);
  assert.equal(text.status, 0);
  assert.match(text.stdout, /saved emulated machine with tmem, x86-64/);
});

test('inspect --records lists each record with its section', () => {
  const { records } = json(['inspect', '--records', image]) as { records: { name: string; section: string }[] };
  assert.deepEqual(
    records.map(({ name, section }) => `${name} ${section}`),
    ['ABOUT 6.1', 'RAM 7', 'SEAL 5.3', 'CHECKPOINT 6.4', 'INDEX 13.1', 'SEAL 5.3', 'END 6.5', 'INDEX_ROOT 13.2'],
  );
});

test('verify: sound, broken, and a digest of a pipe', () => {
  const sound = json(['verify', '--digest', image]);
  assert.equal(sound['verdict'], 'sound');
  const piped = json(['verify', '--digest', '-'], readFileSync(image));
  assert.deepEqual(piped['memory'], sound['memory']);
  const damaged = readFileSync(image);
  damaged[5000] ^= 1;
  const result = run(['verify', '-'], damaged);
  assert.equal(result.status, 10);
  assert.match(result.stdout, /BODY_CHECKSUM at offset 0x[0-9a-f]+, record 1 \(RAM\), section 3\.2/);
});

test('what is not an image, not there, or not a command', () => {
  writeFileSync(join(directory, 'text'), 'hello, this is no image at all');
  assert.equal(run(['inspect', 'text']).status, 11);
  const missing = run(['inspect', 'missing.tmig']);
  assert.equal(missing.status, 15);
  assert.match(missing.stderr, /there is no such file/);
  const word = run(['inspekt', image]);
  assert.equal(word.status, 2);
  assert.match(word.stderr, /inspect/);
  const option = run(['verify', '--digset', image]);
  assert.equal(option.status, 2);
  assert.match(option.stderr, /--digest/);
});

test('help, version and completion', () => {
  for (const args of [['--help'], ['inspect', '--help'], ['verify', '--help']]) {
    const { status, stdout } = run(args);
    assert.equal(status, 0);
    assert.match(stdout, /Usage/i);
  }
  assert.match(run(['--version']).stdout, /^transmigrate \d+\.\d+\.\d+/);
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { status, stdout } = run(['completion', shell]);
    assert.equal(status, 0);
    assert.match(stdout, /inspect/);
  }
});
