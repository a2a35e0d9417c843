/** `inspect` of images of others: what other programs than ours found in the real ones, and what made ones hold. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { convertToTmig } from '../../../src/image/convert/to-tmig.ts';
import { inspectImage } from '../../../src/image/inspect.ts';
import type { NativeRecordJson } from '../../../src/image/inspection.ts';
import { CODEC } from '../../../src/codec/codec.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import { EXPECTED, imageBytes, missing } from '../../support/xen/corpus.ts';
import { guestSteps } from '../../support/xen/pv-guest.ts';
import { checkpointed, libxcStream, xenopsdImage, xlFile } from '../../support/xen/streams.ts';

/** Classes of pages as the expectations call them: `L1` of a table, `L1p` of a pinned one. */
const CLASS_NAMES: Readonly<Record<string, string>> = {
  normal: 'ordinary',
  XTAB: 'notPresent',
  XALLOC: 'allocated',
  BROKEN: 'broken',
};

function classOf(name: string): string {
  const table = /^L([1-4])(p?)$/.exec(name);
  if (table !== null) return `${table[2] === 'p' ? 'pinned' : 'table'}${table[1]}`;
  return CLASS_NAMES[name] ?? name;
}

for (const [name, expected] of Object.entries(EXPECTED)) {
  test(name, { skip: missing(name) }, async () => {
    const bytes = imageBytes(name);
    const result = await inspectImage(memorySource(bytes), { records: true });
    const records = result.records as NativeRecordJson[];
    assert.equal(result.error?.code ?? null, name.endsWith('.remus') ? 'TRUNCATED' : null);
    assert.equal(result.complete, !name.endsWith('.remus'));
    const { libxc, libxl, xl, memory, checkpoints } = expected;
    if (libxc !== undefined) {
      const header = result.layers.find(({ layer }) => layer === 'libxc')!;
      assert.deepEqual(
        [header.offset, header.header['version'], header.header['xen']],
        [libxc.offset, libxc.version, libxc.xen],
      );
      for (const [type, count, , offset] of libxc.records) {
        assert.equal(header.records[type], count, type);
        const first = records.find((record) => record.layer === 'libxc' && record.name === type)!;
        assert.equal(first.offset, offset, type);
        assert.match(first.section, /^foreign\/xen-libxc \d/);
      }
      const classes = Object.entries(libxc.pageTypes).map(([type, count]) => [classOf(type), count] as const);
      assert.deepEqual(result.memory.classes, Object.fromEntries(sorted(classes, result.memory.classes)));
      assert.equal(result.memory.pages + result.memory.absentPages, libxc.pageEntries);
    }
    if (libxl !== undefined) {
      const found = records.filter(({ layer, name: kind }) => layer === 'libxl' && kind !== 'HEADER');
      assert.deepEqual(
        found.map((record) => [record.name, record.length, record.offset]),
        libxl.map((record) => [...record]),
      );
    }
    if (xl !== undefined) {
      assert.equal(result.layers.find(({ layer }) => layer === 'xl')!.header['mandatoryFlags'], xl.mandatory);
      assert.equal(result.permissionGiven, name.endsWith('.migrate'));
    }
    if (memory !== undefined && checkpoints === undefined)
      assert.equal(result.memory.distinctPages, memory.final_pages);
    if (checkpoints !== undefined) {
      assert.deepEqual(result.checkpoint, { number: checkpoints.length, offset: checkpoints.at(-1)!.end });
      assert.equal(result.memory.resentPages, result.memory.pages - 1024);
    }
    if (name.endsWith('back')) assert.deepEqual([result.format, result.head, result.vcpus], ['xl-back', null, []]);
    // Records, and all beside them, are the same whether they are listed or not.
    const { records: listed, ...without } = result;
    assert.ok(listed !== undefined);
    assert.deepEqual(await inspectImage(memorySource(bytes)), without);
  });
}

/** The same entries, in the order of the keys of another object. */
function sorted(entries: readonly (readonly [string, number])[], order: object): (readonly [string, number])[] {
  const keys = Object.keys(order);
  return entries.toSorted(([a], [b]) => keys.indexOf(a) - keys.indexOf(b));
}

