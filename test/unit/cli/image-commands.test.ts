/** diff, check and repair, as they are called: what they print, and how they end. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { library } from '../../../src/cli/library.ts';
import { run } from '../../../src/cli/run.ts';
import { sampleImage, sampleModel } from '../../support/sample-image.ts';
import { fakeWorld } from './fake.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-commands-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const path = (name: string): string => join(directory, name);

const model = sampleModel();
model.memory[2].bytes[5000] ^= 1;
model.cpuid[0].ecx |= 1 << 28;
model.devices[1].name = 'new\u001b[31m';
const bytes = await sampleImage();
writeFileSync(path('a.tmig'), bytes);
writeFileSync(path('b.tmig'), await sampleImage(model));
const damaged = bytes.slice();
damaged[damaged.byteLength >> 1] ^= 1;
writeFileSync(path('bad.tmig'), damaged);

async function called(...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  const { context, out, err } = fakeWorld({ library, files: [] });
  const exitCode = await run(args, context);
  return { exitCode, out: out.text, err: err.text };
}

test('diff: the same', async () => {
  const { exitCode, out } = await called('diff', path('a.tmig'), path('a.tmig'));
  assert.equal(exitCode, 0);
  assert.match(out, /: the same\n/);
  assert.deepEqual(await called('diff', '--quiet', path('a.tmig'), path('a.tmig')), { exitCode: 0, out: '', err: '' });
});

test('diff: what differs, in words and as JSON', async () => {
  const text = await called('diff', path('a.tmig'), path('b.tmig'), '--bytes');
  assert.equal(text.exitCode, 1);
  assert.match(text.out, /they differ/);
  assert.match(text.out, /Memory\n {2}differ +1 page: 0x101\n {2}page 0x101 +1 byte: 0x388\n/);
  assert.match(text.out, /00000001 ecx +00100000 in a, 10100000 in b \(only b: avx\)/);
  assert.match(text.out, /only in b +new\\x1b\[31m/);
  assert.ok(!text.out.includes('\u001b'));
  const json = await called('diff', '--json', '--max', '0', path('a.tmig'), path('b.tmig'));
  const result = JSON.parse(json.out) as {
    ok: boolean;
    same: boolean;
    differing: string[];
    memory: { different: object };
  };
  assert.deepEqual([json.exitCode, result.ok, result.same], [1, true, false]);
  assert.deepEqual(result.differing, ['memory', 'cpuid', 'devices']);
  assert.deepEqual(result.memory.different, { pages: 1, ranges: 1, first: [] });
});

test('diff: an error is not a difference', async () => {
  assert.equal((await called('diff', path('a.tmig'), path('none'))).exitCode, 15);
  assert.equal((await called('diff', '-', '-')).exitCode, 2);
  assert.equal((await called('diff', '--max', 'many', path('a.tmig'), path('b.tmig'))).exitCode, 2);
  const json = await called('diff', '--json', path('a.tmig'), path('bad.tmig'));
  assert.equal(json.exitCode, 10);
  assert.equal((JSON.parse(json.out) as { ok: boolean }).ok, false);
});

test('check: fits, and does not', async () => {
  const host = { format: 'transmigrate-host', version: 1, name: 'rack-7', tmem: { enabled: true } };
  writeFileSync(path('host.json'), JSON.stringify(host));
  const fits = await called('check', path('a.tmig'), '--on', path('host.json'));
  assert.equal(fits.exitCode, 0);
  assert.match(fits.out, /nothing stands against it on rack-7\n/);
  assert.match(fits.out, /not judged: memory/);
  writeFileSync(path('host.json'), JSON.stringify({ ...host, tmem: null }));
  const refused = await called('check', path('a.tmig'), '--on', path('host.json'));
  assert.equal(refused.exitCode, 12);
  assert.match(refused.out, /does not fit rack-7\n {2}no-tmem: It uses tmem, and the host has none\n {4}Choose a host/);
  const json = await called('check', '--json', path('a.tmig'), '--on', path('host.json'));
  const result = JSON.parse(json.out) as { ok: boolean; reasons: { reason: string }[] };
  assert.deepEqual([json.exitCode, result.ok, result.reasons.map(({ reason }) => reason)], [12, false, ['no-tmem']]);
  writeFileSync(path('host.json'), '{}');
  assert.equal((await called('check', path('a.tmig'), '--on', path('host.json'))).exitCode, 2);
  assert.equal((await called('check', path('a.tmig'))).exitCode, 2);
});

test('repair: a core, its map, and what it says', async () => {
  const { exitCode, out } = await called(
    'repair',
    '--salvage',
    '--map',
    path('map.json'),
    path('bad.tmig'),
    path('core.tmig'),
  );
  assert.equal(exitCode, 0);
  assert.match(out, /core\.tmig: written as a core: it will not restore\n/);
  assert.match(out, /Skipped\n {2}0x[0-9a-f]+ +[\d,]+ bytes: /);
  const map = JSON.parse(readFileSync(path('map.json'), 'utf8')) as { version: number; whole: boolean };
  assert.deepEqual([map.version, map.whole], [1, false]);
  const json = await called('repair', '--json', '--index', path('a.tmig'), path('new.tmig'));
  const report = JSON.parse(json.out) as { ok: boolean; verdict: string; wasWhole: boolean; bytes: number };
  assert.deepEqual([report.ok, report.verdict, report.wasWhole], [true, 'restores', true]);
  assert.equal(readFileSync(path('new.tmig')).byteLength, report.bytes);
  assert.equal((await called('diff', '--quiet', path('a.tmig'), path('new.tmig'))).exitCode, 0);
});

test('repair: nothing is written where nothing can be', async () => {
  for (const [mode, code] of [
    ['--index', 10],
    ['--to-checkpoint', 10],
  ] as const) {
    const { exitCode, err } = await called('repair', mode, path('bad.tmig'), path('never.tmig'));
    assert.equal(exitCode, code);
    assert.notEqual(err, '');
    assert.ok(!existsSync(path('never.tmig')));
  }
  assert.equal((await called('repair', path('bad.tmig'), path('never.tmig'))).exitCode, 2);
  assert.equal((await called('repair', '--salvage', '--index', path('bad.tmig'), path('never.tmig'))).exitCode, 2);
  assert.equal((await called('repair', '--salvage', path('bad.tmig'), path('bad.tmig'))).exitCode, 2);
  assert.deepEqual(new Uint8Array(readFileSync(path('bad.tmig'))), damaged);
});
