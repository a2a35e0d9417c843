import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  allowedRows,
  ambient,
  banned,
  citations,
  deadFiles,
  fileSize,
  fileSizeWith,
  importTable,
  launcher,
  lineLength,
  machineNames,
  names,
  noCircles,
  platformImports,
  type Check,
  type Tree,
} from './checks.ts';
import { importsOf, lex } from './lex.ts';
import { REQUIREMENTS, WORKER_ENTRIES } from './rules.ts';
import { readTree } from './tree.ts';

const tree = readTree(join(import.meta.dirname, '../..'));

function planted(files: Readonly<Record<string, string>>): Tree {
  return new Map(Object.entries(files));
}

interface Plant {
  readonly name: string;
  readonly check: Check;
  /** Trees with one fault each, and the words that the finding must have. */
  readonly faults: readonly (readonly [files: Readonly<Record<string, string>>, words: RegExp])[];
  /** A tree that looks like a fault and is none. */
  readonly fine: Readonly<Record<string, string>>;
  readonly skip?: string | false;
}

const MANIFEST = '{"dependencies": {"commander": "1"}, "devDependencies": {"fast-check": "1"}}';
const EVERY_ID = Object.values(REQUIREMENTS).flat().join(' ');

const PLANTS: readonly Plant[] = [
  {
    name: 'each part imports what the table allows',
    check: importTable,
    faults: [
      [{ 'src/bytes/a.ts': "import { x } from '../codec/b.ts';", 'src/codec/b.ts': '' }, /may not import src\/codec/],
      [{ 'src/tmem/a.ts': "export * from '../stream/b.ts';", 'src/stream/b.ts': '' }, /may not import src\/stream/],
      [{ 'src/machine/a.ts': "import type { X } from '../stream/b.ts';", 'src/stream/b.ts': '' }, /may not import/],
      [{ 'src/io/a.ts': "await import('../tmem/b.ts');", 'src/tmem/b.ts': '' }, /may not import/],
      [{ 'src/io/a.ts': "new Worker(new URL('../host/b.ts', import.meta.url));", 'src/host/b.ts': '' }, /may not/],
      [{ 'src/migrate/handover/a.ts': "import '../../bytes/b.ts';", 'src/bytes/b.ts': '' }, /may not import/],
      [{ 'src/image/a.ts': "import '../index.ts';", 'src/index.ts': '' }, /may not import/],
      [{ 'vectors/gen/a.ts': "import '../../src/errors.ts';", 'src/errors.ts': '' }, /may not import/],
      [{ 'examples/a.ts': "import '../src/bytes/b.ts';", 'src/bytes/b.ts': '' }, /may not import/],
      [{ 'src/bytes/a.ts': "import './gone.ts';" }, /does not exist/],
      [{ 'src/attic/a.ts': '' }, /no row/],
      [{ 'src/cli/a.ts': "import '../../test/b.ts';", 'test/b.ts': '' }, /no part of the package/],
    ],
    fine: {
      'src/errors.ts': '',
      'src/bytes/a.ts': "import { x } from '../errors.ts'; // import '../cli/main.ts'",
      'src/stream/records/a.ts': "import { x } from '../../bytes/a.ts'; const s = `import '../../cli/main.ts'`;",
      'src/migrate/handover/a.ts': "import { x } from '../../errors.ts'; import './b.ts';",
      'src/migrate/handover/b.ts': '',
      'src/migrate/runner/a.ts': "import '../handover/a.ts';",
      'src/cli/main.ts': "import '../bytes/a.ts'; import '../index.ts';",
      'src/index.ts': "export { x } from './errors.ts';",
      'test/a.ts': "import '../src/bytes/a.ts';",
      'examples/a.ts': "import '../src/index.ts';",
    },
  },
  {
    name: 'no circle of imports',
    check: noCircles,
    faults: [
      [{ 'src/a.ts': "import './b.ts';", 'src/b.ts': "import './c.ts';", 'src/c.ts': "import './a.ts';" }, /circle/],
      [{ 'src/a.ts': "import type { A } from './a.ts';" }, /circle/],
    ],
    fine: { 'src/a.ts': "import './b.ts'; import './c.ts';", 'src/b.ts': "import './c.ts';", 'src/c.ts': '' },
  },
  {
    name: 'platform modules and packages only where they may be',
    check: platformImports,
    faults: [
      [{ 'src/bytes/a.ts': "import { x } from 'node:fs';" }, /only src\/bytes\/platform\.ts may/],
      [{ 'package.json': MANIFEST, 'src/codec/a.ts': "import { x } from 'commander';" }, /only .* may/],
      [{ 'src/stream/a.ts': 'const b = Buffer.from(x);' }, /uses Buffer/],
      [{ 'src/tmem/a.ts': 'if (process.env.DEBUG) x();' }, /uses process/],
      [{ 'src/migrate/save/a.ts': "import { connect } from 'node:net';" }, /handed in/],
      [{ 'package.json': MANIFEST, 'src/cli/a.ts': "import 'fast-check';" }, /does not declare/],
      [{ 'package.json': MANIFEST, 'test/a.ts': "import 'left-pad';" }, /does not declare/],
      [{ 'src/io/a.ts': "import { x } from 'fs';" }, /does not declare/],
    ],
    fine: {
      'package.json': MANIFEST,
      'src/bytes/platform.ts': "import { x } from 'node:fs';",
      'src/bytes/a.ts': 'const { process } = x; process(new ArrayBuffer(1)); this.Buffer.x();',
      'src/migrate/runner/a.ts': "import { connect } from 'node:net';",
      'src/io/a.ts': "import { x } from 'node:fs';",
      'src/cli/a.ts': "import 'commander';",
      'test/a.ts': "import 'fast-check'; import 'commander/esm.mjs';",
    },
  },
  {
    name: 'no ambient clock, random number or socket in pure logic',
    check: ambient,
    faults: [
      [{ 'src/stream/a.ts': 'const t = Date.now();' }, /Date\.now/],
      [{ 'src/tmem/a.ts': 'x = new Date();' }, /newDate/],
      [{ 'src/tmem/a.ts': 'x = `${Math.random()}`;' }, /Math\.random/],
      [{ 'src/migrate/precopy/a.ts': 'setTimeout(f, 1);' }, /setTimeout/],
      [{ 'src/stream/a.ts': 'const page = await fetch(url);' }, /fetch/],
    ],
    fine: {
      'src/stream/a.ts': 'const t = clock.now(); d = new Date(t); clock.setTimeout(f, 1); // Date.now()',
      'src/stream/b.ts': 'class Store { async fetch(at: number) { return this.fetch(at); } }',
      'src/migrate/runner/a.ts': 'setTimeout(f, Date.now());',
      'src/host/a.ts': 'Date.now()',
    },
  },
  {
    name: 'no banned construct',
    check: banned,
    faults: [
      [{ 'src/a.ts': 'enum Colour { Red }' }, /enum/],
      [{ 'src/a.ts': 'export const enum Colour { Red }' }, /enum/],
      [{ 'src/a.ts': 'export default 1;' }, /default/],
      [{ 'src/a.ts': 'namespace N { }' }, /namespace/],
      [{ 'src/a.ts': 'const a = b as any;' }, /as any/],
      [{ 'src/a.ts': 'const a = <any>b;' }, /any/],
      [{ 'test/a.ts': '// @ts-ignore\nf();' }, /@ts-ignore/],
      [{ 'test/a.ts': '/* @ts-nocheck */' }, /@ts-nocheck/],
    ],
    fine: {
      'src/a.ts': [
        "const text = 'enum X {'; const pattern = /enum X {/; const half = a! / 2 / b;",
        'const t = `${`enum X {`} as any`; // not as any, no enum X {, and no @ts-ignore',
        'x.enum = { module: { } }; as(any); switch (x) { default: }',
      ].join('\n'),
    },
  },
  {
    name: 'no line over the limit',
    check: lineLength,
    faults: [
      [{ 'src/a.ts': `\n// ${'x'.repeat(118)}` }, /121/],
      [{ 'second-reader/a.py': `# ${'x'.repeat(119)}` }, /121/],
    ],
    fine: { 'src/a.ts': `// ${'x'.repeat(117)}\n`, 'README.md': 'x'.repeat(200), 'spec/a.md': 'x'.repeat(200) },
  },
  {
    name: 'no source file over the limit',
    check: fileSize,
    faults: [[{ 'src/a.ts': '\n'.repeat(601) }, /601 lines/]],
    fine: { 'src/a.ts': '\n'.repeat(600), 'test/a.ts': '\n'.repeat(2000) },
  },
  {
    name: 'names are kebab-case',
    check: names,
    faults: [
      [{ 'src/byteReader.ts': '' }, /byteReader/],
      [{ 'src/Bytes/a.ts': '' }, /Bytes/],
      [{ 'test/unit/byte_reader.test.ts': '' }, /byte_reader/],
    ],
    fine: { 'src/byte-reader.test.ts': '', 'README.md': '', 'second-reader/second_reader.py': '', LICENSE: '' },
  },
  {
    name: 'no dead file',
    check: deadFiles,
    faults: [[{ 'src/index.ts': "import './a.ts';", 'src/a.ts': '', 'src/b.ts': '' }, /nothing reaches/]],
    fine: {
      'src/index.ts': "export type { A } from './a.ts';",
      'src/a.ts': "new Worker(new URL('./b.ts', import.meta.url));",
      'src/b.ts': '',
      'src/cli/main.ts': "await import('./c.ts');",
      'src/cli/c.ts': '',
    },
    skip: !tree.has('src/index.ts') && 'there is no src/index.ts yet',
  },
  {
    name: 'no path of a machine, no host of a registry',
    check: machineNames,
    faults: [
      [{ 'docs/a.md': ['see /w', 'ork/main'].join('') }, /machine/],
      [{ 'src/a.ts': ["const home = '/r", "oot';"].join('') }, /machine/],
      [{ 'package-lock.json': ['"https://r', 'egistry.npmjs.org/x"'].join('') }, /registry/],
    ],
    fine: { 'docs/a.md': 'root=/dev/sda1, net/work/x, src/root/a.ts, /rootfs, ./work/a' },
  },
  {
    name: 'every requirement that is built is cited',
    check: citations,
    faults: [
      [{ 'spec/a.md': EVERY_ID.replace('S3 ', '') }, /S3 \(built\)/],
      [{ 'spec/a.md': EVERY_ID.replace('S12', 'S120') }, /S12 \(refused\)/],
      [{ 'spec/a.md': EVERY_ID.replace('S3 ', ''), 'test/tidy/a.ts': '// S3' }, /S3/],
    ],
    fine: { 'spec/a.md': EVERY_ID.replace('S3 ', ''), 'test/unit/a.test.ts': "test('S3: ...')" },
    skip: ![...tree.keys()].some((path) => path.startsWith('spec/')) && 'there is no specification yet',
  },
  {
    name: 'the launcher keeps to ES5',
    check: launcher,
    faults: [
      [{ 'bin/transmigrate': '#!/usr/bin/env node\nconst a = 1;' }, /const/],
      [{ 'bin/transmigrate': 'var f = () => 1;' }, /=>/],
      [{ 'bin/transmigrate': 'var s = `x`;' }, /template/],
    ],
    fine: { 'bin/transmigrate': '#!/usr/bin/env node\n// const `x`\nvar s = "import => let";' },
  },
];

