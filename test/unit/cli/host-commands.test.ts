/** The commands that speak to a host, as somebody types them. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { TransmigrateError } from '../../../src/errors.ts';
import { parseHostDescription } from '../../../src/image/check/host-description.ts';
import type { GuestInfo } from '../../../src/host/api.ts';
import { HostClient } from '../../../src/host/client.ts';
import { serve } from '../../../src/host/server.ts';
import { displayWidth } from '../../../src/cli/text/format.ts';
import { guestLines } from '../../../src/cli/text/guest.ts';
import { PLAIN } from '../../../src/cli/text/style.ts';
import { run } from '../../../src/cli/run.ts';
import { Daemon } from '../../support/host/daemon.ts';
import { choiceOf, fakeHost, scratch } from '../../support/host/fake-host.ts';
import { until } from '../../support/guest/machines.ts';
import { fakeWorld, type FakeWorld } from './fake.ts';

const BIN = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
const directory = scratch(after);
const spec = readFileSync(new URL('../../../spec/cli-json.md', import.meta.url), 'utf8');
let daemon: Daemon;

before(async () => {
  daemon = await Daemon.start(join(directory.path, 'host.sock'));
});
after(() => daemon.stop());

/** A world whose host is real. */
function worldOf(socket: string): FakeWorld {
  return fakeWorld({
    env: { TRANSMIGRATE_SOCKET: socket },
    library: { connectHost: (path) => Promise.resolve(new HostClient(path)) },
  });
}

