/**
 * What we write of Xen's formats against Xen's own `verify-stream-v2`. On Debian 12: `apt-get download xen-utils-4.17`
 * and `dpkg-deb -x` into a folder that XEN_UTILS names; nothing of it needs to be installed. Skipped, with the reason,
 * where it is not.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { FormatName } from '../../src/index.ts';
import { converted, type Chosen } from '../support/convert.ts';
import { imageBytes, missing } from '../support/xen/corpus.ts';
import { xenFindings } from '../support/xen/findings.ts';
import { hvmSteps, libxcStream } from '../support/xen/streams.ts';

const folder = join(process.env['XEN_UTILS'] ?? '/', 'usr/lib/xen-4.17');
const verifier = join(folder, 'bin/verify-stream-v2');
/** Its extensions are of Debian's own Python. */
const PYTHON = '/usr/bin/python3';
const skip = existsSync(verifier) && existsSync(PYTHON) ? false : `SKIPPED: no ${verifier}; see XEN_UTILS in the test`;

const scratch = mkdtempSync(join(tmpdir(), 'tmig-xen-verify-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** What it calls a format. */
const NAMES: Partial<Record<FormatName, string>> = {
  xl: 'xl',
  libxl: 'libxl',
  'xen-libxc': 'libxc',
  'xen-libxc-v2': 'libxc',
};

function verify(bytes: Uint8Array, format: FormatName): { readonly status: number | null; readonly said: string } {
  // In a file: it does not read to the end what it refuses.
  const path = join(scratch, 'image');
  writeFileSync(path, bytes);
  const { status, stderr, error } = spawnSync(PYTHON, [verifier, '-f', NAMES[format]!, '-i', path], {
    env: { ...process.env, PYTHONPATH: join(folder, 'lib/python'), PYTHONDONTWRITEBYTECODE: '1' },
  });
  if (error !== undefined) throw error;
  return { status, said: String(stderr) };
}

function passes(bytes: Uint8Array, format: FormatName, what: string): void {
  const { status, said } = verify(bytes, format);
  assert.equal(status, 0, `${what}: ${said}`);
}

const PV = [
  'xen-4.17-pv-tiny64-4m.xl',
  'xen-4.17-pv-tiny32-4m-lostpage.xl',
  'xen-4.17-pv-linux-128m.xl',
  'xen-4.17-pv-tiny64-4m-live.migrate',
];
const HVM = ['xen-4.17-hvm-seabios-16m.xl', 'xen-4.17-hvm-seabios-16m-corepair.xl'];

/** All ways to the formats that it reads: anew, given back by ORIGIN, and as a layer of the source. */
const WAYS: readonly (readonly [what: string, Chosen])[] = [
  ['xl', { to: 'xl', origin: false }],
  ['libxl', { to: 'libxl', origin: false, allowLoss: true }],
  ['libxc, version 3', { to: 'xen-libxc', origin: false, allowLoss: true }],
  ['libxc, version 2', { to: 'xen-libxc-v2', origin: false, allowLoss: true }],
  ['the xl file given back', { to: 'xl' }],
  ['the libxl stream in it', { to: 'libxl', allowLoss: true }],
  ['the libxc stream in it', { to: 'xen-libxc', allowLoss: true }],
];

describe('verify-stream-v2 takes what we write', { skip }, () => {
  for (const name of [...PV, ...HVM]) {
    test(name, { skip: missing(name) }, async () => {
      const bytes = imageBytes(name);
      const { bytes: ours } = await converted(bytes, { to: 'tmig' });
      for (const [what, chosen] of WAYS) {
        const made = await converted(ours, chosen);
        assert.equal(made.result.exact, chosen.origin !== false, what);
        passes(made.bytes, chosen.to, what);
      }
      // A suspend image has no verifier of its own: the stream in it is passed.
      const { bytes: xenopsd } = await converted(ours, { to: 'xenopsd', allowLoss: true });
      const { bytes: inside } = await converted(xenopsd, { to: 'xen-libxc', allowLoss: true });
      passes(inside, 'xen-libxc', 'the libxc stream in a suspend image');
    });
  }

  test('also made of the state at a checkpoint', { skip: missing('xen-4.17-pv-tiny64-4m.remus') }, async () => {
    const remus = imageBytes('xen-4.17-pv-tiny64-4m.remus');
    passes((await converted(remus, { to: 'xl', toCheckpoint: true })).bytes, 'xl', 'the last checkpoint');
  });

  test('and a stream that no Xen made, with pages above 32 bits', async () => {
    const stream = libxcStream({ domainType: 2 }, hvmSteps());
    passes((await converted(stream, { to: 'xen-libxc', origin: false })).bytes, 'xen-libxc', 'a made stream');
  });
});

describe('where it is known to be wrong, we say so', { skip }, () => {
  test('it refuses nodes of xenstore, which Xen itself wrote and restored', async () => {
    const bytes = imageBytes('xen-4.17-hvm-seabios-8m-physmap.xl');
    const anew = (await converted(bytes, { to: 'xl', origin: false })).bytes;
    for (const image of [bytes, anew]) {
      const { status, said } = verify(image, 'xl');
      assert.equal(status, 1, said);
      assert.match(said, /NUL terminated/);
    }
    assert.deepEqual(xenFindings('xl', anew), []);
    // Without them it has nothing against the same image.
    const { bytes: libxc } = await converted(bytes, { to: 'xen-libxc', origin: false, allowLoss: true });
    passes(libxc, 'xen-libxc', 'the same without');
  });

  test('it refuses optional records, which a reader may ignore', async () => {
    const steps = hvmSteps();
    const stream = libxcStream({ domainType: 2 }, [...steps.slice(0, -1), { optional: 0x8000_0001 }, steps.at(-1)!]);
    const { bytes } = await converted(stream, { to: 'xen-libxc', origin: false });
    assert.equal(verify(bytes, 'xen-libxc').status, 1);
    assert.deepEqual(xenFindings('xen-libxc', bytes), []);
  });
});
