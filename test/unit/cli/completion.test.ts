import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { completionScript, SHELLS, type Shell } from '../../../src/cli/completion-scripts.ts';
import { allCommands } from '../../../src/cli/program-frame.ts';
import { buildProgram } from '../../../src/cli/program.ts';
import { fakeWorld } from './fake.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-completion-'));
after(() => rmSync(directory, { recursive: true, force: true }));
writeFileSync(join(directory, 'my guest.tmig'), '');

const program = buildProgram(fakeWorld().context);

function inShell(shell: Shell, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(shell, args, { encoding: 'utf8', cwd: directory });
  assert.equal(status, 0, stderr);
  return stdout;
}

function missing(shell: Shell): string | false {
  return spawnSync(shell, ['-c', 'true']).status !== 0 && `there is no ${shell} here`;
}

for (const shell of SHELLS) {
  test(`${shell} reads its script`, { skip: missing(shell) }, () => {
    const path = join(directory, `completion.${shell}`);
    writeFileSync(path, completionScript(program, shell));
    inShell(shell, ['-n', path]);
  });
}

test('every command and option is in every script; what is hidden is not', () => {
  const all = allCommands(program);
  const words = all.flatMap((command) => command.options.map(({ long }) => long?.slice(2) ?? ''));
  for (const shell of SHELLS) {
    const text = completionScript(program, shell);
    for (const word of [...words, 'inspect', 'verify', 'completion', 'quiet', 'run', 'info'])
      assert.ok(text.includes(word), word);
    assert.doesNotMatch(text, /\bmanual\b/);
  }
});

const TYPED: readonly (readonly [line: string, offers: readonly string[]])[] = [
  ['transmigrate ver', ['verify']],
  ['transmigrate my', ['my guest.tmig']],
  ['transmigrate --rec', ['--records']],
  ['tmig verify --s', ['--strict']],
  ['transmigrate --quiet inspect --r', ['--records']],
  ['transmigrate x.tmig --j', ['--json']],
  ['transmigrate completion ', ['bash', 'fish', 'zsh']],
  ['transmigrate help v', ['verify']],
  ['transmigrate verify my', ['my guest.tmig']],
  ['transmigrate host ', ['close', 'describe', 'info', 'open', 'run']],
  ['transmigrate memory ', ['export', 'find', 'read']],
  ['transmigrate memory read my', ['my guest.tmig']],
  ['transmigrate memory find --ut', ['--utf16']],
  ['transmigrate gdb my', ['my guest.tmig']],
  ['transmigrate host r', ['run']],
  ['transmigrate host run --tm', ['--tmem']],
  ['transmigrate host info --j', ['--json']],
  ['transmigrate --quiet host info --so', ['--socket']],
  ['transmigrate save demo my', ['my guest.tmig']],
  ['transmigrate save --codec ', ['raw', 'zstd']],
  ['transmigrate create --kernel my', ['my guest.tmig']],
  ['transmigrate resto', ['restore']],
  ['transmigrate diff my', ['my guest.tmig']],
  ['transmigrate check --on my', ['my guest.tmig']],
  ['transmigrate repair --sal', ['--salvage']],
];

const typeIntoZsh = join(import.meta.dirname, 'type-into-zsh.zsh');

test('zsh completes what is typed into it', { skip: missing('zsh') }, () => {
  const script = join(directory, 'typed.zsh');
  writeFileSync(script, completionScript(program, 'zsh'));
  for (const [line, offers] of TYPED) {
    const stdout = inShell('zsh', ['-f', typeIntoZsh, script, line]);
    const hits = Array.from(stdout.matchAll(/<hit>(.*)<\/hit>/g), ([, hit = '']) => hit.replaceAll('\\', ''));
    assert.deepEqual(hits.toSorted(), offers, line);
  }
});

test('fish completes what is typed into it', { skip: missing('fish') }, () => {
  const script = join(directory, 'typed.fish');
  writeFileSync(script, completionScript(program, 'fish'));
  for (const [line, offers] of TYPED) {
    const stdout = inShell('fish', ['--no-config', '-c', `source '${script}'; complete -C '${line}'`]);
    const found = stdout.split('\n').flatMap((each) => (each === '' ? [] : [each.split('\t')[0] ?? '']));
    assert.deepEqual(found.toSorted(), offers, line);
  }
});

/** `script` gives a program a terminal. */
const noTerminal =
  spawnSync('script', ['-qec', 'true', '/dev/null'], { input: '' }).status !== 0 && 'there is no script(1) here';

test('bash completes what is typed into it', { skip: missing('bash') || noTerminal }, () => {
  const script = join(directory, 'typed.bash');
  const show = (name: string) => `${name}() { printf '[%s]' "$@"; echo; }`;
  writeFileSync(script, [completionScript(program, 'bash'), show('transmigrate'), show('tmig'), 'PS1='].join('\n'));
  const lines = [
    'transmigrate ver\tmy\t',
    'tmig verify --s\t',
    'transmigrate --rec\tmy\t',
    'transmigrate completion z\t',
  ];
  const input = `source '${script}'\n${lines.map((line) => `${line}\n`).join('')}exit\n`;
  const options = { encoding: 'utf8', cwd: directory, input, timeout: 60_000 } as const;
  const { stdout } = spawnSync('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null'], options);
  const shown = Array.from(stdout.matchAll(/^(?:\[[^\]\r]*\])+(?=\r?$)/gm), ([args]) => args);
  assert.deepEqual(shown, [
    '[verify][my guest.tmig]',
    '[verify][--strict]',
    '[--records][my guest.tmig]',
    '[completion][zsh]',
  ]);
});

const BASH: readonly (readonly [line: readonly string[], offers: readonly string[]])[] = [
  [['transmigrate', 'ver'], ['verify']],
  [['transmigrate', 'my'], ['my guest.tmig']],
  [['transmigrate', '--rec'], ['--records']],
  [['tmig', 'verify', '--s'], ['--strict']],
  [['transmigrate', '--quiet', 'inspect', '--r'], ['--records']],
  [['transmigrate', 'x.tmig', '--j'], ['--json']],
  [
    ['transmigrate', 'completion', ''],
    ['bash', 'zsh', 'fish'],
  ],
  [['transmigrate', 'help', 'v'], ['verify']],
  [
    ['transmigrate', 'host', ''],
    ['run', 'info', 'close', 'open', 'describe'],
  ],
  [['transmigrate', '--quiet', 'host', 'run', '--tm'], ['--tmem']],
  [['transmigrate', 'host', 'info', '--so'], ['--socket']],
  [['transmigrate', 'save', 'demo', '--codec', 'z'], ['zstd']],
  [['transmigrate', 'create', '--kernel', 'my'], []],
  [['transmigrate', 'save', 'demo', 'my'], []],
  // Nothing is offered, and bash falls back on files.
  [['transmigrate', 'verify', 'my'], []],
];

test('bash completes', { skip: missing('bash') }, () => {
  const tries = BASH.map(([line]) => {
    const words = line.map((word) => `'${word}'`).join(' ');
    const call = `COMP_WORDS=(${words}); COMP_CWORD=${line.length - 1}; _transmigrate`;
    return `${call}; (IFS='|'; echo "=\${COMPREPLY[*]}")`;
  });
  // Outside a completion compopt has nothing to work on.
  const stdout = inShell('bash', ['-c', [completionScript(program, 'bash'), 'compopt() { :; }', ...tries].join('\n')]);
  assert.deepEqual(
    stdout.trimEnd().split('\n'),
    BASH.map(([, offers]) => `=${offers.join('|')}`),
  );
});