/** Keys that a section of spec/cli-json.md names. */
function keysOf(section: number): Set<string> {
  const text = spec.split(/^## /m).find((part) => part.startsWith(`${section} `))!;
  const found = Array.from(text.matchAll(/`([^`]*)`/g), ([, code]) => code.match(/[a-zA-Z]+/g) ?? []);
  return new Set(found.flat());
}

/** Runs a command with --json, and checks that the specification names its keys. */
async function json(section: number, args: readonly string[]): Promise<Record<string, unknown>> {
  const { status, out, err } = await daemon.run([...args, '--json']);
  assert.equal(status, 0, err + out);
  assert.match(out, /^\{.*\}\n$/);
  const object = JSON.parse(out) as Record<string, unknown>;
  const known = keysOf(section);
  for (const key of Object.keys(object)) assert.ok(known.has(key), `spec/cli-json.md ${section} does not name ${key}`);
  return object;
}

describe('with --json', () => {
  it('each command prints one object, as the specification says', async () => {
    const image = join(directory.path, 'j.tmig');
    const { guests } = (await json(5, ['list'])) as { guests: GuestInfo[] };
    assert.deepEqual(guests, []);
    assert.equal((await json(5, ['create', 'j', '--pages', '8']))['state'], 'running');
    assert.equal((await json(5, ['pause', 'j']))['state'], 'paused');
    assert.equal((await json(5, ['unpause', 'j']))['state'], 'running');
    assert.equal((await json(6, ['host', 'info']))['guests'], 1);
    assert.equal((await json(6, ['host', 'close', 'until noon']))['closed'], 'until noon');
    assert.match((await daemon.run(['host', 'info'])).out, /closed to machines of other hosts: until noon/);
    assert.equal((await json(6, ['host', 'open']))['closed'], null);
    const saved = await json(7, ['save', 'j', image]);
    assert.deepEqual([saved['state'], saved['path']], ['running', image]);
    const restored = await json(8, ['restore', '--name', 'k', '--paused', image]);
    const known = keysOf(5);
    for (const key of Object.keys(restored['guest'] as object)) assert.ok(known.has(key), key);
    for (const name of ['j', 'k']) assert.equal((await json(5, ['destroy', name]))['name'], name);
  });

  it('a host describes itself as check reads it', async () => {
    assert.equal((await daemon.run(['create', 'described', '--pages', '8'])).status, 0);
    const { status, out } = await daemon.run(['host', 'describe', '--json']);
    assert.equal(status, 0);
    const host = parseHostDescription(new TextEncoder().encode(out), 'own');
    assert.deepEqual(
      host.drivers!.map(({ name }) => name),
      ['v86'],
    );
    assert.ok(host.guests!.some(({ name }) => name === 'described'));
    const text = await daemon.run(['host', 'describe']);
    assert.match(text.out, /^v86 0\.5\.462, .*\n.* of memory free\n/);
    assert.equal((await daemon.run(['destroy', 'described'])).status, 0);
  });

  it('what goes wrong is an object too', async () => {
    const { status, out, err } = await daemon.run(['save', '--json', 'nobody', join(directory.path, 'n.tmig')]);
    assert.deepEqual([status, err], [12, '']);
    assert.equal((JSON.parse(out) as { error: { code: string } }).error.code, 'GUEST_UNKNOWN');
  });

  it('an image on standard output is followed by nothing', async () => {
    await daemon.client.create({ name: 'o', boot: { kind: 'small' }, memoryMiB: 8 });
    const { status, out, err } = await daemon.run(['save', '--json', '--stop', 'o', '-']);
    assert.equal(status, 0);
    assert.equal((JSON.parse(err) as { state: string; bytes: number }).bytes, out.length);
  });
});

describe('what is typed wrong', () => {
  const wrong: readonly [args: readonly string[], status: number, says: RegExp][] = [
    [['host', 'rn'], 2, /'rn' is no command of `transmigrate host`: did you mean run\?/],
    [['host', 'run', '--tmm', '1G'], 2, /did you mean --tmem\?.*\nSee `transmigrate host run --help`/s],
    [['host', 'run', '--tmem', 'lots'], 2, /'lots' is not a size/],
    [['host', 'run', '--policy', '/no/such'], 15, /Can't read \/no\/such/],
    [['host', 'run', '--policy', BIN], 10, /is not JSON/],
    [['resotre', 'x'], 2, /did you mean restore\?/],
    [['create', '--kernel', 'a', '--multiboot', 'b'], 2, /can not both be given/],
    [['create', '--initrd', 'a'], 2, /need a --kernel/],
    [['create', '--kernel', '/no/such'], 15, /Can't read \/no\/such/],
    [['create', '--multiboot', BIN], 11, /BOOT_FILE/],
    [['create', '--kernel', BIN], 11, /BOOT_FILE/],
    [['create', '--disk', 'hda'], 2, /'hda' is no disk/],
    [['create', '--disk', 'hda=x,maybe'], 2, /'maybe' is no kind of disk/],
    [['create', '--disk', 'hda=/no/such'], 15, /Can't read \/no\/such/],
    [['create', '--disk', 'hda=/no/such,readonly'], 15, /Can't read \/no\/such/],
    [['create', '--disk', 'hdb=tmem,1M'], 2, /no second disk without a first/],
    [['create', '--disk', 'hda=tmem'], 2, /not a size/],
    [['create', '--memory', '3G'], 2, /4 to 2047 MiB/],
    [['create', '--memory', '1M'], 2, /4 to 2047 MiB/],
    [['create', '--pages', '0'], 2, /1 to 65536 pages/],
    [['create', 'a/b'], 2, /a name has letters/],
    [['create', '--driver-version', '0.1'], 11, /0\.5\.462/],
    [['save', '--stop', '--pause', 'x', 'y'], 2, /cannot be used with/],
    [['save', '--codec', 'zip', 'x', 'y'], 2, /raw, zstd/],
    [['save', 'x'], 2, /missing required argument/],
    [['restore', '/no/such'], 15, /Can't read \/no\/such/],
    [['restore', BIN], 11, /NOT_AN_IMAGE/],
    [['console', 'nobody'], 12, /GUEST_UNKNOWN/],
    [['destroy', '..'], 12, /GUEST_UNKNOWN/],
  ];
  it('is said in two lines, and makes nothing', async () => {
    for (const [args, status, says] of wrong) {
      const { context, out, err } = worldOf(daemon.socket);
      assert.equal(await run(args, context), status, args.join(' '));
      assert.match(err.text, says, args.join(' '));
      assert.equal(err.text.trimEnd().split('\n').length, 2, err.text);
      assert.equal(out.text, '');
    }
    assert.deepEqual(await daemon.client.list(), []);
  });
});

describe('where no host runs', () => {
  it('every command says so, and how to start one', async () => {
    const commands = [
      ['list'],
      ['create', 'a'],
      ['host', 'info'],
      ['host', 'describe'],
      ['pause', 'a'],
      ['unpause', 'a'],
      ['destroy', 'a'],
      ['console', 'a'],
      ['save', 'a', join(directory.path, 'x.tmig')],
      ['save', 'a', '-'],
      ['restore', 'x'],
      ['restore', '-'],
    ];
    for (const args of commands) {
      const { context, err } = worldOf(join(directory.path, 'none.sock'));
      assert.equal(await run(args, context), 13, args.join(' '));
      assert.match(
        err.text,
        /^transmigrate: No host runs on .*none\.sock \(HOST_UNREACHABLE\)\nStart one with/,
        args.join(' '),
      );
    }
    assert.ok(!existsSync(join(directory.path, 'x.tmig')));
  });
});

describe('a list', () => {
  const guest: GuestInfo = {
    name: 'a-name-that-is-rather-long',
    uuid: '6f1c0a52-8f3f-4f0e-9a67-2c6f0de6a001',
    state: 'crashed',
    reason: `exit code 1; it said: ${'many words of an error '.repeat(10)}\u001b[31m`,
    driver: 'v86',
    driverVersion: '0.5.462+g5f9a90f',
    memoryBytes: 64 * 2 ** 20,
    tmem: { pools: 3, pages: 1234 },
    since: '2026-01-01T00:00:00.000Z',
    busy: null,
  };
  it('fits into narrow terminals, and loses nothing', () => {
    for (const width of [40, 60, 80, 120]) {
      const lines = guestLines([guest, { ...guest, name: 'b', state: 'running', busy: 'saving' }], {
        style: PLAIN,
        width,
      });
      for (const line of lines) {
        // A word that is longer than its room stands alone.
        assert.ok(displayWidth(line) <= width || !/\S\s+\S/.test(line), `${width}: ${line}`);
      }
      const text = lines.join(' ').replace(/\s+/g, ' ');
      for (const part of [guest.uuid, '0.5.462', '1,234 pages', '64 MiB', 'exit code 1', 'running, saving']) {
        assert.ok(text.includes(part), `${width}: ${part}`);
      }
      assert.ok(!text.includes('\u001b'));
    }
  });
});

describe('a console', () => {
  before(async () => {
    await daemon.client.create({ name: 'c', boot: { kind: 'small' } });
  });

  it('takes what a pipe types, all bytes of it', async () => {
    await daemon.client.create({ name: 'p', boot: { kind: 'small' }, memoryMiB: 8 });
    const child = spawn(process.execPath, [BIN, 'console', 'p', '--socket', daemon.socket]);
    const ended = new Promise((resolve) => child.on('close', resolve));
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString('latin1')));
    child.stdin.end('\u001d\nt0\n');
    await until('the last command is answered', () => out.includes('ok t=0'));
    await daemon.client.destroy('p');
    assert.equal(await ended, 0);
  });

  it('waits for a guest that has yet to read', async () => {
    const fake = fakeHost();
    const socket = join(directory.path, 'fake.sock');
    const server = await serve(fake.host, socket);
    await fake.host.create(choiceOf({ name: 'slow' }));
    let refused = 0;
    fake.driver.last.before = (operation) => {
      if (operation !== 'writeConsole' || ++refused > 3) return;
      throw new TransmigrateError('MACHINE_STATE', 'The guest does not read its serial port');
    };
    const { context, out } = worldOf(socket);
    const text = 'some words '.repeat(5000);
    context.stdin.push(Buffer.from(text));
    context.stdin.push(null);
    const ended = run(['console', 'slow'], context);
    await until('all is typed', () => fake.driver.last.typed.length === text.length);
    await fake.host.close();
    assert.equal(await ended, 0);
    assert.equal(fake.driver.last.typed, text);
    assert.equal(out.text, text);
    assert.ok(refused > 3);
    server.closeAllConnections();
    server.close();
  });

  it('ends without a word when its reader has seen enough', () => {
    const console = `'${process.execPath}' '${BIN}' console c --socket '${daemon.socket}'`;
    const line = `${console} | head -1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8', timeout: 60_000, input: '' });
    assert.match(stdout, /^small-guest.*\n0\n$/);
    assert.equal(stderr, '');
  });

  const noTerminal = spawnSync('script', ['-qec', 'true', '/dev/null'], { input: '' }).status !== 0 && 'no script(1)';

  /** Types on a terminal, each text when its pattern was shown. @returns what was shown */
  async function typed(
    name: string,
    steps: readonly [shown: RegExp, act: string | (() => unknown)][],
  ): Promise<string> {
    const place = join(directory.path, `terminal ${name} ${String(Math.floor(performance.now()))}`);
    mkdirSync(place);
    const console = `'${process.execPath}' '${BIN}' console ${name} --socket '${daemon.socket}'`;
    writeFileSync(
      join(place, 'run.sh'),
      `stty -a > before; ${console} & echo $! > pid; fg > /dev/null; echo "status=$?"; stty -a > after; echo over`,
    );
    const child = spawn('script', ['-qec', 'bash -m run.sh', '/dev/null'], { cwd: place });
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString('latin1')));
    for (const [shown, act] of steps) {
      await until(`${shown} is shown`, () => shown.test(out));
      if (typeof act === 'string') child.stdin.write(act);
      else act();
    }
    await until('it is over', () => /^over\r$/m.test(out));
    child.stdin.end();
    await new Promise((resolve) => child.on('close', resolve));
    assert.equal(
      readFileSync(join(place, 'after'), 'utf8'),
      readFileSync(join(place, 'before'), 'utf8'),
      'the terminal',
    );
    return stripVTControlCharacters(out);
  }

  it('on a terminal sends each key, and is left by Ctrl-]', { skip: noTerminal }, async () => {
    // Ctrl-C is for the guest, and does not end the console.
    const shown = await typed('c', [
      [/round=/, 'c\n'],
      [/check pages=/, '\u0003\nt3\n'],
      [/ok t=3/, '\u001d'],
    ]);
    assert.match(shown, /status=0/);
  });

  it('gives the terminal back when the guest is destroyed', { skip: noTerminal }, async () => {
    await daemon.client.create({ name: 'd', boot: { kind: 'small' } });
    const shown = await typed('d', [[/round=/, () => void daemon.client.destroy('d')]]);
    assert.match(shown, /status=0/);
  });

  it('gives the terminal back when typing fails', { skip: noTerminal }, async () => {
    await daemon.client.create({ name: 'e', boot: { kind: 'small' } });
    let crashed = false;
    const whenCrashed = until('it crashed', async () => (await daemon.client.guest('e')).state === 'crashed').then(
      () => (crashed = true),
    );
    const shown = await typed('e', [
      [/round=/, 'k\n'],
      [/round=/, () => whenCrashed],
      [{ test: () => crashed } as unknown as RegExp, 'more\n'],
    ]);
    await whenCrashed;
    assert.match(shown, /GUEST_CRASHED/);
    assert.match(shown, /status=14/);
  });

  it('of a guest that is not there leaves the terminal alone', { skip: noTerminal }, async () => {
    assert.match(await typed('nobody', []), /GUEST_UNKNOWN[^]*status=12/);
  });
});
