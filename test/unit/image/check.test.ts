import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../../../src/bytes/bounded-json.ts';
import { CODEC } from '../../../src/codec/codec.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { describeHost } from '../../../src/host/describe.ts';
import { checkImage, REFUSALS, type CheckOptions, type ImageCheck } from '../../../src/image/check/check-image.ts';
import { parseHostDescription } from '../../../src/image/check/host-description.ts';
import { openImage } from '../../../src/image/open/open-image.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import { sampleModel, writeSample, type SampleModel } from '../../support/sample-image.ts';
import { choice } from '../../support/streams.ts';
import { imageBytes } from '../../support/xen/corpus.ts';

const UUID = '0f3a1f60-94b6-4d2a-8a30-4f1f5f6f7f80';
const SHARED = '11111111-2222-3333-4444-555555555555';

const ABOUT = {
  name: 'web',
  uuid: UUID,
  driver: { name: 'v86', version: '0.5.462+g5f9a90f', fingerprint: '01'.repeat(32) },
  memory: { bytes: 64 * 2 ** 20, pages: 16_384 },
  vcpus: 2,
};

async function image(
  change: (model: SampleModel) => void = () => undefined,
  kind: 'save' | 'core' = 'save',
): Promise<Uint8Array> {
  const model = sampleModel();
  model.pools[1].shared = true;
  model.pools[1].uuid = SHARED;
  model.disks.push({ ...model.disks[0], disk: 1, name: 'hdb', policy: 'digest', sha256: new Uint8Array(32).fill(5) });
  change(model);
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice({ ...model.preamble, kind }), ABOUT, { codec: CODEC.zstd });
  await writeSample(writer, model);
  await writer.checkpoint();
  await writer.end();
  return sink.bytes();
}

