/** Ctrl-C at any moment, with real processes: one line, exit code 130, and nothing left behind. */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { random } from '../../support/random.ts';
import { PAGE, written } from '../../support/streams.ts';

const bin = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tmig-signals-'));
const spooled = join(directory, 'tmp');
mkdirSync(spooled);
let image: Uint8Array = new Uint8Array(0);
let records = '';
after(() => rmSync(directory, { recursive: true, force: true }));
before(async () => {
  const pages = random('signals').scramble(new Uint8Array(256 * PAGE));
  image = await written((writer) => writer.ram(0, 256, pages));
  records = join(directory, 'records.tmig');
  const many = await written(async (writer) => {
    for (let i = 0; i < 6000; i++) {
      await writer.ram(i, 1, pages.subarray(0, PAGE));
      await writer.round();
    }
  });
  writeFileSync(records, many);
});

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

function start(args: readonly string[]): Child {
  return spawn(process.execPath, [bin, ...args], {
    cwd: directory,
    env: { ...process.env, TMPDIR: spooled },
    stdio: 'pipe',
    // In a group of its own, so that no terminal of the tester counts as the sender.
    detached: true,
  });
}

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

async function ended(child: Child): Promise<Ended> {
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, out, err };
}

const SAID = 'transmigrate: cancelled (CANCELLED). Nothing was changed.\n';

/** Writes the start of an image to a child that then waits for the rest, and waits until it has taken it. */
async function feedStart(child: Child): Promise<void> {
  child.stdin.on('error', () => undefined);
  await new Promise((resolve) => child.stdin.write(image.subarray(0, 600_000), resolve));
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  for (const args of [['verify', '--digest', '-'], ['verify', '-'], ['inspect', '-'], ['-']]) {
    test(`${signal} ends ${args.join(' ')} while it waits for its pipe`, async () => {
      const child = start(args);
      const end = ended(child);
      await feedStart(child);
      child.kill(signal);
      assert.deepEqual(await end, { status: 130, signal: null, out: '', err: SAID });
      assert.deepEqual(readdirSync(spooled), []);
    });
  }
}

test('a killed verify --digest leaves nothing in TMPDIR either', async () => {
  const child = start(['verify', '--digest', '-']);
  const end = ended(child);
  await feedStart(child);
  assert.deepEqual(readdirSync(spooled), [], 'the file has no name while it is in use');
  child.kill('SIGKILL');
  assert.equal((await end).signal, 'SIGKILL');
  assert.deepEqual(readdirSync(spooled), []);
});

test('Ctrl-C ends the wait for a named pipe that nobody writes', async (t) => {
  if (spawnSync('mkfifo', [join(directory, 'fifo')]).status !== 0) return t.skip('there is no mkfifo here');
  const child = start(['verify', '--digest', 'fifo']);
  const end = ended(child);
  // Long enough for it to have opened the pipe, on a slow machine too; earlier is no failure.
  await sleep(1500);
  child.kill('SIGINT');
  assert.deepEqual(await end, { status: 130, signal: null, out: '', err: SAID });
});

test('the end of a pipe just before Ctrl-C is not reported as a cut image', async () => {
  for (const args of [
    ['verify', '-'],
    ['verify', '--digest', '--json', '-'],
    ['inspect', '-'],
  ]) {
    const child = start(args);
    const end = ended(child);
    await feedStart(child);
    // As in a pipeline, whose programs all get the signal.
    child.stdin.end();
    child.kill('SIGINT');
    const { status, out, err } = await end;
    assert.equal(status, 130);
    assert.match(args.includes('--json') ? out : err, /CANCELLED/);
    assert.doesNotMatch(out, /TRUNCATED/);
  }
});

test('with --json it is one JSON document', async () => {
  const child = start(['verify', '--json', '-']);
  const end = ended(child);
  await feedStart(child);
  child.kill('SIGINT');
  const { status, out, err } = await end;
  assert.equal(status, 130);
  assert.equal(err, '');
  const { ok, error } = JSON.parse(out) as { ok: boolean; error: { code: string } };
  assert.deepEqual([ok, error.code], [false, 'CANCELLED']);
});

test('while a report waits for its reader: a JSON document that was begun is not followed by a second', async () => {
  for (const args of [
    ['--records', 'records.tmig'],
    ['--records', '--json', 'records.tmig'],
  ]) {
    const child = start(['inspect', ...args]);
    await once(child.stdout, 'readable');
    // The pipe is full by now, or soon: nobody reads it.
    child.kill('SIGINT');
    const { status, out, err } = await ended(child);
    assert.equal(status, 130);
    assert.equal(err, SAID);
    assert.ok(!out.includes('CANCELLED'), out.slice(-200));
  }
});

test('a second Ctrl-C ends it at once, whatever it does', async () => {
  const child = start(['verify', '-']);
  const end = ended(child);
  await feedStart(child);
  child.kill('SIGINT');
  child.kill('SIGINT');
  const { status, signal } = await end;
  assert.ok(status === 130 || signal === 'SIGINT', JSON.stringify([status, signal]));
});

test('at any moment from its start: no stack, and nothing left behind', async () => {
  for (let ms = 0; ms <= 400; ms += 40) {
    const child = start(['verify', '--digest', '-']);
    const end = ended(child);
    child.stdin.on('error', () => undefined);
    child.stdin.write(image.subarray(0, 600_000));
    await sleep(ms);
    child.kill('SIGINT');
    const { status, signal, out, err } = await end;
    // Before the command has begun to listen, the signal ends the process as it ends any other.
    assert.ok(
      signal === 'SIGINT' ? err === '' : status === 130 && err === SAID,
      JSON.stringify([ms, status, signal, err]),
    );
    assert.equal(out, '');
    assert.deepEqual(readdirSync(spooled), []);
  }
});

test('when the reader of the output goes, it ends without a word', async () => {
  for (const args of [['--records'], ['--records', '--json']]) {
    const child = start(['inspect', ...args, 'records.tmig']);
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    await once(child.stdout, 'readable');
    child.stdout.destroy();
    const [status] = (await once(child, 'close')) as [number | null];
    assert.deepEqual([status, err], [0, '']);
  }
});
