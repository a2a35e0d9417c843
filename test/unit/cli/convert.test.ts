/** `convert` and `core`, as somebody types them. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { run } from '../../../src/cli/run.ts';
import type { Conversion, ConvertOptions } from '../../../src/index.ts';
import { sha256 } from '../../support/convert.ts';
import { libxcStream, pvSteps, xlFile } from '../../support/xen/streams.ts';
import { imageBytes } from '../../support/xen/corpus.ts';
import { fakeWorld, Kept } from './fake.ts';

const BIN = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-convert-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const here = (name: string): string => join(directory, name);
const xl = imageBytes('xen-4.17-pv-tiny64-4m.xl');

before(() => {
  writeFileSync(here('a.xl'), xl);
  writeFileSync(here('a.xl.gz'), gzipSync(xl));
  writeFileSync(here('cut.xl'), xl.subarray(0, 3_000_000));
  writeFileSync(here('pv.libxc'), libxcStream({}, pvSteps()));
  writeFileSync(here('hvm.xl'), xlFile());
});

function command(args: readonly string[], input?: Uint8Array): { status: number | null; out: Buffer; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], {
    cwd: directory,
    timeout: 60_000,
    maxBuffer: 64 * 1024 * 1024,
    ...(input !== undefined && { input }),
  });
  return { status, out: stdout, err: String(stderr) };
}

function done(args: readonly string[], input?: Uint8Array): { out: Buffer; err: string } {
  const { status, out, err } = command(args, input);
  assert.equal(status, 0, `${args.join(' ')}: ${err}`);
  return { out, err };
}

test('a file to ours and back, by the names of the files', () => {
  assert.match(
    String(done(['convert', 'a.xl', 'a.tmig']).out),
    /^a\.xl: xl to tmig: a\.tmig: .* 1,024 pages\n.*byte for byte/,
  );
  assert.match(
    String(done(['convert', 'a.tmig', 'b.xl']).out),
    /tmig to xl: b\.xl: .*\nthe bytes are those of the source\n$/,
  );
  assert.equal(sha256(readFileSync(here('b.xl'))), sha256(xl));
  if (process.platform !== 'win32') assert.equal(statSync(here('b.xl')).mode & 0o777, 0o600);
  assert.equal(String(done(['convert', '--quiet', '--no-origin', 'a.tmig', 'c.xl']).out), '');
  assert.equal(statSync(here('c.xl')).size, xl.byteLength);
});

test('through pipes, and out of a compressed file', () => {
  const ours = done(['convert', '-', '-', '--to', 'tmig'], xl);
  assert.match(ours.err, /^standard input: xl to tmig: standard output/);
  assert.equal(sha256(done(['convert', '-', '--to', 'xl', '-'], ours.out).out), sha256(xl));
  assert.equal(sha256(done(['convert', 'a.xl.gz', '-', '--to', 'xl']).out), sha256(xl));
  const layer = done(['convert', '-', '-', '--to', 'xen-libxc', '--allow-loss'], xl);
  assert.equal(sha256(layer.out), sha256(xl.subarray(833, 4_214_177)));
  assert.match(layer.err, /\nleft out: device xl-config\.json: /);
});

test('how to compress can be chosen', () => {
  const size = (...args: string[]): number => done(['convert', 'a.xl', '-', '--to', 'tmig', ...args]).out.byteLength;
  const raw = size('--codec', 'raw');
  const fast = size('--codec', 'zstd', '--level', '-7', '--threads', '0');
  const small = size('--codec', 'zstd', '--level', '19');
  assert.ok(small < fast && fast < raw, `${small}, ${fast}, ${raw}`);
  assert.ok(size('--codec', 'lz4', '--threads', '2') < raw);
});

describe('with --json', () => {
  const spec = readFileSync(new URL('../../../spec/cli-json.md', import.meta.url), 'utf8');
  const section = spec.split(/^## /m).find((part) => part.startsWith('11 '))!;

  it('one object, as the specification says', () => {
    const { out } = done(['convert', '--json', '--allow-loss', 'hvm.xl', 'hvm.libxl']);
    const object = JSON.parse(String(out)) as Conversion & { path: string };
    for (const key of Object.keys(object)) assert.ok(section.includes(`\`${key}\``), key);
    for (const { what } of object.losses) assert.ok(section.includes(what), what);
    assert.deepEqual(
      [object.from, object.to, object.nesting, object.exact, object.path],
      ['xl', 'libxl', ['xl', 'libxl', 'xen-libxc'], true, here('hvm.libxl')],
    );
    assert.equal(object.bytes, statSync(here('hvm.libxl')).size);
    // To standard output goes the image alone.
    const { err } = done(['convert', '--json', 'a.xl', '-', '--to', 'tmig']);
    assert.equal((JSON.parse(err) as { path: unknown }).path, null);
  });

  it('what would be lost', () => {
    const { status, out, err } = command(['convert', '--json', 'a.xl', 'lost.libxl']);
    assert.deepEqual([status, err], [12, '']);
    const { error } = JSON.parse(String(out)) as { error: { code: string; data: { losses: { name: string }[] } } };
    assert.equal(error.code, 'CONVERSION_LOSS');
    assert.deepEqual(
      error.data.losses.map(({ name }) => name),
      ['xl-config.json'],
    );
    assert.equal(existsSync(here('lost.libxl')), false);
  });
});

test('what can not be done says so, and leaves no file', () => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['a.xl', 'x'], 2, /the name x does not say which format.*\nSay it: --to tmig/],
    [['a.xl', 'x.tmig.gz'], 2, /does not say which format/],
    [['a.xl', ''], 2, /does not say which format/],
    [['a.xl', '', '--to', 'tmig'], 2, /the name of the OUTPUT is empty/],
    [['a.xl', 'x', '--to', 'vmdk'], 2, /Allowed choices are tmig/],
    [['a.xl', 'x.tmig', '--level', '30'], 2, /zstd has no level 30.*\nChoose one from -7 to 19/],
    [['a.xl', 'x.tmig', '--codec', 'raw', '--level', '1'], 2, /raw has no level 1/],
    [['a.xl', 'x.tmig', '--threads', '999'], 2, /999 threads/],
    [['a.xl', 'x.tmig', '--threads', 'two'], 2, /'two' is no whole number/],
    [['missing.xl', 'x.tmig'], 15, /there is no such file/],
    [['a.xl', 'nowhere/x.tmig'], 15, /the directory does not exist/],
    [['a.xl', '.', '--to', 'tmig'], 15, /it is a directory/],
    [['cut.xl', 'x.tmig'], 10, /TRUNCATED at offset/],
    [['cut.xl', 'x.tmig', '--to-checkpoint'], 10, /NO_CHECKPOINT/],
    [['pv.libxc', 'x.xl'], 12, /no place for configuration xl-config.*CONVERSION_LOSS/],
    [['a.xl', 'x.xl', '--from', 'raw'], 11, /its domain type is unknown.*IMAGE_UNFIT/],
  ];
  const files = readdirSync(directory);
  for (const [args, status, said] of cases) {
    const { status: found, err } = command(['convert', ...args]);
    assert.equal(found, status, `${args.join(' ')}: ${err}`);
    assert.match(err, said);
    assert.doesNotMatch(err, /^ {4}at /m);
  }
  assert.deepEqual(readdirSync(directory), files);
});

test('a file that is there is replaced, and stays as it was when that fails', () => {
  writeFileSync(here('old.tmig'), 'old');
  assert.equal(command(['convert', 'cut.xl', 'old.tmig']).status, 10);
  assert.equal(readFileSync(here('old.tmig'), 'utf8'), 'old');
  done(['convert', 'a.xl', 'old.tmig']);
  // Its own input, too.
  done(['convert', 'old.tmig', 'old.tmig', '--codec', 'raw']);
  assert.equal(sha256(done(['convert', 'old.tmig', '-', '--to', 'xl']).out), sha256(xl));
});

test('Ctrl-C leaves nothing, also while the input says nothing', async () => {
  mkdirSync(here('cancelled'));
  const child = spawn(process.execPath, [BIN, 'convert', '-', here('cancelled/x.tmig')], { stdio: 'pipe' });
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  // It ends before it has read all of that.
  child.stdin.on('error', () => undefined);
  child.stdin.write(xl.subarray(0, 2_000_000));
  while (readdirSync(here('cancelled')).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.equal(code, 130);
  assert.match(err, /^transmigrate: cancelled/);
  assert.deepEqual(readdirSync(here('cancelled')), []);
});

test('a full disk is said, and leaves nothing', (t) => {
  mkdirSync(here('full'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', here('full')]).status !== 0) {
    t.skip('SKIPPED: needs root, to mount a small file system');
    return;
  }
  t.after(() => spawnSync('umount', [here('full')]));
  for (const args of [
    ['a.xl', 'full/x.tmig', '--codec', 'raw'],
    ['a.xl', 'full/x.xl'],
    ['hvm.xl', 'full/y.tmig'],
  ]) {
    const { status, err } = command(['convert', ...args]);
    if (args[0] === 'hvm.xl') assert.equal(status, 0, err);
    else {
      assert.equal(status, 15, args.join(' '));
      assert.match(err, /the disk is full/);
    }
  }
  assert.deepEqual(readdirSync(here('full')), ['y.tmig']);
});

describe('what the library is told', () => {
  const CONVERSION: Conversion = {
    from: 'xl',
    to: 'tmig',
    nesting: ['xl'],
    exact: false,
    bytes: 5,
    pages: 1,
    losses: [{ what: 'device', name: 'a\u001b[31m', why: 'it has no place' }],
    warnings: [],
  };

  async function told(args: readonly string[]): Promise<ConvertOptions> {
    let options: ConvertOptions | undefined;
    const world = fakeWorld({
      library: {
        convertImage: (_source, _sink, given) => {
          options = given;
          return Promise.resolve(CONVERSION);
        },
      },
    });
    assert.equal(await run(args, world.context), 0, world.err.text);
    assert.ok(world.err.text.includes('left out: device a\\x1b[31m: it has no place\n'), world.err.text);
    return options!;
  }

  it('by convert', async () => {
    const plain = await told(['convert', 'a', '-', '--to', 'xl']);
    assert.deepEqual(
      [plain.to, plain.origin, plain.allowLoss, plain.toCheckpoint, plain.as],
      ['xl', true, false, false, undefined],
    );
    const all = await told(
      'convert a - --to xl --no-origin --allow-loss --to-checkpoint --from raw --codec lz4 --threads 3'.split(' '),
    );
    assert.deepEqual(
      [all.origin, all.allowLoss, all.toCheckpoint, all.as, all.codec, all.threads],
      [false, true, true, 'raw', 4, 3],
    );
    assert.equal(all.streamId.byteLength, 16);
    assert.match(all.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  it('by core, which leaves out what is no part of a core', async () => {
    const core = await told(['core', 'a', '-']);
    assert.deepEqual([core.to, core.allowLoss], ['elf-core', true]);
    assert.equal((await told(['core', '--xen', 'a', '-'])).to, 'xen-core');
  });

  it('nothing, when the image would go to a terminal', async () => {
    const world = fakeWorld({ out: new Kept({ isTTY: true }) });
    assert.equal(await run(['convert', 'a', '-', '--to', 'xl'], world.context), 2);
    assert.match(world.err.text, /not for a terminal/);
  });
});
