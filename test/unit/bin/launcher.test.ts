import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';

const BIN = join(import.meta.dirname, '../../../bin');
const base = realpathSync(mkdtempSync(join(tmpdir(), 'a path with spaces ')));
after(() => {
  rmSync(base, { recursive: true, force: true });
});

/** What stands for the command: it says who runs it, or does what its first argument asks. */
const MAIN = `
  const [what, value] = process.argv.slice(2);
  if (what === 'exit') process.exitCode = Number(value);
  else if (what === 'cat') process.stdin.pipe(process.stdout);
  else if (what === 'die') process.kill(process.pid, value);
  else if (what === 'wait') {
    process.on(value, () => { console.log('got ' + value); process.exit(7); });
    setInterval(() => {}, 1000);
    console.log('ready');
  } else console.log(JSON.stringify({ file: import.meta.filename, args: process.argv.slice(2), by: process.env.BY }));
`;

function write(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
}

interface Layout {
  readonly source?: boolean;
  readonly built?: boolean;
  /** The version that the Node in node_modules claims to have. */
  readonly node?: string;
}

function install(name: string, { source = false, built = false, node }: Layout): string {
  const root = join(base, name);
  cpSync(BIN, join(root, 'bin'), { recursive: true });
  write(join(root, 'package.json'), '{"type": "module"}');
  if (source) write(join(root, 'src/cli/main.ts'), `const typed: string = 'x'; void typed;${MAIN}`);
  if (built) write(join(root, 'dist/cli/main.js'), MAIN);
  if (node !== undefined) {
    write(join(root, 'node_modules/node/package.json'), JSON.stringify({ version: node }));
    const script = `#!/bin/sh\nBY=bundled exec ${JSON.stringify(process.execPath)} "$@"\n`;
    write(join(root, 'node_modules/node/bin/node'), script, 0o755);
  }
  return join(root, 'bin/transmigrate');
}

/** Makes the Node that runs the tests look old, except where the bundled one is asked to run. */
const old = join(base, 'old.cjs');
write(old, "if (process.env.BY !== 'bundled') Object.defineProperty(process, 'version', { value: 'v12.1.0' });");
const onOldNode = ['--require', old];

function run(bin: string, args: readonly string[], options: { flags?: readonly string[]; input?: string } = {}) {
  const { flags = [], input = '' } = options;
  const result = spawnSync(process.execPath, [...flags, bin, ...args], { encoding: 'utf8', input });
  const { status, signal, stdout, stderr } = result;
  return { status, signal, stdout, stderr };
}

describe('bin/transmigrate', () => {
  const checkout = install('checkout', { source: true, built: true, node: '24.21.0' });
  const installed = install('installed', { built: true });

  it('runs the TypeScript of a checkout, and the built JavaScript of a package', () => {
    const inCheckout = JSON.parse(run(checkout, ['a', '--b']).stdout) as Record<string, unknown>;
    assert.deepEqual(inCheckout, { file: join(base, 'checkout/src/cli/main.ts'), args: ['a', '--b'] });
    const inPackage = JSON.parse(run(installed, []).stdout) as Record<string, unknown>;
    assert.deepEqual(inPackage, { file: join(base, 'installed/dist/cli/main.js'), args: [] });
  });

  it('runs through a symbolic link from elsewhere', () => {
    const link = join(base, 'tmig');
    symlinkSync(installed, link);
    assert.equal(run(link, ['exit', '3']).status, 3);
    assert.match(run(link, ['x']).stdout, /installed\/dist\/cli\/main\.js/);
  });

  it('starts as a program of its own', () => {
    const result = spawnSync(checkout, ['exit', '4'], { encoding: 'utf8' });
    assert.equal(result.status, 4, result.stderr);
  });

  it('says what is missing on an old Node', () => {
    const bare = install('bare', { source: true });
    const inCheckout = run(bare, [], { flags: onOldNode });
    assert.equal(inCheckout.status, 11);
    assert.match(inCheckout.stderr, /needs Node 24 or newer, and this is v12\.1\.0[^]*`npm ci`/);
    assert.equal(inCheckout.stdout, '');

    const inPackage = run(installed, [], { flags: onOldNode });
    assert.equal(inPackage.status, 11);
    assert.match(inPackage.stderr, /needs Node 24[^]*v12\.1\.0[^]*Install Node 24/);
    assert.doesNotMatch(inPackage.stderr, /npm ci/);
  });

  it('does not trust a bundled Node that is old itself, or does not start', () => {
    const older = install('older', { source: true, node: '20.1.0' });
    assert.equal(run(older, [], { flags: onOldNode }).status, 11);
    const broken = install('broken', { source: true, node: '24.0.0' });
    write(join(base, 'broken/node_modules/node/bin/node'), '', 0o644);
    const result = run(broken, [], { flags: onOldNode });
    assert.equal(result.status, 11);
    assert.match(result.stderr, /does not start/);
  });

  it('goes on with the Node of the checkout: arguments, streams, exit code', () => {
    const seen = JSON.parse(run(checkout, ['a b', '--c'], { flags: onOldNode }).stdout) as Record<string, unknown>;
    assert.equal(seen['by'], 'bundled');
    assert.deepEqual(seen['args'], ['a b', '--c']);
    assert.equal(run(checkout, ['cat'], { flags: onOldNode, input: 'through' }).stdout, 'through');
    assert.equal(run(checkout, ['exit', '12'], { flags: onOldNode }).status, 12);
    assert.equal(run(checkout, ['die', 'SIGKILL'], { flags: onOldNode }).signal, 'SIGKILL');
    assert.equal(run(checkout, ['die', 'SIGTERM'], { flags: onOldNode }).signal, 'SIGTERM');
  });

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`hands ${signal} on to the Node of the checkout`, async () => {
      // In a group of its own, so that no terminal of the tester counts as the sender.
      const args = [...onOldNode, checkout, 'wait', signal];
      const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text;
        if (text.includes('ready')) child.kill(signal);
      });
      const [status] = (await once(child, 'close')) as [number | null];
      assert.equal(out, `ready\ngot ${signal}\n`);
      assert.equal(status, 7);
    });
  }

  it('tells of a copy that is not whole, and of packages that are not installed', () => {
    const hollow = run(install('hollow', {}), []);
    assert.equal(hollow.status, 11);
    assert.match(hollow.stderr, /not whole/);

    const fresh = install('fresh', { source: true });
    write(join(base, 'fresh/src/cli/main.ts'), "import 'commander-that-is-not-there';");
    const result = run(fresh, []);
    assert.equal(result.status, 11);
    assert.match(result.stderr, /run `npm ci`/);
  });

  it('hides no error of the command', () => {
    const failing = install('failing', { source: true, node: '24.0.0' });
    write(join(base, 'failing/src/cli/main.ts'), "throw new Error('of its own');");
    const result = run(failing, []);
    assert.equal(result.status, 1);
    assert.match(result.stderr, /Error: of its own[^]*main\.ts/);
  });
});