test('what a guest was given is said in short', async () => {
  const { policies, vcpus, devices, head, about } = await inspectImage(
    memorySource(imageBytes('xen-4.17-pv-tiny64-4m.xl')),
  );
  assert.equal(policies!.cpuidLeaves, 52);
  assert.equal(policies!.vendor, 'AuthenticAMD');
  assert.match(policies!.brand!, /^QEMU TCG CPU/);
  assert.deepEqual([policies!.family, policies!.model, policies!.stepping], [15, 107, 1]);
  assert.equal(vcpus.length, 1);
  assert.deepEqual(
    devices.map(({ name }) => name),
    ['xl-config.json', 'pv-info', 'p2m-frames', 'tsc-info', 'shared-info'],
  );
  assert.deepEqual(head, { domainType: 'pv', byteOrder: 'little', wordBits: 64, machine: 62, pageSize: 4096 });
  assert.equal(about!['name'], 'tiny64');
});

test('the machine is the same, and so are its memory and policies, when the image becomes one of ours', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
  const sink = new MemorySink();
  const ids = { streamId: new Uint8Array(16).fill(7), codec: CODEC.raw, about: {} };
  await convertToTmig('xl', memorySource(bytes), sink, { origin: true, ...ids });
  const [foreign, ours] = [await inspectImage(memorySource(bytes)), await inspectImage(memorySource(sink.bytes()))];
  for (const key of ['head', 'policies', 'vcpus'] as const) assert.deepEqual(ours[key], foreign[key], key);
  for (const key of ['pages', 'distinctPages', 'resentPages', 'absentPages', 'classes'] as const) {
    assert.deepEqual(ours.memory[key], foreign.memory[key], key);
  }
  assert.equal(ours.format, 'tmig');
});

test('layers are named through what is wrapped around them', async () => {
  const nestings = async (bytes: Uint8Array) => (await inspectImage(memorySource(bytes))).nesting.join(' ');
  assert.equal(await nestings(new Uint8Array(zstdCompressSync(xlFile()))), 'zstd xl libxl xen-libxc');
  assert.equal(await nestings(xenopsdImage()), 'xenopsd xen-libxc');
  assert.equal(await nestings(checkpointed()), 'libxl xen-libxc');
  assert.equal(await nestings(libxcStream({ version: 2 }, guestSteps())), 'xen-libxc-v2');
});

test('what could be read of an image that is cut is shown', async () => {
  const bytes = imageBytes('xen-4.17-pv-tiny64-4m.xl');
  const result = await inspectImage(memorySource(bytes.subarray(0, 1_000_000)), { records: true });
  assert.equal(result.error!.code, 'TRUNCATED');
  assert.equal(result.about!['name'], 'tiny64');
  assert.ok(result.memory.pages > 200, String(result.memory.pages));
  assert.equal((result.records as NativeRecordJson[]).at(-1)!.name, 'PAGE_DATA');
});

test('what is no image says what it was tried for; raw memory is taken for it only when that is said', async () => {
  const { error, format, nesting } = await inspectImage(memorySource(new Uint8Array(5000).fill(0x41)));
  assert.deepEqual([format, nesting, error!.code], ['unknown', [], 'NOT_AN_IMAGE']);
  assert.ok((error!.data!['tried'] as string[]).includes('xenopsd'));
  const raw = await inspectImage(memorySource(new Uint8Array(8192)), { as: 'raw' });
  assert.equal(raw.format, 'raw');
});

/** The command on an image of the fixtures. */
function command(...args: string[]): { readonly status: number | null; readonly out: string } {
  const root = join(import.meta.dirname, '../../..');
  const argv = [join(root, 'bin/transmigrate'), ...args];
  const { status, stdout } = spawnSync(process.execPath, argv, {
    encoding: 'utf8',
    cwd: join(root, 'test/fixtures/xen'),
  });
  return { status, out: stdout };
}

test('the text of the commands', (t) => {
  const lost = 'xen-4.17-pv-tiny32-4m-lostpage.xl.zst';
  const texts = [
    command('inspect', lost),
    command('inspect', '--records', lost),
    command('verify', lost),
    command('verify', '--strict', 'xen-4.17-hvm-seabios-8m-physmap.xl.zst'),
    command('xen-4.17-pv-tiny64-4m-live.back.zst'),
    command('verify', 'xen-4.17-pv-tiny64-4m-live.back.zst'),
    command('README.md'),
  ];
  assert.deepEqual(
    texts.map(({ status }) => status),
    [0, 0, 0, 10, 0, 0, 11],
  );
  t.assert.snapshot(texts.map(({ out }) => out).join('\n'), { serializers: [String] });
});
