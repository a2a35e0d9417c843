/** The command on a terminal, which script(1) gives it: progress, widths, colours. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { displayWidth } from '../../../src/cli/text/format.ts';
import { random } from '../../support/random.ts';
import { PAGE, written } from '../../support/streams.ts';

const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-terminal-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const slow = join(directory, 'slow.mjs');

before(async () => {
  const pages = random('terminal').scramble(new Uint8Array(64 * PAGE));
  const image = await written(async (writer) => {
    for (let i = 0; i < 30; i++) await writer.ram(64 * i, 64, pages);
  });
  writeFileSync(join(directory, 'a.tmig'), image);
  // A clock on which everything takes long, so that no test has to.
  writeFileSync(slow, 'let at = 0; performance.now = () => (at += 700);');
});

const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** What stands for the escape character, so that it can be seen. */
const ESC = '^';

/** Runs a line of the shell on a terminal of so many columns; `$T` is the command. */
function onTerminal(line: string, columns = 80, env: Record<string, string> = {}): string {
  const node = [process.execPath, '--import', pathToFileURL(slow).href, bin].map(quote).join(' ');
  const shell = `stty cols ${columns}; ${line.replaceAll('$T', node)}`;
  const options = { encoding: 'utf8', cwd: directory, input: '', timeout: 60_000 } as const;
  const all = { ...process.env, TERM: 'xterm', NO_COLOR: '', ...env };
  const { stdout } = spawnSync('script', ['-qec', shell, '/dev/null'], { ...options, env: all });
  return stdout.replaceAll('\u001b', ESC);
}

const skip = spawnSync('script', ['-qec', 'stty cols 80', '/dev/null'], { input: '' }).status !== 0 && 'no script(1)';

describe('on a terminal', { skip }, () => {
  test('progress is one line with an estimate, which is gone at the end', () => {
    const lines = ['$T verify a.tmig', '$T verify --digest a.tmig', '$T inspect --records a.tmig > /dev/null'];
    for (const line of lines) {
      const shown = onTerminal(line);
      const progress = Array.from(shown.matchAll(/\r(\w+: [^\r]*)\^\[K/g), ([, text = '']) => text);
      assert.ok(progress.length > 0, JSON.stringify(shown));
      for (const text of progress) {
        assert.match(text, /^(?:verify|inspect): \d+%, [\d.]+ \w+ of [\d.]+ MiB, [\d.]+ [KM]?i?B\/s, .* left$/);
      }
      const end = shown.lastIndexOf(`${ESC}[K`);
      assert.equal(shown.slice(shown.lastIndexOf('\r', end), end), '\r', 'the line is taken away');
    }
  });

  test('a pipe that is put aside shows progress too, without an estimate', () => {
    const shown = onTerminal('cat a.tmig | $T verify --digest -');
    assert.match(shown, /\rverify: [\d.]+ [KM]iB, [\d.]+ [KM]iB\/s\^\[K/);
  });

  test('nothing of it with --quiet, nor on a terminal that can not take it back', () => {
    assert.equal(onTerminal('$T verify --quiet --digest a.tmig'), '');
    assert.doesNotMatch(onTerminal('$T verify a.tmig', 80, { TERM: 'dumb' }), /%|\^/);
  });

  test('no line is wider than the terminal', () => {
    for (const columns of [40, 60, 80, 120, 200]) {
      // The usage lines and examples of a help are to be copied, so they are not broken.
      const helps = columns < 80 ? [] : ['$T --help', '$T inspect --help', '$T verify --help', '$T completion --help'];
      for (const line of ['$T a.tmig', '$T --records a.tmig', '$T verify a.tmig', ...helps]) {
        const shown = stripVTControlCharacters(
          onTerminal(`${line} 2> /dev/null`, columns).replaceAll(ESC, '\u001b'),
        ).split(/\r?\n/);
        assert.ok(shown.length > 3, line);
        for (const text of shown) {
          const isWord = !text.trim().includes(' ');
          assert.ok(displayWidth(text) <= columns || isWord, `${columns}: ${text}`);
        }
      }
    }
  });

  test('a terminal that does not know its size has 80 columns', () => {
    assert.equal(onTerminal('$T verify a.tmig 2> /dev/null', 0), onTerminal('$T verify a.tmig 2> /dev/null', 80));
  });

  test('colours, and none where nobody wants them', () => {
    assert.match(onTerminal('$T verify a.tmig 2> /dev/null'), /\^\[32msound/);
    assert.doesNotMatch(onTerminal('$T verify --no-color a.tmig 2> /dev/null'), /\^/);
    assert.doesNotMatch(onTerminal('$T verify a.tmig 2> /dev/null', 80, { NO_COLOR: '1' }), /\^/);
  });
});

test('elsewhere a line a second with --progress, and nothing without', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', pathToFileURL(slow).href, bin, ...args], {
      encoding: 'utf8',
      cwd: directory,
    }).stderr;
  assert.match(run('verify', '--progress', 'a.tmig'), /^(?:verify: \d+%, .* left\n)+$/);
  assert.equal(run('verify', 'a.tmig'), '');
  assert.equal(run('verify', '--progress', '--quiet', 'a.tmig'), '');
});
