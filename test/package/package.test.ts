/** The package as its users get it: the tarball that `npm pack` makes, installed in an empty folder. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
  bin: Record<string, string>;
  man: string;
  dependencies: Record<string, string>;
  files: string[];
};
const EXPECTED = ['LICENSE', 'bin/transmigrate', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js'];

const base = mkdtempSync(join(tmpdir(), 'transmigrate-package-'));
const home = join(base, 'an empty folder');
let tarball = '';
let packed: readonly string[] = [];

/** The environment without what npm tells the scripts of this package, and with the Node that runs this test first. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^npm_(package|lifecycle|config_local_prefix)/.test(name),
  );
  return { ...Object.fromEntries(kept), PATH: dirname(process.execPath) + delimiter + (process.env['PATH'] ?? '') };
}

interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(cwd: string, command: string, ...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env: environment(), maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ status, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
    });
  });
}

async function succeed(cwd: string, command: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(cwd, command, ...args);
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

function tool(name: string): string {
  return join(ROOT, 'node_modules/.bin', name);
}

describe('the package', { timeout: 300_000 }, () => {
  before(async () => {
    await succeed(ROOT, 'npm', 'run', 'build');
    const said = await succeed(ROOT, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', base);
    const [pack] = JSON.parse(said) as { filename: string; files: { path: string }[] }[];
    assert.ok(pack !== undefined);
    tarball = join(base, pack.filename);
    packed = pack.files.map(({ path }) => path);
    mkdirSync(home);
    writeFileSync(join(home, 'package.json'), '{"name": "user", "private": true}');
    await succeed(home, 'npm', 'install', '--no-fund', '--no-audit', tarball);
  });
  after(() => {
    rmSync(base, { recursive: true, force: true });
  });

  it('holds what runs and what explains it, and nothing else', () => {
    for (const path of [...EXPECTED, MANIFEST.man]) {
      assert.ok(packed.includes(path), `${path} is not in the package`);
    }
    const folders = /^(?:bin|dist|man|spec)\//;
    const strangers = packed.filter((path) => !folders.test(path) && !/^(?:[A-Z]+(?:\.md)?|package\.json)$/.test(path));
    assert.deepEqual(strangers, []);
    assert.deepEqual(
      packed.filter((path) => /(?<!\.d)\.ts$/.test(path)),
      [],
      'Node runs no TypeScript under node_modules',
    );
  });

  it('has everything that package.json says is in it', () => {
    for (const folder of MANIFEST.files) {
      assert.ok(
        packed.some((path) => path.startsWith(`${folder}/`)),
        `${folder} is not in the package`,
      );
    }
  });

  it('brings no development dependency', async () => {
    const said = await succeed(home, 'npm', 'ls', '--all', '--parseable', '--omit=optional');
    const names = said
      .trim()
      .split('\n')
      .slice(1)
      .map((path) => path.slice(path.lastIndexOf('node_modules/') + 13));
    const mayCome = new Set(['transmigrate', ...Object.keys(MANIFEST.dependencies)]);
    assert.deepEqual(
      names.filter((name) => !mayCome.has(name) && !name.startsWith('@node-rs/')),
      [],
    );
  });

  for (const command of Object.keys(MANIFEST.bin)) {
    it(`runs ${command} --version and --help`, async () => {
      assert.match(
        await succeed(home, 'npx', '--no-install', command, '--version'),
        new RegExp(`\\b${MANIFEST.version}\\b`),
      );
      assert.match(await succeed(home, 'npx', '--no-install', command, '--help'), /usage/i);
      assert.ok(statSync(join(home, 'node_modules/.bin', command)).mode & 0o111, 'it is not executable');
    });
  }

  it('inspects and verifies an image, and says what is wrong with what is none', async () => {
    const image = join(ROOT, 'vectors/v1/index-every-record.tmig');
    const npx = (...args: string[]) => run(home, 'npx', '--no-install', 'transmigrate', ...args);
    assert.match((await npx(image)).stdout, /saved PV machine, x86-64, .*, complete\n\nImage\n/);
    const verified = JSON.parse((await npx('verify', '--digest', '--json', image)).stdout) as { verdict: string };
    assert.equal(verified.verdict, 'sound');
    const wrong = await npx(join(home, 'package.json'));
    assert.equal(wrong.status, 11);
    assert.match(wrong.stdout, /not an image[^]*It looks like text/);
    assert.equal((await npx('missing.tmig')).status, 15);
  });

  it('boots, saves and restores a guest', async () => {
    const said = await succeed(home, 'npx', '--no-install', 'transmigrate', 'demo', '--json');
    const { ok, steps } = JSON.parse(said) as { ok: boolean; steps: { title: string; ok: boolean }[] };
    assert.ok(ok && steps.length === 6 && steps.every((step) => step.ok), said);
  });

  it('gives the manual page of its own version', async () => {
    const page = readFileSync(join(home, 'node_modules/transmigrate', MANIFEST.man), 'utf8');
    assert.ok(page.includes(`transmigrate ${MANIFEST.version}`));
    assert.equal(await succeed(home, 'npx', '--no-install', 'transmigrate', 'manual'), page);
  });

  it('is imported from plain JavaScript', async () => {
    const source = [
      "import * as api from 'transmigrate';",
      "const internal = await import('transmigrate/dist/index.js').catch((error) => error.code);",
      'console.log(JSON.stringify({ names: Object.keys(api), internal }));',
    ];
    writeFileSync(join(home, 'use.mjs'), source.join('\n'));
    const said = JSON.parse(await succeed(home, process.execPath, 'use.mjs')) as { names: string[]; internal: unknown };
    assert.ok(said.names.length > 0, 'the package exports nothing');
    assert.equal(said.internal, 'ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  it('is imported from strict TypeScript', async () => {
    const options = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true };
    const target = {
      module: 'nodenext',
      target: 'es2024',
      types: ['node'],
      typeRoots: [join(ROOT, 'node_modules/@types')],
    };
    const config = { compilerOptions: { ...options, ...target }, files: ['use.mts'] };
    writeFileSync(join(home, 'tsconfig.json'), JSON.stringify(config));
    const source = ["import * as api from 'transmigrate';", 'export const names: string[] = Object.keys(api);'];
    writeFileSync(join(home, 'use.mts'), source.join('\n'));
    await succeed(home, tool('tsc'), '-p', 'tsconfig.json');
  });

  it('satisfies publint', async () => {
    await succeed(home, tool('publint'), 'run', tarball, '--strict');
  });

  it('gives the same types to every way of importing it (attw)', async () => {
    await succeed(home, tool('attw'), tarball, '--profile', 'esm-only', '--no-color');
  });
});