for (const { name, check, faults, fine, skip } of PLANTS) {
  describe(name, () => {
    it('holds here', { skip: skip ?? false }, () => {
      const findings = check(tree).map(({ path, line, message }) => `${path}:${line}: ${message}`);
      if (findings.length > 0) assert.fail(`\n${findings.join('\n')}`);
    });
    it('is found where it is broken', () => {
      for (const [files, words] of faults) {
        const found = check(planted(files));
        assert.ok(found.length > 0, `nothing found in ${JSON.stringify(files)}`);
        assert.match(found.map(({ message }) => message).join('\n'), words);
      }
    });
    it('is not found where it is not', () => {
      assert.deepEqual(check(planted(fine)), []);
    });
  });
}

describe('the tidy checks themselves', () => {
  it('read the whole tree', () => {
    assert.ok(tree.has('test/tidy/tidy.test.ts') && tree.has('package.json') && tree.has('.ci/run'));
    assert.ok(![...tree.keys()].some((path) => path.includes('node_modules/')));
  });

  it('name no worker that is not there', () => {
    assert.deepEqual(
      WORKER_ENTRIES.filter((path) => !tree.has(path)),
      [],
    );
  });

  it('name a long file that is excepted and has become short', () => {
    const check = fileSizeWith({ 'src/a.ts': 'one table' });
    assert.deepEqual(check(planted({ 'src/a.ts': '\n'.repeat(601) })), []);
    assert.match(check(planted({ 'src/a.ts': '' }))[0]?.message ?? '', /is not/);
  });

  it('follow the table through what is allowed, and no further', () => {
    assert.deepEqual([...allowedRows('src/migrate/handover')], ['src/migrate/handover', 'src/errors.ts']);
    assert.ok(allowedRows('src/cli').has('src/bytes'));
    assert.ok(!allowedRows('src/machine').has('src/stream'));
  });

  it('see every way to import', () => {
    const source = [
      "import a, { type B } from 'm1';",
      "import * as c from 'm2';",
      "import type { D } from 'm3';",
      "import 'm4';",
      "export * as e from 'm5';",
      "export type { F } from 'm6';",
      "const g = await import('m7');",
      "type H = import('m8').H;",
      "const i = new URL('m9', import.meta.url);",
      "export { a }; const from = 'not1'; x.import('not2');",
      "export type J = { from: 'not3' }; const k = /'/; const l = a! / 1; import { m } from \"m10\";",
      'if (k) { const n = `${{ a: "}" }.a} import \'not4\'`; }',
      "import { o as default } from 'm11'; export {\n  p, // import 'not5'\n} from 'm12';",
    ].join('\n');
    const seen = importsOf(lex(source).tokens).map(({ specifier }) => specifier);
    assert.deepEqual(seen, ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9', 'm10', 'm11', 'm12']);
  });
});
