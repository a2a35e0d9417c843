/** What a new user gets wrong, with real processes: what it is, where, what to do next, and the exit code. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { random } from '../../support/random.ts';
import { PAGE, written } from '../../support/streams.ts';

const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-wrong-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const here = (name: string): string => join(directory, name);

before(async () => {
  const image = await written((writer) => writer.ram(0, 16, random('wrong').scramble(new Uint8Array(16 * PAGE))));
  writeFileSync(here('a.tmig'), image);
  writeFileSync(here('cut.tmig'), image.subarray(0, 100));
  writeFileSync(here('a.zip'), `PK\x03\x04${'x'.repeat(99)}`);
  writeFileSync(here('empty'), '');
  writeFileSync(here('text'), 'hello, this is no image at all\n');
  writeFileSync(here('unreadable'), image, { mode: 0 });
  writeFileSync(here('sparse'), '');
  truncateSync(here('sparse'), 100 * 1024 ** 3);
  mkdirSync(here('folder'));
});

interface Options {
  readonly env?: Record<string, string>;
  readonly stdio?: ('pipe' | 'ignore' | number)[];
  readonly input?: string;
  /** Run as somebody who is not root. */
  readonly uid?: number;
}

function run(args: readonly string[], { env = {}, stdio = ['pipe', 'pipe', 'pipe'], ...rest }: Options = {}) {
  const options = { encoding: 'utf8', cwd: directory, env: { ...process.env, ...env }, stdio, ...rest } as const;
  // What is not answered in this time waits for something.
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    ...options,
    timeout: 30_000,
  });
  assert.equal(signal, null, args.join(' '));
  assert.doesNotMatch(`${stdout}${stderr}`, /^ {4}at |node:internal/m, 'no stack trace');
  return { status, out: stdout ?? '', err: stderr ?? '' };
}

const FILES: readonly (readonly [name: string, status: number, said: RegExp])[] = [
  ['folder', 15, /Can't read folder: it is a directory \(READ_FAILED\)\nName a file in it/],
  ['missing', 15, /there is no such file.*\nCheck the name/],
  ['text/x.tmig', 15, /a part of its path is not a directory/],
  ['', 2, /the name of the FILE is empty \(USAGE\)\n.*variable/],
  ['empty', 10, /TRUNCATED at offset 0x0, empty\)\n *It is empty/],
  ['cut.tmig', 10, /ends after 100 bytes.*TRUNCATED at offset 0x64/],
  ['text', 11, /NOT_AN_IMAGE at offset 0x0.*\n *It looks like text/],
  ['a.zip', 11, /NOT_AN_IMAGE.*\n *It looks like a zip archive: unpack it first, `unzip -p FILE \| transmigrate -`/],
  ['sparse', 11, /NOT_AN_IMAGE.*\n *It looks like zeros/],
  ['/dev/null', 10, /TRUNCATED.*\n *It is empty/],
  ['/dev/zero', 11, /NOT_AN_IMAGE.*\n *It looks like zeros/],
];

for (const [name, status, said] of FILES) {
  for (const command of [['inspect'], ['inspect', '--records'], ['verify'], ['verify', '--digest']]) {
    test(`${command.join(' ')} ${name === '' ? "''" : name}`, (t) => {
      if (name.startsWith('/dev/') && process.platform === 'win32') return t.skip('there is no such device here');
      const { status: found, out, err } = run([...command, name]);
      assert.equal(found, status);
      assert.match(out + err, said);
      const asJson = run([...command, '--json', name]);
      assert.deepEqual([asJson.status, asJson.err], [status, '']);
      assert.equal((JSON.parse(asJson.out) as { ok: boolean }).ok, false);
    });
  }
}

test('text about what is no image does not speak of an image', () => {
  assert.match(run(['text']).out, /^text: not an image, 31 B\n\nWrong\n/);
  assert.match(run(['verify', 'text']).out, /^text: not an image\n {2}error: /);
  assert.doesNotMatch(run(['verify', 'text']).out, /checkpoint|records|will not restore/);
  assert.equal((JSON.parse(run(['verify', '--json', 'text']).out) as { format: string }).format, 'unknown');
});

test('a file that must not be read', (t) => {
  if (process.getuid?.() !== 0) {
    assert.match(run(['unreadable']).err, /permission denied.*\nAsk its owner/);
    return;
  }
  // Root may read everything: so as somebody else, where the checkout can be read by others.
  const nobody = { uid: 65_534 };
  if (run(['--version'], nobody).status !== 0) return t.skip('others than root can not run the command here');
  chmodSync(directory, 0o755);
  const { status, err } = run([here('unreadable')], nobody);
  assert.equal(status, 15);
  assert.match(err, /permission denied.*\nAsk its owner/);
});

test('a socket', async (t) => {
  if (process.platform === 'win32') return t.skip('sockets have no place among files here');
  const server = createServer().listen(here('socket'));
  await once(server, 'listening');
  assert.match(run(['socket']).err, /it is a socket/);
  server.close();
});

