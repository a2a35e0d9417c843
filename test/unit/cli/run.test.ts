/** The frame around the commands, with a library and a world that are handed in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../../../src/cli/run.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { fakeWorld, Kept, sampleInspection, sampleVerification, type FakeOptions } from './fake.ts';

async function runIn(argv: readonly string[], options: FakeOptions = {}) {
  const world = fakeWorld(options);
  const code = await run(argv, world.context);
  return { ...world, code, out: world.out.text, err: world.err.text };
}

function finding(code: 'BODY_CHECKSUM' | 'UNSUPPORTED_FEATURE' | 'INDEX_MISMATCH') {
  const error = new TransmigrateError(code, 'What is wrong', { offset: 0x80, section: '3.2' }).toJSON();
  return { ...error, level: 'broken' as const, record: null };
}

test('the word inspect can be left out before a file, a pipe and options', async () => {
  const lines = [['guest.tmig'], ['--no-color', 'guest'], ['-'], ['--quiet'], [], ['--', 'guest'], ['--', 'verify']];
  for (const argv of lines) {
    const { code, out } = await runIn(argv, { files: ['guest'] });
    assert.equal(code, 0, argv.join(' '));
    assert.match(out, /^guest\.tmig: migration stream of a PV machine/);
  }
});

test('after two dashes a word is a file, also when it is that of a command', async () => {
  const { sources } = await runIn(['--', 'verify']);
  assert.deepEqual(
    sources.map(({ name, closed }) => [name, closed]),
    [['verify', true]],
  );
});

test('options may stand before the command', async () => {
  for (const argv of [
    ['--json', 'verify', 'x'],
    ['--strict', '-q', 'verify', '--json', 'x'],
  ]) {
    const { code, out } = await runIn(argv);
    assert.equal(code, 0, argv.join(' '));
    assert.equal((JSON.parse(out) as { verdict: string }).verdict, 'sound');
  }
  assert.match((await runIn(['--help', 'verify'])).out, /Usage: transmigrate verify/);
});

test('without anything, and nothing on standard input, there is help and exit code 2', async () => {
  const { code, out, err } = await runIn([], { stdinIsTerminal: true });
  assert.equal(code, 2);
  assert.equal(out, '');
  assert.match(err, /Usage: transmigrate/);
});

const USAGE: readonly (readonly [argv: string, message: RegExp])[] = [
  ['inspekt x', /^transmigrate: 'inspekt' is neither a command nor a file: did you mean inspect\? \(USAGE\)\nSee /],
  ['frobnicate', /'frobnicate' is neither a command nor a file \(USAGE\)/],
  ['verify --degest x', /'--degest': did you mean --digest\? \(USAGE\)\nSee `transmigrate verify --help`/],
  ['verify --quite x', /did you mean --quiet\?/],
  ['inspect a b', /too many arguments/],
  ['verify', /missing required argument 'file'/],
  ['verify - -', /standard input was given twice/],
  ['completion tcsh', /there is no completion for 'tcsh' \(USAGE\)\nThe shells are bash, zsh, fish/],
  ['completion zhs', /did you mean zsh\?/],
  ['--json=1 verify', /missing required argument|'--json=1'/],
  ['help inspct', /'inspct' is neither a command nor a file: did you mean inspect\?/],
];

for (const [argv, message] of USAGE) {
  test(`usage: ${argv}`, async () => {
    const { code, out, err } = await runIn(argv.split(' '));
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.match(err, message);
  });
}

test('a terminal is no image', async () => {
  const { code, err } = await runIn(['inspect'], { stdinIsTerminal: true });
  assert.equal(code, 2);
  assert.match(err, /no FILE was given \(USAGE\)/);
});

test('a mistake is JSON where JSON was asked for', async () => {
  const { code, out, err } = await runIn(['inspect', '--json', '--recrods', 'x']);
  assert.equal(code, 2);
  assert.equal(err, '');
  const { ok, error } = JSON.parse(out) as { ok: boolean; error: { code: string } };
  assert.deepEqual([ok, error.code], [false, 'USAGE']);
});

test('help for every command ends with 0, and has examples', async () => {
  const lines = [['--help'], ['inspect', '-h'], ['verify', '--help'], ['completion', '--help'], ['help', 'verify']];
  for (const argv of lines) {
    const { code, out } = await runIn(argv);
    assert.equal(code, 0, argv.join(' '));
    assert.match(out, /Usage: transmigrate[^]*Examples:/);
  }
});

test('inspect --json prints the inspection as it is, on one line', async () => {
  const inspection = sampleInspection();
  const { out } = await runIn(['inspect', '--json', 'x']);
  assert.deepEqual(JSON.parse(out), inspection);
  assert.equal(out.indexOf('\n'), out.length - 1);
  assert.ok(!out.includes('\u001b') && !out.includes('\u202e'));
});

test('what is wrong with an image decides the exit code of inspect', async () => {
  for (const [errorCode, exitCode] of [['TRUNCATED', 10] as const, ['UNSUPPORTED_VERSION', 11] as const]) {
    const error = new TransmigrateError(errorCode, 'Something', { offset: 99 }).toJSON();
    const inspection = sampleInspection({ ok: false, complete: false, error });
    const library = { inspectImage: () => Promise.resolve(inspection) };
    const { code, out, err } = await runIn(['x.tmig'], { library });
    assert.equal(code, exitCode);
    assert.match(out, new RegExp(`Something \\(${errorCode} at offset 0x63`));
    assert.equal(err, '');
  }
});

test('the verdict decides the exit code of verify, and ok says the same', async () => {
  const damaged = [finding('BODY_CHECKSUM')];
  const tooNew = [finding('UNSUPPORTED_FEATURE')];
  const warnings = [finding('INDEX_MISMATCH')];
  const cases = [
    { verification: sampleVerification(), options: [], exitCode: 0 },
    { verification: sampleVerification({ verdict: 'findings', warnings }), options: [], exitCode: 0 },
    { verification: sampleVerification({ verdict: 'findings', warnings }), options: ['--strict'], exitCode: 10 },
    { verification: sampleVerification({ verdict: 'broken', errors: damaged }), options: [], exitCode: 10 },
    { verification: sampleVerification({ verdict: 'broken', errors: tooNew }), options: [], exitCode: 11 },
  ];
  for (const { verification, options, exitCode } of cases) {
    const library = { verifyImage: () => Promise.resolve(verification) };
    const { code, out } = await runIn(['verify', '--json', ...options, 'x'], { library });
    assert.equal(code, exitCode);
    const json = JSON.parse(out) as { ok: boolean };
    assert.equal(json.ok, exitCode === 0);
    assert.equal(Object.keys(json)[0], 'ok');
  }
});

test('verify hands over all channels, and closes them also when one cannot be opened', async () => {
  const all = await runIn(['verify', 'a', 'b', '-']);
  assert.deepEqual(
    all.sources.map(({ name, closed }) => [name, closed]),
    ['a', 'b', 'standard input'].map((name) => [name, true]),
  );
  const world = fakeWorld();
  const { library } = world.context;
  const error = new TransmigrateError('READ_FAILED', "Can't read b");
  const openFileSource = (path: string) => (path === 'b' ? Promise.reject(error) : library.openFileSource(path));
  assert.equal(await run(['verify', 'a', 'b'], { ...world.context, library: { ...library, openFileSource } }), 15);
  assert.deepEqual(
    world.sources.map(({ closed }) => closed),
    [true],
  );
});

test('verify --quiet prints nothing of a sound image, and what is wrong with another', async () => {
  assert.equal((await runIn(['verify', '--quiet', 'x'])).out, '');
  const verification = sampleVerification({ verdict: 'broken', errors: [finding('BODY_CHECKSUM')] });
  const { out } = await runIn(['verify', '-q', 'x'], { library: { verifyImage: () => Promise.resolve(verification) } });
  assert.match(out, /What is wrong \(BODY_CHECKSUM at offset 0x80/);
});

test('an error names the thing, where it is, and what to do', async () => {
  const error = new TransmigrateError('BODY_CHECKSUM', 'The body\u001b does not match', {
    offset: 4096,
    path: 'record 12 (RAM)/extents[3].first',
    section: '7.1',
  });
  const { code, err } = await runIn(['x.tmig'], { library: { inspectImage: () => Promise.reject(error) } });
  assert.equal(code, 10);
  const [what = '', next = ''] = err.split('\n');
  assert.match(what, /^transmigrate: The body\\x1b does not match \(BODY_CHECKSUM at offset 0x1000, record 12 \(RAM\)/);
  assert.equal(next, error.next);
});

test('an exception of any other kind is a defect, and shows its stack only when asked', async () => {
  const library = { inspectImage: () => Promise.reject(new RangeError('off by one')) };
  const plain = await runIn(['x.tmig'], { library });
  assert.equal(plain.code, 1);
  assert.match(plain.err, /^transmigrate: RangeError: off by one \(INTERNAL\)\n.*TRANSMIGRATE_DEBUG/);
  assert.doesNotMatch(plain.err, /run\.test\.ts/);
  const debug = await runIn(['x.tmig'], { library, env: { TRANSMIGRATE_DEBUG: '1' } });
  assert.match(debug.err, /run\.test\.ts/);
});

test('when the reader of the output has gone, the command ends quietly with its own exit code', async () => {
  const failure = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  const { code, err } = await runIn(['x.tmig'], { out: new Kept({ failure }) });
  assert.equal(code, 0);
  assert.equal(err, '');
});

test('output that cannot be written is an error', async () => {
  const failure = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  const { code, err } = await runIn(['x.tmig'], { out: new Kept({ failure }) });
  assert.equal(code, 15);
  assert.match(err, /Can't write the output: the disk is full \(WRITE_FAILED\)\n.*not whole/);
});

test('Ctrl-C ends it with 130, also when the library hears nothing, and takes the progress away first', async () => {
  let now = 0;
  const world = fakeWorld({
    now: () => now,
    err: new Kept({ isTTY: true }),
    library: {
      inspectImage: (_source, options) => {
        now = 1000;
        options?.onProgress?.(1, 10);
        setImmediate(() => world.cancel.abort());
        return new Promise(() => undefined);
      },
    },
  });
  assert.equal(await run(['x.tmig'], world.context), 130);
  const [line = '', end, said = ''] = world.err.text.split('\u001b[K');
  assert.match(line, /^\rinspect: 10%/);
  assert.equal(end, '\r');
  assert.equal(said, 'transmigrate: cancelled (CANCELLED). Nothing was changed.\n');
});

test('a host that is lost with Ctrl-C, before or after it, is no failure of its own', async () => {
  const lost = new TransmigrateError('HOST_UNREACHABLE', 'The connection was lost');
  for (const interrupted of [true, false]) {
    const world = fakeWorld({
      library: {
        connectHost: () => {
          if (interrupted) setTimeout(() => world.cancel.abort(), 10);
          return Promise.reject(lost);
        },
      },
    });
    assert.equal(await run(['list'], world.context), interrupted ? 130 : 13);
    const said = 'transmigrate: cancelled (CANCELLED). The host was lost before it said what became of it.\n';
    if (interrupted) assert.equal(world.err.text, said);
    else assert.match(world.err.text, /HOST_UNREACHABLE/);
  }
});

test('colours only on a terminal, and not when somebody said no', async () => {
  const coloured = async (argv: string[], env = {}, isTTY = true) =>
    (await runIn([...argv, 'x.tmig'], { env, out: new Kept({ isTTY }) })).out.includes('\u001b[');
  assert.equal(await coloured([]), true);
  assert.equal(await coloured([], {}, false), false);
  assert.equal(await coloured(['--no-color']), false);
  assert.equal(await coloured([], { NO_COLOR: '1' }), false);
  assert.equal(await coloured([], { NO_COLOR: '' }), true);
  assert.equal(await coloured([], { TERM: 'dumb' }), false);
});
