/** Images from and to v86's own states: nothing is lost on the way there and back. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import {
  CODEC,
  imageToV86State,
  IndexedImage,
  inspectImage,
  MemorySink,
  memorySource,
  save,
  TransmigrateError,
  v86StateToImage,
  verifyImage,
  type ErrorCode,
} from '../../../src/index.ts';
import { splitSaveState } from '../../../src/foreign/v86/memory.ts';
import { fillPciBars } from '../../../src/machine/v86/mends/pci-bars.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { emulator, rounds } from '../../support/guest/machines.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

interface Fixture {
  readonly file: string;
  readonly made_by: string;
  readonly uncompressed_sha256: string;
  readonly registers: Readonly<Record<string, string | boolean>>;
}
const folder = new URL('../../fixtures/v86/', import.meta.url);
const fixtures = JSON.parse(readFileSync(new URL('states.json', folder), 'utf8')) as Fixture[];
const streamId = new Uint8Array(16).fill(7);

function stateOf({ file }: Fixture): Uint8Array {
  return new Uint8Array(zstdDecompressSync(readFileSync(new URL(file, folder))));
}

async function imageOf(
  state: Uint8Array,
  codec: typeof CODEC.raw | typeof CODEC.zstd = CODEC.zstd,
): Promise<Uint8Array> {
  const sink = new MemorySink();
  await v86StateToImage(memorySource(state).random!, sink, { streamId, codec, about: { name: 'fixture' } });
  return sink.bytes();
}

async function backOf(image: Uint8Array): Promise<Uint8Array> {
  const sink = new MemorySink();
  const { bytes } = await imageToV86State(memorySource(image, 'image', 5000), sink);
  assert.equal(sink.bytes().byteLength, bytes);
  return sink.bytes();
}

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

for (const fixture of fixtures) {
  describe(`a state that v86 ${fixture.made_by} made alone`, () => {
    const state = stateOf(fixture);

    for (const codec of [CODEC.raw, CODEC.zstd] as const) {
      it(`goes through an image, codec ${codec}, byte for byte`, async () => {
        const image = await imageOf(state, codec);
        const back = await backOf(image);
        assert.equal(createHash('sha256').update(back).digest('hex'), fixture.uncompressed_sha256);
        assert.deepEqual(await imageOf(back, codec), image);
      });
    }

    it('is an image that is sound, says what it is, and shows the processor', async () => {
      const image = await imageOf(state);
      const result = await verifyImage([memorySource(image)], { digest: true });
      assert.deepEqual([result.verdict, result.errors, result.warnings], ['sound', [], []]);
      assert.equal(result.memory!.pages, 4096);
      const { about, vcpus } = (await inspectImage(memorySource(image))) as unknown as {
        about: { driver: object; configuration: object; name: string };
        vcpus?: unknown;
      };
      assert.equal(about.name, 'fixture');
      assert.deepEqual(about.driver, { name: 'v86', version: fixture.made_by.split('+')[0] });
      assert.deepEqual(about.configuration, {
        memoryBytes: 2 ** 24,
        videoMemoryBytes: 2 ** 20,
        network: 'ne2k',
        serialPorts: 1,
      });
      assert.ok(JSON.stringify(vcpus ?? (await records(image))).includes(String(fixture.registers['eip']).slice(2)));
      const indexed = await IndexedImage.open(memorySource(image).random!);
      const { memory } = splitSaveState(state);
      const first = memory.bitmap.findIndex((bits) => bits !== 0) * 8;
      const pfn = first + Math.log2(memory.bitmap[first / 8] & -memory.bitmap[first / 8]);
      const page = new Uint8Array(4096);
      assert.equal(await indexed.readPage(pfn, page), 'data');
      assert.deepEqual(page, state.slice(memory.packedOffset, memory.packedOffset + 4096));
    });

    it('that is cut or damaged is refused, and never converted in part', async () => {
      const seed = testSeed();
      const source = random(seed);
      for (let i = 0; i < 30; i++) {
        const cut = state.subarray(0, source.below(state.byteLength));
        const known = (error: unknown): boolean => error instanceof TransmigrateError && error.code === 'TRUNCATED';
        await assert.rejects(imageOf(cut, CODEC.raw), known, `case ${i}; SEED=${seed}`);
      }
      const image = await imageOf(state);
      for (let i = 0; i < 30; i++) {
        const sink = new MemorySink();
        const cut = image.subarray(0, source.below(image.byteLength));
        await assert.rejects(
          imageToV86State(memorySource(cut), sink),
          (error) => error instanceof TransmigrateError,
          `case ${i}; SEED=${seed}`,
        );
        assert.equal(sink.bytes().byteLength, 0);
      }
      await assert.rejects(imageOf(new Uint8Array([...state, 0])), refused('TRAILING_DATA'));
    });
  });
}

async function records(image: Uint8Array): Promise<unknown> {
  return (await inspectImage(memorySource(image), { records: true })).records;
}

describe('an image of a v86 machine', () => {
  it('becomes a state that v86 takes alone', async () => {
    const { machine: source } = await emulator('work', [16, 128, 1000, 1]);
    await rounds(source, 10);
    const sink = new MemorySink();
    await save(source.emulator, sink, { threads: 0 });
    const state = await backOf(sink.bytes());
    const { machine: target } = await emulator(null);
    fillPciBars(target.emulator.v86.cpu);
    target.emulator.v86.restore_state(Uint8Array.from(state).buffer);
    assert.ok(target.memory().equals(source.memory()));
    await rounds(target, 3);
  });

  it('with what v86 has no place for is refused by what it is', async () => {
    const uuid = '00000000-0000-0000-0000-000000000000';
    const pool = { ephemeral: false, incarnation: 1n, pool: 0, shared: false, precompressed: false };
    const disk = { disk: 0, name: 'hda', readOnly: false, bytes: 4096n, sha256: null, format: 'raw', locator: 'x' };
    const device = { device: 0, name: 'machine', version: '1', fingerprint: new Uint8Array(32) };
    const blob = splitSaveState(stateOf(fixtures[0])).devices;
    const cases: [name: string, code: ErrorCode, write: (writer: StreamWriter) => Promise<void>][] = [
      ['nothing', 'DEVICE_MISSING', () => Promise.resolve()],
      [
        'devices of QEMU',
        'IMAGE_UNFIT',
        (writer) => writer.device({ ...device, format: 'qemu-savevm' }, new Uint8Array(8)),
      ],
      [
        'tmem',
        'IMAGE_UNFIT',
        async (writer) => {
          const client = { compress: false, frozen: false, weight: 0, cap: 0, allowancePages: 0n, authorised: [] };
          await writer.tmemClient(client);
          await writer.tmemPool({ ...pool, pageSize: 4096, objectIdBits: 192, uuid, pages: 0n });
        },
      ],
      ['a disk outside', 'IMAGE_UNFIT', (writer) => writer.disk({ ...disk, policy: 'shared' })],
      ['no memory', 'MEMORY_MISMATCH', (writer) => writer.device({ ...device, format: 'v86-state' }, blob)],
      [
        'more memory than its devices say',
        'MEMORY_MISMATCH',
        async (writer) => {
          await writer.device({ ...device, format: 'v86-state' }, blob);
          await writer.zero(1, 4096);
        },
      ],
      ['memory beyond what v86 has', 'MEMORY_MISMATCH', (writer) => writer.zero(2 ** 19, 1)],
    ];
    for (const [name, code, write] of cases) {
      const sink = new MemorySink();
      const writer = await StreamWriter.open(
        sink,
        {
          kind: 'save',
          byteOrder: 'little',
          wordBits: 32,
          domainType: 'emulated-tmem',
          machine: 3,
          pageSize: 4096,
          streamId,
          indexed: true,
        },
        { name },
      );
      await write(writer);
      await writer.checkpoint();
      await writer.end();
      const out = new MemorySink();
      await assert.rejects(imageToV86State(memorySource(sink.bytes()), out), refused(code), name);
      assert.equal(out.bytes().byteLength, 0);
    }
  });
});