test('a named pipe is read like a pipe', async (t) => {
  if (spawnSync('mkfifo', [here('fifo')]).status !== 0) return t.skip('there is no mkfifo here');
  for (const args of [['inspect'], ['verify'], ['verify', '--digest']]) {
    const writer = spawn('sh', ['-c', 'cat a.tmig > fifo'], { cwd: directory, stdio: 'ignore' });
    const { status, out } = run([...args, 'fifo']);
    assert.equal(status, 0);
    assert.match(out, /^fifo: /);
    await once(writer, 'close');
  }
});

function mounted(t: TestContext, name: string, bytes: string): string | undefined {
  mkdirSync(here(name));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', here(name)]).status !== 0) {
    t.skip('needs root, to mount a small file system');
    return undefined;
  }
  t.after(() => spawnSync('umount', [here(name)]));
  return here(name);
}

test('a TMPDIR that is full, missing or not writable', (t) => {
  const stdin = (): number => openSync(here('a.tmig'), 'r');
  const digest = (TMPDIR: string) => {
    const fd = stdin();
    const result = run(['verify', '--digest', '-'], { env: { TMPDIR }, stdio: [fd, 'pipe', 'pipe'] as never });
    closeSync(fd);
    return result;
  };
  const missing = digest(here('nowhere'));
  assert.equal(missing.status, 15);
  assert.match(missing.err, /Can't put the input aside in a temporary file: there is no directory .*WRITE_FAILED/);
  assert.match(missing.err, /\nSet TMPDIR to a directory with room/);
  const full = mounted(t, 'full', '16k');
  if (full === undefined) return;
  const { status, err } = digest(full);
  assert.equal(status, 15);
  assert.match(err, /there is no room left in .*\(WRITE_FAILED\)\nSet TMPDIR/);
  assert.deepEqual(readdirSync(full), []);
});

test('standard input that is closed, and standard output that is closed or full', (t) => {
  const closed = spawnSync('sh', ['-c', '"$0" "$1" verify --digest - <&-', process.execPath, bin], {
    encoding: 'utf8',
  });
  assert.equal(closed.status, 10);
  assert.match(closed.stdout, /It is empty/);
  const silent = spawnSync('sh', ['-c', '"$0" "$1" "$2" >&-', process.execPath, bin, here('a.tmig')], {
    encoding: 'utf8',
  });
  assert.deepEqual([silent.status, silent.stderr], [0, '']);
  if (process.platform !== 'linux') return t.skip('/dev/full is of Linux');
  for (const args of [['a.tmig'], ['--json', 'a.tmig'], ['verify', 'a.tmig'], ['completion', 'bash']]) {
    const fd = openSync('/dev/full', 'w');
    const { status, err } = run(args, { stdio: ['pipe', fd, 'pipe'] });
    closeSync(fd);
    assert.equal(status, 15);
    assert.match(err, /Can't write standard output: the disk is full \(WRITE_FAILED\)\n.*not whole/);
  }
});

test('a block device: its size is found, and what follows the image is no damage', (t) => {
  const file = here('disk');
  writeFileSync(file, '');
  truncateSync(file, 3 * 1024 ** 2 + 512);
  const loop = spawnSync('losetup', ['--find', '--show', file], { encoding: 'utf8' });
  if (loop.status !== 0) return t.skip('needs root and loop devices');
  const device = loop.stdout.trim();
  t.after(() => spawnSync('losetup', ['--detach', device]));
  assert.equal(spawnSync('dd', [`if=${here('a.tmig')}`, `of=${device}`, 'conv=fsync']).status, 0);
  const inspection = JSON.parse(run(['--json', device]).out) as { file: { bytes: number }; complete: boolean };
  assert.equal(inspection.file.bytes, 3 * 1024 ** 2 + 512);
  assert.equal(inspection.complete, true);
  const { status, out } = run(['verify', '--digest', device], { env: { TMPDIR: here('nowhere') } });
  assert.equal(status, 0, 'a device can be read twice, so nothing is put aside');
  assert.match(out, /TRAILING_DATA[^]*The image itself is whole/);
  assert.equal(run(['verify', '--strict', device]).status, 10);
});

const WORDS: readonly (readonly [args: readonly string[], said: RegExp])[] = [
  [['verfy', 'a.tmig'], /'verfy' is neither a command nor a file: did you mean verify\?/],
  [['--json', 'smal'], /'smal' is neither a command nor a file/],
  [['help', 'vrify'], /'vrify' is neither a command nor a file: did you mean verify\?/],
  [['verify', '--digset', 'a.tmig'], /unknown option '--digset': did you mean --digest\?/],
  [['completion', 'bsh'], /there is no completion for 'bsh': did you mean bash\?.*\nThe shells are bash, zsh, fish/],
  [['completion'], /missing required argument 'shell'/],
  [['-x'], /unknown option '-x'/],
];

for (const [args, said] of WORDS) {
  test(`transmigrate ${args.join(' ')}`, () => {
    const { status, out, err } = run(args);
    assert.equal(status, 2);
    assert.match(args.includes('--json') ? out : err, said);
  });
}