/** A host that the image fits. */
function hostOf(changes: JsonObject = {}): JsonObject {
  return {
    format: 'transmigrate-host',
    version: 1,
    name: 'rack-7',
    drivers: [driver()],
    memory: { freeBytes: 2 ** 30 },
    tmem: { enabled: true, freeBytes: 2 ** 20, poolSlots: 16, pageSizes: [4096], sharedPools: [] },
    codecs: ['zstd'],
    policy: {
      cpuid: [
        { leaf: '1', subleaf: 'ffffffff', eax: '1', ebx: '2', ecx: 'ffffffff', edx: 'ffffffff' },
        { leaf: '7', subleaf: '0', eax: '0', ebx: '21', ecx: '0', edx: '0' },
      ],
      msrs: [{ index: '10a', value: '1' }],
    },
    disks: { digests: ['05'.repeat(32)], locators: ['/srv/a'] },
    guests: [{ name: 'other', uuid: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee' }],
    ...changes,
  };
}

function driver(changes: JsonObject = {}): JsonObject {
  return {
    name: 'v86',
    versions: ['0.5.462', '0.5.278'],
    domainTypes: ['pv'],
    machines: [62],
    pageSizes: [4096],
    deviceFormats: ['v86-state', 'xen-toolstack'],
    fingerprints: ['01'.repeat(32)],
    memoryBytes: 2 ** 30,
    vcpus: 4,
    ...changes,
  };
}

async function check(bytes: Uint8Array, host: JsonObject, options: CheckOptions = {}): Promise<ImageCheck> {
  const opened = await openImage(memorySource(bytes, 'image'));
  const description = parseHostDescription(new TextEncoder().encode(JSON.stringify(host)), 'host.json');
  return checkImage(opened, description, options);
}

const sample = await image();

test('an image that fits, and what it needs', async () => {
  const result = await check(sample, hostOf());
  assert.deepEqual([result.fits, result.reasons, result.unknown, result.host], [true, [], [], 'rack-7']);
  const { memoryBytes, vcpus, codecs, tmem } = result.needs;
  assert.deepEqual([memoryBytes, vcpus, codecs.includes('zstd')], [64 * 2 ** 20, 2, true]);
  assert.deepEqual(tmem, {
    pools: 2,
    pages: 4,
    storedBytes: 4 * 4096,
    bytes: 4 * 4096,
    pageSizes: [4096],
    sharedPools: [SHARED],
  });
});

const tmem = (changes: JsonObject): JsonObject => ({ tmem: { ...(hostOf()['tmem'] as JsonObject), ...changes } });

/** One thing that does not fit: the reason, what the host is, what must be in message or remedy. */
const REFUSED: readonly (readonly [reason: string, host: JsonObject, said: RegExp, options?: CheckOptions])[] = [
  ['no-tmem', { tmem: null }, /host has none/],
  ['tmem-disabled', tmem({ enabled: false }), /Enable tmem/],
  ['tmem-bytes', tmem({ freeBytes: 10_000 }), /6384 bytes more/],
  ['tmem-slots', tmem({ poolSlots: 1 }), /2 pools/],
  ['page-size', tmem({ pageSizes: [65_536] }), /pages of 4096/],
  ['page-size', { drivers: [driver({ pageSizes: [8192] })] }, /pages of 4096/],
  ['shared-pool', tmem({ sharedPools: [SHARED] }), /leave the pool/],
  ['codec', { codecs: ['lz4'] }, /stored with zstd/],
  ['driver', { drivers: [driver({ name: 'qemu' })] }, /does not run machines of v86/],
  ['driver', { drivers: [driver({ domainTypes: ['hvm', 'pvh'] })] }, /domain of type pv.*hvm, pvh/],
  ['driver', { drivers: [driver({ machines: [3] })] }, /machine of type 62/],
  ['driver', { drivers: [driver({ deviceFormats: ['v86-state'] })] }, /format xen-toolstack/],
  ['driver', { drivers: [driver({ vcpus: 1 })] }, /2 processors/],
  ['driver-version', { drivers: [driver({ versions: ['0.5.463', '0.5.46'] })] }, /carries v86 0\.5\.462;/],
  ['driver-version', { drivers: [driver({ versions: ['0.5.99'], takesOlder: true })] }, /0\.5\.462 or newer/],
  ['fingerprint', { drivers: [driver({ fingerprints: ['02'.repeat(32)] })] }, /device configuration/],
  ['memory', { memory: { freeBytes: 64 * 2 ** 20 - 1 } }, /Free 1 bytes more/],
  ['memory', { drivers: [driver({ memoryBytes: 1000 })] }, /more than a machine can have/],
  ['disk', { disks: { digests: [], locators: ['/srv/a'] } }, /Disk hdb/],
  ['disk', { disks: { digests: ['05'.repeat(32)], locators: [] } }, /\/srv\/a/],
  ['name', { guests: [{ name: 'web' }] }, /guest web .*--name/],
  ['name', { guests: [{ name: 'two' }] }, /guest two /, { name: 'two' }],
  ['identity', { guests: [{ name: 'x', uuid: UUID.toUpperCase() }] }, /--same-identity/, { sameIdentity: true }],
  [
    'policy',
    { policy: { cpuid: [{ leaf: '1', subleaf: '0', eax: '0', ebx: '0', ecx: 'ffefffff', edx: '4' }] } },
    /sse4_2/,
  ],
  ['policy', { policy: { msrs: [] } }, /msr 0000010a ARCH_CAPABILITIES: rdcl_no/],
];

for (const [reason, changes, said, options] of REFUSED) {
  test(`refused for ${reason}: ${JSON.stringify(changes)}`, async () => {
    const result = await check(sample, hostOf(changes), options);
    assert.equal(result.fits, false);
    assert.ok(result.reasons.length > 0);
    for (const found of result.reasons) assert.equal(found.reason, reason);
    assert.match(result.reasons.map(({ message, remedy }) => `${message} ${remedy}`).join(' '), said);
  });
}

test('every reason is tested', () => {
  assert.deepEqual(new Set(REFUSED.map(([reason]) => reason)), new Set(REFUSALS));
});

test('all reasons are said at once', async () => {
  const changes = { tmem: null, memory: { freeBytes: 0 }, codecs: [], guests: [{ name: 'web' }] };
  const { reasons } = await check(sample, hostOf(changes));
  assert.deepEqual(
    reasons.map(({ reason }) => reason),
    ['memory', 'no-tmem', 'codec', 'name'],
  );
});

test('versions: older ones where the driver takes them, builds never count', async () => {
  for (const drivers of [
    [driver({ versions: ['0.5.462+gffffff'] })],
    [driver({ versions: ['0.6'], takesOlder: true })],
    [driver({ versions: ['0.5.462'], takesOlder: true })],
  ]) {
    assert.equal((await check(sample, hostOf({ drivers }))).fits, true);
  }
});

test('what is not said is not judged, and is listed', async () => {
  const { fits, unknown } = await check(sample, { format: 'transmigrate-host', version: 1 });
  assert.equal(fits, true);
  assert.deepEqual(
    unknown.map(({ what }) => what),
    ['driver', 'memory', 'no-tmem', 'disk', 'disk', 'name', 'policy', 'policy'],
  );
});

test('tmem that fits only as it is stored is not judged', async () => {
  const small = await image(({ tmem: pages }) => {
    for (const page of pages) page.content = page.content.subarray(0, 100);
  });
  const { fits, unknown } = await check(small, hostOf(tmem({ freeBytes: 1000 })));
  assert.deepEqual([fits, unknown.map(({ what }) => what)], [true, ['tmem-bytes']]);
});

test('a core runs nowhere', async () => {
  const { reasons } = await check(await image(undefined, 'core'), hostOf());
  assert.deepEqual(
    reasons.map(({ reason, have }) => [reason, have]),
    [['driver', 'core']],
  );
});

test("an image of Xen needs Xen of its version, and its policy's features", async () => {
  const bytes = imageBytes('xen-4.17-hvm-seabios-16m.xl');
  const opened = await openImage(memorySource(bytes, 'image'));
  const hex = (value: number): string => value.toString(16);
  const cpuid = opened.cpuid!.map(({ leaf, subleaf, eax, ebx, ecx, edx }) => ({
    leaf: hex(leaf),
    subleaf: hex(subleaf),
    eax: hex(eax),
    ebx: hex(ebx),
    ecx: hex(ecx),
    edx: hex(edx),
  }));
  const msrs = opened.msrs!.map(({ index, value }) => ({ index: hex(index), value: value.toString(16) }));
  const xen = { name: 'xen', versions: ['4.17', '4.18'], takesOlder: true, domainTypes: ['pv', 'hvm', 'pvh'] };
  const host = hostOf({ drivers: [xen], policy: { cpuid, msrs } });
  const same = await check(bytes, host);
  assert.deepEqual([same.fits, same.unknown], [true, []]);
  const older = await check(bytes, hostOf({ drivers: [{ ...xen, versions: ['4.16'] }], policy: { cpuid, msrs } }));
  assert.deepEqual(
    older.reasons.map(({ reason }) => reason),
    ['driver-version'],
  );
  const noAvx = cpuid.map((leaf) =>
    leaf.leaf === '1' ? { ...leaf, ecx: hex((Number.parseInt(leaf.ecx, 16) & ~(1 << 28)) >>> 0) } : leaf,
  );
  const { reasons } = await check(bytes, hostOf({ drivers: [xen], policy: { cpuid: noAvx, msrs } }));
  assert.equal(reasons.length, 1);
  assert.match(reasons[0].message, /cpuid 1 ecx: avx$/);
});

test('a description that is wrong is refused, with its place', () => {
  const cases: readonly (readonly [JsonObject, string])[] = [
    [{ format: 'other' }, '/format'],
    [{ version: 2 }, '/version'],
    [{ drivers: {} }, '/drivers'],
    [{ drivers: [{}] }, '/drivers/0/name'],
    [{ drivers: [driver({ versions: [1] })] }, '/drivers/0/versions'],
    [{ memory: { freeBytes: -1 } }, '/memory/freeBytes'],
    [{ memory: [] }, '/memory'],
    [{ tmem: {} }, '/tmem/enabled'],
    [{ policy: { cpuid: [{ leaf: '1' }] } }, '/policy/cpuid/0/subleaf'],
    [{ policy: { msrs: [{ index: 'x', value: '0' }] } }, '/policy/msrs/0/index'],
    [{ guests: [{ uuid: UUID }] }, '/guests/0/name'],
  ];
  for (const [changes, path] of cases) {
    const bytes = new TextEncoder().encode(JSON.stringify(hostOf(changes)));
    assert.throws(
      () => parseHostDescription(bytes, 'host.json'),
      (error) => {
        assert.ok(error instanceof TransmigrateError);
        assert.deepEqual([error.code, error.path], ['HOST_INVALID', path]);
        return true;
      },
    );
  }
  for (const text of ['', '[]', '{', `{"a":${'['.repeat(40)}${']'.repeat(40)}}`]) {
    assert.throws(() => parseHostDescription(new TextEncoder().encode(text), 'x'), { code: 'HOST_INVALID' });
  }
});

test('what a host says of itself is such a description', async () => {
  const lent = { limitBytes: 1000, usedBytes: 400, pages: 1 };
  const info = { version: '0.1.0', pid: 1, guests: 1, tmem: lent, closed: null };
  const guest = {
    name: 'web',
    uuid: UUID,
    state: 'running',
    driver: 'v86',
    driverVersion: '0.5.462',
    memoryBytes: 1,
    tmem: null,
    since: '',
    busy: null,
  } as const;
  const own = describeHost(info, [guest]);
  const parsed = parseHostDescription(new TextEncoder().encode(JSON.stringify(own)), 'own');
  assert.deepEqual(parsed.guests, [{ name: 'web', uuid: UUID }]);
  assert.deepEqual([parsed.tmem?.enabled, parsed.tmem?.freeBytes], [true, 600]);
  assert.ok(parsed.drivers![0].versions!.includes('0.5.462'));
  assert.equal(parsed.policy, undefined);
  assert.equal(
    parseHostDescription(new TextEncoder().encode(JSON.stringify(describeHost({ ...info, tmem: null }, []))), 'own')
      .tmem,
    null,
  );
  assert.equal((await check(sample, own as unknown as JsonObject)).fits, false);
});
