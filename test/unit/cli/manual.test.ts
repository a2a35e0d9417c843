import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERRORS, EXIT } from '../../../src/errors.ts';
import { buildProgram } from '../../../src/cli/program.ts';
import { manualPage } from '../../../src/cli/manual.ts';
import { packageVersion } from '../../../src/host/version.ts';
import { fakeWorld } from './fake.ts';

test('man/transmigrate.1 is what the definitions of the commands make (npm run man)', () => {
  const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
  const { stdout } = spawnSync(process.execPath, [bin, 'manual'], { encoding: 'utf8' });
  assert.equal(readFileSync(new URL('../../../man/transmigrate.1', import.meta.url), 'utf8'), stdout);
});

const program = buildProgram(fakeWorld().context);
const page = manualPage(program);

test('the manual page says of which version it is', () => {
  assert.ok(
    page.includes(`.TH TRANSMIGRATE 1 "" "transmigrate ${packageVersion()}" "User Commands"`),
    page.slice(0, 200),
  );
});

test('the manual page has the exit codes that errors have, and no others', () => {
  const [, status = ''] = /^\.SH EXIT STATUS\n([^]*?)^\.SH/m.exec(page) ?? [];
  const said = Array.from(status.matchAll(/^\.B (\d+)$/gm), ([, code]) => Number(code));
  const used = new Set([EXIT.ok, ...Object.values(ERRORS).map((entry) => EXIT[entry.class])]);
  assert.deepEqual(
    said,
    [...used].toSorted((a, b) => a - b),
  );
});

test('help and manual speak of no command that there is not', () => {
  const texts = [page, program.helpInformation(), ...program.commands.map((command) => command.helpInformation())];
  // What the design has no command for.
  for (const text of texts) assert.doesNotMatch(text.replaceAll('\\-', '-'), /\blive-migrates?\b/i);
  for (const [, line = ''] of page.matchAll(/^transmigrate ([a-z]+) /gm)) {
    if (/^(?:reads|runs)$/.test(line)) continue;
    assert.ok(
      program.commands.some((command) => command.name() === line),
      line,
    );
  }
});

test('the package tells npm of the manual page', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    man: string;
    files: string[];
  };
  assert.equal(manifest.man, 'man/transmigrate.1');
  assert.ok(manifest.files.includes('man'));
});

test('man(1) formats it without a warning', (t) => {
  const { error, status, stderr } = spawnSync('man', ['--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-'], {
    input: page,
    encoding: 'utf8',
  });
  if (error !== undefined || status !== 0) return t.skip('there is no man here');
  assert.equal(stderr, '');
});
